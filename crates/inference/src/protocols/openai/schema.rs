//! A JSON schema as the Arrow type of what follows it.
//!
//! Objects are structs, arrays lists, strings and enumerations text, `integer` and `number` 64 bits wide. A property that is
//! not required, or may be null, is nullable. What has no one type, a union or anything at all, is text that holds its JSON.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use forebay_core::{Error, Kind, Result};
use serde_json::Value;

/// How deep schemas may nest. Answers nest as deep, and readers recurse.
const DEPTH_MAX: usize = 32;

/// The struct type of answers to `schema`.
///
/// # Errors
/// `Invalid` if it is no object with properties, or nests too deep.
pub(super) fn struct_of(schema: &Value) -> Result<DataType> {
    let error = || Error::new(Kind::Invalid, "read schema of answers");
    match typed(schema, 0) {
        Some((DataType::Struct(fields), _)) if !fields.is_empty() => Ok(DataType::Struct(fields)),
        Some(_) => Err(error().source("an answer has to be an object with properties")),
        None => Err(error().with("depth_max", DEPTH_MAX).source("it nests too deep")),
    }
}

/// The type, and whether null is one of its values.
fn typed(schema: &Value, depth: usize) -> Option<(DataType, bool)> {
    if depth > DEPTH_MAX {
        return None;
    }
    if let Some(choices) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
        let is_null = |choice: &&Value| choice.get("type").and_then(Value::as_str) == Some("null");
        let others: Vec<&Value> = choices.iter().filter(|choice| !is_null(choice)).collect();
        let nullable = others.len() < choices.len();
        return match others[..] {
            [only] => typed(only, depth + 1).map(|(value, own)| (value, own || nullable)),
            _ => Some((DataType::Utf8, nullable)),
        };
    }
    let (name, nullable) = name_of(schema.get("type"));
    let value = match name {
        Some("boolean") => DataType::Boolean,
        Some("integer") => DataType::Int64,
        Some("number") => DataType::Float64,
        Some("array") => list(schema, depth)?,
        Some("object") => object(schema, depth)?,
        _ => DataType::Utf8,
    };
    Some((value, nullable))
}

/// `"x"`, or `["x", "null"]` in any order.
fn name_of(kind: Option<&Value>) -> (Option<&str>, bool) {
    match kind {
        Some(Value::String(name)) => (Some(name), false),
        Some(Value::Array(names)) => {
            let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
            let others: Vec<&str> = names.iter().copied().filter(|name| *name != "null").collect();
            let only = if let [only] = others[..] { Some(only) } else { None };
            (only, others.len() < names.len())
        }
        _ => (None, false),
    }
}

fn list(schema: &Value, depth: usize) -> Option<DataType> {
    let (item, nullable) = match schema.get("items") {
        Some(items) => typed(items, depth + 1)?,
        None => (DataType::Utf8, true),
    };
    Some(DataType::List(Arc::new(Field::new("item", item, nullable))))
}

fn object(schema: &Value, depth: usize) -> Option<DataType> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object).filter(|all| !all.is_empty()) else {
        return Some(DataType::Utf8);
    };
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|one| one.as_str() == Some(name)));
    let field = |(name, property): (&String, &Value)| {
        typed(property, depth + 1).map(|(value, nullable)| Field::new(name, value, nullable || !is_required(name)))
    };
    properties.iter().map(field).collect::<Option<Fields>>().map(DataType::Struct)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn properties_become_fields_with_their_nulls() {
        let schema = json!({
            "type": "object",
            "properties": {
                "label": { "enum": ["a", "b"] },
                "score": { "type": "number" },
                "count": { "type": ["integer", "null"] },
                "flag": { "anyOf": [{ "type": "boolean" }, { "type": "null" }] },
                "parts": { "type": "array", "items": { "type": "object", "properties": { "n": { "type": "integer" } } } },
                "any": {},
            },
            "required": ["label", "score", "count", "flag", "parts"],
        });
        let part = DataType::Struct(Fields::from(vec![Field::new("n", DataType::Int64, true)]));
        let expected = DataType::Struct(Fields::from(vec![
            Field::new("label", DataType::Utf8, false),
            Field::new("score", DataType::Float64, false),
            Field::new("count", DataType::Int64, true),
            Field::new("flag", DataType::Boolean, true),
            Field::new("parts", DataType::List(Arc::new(Field::new("item", part, false))), false),
            Field::new("any", DataType::Utf8, true),
        ]));
        assert_eq!(struct_of(&schema).unwrap(), expected);
    }

    #[test]
    fn schemas_without_columns_are_refused() {
        let why = |schema: Value| struct_of(&schema).unwrap_err().chain();
        assert!(why(json!({ "type": "string" })).contains("object with properties"));
        assert!(why(json!({ "type": "object" })).contains("object with properties"));
        let deep = (0..100).fold(json!({ "type": "string" }), |inner, _| json!({ "type": "array", "items": inner }));
        assert!(why(json!({ "type": "object", "properties": { "x": deep } })).contains("nests too deep"));
    }
}
