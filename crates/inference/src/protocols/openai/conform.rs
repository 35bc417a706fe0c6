//! Whether an answer is as its JSON schema says, by the `jsonschema` crate.
//!
//! One leniency: null for a property that is not required counts as left out, and columns hold no difference.

use forebay_core::{Error, Kind, Result};
use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, ValidationError, Validator};
use serde_json::Value;

use crate::protocols::refusal::cut;

/// How many nulls are looked for in an answer that does not fit.
const NULLS_MAX: usize = 1_000;
/// Bytes of a value that errors show.
const SHOWN_BYTES_MAX: usize = 60;

/// A schema that answers are compared with.
#[derive(Debug, Clone)]
pub(super) struct Form(Validator);

// === impl Form ===

impl Form {
    /// The form of answers to `schema`: of the draft that its `$schema` names, else 2020-12.
    ///
    /// # Errors
    /// `Invalid` if it is no schema, or refers to what is not in it: nothing is fetched.
    pub(super) fn of(schema: &Value) -> Result<Self> {
        let form = jsonschema::options().offline().build(schema);
        form.map(Self).map_err(|error| {
            let place = error.instance_path().to_string();
            Error::new(Kind::Invalid, "read schema of answers").with("at", format!("`{place}`")).source(worded(&error))
        })
    }

    /// Compares `answer` with the schema.
    ///
    /// # Errors
    /// Where it does not fit first, and how.
    pub(super) fn check(&self, answer: &Value) -> Result<(), String> {
        if self.0.is_valid(answer) {
            return Ok(());
        }
        let mut nulls = Vec::new();
        self.0.iter_errors(answer).take(NULLS_MAX).for_each(|error| find_nulls(&error, &mut nulls));
        let mut without = answer.clone();
        nulls.iter().for_each(|place| leave_out(&mut without, place));
        self.0.validate(&without).map_err(|error| {
            let error = telling(&error);
            match error.instance_path().as_str() {
                "" => worded(error),
                place => format!("`{place}`: {}", worded(error)),
            }
        })
    }
}

/// Adds the places of the nulls that `error` is about.
fn find_nulls(error: &ValidationError<'_>, found: &mut Vec<String>) {
    match choices(error) {
        Some(choices) => choices.iter().flatten().for_each(|inner| find_nulls(inner, found)),
        None if error.instance().is_null() => found.push(error.instance_path().to_string()),
        None => {}
    }
}

/// Removes the entry of an object at `place`, a JSON pointer.
fn leave_out(answer: &mut Value, place: &str) {
    let Some((parent, name)) = place.rsplit_once('/') else { return };
    if let Some(Value::Object(entries)) = answer.pointer_mut(parent) {
        entries.shift_remove(&name.replace("~1", "/").replace("~0", "~"));
    }
}

/// Of a value that fits no choice: where but one may be anything else than null, what that one says.
fn telling<'e>(error: &'e ValidationError<'e>) -> &'e ValidationError<'e> {
    let mut others = choices(error).into_iter().flatten().filter(|errors| !errors.iter().any(wants_null));
    match (others.next().and_then(|errors| errors.first()), others.next()) {
        (Some(only), None) => telling(only),
        _ => error,
    }
}

fn choices<'e>(error: &'e ValidationError<'_>) -> Option<&'e [Vec<ValidationError<'static>>]> {
    match error.kind() {
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => Some(context),
        _ => None,
    }
}

fn wants_null(error: &ValidationError<'_>) -> bool {
    matches!(error.kind(), ValidationErrorKind::Type { kind: TypeKind::Single(JsonType::Null) })
}

/// What the library says, without the value where that is long.
fn worded(error: &ValidationError<'_>) -> String {
    if error.instance().to_string().len() > SHOWN_BYTES_MAX {
        cut(&error.masked_with("the value").to_string())
    } else {
        cut(&error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn why(schema: Value, answer: Value) -> String {
        Form::of(&schema).unwrap().check(&answer).err().unwrap_or_else(|| "fits".to_string())
    }

    #[test]
    fn the_value_and_its_place_are_named() {
        let label = json!({ "type": "object", "properties": { "l/l": { "enum": ["spam", "fine"] } } });
        let list = json!({ "properties": { "list": { "items": label } } });
        let answer = json!({ "list": [{ "l/l": "spam" }, { "l/l": "ham" }] });
        assert_eq!(why(list.clone(), answer), r#"`/list/1/l~1l`: "ham" is not one of "spam" or "fine""#);
        assert_eq!(why(list, json!({ "list": [{ "l/l": "fine" }, {}], "more": 1 })), "fits");
        assert_eq!(why(json!({ "type": "object", "required": ["a"] }), json!({})), r#""a" is a required property"#);
        let long = why(json!({ "maxLength": 3 }), json!("x".repeat(10_000)));
        assert_eq!(long, "the value is longer than 3 characters");
    }

    #[test]
    fn keywords_count_at_any_depth_also_those_about_texts() {
        let schema = json!({
            "$ref": "#/$defs/node",
            "$defs": { "node": { "properties": {
                "v": { "type": "string", "pattern": "^[a-z]+$", "maxLength": 3 },
                "next": { "$ref": "#/$defs/node" },
                "list": { "items": { "type": "number", "minimum": 1 }, "uniqueItems": true },
            } } },
        });
        assert_eq!(why(schema.clone(), json!({ "v": "a", "next": { "next": { "v": "b", "list": [1, 2] } } })), "fits");
        for (misfit, place) in [
            (json!({ "v": "B" }), "/v"),
            (json!({ "v": "abcd" }), "/v"),
            (json!({ "list": [1, 1] }), "/list"),
            (json!({ "list": [1, 0.5] }), "/list/1"),
        ] {
            let deep = why(schema.clone(), json!({ "next": { "next": misfit } }));
            assert!(deep.starts_with(&format!("`/next/next{place}`: ")), "{deep}");
        }
    }

    #[test]
    fn null_for_what_is_not_required_counts_as_left_out() {
        let inner = json!({ "properties": { "n~/": { "type": "integer" } }, "additionalProperties": false });
        let schema = json!({
            "properties": {
                "a": { "type": "integer" },
                "b": { "enum": ["x"] },
                "c": { "anyOf": [inner, { "type": "null" }] },
                "d": { "anyOf": [{ "type": "integer" }, { "type": "string" }] },
                "e": { "type": ["integer", "null"] },
            },
            "required": ["b", "e"],
        });
        let nulls = json!({ "a": null, "b": "x", "c": { "n~/": null }, "d": null, "e": null });
        assert_eq!(why(schema.clone(), nulls), "fits");
        assert_eq!(why(schema.clone(), json!({ "b": null, "e": 1 })), r#""b" is a required property"#);
        assert_eq!(why(schema, json!({ "b": "x", "e": 1, "a": "1" })), r#"`/a`: "1" is not of type "integer""#);
        let list = json!({ "items": { "type": "integer" } });
        assert_eq!(why(list, json!([null])), r#"`/0`: null is not of type "integer""#);
    }

    #[test]
    fn of_an_optional_the_one_choice_tells_why() {
        let schema = json!({ "anyOf": [{ "type": "string", "enum": ["a"] }, { "type": "null" }] });
        assert_eq!(why(schema, json!("b")), r#""b" is not one of "a""#);
        let union = json!({ "oneOf": [{ "type": "string" }, { "type": "integer" }] });
        assert!(why(union, json!(true)).contains("oneOf"));
    }

    #[test]
    fn what_is_no_schema_or_refers_elsewhere_is_refused() {
        let refused = |schema: Value| Form::of(&schema).unwrap_err().chain();
        let wrong = refused(json!({ "properties": { "a": { "type": "text" } } }));
        assert!(wrong.contains("`/properties/a/type`") && wrong.contains("text"), "{wrong}");
        for elsewhere in ["https://example.com/s.json", "file:///etc/passwd", "other.json", "#/$defs/none"] {
            let why = refused(json!({ "$ref": elsewhere }));
            assert!(why.contains(elsewhere.trim_start_matches('#')), "{why}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_without_end_ends() {
        let endless = json!({ "anyOf": [{ "$ref": "#" }, { "$ref": "#" }] });
        assert_ne!(why(endless, json!(1)), "");
    }
}
