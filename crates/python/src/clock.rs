//! A clock for tests as a Python object.

use forebay_core::{Error, Kind};
use forebay_engine::clock::MovableClock;
use forebay_plan::job_file::DurationText;
use pyo3::prelude::*;

use crate::errors::Failure;

/// A clock that can be moved ahead, for as many jobs as are run under it.
#[pyclass(frozen)]
pub struct Clock {
    movable: MovableClock,
}

// === impl Clock ===

impl Clock {
    /// The engine's side of it.
    pub fn movable(&self) -> MovableClock {
        self.movable.clone()
    }
}

#[pymethods]
impl Clock {
    #[new]
    fn new() -> Self {
        Self { movable: MovableClock::default() }
    }

    /// Moves it ahead by `duration`, written as in a job.
    fn advance(&self, py: Python<'_>, duration: String) -> PyResult<()> {
        let read: Result<DurationText, _> = serde_json::from_value(duration.into());
        let DurationText(duration) =
            read.map_err(|why| Failure::from(Error::new(Kind::Invalid, "move clock").source(why)).raise(py))?;
        self.movable.advance(duration);
        Ok(())
    }
}
