//! Finds the best fixed setting under constant conditions by trying them.

use forebay_gate::limiter::{Attempt, Knobs, Limiter, Load, Seconds};

use super::Step;
use crate::metrics::quantile;
use crate::scenario::{Backend, Client, Conditions, Phase, ReplicaPhase, Scenario, Span};
use crate::virtual_time;

/// A setting counts only if its 99th percentile is below this share of the objective, so that luck does not decide.
const P99_SHARE_MAX: f64 = 0.97;
/// A setting counts only up to this share of failed attempts.
const ERROR_RATIO_MAX: f64 = 0.01;
/// What does not count is not worthless: where nothing counts, the best of the bad is taken.
const MISSED_SHARE: f64 = 0.3;
/// Among settings this close to the best, the smallest is taken.
const NEAR_BEST: f64 = 0.995;
/// From one number in flight to the next.
const CALLS_STEP: f64 = 1.12;
const CALLS_MAX: f64 = 1_200.0;
/// The search for a number in flight ends after so many that were no better.
const WORSE_MAX: usize = 12;
/// Numbers of calls in flight tried where calls are batches.
const LANES: [usize; 9] = [1, 2, 3, 4, 5, 6, 8, 10, 12];
/// From one pace to the next: coarse, then fine above the best of the coarse.
const PACE_STEP: f64 = 1.06;
const PACE_STEP_FINE: f64 = 0.008;
const PACES: std::ops::Range<f64> = 5.0..700.0;
const PACES_FINE: usize = 7;
/// Calls in flight while a pace is searched for: more than matter.
const CALLS_WHEN_PACED: usize = 400;
/// Length of a trial, of which the first quarter does not count.
const TRIAL_SECONDS: f64 = 40.0;
const TRIAL_SECONDS_LLM: f64 = 240.0;
const WARM_SHARE: f64 = 0.25;
const TRIAL_SEED: u64 = 99;

/// A limiter that never moves, pace included.
struct Still(Knobs);

/// The best setting for `clients` clients of `scenario` under `conditions` that last.
pub fn best(scenario: &Scenario, conditions: &Conditions, clients: usize) -> Step {
    if conditions.is_out() || clients == 0 {
        return Step::NOTHING;
    }
    let trial = trial(scenario, conditions, clients);
    let tried = if conditions.rate_limit.is_finite() {
        paces(&trial)
    } else if scenario.backend.takes_client_batches() {
        batches(&trial)
    } else {
        numbers(&trial)
    };
    let top = tried.iter().map(|step| step.goodput).fold(0.0, f64::max);
    let near = tried.into_iter().filter(|step| step.goodput >= NEAR_BEST * top);
    near.min_by(|one, other| size(one).total_cmp(&size(other))).unwrap_or(Step::NOTHING)
}

/// What a setting occupies: less is better when it does as well.
fn size(step: &Step) -> f64 {
    step.pace.unwrap_or((step.calls * step.rows) as f64)
}

fn geometric(most: f64) -> Vec<usize> {
    let powers = std::iter::successors(Some(1.0f64), |last| Some(last * CALLS_STEP)).take_while(|next| *next < most);
    let mut numbers: Vec<usize> = powers.map(|next| next.round() as usize).collect();
    numbers.dedup();
    numbers
}

fn numbers(trial: &Scenario) -> Vec<Step> {
    let (mut tried, mut top, mut worse) = (Vec::new(), 0.0, 0);
    for calls in geometric(CALLS_MAX) {
        let step = attempt(trial, calls, 1, None);
        tried.push(step);
        if step.goodput > top {
            (top, worse) = (step.goodput, 0);
        } else {
            worse += 1;
        }
        if worse > WORSE_MAX {
            break;
        }
    }
    tried
}

fn batches(trial: &Scenario) -> Vec<Step> {
    let sizes: Vec<usize> = geometric(CALLS_MAX).into_iter().filter(|rows| *rows <= trial.rows_per_call_max).collect();
    let each = |calls: usize| sizes.iter().map(move |rows| attempt(trial, calls, *rows, None));
    LANES.into_iter().flat_map(each).collect()
}

fn paces(trial: &Scenario) -> Vec<Step> {
    let coarse = std::iter::successors(Some(PACES.start), |last| Some(last * PACE_STEP));
    let coarse = coarse.take_while(|pace| *pace <= PACES.end);
    let mut tried: Vec<Step> = coarse.map(|pace| attempt(trial, CALLS_WHEN_PACED, 1, Some(pace))).collect();
    let best = tried.iter().max_by(|one, other| one.goodput.total_cmp(&other.goodput));
    if let Some(pace) = best.and_then(|best| best.pace) {
        let fine = (1..=PACES_FINE).map(|step| pace * (1.0 + PACE_STEP_FINE * step as f64));
        tried.extend(fine.map(|pace| attempt(trial, CALLS_WHEN_PACED, 1, Some(pace))).collect::<Vec<_>>());
    }
    tried
}

/// `scenario` under `conditions` for ever, with `clients` clients from the start.
fn trial(scenario: &Scenario, conditions: &Conditions, clients: usize) -> Scenario {
    let mut phase = Phase::new(Span(0.0));
    phase.capacity = conditions.capacity;
    phase.service = conditions.service;
    phase.size = conditions.size;
    phase.tenants = conditions.tenants;
    phase.rate_limit = Some(conditions.rate_limit).filter(|rate| rate.is_finite());
    let replicas = conditions.replicas.iter().enumerate();
    let own = |(index, own): (usize, &crate::scenario::ReplicaConditions)| ReplicaPhase {
        replica: index + 1,
        service: own.service,
        outage: own.outage,
    };
    phase.replicas = replicas.map(own).collect();
    let seconds = if matches!(scenario.backend, Backend::Llm(_)) { TRIAL_SECONDS_LLM } else { TRIAL_SECONDS };
    Scenario {
        length: Span(seconds),
        demand: None,
        clients: vec![Client { start: Span(0.0), stop: None }; clients],
        phases: vec![phase],
        ..scenario.clone()
    }
}

fn attempt(trial: &Scenario, calls: usize, rows: usize, pace: Option<f64>) -> Step {
    let knobs = Knobs { calls_max: calls, rows_max: rows, linger: 0.0, pace: pace.unwrap_or(f64::INFINITY) };
    let run = virtual_time::run(trial, TRIAL_SEED, &|_| Box::new(Still(knobs)));
    let end = trial.length.0 as usize;
    let warm = (trial.length.0 * WARM_SHARE) as usize;
    let (mut good, mut answered, mut failed, mut latencies) = (0u64, 0u64, 0u64, Vec::new());
    for client in &run.clients {
        for second in &client.seconds[warm..end] {
            good += u64::from(second.good);
            answered += u64::from(second.answered);
            failed += u64::from(second.failed);
        }
        let skipped: u64 = client.seconds[..warm].iter().map(|second| u64::from(second.answered)).sum();
        latencies.extend_from_slice(&client.latencies[skipped as usize..]);
    }
    let kept = quantile(&mut latencies, 0.99) <= P99_SHARE_MAX * trial.objective.0;
    let few_errors = failed as f64 <= ERROR_RATIO_MAX * (answered + failed).max(1) as f64;
    let goodput = good as f64 / (end - warm).max(1) as f64;
    let goodput = if kept && few_errors { goodput } else { goodput * MISSED_SHARE };
    Step { at: 0.0, calls, rows, pace, goodput }
}

// === impl Still ===

impl Limiter for Still {
    fn knobs(&self) -> Knobs {
        self.0
    }

    fn on_end(&mut self, _attempt: &Attempt) {}

    fn on_tick(&mut self, _now: Seconds, _load: Load) {}
}
