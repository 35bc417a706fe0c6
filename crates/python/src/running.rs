//! A running job as a Python object.
//!
//! The job has a thread of its own (`life`). The object only asks and tells: for the end, for counts, to stop, to scale, to
//! cancel. A job whose object is gone is cancelled: nobody could ask for its end any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forebay_core::{Error, Kind};
use forebay_engine::Stop;
use forebay_engine::metrics::open_metrics;
use futures::channel::oneshot::{Sender, channel};
use pyo3::prelude::*;

use crate::background;
use crate::errors::Failure;
use crate::life::Life;
use crate::order::{Order, Places, runtime};

/// A job that was started. Its methods may be called from any thread.
#[pyclass(frozen)]
pub struct Run {
    shared: Arc<Life>,
    order: Order,
    places: Places,
    cancel: Once<()>,
}

/// A word that can be given once.
struct Once<T>(Mutex<Option<Sender<T>>>);

// === impl Run ===

impl Run {
    /// Starts a thread that plans and runs `order`; returns when it is planned.
    ///
    /// # Errors
    /// Whatever the job cannot be planned with, or what a Python signal handler raised.
    pub fn start(py: Python<'_>, order: Order, places: Places) -> PyResult<Self> {
        let (cancel, cancelled) = channel();
        let shared = Arc::new(Life::default());
        let run = Self {
            shared: Arc::clone(&shared),
            order: order.clone(),
            places: places.clone(),
            cancel: Once::new(cancel),
        };
        std::thread::spawn(move || shared.work(&order, &places, cancelled));
        match run.shared.planned.wait(py, None)? {
            Some(Err(failure)) => Err(failure.raise(py)),
            _ => Ok(run),
        }
    }
}

#[pymethods]
impl Run {
    /// The report as JSON once the job has ended, `None` if it is still running after `seconds`.
    #[pyo3(signature = (seconds = None))]
    fn wait(&self, py: Python<'_>, seconds: Option<f64>) -> PyResult<Option<String>> {
        let longest = seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX));
        match self.shared.ended.wait(py, longest)? {
            Some(Ok(report)) => Ok(Some(report)),
            Some(Err(failure)) => Err(failure.raise(py)),
            None => Ok(None),
        }
    }

    /// Counts now, as JSON.
    fn status(&self, py: Python<'_>) -> PyResult<String> {
        let text = py.detach(|| match self.shared.last.get() {
            Some(last) => serde_json::to_string(last),
            None => serde_json::to_string(&self.shared.watch.progress()),
        });
        text.map_err(|error| Failure::from(Error::new(Kind::Internal, "encode status").source(error)).raise(py))
    }

    /// Counts now, as OpenMetrics text.
    fn metrics(&self, py: Python<'_>) -> PyResult<String> {
        let Some(Ok(planned)) = self.shared.planned.wait(py, None)? else {
            return Err(Failure::from(Error::new(Kind::Invalid, "write metrics")).raise(py));
        };
        let text = py.detach(|| match self.shared.last.get() {
            Some(last) => open_metrics(&planned.job, last),
            None => open_metrics(&planned.job, &self.shared.watch.progress()),
        });
        text.map_err(|error| Failure::from(error).raise(py))
    }

    /// Takes nothing new, finishes what is in flight, and ends with a checkpoint.
    fn drain(&self) {
        self.shared.words.end(Stop::Drain);
    }

    /// Takes nothing new and ends with a checkpoint that keeps what is in flight.
    fn suspend(&self) {
        self.shared.words.end(Stop::Suspend);
    }

    /// Keeps the newest checkpoint as `name`, whether the job is running or not; returns what `resume` calls it.
    fn savepoint(&self, py: Python<'_>, name: String) -> PyResult<String> {
        let (shared, order, places) = (Arc::clone(&self.shared), self.order.clone(), self.places.clone());
        let Some(Ok(planned)) = shared.planned.wait(py, None)? else {
            return Err(Failure::from(Error::new(Kind::Invalid, "create savepoint")).raise(py));
        };
        background::answer(py, move || {
            runtime()?.block_on(async { places.savepoint(&planned.job, &order.machine()?, &name).await })
        })
    }

    /// Has models have other numbers of replicas, at once, and suspends the job and starts it again for another parallelism;
    /// returns when it runs, or is at its end.
    #[pyo3(signature = (parallelism, replicas))]
    fn scale(&self, py: Python<'_>, parallelism: Option<i64>, replicas: BTreeMap<String, i64>) -> PyResult<()> {
        let (shared, order) = (Arc::clone(&self.shared), self.order.clone());
        background::answer(py, move || shared.scale(&order, parallelism, &replicas))
    }

    /// Drops work; what no checkpoint covers is not output.
    fn cancel(&self) {
        self.cancel.give(());
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.cancel.give(());
    }
}

// === impl Once ===

impl<T> Once<T> {
    fn new(word: Sender<T>) -> Self {
        Self(Mutex::new(Some(word)))
    }

    fn give(&self, what: T) {
        let word = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(word) = word {
            // The job may have ended by itself.
            let _ = word.send(what);
        }
    }
}
