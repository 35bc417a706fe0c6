//! Tables of who did how well, as text and as JSON.

mod markdown;

use serde::Serialize;

use crate::metrics::Score;
use crate::oracle::Plan;
use crate::scenario::Accept;

/// A limiter does well at this share of the oracle's goodput.
pub const GOODPUT_GOAL: f64 = 0.95;
/// More failed attempts than this are marked in tables.
pub const ERROR_GOAL: f64 = 0.02;

/// A number over several seeds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Over all seeds.
    pub mean: f64,
    /// Of the least lucky seed.
    pub worst: f64,
}

/// One controller in one scenario, over all seeds.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// The controller's name.
    pub controller: String,
    /// See [`Score`] for this and the following.
    pub goodput_ratio: Spread,
    /// Worst is highest, as for all that follow but fairness.
    pub p99_ratio: Spread,
    /// Median latency over the oracle's.
    pub p50_ratio: Spread,
    /// Share of windows in violation.
    pub violating_ratio: Spread,
    /// Share of failed attempts.
    pub error_ratio: Spread,
    /// Jain's index; none with one client.
    pub fairness: Option<Spread>,
    /// Share of unused capacity.
    pub idle_ratio: Spread,
    /// Median over all shifts and seeds; none where nothing can re-converge.
    pub converge_median_seconds: Option<f64>,
    /// Longest over all shifts and seeds.
    pub converge_worst_seconds: Option<f64>,
    /// Each seed's score, in the order of the seeds.
    pub seeds: Vec<Score>,
}

/// One scenario with all its controllers.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The scenario's name.
    pub scenario: String,
    /// Its title.
    pub title: String,
    /// In seconds.
    pub objective: f64,
    /// What the oracle does.
    pub plan: Plan,
    /// The oracle first, then the controllers that fit, in the order asked for.
    pub cells: Vec<Cell>,
}

/// One controller over all scenarios.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Its name.
    pub controller: String,
    /// Scenarios it ran in.
    pub scenarios: usize,
    /// Mean goodput over the oracle's.
    pub goodput_ratio_mean: f64,
    /// Lowest, and where.
    pub goodput_ratio_worst: f64,
    /// The scenario of the lowest.
    pub worst_scenario: String,
    /// Scenarios at the goal of 95 %.
    pub goodput_met: usize,
    /// Scenarios whose p99 is within the objective.
    pub p99_met: usize,
    /// Scenarios where both hold.
    pub both_met: usize,
    /// Highest p99 over its objective.
    pub p99_ratio_worst: f64,
    /// Mean share of windows in violation.
    pub violating_ratio_mean: f64,
    /// Mean share of failed attempts.
    pub error_ratio_mean: f64,
    /// Mean over scenarios of the longest re-convergence.
    pub converge_worst_seconds_mean: f64,
}

/// Everything that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The first seed; the others follow it.
    pub first_seed: u64,
    /// How many seeds.
    pub seeds: u64,
    /// All scenarios.
    pub rows: Vec<Row>,
    /// All controllers.
    pub summaries: Vec<Summary>,
}

// === impl Spread ===

impl Spread {
    fn of(values: impl Iterator<Item = f64>, worse: fn(f64, f64) -> f64) -> Self {
        let values: Vec<f64> = values.collect();
        let worst = values.iter().copied().reduce(worse).unwrap_or_default();
        Self { mean: values.iter().sum::<f64>() / values.len().max(1) as f64, worst }
    }
}

// === impl Cell ===

impl Cell {
    /// What `seeds` come to.
    pub fn new(controller: String, seeds: Vec<Score>) -> Self {
        let high = |of: fn(&Score) -> f64| Spread::of(seeds.iter().map(of), f64::max);
        let fair: Vec<f64> = seeds.iter().filter_map(|score| score.fairness).collect();
        let mut times: Vec<f64> = seeds.iter().flat_map(|score| score.converge_seconds.iter().copied()).collect();
        times.sort_by(f64::total_cmp);
        Self {
            controller,
            goodput_ratio: Spread::of(seeds.iter().map(|score| score.goodput_ratio), f64::min),
            p99_ratio: high(|score| score.p99_ratio),
            p50_ratio: high(|score| score.p50_ratio),
            violating_ratio: high(|score| score.violating_ratio),
            error_ratio: high(|score| score.error_ratio),
            fairness: (!fair.is_empty()).then(|| Spread::of(fair.into_iter(), f64::min)),
            idle_ratio: high(|score| score.idle_ratio),
            converge_median_seconds: times.get(times.len() / 2).copied(),
            converge_worst_seconds: times.last().copied(),
            seeds,
        }
    }

    /// What of `accept` is not met; empty when all is.
    pub fn misses(&self, accept: &Accept) -> Vec<String> {
        let mut misses = Vec::new();
        let mut check = |what: &str, is: f64, bound: &str, wanted: f64, met: bool| {
            if !met {
                misses.push(format!("{what} is {is:.3}, accepted {bound} {wanted:.3}"));
            }
        };
        let (goodput, p99, errors) = (self.goodput_ratio.mean, self.p99_ratio.mean, self.error_ratio.mean);
        check("goodput_ratio", goodput, "from", accept.goodput_ratio, goodput >= accept.goodput_ratio);
        check("p99_ratio", p99, "to", accept.p99_ratio, p99 <= accept.p99_ratio);
        check("error_ratio", errors, "to", accept.error_ratio, errors <= accept.error_ratio);
        if let (Some(wanted), Some(is)) = (accept.converge, self.converge_worst_seconds) {
            check("converge", is, "to", wanted.0, is <= wanted.0);
        }
        if let Some(fairness) = self.fairness {
            check("fairness", fairness.mean, "from", accept.fairness, fairness.mean >= accept.fairness);
        }
        misses
    }
}

// === impl Report ===

impl Report {
    /// Sums `rows` up.
    pub fn new(first_seed: u64, seeds: u64, rows: Vec<Row>) -> Self {
        let mut names: Vec<&str> = Vec::new();
        for cell in rows.iter().flat_map(|row| &row.cells) {
            if !names.contains(&cell.controller.as_str()) {
                names.push(&cell.controller);
            }
        }
        let summaries = names.into_iter().map(|name| Summary::new(name, &rows)).collect();
        Self { first_seed, seeds, rows, summaries }
    }
}

// === impl Summary ===

impl Summary {
    fn new(controller: &str, rows: &[Row]) -> Self {
        let own = |row: &'_ Row| row.cells.iter().position(|cell| cell.controller == controller);
        let cells: Vec<(&str, &Cell)> =
            rows.iter().filter_map(|row| Some((row.scenario.as_str(), &row.cells[own(row)?]))).collect();
        let mean =
            |of: fn(&Cell) -> f64| cells.iter().map(|(_, cell)| of(cell)).sum::<f64>() / cells.len().max(1) as f64;
        let count = |met: fn(&Cell) -> bool| cells.iter().filter(|(_, cell)| met(cell)).count();
        let worst = cells.iter().min_by(|one, other| one.1.goodput_ratio.mean.total_cmp(&other.1.goodput_ratio.mean));
        Self {
            controller: controller.to_string(),
            scenarios: cells.len(),
            goodput_ratio_mean: mean(|cell| cell.goodput_ratio.mean),
            goodput_ratio_worst: worst.map_or(0.0, |(_, cell)| cell.goodput_ratio.mean),
            worst_scenario: worst.map_or(String::new(), |(name, _)| (*name).to_string()),
            goodput_met: count(|cell| cell.goodput_ratio.mean >= GOODPUT_GOAL),
            p99_met: count(|cell| cell.p99_ratio.mean <= 1.0),
            both_met: count(|cell| cell.goodput_ratio.mean >= GOODPUT_GOAL && cell.p99_ratio.mean <= 1.0),
            p99_ratio_worst: cells.iter().map(|(_, cell)| cell.p99_ratio.mean).fold(0.0, f64::max),
            violating_ratio_mean: mean(|cell| cell.violating_ratio.mean),
            error_ratio_mean: mean(|cell| cell.error_ratio.mean),
            converge_worst_seconds_mean: mean(|cell| cell.converge_worst_seconds.unwrap_or_default()),
        }
    }
}
