//! A progress line on the standard error while a job runs.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::env::Env;
use forebay_core::time::Instant;
use forebay_engine::Watch;
use forebay_engine::watch::{RegionReport, Status};
use indicatif::{ProgressBar, ProgressStyle};

use crate::arguments::Progress;

/// Shows progress until dropped.
pub struct Shown {
    task: Option<tokio::task::JoinHandle<()>>,
    bar: Option<ProgressBar>,
}

// === impl Shown ===

impl Shown {
    /// Begins to show `watch` as `mode` says.
    pub fn start(job: &str, watch: Arc<Watch>, env: Arc<dyn Env>, mode: Option<Progress>) -> Self {
        let default = if std::io::stderr().is_terminal() { Progress::Bar } else { Progress::Plain };
        let mode = mode.unwrap_or(default);
        if mode == Progress::None {
            return Self { task: Some(tokio::spawn(only_warn(watch, env))), bar: None };
        }
        let bar = (mode == Progress::Bar).then(|| {
            let style =
                ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::new_spinner().with_style(style)
        });
        let task = tokio::spawn(show(job.to_string(), watch, env, bar.clone()));
        Self { task: Some(task), bar }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A region that publishes no checkpoint for so long is worth a warning; it never fails others.
const AGE_MAX: Duration = Duration::from_secs(600);

/// Warns about each region that is overdue, once until it is on time again.
fn warn(watch: &Watch, now: Instant, warned: &mut BTreeSet<String>) {
    let overdue = watch.overdue(AGE_MAX, now);
    warned.retain(|region| overdue.iter().any(|(name, _)| name == region));
    for (region, age) in overdue {
        if warned.insert(region.clone()) {
            eprintln!(
                "warning: region {region} has published no checkpoint for {} s: a crash now would repeat that much work; see whether \
                 its sink or its checkpoint folder is slow, or a durable edge behind it is full",
                age.as_secs()
            );
        }
    }
}

async fn only_warn(watch: Arc<Watch>, env: Arc<dyn Env>) {
    let mut warned = BTreeSet::new();
    loop {
        env.sleep(AGE_MAX / 10).await;
        warn(&watch, env.now(), &mut warned);
    }
}

async fn show(job: String, watch: Arc<Watch>, env: Arc<dyn Env>, bar: Option<ProgressBar>) {
    let pause = if bar.is_some() { Duration::from_millis(250) } else { Duration::from_secs(1) };
    let (mut before, mut warned) = ((env.now(), 0), BTreeSet::new());
    loop {
        env.sleep(pause).await;
        warn(&watch, env.now(), &mut warned);
        let status = watch.status();
        let rate = rate(&mut before, env.now(), status.rows_out);
        let line = line(&job, &status, rate, &epochs(&watch.regions()));
        match &bar {
            Some(bar) => {
                bar.set_message(line);
                bar.tick();
            }
            None => eprintln!("{line}"),
        }
    }
}

/// Rows a second since the last look.
fn rate(before: &mut (Instant, u64), now: Instant, rows: u64) -> f64 {
    let (at, seen) = std::mem::replace(before, (now, rows));
    let seconds = now.since(at).as_secs_f64();
    if seconds > 0.0 { rows.saturating_sub(seen) as f64 / seconds } else { 0.0 }
}

/// The last checkpoint, of each region if there are several.
fn epochs(regions: &[RegionReport]) -> String {
    match regions {
        [] => "epoch 0".to_string(),
        [region] => format!("epoch {}", region.epoch),
        several => {
            let each = several.iter().map(|region| format!("{} {}", region.id, region.epoch));
            format!("epochs {}", each.collect::<Vec<_>>().join(", "))
        }
    }
}

fn line(job: &str, status: &Status, rate: f64, epochs: &str) -> String {
    let Status { rows_in, rows_out, dead_letters, open_rows, p99, .. } = status;
    let p99 = p99.as_secs_f64() * 1e3;
    format!(
        "{job}: {rows_in} rows in, {rows_out} out, {dead_letters} dead, {open_rows} in flight, {rate:.0} rows/s, \
         p99 {p99:.1} ms, {epochs}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(id: &str, epoch: u64) -> RegionReport {
        RegionReport { id: id.to_string(), epoch, ..RegionReport::default() }
    }

    #[test]
    fn every_region_shows_its_epoch() {
        assert_eq!(epochs(&[region("r1", 7)]), "epoch 7");
        assert_eq!(epochs(&[region("r1", 7), region("r2", 5)]), "epochs r1 7, r2 5");
    }
}
