//! Each backend against numbers that can be computed by hand.

use std::sync::{Arc, Mutex};

use forebay_gate::limiter::Gauges;

use super::*;

#[test]
fn one_slot_serves_in_order_and_waits_for_the_link_between() {
    let run = fixed(&scenario(slots(1, 100.0, 0.0), 1.0, 10.0), 1, 1);
    assert_eq!(answered(&run), 98.0, "10 s of 102 ms each");
    assert!(run.clients[0].latencies.iter().all(|latency| (latency - 0.102).abs() < 1e-6));
}

#[test]
fn calls_in_flight_queue_for_one_slot() {
    let run = fixed(&scenario(slots(1, 100.0, 0.0), 1.0, 10.0), 4, 1);
    let last = run.clients[0].latencies.last().copied().unwrap_or_default();
    near(f64::from(last), 0.4, 1e-4);
    assert_eq!(answered(&run), 99.0);
    near(run.idle_ratio, 0.001 / 10.0, 1e-2);
}

#[test]
fn a_queue_of_random_arrivals_waits_as_theory_says() {
    let mut scenario = scenario(slots(1, 100.0, 0.0), 10.0, 4_000.0);
    (scenario.demand, scenario.round_trip) = (Some(8.0), Span(0.0));
    let run = fixed(&scenario, 1_000, 1);
    let latencies = &run.clients[0].latencies;
    let mean = latencies.iter().map(|latency| f64::from(*latency)).sum::<f64>() / latencies.len() as f64;
    // Pollaczek and Khinchine: service + load x service / (2 (1 - load)).
    near(mean, 0.1 + 0.8 * 0.1 / (2.0 * 0.2), 0.08);
    near(answered(&run), 8.0 * 4_000.0, 0.02);
}

#[test]
fn a_full_queue_refuses() {
    let settings = Slots { queue_max: 3, ..Slots::new(1, service(100.0, 0.0)) };
    let run = fixed(&scenario(Backend::Slots(settings), 1.0, 10.0), 8, 1);
    assert_eq!(answered(&run), 99.0);
    assert!(failed(&run) > 100);
}

#[test]
fn larger_rows_take_longer() {
    let settings = Slots { fixed_share: 0.2, ..Slots::new(1, service(100.0, 0.0)) };
    let mut scenario = scenario(Backend::Slots(settings), 2.0, 50.0);
    scenario.phases = vec![Phase { size: 3.0, service: 0.5, ..Phase::new(Span(0.0)) }];
    let run = fixed(&scenario, 1, 1);
    near(f64::from(run.clients[0].latencies[5]), 0.5 * 0.1 * (0.2 + 0.8 * 3.0) + 0.002, 1e-3);
}

#[test]
fn a_client_batch_takes_a_call_and_its_rows() {
    let mut scenario = scenario(Backend::Gpu(Gpu::new(1, Span(0.02), Span(0.002))), 1.0, 60.0);
    scenario.rows_per_call_max = 64;
    let run = fixed(&scenario, 1, 50);
    near(answered(&run) / 60.0, 50.0 / 0.122, 0.02);
}

#[test]
fn a_batch_beyond_memory_fails_and_takes_the_device() {
    let gpu = Gpu { memory_rows: Some(40.0), ..Gpu::new(1, Span(0.02), Span(0.002)) };
    let mut scenario = scenario(Backend::Gpu(gpu), 5.0, 20.0);
    scenario.rows_per_call_max = 64;
    assert_eq!(failed(&fixed(&scenario, 1, 40)), 0);
    let run = fixed(&scenario, 1, 41);
    assert_eq!((answered(&run), failed(&run)), (0.0, 9 * 41), "every 2.002 s one fails");
}

#[test]
fn a_server_gathers_batches_up_to_its_limit() {
    let gpu = Gpu { server_batch_max: Some(4), ..Gpu::new(1, Span(0.01), Span(0.001)) };
    let scenario = scenario(Backend::Gpu(gpu), 1.0, 60.0);
    near(answered(&fixed(&scenario, 12, 1)) / 60.0, 4.0 / 0.014, 0.02);
    near(answered(&fixed(&scenario, 1, 1)) / 60.0, 1.0 / 0.013, 0.02);
}

#[test]
fn devices_leave_and_return() {
    let mut scenario = scenario(Backend::Gpu(Gpu::new(4, Span(0.1), Span(0.0))), 2.0, 90.0);
    let half = Phase { capacity: 0.5, ..Phase::new(Span(30.0)) };
    scenario.phases = vec![half, Phase::new(Span(60.0))];
    let run = fixed(&scenario, 20, 1);
    let good =
        |begin: usize| (begin..begin + 20).map(|at| f64::from(run.clients[0].seconds[at].good)).sum::<f64>() / 20.0;
    for (begin, rate) in [(5, 40.0), (35, 20.0), (65, 40.0)] {
        near(good(begin), rate, 0.03);
    }
}

#[test]
fn a_knee_slows_down_beyond_itself_and_refuses_beyond_twice() {
    let knee = Knee { knee: 16, service: service(40.0, 0.0), growth: 2.0, refuse_ratio: 2.0 };
    let scenario = scenario(Backend::Knee(knee), 0.2, 30.0);
    let rate = |calls| answered(&fixed(&scenario, calls, 1)) / 30.0;
    near(rate(16), 16.0 / 0.042, 0.02);
    near(rate(8), 8.0 / 0.042, 0.02);
    near(rate(32), 32.0 / 0.162, 0.03);
    assert_eq!(failed(&fixed(&scenario, 32, 1)), 0);
    assert!(failed(&fixed(&scenario, 33, 1)) > 0);
}

#[test]
fn a_gateway_lets_its_rate_and_its_burst_through() {
    let mut scenario = scenario(slots(100, 1.0, 0.0), 1.0, 20.0);
    let gateway = Gateway {
        rate_limit: Some(50.0),
        burst: 10.0,
        retry_after: None,
        concurrent_max: None,
        refusal: Refusal::TooMany,
    };
    scenario.gateway = Some(gateway);
    let run = fixed(&scenario, 4, 1);
    near(answered(&run), 10.0 + 50.0 * 20.0, 0.002);
    assert!(failed(&run) > 1_000, "who does not pace is refused");
    let paced = super::super::run(&scenario, 7, &|_| Box::new(Paced(49.0)));
    assert_eq!(failed(&paced), 0);
    near(answered(&paced), 49.0 * 20.0, 0.01);
}

#[test]
fn a_gateway_caps_calls_at_once() {
    let mut scenario = scenario(slots(100, 100.0, 0.0), 1.0, 20.0);
    let gateway = Gateway {
        rate_limit: None,
        burst: 1.0,
        retry_after: None,
        concurrent_max: Some(4),
        refusal: Refusal::Unavailable,
    };
    scenario.gateway = Some(gateway);
    assert_eq!(failed(&fixed(&scenario, 4, 1)), 0);
    let run = fixed(&scenario, 10, 1);
    assert!(failed(&run) > 0);
    near(answered(&run) / 20.0, 40.0, 0.05);
}

#[test]
fn other_tenants_take_their_share() {
    let mut scenario = scenario(slots(1, 10.0, 0.0), 1.0, 100.0);
    scenario.phases = vec![Phase { tenants: 60.0, ..Phase::new(Span(0.0)) }];
    near(answered(&fixed(&scenario, 20, 1)) / 100.0, 40.0, 0.05);
}

/// A fixed limit that remembers the gauges it was told.
struct Watching(usize, Arc<Mutex<Vec<Gauges>>>);

impl Limiter for Watching {
    fn knobs(&self) -> Knobs {
        Knobs { calls_max: self.0, rows_max: 1, linger: 0.0, pace: f64::INFINITY }
    }

    fn on_end(&mut self, _attempt: &Attempt) {}

    fn on_tick(&mut self, _now: Seconds, _load: Load) {}

    fn on_gauges(&mut self, _now: Seconds, gauges: Gauges) {
        self.1.lock().unwrap().push(gauges);
    }
}

fn watched(calls: usize) -> Vec<Gauges> {
    let mut scenario = scenario(language_model(1_000.0, 0.0), 60.0, 60.0);
    scenario.gauges = Some(Span(1.0));
    let seen = Arc::new(Mutex::new(Vec::new()));
    super::super::run(&scenario, 7, &|_| Box::new(Watching(calls, seen.clone())));
    seen.lock().unwrap().clone()
}

#[test]
fn a_full_cache_pre_empts_and_a_roomy_one_never() {
    let roomy = watched(3);
    assert!(roomy.len() >= 59, "once a second: {}", roomy.len());
    assert!(roomy.iter().all(|gauges| gauges.preempted_total == 0.0 && gauges.running <= 3.0));
    let full = watched(9);
    assert!(full.last().is_some_and(|gauges| gauges.preempted_total > 10.0));
    assert!(full.iter().any(|gauges| gauges.waiting > 0.0));
}

#[test]
fn a_lone_sequence_takes_a_step_for_each_token() {
    let run = fixed(&scenario(language_model(10_000.0, 0.0), 60.0, 60.0), 1, 1);
    let steps = 200.0 * (0.012 + 0.000_08) + 100.0 * 0.000_03 + 200.0 * 200.0 * 1e-7;
    near(f64::from(run.clients[0].latencies[0]), 0.001 + steps + 0.002, 0.01);
}

#[test]
fn a_cancelled_call_frees_a_server_that_listens() {
    let tight = |cancel: bool| {
        let mut scenario = scenario(slots(1, 100.0, 0.0), 0.1, 60.0);
        (scenario.cancel, scenario.timeout) = (cancel, Some(Span(0.25)));
        answered(&fixed(&scenario, 8, 1))
    };
    assert!(tight(true) > 5.0 * tight(false).max(1.0), "{} {}", tight(true), tight(false));
}
