//! Columns that a process function reads, and those of the rows that it gives.
//!
//! A function asks for a column as one of six Rust types; every Arrow type that fits is cast once a batch, so that reading a
//! value costs no decision per row.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Field, FieldRef, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use forebay_core::time::{EVENT_TIME, EventTime};
use forebay_core::{Error, Kind, Result};

/// A column of the rows that come in, to be read as `T`: `i64`, `f64`, `bool`, `str`, `[u8]` or [`EventTime`].
pub struct Column<T: ?Sized> {
    /// Place among the columns that the function asked for.
    pub(super) place: usize,
    kind: PhantomData<fn() -> Box<T>>,
}

/// A type that columns can be read as. Sealed: the engine knows them all.
pub trait ColumnValue: sealed::Sealed {
    /// What a value is while its row is at hand.
    type Ref<'a>;
    /// What is accepted, for errors.
    #[doc(hidden)]
    const ACCEPTED: &'static str;
    /// The type that columns of `kind` are cast to; `None` if they are not accepted.
    #[doc(hidden)]
    fn cast_to(kind: &DataType) -> Option<DataType>;
    /// The value at `place` of a column of that type, which is not null.
    #[doc(hidden)]
    fn at(column: &ArrayRef, place: usize) -> Self::Ref<'_>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for i64 {}
    impl Sealed for f64 {}
    impl Sealed for bool {}
    impl Sealed for str {}
    impl Sealed for [u8] {}
    impl Sealed for forebay_core::time::EventTime {}
}

/// Columns of rows that a function gives: those of the key or of the input, then new ones.
#[derive(Debug, Clone)]
pub struct Columns {
    pub(super) base: Base,
    fields: Vec<Field>,
}

/// What the columns of an output begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    Nothing,
    Key,
    Input,
}

// === impl Column ===

impl<T: ?Sized> Column<T> {
    pub(super) fn new(place: usize) -> Self {
        Self { place, kind: PhantomData }
    }
}

impl<T: ?Sized> Clone for Column<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Column<T> {}

impl<T: ?Sized> fmt::Debug for Column<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Column({})", self.place)
    }
}

// === impl ColumnValue ===

/// The type of the values, where `kind` is a dictionary.
fn values(kind: &DataType) -> &DataType {
    if let DataType::Dictionary(_, values) = kind { values } else { kind }
}

impl ColumnValue for i64 {
    type Ref<'a> = i64;
    const ACCEPTED: &'static str = "an integer of at most 64 bits with sign, or 32 without";

    fn cast_to(kind: &DataType) -> Option<DataType> {
        (values(kind).is_integer() && *values(kind) != DataType::UInt64).then_some(DataType::Int64)
    }

    fn at(column: &ArrayRef, place: usize) -> i64 {
        column.as_primitive::<Int64Type>().value(place)
    }
}

impl ColumnValue for f64 {
    type Ref<'a> = f64;
    const ACCEPTED: &'static str = "a number";

    fn cast_to(kind: &DataType) -> Option<DataType> {
        (values(kind).is_integer() || values(kind).is_floating()).then_some(DataType::Float64)
    }

    fn at(column: &ArrayRef, place: usize) -> f64 {
        column.as_primitive::<Float64Type>().value(place)
    }
}

impl ColumnValue for bool {
    type Ref<'a> = bool;
    const ACCEPTED: &'static str = "true or false";

    fn cast_to(kind: &DataType) -> Option<DataType> {
        (*values(kind) == DataType::Boolean).then_some(DataType::Boolean)
    }

    fn at(column: &ArrayRef, place: usize) -> bool {
        column.as_boolean().value(place)
    }
}

impl ColumnValue for str {
    type Ref<'a> = &'a str;
    const ACCEPTED: &'static str = "text";

    fn cast_to(kind: &DataType) -> Option<DataType> {
        matches!(values(kind), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View).then_some(DataType::LargeUtf8)
    }

    fn at(column: &ArrayRef, place: usize) -> &str {
        column.as_string::<i64>().value(place)
    }
}

impl ColumnValue for [u8] {
    type Ref<'a> = &'a [u8];
    const ACCEPTED: &'static str = "binary";

    fn cast_to(kind: &DataType) -> Option<DataType> {
        let is_binary = matches!(values(kind), DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
        is_binary.then_some(DataType::LargeBinary)
    }

    fn at(column: &ArrayRef, place: usize) -> &[u8] {
        column.as_binary::<i64>().value(place)
    }
}

impl ColumnValue for EventTime {
    type Ref<'a> = EventTime;
    const ACCEPTED: &'static str = "a timestamp";

    fn cast_to(kind: &DataType) -> Option<DataType> {
        let DataType::Timestamp(_, zone) = values(kind) else { return None };
        Some(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
    }

    fn at(column: &ArrayRef, place: usize) -> EventTime {
        EventTime(column.as_primitive::<TimestampMicrosecondType>().value(place))
    }
}

// === impl Columns ===

impl Columns {
    /// No column yet.
    pub fn new() -> Self {
        Self { base: Base::Nothing, fields: Vec::new() }
    }

    /// The key columns, which are filled in by themselves.
    pub fn key() -> Self {
        Self { base: Base::Key, fields: Vec::new() }
    }

    /// All columns of the rows that come in; filled with [`Emission::row`](super::Emission::row) or
    /// [`Emission::stored`](super::Emission::stored).
    pub fn input() -> Self {
        Self { base: Base::Input, fields: Vec::new() }
    }

    /// A column of 64-bit integers.
    #[must_use]
    pub fn int(self, name: &str) -> Self {
        self.field(Field::new(name, DataType::Int64, false))
    }

    /// A column of 64-bit floating-point numbers.
    #[must_use]
    pub fn float(self, name: &str) -> Self {
        self.field(Field::new(name, DataType::Float64, false))
    }

    /// A column of true and false.
    #[must_use]
    pub fn boolean(self, name: &str) -> Self {
        self.field(Field::new(name, DataType::Boolean, false))
    }

    /// A column of text.
    #[must_use]
    pub fn text(self, name: &str) -> Self {
        self.field(Field::new(name, DataType::Utf8, false))
    }

    /// A column of bytes.
    #[must_use]
    pub fn bytes(self, name: &str) -> Self {
        self.field(Field::new(name, DataType::Binary, false))
    }

    /// A column of moments, in microseconds, UTC.
    #[must_use]
    pub fn time(self, name: &str) -> Self {
        self.field(Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())), false))
    }

    /// A column of moments that is the event time of these rows for the steps behind; it takes the place of one of the input.
    /// A row is late there if its time is at or before the watermark that its cause came with, so give what a timer
    /// makes the timer's time or a later one.
    #[must_use]
    pub fn event_time(self, name: &str) -> Self {
        let mut columns = self.time(name);
        if let Some(field) = columns.fields.last_mut() {
            field.set_metadata(HashMap::from([(EVENT_TIME.to_string(), "true".to_string())]));
        }
        columns
    }

    /// A column of any type that can be kept; [`Cell`](super::Cell) says which can be given values.
    #[must_use]
    pub fn field(mut self, field: Field) -> Self {
        self.fields.push(field);
        self
    }

    /// The column before may be null.
    #[must_use]
    pub fn nullable(mut self) -> Self {
        if let Some(field) = self.fields.last_mut() {
            field.set_nullable(true);
        }
        self
    }

    /// The schema over rows of `input` with `keys`.
    pub(super) fn schema(&self, input: &Schema, keys: &[usize]) -> Result<SchemaRef> {
        let base: Vec<FieldRef> = match self.base {
            Base::Nothing => Vec::new(),
            Base::Key => keys.iter().map(|place| Arc::clone(&input.fields()[*place])).collect(),
            Base::Input => input.fields().to_vec(),
        };
        let is_marked = |field: &Field| field.metadata().contains_key(EVENT_TIME);
        let marked = self.fields.iter().filter(|field| is_marked(field)).count();
        // A key stands for many rows, so it is no event time of theirs.
        let unmarks = marked > 0 || self.base == Base::Key;
        let base = base.into_iter().map(|field| if unmarks && is_marked(&field) { unmarked(&field) } else { field });
        let fields: Vec<FieldRef> = base.chain(self.fields.iter().cloned().map(Arc::new)).collect();
        let refused = |name: &str| Error::new(Kind::Invalid, "declare columns").with("column", name);
        for (place, field) in fields.iter().enumerate() {
            if fields[..place].iter().any(|other| other.name() == field.name()) {
                return Err(refused(field.name()).source("two columns have this name: give one another"));
            }
        }
        if marked > 1 {
            return Err(refused("event_time").source("two columns are the event time: leave one at time()"));
        }
        let schema = Arc::new(Schema::new(fields));
        crate::stored_rows::check_storable(&schema)?;
        Ok(schema)
    }
}

impl Default for Columns {
    fn default() -> Self {
        Self::new()
    }
}

fn unmarked(field: &Field) -> FieldRef {
    let mut metadata = field.metadata().clone();
    metadata.remove(EVENT_TIME);
    Arc::new(field.clone().with_metadata(metadata))
}
