//! What the planner asks of process functions: operators that users write, known by name as row functions are.
//!
//! Only what a plan needs is here: which columns come out, and what the rows do. How such a function is run, with its state and
//! timers, is for the crate that has operators.

use std::fmt;

use arrow::datatypes::SchemaRef;

use crate::error::Result;

/// Where a process function stands: the rows that come in, and how the job sets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSite {
    /// The rows that come in; their event time, if they have one, is marked.
    pub input: SchemaRef,
    /// Places of the key columns; none: all rows have one key.
    pub keys: Vec<usize>,
    /// The settings, a JSON object.
    pub settings: String,
}

/// What comes out of a process function at its site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessShape {
    /// The rows that go out.
    pub output: SchemaRef,
    /// The side outputs, in the order of their declaration.
    pub sides: Vec<ProcessSide>,
    /// Whether rows that take back earlier ones may come in.
    pub takes_updates: bool,
    /// Whether rows that take back earlier ones may go out.
    pub gives_updates: bool,
}

/// A side output of a process function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSide {
    /// What it is called behind the step's uid.
    pub name: &'static str,
    /// Its rows.
    pub schema: SchemaRef,
}

/// A process function that jobs can name.
pub trait KnownProcess: Send + Sync + fmt::Debug {
    /// Its name in job files.
    fn name(&self) -> &str;

    /// Checks columns and settings and says what comes out. Asked again for each subtask: the same site has the same answer.
    ///
    /// # Errors
    /// `Invalid`, naming the column or setting and what to do.
    fn shape(&self, site: &ProcessSite) -> Result<ProcessShape>;
}
