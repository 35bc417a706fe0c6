//! The service over a host in memory, in virtual time.

use std::collections::VecDeque;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use forebay_core::Kind;
use forebay_core::testing::{ManualEnv, MemoryDisk};
use forebay_core::time::Instant;

use super::*;
use crate::call::{GateSettings, ModelGate};
use crate::hosts::{Answers, Replica, Signature};
use crate::journal::JournalSettings;
use crate::request::RequestId;
use forebay_gate::hedge::HedgeSettings;
use forebay_gate::limiter::latch::{Latch, Settings};
use forebay_gate::limiter::{Fixed, Limiter};
use forebay_gate::permits::Size;

/// What a scripted replica does with its next call, after 10 ms.
#[derive(Clone, Copy)]
enum Mood {
    Answer,
    Hang,
    Panic,
    Fail(Kind),
}

#[derive(Clone)]
struct Scripted {
    env: ManualEnv,
    moods: Arc<Mutex<VecDeque<Mood>>>,
    run: Arc<Mutex<Vec<u128>>>,
    starts: Arc<Mutex<u32>>,
    /// When the call that came last will end.
    busy_until: Arc<Mutex<Instant>>,
    ahead: bool,
}

impl Scripted {
    fn new(env: &ManualEnv, moods: &[Mood]) -> Self {
        let moods = Arc::new(Mutex::new(moods.iter().copied().collect()));
        let busy_until = Arc::new(Mutex::new(env.now()));
        Self { env: env.clone(), moods, run: Arc::default(), starts: Arc::default(), busy_until, ahead: false }
    }

    fn run(&self) -> Vec<u128> {
        self.run.lock().unwrap().clone()
    }
}

impl Host for Scripted {
    fn signature(&self) -> BoxFuture<'static, Result<Signature>> {
        Box::pin(async { Ok(Signature::default()) })
    }

    fn start(&self, _replica: u16) -> BoxFuture<'static, Result<Arc<dyn Replica>>> {
        let copy: Arc<dyn Replica> =
            Arc::new(Self { busy_until: Arc::new(Mutex::new(self.env.now())), ..self.clone() });
        *self.starts.lock().unwrap() += 1;
        Box::pin(async move { Ok(copy) })
    }

    fn takes_ahead(&self) -> bool {
        self.ahead
    }

    fn revision(&self) -> String {
        "scripted".into()
    }
}

impl Replica for Scripted {
    fn call(&self, batch: RequestBatch) -> BoxFuture<'static, Result<Answers>> {
        let mood = self.moods.lock().unwrap().pop_front().unwrap_or(Mood::Answer);
        let this = self.clone();
        let end = {
            let until = &mut *self.busy_until.lock().unwrap();
            let takes = if matches!(mood, Mood::Hang) { Duration::from_secs(3600) } else { Duration::from_millis(10) };
            *until = self.env.now().max(*until) + takes;
            *until
        };
        Box::pin(async move {
            this.env.sleep(end.since(this.env.now())).await;
            match mood {
                Mood::Answer => {
                    this.run.lock().unwrap().extend(batch.ids.iter().map(|id| id.0));
                    Ok(batch.rows.into())
                }
                Mood::Hang => futures::future::pending().await,
                Mood::Panic => panic!("out of range"),
                Mood::Fail(kind) => Err(Error::new(kind, "call model")),
            }
        })
    }
}

fn batch(ids: &[u128]) -> RequestBatch {
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| *id as i64)));
    let rows = RecordBatch::try_from_iter([("x", values)]).unwrap();
    RequestBatch { ids: ids.iter().map(|id| RequestId(*id)).collect(), rows }
}

fn value(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered { rows, place } => {
            let values = rows.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
            values.value(*place).to_string()
        }
        Outcome::Failed { kind, .. } | Outcome::GivenUp { kind, .. } => kind.name().to_string(),
    }
}

fn values(result: Result<Vec<Outcome>>) -> Vec<String> {
    result.unwrap().iter().map(value).collect()
}

fn service(moods: &[Mood]) -> (ManualEnv, Scripted, Service) {
    let env = ManualEnv::new(1);
    let host = Scripted::new(&env, moods);
    let settings = ServiceSettings { timeout: Duration::from_secs(1), ..ServiceSettings::default() };
    let service = Service::new(Arc::new(env.clone()), Arc::new(host.clone()), None, settings);
    (env, host, service)
}

#[test]
fn rows_are_answered_in_their_order_and_the_call_is_measured() {
    let (env, host, service) = service(&[]);
    let told = env.block_on(service.submit(batch(&[3, 1, 2]), Permit::unlimited()));
    assert_eq!(values(told), ["3", "1", "2"]);
    let counters = service.counters();
    assert_eq!((counters.calls, counters.rows, *host.starts.lock().unwrap()), (1, 3, 1));
    let micros = counters.latencies.percentile_micros(0.5).unwrap();
    assert!((10_000..=11_250).contains(&micros), "{micros}");
    assert!(counters.last_told > counters.first_sent);
}

#[test]
fn a_dropped_submit_goes_on_and_is_joined_by_the_next() {
    let (env, host, service) = service(&[]);
    drop(service.submit(batch(&[1]), Permit::unlimited()));
    env.settle();
    assert_eq!(values(env.block_on(service.submit(batch(&[1]), Permit::unlimited()))), ["1"]);
    assert_eq!(host.run(), [1], "run once");
    assert_eq!(service.counters().attached, 1);
}

#[test]
fn a_permit_goes_back_when_the_model_has_answered() {
    let (env, _, service) = service(&[]);
    let limiter = ModelGate::fixed(Arc::new(env.clone()), 1, 1, Duration::ZERO);
    let permit = limiter.caller(1, None).try_acquire(Size::default(), std::task::Waker::noop()).unwrap();
    let told = service.submit(batch(&[1]), permit);
    assert_eq!(limiter.in_flight(), 1);
    env.settle();
    assert_eq!(limiter.in_flight(), 1, "the model is still at it");
    env.block_on(told).unwrap();
    assert_eq!(limiter.in_flight(), 0);
}

#[test]
fn a_replica_that_dies_costs_one_more_try() {
    let (env, host, service) = service(&[Mood::Fail(Kind::Unavailable)]);
    assert_eq!(values(env.block_on(service.submit(batch(&[1, 2]), Permit::unlimited()))), ["1", "2"]);
    assert_eq!((service.counters().replica_restarts, *host.starts.lock().unwrap()), (1, 2));
}

#[test]
fn a_replica_that_hangs_is_given_up_after_the_timeout() {
    let (env, _, service) = service(&[Mood::Hang, Mood::Hang, Mood::Hang]);
    assert_eq!(values(env.block_on(service.submit(batch(&[1]), Permit::unlimited()))), ["timeout"]);
    assert_eq!(service.counters().calls, 3);
}

/// Outcomes of five rows, one a call, of a model that is sent calls ahead.
fn five_in_a_row(mood_of_the_last: Mood, timeout: Duration) -> (Vec<String>, Service) {
    let env = ManualEnv::new(1);
    let moods = [Mood::Answer, Mood::Answer, Mood::Answer, Mood::Answer, mood_of_the_last];
    let host = Scripted { ahead: true, ..Scripted::new(&env, &moods) };
    let settings = ServiceSettings { timeout, attempts_max: 2, ..ServiceSettings::default() };
    let service = Service::new(Arc::new(env.clone()), Arc::new(host), None, settings);
    let told: Vec<_> = (1..=7).map(|id| service.submit(batch(&[id]), Permit::unlimited())).collect();
    let told = told.into_iter().flat_map(|told| values(env.block_on(told))).collect();
    (told, service)
}

#[test]
fn the_timeout_of_a_call_ahead_begins_when_it_does() {
    let (told, service) = five_in_a_row(Mood::Answer, Duration::from_millis(11));
    assert_eq!(told, ["1", "2", "3", "4", "5", "6", "7"]);
    assert_eq!((service.counters().calls, service.counters().replica_restarts), (7, 0));
}

#[test]
fn a_call_that_ends_its_replica_or_hangs_is_tried_again_and_the_one_sent_ahead_just_runs() {
    for mood in [Mood::Fail(Kind::Unavailable), Mood::Hang] {
        let (told, service) = five_in_a_row(mood, Duration::from_secs(1));
        assert_eq!(told, ["1", "2", "3", "4", "5", "6", "7"]);
        assert_eq!((service.counters().calls, service.counters().replica_restarts), (9, 1), "5 and 6 were sent twice");
    }
}

#[test]
fn a_panic_in_a_host_fails_its_rows_and_not_the_service() {
    let (env, _, service) = service(&[Mood::Panic]);
    assert_eq!(values(env.block_on(service.submit(batch(&[1]), Permit::unlimited()))), ["internal"]);
    assert_eq!(values(env.block_on(service.submit(batch(&[1]), Permit::unlimited()))), ["1"]);
}

#[test]
fn a_service_that_ends_drops_its_work_and_its_replicas() {
    let (env, host, service) = service(&[Mood::Hang]);
    let told = service.submit(batch(&[1]), Permit::unlimited());
    env.settle();
    let held = Arc::strong_count(&host.moods);
    service.end();
    assert_eq!(env.block_on(told).unwrap_err().kind(), Kind::Cancelled);
    env.settle();
    assert!(Arc::strong_count(&host.moods) < held, "the replica is gone, and the call with it");
    assert_eq!(env.block_on(service.submit(batch(&[2]), Permit::unlimited())).unwrap_err().kind(), Kind::Cancelled);
    assert!(host.run().is_empty());
}

#[test]
fn warm_starts_replicas_without_rows() {
    let (env, host, service) = service(&[]);
    service.warm();
    env.settle();
    assert_eq!((*host.starts.lock().unwrap(), service.counters().calls), (1, 0));
}

#[test]
fn more_replicas_answer_at_once_and_fewer_end_what_they_run() {
    let (env, host, service) = service(&[]);
    let asked = |ids: [u128; 3]| ids.map(|id| service.submit(batch(&[id]), Permit::unlimited()));
    service.warm();
    env.settle();
    let one = Arc::strong_count(&host.moods);
    service.scale(3);
    env.settle();
    assert_eq!(service.replicas(), Replicas { wanted: 3, ready: 3 });
    let begun = env.now();
    let told = asked([1, 2, 3]);
    service.scale(1);
    env.block_on(futures::future::try_join_all(told)).unwrap();
    assert_eq!(env.now().since(begun), Duration::from_millis(10), "all three at once");
    env.settle();
    assert_eq!(Arc::strong_count(&host.moods), one, "two are gone");
    env.block_on(futures::future::try_join_all(asked([4, 5, 6]))).unwrap();
    assert_eq!((env.now().since(begun), service.replicas().ready), (Duration::from_millis(40), 1));
    assert_eq!((host.run().len(), service.counters().replica_restarts), (6, 0));
}

fn journalled(env: &ManualEnv, host: &Scripted, attempt: u64, planted: Planted) -> Service {
    let shared: Arc<dyn Env> = Arc::new(env.clone());
    let opening = Journal::open(Arc::clone(&shared), "journal/model", attempt, JournalSettings::default());
    let (journal, _) = env.block_on(opening).unwrap();
    let settings = ServiceSettings { planted, ..ServiceSettings::default() };
    Service::new(shared, Arc::new(host.clone()), Some(journal), settings)
}

/// A process that answers rows, loses power, and is started again over what its disk kept.
fn asked_before_and_after_a_crash(planted: Planted) -> (Vec<u128>, Vec<String>) {
    let disk = MemoryDisk::new();
    let env = ManualEnv::with_disk(1, Arc::new(disk.clone()));
    let host = Scripted::new(&env, &[Mood::Answer, Mood::Fail(Kind::Data), Mood::Fail(Kind::Data)]);
    let service = journalled(&env, &host, 1, planted);
    env.block_on(service.submit(batch(&[1, 2]), Permit::unlimited())).unwrap();
    env.block_on(service.submit(batch(&[3]), Permit::unlimited())).unwrap();
    env.kill();
    disk.crash(1);
    let again = ManualEnv::with_disk(2, Arc::new(disk));
    let host_again = Scripted { env: again.clone(), ..host };
    let service = journalled(&again, &host_again, 2, planted);
    let told = again.block_on(service.submit(batch(&[3, 2, 4, 1]), Permit::unlimited()));
    (host_again.run(), values(told))
}

#[test]
fn what_was_told_before_a_crash_is_never_run_again() {
    let (run, told) = asked_before_and_after_a_crash(Planted::default());
    assert_eq!(told, ["data", "2", "data", "1"]);
    assert_eq!(run, [1, 2], "4 is refused by the script, the others come from the journal");
}

#[test]
fn the_planted_bugs_break_that() {
    let run_twice = |planted| asked_before_and_after_a_crash(planted).0 != [1, 2];
    assert!(run_twice(Planted { no_lookup: true, ..Planted::default() }));
    assert!(run_twice(Planted { tell_before_durable: true, ..Planted::default() }));
}

#[test]
fn nothing_is_told_when_the_journal_cannot_keep_it() {
    let disk = MemoryDisk::new();
    let env = ManualEnv::with_disk(1, Arc::new(disk.clone()));
    let host = Scripted::new(&env, &[]);
    let service = journalled(&env, &host, 1, Planted::default());
    let told = service.submit(batch(&[1]), Permit::unlimited());
    env.settle();
    disk.fail_syncs(1);
    assert!(env.block_on(told).is_err());
    assert_eq!(host.run(), [1], "the model had answered");
    assert!(env.block_on(service.submit(batch(&[2]), Permit::unlimited())).is_err(), "and nothing more is taken");
}

#[test]
fn a_dropped_submit_becomes_durable_unless_that_is_planted() {
    let run = |planted| {
        let env = ManualEnv::new(1);
        let host = Scripted::new(&env, &[]);
        let service = journalled(&env, &host, 1, planted);
        let mut told = service.submit(batch(&[1]), Permit::unlimited());
        env.settle();
        assert!((&mut told).now_or_never().is_none());
        drop(told);
        assert_eq!(values(env.block_on(service.submit(batch(&[1]), Permit::unlimited()))), ["1"]);
        service.counters().calls
    };
    assert_eq!(run(Planted::default()), 1);
    assert_eq!(run(Planted { cancel_on_drop: true, ..Planted::default() }), 2);
}

/// A remote model of two replicas, of which the first answers nothing.
#[derive(Clone)]
struct Half {
    env: ManualEnv,
    replica: u16,
}

impl Host for Half {
    fn signature(&self) -> BoxFuture<'static, Result<Signature>> {
        Box::pin(async { Ok(Signature::default()) })
    }

    fn start(&self, replica: u16) -> BoxFuture<'static, Result<Arc<dyn Replica>>> {
        let copy: Arc<dyn Replica> = Arc::new(Self { replica, ..self.clone() });
        Box::pin(async move { Ok(copy) })
    }

    fn calls_max(&self) -> usize {
        100
    }

    fn revision(&self) -> String {
        "half".into()
    }
}

impl Replica for Half {
    fn call(&self, batch: RequestBatch) -> BoxFuture<'static, Result<Answers>> {
        let Self { env, replica } = self.clone();
        Box::pin(async move {
            env.sleep(Duration::from_millis(5)).await;
            if replica == 0 { futures::future::pending().await } else { Ok(batch.rows.into()) }
        })
    }
}

/// Twenty rows asked one after the other of a model of two replicas, with `ratio` second copies per call after 20 ms.
fn asked_of_half(ratio: f64) -> (Vec<String>, u64, usize) {
    let env = ManualEnv::new(1);
    let hedge = HedgeSettings { ratio, cap: 20.0, after: Some(Duration::from_millis(20)) };
    let fixed = || Box::new(Fixed::new(100, 64, 0.0)) as Box<dyn Limiter>;
    let settings = GateSettings { hedge, ..GateSettings::default() };
    let gate = ModelGate::new(Arc::new(env.clone()), vec![fixed(), fixed()], settings);
    let settings = ServiceSettings { replicas: 2, timeout: Duration::from_secs(1), ..ServiceSettings::default() };
    let service = Service::new(Arc::new(env.clone()), Arc::new(Half { env: env.clone(), replica: 0 }), None, settings);
    let caller = gate.caller(1, None);
    let ask = |id: u128| {
        let permit = caller.try_acquire(Size { rows: 1, bytes: 8, cost: 1 }, std::task::Waker::noop()).unwrap();
        values(env.block_on(service.submit(batch(&[id]), permit)))
    };
    let told = (0..20).flat_map(ask).collect();
    (told, gate.heard().hedged, gate.in_flight())
}

#[test]
fn a_slow_call_is_answered_by_its_second_copy() {
    let (told, hedged, in_flight) = asked_of_half(1.0);
    assert_eq!(told, (0..20).map(|id| id.to_string()).collect::<Vec<_>>());
    assert!(hedged > 3 && in_flight == 0, "{hedged} {in_flight}");
    let (told, hedged, in_flight) = asked_of_half(0.0);
    assert!(told.contains(&"timeout".to_string()) && hedged == 0 && in_flight == 0, "without copies half of it hangs");
}

/// Answers no call.
struct Dead {
    many: bool,
}

impl Host for Dead {
    fn signature(&self) -> BoxFuture<'static, Result<Signature>> {
        Box::pin(async { Ok(Signature::default()) })
    }

    fn start(&self, _: u16) -> BoxFuture<'static, Result<Arc<dyn Replica>>> {
        Box::pin(async { Ok(Arc::new(Dead { many: false }) as Arc<dyn Replica>) })
    }

    fn calls_max(&self) -> usize {
        100
    }

    fn many_servers(&self) -> bool {
        self.many
    }

    fn revision(&self) -> String {
        "dead".into()
    }
}

impl Replica for Dead {
    fn call(&self, _: RequestBatch) -> BoxFuture<'static, Result<Answers>> {
        Box::pin(async { Err(Error::new(Kind::Unavailable, "call")) })
    }
}

/// Calls until the gate lets none through, at most a hundred.
fn calls_of_dead(many: bool) -> usize {
    let env = ManualEnv::new(1);
    let latch = Settings { objective: 1.0, calls_max: 8, rows_max: 1, seed: 1, hint: None };
    let limiter = Box::new(Latch::new(latch)) as Box<dyn Limiter>;
    let settings = GateSettings { moves: true, ..GateSettings::default() };
    let gate = ModelGate::new(Arc::new(env.clone()), vec![limiter], settings);
    let service = Service::new(Arc::new(env.clone()), Arc::new(Dead { many }), None, ServiceSettings::default());
    let caller = gate.caller(1, None);
    let ask = |id: u128| {
        let permit = caller.try_acquire(Size { rows: 1, bytes: 8, cost: 1 }, std::task::Waker::noop())?;
        assert_eq!(values(env.block_on(service.submit(batch(&[id]), permit))), ["unavailable"]);
        Some(())
    };
    (0..100).map_while(ask).count()
}

#[test]
fn a_dead_server_among_many_does_not_close_the_gate() {
    assert!(calls_of_dead(false) < 100, "the only one does");
    assert_eq!(calls_of_dead(true), 100);
}
