//! Limiters by name: ours, fixed numbers, and the rivals.
//!
//! A name says what runs, a scenario says with which settings. None of them learns anything that a user would not declare,
//! except the fixed shares of the oracle, which know the best number of the first phase.

use std::fmt;
use std::time::Duration;

use forebay_gate::limiter::latch::{Latch, Settings};
use forebay_gate::limiter::{Attempt, Fixed, Knobs, Limiter, Load, Seconds};

use crate::error::Error;
use crate::oracle::Plan;
use crate::rivals::{NewRival, RivalSettings, rivals};
use crate::scenario::Scenario;

/// Calls that ours may have in flight, at most.
const CALLS_MAX: usize = 4_000;

/// Rows of a call for limiters that leave that alone, where the client builds the batches.
const ROWS_PER_CALL: usize = 16;

/// How long such a call waits to be full.
const LINGER: Duration = Duration::from_millis(10);

/// Calls in flight of a fixed limiter behind a rate limit, for which the oracle names a pace and no number.
const CALLS_BEHIND_A_RATE: usize = 40;

/// A limiter, chosen by name.
#[derive(Debug, Clone, Copy)]
pub enum Controller {
    /// LATCH.
    Ours,
    /// The plan of the oracle, switched at the very moment of each shift.
    Oracle,
    /// So many calls in flight, for ever.
    Fixed(usize),
    /// This multiple of what the oracle found best for the first phase, for ever.
    Share(f64),
    /// One of the rivals.
    Rival(&'static str, NewRival),
}

/// A limiter that follows a plan.
#[derive(Debug, Clone)]
struct Scheduled {
    steps: Vec<(Seconds, Knobs)>,
    current: Knobs,
}

/// Every controller that runs unless some are named, ours last.
pub fn all() -> Vec<Controller> {
    let shares = [0.5, 1.0, 3.0].map(Controller::Share);
    let rivals = rivals().into_iter().map(|(name, new)| Controller::Rival(name, new));
    shares.into_iter().chain(rivals).chain([Controller::Ours]).collect()
}

/// The controller called `name`.
///
/// # Errors
/// `Argument` with the known names.
pub fn named(name: &str) -> Result<Controller, Error> {
    let unknown = || {
        let rivals: Vec<&str> = rivals().into_iter().map(|(name, _)| name).collect();
        let known = rivals.join(", ");
        Error::Argument(format!("no controller is called \"{name}\": ours, oracle, static:N, static:0.5x, {known}"))
    };
    match name {
        "ours" => return Ok(Controller::Ours),
        "oracle" => return Ok(Controller::Oracle),
        _ => {}
    }
    let Some(number) = name.strip_prefix("static:") else {
        let rival = rivals().into_iter().find(|(rival, _)| *rival == name);
        return rival.map(|(name, new)| Controller::Rival(name, new)).ok_or_else(unknown);
    };
    match number.strip_suffix('x') {
        None => number.parse().ok().filter(|calls| *calls > 0).map(Controller::Fixed).ok_or_else(unknown),
        Some(share) => {
            let share = share.parse().ok().filter(|share: &f64| share.is_finite() && *share > 0.0);
            share.map(Controller::Share).ok_or_else(unknown)
        }
    }
}

// === impl Controller ===

impl Controller {
    /// Whether it means anything in `scenario`: a law of batch sizes needs batches to size.
    pub fn fits(&self, scenario: &Scenario) -> bool {
        !matches!(self, Self::Rival("clipper", _)) || scenario.backend.takes_client_batches()
    }

    /// A limiter for `scenario`. `index` tells limiters of one run apart, `seed` runs.
    pub fn build(&self, scenario: &Scenario, plan: &Plan, index: usize, seed: u64) -> Box<dyn Limiter> {
        let batched = scenario.backend.takes_client_batches();
        let rows = if batched { ROWS_PER_CALL.min(scenario.rows_per_call_max) } else { 1 };
        let linger = if batched { LINGER.as_secs_f64() } else { 0.0 };
        match *self {
            Self::Ours => Box::new(Latch::new(Settings {
                objective: scenario.objective.0,
                calls_max: CALLS_MAX,
                rows_max: scenario.rows_per_call_max,
                seed: seed.wrapping_mul(1_009).wrapping_add(index as u64),
                hint: None,
            })),
            Self::Oracle => Box::new(Scheduled::new(plan)),
            Self::Fixed(calls) => Box::new(Fixed::new(calls, rows, linger)),
            Self::Share(share) => Box::new(share_of(share, plan, linger)),
            Self::Rival(_, new) => new(&RivalSettings { objective: scenario.objective.0, rows_per_call: rows, linger }),
        }
    }
}

/// `share` of the plan's first calls, and of their rows where it is below 1, without the plan's pace.
fn share_of(share: f64, plan: &Plan, linger: Seconds) -> Fixed {
    let first = plan.first();
    let calls = if first.pace.is_finite() { CALLS_BEHIND_A_RATE } else { first.calls_max };
    let rows = (first.rows_max as f64 * share.min(1.0)).floor() as usize;
    Fixed::new((calls as f64 * share).floor() as usize, rows, if first.rows_max > 1 { linger } else { 0.0 })
}

impl fmt::Display for Controller {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours => out.write_str("ours"),
            Self::Oracle => out.write_str("oracle"),
            Self::Fixed(calls) => write!(out, "static:{calls}"),
            Self::Share(share) => write!(out, "static:{share}x"),
            Self::Rival(name, _) => out.write_str(name),
        }
    }
}

// === impl Scheduled ===

impl Scheduled {
    fn new(plan: &Plan) -> Self {
        let steps: Vec<(Seconds, Knobs)> = plan.steps.iter().map(|step| (step.at, step.knobs())).collect();
        Self { current: plan.first(), steps }
    }
}

impl Limiter for Scheduled {
    fn knobs(&self) -> Knobs {
        self.current
    }

    fn on_end(&mut self, _attempt: &Attempt) {}

    fn on_tick(&mut self, now: Seconds, _load: Load) {
        if let Some((_, knobs)) = self.steps.iter().rev().find(|(at, _)| *at <= now + 1e-9) {
            self.current = *knobs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Step;
    use crate::scenario::{Backend, Gpu, Service, Slots, Span};

    fn plan(calls: usize, rows: usize, pace: Option<f64>) -> Plan {
        let step = |at: f64, calls: usize| Step { at, calls, rows, pace, goodput: 1.0 };
        Plan { steps: vec![step(0.0, calls), step(10.0, 2 * calls)] }
    }

    fn slots() -> Scenario {
        let backend = Backend::Slots(Slots::new(8, Service::new(Span(0.05), 0.5)));
        Scenario::new("slots", backend, Span(0.2), Span(60.0))
    }

    fn batches() -> Scenario {
        let mut scenario =
            Scenario::new("gpu", Backend::Gpu(Gpu::new(1, Span(0.02), Span(0.002))), Span(0.2), Span(60.0));
        scenario.rows_per_call_max = 64;
        scenario
    }

    #[test]
    fn names_read_back() {
        for controller in all().into_iter().chain([Controller::Oracle, Controller::Fixed(17)]) {
            let name = controller.to_string();
            assert_eq!(named(&name).map(|found| found.to_string()).ok(), Some(name));
        }
        for name in ["", "our", "static", "static:", "static:0", "static:-1x", "static:nanx", "static:0x", "static:x"] {
            assert!(matches!(named(name), Err(Error::Argument(_))), "{name}");
        }
    }

    #[test]
    fn shares_are_of_the_first_phase() {
        let built = |share: f64, plan: &Plan| Controller::Share(share).build(&batches(), plan, 0, 1).knobs();
        let half = built(0.5, &plan(4, 32, None));
        assert_eq!((half.calls_max, half.rows_max, half.linger), (2, 16, 0.01));
        let thrice = built(3.0, &plan(4, 32, None));
        assert_eq!((thrice.calls_max, thrice.rows_max), (12, 32));
        assert_eq!(built(1.0, &plan(400, 1, Some(80.0))).calls_max, CALLS_BEHIND_A_RATE);
        assert_eq!(built(0.5, &plan(1, 1, None)).calls_max, 1, "never nothing");
    }

    #[test]
    fn the_oracle_follows_its_plan() {
        let mut oracle = Controller::Oracle.build(&slots(), &plan(5, 1, None), 0, 1);
        assert_eq!(oracle.knobs().calls_max, 5);
        oracle.on_tick(9.99, Load::default());
        assert_eq!(oracle.knobs().calls_max, 5);
        oracle.on_tick(10.0, Load::default());
        assert_eq!(oracle.knobs().calls_max, 10);
    }

    #[test]
    fn batches_are_given_only_where_the_client_builds_them() {
        for controller in all() {
            let knobs = controller.build(&slots(), &plan(4, 1, None), 0, 1).knobs();
            assert!(controller.to_string() == "clipper" || knobs.rows_max == 1, "{controller}: {knobs:?}");
        }
        let clipper = named("clipper").unwrap();
        assert!(!clipper.fits(&slots()) && clipper.fits(&batches()));
    }
}
