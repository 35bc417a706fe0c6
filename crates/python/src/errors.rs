//! Errors of the engine as one Python exception, which the package turns into a class for each kind.

use forebay_core::{Error, Kind};
use forebay_engine::prepare::PrepareError;
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(_native, NativeError, PyException, "An error of the engine: kind, message, context and chain.");

/// An error that several threads may look at.
#[derive(Debug, Clone)]
pub struct Failure {
    kind: Kind,
    message: String,
    context: Vec<(&'static str, String)>,
    chain: String,
}

// === impl Failure ===

impl Failure {
    /// The exception, with the attributes that the package reads.
    pub fn raise(&self, py: Python<'_>) -> PyErr {
        let error = NativeError::new_err(self.chain.clone());
        match self.describe(error.value(py)) {
            Ok(()) => error,
            Err(other) => other,
        }
    }

    fn describe(&self, error: &Bound<'_, PyAny>) -> PyResult<()> {
        error.setattr("kind", format!("{:?}", self.kind))?;
        error.setattr("message", &self.message)?;
        error.setattr("context", self.context.clone())?;
        error.setattr("chain", &self.chain)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (kind, context, chain) = (error.kind(), error.context().to_vec(), error.chain());
        Self { kind, message: error.attempted().to_string(), context, chain }
    }
}

impl From<PrepareError> for Failure {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::File(file) => {
                // The place and the advice are what a person needs; the attempt says nothing to a program's author.
                let said = file.to_string();
                Self { message: file.message.clone(), chain: said, ..Self::from(Error::from(file)) }
            }
            PrepareError::Outside(error) => error.into(),
        }
    }
}
