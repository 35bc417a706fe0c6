//! A running job as a Python object.
//!
//! The job has a thread of its own, which plans it, runs it and keeps how it ended. The object only asks and tells: for the
//! end, for counts, to stop, to cancel. A job whose object is gone is cancelled: nobody could ask for its end any more.

use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use forebay_core::{Error, Kind};
use forebay_engine::metrics::open_metrics;
use forebay_engine::progress::Progress;
use forebay_engine::{Report, Stop, Watch};
use futures::FutureExt;
use futures::channel::oneshot::{Receiver, Sender, channel};
use futures::future::{Either, pending, select};
use pyo3::prelude::*;

use crate::background::{self, Promise, caught};
use crate::errors::Failure;
use crate::order::{Order, Places, runtime};

/// A job that was started. Its methods may be called from any thread.
#[pyclass(frozen)]
pub struct Run {
    shared: Arc<Shared>,
    order: Order,
    places: Places,
    stop: Once<Stop>,
    cancel: Once<()>,
}

/// What the job's thread tells.
#[derive(Default)]
struct Shared {
    watch: Arc<Watch>,
    /// The counts of a job that has ended.
    last: OnceLock<Progress>,
    /// The job's name, once it is planned.
    planned: Promise<Result<String, Failure>>,
    ended: Promise<Result<String, Failure>>,
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
        let ((stop, stopped), (cancel, cancelled)) = (channel(), channel());
        let shared = Arc::new(Shared::default());
        let run = Self {
            shared: Arc::clone(&shared),
            order: order.clone(),
            places: places.clone(),
            stop: Once::new(stop),
            cancel: Once::new(cancel),
        };
        std::thread::spawn(move || shared.work(&order, &places, stopped, cancelled));
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
        let Some(Ok(job)) = self.shared.planned.wait(py, None)? else {
            return Err(Failure::from(Error::new(Kind::Invalid, "write metrics")).raise(py));
        };
        let text = py.detach(|| match self.shared.last.get() {
            Some(last) => open_metrics(&job, last),
            None => open_metrics(&job, &self.shared.watch.progress()),
        });
        text.map_err(|error| Failure::from(error).raise(py))
    }

    /// Takes nothing new, finishes what is in flight, and ends with a checkpoint.
    fn drain(&self) {
        self.stop.give(Stop::Drain);
    }

    /// Takes nothing new and ends with a checkpoint that keeps what is in flight.
    fn suspend(&self) {
        self.stop.give(Stop::Suspend);
    }

    /// Keeps the newest checkpoint as `name`, whether the job is running or not; returns what `resume` calls it.
    fn savepoint(&self, py: Python<'_>, name: String) -> PyResult<String> {
        let (shared, order, places) = (Arc::clone(&self.shared), self.order.clone(), self.places.clone());
        let Some(Ok(job)) = shared.planned.wait(py, None)? else {
            return Err(Failure::from(Error::new(Kind::Invalid, "create savepoint")).raise(py));
        };
        background::answer(py, move || {
            runtime()?.block_on(async { places.savepoint(&job, &order.machine()?, &name).await })
        })
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

// === impl Shared ===

impl Shared {
    /// The life of the job's thread.
    fn work(&self, order: &Order, places: &Places, stopped: Receiver<Stop>, cancelled: Receiver<()>) {
        let ended = caught(|| {
            let running = pin!(self.plan_and_run(order, places, stopped));
            runtime()?.block_on(async {
                match select(running, pin!(told(cancelled))).await {
                    Either::Left((ended, _)) => ended,
                    Either::Right(_) => Err(Error::new(Kind::Cancelled, "run job").into()),
                }
            })
        });
        let ended = ended.and_then(|report| {
            let text = serde_json::to_string(&report);
            text.map_err(|error| Error::new(Kind::Internal, "encode report").source(error).into())
        });
        // Without this, calls of a cancelled job would go on to their end.
        let _ = self.last.set(self.watch.progress());
        self.watch.end_models();
        if let Err(failure) = &ended {
            // Of no effect on a job that was planned.
            self.planned.set(Err(failure.clone()));
        }
        self.ended.set(ended);
    }

    async fn plan_and_run(&self, order: &Order, places: &Places, stopped: Receiver<Stop>) -> Result<Report, Failure> {
        let machine = order.machine()?;
        let prepared = order.plan(&machine).await?;
        let options = places.options(&prepared.plan.graph.job)?;
        self.watch.planned(&prepared.plan.graph);
        self.planned.set(Ok(prepared.plan.graph.job.clone()));
        let stop = told(stopped).boxed();
        Ok(forebay_engine::run(&prepared, &options, &machine, stop, &self.watch).await?)
    }
}

/// Resolves when the word is given; never if nobody can give it any more.
async fn told<T>(word: Receiver<T>) -> T {
    match word.await {
        Ok(word) => word,
        Err(_) => pending().await,
    }
}
