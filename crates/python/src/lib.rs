//! The native half of the Python package `forebay`: explains, types and runs jobs that the package describes as JSON.
//!
//! Conversion only, and the threads of functions that run here. What a job means is decided in the crates below, what it looks like to a Python programmer in
//! `python/forebay`. Every call that takes longer than a moment gives the interpreter to other threads and lets Ctrl-C
//! through; no panic leaves this crate as anything but an error.

mod background;
mod clock;
mod errors;
mod life;
mod order;
mod running;
mod threads;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use clock::Clock;
use errors::NativeError;
use forebay_core::{Error, Kind};
use order::{Order, Places};
use running::Run;
use threads::Calls;

/// The version of the engine.
#[pyfunction]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Plans a job and returns what `forebay plan` prints.
#[pyfunction]
#[pyo3(signature = (job_json, *, python = None))]
fn explain(py: Python<'_>, job_json: String, python: Option<PathBuf>) -> PyResult<String> {
    let order = Order::new(py, job_json, python);
    background::answer(py, move || order.explain())
}

/// Plans a job and returns, as an Arrow IPC stream without rows, the schema of what the sink `uid` gets.
#[pyfunction]
#[pyo3(signature = (job_json, uid = None, *, python = None))]
fn schema(py: Python<'_>, job_json: String, uid: Option<String>, python: Option<PathBuf>) -> PyResult<Py<PyBytes>> {
    let order = Order::new(py, job_json, python);
    let bytes = background::answer(py, move || order.schema(uid.as_deref()))?;
    Ok(PyBytes::new(py, &bytes).unbind())
}

/// The steps of a SQL query over the frames of these names, as JSON.
#[pyfunction]
fn sql(py: Python<'_>, query: String, frames: Vec<String>) -> PyResult<String> {
    background::answer(py, move || {
        let steps = forebay_plan::sql::steps(&query, &frames)?;
        let wrong = |source| Error::new(Kind::Internal, "write steps as JSON").source(source);
        Ok(serde_json::to_string(&steps).map_err(wrong)?)
    })
}

/// Plans a job and starts it; returns when it is planned.
#[pyfunction]
#[pyo3(signature = (
    job_json, *, checkpoints, lasting = true, journal = None, resume = None, keep = 3, python = None, clock = None
))]
#[expect(clippy::too_many_arguments, reason = "in Python they are named")]
fn run(
    py: Python<'_>,
    job_json: String,
    checkpoints: String,
    lasting: bool,
    journal: Option<PathBuf>,
    resume: Option<String>,
    keep: usize,
    python: Option<PathBuf>,
    clock: Option<PyRef<'_, Clock>>,
) -> PyResult<Run> {
    let clock = clock.map(|clock| clock.movable());
    let places = Places { checkpoints, lasting, journal, resume, keep };
    Run::start(py, Order::new(py, job_json, python).with_clock(clock), places)
}

/// Runs a model's worker process to its end, as `forebay worker` does; returns its exit status.
#[pyfunction]
fn worker(py: Python<'_>, args: Vec<OsString>) -> u8 {
    py.detach(|| forebay_inference::worker::main(args))
}

#[pymodule(name = "_native")]
fn native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("NativeError", module.py().get_type::<NativeError>())?;
    module.add_class::<Run>()?;
    module.add_class::<Calls>()?;
    module.add_class::<Clock>()?;
    module.add_function(wrap_pyfunction!(version, module)?)?;
    module.add_function(wrap_pyfunction!(explain, module)?)?;
    module.add_function(wrap_pyfunction!(schema, module)?)?;
    module.add_function(wrap_pyfunction!(sql, module)?)?;
    module.add_function(wrap_pyfunction!(run, module)?)?;
    module.add_function(wrap_pyfunction!(worker, module)?)
}
