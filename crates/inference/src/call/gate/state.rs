//! What a gate knows, behind its lock: replicas, shared limits, turns, and who waits. Wakes nobody and keeps no time.

use std::collections::BTreeMap;
use std::task::{Poll, Waker};
use std::time::Duration;

use forebay_gate::blame::Tally;
use forebay_gate::chance::Chance;
use forebay_gate::hedge::Hedge;
use forebay_gate::limiter::{Class, Knobs, Limiter};
use forebay_gate::permits::{Refused, Size};
use forebay_gate::quota::{Quota, Told};
use forebay_gate::replicas::{Choice, ReplicaId, ReplicaSettings, Replicas};
use forebay_gate::retry::{Budget, BudgetSettings};
use forebay_gate::share::CallerId;
use forebay_gate::turns::Turns;
use forebay_gate::usage::{Usage, Used};

use super::bounds::Bound;
use super::copies::Copies;
use super::{GateSettings, Heard};
use crate::call::permit::Held;
use crate::protocols::Observed;

/// Earned by time alone: rows wait for the budget rather than fail, and without rows that are new nothing else refills it.
const BUDGET_PER_SECOND: f64 = 1.0;

pub(super) struct State {
    pub(super) replicas: Replicas,
    pub(super) budget: Budget,
    pub(super) chance: Chance,
    /// A timer is under way.
    pub(super) timer: bool,
    quota: Quota,
    turns: Turns,
    usage: Option<Usage>,
    hedge: Hedge,
    /// Second copies that wait for room.
    pub(super) copies: Copies,
    callers: BTreeMap<CallerId, Asking>,
    /// How many replicas of a local model stand behind the gate.
    pool: u16,
    joined: u32,
    /// What each replica's address told last.
    seen: Vec<Observed>,
    hedged: u64,
    /// How calls ended.
    pub(super) tally: Tally,
}

/// Somebody who asks.
struct Asking {
    calls: usize,
    bound: Bound,
    waits: Option<(Waker, Waits)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// For a call of its own to end.
    Own,
    /// For room that all share.
    Shared,
}

/// Why there was no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has as many calls in flight as it may have.
    Own,
    /// There is no room for anybody.
    Shared(Refused),
    /// Somebody else's turn comes first.
    Turn,
}

// === impl State ===

impl State {
    pub(super) fn new(seed: u64, limiters: Vec<Box<dyn Limiter>>, settings: &GateSettings) -> Self {
        let (caps, objective) = (settings.caps, settings.objective);
        let replicas = ReplicaSettings { caps, objective, breakers: true, model_breaker: false, seed, loose: false };
        Self {
            seen: vec![Observed::default(); limiters.len()],
            replicas: Replicas::new(&replicas, limiters),
            budget: Budget::new(BudgetSettings { per_second: BUDGET_PER_SECOND, ..BudgetSettings::default() }),
            chance: Chance::new(seed),
            timer: false,
            quota: Quota::new(settings.limits),
            turns: Turns::new(),
            usage: settings.answer_tokens.map(Usage::new),
            hedge: Hedge::new(settings.hedge),
            copies: Copies::default(),
            callers: BTreeMap::new(),
            pool: settings.pool,
            joined: 0,
            hedged: 0,
            tally: Tally::default(),
        }
    }

    pub(super) fn join(&mut self, weight: u32, bound: Bound) -> CallerId {
        self.joined += 1;
        let caller = CallerId(self.joined);
        self.turns.join(caller, weight);
        self.callers.insert(caller, Asking { calls: 0, bound, waits: None });
        caller
    }

    /// Other replicas stand behind the gate; those to be woken, who may have more calls now.
    pub(super) fn scale(&mut self, replicas: u16) -> Vec<Waker> {
        self.pool = replicas;
        let shares = self.callers.values_mut().filter(|caller| caller.bound.is_share());
        let waiting = shares.filter(|caller| matches!(caller.waits, Some((_, Waits::Own))));
        waiting.filter_map(|caller| caller.waits.take()).map(|(waker, _)| waker).collect()
    }

    pub(super) fn leave(&mut self, caller: CallerId) {
        self.turns.leave(caller);
        self.callers.remove(&caller);
    }

    /// What all replicas allow together.
    pub(super) fn knobs(&self) -> Knobs {
        let all = self.replicas.iter().map(|replica| replica.permits.knobs());
        let both = |one: Knobs, other: Knobs| Knobs {
            calls_max: one.calls_max.saturating_add(other.calls_max),
            rows_max: one.rows_max.max(other.rows_max),
            linger: one.linger.max(other.linger),
            pace: one.pace + other.pace,
        };
        let all = all.reduce(both).unwrap_or(Knobs { calls_max: 0, rows_max: 1, linger: 0.0, pace: f64::INFINITY });
        Knobs { calls_max: all.calls_max.min(self.quota.calls_max()), ..all }
    }

    pub(super) fn calls_max(&self, caller: CallerId) -> usize {
        self.callers.get(&caller).map_or(usize::MAX, |caller| caller.bound.calls_max(self.pool))
    }

    /// The replica that would take a small call of anybody now.
    pub(super) fn shared_room(&mut self, now: Duration) -> Result<ReplicaId, Refused> {
        self.quota.room(now)?;
        match self.replicas.choose(now, &mut self.chance) {
            Choice::Replica(replica) => Ok(replica),
            Choice::None(Some(at)) => Err(Refused::Until(at)),
            Choice::None(None) => Err(Refused::Full),
        }
    }

    /// The replica that would take a small call of `caller` now.
    pub(super) fn room(&mut self, caller: CallerId, now: Duration) -> Result<ReplicaId, Refusal> {
        if self.callers.get(&caller).is_some_and(|caller| caller.calls >= caller.bound.calls_max(self.pool)) {
            return Err(Refusal::Own);
        }
        let replica = self.shared_room(now).map_err(Refusal::Shared)?;
        if self.is_copys_turn(now) {
            return Err(Refusal::Turn);
        }
        if self.turns.is_turn(caller, now) { Ok(replica) } else { Err(Refusal::Turn) }
    }

    pub(super) fn acquire(&mut self, caller: CallerId, size: Size, now: Duration) -> Result<Held, Refusal> {
        let replica = self.room(caller, now)?;
        let size = self.sized(size);
        let mut held = self.take(replica, size, now).map_err(Refusal::Shared)?;
        held.caller = Some(caller);
        held.hedge_after = self.hedge.on_first();
        self.turns.serve(caller, size.cost);
        if let Some(caller) = self.callers.get_mut(&caller) {
            caller.calls += 1;
            caller.waits = None;
        }
        Ok(held)
    }

    /// Cost is tokens where the model counts them, and rows where nothing else is said.
    fn sized(&self, size: Size) -> Size {
        match &self.usage {
            Some(usage) => Size { cost: usage.estimate(size), ..size },
            None => size,
        }
    }

    fn take(&mut self, replica: ReplicaId, size: Size, now: Duration) -> Result<Held, Refused> {
        self.quota.try_take(size, now)?;
        let refused = match self.replicas.get_mut(replica).permits.try_acquire(size, now) {
            Ok(permit) if self.replicas.admit(replica, now).is_some() => {
                let several = self.seen.len() > 1;
                return Ok(Held { permit, replica, several, caller: None, hedge_after: None, lost: false });
            }
            Ok(permit) => {
                self.replicas.get_mut(replica).permits.release(permit, now);
                Refused::Full
            }
            Err(refused) => refused,
        };
        self.quota.give_back(size, false);
        Err(refused)
    }

    /// A permit for a second copy of a call to `but`: pending while no other replica has room or the shared limits leave
    /// none, and none if no copy is saved.
    pub(super) fn hedge(&mut self, but: ReplicaId, size: Size, now: Duration) -> Poll<Option<Held>> {
        if !self.hedge.may() {
            return Poll::Ready(None);
        }
        let Some(replica) = self.replicas.idlest(but, size.rows, now) else { return Poll::Pending };
        let Ok(held) = self.take(replica, size, now) else { return Poll::Pending };
        self.hedge.spend();
        self.hedged += 1;
        Poll::Ready(Some(held))
    }

    /// True if a second copy that waits could be sent now.
    fn is_copys_turn(&mut self, now: Duration) -> bool {
        let Self { copies, replicas, hedge, .. } = self;
        hedge.may() && copies.iter().any(|(but, rows)| replicas.idlest(but, rows, now).is_some())
    }

    pub(super) fn give_back(&mut self, held: Held, class: Class, now: Duration) {
        let Held { permit, replica, caller, lost, .. } = held;
        let class = if lost { Class::Cancelled } else { class };
        let (size, sent) = (permit.size(), permit.sent());
        match class {
            Class::Answered => self.tally.answered += 1,
            Class::Down => self.tally.down += 1,
            _ => {}
        }
        self.quota.give_back(size, class.may_have_worked());
        if class == Class::Answered && self.usage.as_ref().is_some_and(Usage::is_told) {
            self.quota.settle(size.cost, 0);
        }
        if matches!(class, Class::Answered | Class::Timeout) {
            self.hedge.on_end(now.saturating_sub(sent));
        }
        self.replicas.get_mut(replica).permits.give_back(permit, class, now);
        self.replicas.on_end(replica, sent, now, class);
        if let Some(caller) = caller.and_then(|caller| self.callers.get_mut(&caller)) {
            caller.calls = caller.calls.saturating_sub(1);
        }
    }

    /// What the address of `replica` has told by now, of a call of `size` and of those that overlapped with it.
    pub(super) fn hear(&mut self, replica: ReplicaId, size: Size, observed: Observed, now: Duration) {
        let Some(seen) = self.seen.get_mut(replica.0) else { return };
        let before = std::mem::replace(seen, observed);
        let used = observed.tokens.since(before.tokens);
        if used != Used::default() {
            self.quota.settle(0, used.total());
            if let Some(usage) = &mut self.usage {
                usage.on_answer(size, used);
            }
        }
        if observed.told == before.told {
            return;
        }
        let limits = observed.rate_limits.unwrap_or_default();
        self.quota.on_told(Told { calls: limits.requests(), cost: limits.tokens() }, now);
        if let Some(ratio) = observed.utilization {
            self.replicas.get_mut(replica).permits.on_utilization(ratio, now);
        }
    }

    pub(super) fn heard(&self) -> Heard {
        let mut observed = Observed::default();
        for seen in &self.seen {
            observed.tokens.prompt += seen.tokens.prompt;
            observed.tokens.generated += seen.tokens.generated;
            observed.told += seen.told;
            observed.rate_limits = seen.rate_limits.or(observed.rate_limits);
            observed.utilization = match (observed.utilization, seen.utilization) {
                (Some(one), Some(other)) => Some(one.max(other)),
                (one, other) => one.or(other),
            };
        }
        Heard { observed, hedged: self.hedged }
    }

    pub(super) fn wait(&mut self, caller: CallerId, refusal: &Refusal, waker: &Waker) {
        let waits = if *refusal == Refusal::Own { Waits::Own } else { Waits::Shared };
        match waits {
            Waits::Shared => self.turns.wait(caller),
            Waits::Own => self.turns.pass(caller),
        }
        if let Some(caller) = self.callers.get_mut(&caller) {
            caller.waits = Some((waker.clone(), waits));
        }
    }

    /// True if somebody waits for what all share, or a second copy does.
    pub(super) fn is_anybody_waiting(&self) -> bool {
        !self.copies.is_empty() || self.callers.values().any(|caller| matches!(caller.waits, Some((_, Waits::Shared))))
    }

    /// True if somebody waits and there is room.
    pub(super) fn is_room(&mut self, now: Duration) -> bool {
        self.is_anybody_waiting() && self.shared_room(now).is_ok()
    }

    /// Those to be woken: second copies, who waits for what all share, and `own`, whose call ended.
    pub(super) fn take_wakers(&mut self, now: Duration, own: Option<CallerId>) -> Vec<Waker> {
        self.turns.told(now);
        let waiting = self.callers.iter_mut().filter_map(|(id, caller)| match caller.waits {
            Some((_, Waits::Shared)) => caller.waits.take(),
            Some((_, Waits::Own)) if own == Some(*id) => caller.waits.take(),
            _ => None,
        });
        self.copies.take_wakers().into_iter().chain(waiting.map(|(waker, _)| waker)).collect()
    }
}
