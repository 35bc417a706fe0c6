//! What clients do: linger, retries, hedges, several of them.

use super::*;

#[test]
fn a_call_lingers_for_company_but_not_longer() {
    let gpu = Gpu::new(1, Span(0.02), Span(0.0));
    let mut scenario = scenario(Backend::Gpu(gpu), 2.0, 200.0);
    (scenario.rows_per_call_max, scenario.demand) = (64, Some(10.0));
    let lingering = run(&scenario, 1, &|_| Box::new(Fixed::new(4, 64, 0.5)));
    let longest = lingering.clients[0].latencies.iter().copied().fold(0.0, f32::max);
    assert!((0.5..0.56).contains(&longest), "the first of a call waits 0.5 s: {longest}");
    let prompt = run(&scenario, 1, &|_| Box::new(Fixed::new(4, 64, 0.0)));
    assert!(prompt.clients[0].latencies.iter().all(|latency| *latency < 0.12));
}

#[test]
fn a_full_call_does_not_linger() {
    let mut scenario = scenario(Backend::Gpu(Gpu::new(1, Span(0.005), Span(0.0))), 2.0, 100.0);
    (scenario.rows_per_call_max, scenario.demand) = (2, Some(100.0));
    let run = run(&scenario, 1, &|_| Box::new(Fixed::new(50, 2, 1.0)));
    let mut latencies = run.clients[0].latencies.clone();
    assert!(crate::metrics::quantile(&mut latencies, 0.5) < 0.1);
}

#[test]
fn retries_stay_within_their_budget() {
    let mut scenario = scenario(slots(10, 50.0, 0.0), 0.3, 60.0);
    scenario.phases = vec![Phase { outage: Outage::Refuse, ..Phase::new(Span(0.0)) }];
    let run = fixed(&scenario, 10, 1);
    let record = &run.clients[0];
    assert!(record.retries > 100);
    assert!(record.retries as f64 <= 5.0 + 0.1 * record.entered as f64, "{} of {}", record.retries, record.entered);
    scenario.retry.attempts_max = 1;
    assert_eq!(fixed(&scenario, 10, 1).clients[0].retries, 0);
}

#[test]
fn a_hint_when_to_come_back_is_honoured_and_spread() {
    let mut scenario = scenario(slots(100, 1.0, 0.0), 1.0, 3.0);
    let gateway = Gateway {
        rate_limit: Some(1e-3),
        burst: 1.0,
        retry_after: Some(Span(1.0)),
        concurrent_max: None,
        refusal: Refusal::TooMany,
    };
    scenario.gateway = Some(gateway);
    scenario.demand = Some(1_000.0);
    scenario.phases = vec![Phase { demand: Some(0.0), ..Phase::new(Span(0.004)) }];
    let run = fixed(&scenario, 1_000, 1);
    let sent: Vec<u32> = run.clients[0].seconds.iter().map(|second| second.sent).collect();
    assert!(sent[0] > 1 && sent[1] > 0 && sent[1] <= sent[0], "{sent:?}");
}

#[test]
fn hedges_stay_within_their_budget_and_shorten_the_tail() {
    let mut scenario = scenario(replicas(true), 0.5, 120.0);
    scenario.demand = Some(100.0);
    scenario.phases = vec![Phase {
        replicas: vec![ReplicaPhase { replica: 1, service: 6.0, outage: Outage::None }],
        ..Phase::new(Span(0.0))
    }];
    let tail = |scenario: &Scenario| {
        let run = fixed(scenario, 30, 1);
        let record = &run.clients[0];
        (crate::metrics::quantile(&mut record.latencies.clone(), 0.99), record.hedges, record.entered)
    };
    let (alone, none, _) = tail(&scenario);
    scenario.hedge = Some(Hedge { budget_ratio: 0.1, quantile: 0.9 });
    let (hedged, hedges, entered) = tail(&scenario);
    assert_eq!(none, 0);
    assert!(hedges > 100 && hedges as f64 <= 2.0 + 0.1 * entered as f64, "{hedges} of {entered}");
    assert!(hedged < 0.8 * alone, "{hedged} against {alone}");
}

#[test]
fn a_slow_visible_replica_is_asked_less() {
    let mut scenario = scenario(replicas(true), 1.0, 60.0);
    let good = |scenario: &Scenario| answered(&fixed(scenario, 8, 1));
    let calm = good(&scenario);
    let own = ReplicaPhase { replica: 1, service: 4.0, outage: Outage::None };
    scenario.phases = vec![Phase { replicas: vec![own], ..Phase::new(Span(0.0)) }];
    let visible = good(&scenario);
    near(visible / calm, (2.0 + 0.25) / 3.0, 0.1);
}

#[test]
fn clients_come_and_go() {
    let mut scenario = scenario(slots(10, 50.0, 0.3), 0.5, 60.0);
    let client = |start: f64, stop: Option<f64>| crate::scenario::Client { start: Span(start), stop: stop.map(Span) };
    scenario.clients = vec![client(0.0, Some(40.0)), client(20.0, None)];
    let run = fixed(&scenario, 5, 1);
    let good = |client: usize, at: usize| run.clients[client].seconds[at].good;
    assert!(good(0, 10) > 0 && good(0, 50) == 0, "the first leaves at 40 s");
    assert!(good(1, 10) == 0 && good(1, 50) > 0, "the second begins at 20 s");
}

#[test]
fn capacity_moves_in_a_line_on_a_ramp() {
    let mut scenario = scenario(slots(100, 10.0, 0.0), 5.0, 60.0);
    let ramp = Phase { ramp: true, ..Phase::new(Span(10.0)) };
    scenario.phases = vec![ramp, Phase { capacity: 0.2, ..Phase::new(Span(50.0)) }];
    let run = fixed(&scenario, 400, 1);
    let rate = |at: usize| f64::from(run.clients[0].seconds[at].answered);
    near(rate(5), 10_000.0, 0.02);
    near(rate(29), 6_100.0, 0.03);
    near(rate(55), 2_000.0, 0.03);
}
