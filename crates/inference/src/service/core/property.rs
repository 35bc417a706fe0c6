//! The promises of the open table under any order of events: a world in which lookups, calls, appends and starts finish in
//! an order, and with a result, that the test draws, and in which replicas come and go as it draws, too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use forebay_core::Kind;
use proptest::prelude::*;

use super::super::events::Planted;
use super::*;
use crate::hosts::{Answers, Refused};

/// Work that the core asked for and that has not come back.
#[derive(Debug)]
enum Pending {
    Lookup(SubmissionId, Vec<RequestId>),
    Call { dispatch: DispatchId, replica: u16, batch: RequestBatch, given_up: bool },
    Append(DispatchId, Vec<(RequestId, Outcome)>),
    Start(u16),
}

struct World {
    core: Core,
    now: u64,
    pending: Vec<Pending>,
    journal: BTreeMap<RequestId, Outcome>,
    asked: BTreeMap<SubmissionId, Vec<RequestId>>,
    released: BTreeSet<SubmissionId>,
    told: BTreeSet<SubmissionId>,
    /// Whether replicas are given calls ahead.
    ahead: bool,
    /// How many replicas are wanted.
    wanted: u16,
    loaded: BTreeSet<u16>,
    /// Where each call went.
    sent: BTreeMap<DispatchId, u16>,
    /// How often a row was in a call that failed, or that ended its replica.
    failed: BTreeMap<RequestId, u32>,
}

/// How often rows are tried.
const ATTEMPTS_MAX: u32 = 3;
/// Wanted at first.
const REPLICAS: u16 = 2;

type Checked = Result<(), TestCaseError>;

fn rows(ids: &[RequestId]) -> RecordBatch {
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| id.0 as i64)));
    RecordBatch::try_from_iter([("id", values)]).unwrap()
}

// === impl World ===

impl World {
    fn new(planted: Planted, ahead: bool) -> Self {
        let settings = CoreSettings {
            replicas: REPLICAS,
            calls_max: 1,
            remote: false,
            ahead,
            attempts_max: ATTEMPTS_MAX,
            journal: true,
            planted,
        };
        Self {
            core: Core::new(settings),
            now: 0,
            pending: Vec::new(),
            journal: BTreeMap::new(),
            asked: BTreeMap::new(),
            released: BTreeSet::new(),
            told: BTreeSet::new(),
            ahead,
            wanted: REPLICAS,
            loaded: BTreeSet::new(),
            sent: BTreeMap::new(),
            failed: BTreeMap::new(),
        }
    }

    fn submit(&mut self, ids: Vec<RequestId>) -> Checked {
        let submission = SubmissionId(self.asked.len() as u64);
        self.asked.insert(submission, ids.clone());
        let rows = rows(&ids);
        self.step(Event::Submit { submission, batch: RequestBatch { ids, rows }, replica: None })
    }

    fn scale(&mut self, replicas: u16) -> Checked {
        self.wanted = replicas;
        self.step(Event::Scale { replicas })
    }

    /// Lets the pending work number `which` end; `how` draws the result, 0 is the good one.
    fn finish(&mut self, which: usize, how: u8) -> Checked {
        if self.pending.is_empty() {
            return Ok(());
        }
        let which = self.oldest_beside(which % self.pending.len());
        let event = match self.pending.swap_remove(which) {
            Pending::Lookup(submission, ids) => {
                let known = ids.iter().map(|id| self.journal.get(id).cloned()).collect();
                Event::Known { submission, known }
            }
            Pending::Append(dispatch, outcomes) => {
                for (id, outcome) in outcomes {
                    prop_assert!(self.journal.insert(id, outcome).is_none(), "{:?} is journalled twice", id);
                }
                Event::Durable { dispatch, first: Vec::new() }
            }
            Pending::Start(replica) if how % 4 == 3 => {
                Event::ReplicaFailed { replica, failure: failure(Kind::Unavailable) }
            }
            Pending::Start(replica) => {
                self.loaded.insert(replica);
                Event::ReplicaReady { replica }
            }
            Pending::Call { dispatch, replica, batch, given_up } => match how % 9 {
                3 if !given_up => {
                    self.count_failure(&batch);
                    let call = Pending::Call { dispatch, replica, batch, given_up: true };
                    self.pending.push(call);
                    Event::ReplicaLost { replica, failure: failure(Kind::Timeout) }
                }
                4 | 5 if !given_up => {
                    self.count_failure(&batch);
                    let kind = if how % 9 == 4 { Kind::Unavailable } else { Kind::Exhausted };
                    Event::Answered { dispatch, result: Err(failure(kind)) }
                }
                4 => Event::Answered { dispatch, result: Err(failure(Kind::Unavailable)) },
                5 => Event::Answered { dispatch, result: Err(failure(Kind::Exhausted)) },
                6 => Event::Answered { dispatch, result: Err(failure(Kind::Data)) },
                8 => Event::Answered { dispatch, result: Ok(every_other(batch)) },
                7 => Event::Answered { dispatch, result: Ok(rows(&batch.ids[1..]).into()) },
                _ => Event::Answered { dispatch, result: Ok(batch.rows.into()) },
            },
        };
        self.step(event)
    }

    /// The place of the call that runs where the one at `place` was sent: the oldest of its replica.
    fn oldest_beside(&self, place: usize) -> usize {
        let Pending::Call { replica: wanted, given_up: false, .. } = &self.pending[place] else { return place };
        let beside = self.pending.iter().enumerate().filter_map(|(place, pending)| match pending {
            Pending::Call { dispatch, replica, given_up: false, .. } if replica == wanted => Some((*dispatch, place)),
            _ => None,
        });
        beside.min().map_or(place, |(_, oldest)| oldest)
    }

    fn count_failure(&mut self, batch: &RequestBatch) {
        batch.ids.iter().for_each(|id| *self.failed.entry(*id).or_default() += 1);
    }

    fn step(&mut self, event: Event) -> Checked {
        self.now += 1;
        let gone = self.ended_by(&event);
        for action in self.core.step(event, Instant(self.now)) {
            if let Action::Discard { replica } = action {
                prop_assert!(gone == Some(replica) || !self.runs(replica), "{} is let go while it works", replica);
            }
            self.carry_out(action)?;
        }
        let ready = self.loaded.iter().filter(|replica| **replica < self.wanted).count();
        prop_assert_eq!(self.core.replicas(), Replicas { wanted: self.wanted, ready: ready as u16 });
        let idle = self.loaded.iter().find(|replica| **replica >= self.wanted && !self.runs(**replica));
        prop_assert!(idle.is_none(), "{:?} stays for nothing", idle);
        Ok(())
    }

    /// The replica that `event` tells is gone. The call that ended so is pending no more.
    fn ended_by(&self, event: &Event) -> Option<u16> {
        match event {
            Event::ReplicaLost { replica, .. } => Some(*replica),
            Event::Answered { dispatch, result: Err(failure) } if failure.kind == Kind::Unavailable => {
                self.sent.get(dispatch).copied()
            }
            _ => None,
        }
    }

    /// Whether `replica` has calls that were not given up.
    fn runs(&self, replica: u16) -> bool {
        self.pending
            .iter()
            .any(|pending| matches!(pending, Pending::Call { replica: busy, given_up: false, .. } if *busy == replica))
    }

    fn carry_out(&mut self, action: Action) -> Checked {
        match action {
            Action::Start { replica, .. } => {
                prop_assert!(replica < self.wanted, "{} is started for nothing", replica);
                let starting =
                    self.pending.iter().any(|pending| matches!(pending, Pending::Start(other) if *other == replica));
                prop_assert!(!starting && !self.loaded.contains(&replica), "{} is started twice", replica);
                self.pending.push(Pending::Start(replica));
            }
            Action::Discard { replica: gone } => {
                prop_assert!(self.loaded.remove(&gone), "{} is let go twice", gone);
                for pending in &mut self.pending {
                    if let Pending::Call { replica, given_up, .. } = pending {
                        *given_up |= *replica == gone;
                    }
                }
            }
            Action::Lookup { submission, ids } => self.pending.push(Pending::Lookup(submission, ids)),
            Action::Dispatch { dispatch, replica, batch, .. } => self.check_call(dispatch, replica, batch)?,
            Action::Append { dispatch, ids, rows } => {
                let outcome = |place| Outcome::Answered { rows: rows.clone(), place };
                let outcomes = ids.into_iter().enumerate().map(|(place, id)| (id, outcome(place))).collect();
                self.pending.push(Pending::Append(dispatch, outcomes));
            }
            Action::AppendFailure { dispatch, ids, failure } => {
                let outcome = Outcome::Failed {
                    kind: failure.kind,
                    reason: failure.reason,
                    retry_after: None,
                    final_: false,
                    together: false,
                };
                let outcomes = ids.into_iter().map(|id| (id, outcome.clone())).collect();
                self.pending.push(Pending::Append(dispatch, outcomes));
            }
            Action::Release { submission, .. } => {
                prop_assert!(self.released.insert(submission), "released twice");
                prop_assert!(!self.told.contains(&submission), "released after it was told");
            }
            Action::Tell { submission, result } => {
                prop_assert!(self.told.insert(submission), "told twice");
                prop_assert!(self.released.contains(&submission), "told before its permit went back");
                let outcomes = result.map_err(|failure| TestCaseError::fail(failure.reason))?;
                self.check_told(submission, &outcomes)?;
            }
        }
        Ok(())
    }

    fn check_call(&mut self, dispatch: DispatchId, replica: u16, batch: RequestBatch) -> Checked {
        for id in &batch.ids {
            prop_assert!(!self.journal.contains_key(id), "{:?} runs though it is finished", id);
        }
        let mut calls = 0;
        for pending in &self.pending {
            if let Pending::Call { batch: other, replica: busy, given_up: false, .. } = pending {
                calls += usize::from(*busy == replica);
                prop_assert!(other.ids.iter().all(|id| !batch.ids.contains(id)), "a row runs twice at once");
            }
        }
        prop_assert!(calls <= usize::from(self.ahead), "too many calls at once of one replica");
        prop_assert!(replica < self.wanted && self.loaded.contains(&replica), "{} takes no calls", replica);
        self.sent.insert(dispatch, replica);
        self.pending.push(Pending::Call { dispatch, replica, batch, given_up: false });
        Ok(())
    }

    fn check_told(&self, submission: SubmissionId, outcomes: &[Outcome]) -> Checked {
        let ids = &self.asked[&submission];
        prop_assert_eq!(ids.len(), outcomes.len());
        for (id, outcome) in ids.iter().zip(outcomes) {
            match outcome {
                Outcome::Answered { rows, place } => {
                    let value = rows.column(0).as_primitive::<Int64Type>().value(*place);
                    prop_assert_eq!(value, id.0 as i64, "another row's answer");
                    prop_assert!(self.journal.contains_key(id), "told before it is durable");
                }
                Outcome::Failed { kind: Kind::Data, .. } => {
                    prop_assert!(self.journal.contains_key(id), "told before it is durable");
                }
                // No record of it: another submission may have had more luck since.
                Outcome::Failed { .. } | Outcome::GivenUp { .. } => {
                    let failed = self.failed.get(id).copied().unwrap_or_default();
                    prop_assert!(failed >= ATTEMPTS_MAX, "given up after {} calls of its own that failed", failed);
                }
            }
        }
        Ok(())
    }

    /// Lets everything pending end well; then everyone must have been told.
    fn settle(&mut self) -> Checked {
        while !self.pending.is_empty() {
            self.finish(0, 0)?;
        }
        prop_assert_eq!(self.told.len(), self.asked.len(), "someone was never told");
        prop_assert_eq!(self.core.open_rows(), 0);
        Ok(())
    }
}

fn failure(kind: Kind) -> Failure {
    Failure { kind, reason: "because".into(), class: Class::Answered, retry_after: None, final_: false }
}

/// Answers that refuse every other row, with something else in its place.
fn every_other(batch: RequestBatch) -> Answers {
    let refused = |row| Refused { row, reason: "because".into() };
    let ids: Vec<RequestId> = batch.ids.iter().enumerate().map(|(row, id)| RequestId(id.0 + row as u128 % 2)).collect();
    Answers { rows: rows(&ids), refused: (1..ids.len()).step_by(2).map(refused).collect() }
}

#[derive(Debug, Clone)]
enum Step {
    Submit(Vec<RequestId>),
    Finish(usize, u8),
    Scale(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ids = prop::collection::vec((0u128..12).prop_map(RequestId), 1..6);
    let step = prop_oneof![
        2 => ids.prop_map(Step::Submit),
        1 => (1u16..5).prop_map(Step::Scale),
        8 => (any::<usize>(), any::<u8>()).prop_map(|(which, how)| Step::Finish(which, how)),
    ];
    prop::collection::vec(step, 0..150)
}

fn run(planted: Planted, ahead: bool, steps: Vec<Step>) -> Checked {
    let mut world = World::new(planted, ahead);
    for step in steps {
        match step {
            Step::Submit(ids) => world.submit(ids)?,
            Step::Finish(which, how) => world.finish(which, how)?,
            Step::Scale(replicas) => world.scale(replicas)?,
        }
    }
    world.settle()
}

proptest! {
    #[test]
    fn promises_hold_in_any_order_of_events(ahead in any::<bool>(), steps in steps()) {
        run(Planted::default(), ahead, steps)?;
    }
}

/// True if some drawn order of events breaks a promise.
fn is_caught(planted: Planted) -> bool {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner.run(&steps(), |steps| run(planted, true, steps)).is_err()
}

#[test]
fn planted_bugs_are_caught() {
    assert!(is_caught(Planted { tell_before_durable: true, ..Planted::default() }));
    assert!(is_caught(Planted { no_lookup: true, ..Planted::default() }));
    assert!(is_caught(Planted { blame_all: true, ..Planted::default() }));
    assert!(is_caught(Planted { cut_short: true, ..Planted::default() }));
}
