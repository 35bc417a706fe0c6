//! What one run is worth, measured beside the oracle's run with the same seed.

use serde::Serialize;

use crate::oracle::shifts;
use crate::scenario::{Ramping, Scenario};
use crate::virtual_time::{ClientRecord, Run};

/// Windows in which late answers are counted.
const WINDOW_SECONDS: usize = 5;
/// A window with a larger share of late answers is in violation.
const WINDOW_LATE_MAX: f64 = 0.01;
/// Shortest phase whose re-convergence is measured.
const PHASE_SECONDS_MIN: usize = 8;
/// A limiter has re-converged when it reaches this share of the oracle's level...
const CONVERGED_SHARE: f64 = 0.9;
/// ...with at most this share of late answers...
const CONVERGED_LATE_MAX: f64 = 0.02;
/// ...over so many seconds, or twice as many where fewer than `SLOW_RATE` rows a second pass.
const CONVERGED_SECONDS: usize = 3;
const SLOW_RATE: f64 = 50.0;
/// Fairness is measured over periods of a constant set of clients that last at least so long.
const PERIOD_SECONDS_MIN: f64 = 10.0;

/// What one run is worth.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Score {
    /// Rows answered within the objective, over the oracle's.
    pub goodput_ratio: f64,
    /// 99th percentile over all answers of the run, over the objective.
    pub p99_ratio: f64,
    /// Median latency over the oracle's: above 1 is queueing that the oracle does without.
    pub p50_ratio: f64,
    /// Share of 5 s windows with more than 1 % late answers.
    pub violating_ratio: f64,
    /// Failed over all attempts, in rows.
    pub error_ratio: f64,
    /// For each shift, seconds until the level of the oracle was reached again.
    pub converge_seconds: Vec<f64>,
    /// Jain's index over the clients; none with one client.
    pub fairness: Option<f64>,
    /// Share of the backend's capacity that nothing used.
    pub idle_ratio: f64,
    /// Rows answered within the objective, in a second.
    pub goodput: f64,
}

/// Sums over all clients of a run, second by second.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// Rows answered within the objective.
    pub good: Vec<f64>,
    /// Rows answered.
    pub answered: Vec<f64>,
}

/// The `share`-quantile of `values`, which it reorders; 0 of none.
pub fn quantile(values: &mut [f32], share: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let place = ((values.len() - 1) as f64 * share.clamp(0.0, 1.0)) as usize;
    f64::from(*values.select_nth_unstable_by(place, f32::total_cmp).1)
}

/// What `run` is worth beside `oracle`, both of `scenario` with one seed.
pub fn score(scenario: &Scenario, run: &Run, oracle: &Run) -> Score {
    let (series, best) = (Series::new(scenario, run), Series::new(scenario, oracle));
    let total = |of: fn(&ClientRecord) -> u64| run.clients.iter().map(of).sum::<u64>() as f64;
    let failed = total(|client| client.seconds.iter().map(|second| u64::from(second.failed)).sum());
    let sent = total(|client| client.seconds.iter().map(|second| u64::from(second.sent)).sum());
    let (mut latencies, mut best_latencies) = (latencies(run), latencies(oracle));
    let good: f64 = series.good.iter().sum();
    Score {
        goodput_ratio: good / best.good.iter().sum::<f64>().max(1.0),
        p99_ratio: quantile(&mut latencies, 0.99) / scenario.objective.0,
        p50_ratio: quantile(&mut latencies, 0.5) / quantile(&mut best_latencies, 0.5).max(1e-6),
        violating_ratio: violating_ratio(&series),
        error_ratio: failed / sent.max(1.0),
        converge_seconds: converge_seconds(scenario, &series, &best),
        fairness: fairness(scenario, run),
        idle_ratio: run.idle_ratio,
        goodput: good / scenario.length.0,
    }
}

fn latencies(run: &Run) -> Vec<f32> {
    run.clients.iter().flat_map(|client| client.latencies.iter().copied()).collect()
}

fn violating_ratio(series: &Series) -> f64 {
    let windows = series.answered.chunks_exact(WINDOW_SECONDS).zip(series.good.chunks_exact(WINDOW_SECONDS));
    let sums = windows.map(|(answered, good)| (answered.iter().sum::<f64>(), good.iter().sum::<f64>()));
    let busy: Vec<(f64, f64)> = sums.filter(|(answered, _)| *answered > 0.0).collect();
    let violating = busy.iter().filter(|(answered, good)| answered - good > WINDOW_LATE_MAX * answered).count();
    violating as f64 / busy.len().max(1) as f64
}

/// From each shift to the first window at the level that the oracle holds in the second half of the phase. On ramps there
/// is no such level.
fn converge_seconds(scenario: &Scenario, series: &Series, oracle: &Series) -> Vec<f64> {
    let seconds = series.good.len();
    let begins: Vec<usize> = shifts(scenario).into_iter().map(|at| at as usize).collect();
    let mut all = Vec::new();
    for (place, begin) in begins.iter().copied().enumerate() {
        let end = begins.get(place + 1).copied().unwrap_or(seconds).min(seconds);
        let moving = scenario.conditions(begin as f64).1 == Ramping::Moving;
        if moving || end < begin + PHASE_SECONDS_MIN {
            continue;
        }
        let half = (begin + end) / 2;
        let level = oracle.good[half..end].iter().sum::<f64>() / (end - half) as f64;
        if level > 0.0 {
            all.push(converged(series, level, begin, end));
        }
    }
    all
}

fn converged(series: &Series, level: f64, begin: usize, end: usize) -> f64 {
    let window = if level < SLOW_RATE { 2 * CONVERGED_SECONDS } else { CONVERGED_SECONDS };
    let reached = |at: &usize| {
        let good: f64 = series.good[*at..at + window].iter().sum();
        let answered: f64 = series.answered[*at..at + window].iter().sum();
        good >= CONVERGED_SHARE * level * window as f64 && answered - good <= CONVERGED_LATE_MAX * answered
    };
    let first = (begin..end - window).find(reached);
    first.map_or(end - begin, |at| at - begin) as f64
}

/// Jain's index of the clients' goodput, over the second half of each period of a constant set of clients, averaged.
fn fairness(scenario: &Scenario, run: &Run) -> Option<f64> {
    let spans = scenario.client_spans();
    let ends = spans.iter().flat_map(|(start, stop)| [*start, stop.min(scenario.length.0)]);
    let mut times: Vec<f64> = ends.chain([scenario.length.0]).collect();
    times.sort_by(f64::total_cmp);
    times.dedup();
    let mut indices = Vec::new();
    for period in times.windows(2).filter(|period| period[1] - period[0] >= PERIOD_SECONDS_MIN) {
        let half = ((period[0] + period[1]) / 2.0) as usize..period[1] as usize;
        let present = run.clients.iter().zip(&spans).filter(|(_, span)| span.0 <= period[0] && span.1 > period[0]);
        let goods: Vec<f64> = present
            .map(|(client, _)| client.seconds[half.clone()].iter().map(|second| f64::from(second.good)).sum())
            .collect();
        if goods.len() > 1 {
            let squares: f64 = goods.iter().map(|good| good * good).sum();
            indices.push(goods.iter().sum::<f64>().powi(2) / (goods.len() as f64 * squares).max(1e-9));
        }
    }
    (!indices.is_empty()).then(|| indices.iter().sum::<f64>() / indices.len() as f64)
}

// === impl Series ===

impl Series {
    /// Of `run`, for every whole second of `scenario`.
    pub fn new(scenario: &Scenario, run: &Run) -> Self {
        let seconds = scenario.length.0 as usize;
        let sum = |of: fn(&crate::virtual_time::Second) -> u32| {
            let at = |second: usize| run.clients.iter().map(|client| f64::from(of(&client.seconds[second]))).sum();
            (0..seconds).map(at).collect::<Vec<f64>>()
        };
        Self { good: sum(|second| second.good), answered: sum(|second| second.answered) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Backend, Client, Phase, Service, Slots, Span};
    use crate::virtual_time::Second;

    fn scenario(length: f64) -> Scenario {
        let backend = Backend::Slots(Slots::new(1, Service::new(Span(0.05), 0.0)));
        Scenario::new("metrics", backend, Span(0.2), Span(length))
    }

    /// A client with so many good and late answers in each second.
    fn client(seconds: &[(u32, u32)]) -> ClientRecord {
        let mut record = ClientRecord::new(seconds.len() as f64);
        for (at, (good, late)) in seconds.iter().enumerate() {
            let second = Second { good: *good, answered: good + late, sent: good + late, ..Second::default() };
            record.seconds[at] = second;
            record.latencies.extend(std::iter::repeat_n(0.1, *good as usize));
            record.latencies.extend(std::iter::repeat_n(0.3, *late as usize));
        }
        record
    }

    fn run(clients: Vec<ClientRecord>) -> Run {
        Run { clients, ..Run::default() }
    }

    #[test]
    fn quantiles_of_few_and_of_none() {
        assert_eq!(quantile(&mut [], 0.99), 0.0);
        assert_eq!(quantile(&mut [3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&mut [3.0, 1.0, 2.0], 1.0), 3.0);
    }

    #[test]
    fn late_answers_are_no_goodput_and_violate_their_window() {
        let best = run(vec![client(&[(100, 0); 20])]);
        let mut seconds = [(100, 0); 20];
        seconds[7] = (50, 50);
        let score = score(&scenario(20.0), &run(vec![client(&seconds)]), &best);
        assert_eq!((score.goodput_ratio, score.violating_ratio), (0.975, 0.25));
        assert!((score.p99_ratio - 1.5).abs() < 1e-6, "50 of 2,000 are late");
        assert_eq!(score.fairness, None);
    }

    #[test]
    fn re_convergence_counts_from_the_shift() {
        let mut scenario = scenario(40.0);
        scenario.phases = vec![Phase { capacity: 0.5, ..Phase::new(Span(20.0)) }];
        let level = |at: usize| if at < 20 { 100 } else { 50 };
        let best: Vec<(u32, u32)> = (0..40).map(|at| (level(at), 0)).collect();
        let slow: Vec<(u32, u32)> = (0..40).map(|at| (if at % 20 < 6 { 10 } else { level(at) }, 0)).collect();
        let both = |seconds: &[(u32, u32)]| score(&scenario, &run(vec![client(seconds)]), &run(vec![client(&best)]));
        assert_eq!(both(&best).converge_seconds, [0.0, 0.0]);
        assert_eq!(both(&slow).converge_seconds, [6.0, 6.0]);
        assert_eq!(both(&[(1, 0); 40]).converge_seconds, [20.0, 20.0], "never");
    }

    #[test]
    fn fairness_is_jains() {
        let mut scenario = scenario(40.0);
        scenario.clients = vec![Client { start: Span(0.0), stop: None }; 2];
        let fairness = |other: u32| {
            let run = run(vec![client(&[(100, 0); 40]), client(&[(other, 0); 40])]);
            score(&scenario, &run, &run).fairness.unwrap()
        };
        assert!((fairness(100) - 1.0).abs() < 1e-9);
        assert!((fairness(0) - 0.5).abs() < 1e-9);
        assert!((fairness(50) - 0.9).abs() < 1e-9);
    }
}
