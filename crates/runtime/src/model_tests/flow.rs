//! The model: what it is drawn from, what can happen next, and when two states are the same.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use stateright::{Model, Property};

use super::promises::{
    self, AWAKE, BEYOND, CREDIT, CUT, FINISHED, HELD, IN_FLIGHT, ONCE, OVERSIZE, OVERTOOK, PASSES, SPINS, WAITED,
    WITHHELD,
};
use super::world::World;
use crate::planted::RuntimeBug;

/// What is modelled, and up to where.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Rows that one channel may hold.
    pub window: usize,
    /// Rows of each batch that is read.
    pub batches: Vec<i64>,
    pub barriers: u64,
    /// Barriers overtake.
    pub overtakes: bool,
    /// The sink takes nothing until it is told to.
    pub stalled: bool,
    /// A subtask is called once, and not until there is nothing to do, before another is.
    pub fine: bool,
    /// What has to be reached beside the end.
    pub reaches: &'static [&'static str],
    pub bug: Option<RuntimeBug>,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A subtask that was woken is called.
    Turn(u8),
    /// Time passes up to the next timer.
    Tick,
    /// The slow model answers the oldest batch that it holds.
    Answer,
    /// The sink takes rows from now on.
    Resume,
    /// A checkpoint begins.
    Barrier,
}

/// A state: how it came to be, what can happen, and what was seen.
#[derive(Clone)]
pub struct State {
    pub path: Vec<Action>,
    pub print: u128,
    pub actions: Vec<Action>,
    pub broken: Option<&'static str>,
    pub reached: Vec<&'static str>,
}

// === impl Flow ===

impl Flow {
    /// Rows that are read.
    pub fn total(&self) -> i64 {
        self.batches.iter().sum()
    }

    /// Rows of the largest batch.
    pub fn largest(&self) -> usize {
        self.batches.iter().copied().max().unwrap_or(0) as usize
    }

    /// Rows that a channel takes by credit: its window, or one larger batch alone.
    pub fn channel_max(&self) -> usize {
        self.window.max(self.largest())
    }

    fn state(&self, path: Vec<Action>) -> State {
        let mut world = World::new(self);
        path.iter().for_each(|action| world.carry_out(*action, self.fine));
        let shape = world.shape();
        let print = |seed: u8| {
            let mut hasher = DefaultHasher::new();
            (seed, &shape).hash(&mut hasher);
            u128::from(hasher.finish())
        };
        let actions = world.actions(self);
        let broken = promises::broken(self, &world, &actions);
        let reached = promises::reached(self, &world, &actions);
        State { path, print: print(0) << 64 | print(1), actions, broken, reached }
    }
}

// === impl State ===

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.print.hash(hasher);
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {} steps {:?}", self.path.len(), self.reached)
    }
}

impl Model for Flow {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.state(Vec::new())]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(&state.actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let path = last.path.iter().copied().chain([action]).collect();
        Some(self.state(path))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        // A condition is a plain function and cannot hold a name.
        let mut properties = vec![
            Property::always(CREDIT, |_, state: &State| state.broken != Some(CREDIT)),
            Property::always(IN_FLIGHT, |_, state: &State| state.broken != Some(IN_FLIGHT)),
            Property::always(HELD, |_, state: &State| state.broken != Some(HELD)),
            Property::always(AWAKE, |_, state: &State| state.broken != Some(AWAKE)),
            Property::always(PASSES, |_, state: &State| state.broken != Some(PASSES)),
            Property::always(SPINS, |_, state: &State| state.broken != Some(SPINS)),
            Property::always(CUT, |_, state: &State| state.broken != Some(CUT)),
            Property::always(ONCE, |_, state: &State| state.broken != Some(ONCE)),
            Property::sometimes(FINISHED, |_, state: &State| state.reached.contains(&FINISHED)),
        ];
        if self.reaches.contains(&WAITED) {
            properties.push(Property::sometimes(WAITED, |_, state: &State| state.reached.contains(&WAITED)));
        }
        if self.reaches.contains(&OVERSIZE) {
            properties.push(Property::sometimes(OVERSIZE, |_, state: &State| state.reached.contains(&OVERSIZE)));
        }
        if self.reaches.contains(&WITHHELD) {
            properties.push(Property::sometimes(WITHHELD, |_, state: &State| state.reached.contains(&WITHHELD)));
        }
        if self.reaches.contains(&BEYOND) {
            properties.push(Property::sometimes(BEYOND, |_, state: &State| state.reached.contains(&BEYOND)));
        }
        if self.reaches.contains(&OVERTOOK) {
            properties.push(Property::sometimes(OVERTOOK, |_, state: &State| state.reached.contains(&OVERTOOK)));
        }
        properties
    }
}
