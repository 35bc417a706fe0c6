//! The backend in virtual time, and one short run over real sockets that asserts what happened, never when.

use forebay_gate::limiter::{Class, Fixed, Limiter};

use super::message::Call;
use super::served::{LOOPBACK_SECONDS, Served, backend_of};
use super::{Place, Protocol, run, shortened};
use crate::scenario::{
    Backend, Gateway, Gpu, Knee, Llm, Outage, Phase, Refusal, Scenario, Service, Slots, Span, Tokens,
};

fn steady(milliseconds: f64) -> Service {
    Service::new(Span::milliseconds(milliseconds), 0.0)
}

fn scenario(backend: Backend) -> Scenario {
    // 2 ms are left to be waited for.
    let round_trip = Span(0.002 + LOOPBACK_SECONDS);
    Scenario { round_trip, ..Scenario::new("test", backend, Span(1.0), Span(10.0)) }
}

fn slots(count: usize) -> Scenario {
    scenario(Backend::Slots(Slots::new(count, steady(50.0))))
}

fn one_row() -> Call {
    Call { replica: 0, rows: vec![(1.0, 4.0)] }
}

/// Sends `calls` at second 0 and answers when and how each ended, in milliseconds, told the time exactly when asked to be.
fn endings(scenario: &Scenario, calls: &[Call]) -> Vec<(u64, Class)> {
    let backend = backend_of(scenario);
    let mut served = Served::new(&backend, 1);
    served.advance(0.0);
    for call in calls {
        served.receive(call);
    }
    let mut endings = Vec::new();
    while served.due() < 5.0 && endings.len() < calls.len() {
        let now = served.due();
        endings.extend(served.advance(now).into_iter().map(|(_, outcome)| ((now * 1e3).round() as u64, outcome.class)));
    }
    endings
}

#[test]
fn every_kind_of_backend_answers_when_its_file_says() {
    // Two slots, 50 ms each, and 2 ms of link: the third call waits for a slot.
    let answered = |milliseconds: &[u64]| milliseconds.iter().map(|at| (*at, Class::Answered)).collect::<Vec<_>>();
    assert_eq!(endings(&slots(2), &vec![one_row(); 3]), answered(&[52, 52, 102]));
    // Within the knee 40 ms; the third of a knee of two takes 40 x 1.5^2, the fifth is refused after 2 ms.
    let knee = Knee { knee: 2, service: steady(40.0), growth: 2.0, refuse_ratio: 2.0 };
    let ends = endings(&scenario(Backend::Knee(knee)), &vec![one_row(); 5]);
    let expected = [
        (4, Class::Overloaded),
        (42, Class::Answered),
        (42, Class::Answered),
        (92, Class::Answered),
        (162, Class::Answered),
    ];
    assert_eq!(ends, expected);
    // 20 ms + 2 ms a row, give or take 3 % noise; a batch beyond memory takes the device for 2 s and fails.
    let gpu = Gpu { memory_rows: Some(8.0), ..Gpu::new(1, Span::milliseconds(20.0), Span::milliseconds(2.0)) };
    let batch = |rows: usize| Call { replica: 0, rows: vec![(1.0, 0.0); rows] };
    let ends = endings(&scenario(Backend::Gpu(gpu)), &[batch(4), batch(9)]);
    assert!((26..=34).contains(&ends[0].0) && ends[0].1 == Class::Answered, "{ends:?}");
    assert!((2_026..=2_034).contains(&ends[1].0) && ends[1].1 == Class::TooLarge, "{ends:?}");
    // A language model makes four tokens, a step each, and one step more to see that it is done.
    let tokens = |mean: f64| Tokens { mean, cv: 0.0, min: 1.0, max: 1e6 };
    let ends = endings(&scenario(Backend::Llm(Llm::new(1e5, tokens(100.0), tokens(4.0)))), &[one_row()]);
    assert!((45..=80).contains(&ends[0].0), "{ends:?}");
}

#[test]
fn a_late_clock_costs_no_capacity() {
    let backend = backend_of(&slots(1));
    let mut served = Served::new(&backend, 1);
    served.advance(0.0);
    for _ in 0..20 {
        served.receive(&one_row());
    }
    // Told the time every 170 ms only: after 1.02 s twenty calls of 50 ms are done all the same.
    let done: usize = (1..=6).map(|step| served.advance(f64::from(step) * 0.17).len()).sum();
    assert_eq!(done, 20);
    assert_eq!(served.calls_under_way(), 0);
}

#[test]
fn gateway_outage_and_phases_are_the_backends() {
    let mut full = slots(4);
    full.gateway = Some(Gateway {
        rate_limit: None,
        burst: 1.0,
        retry_after: None,
        concurrent_max: Some(2),
        refusal: Refusal::TooMany,
    });
    let ends = endings(&full, &vec![one_row(); 3]);
    assert_eq!(ends, [(4, Class::Throttled), (52, Class::Answered), (52, Class::Answered)]);
    let mut down = slots(4);
    down.phases = vec![Phase { outage: Outage::Down, ..Phase::new(Span(0.0)) }];
    assert_eq!(endings(&down, &[one_row()]), [(4, Class::Down)]);
    let mut silent = slots(4);
    silent.phases = vec![Phase { outage: Outage::Silent, ..Phase::new(Span(0.0)) }];
    assert_eq!(endings(&silent, &[one_row()]), []);
    let mut slow = slots(4);
    slow.phases = vec![Phase { service: 3.0, ..Phase::new(Span(0.0)) }];
    assert_eq!(endings(&slow, &[one_row()]), [(152, Class::Answered)]);
}

#[test]
fn an_abandoned_call_is_forgotten_once_the_backend_is_done() {
    for (cancel, second_answer) in [(false, 102), (true, 52)] {
        let backend = backend_of(&Scenario { cancel, ..slots(1) });
        let mut served = Served::new(&backend, 1);
        served.advance(0.0);
        let ids = [served.receive(&one_row()), served.receive(&one_row()), served.receive(&one_row())];
        served.advance(0.01);
        served.abandon(ids[1]);
        // The third call begins after the first where the second was dropped, otherwise after the second.
        let mut last = 0.0;
        while served.due() < 5.0 {
            last = served.due();
            served.advance(last);
        }
        assert_eq!(((last - 0.05) * 1e3).round() as u64, second_answer, "cancel {cancel}");
        assert_eq!(served.calls_under_way(), 0);
    }
}

#[test]
fn nonsense_from_strangers_does_no_harm() {
    let backend = backend_of(&slots(1));
    let mut served = Served::new(&backend, 1);
    served.advance(0.0);
    for rows in [vec![], vec![(f64::NAN, f64::INFINITY)], vec![(-1.0, -1.0)]] {
        served.receive(&Call { replica: 99, rows });
    }
    let answers: usize = (1..=100).map(|step| served.advance(f64::from(step) * 0.1).len()).sum();
    assert_eq!(answers, 3);
}

#[test]
fn cutting_a_scenario_leaves_out_what_comes_later() {
    let mut long = slots(4);
    long.phases = vec![Phase::new(Span(0.0)), Phase::new(Span(6.0))];
    let short = shortened(&long, 5.0);
    assert_eq!((short.length.0, short.phases.len()), (5.0, 1));
    assert_eq!(shortened(&long, 50.0), long);
}

#[test]
fn every_scenario_file_reaches_the_backend_process_unchanged() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../benchmarks/gate/scenarios");
    let scenarios = crate::scenario::load_all(folder.as_ref()).unwrap();
    assert!(scenarios.len() > 30);
    for scenario in scenarios {
        let line = serde_json::to_string(&scenario).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Scenario>(&line).unwrap(), scenario, "{}", scenario.name);
    }
}

#[test]
fn rows_are_answered_over_both_protocols() {
    let mut tiny = scenario(Backend::Slots(Slots::new(4, steady(5.0))));
    tiny.length = Span(0.5);
    tiny.gauges = Some(Span(0.1));
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let limiter = |_| -> Box<dyn Limiter> { Box::new(Fixed::new(4, 1, 0.0)) };
        let run = run(&tiny, 1, protocol, &Place::Thread, &limiter).unwrap();
        let record = &run.clients[0];
        let failed: u32 = record.seconds.iter().map(|second| second.failed).sum();
        assert!(record.answered_total() > 0, "{protocol:?}: nothing was answered");
        assert_eq!(failed, 0, "{protocol:?}");
        // What entered was answered, or was among the four in flight at the end.
        assert!(record.entered - record.answered_total() <= 4, "{protocol:?}: {record:?}");
        assert!(record.latencies.iter().all(|latency| *latency >= 0.007), "{protocol:?}");
    }
}

#[test]
fn refusals_and_timeouts_travel_too() {
    let mut tiny = scenario(Backend::Slots(Slots { queue_max: 1, ..Slots::new(1, steady(200.0)) }));
    (tiny.length, tiny.timeout) = (Span(0.3), Some(Span(0.1)));
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let limiter = |_| -> Box<dyn Limiter> { Box::new(Fixed::new(4, 1, 0.0)) };
        let run = run(&tiny, 1, protocol, &Place::Thread, &limiter).unwrap();
        let record = &run.clients[0];
        let failed: u32 = record.seconds.iter().map(|second| second.failed).sum();
        assert!(failed > 0 && record.retries + record.given_up > 0, "{protocol:?}: {record:?}");
        assert_eq!(record.answered_total(), 0, "{protocol:?}");
    }
}
