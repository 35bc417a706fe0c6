//! Fair share for callers that come and ask, instead of leaving their rows in a queue.
//!
//! [`Share`](crate::share::Share) orders rows that lie in one place. Subtasks keep their own rows and ask for one call at
//! a time, so what is ordered here is whose turn it is: start-time fair queueing. Each caller has a clock that its calls move by
//! cost over weight; while somebody who was refused is behind, those ahead of them are refused too, though there is room.
//! A caller that comes back from having nothing to send begins where the others are: nobody saves up turns.
//!
//! Whoever is told that there is room and does not come for it within 10 ms loses the turn, so that one that is slow or
//! has changed its mind holds nobody up for longer. Never queues, never wakes: whoever drives it does.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::share::CallerId;

/// How long a turn is kept for a caller that was told of room.
pub const PATIENCE: Duration = Duration::from_millis(10);

/// Whose turn it is.
#[derive(Debug, Default)]
pub struct Turns {
    callers: BTreeMap<CallerId, Caller>,
    /// Where the caller stood that was served last.
    served: f64,
    /// A bug for tests to find: it is everybody's turn.
    first_come: bool,
}

#[derive(Debug)]
struct Caller {
    weight: f64,
    /// Cost over weight of what it was given, lifted to where the others were when it came back.
    clock: f64,
    waits: Option<Waits>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// For room.
    Room,
    /// It was told of room at this moment.
    Told(Duration),
}

// === impl Turns ===

impl Turns {
    /// Nobody waits.
    pub fn new() -> Self {
        Self::default()
    }

    #[doc(hidden)]
    pub fn first_come(mut self, planted: bool) -> Self {
        self.first_come = planted;
        self
    }

    /// A caller with `weight` times the share of one of weight 1; 0 is taken as 1, since nobody may starve.
    pub fn join(&mut self, caller: CallerId, weight: u32) {
        let weight = f64::from(weight.max(1));
        self.callers.insert(caller, Caller { weight, clock: self.served, waits: None });
    }

    /// The caller asks no more.
    pub fn leave(&mut self, caller: CallerId) {
        self.callers.remove(&caller);
    }

    /// Whether `caller` may be given what there is room for: nobody waits who had less than it.
    pub fn is_turn(&self, caller: CallerId, now: Duration) -> bool {
        let Some(own) = self.callers.get(&caller).filter(|_| !self.first_come) else { return true };
        let clock = self.clock_of(own);
        let before = |(other, waiting): (&CallerId, &Caller)| {
            *other != caller && waiting.is_waiting(now) && self.clock_of(waiting) < clock - 1e-9
        };
        !self.callers.iter().any(before)
    }

    /// `caller` was refused, and will be told when there is room.
    pub fn wait(&mut self, caller: CallerId) {
        let served = self.served;
        if let Some(caller) = self.callers.get_mut(&caller) {
            // Who begins to wait now begins where the others are; who waits already keeps its place.
            if caller.waits.is_none() {
                caller.clock = caller.clock.max(served);
            }
            caller.waits = Some(Waits::Room);
        }
    }

    /// `caller` waits for nothing that others have.
    pub fn pass(&mut self, caller: CallerId) {
        if let Some(caller) = self.callers.get_mut(&caller) {
            caller.waits = None;
        }
    }

    /// All who wait are told of room.
    pub fn told(&mut self, now: Duration) {
        for caller in self.callers.values_mut().filter(|caller| caller.waits == Some(Waits::Room)) {
            caller.waits = Some(Waits::Told(now));
        }
    }

    /// `caller` was given a call of `cost`.
    pub fn serve(&mut self, caller: CallerId, cost: u64) {
        let served = self.served;
        let Some(caller) = self.callers.get_mut(&caller) else { return };
        let start = if caller.waits.is_some() { caller.clock } else { caller.clock.max(served) };
        caller.waits = None;
        caller.clock = start + cost.max(1) as f64 / caller.weight;
        self.served = served.max(start);
    }

    /// True if somebody waits whose turn is kept.
    pub fn is_anybody_waiting(&self, now: Duration) -> bool {
        self.callers.values().any(|caller| caller.is_waiting(now))
    }

    fn clock_of(&self, caller: &Caller) -> f64 {
        if caller.waits.is_some() { caller.clock } else { caller.clock.max(self.served) }
    }
}

// === impl Caller ===

impl Caller {
    fn is_waiting(&self, now: Duration) -> bool {
        match self.waits {
            None => false,
            Some(Waits::Room) => true,
            Some(Waits::Told(at)) => now.saturating_sub(at) < PATIENCE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREEDY: CallerId = CallerId(1);
    const SLOW: CallerId = CallerId(2);

    fn turns(weights: [u32; 2]) -> Turns {
        let mut turns = Turns::new();
        turns.join(GREEDY, weights[0]);
        turns.join(SLOW, weights[1]);
        turns
    }

    /// How often each is served out of `rounds`, one call at a time, when the greedy one always asks first.
    fn served(turns: &mut Turns, rounds: usize, costs: [u64; 2]) -> [usize; 2] {
        let mut served = [0, 0];
        [GREEDY, SLOW].into_iter().for_each(|caller| turns.wait(caller));
        for round in 0..rounds {
            let now = Duration::from_millis(round as u64);
            turns.told(now);
            let place = usize::from(!turns.is_turn(GREEDY, now));
            let caller = [GREEDY, SLOW][place];
            assert!(turns.is_turn(caller, now), "it is somebody's turn");
            turns.serve(caller, costs[place]);
            served[place] += 1;
            [GREEDY, SLOW].into_iter().for_each(|caller| turns.wait(caller));
        }
        served
    }

    #[test]
    fn calls_are_shared_by_weight_and_cost() {
        assert_eq!(served(&mut turns([1, 1]), 100, [1, 1]), [50, 50]);
        assert_eq!(served(&mut turns([1, 3]), 100, [1, 1]), [25, 75]);
        assert_eq!(served(&mut turns([1, 1]), 100, [64, 16]), [20, 80], "large calls are worth more");
        assert_eq!(served(&mut turns([1, 3]).first_come(true), 100, [1, 1]), [100, 0], "the bug takes it all");
    }

    #[test]
    fn a_turn_that_is_not_taken_is_lost_after_a_while() {
        let mut turns = turns([1, 1]);
        turns.serve(GREEDY, 10);
        [GREEDY, SLOW].into_iter().for_each(|caller| turns.wait(caller));
        turns.told(Duration::ZERO);
        assert!(!turns.is_turn(GREEDY, PATIENCE / 2));
        turns.told(PATIENCE / 2);
        assert!(turns.is_turn(GREEDY, PATIENCE), "and being told again keeps none");
        turns.wait(SLOW);
        assert!(!turns.is_turn(GREEDY, PATIENCE * 2), "who asks again has it back");
    }

    #[test]
    fn nobody_saves_up_turns_while_away() {
        let mut turns = turns([1, 1]);
        (0..1000).for_each(|_| turns.serve(GREEDY, 1));
        let [greedy, slow] = served(&mut turns, 20, [1, 1]);
        assert!(greedy.abs_diff(slow) <= 2, "{greedy} {slow}");
    }
}
