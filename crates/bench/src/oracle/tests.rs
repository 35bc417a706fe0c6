//! Plans against what can be computed.

use super::*;
use crate::scenario::{Backend, Client, Gateway, Gpu, Knee, Outage, Phase, Refusal, Service, Slots, Span};

fn steady(count: usize, milliseconds: f64, cv: f64) -> Backend {
    Backend::Slots(Slots::new(count, Service::new(Span::milliseconds(milliseconds), cv)))
}

fn best(scenario: &Scenario, at: f64) -> Step {
    let question = question(scenario, 0, at, at + 1.0);
    search::best(scenario, &question.conditions, question.clients)
}

#[test]
fn a1_is_worth_its_slots_over_their_time() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benchmarks/gate/scenarios/A1.toml");
    let step = best(&crate::scenario::load(&file).unwrap(), 0.0);
    assert!((step.goodput - 32.0 / 0.05).abs() < 6.4, "{step:?}");
    assert!((32..=45).contains(&step.calls), "{step:?}");
}

#[test]
fn the_objective_bounds_the_batch() {
    let gpu = Gpu { memory_rows: Some(128.0), ..Gpu::new(1, Span(0.02), Span(0.002)) };
    let mut scenario = Scenario::new("batches", Backend::Gpu(gpu), Span(0.1), Span(60.0));
    scenario.rows_per_call_max = 128;
    let step = best(&scenario, 0.0);
    // A call alone may take 97 ms: 20 ms + 2 ms x 33, give or take 7 %.
    assert!(step.calls == 1 && (26..=36).contains(&step.rows), "{step:?}");
}

#[test]
fn the_knee_is_found_and_a_rate_is_paced() {
    let knee = Knee { knee: 16, service: Service::new(Span(0.04), 0.0), growth: 2.0, refuse_ratio: 2.0 };
    let step = best(&Scenario::new("knee", Backend::Knee(knee), Span(0.2), Span(60.0)), 0.0);
    // Two milliseconds of link hide one call more.
    assert!((15..=18).contains(&step.calls), "{step:?}");
    let mut limited = Scenario::new("limited", steady(50, 10.0, 0.0), Span(0.2), Span(60.0));
    limited.gateway = Some(Gateway {
        rate_limit: Some(80.0),
        burst: 20.0,
        retry_after: None,
        concurrent_max: None,
        refusal: Refusal::TooMany,
    });
    let pace = best(&limited, 0.0).pace.unwrap();
    assert!((78.0..82.0).contains(&pace), "{pace}");
}

#[test]
fn nothing_is_planned_for_an_outage() {
    let mut scenario = Scenario::new("out", steady(4, 50.0, 0.0), Span(0.2), Span(60.0));
    scenario.phases = vec![Phase { outage: Outage::Silent, ..Phase::new(Span(10.0)) }];
    assert_eq!(best(&scenario, 15.0), Step::NOTHING);
    assert!(best(&scenario, 5.0).goodput > 70.0);
}

#[test]
fn stretches_follow_phases_clients_and_ramps() {
    let mut scenario = Scenario::new("shifts", steady(4, 50.0, 0.0), Span(0.2), Span(60.0));
    let client = |start: f64, stop: Option<f64>| Client { start: Span(start), stop: stop.map(Span) };
    scenario.clients = vec![client(0.0, None), client(7.0, Some(50.0))];
    scenario.phases =
        vec![Phase { ramp: true, ..Phase::new(Span(20.0)) }, Phase { capacity: 0.5, ..Phase::new(Span(32.0)) }];
    assert_eq!(shifts(&scenario), [0.0, 7.0, 20.0, 32.0, 50.0]);
    let begins: Vec<f64> = stretches(&scenario).into_iter().map(|(begin, _)| begin).collect();
    assert_eq!(begins, [0.0, 7.0, 20.0, 25.0, 30.0, 32.0, 50.0]);
    let clients = [0.0, 10.0, 55.0].map(|at| question(&scenario, 0, at, at + 1.0).clients);
    assert_eq!(clients, [1, 2, 1]);
    assert_eq!(question(&scenario, 0, 25.0, 30.0).conditions.capacity, 1.0 - 0.5 * 7.5 / 12.0);
}
