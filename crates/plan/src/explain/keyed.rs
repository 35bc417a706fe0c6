//! Steps that keep state by key, among them those of the feedback loop and process functions, as text.

use std::fmt::{Result, Write};

use arrow::datatypes::Schema;
use humantime::{format_duration, format_rfc3339_seconds};

use crate::spec::{DeduplicateSpec, FeedbackSpec, MetricsSpec, ProcessSpec, TopSpec, remembered};

pub(super) fn write_deduplicate(out: &mut String, uid: &str, spec: &DeduplicateSpec, input: &Schema) -> Result {
    writeln!(out, "    {uid}: {spec} of each {}{}", names(&spec.keys, input), remembered(spec.ttl))
}

pub(super) fn write_top(out: &mut String, uid: &str, spec: &TopSpec, input: &Schema) -> Result {
    let order = spec.order.iter().map(|(place, descending)| {
        format!("{}{}", input.field(*place).name(), if *descending { " descending" } else { "" })
    });
    let (order, rows) = (order.collect::<Vec<_>>().join(", "), spec.rows);
    writeln!(
        out,
        "    {uid}: the first {rows} rows {} in order of {order}{}",
        by(&spec.keys, input),
        remembered(spec.ttl)
    )?;
    if spec.updates {
        writeln!(out, "      all rows are kept, because the input takes rows back")?;
    }
    Ok(())
}

pub(super) fn write_feedback(out: &mut String, uid: &str, spec: &FeedbackSpec) -> Result {
    let [left, right] = &spec.join.inputs;
    let key = |(own, other): &(usize, usize)| format!("{} = {}", left.field(*own).name(), right.field(*other).name());
    let keys: Vec<String> = spec.join.on.iter().map(key).collect();
    let (before, wait) = (format_duration(spec.before), format_duration(spec.wait));
    let retention = format_duration(spec.retention);
    writeln!(out, "    {uid}: labels of {} on {}", spec.join.stream, keys.join(" and "))?;
    writeln!(out, "      from {before} before a prediction to {retention} after it; missing after {wait}")
}

pub(super) fn write_metrics(out: &mut String, uid: &str, spec: &MetricsSpec) -> Result {
    let input = &spec.input;
    let name = |place: usize| input.field(place).name();
    let every = spec.every.map(|every| format!(" every {}", format_duration(every))).unwrap_or_default();
    let (score, label, by) = (name(spec.score), name(spec.label), by(&spec.keys, input));
    let (threshold, bins) = (spec.threshold.value(), spec.bins);
    writeln!(out, "    {uid}: how well {score} tells {label}, {by}{every}")?;
    write!(out, "      positive from {threshold} on, {bins} bins")?;
    if let Some((from, to)) = spec.reference {
        write!(out, ", drift from {} to {}", moment(from), moment(to))?;
    }
    writeln!(out)?;
    match spec.every {
        None => Ok(()),
        Some(_) if spec.allowed_lateness.is_zero() => writeln!(out, "      changes behind the watermark are late"),
        Some(_) => {
            let lateness = format_duration(spec.allowed_lateness);
            writeln!(out, "      changes up to {lateness} behind the watermark give another row, later ones are late")
        }
    }
}

pub(super) fn write_process(out: &mut String, uid: &str, spec: &ProcessSpec, input: &Schema) -> Result {
    writeln!(out, "    {uid}: process function {} {}", spec.function, by(&spec.keys, input))?;
    let settings = if spec.settings == "{}" { "no settings" } else { spec.settings.as_str() };
    writeln!(out, "      runs in the engine with {settings}; a bad row goes to the dead letters")
}

fn moment(micros: i64) -> String {
    let since = std::time::Duration::from_micros(u64::try_from(micros).unwrap_or_default());
    format_rfc3339_seconds(std::time::SystemTime::UNIX_EPOCH + since).to_string()
}

fn by(keys: &[usize], input: &Schema) -> String {
    if keys.is_empty() { "of all, in one subtask".to_string() } else { format!("by {}", names(keys, input)) }
}

fn names(places: &[usize], schema: &Schema) -> String {
    let names: Vec<&str> = places.iter().map(|place| schema.field(*place).name().as_str()).collect();
    names.join(", ")
}
