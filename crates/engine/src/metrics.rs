//! The counts of a running job in the OpenMetrics text format, which Prometheus and its relatives read.
//!
//! The names are a contract: `docs/reference/metrics.md` lists them.

use std::sync::atomic::AtomicU64;

use forebay_core::{Error, Kind, Result};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::progress::{ModelProgress, Progress};

type Labels = Vec<(&'static str, String)>;

type Counted<T> = (&'static str, &'static str, fn(&T) -> u64);

type Gauged<T> = (&'static str, &'static str, fn(&T) -> Option<f64>);

/// By [`QUANTILES`].
type Timed<T> = (&'static str, &'static str, [fn(&T) -> f64; 2]);

const JOB_COUNTS: [Counted<Progress>; 4] = [
    ("rows_in", "Rows read by this process", |job| job.rows_in),
    ("rows_out", "Rows given to sinks by this process", |job| job.rows_out),
    ("dead_letters", "Rows that became dead letters in this process", |job| job.dead_letters),
    ("checkpoints", "Checkpoints published by this process", |job| job.checkpoints.published),
];

const JOB_GAUGES: [Gauged<Progress>; 2] = [
    ("attempt", "Which run of the job this is", |job| Some(job.attempt as f64)),
    ("epoch", "The newest published checkpoint", |job| Some(job.epoch as f64)),
];

const JOB_TIMES: [Timed<Progress>; 2] = [
    (
        "checkpoint_barrier_seconds",
        "Time of a barrier from the sources through every subtask",
        [|job| job.checkpoints.barrier_p50_seconds, |job| job.checkpoints.barrier_p99_seconds],
    ),
    (
        "checkpoint_seconds",
        "Time until a checkpoint was published and committed",
        [|job| job.checkpoints.whole_p50_seconds, |job| job.checkpoints.whole_p99_seconds],
    ),
];

const MODEL_COUNTS: [Counted<ModelProgress>; 8] = [
    ("model_calls", "Calls of its replicas", |model| model.report.calls),
    ("model_rows", "Rows in those calls", |model| model.report.rows),
    ("model_journal_hits", "Rows answered from the journal, without a call", |model| model.report.journal_hits),
    ("model_attached", "Rows that joined one already open", |model| model.report.attached),
    ("model_replica_restarts", "Replicas started again", |model| model.report.replica_restarts),
    ("model_hedged", "Second copies of slow calls", |model| model.report.hedged),
    ("model_prompt_tokens", "Tokens of prompts, as the model counted them", |model| model.report.prompt_tokens),
    ("model_completion_tokens", "Tokens of answers, as the model counted them", |model| model.report.completion_tokens),
];

const MODEL_GAUGES: [Gauged<ModelProgress>; 8] = [
    ("model_replicas", "Replicas that it shall have here", |model| model.replicas.map(f64::from)),
    ("model_replicas_ready", "Replicas that are loaded and take calls", |model| model.replicas_ready.map(f64::from)),
    ("model_in_flight", "Calls that it has not answered yet", |model| Some(model.in_flight as f64)),
    ("model_open_rows", "Rows given to it and not told yet", |model| Some(model.open_rows as f64)),
    ("model_limit", "Calls that its limit allows", |model| model.report.limit.map(|limit| limit as f64)),
    ("model_requests_left", "Requests that its provider said are left", |model| {
        model.report.requests_left.map(|left| left as f64)
    }),
    ("model_tokens_left", "Tokens that its provider said are left", |model| {
        model.report.tokens_left.map(|left| left as f64)
    }),
    ("model_utilization_ratio", "How much of its capacity its server said is used", |model| model.report.utilization),
];

const MODEL_TIMES: [Timed<ModelProgress>; 1] =
    [("model_call_seconds", "Time of a call", [|model| model.report.p50_seconds, |model| model.report.p99_seconds])];

const QUANTILES: [&str; 2] = ["0.5", "0.99"];

/// What `progress` of the job `job` says, as OpenMetrics text: every sample has the label `job`, those of models `model`.
///
/// # Errors
/// `Internal`, if it cannot be written.
pub fn open_metrics(job: &str, progress: &Progress) -> Result<String> {
    let mut registry = Registry::with_prefix("forebay");
    let of_job = || vec![("job", job.to_string())];
    let of_model = |name: &String| vec![("job", job.to_string()), ("model", name.clone())];
    for (name, help, value) in JOB_COUNTS {
        count(&mut registry, name, help, [(of_job(), value(progress))]);
    }
    for (name, help, value) in JOB_GAUGES {
        gauge(&mut registry, name, help, [(of_job(), value(progress))]);
    }
    for (name, help, values) in JOB_TIMES {
        gauge(&mut registry, name, help, quantiles(of_job(), values.map(|value| value(progress))));
    }
    for (name, help, value) in MODEL_COUNTS {
        count(&mut registry, name, help, progress.models.iter().map(|(model, said)| (of_model(model), value(said))));
    }
    for (name, help, value) in MODEL_GAUGES {
        gauge(&mut registry, name, help, progress.models.iter().map(|(model, said)| (of_model(model), value(said))));
    }
    for (name, help, values) in MODEL_TIMES {
        let models = progress.models.iter();
        let samples = models.flat_map(|(model, said)| quantiles(of_model(model), values.map(|value| value(said))));
        gauge(&mut registry, name, help, samples);
    }
    let mut text = String::new();
    let wrong = |source| Error::new(Kind::Internal, "write metrics").source(source);
    encode(&mut text, &registry).map_err(wrong)?;
    Ok(text)
}

fn quantiles(labels: Labels, values: [f64; 2]) -> impl Iterator<Item = (Labels, Option<f64>)> {
    QUANTILES.into_iter().zip(values).map(move |(quantile, value)| {
        let labels = labels.iter().cloned().chain([("quantile", quantile.to_string())]).collect();
        (labels, Some(value))
    })
}

fn count(registry: &mut Registry, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, u64)>) {
    let family = Family::<Labels, Counter>::default();
    for (labels, value) in samples {
        family.get_or_create(&labels).inc_by(value);
    }
    registry.register(name, help, family);
}

/// What is not known has no sample.
fn gauge(registry: &mut Registry, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, Option<f64>)>) {
    let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
    for (labels, value) in samples {
        if let Some(value) = value {
            family.get_or_create(&labels).set(value);
        }
    }
    registry.register(name, help, family);
}
