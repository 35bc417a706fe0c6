//! What an aggregate takes of the rows of a batch, so that its cells need not know expressions.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion::physical_expr::expressions::Literal;
use forebay_core::{Error, Kind, Result};

use crate::keyed_rows::order;

/// What an aggregate takes of the rows of a batch.
pub(super) struct Taken {
    /// The rows that count; all without it.
    pub filter: Option<BooleanArray>,
    pub values: Values,
}

/// Of each row.
pub(super) enum Values {
    /// Which rows are null.
    Nulls(Option<NullBuffer>),
    Ints(Int64Array),
    Floats(Float64Array),
    /// Values, and bytes in their order.
    Ordered(ArrayRef, Vec<Vec<u8>>),
    Any(Vec<ArrayRef>),
}

// === impl Taken ===

impl Taken {
    /// The rows of `rows` that count.
    pub fn counted<'a>(&'a self, rows: &'a [u32]) -> impl Iterator<Item = usize> + 'a {
        let counts = |row: &usize| match &self.filter {
            Some(filter) => filter.is_valid(*row) && filter.value(*row),
            None => true,
        };
        rows.iter().map(|row| *row as usize).filter(counts)
    }

    /// How many of `rows` count and are not null.
    pub fn count(&self, rows: &[u32]) -> i64 {
        let nulls = match &self.values {
            Values::Nulls(nulls) => nulls.as_ref(),
            _ => None,
        };
        match (nulls, &self.filter) {
            (None, None) => rows.len() as i64,
            _ => self.counted(rows).filter(|row| nulls.is_none_or(|nulls| nulls.is_valid(*row))).count() as i64,
        }
    }

    /// The whole numbers of those of `rows` that count and are not null.
    pub fn ints<'a>(&'a self, rows: &'a [u32]) -> impl Iterator<Item = i64> + 'a {
        let values = if let Values::Ints(values) = &self.values { Some(values) } else { None };
        values
            .into_iter()
            .flat_map(|values| self.counted(rows).filter(|row| values.is_valid(*row)).map(|row| values.value(row)))
    }

    /// The floats of those of `rows` that count and are not null.
    pub fn floats<'a>(&'a self, rows: &'a [u32]) -> impl Iterator<Item = f64> + 'a {
        let values = if let Values::Floats(values) = &self.values { Some(values) } else { None };
        values
            .into_iter()
            .flat_map(|values| self.counted(rows).filter(|row| values.is_valid(*row)).map(|row| values.value(row)))
    }

    /// The values of those of `rows` that count and are not null: the column, and place and ordered bytes of each.
    pub fn ordered<'a>(&'a self, rows: &'a [u32]) -> impl Iterator<Item = (&'a ArrayRef, usize, &'a [u8])> + 'a {
        let values = if let Values::Ordered(column, places) = &self.values { Some((column, places)) } else { None };
        values.into_iter().flat_map(move |(column, places)| {
            let filled = self.counted(rows).filter(move |row| !order::is_null(&places[*row]));
            filled.map(move |row| (column, row, places[row].as_slice()))
        })
    }

    /// The arguments of those of `rows` that count and in which none is null.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn filled(&self, rows: &[u32]) -> Result<Vec<ArrayRef>> {
        let columns = self.arguments(rows)?;
        let nulls = columns
            .iter()
            .fold(None, |nulls, column| NullBuffer::union(nulls.as_ref(), column.logical_nulls().as_ref()));
        let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else { return Ok(columns) };
        let keep = BooleanArray::new(nulls.into_inner(), None);
        let filled = columns.iter().map(|column| arrow::compute::filter(column, &keep)).collect::<Result<_, _>>();
        filled.map_err(|source| Error::new(Kind::Internal, "pick rows of a window").source(source))
    }

    /// The arguments of those of `rows` that count.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn arguments(&self, rows: &[u32]) -> Result<Vec<ArrayRef>> {
        let Values::Any(columns) = &self.values else { return Ok(Vec::new()) };
        let whole = columns.first().is_some_and(|column| column.len() == rows.len()) && rows.is_sorted();
        if whole && self.filter.is_none() {
            return Ok(columns.clone());
        }
        let places: Vec<u32> = self.counted(rows).map(|row| row as u32).collect();
        let places = arrow::array::UInt32Array::from(places);
        let pick = |column: &ArrayRef| arrow::compute::take(column, &places, None);
        let picked = columns.iter().map(pick).collect::<Result<_, _>>();
        picked.map_err(|source| Error::new(Kind::Internal, "pick rows of a window").source(source))
    }
}

/// The same literal for each of so many rows, of which only nulls are looked at.
pub(super) fn counted(literal: &Literal, rows: usize) -> Values {
    Values::Nulls(literal.value().is_null().then(|| NullBuffer::new_null(rows)))
}

/// A column of a type that is done by hand.
pub(super) fn numbers(column: &ArrayRef) -> Values {
    match column.data_type() {
        DataType::Int64 => Values::Ints(column.as_primitive::<Int64Type>().clone()),
        DataType::Timestamp(_, _) => Values::Ints(column.as_primitive::<TimestampMicrosecondType>().reinterpret_cast()),
        _ => Values::Floats(column.as_primitive::<Float64Type>().clone()),
    }
}

/// A column in a form that has an order.
pub(super) fn ordered(column: ArrayRef) -> Result<Values> {
    let places = order::encode_column(&column)?;
    Ok(Values::Ordered(column, places))
}
