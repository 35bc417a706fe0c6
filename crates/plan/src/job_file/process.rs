//! The `process` table of a step, and what can be said about it without knowing the function.

use std::collections::BTreeMap;
use std::ops::Range;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

use super::JobFileError;
use super::check::Checker;

type Result<T> = std::result::Result<T, JobFileError>;

/// Most side outputs of a step: an output has a port of one byte, and the first is the step's own.
const SIDES_MAX: usize = 200;

/// Gives the rows of each key to a function of the program that runs the job.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessTable {
    /// Its name, as the program registered it.
    #[schemars(with = "String")]
    pub function: Spanned<String>,
    /// The key: columns, or `expression AS name`. Without any, all rows have one key, and one subtask does the work.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub by: Vec<Spanned<String>>,
    /// What the function is told; it says which keys there are.
    #[schemars(with = "Option<BTreeMap<String, Value>>")]
    pub settings: Option<Spanned<toml::Table>>,
    /// Those of its side outputs that others read, as `UID.NAME`; rows of the others are dropped.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub side_outputs: Vec<Spanned<String>>,
}

/// A process step as declared; SQL is not parsed yet.
#[derive(Debug, Clone)]
pub struct ProcessDecl {
    /// The function's name.
    pub function: Spanned<String>,
    /// The key.
    pub by: Vec<Spanned<String>>,
    /// The settings, a JSON object.
    pub settings: String,
    /// Where in the text they stand; the function's name where there are none.
    pub settings_span: Range<usize>,
    /// Names of the side outputs that are read, each once.
    pub side_outputs: Vec<Spanned<String>>,
}

/// Checks the `process` of step `number`.
pub(super) fn process(checker: &Checker, number: usize, table: ProcessTable) -> Result<ProcessDecl> {
    for (place, name) in table.side_outputs.iter().enumerate() {
        checker.name("side output", name)?;
        if table.side_outputs[..place].iter().any(|other| other.get_ref() == name.get_ref()) {
            let message = format!("step {number}: the side output \"{}\" is named twice", name.get_ref());
            return Err(checker.error(name.span(), message));
        }
        if place == SIDES_MAX {
            return Err(checker.error(name.span(), format!("step {number}: more than {SIDES_MAX} side outputs")));
        }
    }
    let settings_span = table.settings.as_ref().map_or_else(|| table.function.span(), Spanned::span);
    let settings = table.settings.map(Spanned::into_inner).unwrap_or_default();
    Ok(ProcessDecl {
        function: table.function,
        by: table.by,
        settings: json(toml::Value::Table(settings)).to_string(),
        settings_span,
        side_outputs: table.side_outputs,
    })
}

/// `value` as JSON; dates and times become their text, numbers that JSON does not have become null.
fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::from(number),
        toml::Value::Boolean(is) => Value::Bool(is),
        toml::Value::Datetime(moment) => Value::String(moment.to_string()),
        toml::Value::Array(items) => Value::Array(items.into_iter().map(json).collect()),
        toml::Value::Table(table) => Value::Object(table.into_iter().map(|(key, value)| (key, json(value))).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_handed_on_as_json() {
        let table: toml::Table =
            toml::from_str("gap = \"30s\"\nmost = 3\nratio = 0.5\nday = 2026-01-31\nlist = [1, { a = true }]").unwrap();
        let text = json(toml::Value::Table(table)).to_string();
        assert_eq!(text, r#"{"day":"2026-01-31","gap":"30s","list":[1,{"a":true}],"most":3,"ratio":0.5}"#);
    }
}
