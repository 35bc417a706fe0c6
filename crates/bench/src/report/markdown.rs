//! The tables of a report, in Markdown.

use std::fmt::Write;

use super::{Cell, ERROR_GOAL, Report, Spread};

// === impl Report ===

impl Report {
    /// The tables, in Markdown: goodput of all, a summary, and each of `details` scenario by scenario.
    pub fn to_markdown(&self, details: &[String]) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_goodput(&mut out);
        let _ = self.write_summary(&mut out);
        for controller in details {
            let _ = self.write_details(&mut out, controller);
        }
        out
    }

    fn write_goodput(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "Goodput, % of the oracle's, mean of {} seeds (* p99 above the objective, e errors above 2 %)\n",
            self.seeds
        )?;
        let controllers: Vec<&str> = self.summaries.iter().map(|summary| summary.controller.as_str()).collect();
        writeln!(out, "| | {} |", controllers.join(" | "))?;
        writeln!(out, "| --- |{}", " ---: |".repeat(controllers.len()))?;
        for row in &self.rows {
            write!(out, "| {} |", row.scenario)?;
            for controller in &controllers {
                match row.cells.iter().find(|cell| cell.controller == *controller) {
                    Some(cell) => write!(out, " {:.1}{} |", 100.0 * cell.goodput_ratio.mean, marks(cell))?,
                    None => write!(out, " |")?,
                }
            }
            writeln!(out)?;
        }
        writeln!(out)
    }

    fn write_summary(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "| | mean goodput % | worst | >= 95 % | p99 <= objective | both | worst p99/objective | windows in violation % | \
             errors % | re-converge, mean of worst s |\n| --- |{}",
            " ---: |".repeat(9)
        )?;
        for summary in &self.summaries {
            let count = summary.scenarios;
            write!(out, "| {} | {:.1} |", summary.controller, 100.0 * summary.goodput_ratio_mean)?;
            write!(out, " {:.0} ({}) |", 100.0 * summary.goodput_ratio_worst, summary.worst_scenario)?;
            for met in [summary.goodput_met, summary.p99_met, summary.both_met] {
                write!(out, " {met}/{count} |")?;
            }
            write!(out, " {:.2} | {:.1} |", summary.p99_ratio_worst, 100.0 * summary.violating_ratio_mean)?;
            writeln!(out, " {:.1} | {:.0} |", 100.0 * summary.error_ratio_mean, summary.converge_worst_seconds_mean)?;
        }
        writeln!(out)
    }

    fn write_details(&self, out: &mut String, controller: &str) -> std::fmt::Result {
        writeln!(
            out,
            "{controller}: mean (worst seed)\n\n| | goodput % | p99/objective | windows in violation % | errors % | re-converge, \
             median / worst s | Jain | idle % (oracle) | p50 / oracle's |\n| --- |{}",
            " ---: |".repeat(8)
        )?;
        for row in &self.rows {
            let Some(cell) = row.cells.iter().find(|cell| cell.controller == controller) else { continue };
            let percent = |spread: Spread| format!("{:.1} ({:.1})", 100.0 * spread.mean, 100.0 * spread.worst);
            let plain = |spread: Spread| format!("{:.2} ({:.2})", spread.mean, spread.worst);
            let whole = |seconds: Option<f64>| seconds.map_or("-".to_string(), |seconds| format!("{seconds:.0}"));
            let oracle_idle = row.cells.first().map_or(0.0, |cell| cell.idle_ratio.mean);
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} / {} | {} | {:.1} ({:.1}) | {:.1} |",
                row.scenario,
                percent(cell.goodput_ratio),
                plain(cell.p99_ratio),
                percent(cell.violating_ratio),
                format_args!("{:.2} ({:.2})", 100.0 * cell.error_ratio.mean, 100.0 * cell.error_ratio.worst),
                whole(cell.converge_median_seconds),
                whole(cell.converge_worst_seconds),
                cell.fairness.map_or(String::new(), |fairness| format!("{:.3}", fairness.mean)),
                100.0 * cell.idle_ratio.mean,
                100.0 * oracle_idle,
                cell.p50_ratio.mean,
            )?;
        }
        writeln!(out)
    }
}

fn marks(cell: &Cell) -> String {
    let late = if cell.p99_ratio.mean > 1.0 { "*" } else { "" };
    let errors = if cell.error_ratio.mean > ERROR_GOAL { "e" } else { "" };
    format!("{late}{errors}")
}
