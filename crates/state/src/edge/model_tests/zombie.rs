//! Several attempts of one region over one edge, each stalled anywhere for any time (model E of the design).
//!
//! Each runs the real restart core, takes the edge over, appends rows and publishes them with the real publish core, one action
//! at a time. In every state, what the newest epoch record lets consumers see is exactly what that record's state says was
//! written: a stalled predecessor never publishes rows that its successor has cut off, and never slips rows in.

use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::row::{RowId, SplitId};
use stateright::{Model, Property};

use super::super::{
    Action as EdgeAction, Claim, Content, CoreSettings, EdgeCore, EdgeMode, Fact, PlantedBug as EdgeBug, Published,
    RowKey, WriterState,
};
use super::disk::ModelDisk;
use crate::checkpoint::model_tests::{World as Store, layout, manifest};
use crate::checkpoint::publish::Publish;
use crate::checkpoint::restart::{Restart, Resume};
use crate::checkpoint::{Action, Ending, Event, Manifest, PlantedBug};

const GROUP: KeyGroup = KeyGroup(0);

/// What is modelled, and up to where.
#[derive(Debug, Clone, Default)]
pub(super) struct Zombies {
    pub attempts: usize,
    /// Epochs that each attempt publishes.
    pub epochs: u8,
    pub bug: Option<PlantedBug>,
    pub edge_bug: Option<EdgeBug>,
    /// A wrong order: the edge is taken over as soon as the newest epoch is read, before the restart epoch is claimed.
    pub cut_before_claim: bool,
}

/// The store, the log and the attempts. Compared and hashed by what they show, because checkpoint cores have no other way.
#[derive(Clone)]
pub(super) struct World {
    store: Store,
    core: EdgeCore,
    disk: ModelDisk,
    attempts: Vec<Attempt>,
}

#[derive(Debug, Clone)]
struct Attempt {
    phase: Phase,
    epochs_left: u8,
    number: u64,
    next_epoch: Epoch,
    /// Who wrote each row of its state, and its writer's state.
    rows: Vec<u64>,
    took_over: bool,
}

/// What an attempt does next.
#[derive(Debug, Clone)]
enum Phase {
    Restarting(Box<Restart>, Action),
    TakingOver(Claim),
    Appending,
    Publishing(Box<Publish>, Action),
    Stopped(&'static str),
}

// === impl World ===

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Attempts are alike: which of them is where does not matter.
        let mut attempts: Vec<String> = self.attempts.iter().map(|attempt| format!("{attempt:?}")).collect();
        attempts.sort();
        write!(f, "{:?} {:?} {attempts:?}", self.store, self.core)
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        format!("{self:?}").hash(state);
    }
}

impl World {
    /// Gives the core a fact and carries out all that follows, as a disk that never stalls does. False if it was refused.
    fn feed(&mut self, fact: Fact) -> bool {
        let (mut facts, mut good) = (vec![fact], true);
        while let Some(fact) = facts.pop() {
            for action in self.core.step(fact) {
                match &action {
                    EdgeAction::Tell { result, .. } => good &= result.is_ok(),
                    action => facts.extend(self.disk.carry_out(action)),
                }
            }
        }
        good
    }

    /// Who wrote each row that consumers of the newest epoch record may see.
    fn visible(&self) -> Vec<u64> {
        let mut core = self.core.clone();
        if let Some(newest) = self.store.newest() {
            core.step(Fact::Published(Published::of(&newest)));
        }
        let (mut rows, mut next) = (Vec::new(), 0);
        while let Some(record) = core.next_visible(next, |_| true) {
            let bytes = self.disk.read(&record.place.file(), record.place.start);
            let (head, ..) = super::super::record::parse(bytes, 1 << 16).unwrap();
            rows.extend(head.keys.iter().map(|key| key.id.ordinal));
            next = record.sequence + 1;
        }
        rows
    }

    fn stopped(&self, why: &str) -> bool {
        self.attempts.iter().any(|attempt| matches!(attempt.phase, Phase::Stopped(reason) if reason == why))
    }
}

/// Who wrote each row of the state that `manifest` names.
fn rows_of(manifest: &Manifest) -> Vec<u64> {
    let rows = manifest.extra.get("rows").and_then(|rows| rows.as_array());
    rows.map(|rows| rows.iter().filter_map(serde_json::Value::as_u64).collect()).unwrap_or_default()
}

fn claim(attempt: u64, base: Option<&Manifest>, next_epoch: Epoch) -> Claim {
    let state = |base: &Manifest| WriterState { end: rows_of(base).len() as u64, ..WriterState::default() };
    let base = base.filter(|base| base.state_of.is_some());
    let writers = base.map(|base| (GROUP, state(base))).into_iter().collect();
    Claim { attempt, base: base.and_then(|base| base.state_of), next_epoch, writers }
}

// === impl Attempt ===

impl Attempt {
    fn go_on(&mut self, world: &mut World, model: &Zombies) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Stopped("")) {
            Phase::Stopped(why) => Phase::Stopped(why),
            Phase::Restarting(restart, action) => self.restart(restart, &action, world, model),
            Phase::TakingOver(claim) => self.take_over(claim, world),
            Phase::Appending => self.append(world, model),
            Phase::Publishing(mut publish, action) => match publish.step(world.store.carry_out(&action)).unwrap() {
                Action::End(ending) => self.end(*ending),
                action => Phase::Publishing(publish, action),
            },
        };
    }

    fn restart(&mut self, mut restart: Box<Restart>, action: &Action, world: &mut World, model: &Zombies) -> Phase {
        if let Action::ClaimGeneration(generation) = action {
            self.number = *generation;
        }
        let event = world.store.carry_out(action);
        if let (Event::EpochRead(newest), true) = (&event, model.cut_before_claim && !self.took_over) {
            self.took_over = true;
            let ticket = self.number;
            world.feed(Fact::TakeOver { ticket, claim: claim(self.number, Some(newest), newest.epoch.next().next()) });
        }
        match restart.step(event).unwrap() {
            Action::End(ending) => self.end(*ending),
            action => Phase::Restarting(restart, action),
        }
    }

    fn take_over(&mut self, claim: Claim, world: &mut World) -> Phase {
        let good = self.took_over || world.feed(Fact::TakeOver { ticket: self.number, claim });
        self.took_over = true;
        if good { Phase::Appending } else { Phase::Stopped("refused by the log") }
    }

    fn append(&mut self, world: &mut World, model: &Zombies) -> Phase {
        let (attempt, ticket, epoch) = (self.number, self.number, self.next_epoch);
        let key = RowKey { id: RowId::new(SplitId(0), attempt), kind: 0 };
        let content = Content::Rows { groups: vec![(GROUP, 1)], keys: vec![key] };
        let appended = world.feed(Fact::Append { ticket, attempt, epoch, content, body: Bytes::new() });
        if !appended || !world.feed(Fact::Flush { ticket, attempt }) {
            return Phase::Stopped("refused by the log");
        }
        self.rows.push(attempt);
        self.epochs_left -= 1;
        let mut manifest = manifest(attempt, 0, epoch);
        manifest.committables.clear();
        manifest.extra = serde_json::json!({ "rows": self.rows }).as_object().unwrap().clone();
        let mut publish = Publish::new(manifest, &layout(), model.bug).unwrap();
        let action = publish.step(Event::Begin).unwrap();
        Phase::Publishing(Box::new(publish), action)
    }

    fn end(&mut self, ending: Ending) -> Phase {
        match ending {
            Ending::Run(started) => {
                let restored = started.restored.as_deref();
                self.rows = restored.map(rows_of).unwrap_or_default();
                self.next_epoch = started.next_epoch;
                Phase::TakingOver(claim(started.attempt, restored, started.next_epoch))
            }
            Ending::Published(epoch) => {
                self.next_epoch = epoch.next();
                if self.epochs_left > 0 { Phase::Appending } else { Phase::Stopped("done") }
            }
            Ending::Fenced { .. } => Phase::Stopped("fenced"),
            Ending::NotFresh => unreachable!("attempts resume from the latest epoch"),
        }
    }
}

// === impl Zombies ===

impl Model for Zombies {
    type State = World;
    /// The attempt that goes on by one action.
    type Action = usize;

    fn init_states(&self) -> Vec<World> {
        let settings = CoreSettings {
            mode: EdgeMode::CommitRead,
            consumers: ["consumer".to_string()].into(),
            quota_bytes: u64::MAX,
            segment_bytes_max: u64::MAX,
            unsynced_bytes_max: u64::MAX,
            record_bytes_max: 1 << 16,
            bug: self.edge_bug,
        };
        let attempt = || {
            let mut restart = Restart::new(layout(), Resume::Latest, 0, self.bug);
            let action = restart.step(Event::Begin).unwrap();
            let phase = Phase::Restarting(Box::new(restart), action);
            let (epochs_left, next_epoch) = (self.epochs, Epoch(0));
            Attempt { phase, epochs_left, number: 0, next_epoch, rows: Vec::new(), took_over: false }
        };
        let disk = ModelDisk::default();
        let core = disk.open(&settings).unwrap();
        let attempts = (0..self.attempts).map(|_| attempt()).collect();
        vec![World { store: Store::default(), core, disk, attempts }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<usize>) {
        let goes_on = |place: &usize| !matches!(world.attempts[*place].phase, Phase::Stopped(_));
        steps.extend((0..world.attempts.len()).filter(goes_on));
    }

    fn next_state(&self, world: &World, place: usize) -> Option<World> {
        let mut world = world.clone();
        let mut attempt = world.attempts[place].clone();
        attempt.go_on(&mut world, self);
        world.attempts[place] = attempt;
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("consumers see what the newest epoch record says", |_, world: &World| {
                let said = world.store.newest().map(|newest| rows_of(&newest)).unwrap_or_default();
                world.visible() == said
            }),
            Property::always("no epoch record changes", |_, world: &World| world.store.violation().is_none()),
        ];
        if self.bug.is_none() && self.edge_bug.is_none() && !self.cut_before_claim {
            properties.extend([
                Property::sometimes("an attempt is fenced by an epoch", |_, world: &World| world.stopped("fenced")),
                Property::sometimes("an attempt is refused by the log", |_, world: &World| {
                    world.stopped("refused by the log")
                }),
                Property::sometimes("rows of two attempts are seen", |_, world: &World| {
                    world.visible().windows(2).any(|rows| rows[0] != rows[1])
                }),
            ]);
        }
        properties
    }
}

// === Tests ===

mod tests {
    use super::*;
    use forebay_modelcheck::{bound, breaks, holds};

    const SEEN: &[&str] = &["consumers see what the newest epoch record says", "no epoch record changes"];

    #[test]
    fn a_stalled_attempt_never_publishes_what_was_cut_off() {
        holds("E zombies, 2 attempts", Zombies { attempts: 2, epochs: bound(2, 3), ..Zombies::default() });
        holds("E zombies, 3 attempts", Zombies { attempts: 3, epochs: bound(1, 2), ..Zombies::default() });
    }

    #[test]
    fn each_wrong_takeover_is_refuted() {
        let two = Zombies { attempts: 2, epochs: 2, ..Zombies::default() };
        breaks("E no claim", Zombies { bug: Some(PlantedBug::NoClaim), ..two.clone() }, SEEN);
        breaks("E cut before claim", Zombies { cut_before_claim: true, ..two.clone() }, SEEN);
        breaks("E epoch overwritten", Zombies { bug: Some(PlantedBug::OverwriteEpochRecord), ..two.clone() }, SEEN);
        breaks("E no append fence", Zombies { edge_bug: Some(EdgeBug::AcceptStaleAttempt), ..two }, SEEN);
    }
}
