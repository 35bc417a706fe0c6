//! A JSON schema as the Arrow type of what follows it.
//!
//! Objects are structs, arrays lists, strings and enumerations text, `integer` and `number` 64 bits wide. A property that is
//! not required, or may be null, is nullable. What a `$ref` within the schema names stands in its place. What has no one type,
//! a union, anything at all or what contains itself, is text that holds its JSON.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use forebay_core::{Error, Kind, Result};
use serde_json::Value;

use super::conform::Form;

/// How deep schemas may nest. Answers nest as deep, and readers recurse.
const DEPTH_MAX: usize = 32;

/// What structured answers are.
#[derive(Debug, Clone)]
pub(super) struct Structure {
    /// The type of their column, a struct.
    pub(super) kind: DataType,
    pub(super) form: Form,
}

/// A schema with what it refers to.
struct Schemas<'a> {
    root: &'a Value,
}

/// The way to a part of a schema.
#[derive(Default, Clone)]
struct Way<'a> {
    depth: usize,
    /// The references that were followed.
    followed: Vec<&'a str>,
}

// === impl Structure ===

impl Structure {
    /// The structure of answers to `schema`.
    ///
    /// # Errors
    /// `Invalid` if it is no schema of an object with properties, nests too deep, or refers to what is not in it.
    pub(super) fn of(schema: &Value) -> Result<Self> {
        let error = || Error::new(Kind::Invalid, "read schema of answers");
        match (Schemas { root: schema }).typed(schema, &Way::default()) {
            Some((kind @ DataType::Struct(_), _)) => Ok(Self { kind, form: Form::of(schema)? }),
            Some(_) => Err(error().source("an answer has to be an object with properties")),
            None => Err(error().with("depth_max", DEPTH_MAX).source("it nests too deep")),
        }
    }
}

// === impl Schemas ===

impl<'a> Schemas<'a> {
    /// The type, and whether null is one of its values; `None` if it nests too deep.
    fn typed(&self, schema: &'a Value, way: &Way<'a>) -> Option<(DataType, bool)> {
        if way.depth > DEPTH_MAX {
            return None;
        }
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            return match self.named(name).filter(|_| !way.followed.contains(&name)) {
                Some(target) => self.typed(target, &way.through(name)),
                None => Some((DataType::Utf8, false)),
            };
        }
        if let Some(choices) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
            let is_null = |choice: &&Value| choice.get("type").and_then(Value::as_str) == Some("null");
            let others: Vec<&Value> = choices.iter().filter(|choice| !is_null(choice)).collect();
            let nullable = others.len() < choices.len();
            return match others[..] {
                [only] => self.typed(only, &way.deeper()).map(|(value, own)| (value, own || nullable)),
                _ => Some((DataType::Utf8, nullable)),
            };
        }
        if let Some([only]) = schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
            return self.typed(only, &way.deeper());
        }
        let (name, nullable) = name_of(schema.get("type"));
        let value = match name {
            Some("boolean") => DataType::Boolean,
            Some("integer") => DataType::Int64,
            Some("number") => DataType::Float64,
            Some("array") => self.list(schema, way)?,
            Some("object") => self.object(schema, way)?,
            _ => DataType::Utf8,
        };
        Some((value, nullable))
    }

    /// What `name`, as `#/$defs/Part`, refers to within the schema.
    fn named(&self, name: &str) -> Option<&'a Value> {
        name.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer))
    }

    fn list(&self, schema: &'a Value, way: &Way<'a>) -> Option<DataType> {
        let (item, nullable) = match schema.get("items") {
            Some(items) => self.typed(items, &way.deeper())?,
            None => (DataType::Utf8, true),
        };
        Some(DataType::List(Arc::new(Field::new("item", item, nullable))))
    }

    fn object(&self, schema: &'a Value, way: &Way<'a>) -> Option<DataType> {
        let Some(properties) = schema.get("properties").and_then(Value::as_object).filter(|all| !all.is_empty()) else {
            return Some(DataType::Utf8);
        };
        let required = schema.get("required").and_then(Value::as_array);
        let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|one| one.as_str() == Some(name)));
        let field = |(name, property): (&String, &'a Value)| {
            let typed = self.typed(property, &way.deeper());
            typed.map(|(value, nullable)| Field::new(name, value, nullable || !is_required(name)))
        };
        properties.iter().map(field).collect::<Option<Fields>>().map(DataType::Struct)
    }
}

// === impl Way ===

impl<'a> Way<'a> {
    fn deeper(&self) -> Self {
        Self { depth: self.depth + 1, followed: self.followed.clone() }
    }

    fn through(&self, name: &'a str) -> Self {
        let mut way = self.deeper();
        way.followed.push(name);
        way
    }
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
        assert_eq!(Structure::of(&schema).unwrap().kind, expected);
    }

    #[test]
    fn references_stand_for_what_they_name_and_what_contains_itself_is_text() {
        let schema = json!({
            "$ref": "#/$defs/Tree",
            "$defs": {
                "Tree": {
                    "type": "object",
                    "properties": {
                        "size": { "$ref": "#/$defs/Size" },
                        "sizes": { "type": "array", "items": { "$ref": "#/$defs/Size" } },
                        "left": { "anyOf": [{ "$ref": "#/$defs/Tree" }, { "type": "null" }] },
                    },
                    "required": ["size", "sizes", "left"],
                },
                "Size": { "type": "object", "properties": { "cm": { "type": "number" } }, "required": ["cm"] },
            },
        });
        let size = DataType::Struct(Fields::from(vec![Field::new("cm", DataType::Float64, false)]));
        let expected = DataType::Struct(Fields::from(vec![
            Field::new("size", size.clone(), false),
            Field::new("sizes", DataType::List(Arc::new(Field::new("item", size, false))), false),
            Field::new("left", DataType::Utf8, true),
        ]));
        assert_eq!(Structure::of(&schema).unwrap().kind, expected);
    }

    #[test]
    fn schemas_without_columns_are_refused() {
        let why = |schema: Value| Structure::of(&schema).unwrap_err().chain();
        assert!(why(json!({ "type": "string" })).contains("object with properties"));
        assert!(why(json!({ "type": "object" })).contains("object with properties"));
        let deep = (0..100).fold(json!({ "type": "string" }), |inner, _| json!({ "type": "array", "items": inner }));
        assert!(why(json!({ "type": "object", "properties": { "x": deep } })).contains("nests too deep"));
    }
}
