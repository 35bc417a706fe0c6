//! The promises of the open table, one script of events each.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};

use forebay_core::Kind;

use super::super::events::Planted;
use super::*;
use crate::hosts::{Answers, Refused};

struct Script {
    core: Core,
    now: u64,
    submissions: u64,
}

impl Script {
    fn new(attempts_max: u32, journal: bool, planted: Planted) -> Self {
        let settings =
            CoreSettings { replicas: 1, calls_max: 1, remote: false, ahead: false, attempts_max, journal, planted };
        Self::of(settings)
    }

    fn of_replicas(replicas: u16) -> Self {
        let (attempts_max, planted) = (3, Planted::default());
        let journal = false;
        Self::of(CoreSettings { replicas, calls_max: 1, remote: false, ahead: false, attempts_max, journal, planted })
    }

    fn of(settings: CoreSettings) -> Self {
        Self { core: Core::new(settings), now: 0, submissions: 0 }
    }

    fn with_journal() -> Self {
        Self::new(3, true, Planted::default())
    }

    fn step(&mut self, event: Event) -> Vec<String> {
        self.now += 1;
        self.core.step(event, Instant(self.now)).iter().map(shown).collect()
    }

    fn submit(&mut self, ids: &[u128]) -> Vec<String> {
        self.submissions += 1;
        let batch = RequestBatch { ids: ids.iter().map(|id| RequestId(*id)).collect(), rows: rows(ids.len()) };
        self.step(Event::Submit { submission: SubmissionId(self.submissions), batch, replica: None })
    }

    fn unknown(&mut self, submission: u64, count: usize) -> Vec<String> {
        self.step(Event::Known { submission: SubmissionId(submission), known: vec![None; count] })
    }

    fn ready(&mut self) -> Vec<String> {
        self.step(Event::ReplicaReady { replica: 0 })
    }

    fn answer(&mut self, dispatch: u64, count: usize) -> Vec<String> {
        self.step(Event::Answered { dispatch: DispatchId(dispatch), result: Ok(rows(count).into()) })
    }

    fn mixed(&mut self, dispatch: u64, count: usize, refused: &[usize]) -> Vec<String> {
        let refused = refused.iter().map(|row| Refused { row: *row, reason: "no".into() }).collect();
        let result = Ok(Answers { rows: rows(count), refused });
        self.step(Event::Answered { dispatch: DispatchId(dispatch), result })
    }

    fn error(&mut self, dispatch: u64, kind: Kind) -> Vec<String> {
        self.step(Event::Answered { dispatch: DispatchId(dispatch), result: Err(failure(kind)) })
    }

    fn durable(&mut self, dispatch: u64) -> Vec<String> {
        self.step(Event::Durable { dispatch: DispatchId(dispatch), first: Vec::new() })
    }
}

fn rows(count: usize) -> RecordBatch {
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count as i64));
    RecordBatch::try_from_iter([("x", values)]).unwrap()
}

fn failure(kind: Kind) -> Failure {
    Failure { kind, reason: "because".into(), class: Class::Answered, retry_after: None, final_: false }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered { place, .. } => format!("@{place}"),
        Outcome::Failed { kind, together: true, .. } => format!("{} together", kind.name()),
        Outcome::Failed { kind, .. } | Outcome::GivenUp { kind, .. } => kind.name().to_string(),
    }
}

fn listed(ids: &[RequestId]) -> String {
    ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(",")
}

fn shown(action: &Action) -> String {
    match action {
        Action::Start { replica, after } => format!("start {replica} after {after:?}"),
        Action::Discard { replica } => format!("discard {replica}"),
        Action::Lookup { submission, ids } => format!("lookup {} [{}]", submission.0, listed(ids)),
        Action::Dispatch { dispatch, batch, .. } => {
            assert_eq!(batch.ids.len(), batch.rows.num_rows());
            format!("dispatch {} [{}]", dispatch.0, listed(&batch.ids))
        }
        Action::Append { dispatch, ids, .. } => format!("append {} [{}]", dispatch.0, listed(ids)),
        Action::AppendFailure { dispatch, ids, failure } => {
            format!("append failure {} [{}] {}", dispatch.0, listed(ids), failure.kind.name())
        }
        Action::Release { submission, .. } => format!("release {}", submission.0),
        Action::Tell { submission, result: Ok(outcomes) } => {
            format!("tell {} {}", submission.0, outcomes.iter().map(outcome).collect::<Vec<_>>().join(" "))
        }
        Action::Tell { submission, result: Err(failure) } => {
            format!("tell {} error {}", submission.0, failure.kind.name())
        }
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn an_answer_is_told_after_it_is_durable_and_its_permit_goes_back_before() {
    let mut script = Script::with_journal();
    assert_eq!(script.submit(&[7, 8]), ["lookup 1 [7,8]"]);
    assert_eq!(script.unknown(1, 2), ["start 0 after 0ns"]);
    assert_eq!(script.ready(), ["dispatch 1 [7,8]"]);
    assert_eq!(script.answer(1, 2), ["release 1", "append 1 [7,8]"]);
    assert_eq!(script.durable(1), ["tell 1 @0 @1"]);
    assert_eq!(script.core.open_rows(), 0);
    assert_eq!(script.core.counters().latencies.count(), 1);
}

#[test]
fn a_replica_that_is_not_wanted_any_more_ends_its_call_and_what_is_queued_for_it_goes_elsewhere() {
    let mut script = Script::of_replicas(1);
    script.submit(&[1]);
    assert_eq!(script.ready(), ["dispatch 1 [1]"]);
    assert_eq!(script.step(Event::Scale { replicas: 3 }), ["start 1 after 0ns", "start 2 after 0ns"]);
    assert_eq!(script.step(Event::ReplicaReady { replica: 2 }), NOTHING);
    assert_eq!(script.submit(&[2]), ["dispatch 2 [2]"]);
    let batch = RequestBatch { ids: vec![RequestId(3)], rows: rows(1) };
    script.submissions += 1;
    let submission = SubmissionId(script.submissions);
    assert_eq!(script.step(Event::Submit { submission, batch, replica: Some(2) }), NOTHING);
    assert_eq!(script.step(Event::Scale { replicas: 1 }), NOTHING);
    assert_eq!(script.step(Event::ReplicaReady { replica: 1 }), ["discard 1"]);
    assert_eq!(script.answer(1, 1), ["release 1", "tell 1 @0", "dispatch 3 [3]"]);
    assert_eq!(script.answer(2, 1), ["release 2", "tell 2 @0", "discard 2"]);
    assert_eq!(script.answer(3, 1), ["release 3", "tell 3 @0"]);
    assert_eq!(script.core.replicas(), Replicas { wanted: 1, ready: 1 });
    assert_eq!(script.core.counters().replica_restarts, 0);
}

#[test]
fn a_replica_that_leaves_and_dies_is_not_started_again_and_its_rows_are_run_by_the_others() {
    let mut script = Script::of_replicas(2);
    script.submit(&[1, 2]);
    assert_eq!(script.step(Event::ReplicaReady { replica: 1 }), ["dispatch 1 [1,2]"]);
    assert_eq!(script.step(Event::Scale { replicas: 1 }), NOTHING);
    assert_eq!(script.error(1, Kind::Unavailable), ["discard 1"]);
    assert_eq!(script.ready(), ["dispatch 2 [1]"]);
    assert_eq!(script.answer(2, 1), ["dispatch 3 [2]"]);
}

#[test]
fn nothing_is_started_for_a_job_that_is_over() {
    let mut script = Script::of_replicas(1);
    script.step(Event::End { failure: failure(Kind::Cancelled) });
    assert_eq!(script.step(Event::Scale { replicas: 2 }), NOTHING);
}

#[test]
fn a_journalled_row_is_told_and_never_run() {
    let mut script = Script::with_journal();
    script.submit(&[7, 8, 9]);
    let known = Outcome::Answered { rows: rows(5), place: 4 };
    let known = vec![None, Some(known), None];
    assert_eq!(script.step(Event::Known { submission: SubmissionId(1), known }), ["start 0 after 0ns"]);
    assert_eq!(script.ready(), ["dispatch 1 [7,9]"]);
    script.answer(1, 2);
    assert_eq!(script.durable(1), ["tell 1 @0 @4 @1"]);
    assert_eq!(script.core.counters().journal_hits, 1);
}

#[test]
fn a_submission_known_in_full_needs_no_replica() {
    let mut script = Script::with_journal();
    script.submit(&[7]);
    let known = vec![Some(Outcome::Failed {
        kind: Kind::Data,
        reason: "bad".into(),
        retry_after: None,
        final_: true,
        together: false,
    })];
    let actions = script.step(Event::Known { submission: SubmissionId(1), known });
    assert_eq!(actions, ["release 1", "tell 1 data"]);
}

#[test]
fn a_row_asked_for_twice_runs_once_and_both_are_told() {
    let mut script = Script::with_journal();
    script.submit(&[7, 8]);
    assert_eq!(script.submit(&[8, 9, 8]), ["lookup 2 [9]"], "rows being looked up are attached to");
    script.unknown(1, 2);
    assert_eq!(script.ready(), ["dispatch 1 [7,8]"]);
    assert_eq!(script.submit(&[7]), ["release 3"], "running rows are attached to");
    script.unknown(2, 1);
    assert_eq!(script.answer(1, 2), ["release 1", "append 1 [7,8]", "dispatch 2 [9]"]);
    assert_eq!(script.submit(&[7]), ["release 4"], "rows on their way into the journal are attached to");
    assert_eq!(script.durable(1), ["tell 3 @0", "tell 4 @0", "tell 1 @0 @1"]);
    assert_eq!(script.answer(2, 1), ["release 2", "append 2 [9]"]);
    assert_eq!(script.durable(2), ["tell 2 @1 @0 @1"]);
    assert_eq!(script.core.counters().attached, 4);
}

#[test]
fn rows_of_a_lost_replica_run_again_alone_and_the_poisonous_one_is_given_up() {
    let mut script = Script::with_journal();
    script.submit(&[7, 8]);
    script.unknown(1, 2);
    script.ready();
    assert_eq!(script.error(1, Kind::Unavailable), ["discard 0", "start 0 after 0ns"]);
    assert_eq!(script.ready(), ["dispatch 2 [7]"]);
    assert_eq!(script.error(2, Kind::Unavailable), ["discard 0", "start 0 after 0ns"]);
    assert_eq!(script.ready(), ["dispatch 3 [7]"]);
    assert_eq!(script.error(3, Kind::Timeout), ["discard 0", "start 0 after 0ns"], "the other row still waits");
    assert_eq!(script.ready(), ["dispatch 4 [8]"]);
    assert_eq!(script.answer(4, 1), ["release 1", "append 4 [8]"], "nothing is journalled of the one given up");
    assert_eq!(script.durable(4), ["tell 1 timeout @0"]);
    assert_eq!(script.core.counters().replica_restarts, 3);
}

/// A script whose replica has answered calls 1 to 4 quickly, and runs 5 with 6 sent ahead.
fn with_a_call_ahead() -> Script {
    let settings = CoreSettings {
        replicas: 1,
        calls_max: 1,
        remote: false,
        ahead: true,
        attempts_max: 3,
        journal: false,
        planted: Planted::default(),
    };
    let mut script = Script { core: Core::new(settings), now: 0, submissions: 0 };
    (1..=6).for_each(|id| drop(script.submit(&[id])));
    assert_eq!(script.ready(), ["dispatch 1 [1]"]);
    for id in 1..=3 {
        let next = id + 1;
        let told = [format!("release {id}"), format!("tell {id} @0"), format!("dispatch {next} [{next}]")];
        assert_eq!(script.answer(id, 1), told);
    }
    assert_eq!(script.answer(4, 1), ["release 4", "tell 4 @0", "dispatch 5 [5]", "dispatch 6 [6]"]);
    script
}

#[test]
fn a_call_ahead_of_one_that_ended_its_replica_is_sent_again_whole_and_not_counted_as_a_try() {
    let mut script = with_a_call_ahead();
    assert_eq!(script.error(5, Kind::Unavailable), ["discard 0", "start 0 after 0ns"]);
    for dispatch in [7, 8] {
        assert_eq!(script.ready(), [format!("dispatch {dispatch} [5]")], "a fresh replica gets nothing ahead");
        let lost = Event::ReplicaLost { replica: 0, failure: failure(Kind::Timeout) };
        let told = script.step(lost);
        let expected = ["discard 0", "start 0 after 0ns"];
        if dispatch == 7 {
            assert_eq!(told, expected)
        } else {
            assert_eq!(told[1..], ["release 5", "tell 5 timeout", expected[1]])
        }
    }
    assert_eq!(script.ready(), ["dispatch 9 [6]"]);
    assert_eq!(script.answer(9, 1), ["release 6", "tell 6 @0"]);
}

#[test]
fn a_call_ahead_takes_as_long_as_it_runs_and_not_as_it_waits() {
    let mut script = with_a_call_ahead();
    script.now += 40_000;
    script.answer(5, 1);
    script.now += 40_000;
    script.answer(6, 1);
    let longest = script.core.counters().latencies.percentile_micros(1.0).unwrap();
    assert!((40_000..46_000).contains(&longest), "{longest}");
}

#[test]
fn a_late_answer_of_a_lost_call_is_dropped_and_counted() {
    let mut script = Script::with_journal();
    script.submit(&[7]);
    script.unknown(1, 1);
    script.ready();
    let lost = script.step(Event::ReplicaLost { replica: 0, failure: failure(Kind::Unavailable) });
    assert_eq!(lost, ["discard 0", "start 0 after 0ns"]);
    assert_eq!(script.ready(), ["dispatch 2 [7]"]);
    assert_eq!(script.answer(1, 1), NOTHING);
    assert_eq!(script.core.counters().late_dropped, 1);
    assert_eq!(script.answer(2, 1), ["release 1", "append 2 [7]"]);
}

#[test]
fn an_answer_of_another_length_fails_only_rows_that_get_it_alone() {
    let mut script = Script::with_journal();
    script.submit(&[7, 8]);
    script.unknown(1, 2);
    script.ready();
    assert_eq!(script.answer(1, 3), ["dispatch 2 [7]"]);
    assert_eq!(script.answer(2, 1), ["append 2 [7]", "dispatch 3 [8]"]);
    assert_eq!(script.answer(3, 0), ["release 1", "append failure 3 [8] data"]);
    assert_eq!(script.durable(2), NOTHING);
    assert_eq!(script.durable(3), ["tell 1 @0 data"], "a refusal is durable before it is told");
}

#[test]
fn who_asked_for_one_row_hears_that_a_call_for_more_failed() {
    let planted = Planted::default();
    let settings =
        CoreSettings { replicas: 1, calls_max: 1, remote: true, ahead: false, attempts_max: 3, journal: true, planted };
    let mut script = Script::of(settings);
    script.submit(&[7, 8]);
    script.unknown(1, 2);
    script.ready();
    assert_eq!(script.submit(&[8]), ["release 2"], "running rows are attached to");
    let told = ["release 1", "tell 1 data together data together", "tell 2 data together"];
    assert_eq!(script.answer(1, 1), told, "of a remote model those who ask cut the call up");
    script.submit(&[8]);
    script.unknown(3, 1);
    assert_eq!(script.error(2, Kind::Data), ["release 3", "append failure 2 [8] data"]);
    assert_eq!(script.durable(2), ["tell 3 data"]);
}

#[test]
fn refused_rows_fail_alone_and_nothing_of_their_request_batch_runs_again() {
    let mut script = Script::with_journal();
    script.submit(&[7, 8, 9]);
    script.unknown(1, 3);
    script.ready();
    assert_eq!(
        script.mixed(1, 3, &[1]),
        ["append 2 [7,9]", "release 1", "append failure 3 [8] data"],
        "a refusal is as durable as an answer, and no call follows"
    );
    assert_eq!(script.durable(2), NOTHING);
    assert_eq!(script.durable(3), ["tell 1 @0 data @1"]);
    assert_eq!(script.core.counters().calls, 1);
}

#[test]
fn a_request_batch_that_is_refused_row_by_row_is_not_asked_again() {
    let mut script = Script::new(3, false, Planted::default());
    script.submit(&[7, 8]);
    script.ready();
    assert_eq!(script.mixed(1, 2, &[1, 0]), ["release 1", "tell 1 data data"]);
    assert_eq!(script.core.counters().calls, 1);
}

#[test]
fn rows_too_many_for_memory_are_halved() {
    let mut script = Script::with_journal();
    script.submit(&[1, 2, 3, 4, 5]);
    script.unknown(1, 5);
    script.ready();
    assert_eq!(script.error(1, Kind::Exhausted), ["dispatch 2 [1,2,3]"]);
    assert_eq!(script.answer(2, 3), ["append 2 [1,2,3]", "dispatch 3 [4,5]"]);
}

#[test]
fn wrong_types_fail_at_once_and_leave_no_record() {
    let mut script = Script::with_journal();
    script.submit(&[7, 8]);
    script.unknown(1, 2);
    script.ready();
    assert_eq!(script.error(1, Kind::Invalid), ["release 1", "tell 1 invalid together invalid together"]);
}

#[test]
fn a_replica_that_cannot_start_is_tried_for_a_minute_and_then_stops_the_job() {
    let mut script = Script::with_journal();
    script.submit(&[7]);
    script.unknown(1, 1);
    let failed = |kind| Event::ReplicaFailed { replica: 0, failure: failure(kind) };
    for pause in ["100ms", "200ms", "400ms", "800ms", "1.6s", "3.2s", "6.4s", "10s", "10s", "10s", "10s"] {
        assert_eq!(script.step(failed(Kind::Unavailable)), [format!("start 0 after {pause}")]);
    }
    assert_eq!(script.step(failed(Kind::Unavailable)), ["release 1", "tell 1 invalid"], "no row's fault");
    script.submit(&[8]);
    assert_eq!(script.unknown(2, 1), ["start 0 after 10s"], "new rows give it another chance");
    assert_eq!(script.step(failed(Kind::Invalid)), ["release 2", "tell 2 invalid"], "no use in trying that again");
}

#[test]
fn several_replicas_that_cannot_start_stop_the_job_too() {
    let mut script = Script::of_replicas(2);
    assert_eq!(script.submit(&[7]), ["start 0 after 0ns", "start 1 after 0ns"]);
    let failed = |replica| Event::ReplicaFailed { replica, failure: failure(Kind::Invalid) };
    assert_eq!(script.step(failed(0)), ["start 0 after 100ms"], "the other may do better");
    assert_eq!(script.step(failed(1)), ["release 1", "tell 1 invalid"]);
}

#[test]
fn a_failed_journal_tells_everyone_and_takes_nothing_more() {
    let mut script = Script::with_journal();
    script.submit(&[7]);
    script.unknown(1, 1);
    script.ready();
    script.answer(1, 1);
    let broken = script.step(Event::JournalFailed { failure: failure(Kind::Exhausted) });
    assert_eq!(broken, ["tell 1 error exhausted"]);
    assert_eq!(script.durable(1), NOTHING);
    assert_eq!(script.submit(&[8]), ["tell 2 error exhausted"]);
}

#[test]
fn the_first_outcome_in_the_journal_is_the_one_told() {
    let mut script = Script::with_journal();
    script.submit(&[7, 8]);
    script.unknown(1, 2);
    script.ready();
    script.answer(1, 2);
    let first = vec![(1, Outcome::Answered { rows: rows(10), place: 9 })];
    assert_eq!(script.step(Event::Durable { dispatch: DispatchId(1), first }), ["tell 1 @0 @9"]);
}

#[test]
fn without_a_journal_answers_are_told_at_once() {
    let mut script = Script::new(3, false, Planted::default());
    assert_eq!(script.submit(&[7]), ["start 0 after 0ns"]);
    assert_eq!(script.ready(), ["dispatch 1 [7]"]);
    assert_eq!(script.answer(1, 1), ["release 1", "tell 1 @0"]);
}

#[test]
fn planted_bugs_do_what_they_say() {
    let mut script = Script::new(3, true, Planted { tell_before_durable: true, ..Planted::default() });
    script.submit(&[7]);
    script.unknown(1, 1);
    script.ready();
    assert_eq!(script.answer(1, 1), ["release 1", "tell 1 @0", "append 1 [7]"]);
    assert_eq!(script.durable(1), NOTHING);

    let mut script = Script::new(3, true, Planted { no_lookup: true, ..Planted::default() });
    assert_eq!(script.submit(&[7]), ["start 0 after 0ns"]);

    let mut script = Script::new(3, true, Planted { cancel_on_drop: true, ..Planted::default() });
    script.submit(&[7]);
    script.unknown(1, 1);
    script.ready();
    assert_eq!(script.step(Event::Cancel { submission: SubmissionId(1) }), ["discard 0"]);
    assert_eq!(script.submit(&[7]), ["lookup 2 [7]"]);
    script.unknown(2, 1);
    assert_eq!(script.ready(), ["dispatch 2 [7]"], "the row runs twice");
}
