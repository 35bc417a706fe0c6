//! What a running job shows: counts while it runs, a report at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use forebay_core::time::Instant;
use forebay_inference::call::{Heard, ModelGate};
use forebay_inference::service::{Counters as ModelCounters, Latencies, Service};
use forebay_runtime::attempt::CheckpointTimes;
use forebay_runtime::coordinator::Finish;
use forebay_runtime::counters::Counters;
use serde::Serialize;

use crate::parts::{ComingUp, Past};
use crate::resume::region_name;
use crate::scale::Planned;

/// Counts of a running job, shared between the job and whoever shows them. Rows count this process only, over all the parts
/// that the job ran in.
#[derive(Default)]
pub struct Watch {
    /// Rows read, written and dead-lettered.
    pub counters: Arc<Counters>,
    /// By place.
    regions: Mutex<BTreeMap<usize, RegionReport>>,
    /// By place: when the last checkpoint was published, or the first attempt began, of regions that are not at their end.
    published: Mutex<BTreeMap<usize, Instant>>,
    /// The models of the plan, whether their services have started or not.
    pub(crate) models: Mutex<BTreeMap<String, Planned>>,
    /// How many replicas models have in place of those that were declared, for the rest of the run. Taken before any other.
    pub(crate) scaled: Mutex<BTreeMap<String, u16>>,
    pub(crate) services: Mutex<BTreeMap<String, Service>>,
    pub(crate) gates: Mutex<BTreeMap<String, Arc<ModelGate>>>,
    /// By name: what was counted of models in the parts of the job that have ended.
    pub(crate) past: Mutex<BTreeMap<String, Past>>,
    /// When the first part began.
    begun: OnceLock<Instant>,
    pub(crate) coming_up: Mutex<ComingUp>,
    checkpoints: Mutex<CheckpointLatencies>,
}

#[derive(Default)]
struct CheckpointLatencies {
    barrier: Latencies,
    whole: Latencies,
}

/// How long checkpoints took in this process, percentiles at most 12.5 % too high.
#[derive(Debug, Clone, Serialize)]
pub struct CheckpointReport {
    /// How many were published.
    pub published: u64,
    /// Median time of a barrier from the sources through every subtask.
    pub barrier_p50_seconds: f64,
    /// 99th percentile of that time.
    pub barrier_p99_seconds: f64,
    /// Median time until a checkpoint was published and committed.
    pub whole_p50_seconds: f64,
    /// 99th percentile of that time.
    pub whole_p99_seconds: f64,
}

/// How one region fared in this process.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RegionReport {
    /// Its id, as the plan has it.
    pub id: String,
    /// Which run of it this was.
    pub attempt: u64,
    /// Its last published checkpoint.
    pub epoch: u64,
    /// How often it failed and was started again.
    pub restarts: u64,
    /// Longest time from such a failure until its subtasks ran again, the pause before a restart included.
    pub restart_max_seconds: f64,
}

/// Counts of one model.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ModelReport {
    /// Calls of its replicas.
    pub calls: u64,
    /// Rows in those calls.
    pub rows: u64,
    /// Rows answered from the journal, without a call.
    pub journal_hits: u64,
    /// Rows that joined one already open.
    pub attached: u64,
    /// Replicas started again.
    pub replica_restarts: u64,
    /// Median time of a call.
    pub p50_seconds: f64,
    /// 99th percentile of the time of a call.
    pub p99_seconds: f64,
    /// Calls that its limit allows at the end; `None` for a model without `latency`.
    pub limit: Option<usize>,
    /// Why its limit is that.
    pub why: Option<String>,
    /// Tokens of prompts and of answers, as the model counted them; 0 for one that does not.
    pub prompt_tokens: u64,
    /// See `prompt_tokens`.
    pub completion_tokens: u64,
    /// Second copies of slow calls.
    pub hedged: u64,
    /// Requests that its provider said are left, the last time.
    pub requests_left: Option<u64>,
    /// Tokens that its provider said are left, the last time.
    pub tokens_left: Option<u64>,
    /// How much of its capacity its server said is used, the last time; 1 is all.
    pub utilization: Option<f64>,
}

/// What a job did, as `--report` writes it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Its name.
    pub job: String,
    /// `completed` or `stopped`.
    pub outcome: &'static str,
    /// Which run of the job this was, as its first region counts.
    pub attempt: u64,
    /// The last published checkpoint of its first region.
    pub epoch: u64,
    /// Every region of tasks.
    pub regions: Vec<RegionReport>,
    /// Rows read by this process.
    pub rows_in: u64,
    /// Rows given to the sink by this process.
    pub rows_out: u64,
    /// Rows that became dead letters in this process.
    pub dead_letters: u64,
    /// From start to end.
    pub wall_seconds: f64,
    /// From the first call of a model to its last answer; the whole run without a model.
    pub run_seconds: f64,
    /// Rows out by second of `run_seconds`.
    pub rows_per_second: f64,
    /// Where the output lies; of several sinks all places, with commas.
    pub sink: String,
    /// Times of its checkpoints.
    pub checkpoints: CheckpointReport,
    /// Counts by model.
    pub models: BTreeMap<String, ModelReport>,
}

/// Counts at one moment, for a progress line.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Rows read.
    pub rows_in: u64,
    /// Rows given to the sink.
    pub rows_out: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Rows with a model, queued or in flight.
    pub open_rows: usize,
    /// 99th percentile of model calls, the slowest model's.
    pub p99: Duration,
    /// The last published checkpoint.
    pub epoch: u64,
    /// Which run of the job.
    pub attempt: u64,
}

// === impl Watch ===

impl Watch {
    /// Counts now.
    pub fn status(&self) -> Status {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let p99 = |(name, service): (&String, &Service)| {
            self.counters_of(name, Some(service)).latencies.percentile_micros(0.99).unwrap_or(0)
        };
        Status {
            rows_in: Counters::get(&self.counters.rows_read),
            rows_out: Counters::get(&self.counters.rows_written),
            dead_letters: Counters::get(&self.counters.dead_letters),
            open_rows: services.values().map(Service::open_rows).sum(),
            p99: Duration::from_micros(services.iter().map(p99).max().unwrap_or(0)),
            epoch: self.regions().first().map_or(0, |region| region.epoch),
            attempt: self.regions().first().map_or(0, |region| region.attempt),
        }
    }

    /// How each region fares, in their order.
    pub fn regions(&self) -> Vec<RegionReport> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn on_region(&self, place: usize, change: impl FnOnce(&mut RegionReport)) {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let id = region_name(place);
        change(regions.entry(place).or_insert_with(|| RegionReport { id, ..RegionReport::default() }));
    }

    pub(crate) fn set_epoch(&self, place: usize, epoch: u64) {
        self.on_region(place, |region| region.epoch = epoch);
    }

    pub(crate) fn on_restart(&self, place: usize) {
        self.on_region(place, |region| region.restarts += 1);
    }

    pub(crate) fn on_restarted(&self, place: usize, took: Duration) {
        self.on_region(place, |region| {
            region.restart_max_seconds = region.restart_max_seconds.max(took.as_secs_f64());
        });
    }

    /// The region at `place` begins to run, at `now`, or begins again.
    pub(crate) fn on_begin(&self, place: usize, now: Instant) {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).entry(place).or_insert(now);
        self.on_up(place);
    }

    /// The region at `place` is at its end.
    pub(crate) fn on_end(&self, place: usize) {
        self.on_up(place);
        self.published.lock().unwrap_or_else(PoisonError::into_inner).remove(&place);
    }

    /// Regions that have published no checkpoint for longer than `age` at `now`, and for how long. Restarts do not count.
    pub fn overdue(&self, age: Duration, now: Instant) -> Vec<(String, Duration)> {
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let ages = published.iter().map(|(place, at)| (region_name(*place), now.since(*at)));
        ages.filter(|(_, since)| *since > age).collect()
    }

    pub(crate) fn on_checkpoint(&self, place: usize, epoch: u64, times: CheckpointTimes, now: Instant) {
        self.set_epoch(place, epoch);
        if let Some(at) = self.published.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&place) {
            *at = now;
        }
        let mut latencies = self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
        latencies.barrier.record(times.barrier);
        latencies.whole.record(times.whole);
    }

    pub(crate) fn checkpoints(&self) -> CheckpointReport {
        let latencies = self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = |times: &Latencies, ratio| times.percentile_micros(ratio).unwrap_or(0) as f64 / 1e6;
        CheckpointReport {
            published: latencies.whole.count(),
            barrier_p50_seconds: seconds(&latencies.barrier, 0.5),
            barrier_p99_seconds: seconds(&latencies.barrier, 0.99),
            whole_p50_seconds: seconds(&latencies.whole, 0.5),
            whole_p99_seconds: seconds(&latencies.whole, 0.99),
        }
    }

    pub(crate) fn set_attempt(&self, place: usize, attempt: u64) {
        self.on_region(place, |region| region.attempt = attempt);
    }

    /// Rows that models were asked for and have not answered.
    pub(crate) fn open_rows(&self) -> usize {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.values().map(Service::open_rows).sum()
    }

    /// What was counted of the model `name`, whose service, if one has started, is `service`.
    pub(crate) fn model(&self, name: &str, service: Option<&Service>) -> ModelReport {
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = gates.get(name);
        let moving = gate.filter(|gate| gate.moves());
        let heard = self.heard_of(name, gate.map(|gate| gate.heard()).unwrap_or_default());
        ModelReport {
            limit: moving.map(|gate| gate.knobs().calls_max),
            why: moving.map(|gate| gate.why()),
            ..ModelReport::of(&self.counters_of(name, service), &heard)
        }
    }

    /// When the first part of the job began, which is `now` if this is it.
    pub(crate) fn begun(&self, now: Instant) -> Instant {
        *self.begun.get_or_init(|| now)
    }

    /// The report of a job that ran from `started` to `ended`.
    pub(crate) fn report(&self, job: &str, sink: &str, finish: Finish, started: Instant, ended: Instant) -> Report {
        let status = self.status();
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let names: BTreeSet<String> = services.keys().cloned().chain(self.past_models()).collect();
        let counters = names.iter().map(|name| self.counters_of(name, services.get(name)));
        let spans = counters.filter_map(|counters| Some((counters.first_sent?, counters.last_told?)));
        let spans: Vec<(Instant, Instant)> = spans.collect();
        let first = spans.iter().map(|(first, _)| *first).min().unwrap_or(started);
        let last = spans.iter().map(|(_, last)| *last).max().unwrap_or(ended);
        let run_seconds = last.since(first).as_secs_f64();
        Report {
            job: job.to_string(),
            outcome: match finish {
                Finish::Completed => "completed",
                Finish::Stopped => "stopped",
            },
            attempt: status.attempt,
            epoch: status.epoch,
            regions: self.regions(),
            rows_in: status.rows_in,
            rows_out: status.rows_out,
            dead_letters: status.dead_letters,
            wall_seconds: ended.since(started).as_secs_f64(),
            run_seconds,
            rows_per_second: if run_seconds > 0.0 { status.rows_out as f64 / run_seconds } else { 0.0 },
            sink: sink.to_string(),
            checkpoints: self.checkpoints(),
            models: names.iter().map(|name| (name.clone(), self.model(name, services.get(name)))).collect(),
        }
    }
}

// === impl ModelReport ===

impl ModelReport {
    fn of(counters: &ModelCounters, heard: &Heard) -> Self {
        let Heard { observed, hedged } = *heard;
        let limits = observed.rate_limits.unwrap_or_default();
        let seconds = |ratio| counters.latencies.percentile_micros(ratio).unwrap_or(0) as f64 / 1e6;
        Self {
            calls: counters.calls,
            rows: counters.rows,
            journal_hits: counters.journal_hits,
            attached: counters.attached,
            replica_restarts: counters.replica_restarts,
            p50_seconds: seconds(0.5),
            limit: None,
            why: None,
            p99_seconds: seconds(0.99),
            prompt_tokens: observed.tokens.prompt,
            completion_tokens: observed.tokens.generated,
            hedged,
            requests_left: limits.requests_left,
            tokens_left: limits.tokens_left,
            utilization: observed.utilization,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_overdue_until_it_publishes_and_restarts_do_not_help() {
        let watch = Watch::default();
        let (begun, age) = (Instant(0), Duration::from_secs(600));
        watch.on_begin(0, begun);
        watch.on_begin(1, begun);
        assert_eq!(watch.overdue(age, begun + age), []);
        let later = begun + Duration::from_secs(700);
        watch.on_begin(1, later);
        let times = CheckpointTimes { barrier: Duration::ZERO, whole: Duration::ZERO };
        watch.on_checkpoint(0, 1, times, later);
        assert_eq!(watch.overdue(age, later), [("r2".to_string(), Duration::from_secs(700))]);
        watch.on_end(1);
        assert_eq!(watch.overdue(age, later), []);
    }
}
