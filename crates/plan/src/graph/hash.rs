//! What a checkpoint remembers of the plan: a hash over uids, kinds and schemas.
//!
//! A restore with another hash is refused, because state and rows in flight would not fit. Parallelism, limits, paths and
//! intervals are not in it: they may change between two runs of a job. Expressions may, too, except over updates.
//!
//! What each task reads is hashed only where it is not simply the task before, so that a job that is one line has the hash
//! that it had when every job was.

use std::fmt;
use std::str::FromStr;

use arrow::datatypes::Schema;
use forebay_core::hash::hash128_parts;
use forebay_core::{Error, Kind, Result};

use super::{Edge, EdgeKind, Head, Step, StepAction, Task};
use crate::spec::{Changes, FeedbackSpec, MetricsSpec, SinkSpec};
use crate::window::{Emit, WindowSpec};

/// Bumped when the way of hashing changes, so that old checkpoints are refused clearly.
const VERSION: &str = "plan-1";

/// Hash of a plan; shows and parses as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlanHash(pub u128);

// === impl PlanHash ===

impl PlanHash {
    pub(super) fn of(key_groups: u16, dead_letters: &SinkSpec, tasks: &[Task], edges: &[Edge]) -> Self {
        let mut parts = vec![VERSION.to_string(), key_groups.to_string(), dead_letters.format.to_string()];
        for (place, task) in tasks.iter().enumerate() {
            parts.extend(inputs(tasks, place, edges));
            if let Head::Source(source, schema) = &task.head {
                parts.extend([source.uid.clone(), format!("source {}", source.format), schema_text(schema)]);
            }
            for step in &task.steps {
                parts.extend([step.uid.clone(), kind(&step.action), schema_text(&step.output)]);
                parts.extend(over_updates(step));
            }
        }
        let bytes: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
        Self(hash128_parts(&bytes))
    }

    /// Refuses to go on from a checkpoint of another plan.
    ///
    /// # Errors
    /// `Invalid` if `stored` differs.
    pub fn check_restore(self, stored: Self) -> Result<()> {
        if self == stored {
            return Ok(());
        }
        let attempted = "restore a checkpoint of another plan: a step, a setting of one with state, uid, column or the \
                         key groups changed, or an expression over updates; take back the change, or start without --resume in another checkpoint folder";
        Err(Error::new(Kind::Invalid, attempted).with("plan", self).with("checkpoint", stored))
    }
}

impl fmt::Display for PlanHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for PlanHash {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::new(Kind::Invalid, "parse plan hash").with("text", text);
        u128::from_str_radix(text, 16).map(Self).map_err(|_| wrong())
    }
}

/// What the task at `place` reads, unless that is the task before and nothing else.
fn inputs(tasks: &[Task], place: usize, edges: &[Edge]) -> Vec<String> {
    let (task, before) = (&tasks[place], place.checked_sub(1).map(|before| &tasks[before]));
    let into: Vec<&Edge> = edges.iter().filter(|edge| edge.to == task.id).collect();
    let plain = |edge: &&Edge| {
        before.is_some_and(|before| before.id == edge.from)
            && edge.from_port == 0
            && !matches!(edge.kind, EdgeKind::Keyed(_))
    };
    if into.len() == 1 && into.iter().all(plain) {
        return Vec::new();
    }
    let text = |edge: &&Edge| {
        let from = tasks.iter().find(|task| task.id == edge.from);
        // The stream is named after the step that gives it, because task ids move when a task is added.
        let from = from.map_or("", |task| task.steps.last().map_or(task.name.as_str(), |step| step.uid.as_str()));
        let keys = if let EdgeKind::Keyed(columns) = &edge.kind { format!(" by {columns:?}") } else { String::new() };
        format!("reads {from} {} at {}{keys}", edge.from_port, edge.to_port)
    };
    into.iter().map(text).collect()
}

fn kind(action: &StepAction) -> String {
    match action {
        StepAction::Filter { .. } => "filter".to_string(),
        StepAction::Project { .. } => "project".to_string(),
        StepAction::Call(call) => format!("call {}", call.on_error),
        StepAction::Infer(infer) => {
            // Named only over updates, so that older checkpoints of rows that only add stay.
            let kept = infer.answers.as_ref().map(|answers| format!(" keeps answers {:?}", answers.ttl));
            format!("infer {}{}", infer.model, kept.unwrap_or_default())
        }
        StepAction::LookupJoin(join) => format!("lookup join {}", join.how),
        StepAction::StreamJoin(join) => format!("stream join {} {} {}", join.how, join.stream, join.kind),
        StepAction::Union { streams } => format!("union {}", streams.join(" ")),
        StepAction::Window(window) => {
            let texts: Vec<&str> = window.aggregates.iter().map(|aggregate| aggregate.text.as_str()).collect();
            let WindowSpec { shape, allowed_lateness, updates, emit, ttl, .. } = &window.spec;
            // What was not there from the start is named only where it is used, so that older checkpoints stay.
            let updates = if *updates { " updates" } else { "" };
            let emit = if *emit == Emit::Changes { format!(" changes {ttl:?}") } else { String::new() };
            format!("window {shape:?} {allowed_lateness:?} {}{updates}{emit}", texts.join(", "))
        }
        StepAction::Durable(durable) => format!("durable {}", durable.mode),
        StepAction::Deduplicate(spec) => format!("deduplicate {:?} {:?} {:?}", spec.keep, spec.order, spec.ttl),
        StepAction::Top(spec) => format!("top {} {:?} {} {:?}", spec.rows, spec.order, spec.updates, spec.ttl),
        StepAction::Feedback(spec) => {
            let FeedbackSpec { join, wait, before, retention, .. } = spec.as_ref();
            format!("feedback {} {wait:?} {before:?} {retention:?}", join.stream)
        }
        StepAction::Metrics(spec) => {
            let MetricsSpec { score, label, every, allowed_lateness, threshold, bins, reference, .. } = spec;
            format!("metrics {score} {label} {every:?} {allowed_lateness:?} {threshold:?} {bins} {reference:?}")
        }
        StepAction::Explode(spec) => format!("explode {:?} {}", spec.columns, spec.ignore_empty_and_null),
        StepAction::Limit(spec) => format!("limit {}", spec.rows),
        StepAction::Sample(spec) => format!("sample {} {}", spec.hash_max, spec.seed),
        // Settings may change between two runs; state has its own versions.
        StepAction::Process(spec) => format!("process {}", spec.function),
        StepAction::Sink(sink) => format!("sink {}", sink.format),
    }
}

/// What must stay where rows are taken back: who takes one back must come out as that one did.
fn over_updates(step: &Step) -> Option<String> {
    match &step.action {
        _ if step.changes != Changes::Updates => None,
        StepAction::Filter { text, .. } => Some(text.clone()),
        StepAction::Project { columns, .. } => {
            Some(columns.iter().map(|column| column.text.as_str()).collect::<Vec<_>>().join(", "))
        }
        StepAction::Call(call) => Some(call.text.clone()),
        _ => None,
    }
}

/// A schema as text: name, type, null and metadata of each column, metadata sorted.
fn schema_text(schema: &Schema) -> String {
    let column = |field: &arrow::datatypes::Field| {
        let mut metadata: Vec<_> = field.metadata().iter().collect();
        metadata.sort();
        format!("{:?} {} {} {metadata:?}", field.name(), field.data_type(), field.is_nullable())
    };
    schema.fields().iter().map(|field| column(field)).collect::<Vec<_>>().join("; ")
}
