//! Which replica gets the next call: two tiers of breakers, and the better of two random ones by free share of its limit.
//!
//! Each replica has permits and a breaker of its own; the model has one breaker above them. A replica that got slow has a
//! small limit by its limiter's doing, so that free share sends it little; nobody has to declare it slow.

use std::time::Duration;

use super::settings::{Bug, GateSettings};
use super::vocabulary::ReplicaId;
use crate::breaker::{Breaker, State};
use crate::chance::Chance;
use crate::limiter::{Class, Limiter};
use crate::permits::{Permits, Refused};

/// A half-open call that did not end within this many objectives is given up: attempts time out at two.
const PROBE_OBJECTIVES: u32 = 4;
const PROBE_WAIT_MIN: Duration = Duration::from_secs(10);

/// The replicas of one model.
#[derive(Debug)]
pub(super) struct Replicas {
    replicas: Vec<Replica>,
    model: Option<Breaker>,
    eligible: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct Replica {
    pub(super) permits: Permits,
    breaker: Option<Breaker>,
}

/// Who may be called now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// This replica.
    Replica(ReplicaId),
    /// None; time alone will help at this moment, if at all.
    None(Option<Duration>),
}

// === impl Replicas ===

impl Replicas {
    pub(super) fn new(settings: &GateSettings, limiters: Vec<Box<dyn Limiter>>) -> Self {
        let probe_wait = settings.deadlines.objective.saturating_mul(PROBE_OBJECTIVES).max(PROBE_WAIT_MIN);
        let breaker = |seed| settings.breakers.then(|| Breaker::new(seed, probe_wait));
        // A lone replica is the model: one breaker is enough.
        let several = limiters.len() > 1;
        let replicas = limiters.into_iter().zip(settings.seed + 1..).map(|(limiter, seed)| Replica {
            permits: Permits::new(limiter, settings.caps).loosened(settings.has(Bug::LimitIgnored)),
            breaker: breaker(seed).filter(|_| several),
        });
        Self { replicas: replicas.collect(), model: breaker(settings.seed), eligible: Vec::new() }
    }

    pub(super) fn get(&self, replica: ReplicaId) -> &Replica {
        &self.replicas[replica.0]
    }

    pub(super) fn get_mut(&mut self, replica: ReplicaId) -> &mut Replica {
        &mut self.replicas[replica.0]
    }

    pub(super) fn find_mut(&mut self, replica: ReplicaId) -> Option<&mut Replica> {
        self.replicas.get_mut(replica.0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter()
    }

    pub(super) fn on_time(&mut self, now: Duration, waiting: bool) {
        self.replicas.iter_mut().for_each(|replica| replica.permits.on_time(now, waiting));
    }

    pub(super) fn next_tick(&self) -> Option<Duration> {
        self.replicas.iter().map(|replica| replica.permits.next_tick()).min()
    }

    /// Calls in flight, all replicas together.
    pub(super) fn calls(&self) -> usize {
        self.replicas.iter().map(|replica| replica.permits.calls()).sum()
    }

    /// The state of the model's breaker.
    pub(super) fn state(&self, now: Duration) -> State {
        self.model.as_ref().map_or(State::Closed, |model| model.state(now))
    }

    /// When the model's breaker lets the next call through, if that is not now.
    pub(super) fn asks_at(&self) -> Option<Duration> {
        self.model.as_ref().and_then(Breaker::allows_at)
    }

    /// The replica for the next call. Asks nothing of breakers yet: see [`Replicas::admit`].
    pub(super) fn choose(&mut self, now: Duration, chance: &mut Chance) -> Choice {
        if let Err(at) = may_ask(self.model.as_ref(), now) {
            return Choice::None(Some(at));
        }
        if let [replica] = &mut self.replicas[..] {
            return match replica.room(now) {
                Ok(()) => Choice::Replica(ReplicaId(0)),
                Err(at) => Choice::None(at),
            };
        }
        self.eligible.clear();
        let mut soonest = None;
        for (place, replica) in self.replicas.iter_mut().enumerate() {
            match replica.room(now) {
                Ok(()) => self.eligible.push(place),
                Err(at) => soonest = sooner(soonest, at),
            }
        }
        let count = self.eligible.len();
        if count == 0 {
            return Choice::None(soonest);
        }
        let first = chance.below(count);
        let second = if count > 1 { (first + 1 + chance.below(count - 1)) % count } else { first };
        let (first, second) = (self.eligible[first], self.eligible[second]);
        let better = self.replicas[second].permits.free_ratio() > self.replicas[first].permits.free_ratio();
        Choice::Replica(ReplicaId(if better { second } else { first }))
    }

    /// The replica with the largest free share for a second copy of a call of `rows`; never `but`, one at its limit, or
    /// one that is paced.
    pub(super) fn idlest(&mut self, but: ReplicaId, rows: usize, now: Duration) -> Option<ReplicaId> {
        if self.state(now) != State::Closed {
            return None;
        }
        let mut best = None;
        for (place, replica) in self.replicas.iter_mut().enumerate() {
            let closed = replica.breaker.as_ref().is_none_or(|breaker| breaker.state(now) == State::Closed);
            let free = replica.permits.free_ratio();
            let knobs = replica.permits.knobs();
            let unfit = knobs.pace.is_finite() || knobs.rows_max < rows;
            if place == but.0 || !closed || unfit || free <= 0.0 || replica.room(now).is_err() {
                continue;
            }
            if best.is_none_or(|(most, _)| free > most) {
                best = Some((free, ReplicaId(place)));
            }
        }
        best.map(|(_, replica)| replica)
    }

    /// Asks both breakers for one call to `replica`, which then has to be made. `Some(true)` if it is the one call of a
    /// half-open breaker.
    pub(super) fn admit(&mut self, replica: ReplicaId, now: Duration) -> Option<bool> {
        let mut asks = self.state(now) == State::HalfOpen;
        if self.model.as_mut().is_some_and(|model| !model.allows(now)) {
            return None;
        }
        if let Some(breaker) = &mut self.replicas[replica.0].breaker {
            asks |= breaker.state(now) == State::HalfOpen;
            if !breaker.allows(now) {
                return None;
            }
        }
        Some(asks)
    }

    /// A call to `replica` ended.
    pub(super) fn on_end(&mut self, replica: ReplicaId, sent: Duration, now: Duration, class: Class) {
        let ok = match class {
            Class::Answered | Class::Throttled => true,
            Class::Overloaded | Class::Down | Class::Timeout => false,
            Class::TooLarge | Class::Cancelled => return,
        };
        let own = &mut self.replicas[replica.0].breaker;
        for breaker in own.iter_mut().chain(&mut self.model) {
            breaker.on_end_of(sent, now, ok);
        }
    }
}

// === impl Replica ===

impl Replica {
    fn room(&mut self, now: Duration) -> Result<(), Option<Duration>> {
        may_ask(self.breaker.as_ref(), now).map_err(Some)?;
        self.permits.room(now).map_err(|refused| match refused {
            Refused::Full => None,
            Refused::Until(at) => Some(at),
        })
    }
}

fn may_ask(breaker: Option<&Breaker>, now: Duration) -> Result<(), Duration> {
    match breaker.and_then(Breaker::allows_at) {
        Some(at) if at > now => Err(at),
        _ => Ok(()),
    }
}

fn sooner(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
