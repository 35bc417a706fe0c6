//! A job as JSON, from programs: the same keys and values as a job file.
//!
//! It is written out as TOML and read like a file, so that there is one set of checks. What is wrong is then said by the
//! place in the values (`model.shout.replicas`) and not by a line that nobody wrote. Variables are not put in: a program
//! has its own, and a text of it may hold a `${`.

use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Given;
use super::{JobFile, JobFileError, JobText, Overrides};

/// Reads and checks a job given as JSON. `name` says in errors what was read.
///
/// # Errors
/// What is wrong, where, and what is accepted.
pub fn parse_json(text: &str, name: &str) -> Result<JobFile, JobFileError> {
    parse_json_with(text, name, Overrides::default())
}

/// [`parse_json`], with some settings from elsewhere.
///
/// # Errors
/// What is wrong, where, and what is accepted.
pub fn parse_json_with(text: &str, name: &str, overrides: Overrides) -> Result<JobFile, JobFileError> {
    let wrong = |message: String| {
        let text = JobText { file: name.to_string(), text: String::new(), given: Given::Values };
        Arc::new(text).error(0..0, message)
    };
    let mut job: Value = serde_json::from_str(text).map_err(|error| wrong(format!("not JSON: {error}")))?;
    forget_nulls(&mut job);
    let text = toml::to_string(&job).map_err(|error| wrong(error.to_string()))?;
    let text = JobText { file: name.to_string(), text, given: Given::Values };
    super::read(Arc::new(text), None, overrides)
}

/// A key without a value is a key that was not given.
fn forget_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(forget_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_nulls),
        _ => {}
    }
}

/// The keys that lead to the innermost value around `span` of a TOML text: `step[2].infer.model`.
pub(super) fn place(text: &str, span: &Range<usize>) -> String {
    let mut keys = String::new();
    if let Ok(table) = DeTable::parse(text) {
        in_table(table.get_ref(), span, &mut keys);
    }
    keys
}

fn in_table(table: &DeTable<'_>, span: &Range<usize>, keys: &mut String) {
    let named = table.iter().find(|(key, value)| around(&key.span(), span) || holds(value, span));
    if let Some((key, value)) = named {
        if !keys.is_empty() {
            keys.push('.');
        }
        keys.push_str(key.get_ref());
        in_value(value.get_ref(), span, keys);
    }
}

fn in_value(value: &DeValue<'_>, span: &Range<usize>, keys: &mut String) {
    match value {
        DeValue::Table(table) => in_table(table, span, keys),
        DeValue::Array(items) => {
            if let Some((place, item)) = items.iter().enumerate().find(|(_, item)| holds(item, span)) {
                keys.push_str(&format!("[{place}]"));
                in_value(item.get_ref(), span, keys);
            }
        }
        _ => {}
    }
}

/// Whether `value` or something in it is around `span`: a table's own span is only that of its heading.
fn holds(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    let inside = match value.get_ref() {
        DeValue::Table(table) => table.iter().any(|(key, value)| around(&key.span(), span) || holds(value, span)),
        DeValue::Array(items) => items.iter().any(|item| holds(item, span)),
        _ => false,
    };
    inside || around(&value.span(), span)
}

fn around(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    !inner.is_empty() && outer.start <= inner.start && inner.end <= outer.end
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;

    const JOB: &str = r#"{
        "name": "t", "parallelism": null,
        "source": {"in": {"format": "csv", "path": "${HOME}/a.csv"}},
        "step": [{"filter": "x > 1"}, {"infer": {"model": "shout", "inputs": {"text": "x"}, "outputs": {"out": "y"}}}],
        "model": {"shout": {"host": "python", "function": "loud:Shout", "path": ["/code"], "replicas": 2}},
        "sink": {"out": {"format": "jsonl", "path": "out"}}
    }"#;

    fn said(from: &str, to: &str) -> String {
        assert!(JOB.contains(from), "{from}");
        parse_json(&JOB.replacen(from, to, 1), "job").unwrap_err().to_string()
    }

    #[test]
    fn a_job_is_read_like_a_file_but_for_variables() {
        let job = parse_json(JOB, "job").unwrap();
        assert_eq!((job.parallelism, job.sources[0].spec.path.as_str()), (1, "${HOME}/a.csv"));
        assert_eq!((job.steps.len(), job.models["shout"].replicas), (2, 2));
        let overrides = Overrides { parallelism: NonZeroU16::new(3) };
        assert_eq!(parse_json_with(JOB, "job", overrides).unwrap().parallelism, 3);
    }

    #[test]
    fn what_is_wrong_is_said_by_its_place_in_the_values() {
        assert!(
            said("\"replicas\"", "\"replcas\"")
                .starts_with("model.shout.replcas: unknown key \"replcas\" (did you mean")
        );
        assert_eq!(
            said("\"loud:Shout\"", "\"loud\""),
            "model.shout.function: \"loud\" names no function (MODULE:NAME, for example \"shop.models:Classifier\")"
        );
        assert!(said("\"model\": \"shout\"", "\"model\": \"shot\"").starts_with("step[1].infer.model: "));
        assert!(said("{", "[").starts_with("job: not JSON: "));
        assert!(said("\"name\": \"t\"", "\"name\": 17").starts_with("name: invalid type: integer `17`"));
    }
}
