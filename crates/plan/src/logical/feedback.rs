//! Checks the steps of the feedback loop, `feedback` and `metrics`, and makes their output columns.
//!
//! A feedback step is a join of the predictions with the labels that keeps every prediction; it is checked as one, and has one
//! more column.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use toml::Spanned;

use super::expression::columns_help;
use super::keyed::KeyedSite;
use super::window::TIMES;
use super::{Result, event_time, stream_join};
use crate::job_file::{FeedbackDecl, JobFile, MetricsDecl, StepDecl, StreamJoinDecl};
use crate::spec::{Changes, FeedbackSpec, MetricsSpec, StreamJoinHow, StreamJoinKind};

/// The column that says what became of the label.
const STATE: &str = "label_state";

/// Counts of a metrics step, then its ratios, which may be null.
const COUNTS: [&str; 2] = ["predictions", "labelled"];
const RATIOS: [&str; 6] = ["accuracy", "precision", "recall", "auc", "log_loss", "calibration_error"];
const DRIFT: &str = "drift";

/// The settings of a feedback step and its columns.
pub(super) fn feedback(
    job: &JobFile,
    step: &StepDecl,
    decl: &FeedbackDecl,
    inputs: [&SchemaRef; 2],
    changes: [Changes; 2],
) -> Result<(FeedbackSpec, SchemaRef)> {
    let (before, retention) = (decl.before, decl.retention);
    let join = StreamJoinDecl {
        stream: decl.labels.clone(),
        on: decl.on.clone(),
        how: StreamJoinHow::Left,
        kind: StreamJoinKind::Interval { before, after: retention },
        prefix: decl.prefix.clone(),
    };
    let (join, schema) = stream_join::check(job, step, &join, inputs)?;
    if schema.index_of(STATE).is_ok() {
        let message = format!("step {}: the rows already have a column \"{STATE}\"", step.number);
        return Err(job
            .text
            .error(decl.labels.span(), message)
            .with_help("give it another name in a select step before"));
    }
    let mut fields: Vec<FieldRef> = schema.fields().to_vec();
    fields.push(Arc::new(Field::new(STATE, DataType::Utf8, false)));
    Ok((FeedbackSpec { join, wait: decl.wait, before, retention, changes }, Arc::new(Schema::new(fields))))
}

/// The settings of a metrics step whose key columns have these names, and its columns.
pub(super) fn metrics(
    site: &KeyedSite<'_>,
    decl: &MetricsDecl,
    keys: &[String],
    changes: Changes,
) -> Result<(MetricsSpec, SchemaRef)> {
    let input = site.input.as_arrow();
    let spec = MetricsSpec {
        uid: site.step.uid.clone(),
        input: Arc::clone(site.input.inner()),
        changes,
        keys: site.keys(keys, &decl.by)?,
        time: site.event_time()?,
        score: column(site, &decl.score, "a score is a float", DataType::is_floating)?,
        label: column(site, &decl.label, "a label is true or false, or a whole number 1 or 0", |kind| {
            kind.is_integer() || *kind == DataType::Boolean
        })?,
        every: decl.every,
        allowed_lateness: decl.allowed_lateness,
        threshold: decl.threshold,
        bins: decl.bins,
        reference: decl.reference,
    };
    let unmarked = event_time::unmarked(input);
    let mut fields: Vec<FieldRef> = spec.keys.iter().map(|place| Arc::clone(&unmarked.fields()[*place])).collect();
    if spec.every.is_some() {
        let moment = input.field(spec.time).data_type();
        fields.extend(TIMES[..2].iter().map(|name| Arc::new(Field::new(*name, moment.clone(), false))));
        fields.push(event_time::marked(Field::new(TIMES[2], moment.clone(), false)));
    }
    fields.extend(COUNTS.iter().map(|name| Arc::new(Field::new(*name, DataType::Int64, false))));
    let drift = spec.reference.map(|_| DRIFT);
    fields.extend(RATIOS.into_iter().chain(drift).map(|name| Arc::new(Field::new(name, DataType::Float64, true))));
    for (place, sql) in spec.keys.iter().zip(&decl.by) {
        let name = input.field(*place).name();
        if fields.iter().filter(|field| field.name() == name).count() > 1 {
            let error = site.error(sql, format!("two columns are called \"{name}\""));
            return Err(error.with_help("name the key with AS"));
        }
    }
    Ok((spec, Arc::new(Schema::new(fields))))
}

fn column(site: &KeyedSite<'_>, name: &Spanned<String>, help: &str, fits: impl Fn(&DataType) -> bool) -> Result<usize> {
    let Ok(place) = site.input.as_arrow().index_of(name.get_ref()) else {
        let error = site.error(name, format!("there is no column \"{}\"", name.get_ref()));
        return Err(error.with_help(columns_help(name.get_ref(), site.input)));
    };
    let kind = site.input.field(place).data_type();
    if fits(kind) {
        return Ok(place);
    }
    let error = site.error(name, format!("\"{}\" is {kind}; {help}", name.get_ref()));
    Err(error.with_help("compute it in a with step before"))
}
