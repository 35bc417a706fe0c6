//! A running job as a Python object.
//!
//! The job has a thread of its own, which plans it, runs it and keeps how it ended. The object only asks and tells: for the
//! end, for counts, to stop, to scale, to cancel. A job whose parallelism changes is suspended and started again by that
//! thread, so whoever waits for its end sees one job, and Ctrl-C only ends the waiting. A job whose object is gone is
//! cancelled: nobody could ask for its end any more.

use std::num::NonZeroU16;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use forebay_core::{Error, Kind};
use forebay_engine::metrics::open_metrics;
use forebay_engine::progress::Progress;
use forebay_engine::{Local, Outlook, Prepared, Report, ResumeJob, RunOptions, Stop, Watch};
use futures::FutureExt;
use futures::channel::oneshot::{Receiver, Sender, channel};
use futures::future::{Either, pending, select};
use pyo3::prelude::*;

use crate::background::{self, Promise, caught};
use crate::errors::Failure;
use crate::order::{Order, Places, runtime};
use crate::words::{Next, Words};

/// A job that was started. Its methods may be called from any thread.
#[pyclass(frozen)]
pub struct Run {
    shared: Arc<Shared>,
    order: Order,
    places: Places,
    cancel: Once<()>,
}

/// What the job's thread tells.
#[derive(Default)]
struct Shared {
    watch: Arc<Watch>,
    /// The counts of a job that has ended.
    last: OnceLock<Progress>,
    planned: Promise<Result<Arc<Planned>, Failure>>,
    words: Words,
    /// Held by who scales: one at a time.
    scaling: Mutex<()>,
    ended: Promise<Result<String, Failure>>,
}

/// The job as it was planned first.
struct Planned {
    job: String,
    key_groups: u16,
    outlook: Outlook,
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
        let shared = Arc::new(Shared::default());
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

    /// Suspends the job and starts it again at another parallelism; returns when it runs, or is at its end.
    fn scale(&self, py: Python<'_>, parallelism: i64) -> PyResult<()> {
        let (shared, order) = (Arc::clone(&self.shared), self.order.clone());
        background::answer(py, move || shared.scale(&order, parallelism))
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
    fn work(&self, order: &Order, places: &Places, cancelled: Receiver<()>) {
        let ended = caught(|| {
            let running = pin!(self.plan_and_run(order, places));
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
        self.watch.end_part();
        if let Err(failure) = &ended {
            // Of no effect on a job that was planned.
            self.planned.set(Err(failure.clone()));
        }
        self.words.over(ended.as_ref().map(drop).map_err(Failure::clone));
        self.ended.set(ended);
    }

    async fn plan_and_run(&self, order: &Order, places: &Places) -> Result<Report, Failure> {
        let machine = order.machine()?;
        let outlook = order.look(&machine).await?;
        let mut prepared = order.planned(&outlook, None)?;
        let graph = &prepared.plan.graph;
        let mut options = places.options(&graph.job)?;
        self.watch.planned(graph);
        self.planned.set(Ok(Arc::new(Planned { job: graph.job.clone(), key_groups: graph.key_groups, outlook })));
        let mut report = self.part(&prepared, &options, &machine).await.map_err(|(error, _)| error)?;
        while let Some(Next { parallelism, prepared: next }) = self.words.next(report.outcome == "completed") {
            self.watch.end_part();
            (prepared, options) = (next, RunOptions { resume: ResumeJob::Latest, ..options });
            let part = self.part(&prepared, &options, &machine).await;
            report = part.map_err(|(error, was_up)| match was_up {
                true => error,
                false => places.not_again(&error, parallelism),
            })?;
        }
        Ok(report)
    }

    /// Runs the job from where it is to its end or the next stop; an error comes with whether it ran before.
    async fn part(&self, prepared: &Prepared, options: &RunOptions, machine: &Local) -> Result<Report, (Error, bool)> {
        let stop = told(self.words.begin()).boxed();
        let up = self.watch.begin_part(prepared.plan.graph.task_regions().count());
        match select(pin!(forebay_engine::run(prepared, options, machine, stop, &self.watch)), pin!(told(up))).await {
            Either::Left((ended, _)) => ended.map_err(|error| (error, false)),
            Either::Right(((), running)) => {
                self.words.is_up();
                running.await.map_err(|error| (error, true))
            }
        }
    }

    /// Has the job go on at another parallelism; waits until it does, or is at its end.
    fn scale(&self, order: &Order, parallelism: i64) -> Result<(), Failure> {
        let _only = self.scaling.lock().unwrap_or_else(PoisonError::into_inner);
        self.words.check()?;
        let planned = self.planned.waited()?;
        let parallelism = parallelism_of(parallelism, planned.key_groups)?;
        let prepared = order.planned(&planned.outlook, Some(parallelism))?;
        self.words.follow_with(Next { parallelism, prepared })?.waited()
    }
}

fn parallelism_of(wanted: i64, key_groups: u16) -> Result<NonZeroU16, Failure> {
    let valid = u16::try_from(wanted).ok().filter(|wanted| *wanted <= key_groups).and_then(NonZeroU16::new);
    let failed = || Error::new(Kind::Invalid, "scale job").with("parallelism", wanted);
    Ok(valid.ok_or_else(|| failed().source(format!("expected 1 to {key_groups}, the number of key groups")))?)
}

/// Resolves when the word is given; never if nobody can give it any more.
async fn told<T>(word: Receiver<T>) -> T {
    match word.await {
        Ok(word) => word,
        Err(_) => pending().await,
    }
}
