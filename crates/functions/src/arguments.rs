//! Reads the arguments of a function call, so that every function words its complaints alike.
//!
//! Each reader names the argument, what was given and what is accepted; all errors are `Invalid`.

use std::fmt::Display;
use std::ops::RangeInclusive;

use arrow::datatypes::{DataType, FieldRef};
use forebay_core::function::{Argument, RowFunction};
use forebay_core::{Error, Kind, Result};

/// The arguments of one call of `function`.
pub(crate) struct Arguments<'a> {
    function: &'a dyn RowFunction,
    given: &'a [Argument],
}

// === impl Arguments ===

impl<'a> Arguments<'a> {
    /// The arguments `given` to `function`, whose number must lie in `accepted`.
    pub(crate) fn new(
        function: &'a dyn RowFunction,
        given: &'a [Argument],
        accepted: RangeInclusive<usize>,
    ) -> Result<Self> {
        let arguments = Self { function, given };
        if accepted.contains(&given.len()) {
            return Ok(arguments);
        }
        let range = format!("{} to {}", accepted.start(), accepted.end());
        Err(arguments.error().with("arguments", given.len()).with("accepted", range))
    }

    /// The column at `place`, which must hold bytes: `Binary`, `LargeBinary` or `BinaryView`.
    pub(crate) fn bytes_column(&self, place: usize, name: &str) -> Result<&'a FieldRef> {
        let accepted = "a column of type Binary, LargeBinary or BinaryView";
        let Some(Argument::Column(field)) = self.given.get(place) else {
            return Err(self.refuse(place, name, accepted));
        };
        match field.data_type() {
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Ok(field),
            _ => Err(self.refuse(place, name, accepted)),
        }
    }

    /// The whole number at `place`, inside `range`.
    pub(crate) fn int(&self, place: usize, name: &str, range: RangeInclusive<u32>) -> Result<u32> {
        let given = match self.given.get(place) {
            Some(Argument::Int(value)) => u32::try_from(*value).ok(),
            _ => None,
        };
        if let Some(value) = given.filter(|value| range.contains(value)) {
            return Ok(value);
        }
        let accepted = format!("a whole number in {}..={}", range.start(), range.end());
        Err(self.refuse(place, name, accepted))
    }

    /// The choice at `place`, one of `choices` in any letter case; the first of them where the argument is left out.
    pub(crate) fn choice<T: Copy>(&self, place: usize, name: &str, choices: &[(&str, T)]) -> Result<T> {
        let found = match self.given.get(place) {
            None => choices.first(),
            Some(Argument::Text(text)) => choices.iter().find(|(choice, _)| choice.eq_ignore_ascii_case(text)),
            Some(_) => None,
        };
        let accepted: Vec<String> = choices.iter().map(|(choice, _)| format!("'{choice}'")).collect();
        found.map(|(_, value)| *value).ok_or_else(|| self.refuse(place, name, accepted.join(" or ")))
    }

    /// The finite number at `place`; `None` where the argument is left out.
    pub(crate) fn number(&self, place: usize, name: &str) -> Result<Option<f32>> {
        let value = match self.given.get(place) {
            None => return Ok(None),
            Some(Argument::Int(value)) => *value as f32,
            Some(Argument::Float(value)) => *value as f32,
            Some(_) => f32::NAN,
        };
        if value.is_finite() { Ok(Some(value)) } else { Err(self.refuse(place, name, "a finite number")) }
    }

    /// The error for an argument that is not what `accepted` says.
    pub(crate) fn refuse(&self, place: usize, name: &str, accepted: impl Display) -> Error {
        let given = self.given.get(place).map_or_else(|| "nothing".to_string(), describe);
        self.error().with("argument", name).with("given", given).with("accepted", accepted)
    }

    fn error(&self) -> Error {
        Error::new(Kind::Invalid, format!("call {}", self.function.usage()))
    }
}

fn describe(argument: &Argument) -> String {
    match argument {
        Argument::Column(field) => format!("column {} of type {}", field.name(), field.data_type()),
        Argument::Int(value) => value.to_string(),
        Argument::Float(value) => value.to_string(),
        Argument::Text(value) => format!("'{value}'"),
    }
}
