//! Whole runs: what every run keeps to. `backends.rs` has numbers that can be computed by hand, `clients.rs` what clients do.

mod backends;
mod clients;

use forebay_gate::limiter::{Attempt, Fixed, Knobs, Limiter, Load, Seconds};

use super::{Run, Simulation, run};
use crate::scenario::{
    Backend, Gateway, Gpu, Hedge, Knee, Llm, Outage, Phase, Refusal, ReplicaPhase, Scenario, Service, Slots, Span,
    Tokens,
};

/// A limiter that never moves and has a pace.
struct Paced(f64);

impl Limiter for Paced {
    fn knobs(&self) -> Knobs {
        Knobs { calls_max: 1_000, rows_max: 1, linger: 0.0, pace: self.0 }
    }

    fn on_end(&mut self, _attempt: &Attempt) {}

    fn on_tick(&mut self, _now: Seconds, _load: Load) {}
}

fn service(milliseconds: f64, cv: f64) -> Service {
    Service::new(Span::milliseconds(milliseconds), cv)
}

fn slots(slots: usize, milliseconds: f64, cv: f64) -> Backend {
    Backend::Slots(Slots::new(slots, service(milliseconds, cv)))
}

fn replicas(visible: bool) -> Backend {
    let settings = Slots::new(6, service(50.0, 1.0));
    Backend::Slots(Slots { replicas: 3, replicas_visible: visible, ..settings })
}

fn scenario(backend: Backend, objective: f64, length: f64) -> Scenario {
    Scenario::new("test", backend, Span(objective), Span(length))
}

fn fixed(scenario: &Scenario, calls: usize, rows: usize) -> Run {
    run(scenario, 7, &|_| Box::new(Fixed::new(calls, rows, 0.0)))
}

fn answered(run: &Run) -> f64 {
    run.clients.iter().map(|client| client.latencies.len() as f64).sum()
}

fn failed(run: &Run) -> u32 {
    run.clients.iter().flat_map(|client| &client.seconds).map(|second| second.failed).sum()
}

#[track_caller]
fn near(is: f64, wanted: f64, share: f64) {
    assert!((is - wanted).abs() <= share * wanted.abs(), "{is} is not within {share} of {wanted}");
}

fn language_model(kv_tokens: f64, cv: f64) -> Backend {
    let prompt = Tokens { mean: 100.0, cv, min: 8.0, max: 8_000.0 };
    let output = Tokens { mean: 200.0, cv, min: 4.0, max: 2_000.0 };
    Backend::Llm(Llm::new(kv_tokens, prompt, output))
}

/// One of every kind of trouble: what each client sends, and with which limit.
fn troubles() -> Vec<(&'static str, Scenario, usize)> {
    let outage = |outage: Outage| Phase { outage, ..Phase::new(Span(10.0)) };
    let calm = || Phase::new(Span(15.0));
    let mut silent = scenario(slots(8, 50.0, 0.5), 0.3, 60.0);
    silent.phases = vec![outage(Outage::Silent), calm()];
    let mut refusing = scenario(slots(8, 50.0, 0.5), 0.3, 60.0);
    refusing.phases = vec![outage(Outage::Refuse), calm()];
    let mut down = scenario(slots(8, 50.0, 0.5), 0.3, 60.0);
    down.phases = vec![outage(Outage::Down), calm()];
    let mut hedged = scenario(replicas(true), 0.3, 60.0);
    hedged.hedge = Some(Hedge { budget_ratio: 0.2, quantile: 0.5 });
    let own = |service: f64, outage: Outage| ReplicaPhase { replica: 2, service, outage };
    let slow = Phase { replicas: vec![own(8.0, Outage::None)], ..Phase::new(Span(5.0)) };
    let refuses = Phase { replicas: vec![own(1.0, Outage::Refuse)], ..Phase::new(Span(15.0)) };
    hedged.phases = vec![slow, refuses];
    let mut hidden = scenario(replicas(false), 0.2, 60.0);
    hidden.phases = hedged.phases.clone();
    let mut limited = scenario(slots(8, 50.0, 0.5), 0.2, 60.0);
    let gateway = Gateway {
        rate_limit: Some(50.0),
        burst: 5.0,
        retry_after: Some(Span(1.0)),
        concurrent_max: Some(6),
        refusal: Refusal::TooMany,
    };
    limited.gateway = Some(gateway);
    limited.phases = vec![Phase { tenants: 20.0, ..Phase::new(Span(5.0)) }, outage(Outage::Silent), calm()];
    let gpu = Gpu { memory_rows: Some(32.0), ..Gpu::new(1, Span(0.02), Span(0.002)) };
    let mut batches = scenario(Backend::Gpu(gpu), 0.2, 60.0);
    (batches.rows_per_call_max, batches.size_cv) = (20, 1.0);
    let server = Gpu { server_batch_max: Some(8), ..Gpu::new(2, Span(0.05), Span(0.005)) };
    let server = scenario(Backend::Gpu(server), 0.2, 60.0);
    let mut llm = scenario(language_model(2_000.0, 0.8), 6.0, 200.0);
    llm.cancel = true;
    let mut stubborn = llm.clone();
    stubborn.cancel = false;
    let knee = Knee { knee: 4, service: service(40.0, 0.3), growth: 2.0, refuse_ratio: 2.0 };
    let knee = scenario(Backend::Knee(knee), 0.2, 60.0);
    vec![
        ("silent", silent, 40),
        ("refusing", refusing, 40),
        ("down", down, 40),
        ("hedged", hedged, 20),
        ("hidden", hidden, 40),
        ("limited", limited, 20),
        ("batches", batches, 4),
        ("server", server, 60),
        ("llm", llm, 30),
        ("stubborn", stubborn, 30),
        ("knee", knee, 12),
    ]
}

/// Rows come for half of the time; then everything has thrice that time to end.
fn with_an_end(mut scenario: Scenario) -> Scenario {
    let half = Span(scenario.length.0 / 2.0);
    let rate = if matches!(scenario.backend, Backend::Llm(_)) { 5.0 } else { 120.0 };
    scenario.demand = Some(rate);
    scenario.phases.retain(|phase| phase.at < half);
    scenario.phases.push(Phase { demand: Some(0.0), ..Phase::new(half) });
    scenario.length.0 *= 2.0;
    scenario
}

#[test]
fn every_row_gets_exactly_one_outcome_and_every_permit_returns() {
    for (name, trouble, calls) in troubles() {
        for seed in 0..3 {
            let scenario = with_an_end(trouble.clone());
            let rows = scenario.rows_per_call_max;
            let mut simulation = Simulation::new(&scenario, seed, &|_| Box::new(Fixed::new(calls, rows, 0.01)));
            simulation.run_until(scenario.length.0);
            let client = &simulation.clients[0];
            let record = &client.record;
            assert!(record.entered > 50, "{name}: {} rows", record.entered);
            assert_eq!((client.rows_waiting(), client.permits_held()), (0, (0, 0.0)), "{name}");
            assert_eq!(record.answered_total() + record.given_up, record.entered, "{name}, seed {seed}");
            assert_eq!((simulation.world.calls.count(), simulation.world.calls_at_gateway()), (0, 0), "{name}");
            let sent: u32 = record.seconds.iter().map(|second| second.sent).sum();
            let tries = record.entered + record.retries + record.hedged_rows;
            assert_eq!(u64::from(sent), tries, "{name}: every attempt is a first one, a retry or a hedge");
        }
    }
}

#[test]
fn one_seed_gives_one_run_and_another_seed_another() {
    for (name, scenario, calls) in troubles() {
        let once = |seed: u64| run(&scenario, seed, &|_| Box::new(Fixed::new(calls, 4, 0.01)));
        assert_eq!(once(3), once(3), "{name}");
        assert_ne!(once(3).clients[0].latencies, once(4).clients[0].latencies, "{name}");
    }
}

#[test]
fn arrivals_do_not_depend_on_the_limiter() {
    let mut scenario = scenario(slots(8, 50.0, 0.5), 0.3, 30.0);
    scenario.demand = Some(100.0);
    let entered = |calls| fixed(&scenario, calls, 1).clients[0].entered;
    assert_eq!(entered(2), entered(50));
}

#[test]
fn a_split_run_equals_a_whole_one() {
    let (_, scenario, calls) = troubles().swap_remove(3);
    let limiter = |_| -> Box<dyn Limiter> { Box::new(Fixed::new(calls, 1, 0.0)) };
    let mut split = Simulation::new(&scenario, 1, &limiter);
    for second in 0..60 {
        split.run_until(f64::from(second) + 0.37);
    }
    split.run_until(scenario.length.0);
    assert_eq!(split.into_record(), run(&scenario, 1, &limiter));
}
