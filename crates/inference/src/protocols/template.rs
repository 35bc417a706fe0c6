//! Requests from rows: JSON or text with `{{name}}` where a column's value goes.
//!
//! A template is a JSON value, not text that becomes JSON, so no value of a row can break out of its string. A string that
//! is nothing but `{{name}}` becomes the value with its type, a null too; inside other text the value is written out, a null
//! as nothing. There is no logic, no escape and no way to reach anything but the row.

use std::collections::BTreeSet;

use arrow::datatypes::DataType;
use forebay_core::{Error, Kind, Result};
use serde_json::{Map, Value};

use crate::hosts::Slot;

/// A JSON value with places for values of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    root: Piece,
    names: BTreeSet<String>,
    /// Of these, those that are the whole of a string somewhere.
    alone: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Fixed(Value),
    Place(String),
    Text(Vec<Part>),
    List(Vec<Piece>),
    Object(Vec<(String, Piece)>),
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Fixed(String),
    Place(String),
}

// === impl Template ===

impl Template {
    /// Reads the places out of `value`.
    ///
    /// # Errors
    /// `Invalid` if a place is not closed or has no name.
    pub fn of(value: &Value) -> Result<Self> {
        let (mut names, mut alone) = (BTreeSet::new(), BTreeSet::new());
        let root = piece_of(value, &mut names)?;
        root.alone(&mut alone);
        Ok(Self { root, names, alone })
    }

    /// The names of all places, sorted.
    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// True if the place `name` is the whole of a string somewhere, so that a null there is a null of the request.
    pub fn stands_alone(&self, name: &str) -> bool {
        self.alone.contains(name)
    }

    /// A slot for each place: those of `listed`, and text for the others.
    ///
    /// # Errors
    /// `Invalid` if one is listed that no place names.
    pub fn inputs(&self, listed: &[Slot]) -> Result<Vec<Slot>> {
        if let Some(unused) = listed.iter().find(|slot| !self.names.contains(&slot.name)) {
            let error = Error::new(Kind::Invalid, "read template").with("input", &unused.name);
            return Err(error.source("the request has no place for it"));
        }
        let of = |name: &String| listed.iter().find(|slot| slot.name == *name).cloned();
        Ok(self.names.iter().map(|name| of(name).unwrap_or_else(|| Slot::scalar(name, DataType::Utf8))).collect())
    }

    /// The value for one row; `cell` gives the row's value of a name.
    ///
    /// # Errors
    /// Those of `cell`.
    pub fn fill(&self, cell: &mut dyn FnMut(&str) -> Result<Value>) -> Result<Value> {
        self.root.fill(cell)
    }
}

// === impl Piece ===

impl Piece {
    fn alone(&self, names: &mut BTreeSet<String>) {
        match self {
            Piece::Fixed(_) | Piece::Text(_) => {}
            Piece::Place(name) => names.extend([name.clone()]),
            Piece::List(items) => items.iter().for_each(|item| item.alone(names)),
            Piece::Object(entries) => entries.iter().for_each(|(_, piece)| piece.alone(names)),
        }
    }

    fn fill(&self, cell: &mut dyn FnMut(&str) -> Result<Value>) -> Result<Value> {
        Ok(match self {
            Piece::Fixed(value) => value.clone(),
            Piece::Place(name) => cell(name)?,
            Piece::Text(parts) => Value::String(text_of(parts, cell)?),
            Piece::List(items) => Value::Array(items.iter().map(|item| item.fill(cell)).collect::<Result<_>>()?),
            Piece::Object(entries) => {
                let mut object = Map::with_capacity(entries.len());
                for (name, piece) in entries {
                    object.insert(name.clone(), piece.fill(cell)?);
                }
                Value::Object(object)
            }
        })
    }
}

fn text_of(parts: &[Part], cell: &mut dyn FnMut(&str) -> Result<Value>) -> Result<String> {
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Fixed(fixed) => text.push_str(fixed),
            Part::Place(name) => match cell(name)? {
                Value::String(value) => text.push_str(&value),
                Value::Null => {}
                other => text.push_str(&other.to_string()),
            },
        }
    }
    Ok(text)
}

fn piece_of(value: &Value, names: &mut BTreeSet<String>) -> Result<Piece> {
    Ok(match value {
        Value::String(text) => text_piece(text, names)?,
        Value::Array(items) => Piece::List(items.iter().map(|item| piece_of(item, names)).collect::<Result<_>>()?),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(name, value)| Ok((name.clone(), piece_of(value, names)?)));
            Piece::Object(entries.collect::<Result<_>>()?)
        }
        fixed => Piece::Fixed(fixed.clone()),
    })
}

fn text_piece(text: &str, names: &mut BTreeSet<String>) -> Result<Piece> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let error = || Error::new(Kind::Invalid, "read template").with("text", text);
        let (name, after) = after.split_once("}}").ok_or_else(|| error().source("`{{` without `}}`"))?;
        let name = name.trim();
        if name.is_empty() || name.contains(['{', '}']) {
            return Err(error().source("a place is `{{name}}`"));
        }
        if !before.is_empty() {
            parts.push(Part::Fixed(before.to_string()));
        }
        names.insert(name.to_string());
        parts.push(Part::Place(name.to_string()));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Fixed(rest.to_string()));
    }
    Ok(match <[Part; 1]>::try_from(parts) {
        Ok([Part::Place(name)]) => Piece::Place(name),
        Ok([Part::Fixed(fixed)]) => Piece::Fixed(Value::String(fixed)),
        Err(parts) if parts.is_empty() => Piece::Fixed(Value::String(String::new())),
        Err(parts) => Piece::Text(parts),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filled(template: &Value) -> Value {
        let row = json!({ "text": "say \"{{n}}\"\n", "n": 3, "list": [1.5, null], "none": null });
        let mut cell = |name: &str| Ok(row[name].clone());
        Template::of(template).unwrap().fill(&mut cell).unwrap()
    }

    #[test]
    fn a_lone_place_keeps_its_type_and_text_is_written_out() {
        assert_eq!(filled(&json!("{{list}}")), json!([1.5, null]));
        assert_eq!(filled(&json!({ "a": "{{none}}" })), json!({ "a": null }));
        assert_eq!(filled(&json!("n is {{ n }}, none is {{none}}.")), json!("n is 3, none is ."));
        assert_eq!(filled(&json!({ "a": ["{{n}}", true, "fixed", ""] })), json!({ "a": [3, true, "fixed", ""] }));
    }

    #[test]
    fn places_that_stand_alone_are_known() {
        let template = Template::of(&json!([{ "content": "{{a}}" }, "x {{b}}"])).unwrap();
        assert!(template.stands_alone("a") && !template.stands_alone("b"));
    }

    #[test]
    fn values_are_never_read_as_template_or_json() {
        assert_eq!(filled(&json!({ "q": "{{text}}!" })), json!({ "q": "say \"{{n}}\"\n!" }));
    }

    #[test]
    fn broken_places_are_refused() {
        let chain = |text: &str| Template::of(&json!(text)).unwrap_err().chain();
        assert_eq!(chain("a {{b"), "read template (text=a {{b): `{{` without `}}`");
        assert_eq!(chain("a {{}}"), "read template (text=a {{}}): a place is `{{name}}`");
    }
}
