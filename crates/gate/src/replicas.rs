//! Which replica gets the next call: two tiers of breakers, and the better of two random ones by free share of its limit.
//!
//! Each replica has permits and a breaker of its own; the model has one breaker above them. A replica that got slow has a
//! small limit by its limiter's doing, so that free share sends it little; nobody has to declare it slow.

use std::time::Duration;

use crate::breaker::{Breaker, State};
use crate::chance::Chance;
use crate::limiter::{Class, Limiter};
use crate::permits::{Caps, Permits, Refused};

/// A half-open call that did not end within this many objectives is given up: attempts time out at two.
const PROBE_OBJECTIVES: u32 = 4;
const PROBE_WAIT_MIN: Duration = Duration::from_secs(10);

/// A replica, by its place among the limiters that the replicas were made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ReplicaId(pub usize);

/// How replicas are watched.
#[derive(Debug, Clone, Copy)]
pub struct ReplicaSettings {
    /// Hard caps of each.
    pub caps: Caps,
    /// How long a call shall take: bounds the wait for a half-open breaker's one call.
    pub objective: Duration,
    /// Whether each of several replicas has a breaker.
    pub breakers: bool,
    /// Whether the model has one, above those.
    pub model_breaker: bool,
    /// Varies the breakers' pauses.
    pub seed: u64,
    /// A bug for tests to find: limits do not hold.
    #[doc(hidden)]
    pub loose: bool,
}

/// The replicas of one model.
#[derive(Debug)]
pub struct Replicas {
    replicas: Vec<Replica>,
    model: Option<Breaker>,
    eligible: Vec<usize>,
}

/// One replica.
#[derive(Debug)]
pub struct Replica {
    /// Its shared limit.
    pub permits: Permits,
    breaker: Option<Breaker>,
}

/// Who may be called now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// This replica.
    Replica(ReplicaId),
    /// None; time alone will help at this moment, if at all.
    None(Option<Duration>),
}

// === impl Replicas ===

impl Replicas {
    /// One replica for each limiter.
    pub fn new(settings: &ReplicaSettings, limiters: Vec<Box<dyn Limiter>>) -> Self {
        let probe_wait = settings.objective.saturating_mul(PROBE_OBJECTIVES).max(PROBE_WAIT_MIN);
        let breaker =
            |wanted: bool, number: u64| wanted.then(|| Breaker::new(settings.seed.wrapping_add(number), probe_wait));
        // A lone replica is the model: one breaker is enough.
        let several = limiters.len() > 1;
        let replicas = limiters.into_iter().zip(1..).map(|(limiter, number)| Replica {
            permits: Permits::new(limiter, settings.caps).loosened(settings.loose),
            breaker: breaker(settings.breakers && several, number),
        });
        Self { replicas: replicas.collect(), model: breaker(settings.model_breaker, 0), eligible: Vec::new() }
    }

    /// The replica of that place.
    ///
    /// # Panics
    /// Without such a replica.
    pub fn get(&self, replica: ReplicaId) -> &Replica {
        &self.replicas[replica.0]
    }

    /// As [`Replicas::get`], to change.
    ///
    /// # Panics
    /// Without such a replica.
    pub fn get_mut(&mut self, replica: ReplicaId) -> &mut Replica {
        &mut self.replicas[replica.0]
    }

    /// The replica of that place, if there is one.
    pub fn find_mut(&mut self, replica: ReplicaId) -> Option<&mut Replica> {
        self.replicas.get_mut(replica.0)
    }

    /// All, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter()
    }

    /// Time passed; see [`Permits::on_time`].
    pub fn on_time(&mut self, now: Duration, waiting: bool) {
        self.replicas.iter_mut().for_each(|replica| replica.permits.on_time(now, waiting));
    }

    /// See [`Permits::next_tick`].
    pub fn next_tick(&self) -> Option<Duration> {
        self.replicas.iter().map(|replica| replica.permits.next_tick()).min()
    }

    /// Calls in flight, all replicas together.
    pub fn calls(&self) -> usize {
        self.replicas.iter().map(|replica| replica.permits.calls()).sum()
    }

    /// The state of the model's breaker.
    pub fn state(&self, now: Duration) -> State {
        self.model.as_ref().map_or(State::Closed, |model| model.state(now))
    }

    /// When the model's breaker lets the next call through, if that is not now.
    pub fn asks_at(&self) -> Option<Duration> {
        self.model.as_ref().and_then(Breaker::allows_at)
    }

    /// The replica for the next call. Asks nothing of breakers yet: see [`Replicas::admit`].
    pub fn choose(&mut self, now: Duration, chance: &mut Chance) -> Choice {
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
        let better = self.replicas[second].is_freer(&self.replicas[first]);
        Choice::Replica(ReplicaId(if better { second } else { first }))
    }

    /// The replica with the largest free share for a second copy of a call of `rows`; never `but`, one at its limit, or
    /// one that is paced.
    pub fn idlest(&mut self, but: ReplicaId, rows: usize, now: Duration) -> Option<ReplicaId> {
        if self.state(now) != State::Closed {
            return None;
        }
        let mut best: Option<usize> = None;
        for place in (0..self.replicas.len()).filter(|place| *place != but.0) {
            let replica = &mut self.replicas[place];
            let closed = replica.breaker.as_ref().is_none_or(|breaker| breaker.state(now) == State::Closed);
            let knobs = replica.permits.knobs();
            let unfit = knobs.pace.is_finite() || knobs.rows_max < rows || replica.permits.free_ratio() <= 0.0;
            if !closed || unfit || replica.room(now).is_err() {
                continue;
            }
            if best.is_none_or(|best| self.replicas[place].is_freer(&self.replicas[best])) {
                best = Some(place);
            }
        }
        best.map(ReplicaId)
    }

    /// Asks both breakers for one call to `replica`, which then has to be made. `Some(true)` if it is the one call of a
    /// half-open breaker.
    pub fn admit(&mut self, replica: ReplicaId, now: Duration) -> Option<bool> {
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
    pub fn on_end(&mut self, replica: ReplicaId, sent: Duration, now: Duration, class: Class) {
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
    /// A larger share of its limit is free, or as large a share of one that is not bounded with fewer calls in flight.
    fn is_freer(&self, other: &Self) -> bool {
        let (own, others) = (self.permits.free_ratio(), other.permits.free_ratio());
        own > others || (own >= others && self.permits.calls() < other.permits.calls())
    }

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
