//! The contract of built-in row functions: bound once at plan time, evaluated a batch at a time, a bad row at a time.
//!
//! A row that cannot be processed is reported beside the result instead of failing the batch; the operator that called
//! the function sends it to the dead letters, makes it null or fails the job, as the step declares.

use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;

use crate::error::{Error, Result};

/// An argument as the planner knows it.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// A column: its type is known, its values are not.
    Column(FieldRef),
    /// A whole number written in the query.
    Int(i64),
    /// A number with a fraction written in the query.
    Float(f64),
    /// Text written in the query.
    Text(String),
}

/// A row function known by name, for example `image_to_tensor`.
pub trait RowFunction: Send + Sync + fmt::Debug {
    /// Its name in SQL and in job files, lower case.
    fn name(&self) -> &'static str;

    /// How it is called, for error messages: `image_to_tensor(image, width, height)`.
    fn usage(&self) -> &'static str;

    /// Checks the arguments and fixes the result type.
    ///
    /// # Errors
    /// `Invalid`, naming the argument and what is accepted.
    fn bind(&self, arguments: &[Argument]) -> Result<Arc<dyn BoundFunction>>;
}

/// A row function with its literal arguments fixed.
pub trait BoundFunction: Send + Sync + fmt::Debug {
    /// Type and extension metadata of the result; its name is unused.
    fn output(&self) -> FieldRef;

    /// Evaluates `rows` rows. `columns` holds the [`Argument::Column`] arguments in order, each of `rows` values.
    ///
    /// # Errors
    /// Only for what makes the whole batch unusable (`Internal`). Bad rows are in [`Evaluated::errors`].
    fn evaluate(&self, columns: &[ArrayRef], rows: usize) -> Result<Evaluated>;
}

/// What a row function made of a batch.
#[derive(Debug)]
pub struct Evaluated {
    /// One value a row; rows in `errors` hold null or an unspecified value.
    pub column: ArrayRef,
    /// The rows that could not be processed, by place, ascending.
    pub errors: Vec<(usize, Error)>,
}
