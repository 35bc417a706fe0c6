//! The yardstick: for each phase the best fixed setting, found by search, and switched at the very moment of the shift.
//!
//! It knows what no limiter can know, the future of the phase, but holds still within it: a limiter that moves with every
//! burst, or has a view of single replicas, may do better than 100 %.

mod cache;
mod search;
#[cfg(test)]
mod tests;

use forebay_gate::limiter::{Knobs, Seconds};
use serde::{Deserialize, Serialize};

use crate::parallel::{self, Progress};
use crate::scenario::{Conditions, Ramping, Scenario};

/// On a ramp the oracle searches anew for every such stretch.
const RAMP_STRETCH_SECONDS: f64 = 5.0;

/// What the oracle does in one scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// In the order of time, the first at second 0.
    pub steps: Vec<Step>,
}

/// What it does from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Seconds since the start.
    pub at: f64,
    /// Calls in flight, for each client and visible replica.
    pub calls: usize,
    /// Rows of a call.
    pub rows: usize,
    /// Calls that start in a second; none without a rate limit.
    pub pace: Option<f64>,
    /// Good rows in a second that the search measured.
    pub goodput: f64,
}

/// Something to search for: these conditions with so many clients.
#[derive(Debug, Clone, PartialEq)]
struct Question {
    scenario: usize,
    conditions: Conditions,
    clients: usize,
}

/// The plans for `scenarios`, in their order: from the cache on disk, else searched with `threads` and put there.
///
/// A cache that cannot be read or written is as good as an empty one.
pub fn plans(scenarios: &[Scenario], threads: usize) -> Vec<Plan> {
    let mut plans: Vec<Option<Plan>> = scenarios.iter().map(cache::read).collect();
    let mut questions: Vec<Question> = Vec::new();
    for (index, scenario) in scenarios.iter().enumerate().filter(|(index, _)| plans[*index].is_none()) {
        for (at, end) in stretches(scenario) {
            let question = question(scenario, index, at, end);
            if !questions.contains(&question) {
                questions.push(question);
            }
        }
    }
    let line = Progress::new("oracle: phases searched", questions.len());
    let answers = parallel::map(threads, &questions, &line, |question| {
        search::best(&scenarios[question.scenario], &question.conditions, question.clients)
    });
    for (index, scenario) in scenarios.iter().enumerate() {
        if plans[index].is_none() {
            let plan = assemble(scenario, index, &questions, &answers);
            cache::write(scenario, &plan);
            plans[index] = Some(plan);
        }
    }
    plans.into_iter().flatten().collect()
}

fn assemble(scenario: &Scenario, index: usize, questions: &[Question], answers: &[Step]) -> Plan {
    let step = |(at, end): (f64, f64)| {
        let question = question(scenario, index, at, end);
        let place = questions.iter().position(|asked| *asked == question);
        place.and_then(|place| answers.get(place)).map(|step| Step { at, ..*step })
    };
    Plan { steps: stretches(scenario).into_iter().filter_map(step).collect() }
}

/// The conditions from `at` to `end` (their middle, on a ramp), under a backlog: a setting that is best for what is always
/// waiting is no worse for less.
fn question(scenario: &Scenario, index: usize, at: f64, end: f64) -> Question {
    let (mut conditions, ramping) = scenario.conditions(at);
    if ramping == Ramping::Moving {
        conditions = scenario.conditions((at + end) / 2.0).0;
    }
    conditions.demand = f64::INFINITY;
    let clients = scenario.client_spans().iter().filter(|(start, stop)| *start <= at && *stop > at).count();
    Question { scenario: index, conditions, clients }
}

/// Times between which nothing shifts, or a ramp moves little.
fn stretches(scenario: &Scenario) -> Vec<(f64, f64)> {
    let mut all = Vec::new();
    for (begin, end) in spans(&shifts(scenario), scenario.length.0) {
        let moving = scenario.conditions(begin).1 == Ramping::Moving;
        let count = if moving { ((end - begin) / RAMP_STRETCH_SECONDS - 1e-9).floor() as usize } else { 0 };
        let cuts: Vec<f64> = (0..=count).map(|cut| begin + RAMP_STRETCH_SECONDS * cut as f64).collect();
        all.extend(spans(&cuts, end));
    }
    all
}

/// From each of `begins` to the next, and from the last to `end`.
fn spans(begins: &[f64], end: f64) -> Vec<(f64, f64)> {
    let ends = begins.iter().skip(1).copied().chain([end]);
    begins.iter().copied().zip(ends).collect()
}

/// Moments at which a phase begins, a client begins or one leaves; 0 always among them.
pub fn shifts(scenario: &Scenario) -> Vec<f64> {
    let clients = scenario.client_spans().into_iter().flat_map(|(start, stop)| [start, stop]);
    let phases = scenario.phases.iter().map(|phase| phase.at.0);
    let mut times: Vec<f64> = clients.chain(phases).chain([0.0]).filter(|at| *at < scenario.length.0).collect();
    times.sort_by(f64::total_cmp);
    times.dedup();
    times
}

// === impl Plan ===

impl Plan {
    /// What it begins with.
    pub fn first(&self) -> Knobs {
        self.steps.first().map_or(Step::NOTHING.knobs(), Step::knobs)
    }
}

// === impl Step ===

impl Step {
    /// What is done while nothing can be answered.
    const NOTHING: Self = Self { at: 0.0, calls: 1, rows: 1, pace: Some(1.0), goodput: 0.0 };

    /// As a limiter would say it.
    pub fn knobs(&self) -> Knobs {
        let pace = self.pace.unwrap_or(f64::INFINITY);
        Knobs { calls_max: self.calls, rows_max: self.rows, linger: 0.0 as Seconds, pace }
    }
}
