//! Process functions by name, whatever their types: for the planner, and for who makes operators.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use forebay_core::Result;
use forebay_core::operator::Operator;
use forebay_core::process::{KnownProcess, ProcessShape, ProcessSite};

use super::ProcessFunction;
use super::operator::{ProcessOperator, ProcessSettings};
use super::shape::declare;

/// A process function that can be planned and run.
pub trait Process: KnownProcess {
    /// The operator of one subtask.
    ///
    /// # Errors
    /// Those of [`KnownProcess::shape`].
    fn operator(&self, settings: &ProcessSettings) -> Result<Box<dyn Operator>>;
}

/// The function `F` under a name.
pub fn process<F: ProcessFunction>(name: &str) -> Arc<dyn Process> {
    Arc::new(Named::<F> { name: name.to_string(), function: PhantomData })
}

struct Named<F> {
    name: String,
    function: PhantomData<fn() -> F>,
}

impl<F> fmt::Debug for Named<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process function {}", self.name)
    }
}

impl<F: ProcessFunction> KnownProcess for Named<F> {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self, site: &ProcessSite) -> Result<ProcessShape> {
        Ok(declare::<F>(site)?.1.shape())
    }
}

impl<F: ProcessFunction> Process for Named<F> {
    fn operator(&self, settings: &ProcessSettings) -> Result<Box<dyn Operator>> {
        let (function, declared) = declare::<F>(&settings.site)?;
        Ok(Box::new(ProcessOperator::new(&self.name, function, declared, settings)?))
    }
}
