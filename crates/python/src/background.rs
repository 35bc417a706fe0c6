//! Work on threads of its own, while the calling Python thread stays responsive.
//!
//! Python handles signals between its own instructions only, so nobody here waits longer than [`SLICE`] without asking for
//! them. A wait that a signal ends leaves the work alone; whoever gave it decides what becomes of it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use forebay_core::{Error, Kind};
use pyo3::prelude::*;

use crate::errors::Failure;

/// Longest time without a look at signals: a tenth of a second is not felt after Ctrl-C.
const SLICE: Duration = Duration::from_millis(100);

/// A value that comes once.
pub struct Promise<T> {
    value: Mutex<Option<T>>,
    came: Condvar,
}

// === impl Promise ===

impl<T> Default for Promise<T> {
    fn default() -> Self {
        Self { value: Mutex::new(None), came: Condvar::new() }
    }
}

impl<T: Clone + Send> Promise<T> {
    /// Gives the value; the first one counts.
    pub fn set(&self, value: T) {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(value);
        self.came.notify_all();
    }

    /// The value, or `None` if it has not come after `longest`.
    ///
    /// # Errors
    /// What a Python signal handler raised.
    pub fn wait(&self, py: Python<'_>, longest: Option<Duration>) -> PyResult<Option<T>> {
        let mut left = longest;
        loop {
            let slice = left.map_or(SLICE, |left| left.min(SLICE));
            if let Some(value) = py.detach(|| self.wait_without_python(slice)) {
                return Ok(Some(value));
            }
            py.check_signals()?;
            left = left.map(|left| left.saturating_sub(slice));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
        }
    }

    /// The value, however long it takes; for threads without an interpreter.
    pub fn waited(&self) -> T {
        loop {
            if let Some(value) = self.wait_without_python(SLICE) {
                return value;
            }
        }
    }

    fn wait_without_python(&self, longest: Duration) -> Option<T> {
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.came.wait_timeout_while(value, longest, |value| value.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

/// What `work` on another thread comes to.
///
/// # Errors
/// Its failure, or what a Python signal handler raised.
pub fn answer<T: Clone + Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> PyResult<T> {
    let promise = Arc::new(Promise::default());
    let kept = Arc::clone(&promise);
    std::thread::spawn(move || kept.set(caught(work)));
    match promise.wait(py, None)? {
        Some(Ok(value)) => Ok(value),
        Some(Err(failure)) => Err(failure.raise(py)),
        None => unreachable!("a wait without end ends with a value"),
    }
}

/// `work`, with a panic turned into a failure.
///
/// # Errors
/// Its failure, or `Internal`.
pub fn caught<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Error::new(Kind::Internal, "run engine").source(panic_text(panic.as_ref())).into()))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".to_string())
}
