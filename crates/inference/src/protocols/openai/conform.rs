//! Whether an answer is as its JSON schema says.
//!
//! At any depth: `type`, `enum`, `const`; `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `multipleOf`;
//! `minLength`, `maxLength`; `minItems`, `maxItems`, `items`, `prefixItems`; `required`, `properties`,
//! `additionalProperties`, `minProperties`, `maxProperties`; `allOf`, `anyOf`, `oneOf`, `not`; and `$ref` within the schema.
//! A keyword that is none of these (`pattern`, `format`, `if`, `uniqueItems`) lets everything pass.
//!
//! One leniency: null for a property that is not required counts as left out, and columns hold no difference.

use std::cmp::Ordering;
use std::fmt;

use serde_json::{Map, Number, Value};

use crate::protocols::refusal::cut;

/// Where an answer is not as the schema says, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misfit {
    /// JSON pointer into the answer.
    place: String,
    how: String,
}

/// Compares `answer` with `schema`.
///
/// # Errors
/// The first misfit.
pub(super) fn conform(schema: &Value, answer: &Value) -> Result<(), Misfit> {
    Schemas { root: schema }.check(schema, answer, &[])
}

/// A schema with what it refers to.
struct Schemas<'a> {
    root: &'a Value,
}

// === impl Misfit ===

impl Misfit {
    fn of(value: &Value, expected: impl fmt::Display) -> Self {
        Self::how(format!("is {}, expected {expected}", shown(value)))
    }

    fn how(how: String) -> Self {
        Self { place: String::new(), how }
    }

    /// The same, seen from outside of the value `name`.
    fn under(self, name: impl fmt::Display) -> Self {
        Self { place: format!("/{name}{}", self.place), ..self }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.as_str() {
            "" => write!(f, "the answer {}", self.how),
            place => write!(f, "`{place}` {}", self.how),
        }
    }
}

// === impl Schemas ===

impl<'a> Schemas<'a> {
    /// `followed` are the references that led here without leaving `value`.
    fn check(&self, schema: &'a Value, value: &Value, followed: &[&'a str]) -> Result<(), Misfit> {
        match schema {
            Value::Object(_) => {}
            Value::Bool(false) => return Err(Misfit::of(value, "nothing here")),
            _ => return Ok(()),
        }
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            self.check_reference(name, value, followed)?;
        }
        check_type(schema, value)?;
        check_choice(schema, value)?;
        self.check_parts(schema, value, followed)?;
        match value {
            Value::Number(number) => check_number(schema, value, number),
            Value::String(text) => check_count(schema, "Length", "characters", text.chars().count()),
            Value::Array(items) => self.check_items(schema, items),
            Value::Object(entries) => self.check_properties(schema, entries),
            Value::Null | Value::Bool(_) => Ok(()),
        }
    }

    /// References to other documents, and those to nothing, let everything pass.
    fn check_reference(&self, name: &'a str, value: &Value, followed: &[&'a str]) -> Result<(), Misfit> {
        let Some(schema) = name.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)) else { return Ok(()) };
        if followed.contains(&name) {
            return Err(Misfit::of(value, format_args!("what `{name}` says, which refers to itself without end")));
        }
        self.check(schema, value, &[followed, &[name]].concat())
    }

    /// `allOf`, `anyOf`, `oneOf` and `not`.
    fn check_parts(&self, schema: &'a Value, value: &Value, followed: &[&'a str]) -> Result<(), Misfit> {
        let parts = |name: &str| schema.get(name).and_then(Value::as_array);
        for part in parts("allOf").into_iter().flatten() {
            self.check(part, value, followed)?;
        }
        for (name, one) in [("anyOf", false), ("oneOf", true)] {
            let Some(choices) = parts(name) else { continue };
            let misfits = choices.iter().filter_map(|choice| self.check(choice, value, followed).err());
            let misfits: Vec<Misfit> = misfits.collect();
            match choices.len() - misfits.len() {
                0 => return Err(of_choices(choices, misfits, value, name)),
                2.. if one => return Err(Misfit::of(value, "only one choice of `oneOf` to fit")),
                _ => {}
            }
        }
        match schema.get("not") {
            Some(part) if self.check(part, value, followed).is_ok() => {
                Err(Misfit::of(value, format_args!("none of {}", shown(part))))
            }
            _ => Ok(()),
        }
    }

    fn check_items(&self, schema: &'a Value, items: &[Value]) -> Result<(), Misfit> {
        check_count(schema, "Items", "items", items.len())?;
        let rest = schema.get("items");
        // Older drafts list the first items under `items` itself.
        let first = schema.get("prefixItems").or(rest).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let rest = rest.filter(|rest| !rest.is_array());
        for (place, item) in items.iter().enumerate() {
            if let Some(schema) = first.get(place).or(rest) {
                self.check(schema, item, &[]).map_err(|misfit| misfit.under(place))?;
            }
        }
        Ok(())
    }

    fn check_properties(&self, schema: &'a Value, entries: &Map<String, Value>) -> Result<(), Misfit> {
        check_count(schema, "Properties", "properties", entries.len())?;
        let required = schema.get("required").and_then(Value::as_array);
        let required: Vec<&str> = required.into_iter().flatten().filter_map(Value::as_str).collect();
        if let Some(name) = required.iter().find(|name| !entries.contains_key(**name)) {
            return Err(Misfit::how(format!("lacks `{name}`")));
        }
        let properties = schema.get("properties");
        // Which names a pattern takes is not known here.
        let others = schema.get("additionalProperties").filter(|_| schema.get("patternProperties").is_none());
        for (name, value) in entries {
            let Some(schema) = properties.and_then(|all| all.get(name)).or(others) else { continue };
            if !value.is_null() || required.contains(&name.as_str()) {
                let escaped = || name.replace('~', "~0").replace('/', "~1");
                self.check(schema, value, &[]).map_err(|misfit| misfit.under(escaped()))?;
            }
        }
        Ok(())
    }
}

/// The misfit of a value that fits none of `choices`: where but one may be anything else than null, its own.
fn of_choices(choices: &[Value], misfits: Vec<Misfit>, value: &Value, name: &str) -> Misfit {
    let is_null = |choice: &Value| choice.get("type").and_then(Value::as_str) == Some("null");
    let mut others = choices.iter().zip(misfits).filter(|(choice, _)| !is_null(choice));
    match (others.next(), others.next()) {
        (Some((_, only)), None) => only,
        _ => Misfit::of(value, format_args!("a choice of `{name}`")),
    }
}

fn check_type(schema: &Value, value: &Value) -> Result<(), Misfit> {
    let fits = match schema.get("type") {
        Some(Value::String(name)) => is_of(name, value),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).any(|name| is_of(name, value)),
        _ => true,
    };
    if fits { Ok(()) } else { Err(Misfit::of(value, format_args!("type {}", shown(&schema["type"])))) }
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_number().is_some_and(is_whole),
        _ => true,
    }
}

fn check_choice(schema: &Value, value: &Value) -> Result<(), Misfit> {
    if let Some(only) = schema.get("const").filter(|only| !is_same(only, value)) {
        return Err(Misfit::of(value, shown(only)));
    }
    match schema.get("enum") {
        Some(Value::Array(choices)) if !choices.iter().any(|choice| is_same(choice, value)) => {
            Err(Misfit::of(value, format_args!("one of {}", shown(&schema["enum"]))))
        }
        _ => Ok(()),
    }
}

fn check_number(schema: &Value, value: &Value, number: &Number) -> Result<(), Misfit> {
    let bounds: [(&str, &str, &[Ordering]); 4] = [
        ("minimum", "at least", &[Ordering::Greater, Ordering::Equal]),
        ("maximum", "at most", &[Ordering::Less, Ordering::Equal]),
        ("exclusiveMinimum", "more than", &[Ordering::Greater]),
        ("exclusiveMaximum", "less than", &[Ordering::Less]),
    ];
    for (name, words, allowed) in bounds {
        // Older drafts have booleans here.
        let Some(bound) = schema.get(name).and_then(Value::as_number) else { continue };
        if !compared(number, bound).is_some_and(|order| allowed.contains(&order)) {
            return Err(Misfit::of(value, format_args!("{words} {bound}")));
        }
    }
    match schema.get("multipleOf").and_then(Value::as_number) {
        Some(unit) if !is_multiple(number, unit) => Err(Misfit::of(value, format_args!("a multiple of {unit}"))),
        _ => Ok(()),
    }
}

/// `minX` and `maxX` for `X` of `kind`.
fn check_count(schema: &Value, kind: &str, what: &str, count: usize) -> Result<(), Misfit> {
    let bound = |side: &str| schema.get(format!("{side}{kind}")).and_then(Value::as_u64);
    let (min, max) = (bound("min").unwrap_or(0), bound("max").unwrap_or(u64::MAX));
    match count as u64 {
        count if count < min => Err(Misfit::how(format!("has {count} {what}, expected at least {min}"))),
        count if count > max => Err(Misfit::how(format!("has {count} {what}, expected at most {max}"))),
        _ => Ok(()),
    }
}

/// Equality of JSON: 1 and 1.0 are the same, names of objects have no order.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => compared(one, other) == Some(Ordering::Equal),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has_same =
                |(name, value): (&String, &Value)| other.get(name).is_some_and(|other| is_same(value, other));
            one.len() == other.len() && one.iter().all(has_same)
        }
        _ => one == other,
    }
}

fn compared(one: &Number, other: &Number) -> Option<Ordering> {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

fn is_whole(number: &Number) -> bool {
    number.as_i128().is_some() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
}

/// Halves and tenths have no exact form, so a quotient counts as whole if it is as near to one as they are.
fn is_multiple(number: &Number, unit: &Number) -> bool {
    match (number.as_i128(), unit.as_i128()) {
        (_, Some(0)) => true,
        (Some(number), Some(unit)) => number % unit == 0,
        _ => {
            let quotient = number.as_f64().unwrap_or(0.0) / unit.as_f64().unwrap_or(1.0);
            (quotient - quotient.round()).abs() <= 1e-9 * quotient.abs().max(1.0)
        }
    }
}

/// A value as errors show it, cut short.
fn shown(value: &Value) -> String {
    cut(&value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn why(schema: Value, answer: Value) -> String {
        conform(&schema, &answer).map_or_else(|misfit| misfit.to_string(), |()| "fits".to_string())
    }

    #[test]
    fn the_value_and_its_place_are_named() {
        let label = json!({ "type": "object", "properties": { "l/l": { "enum": ["spam", "fine"] } } });
        let list = json!({ "properties": { "list": { "items": label } } });
        let answer = json!({ "list": [{ "l/l": "spam" }, { "l/l": "ham" }] });
        assert_eq!(why(list.clone(), answer), r#"`/list/1/l~1l` is "ham", expected one of ["spam","fine"]"#);
        assert_eq!(why(list, json!({ "list": [{ "l/l": "fine" }, {}], "more": 1 })), "fits");
        assert_eq!(why(json!({ "const": "a" }), json!("zz")), r#"the answer is "zz", expected "a""#);
    }

    #[test]
    fn each_keyword_is_checked() {
        for (schema, fits, misfits) in [
            (json!({ "type": "string" }), json!("a"), json!(1)),
            (json!({ "type": ["integer", "null"] }), json!(null), json!(1.5)),
            (json!({ "type": "integer" }), json!(3.0), json!("3")),
            (json!({ "enum": [1, { "a": [2] }] }), json!({ "a": [2.0] }), json!({ "a": [2, 2] })),
            (json!({ "const": 1 }), json!(1.0), json!(true)),
            (
                json!({ "const": 9_007_199_254_740_993_i64 }),
                json!(9_007_199_254_740_993_i64),
                json!(9_007_199_254_740_992_i64),
            ),
            (json!({ "minimum": 5 }), json!(5), json!(4.9)),
            (json!({ "maximum": 5.5 }), json!(5), json!(6)),
            (json!({ "exclusiveMinimum": 5 }), json!(6), json!(5)),
            (json!({ "exclusiveMaximum": 5 }), json!("text"), json!(5)),
            (json!({ "multipleOf": 0.1 }), json!(0.3), json!(0.35)),
            (json!({ "multipleOf": 3 }), json!(-9), json!(10)),
            (json!({ "minLength": 2, "maxLength": 3 }), json!("éé"), json!("é")),
            (json!({ "maxLength": 3 }), json!("ééé"), json!("éééé")),
            (json!({ "minItems": 1, "items": { "type": "number" } }), json!([1]), json!([])),
            (json!({ "prefixItems": [{ "const": 1 }], "items": { "const": 2 } }), json!([1, 2]), json!([2, 2])),
            (json!({ "items": [{ "const": 1 }] }), json!([1, 7]), json!([2])),
            (json!({ "required": ["a"] }), json!({ "a": null }), json!({ "b": 1 })),
            (json!({ "properties": { "a": { "type": "number" } } }), json!({ "a": null }), json!({ "a": "1" })),
            (json!({ "properties": { "a": {} }, "additionalProperties": false }), json!({ "a": 1 }), json!({ "b": 1 })),
            (json!({ "maxProperties": 1 }), json!({ "a": 1 }), json!({ "a": 1, "b": 1 })),
            (json!({ "allOf": [{ "minimum": 1 }, { "maximum": 2 }] }), json!(1), json!(3)),
            (json!({ "anyOf": [{ "type": "null" }, { "enum": ["a"] }] }), json!(null), json!("b")),
            (json!({ "oneOf": [{ "minimum": 1 }, { "maximum": 2 }] }), json!(3), json!(2)),
            (json!({ "not": { "const": 1 } }), json!(2), json!(1)),
        ] {
            assert_eq!(why(schema.clone(), fits), "fits", "{schema}");
            assert_ne!(why(schema.clone(), misfits), "fits", "{schema}");
        }
    }

    #[test]
    fn references_within_the_schema_are_followed_and_end() {
        let tree = json!({
            "$ref": "#/$defs/node",
            "$defs": { "node": { "properties": { "v": { "type": "integer" }, "next": { "$ref": "#/$defs/node" } } } },
        });
        assert_eq!(why(tree.clone(), json!({ "v": 1, "next": { "next": { "v": 2 } } })), "fits");
        let deep = why(tree, json!({ "next": { "next": { "v": "x" } } }));
        assert_eq!(deep, r#"`/next/next/v` is "x", expected type "integer""#);
        let endless = json!({ "anyOf": [{ "$ref": "#" }, { "$ref": "#" }] });
        assert!(why(endless, json!(1)).contains("anyOf"));
        assert_eq!(why(json!({ "$ref": "other.json" }), json!(1)), "fits");
    }

    #[test]
    fn of_an_optional_the_one_choice_tells_why() {
        let schema = json!({ "anyOf": [{ "type": "string", "enum": ["a"] }, { "type": "null" }] });
        assert_eq!(why(schema, json!("b")), r#"the answer is "b", expected one of ["a"]"#);
    }
}
