//! Fills the drawings of [`plot`](crate::plot) from runs in virtual time and writes them into a folder.

use std::path::Path;

use crate::error::Error;
use crate::metrics::{Series, quantile};
use crate::oracle::shifts;
use crate::plot::{self, Bars, Figure, Line, Mark, Overview, PlotError};
use crate::report::{ERROR_GOAL, Report};
use crate::scenario::Scenario;
use crate::virtual_time::{ClientRecord, Run, Second};

/// Draws one scenario over time into `folder/NAME.svg`.
///
/// # Errors
/// `File` when it cannot be written, `Other` when it cannot be drawn.
pub fn scenario(folder: &Path, scenario: &Scenario, oracle: &Run, runs: &[(String, Run)]) -> Result<(), Error> {
    let mark = |at: f64| Mark { at, label: String::new() };
    let figure = Figure {
        title: format!("{}: {}", scenario.name, scenario.title),
        objective: scenario.objective.0,
        oracle_goodput: Series::new(scenario, oracle).good,
        marks: shifts(scenario).into_iter().filter(|at| *at > 0.0).map(mark).collect(),
        lines: runs.iter().map(|(name, run)| line(scenario, name, run)).collect(),
    };
    write(folder, &scenario.name, plot::run(&figure))
}

/// Draws the goodput of all into `folder/overview.svg`.
///
/// # Errors
/// As [`scenario`].
pub fn overview(folder: &Path, report: &Report) -> Result<(), Error> {
    let bars = |controller: &String| {
        let cells: Vec<_> =
            report.rows.iter().map(|row| row.cells.iter().find(|cell| cell.controller == *controller)).collect();
        Bars {
            limiter: controller.clone(),
            goodput_percent: cells.iter().map(|cell| cell.map(|cell| 100.0 * cell.goodput_ratio.mean)).collect(),
            kept: cells
                .iter()
                .map(|cell| cell.is_some_and(|cell| cell.p99_ratio.mean <= 1.0 && cell.error_ratio.mean <= ERROR_GOAL))
                .collect(),
        }
    };
    let controllers = report.summaries.iter().map(|summary| &summary.controller).filter(|name| *name != "oracle");
    let drawing = Overview {
        title: format!("Goodput, % of the oracle's, mean of {} seeds", report.seeds),
        scenarios: report.rows.iter().map(|row| row.scenario.clone()).collect(),
        limiters: controllers.map(bars).collect(),
    };
    write(folder, "overview", plot::overview(&drawing))
}

fn line(scenario: &Scenario, limiter: &str, run: &Run) -> Line {
    let seconds = scenario.length.0 as usize;
    let sum = |of: fn(&Second) -> f32| {
        let at = |second: usize| run.clients.iter().map(|client| f64::from(of(&client.seconds[second]))).sum();
        (0..seconds).map(at).collect()
    };
    Line {
        limiter: limiter.to_string(),
        limit: sum(|second| second.limit),
        in_flight: sum(|second| second.in_flight),
        goodput: Series::new(scenario, run).good,
        p99: p99(run, seconds),
    }
}

/// The 99th percentile of what was answered in each second; NaN where nothing was.
fn p99(run: &Run, seconds: usize) -> Vec<f64> {
    let mut places = vec![0; run.clients.len()];
    let second = |second: usize| {
        let mut latencies: Vec<f32> = Vec::new();
        for (client, place) in run.clients.iter().zip(&mut places) {
            let end = *place + client.seconds[second].answered as usize;
            latencies.extend_from_slice(answered(client, *place, end));
            *place = end;
        }
        if latencies.is_empty() { f64::NAN } else { quantile(&mut latencies, 0.99) }
    };
    (0..seconds).map(second).collect()
}

fn answered(client: &ClientRecord, begin: usize, end: usize) -> &[f32] {
    client.latencies.get(begin..end).unwrap_or_default()
}

fn write(folder: &Path, name: &str, drawn: Result<String, PlotError>) -> Result<(), Error> {
    let svg = drawn.map_err(|error| Error::Other(error.to_string()))?;
    std::fs::create_dir_all(folder).map_err(|error| Error::file("create folder", folder, error))?;
    let path = folder.join(format!("{name}.svg"));
    std::fs::write(&path, svg).map_err(|error| Error::file("write plot", &path, error))
}
