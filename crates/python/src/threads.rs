//! Python functions that need no process of their own, run by threads of the interpreter that runs the job.
//!
//! A replica is one Python thread (`forebay._threads`), which takes request batches from [`Calls`] and gives their answers
//! back. Rows pass as Arrow arrays without a copy. Nothing here can end a thread: one whose call is given up runs to the end
//! of that call, unheard, and another thread takes its place. What ends the process ends the job.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow_pyarrow::{FromPyArrow, ToPyArrow};
use forebay_core::{Error, Kind, Result};
use forebay_inference::hosts::python::{Declared, PythonSettings, signature_of};
use forebay_inference::hosts::{Answers, Host, Refused, Replica, Signature};
use forebay_inference::request::{RequestBatch, RequestId};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, Either, select};
use pyo3::prelude::*;
use tokio::sync::watch;

/// What the threads run.
const MODULE: &str = "forebay._threads";

/// Whoever waits for the answers of a call.
type Waiting = oneshot::Sender<Result<Answers>>;

/// One function.
struct ThreadHost {
    model: String,
    declared: Declared,
    log: Option<PathBuf>,
}

/// One thread with its function loaded.
struct ThreadReplica {
    model: String,
    asked: Sender<Request>,
    /// True once a call was given up: its thread may never come back.
    lost: watch::Sender<bool>,
}

/// A request batch and who waits for its answers.
struct Request {
    batch: RequestBatch,
    waiting: Waiting,
}

/// Marks its replica as lost unless the call that holds it came to its end.
struct LostIfDropped(Option<watch::Sender<bool>>);

/// The calls of one thread: it says [`Calls::ready`] or [`Calls::refuse`] once, then takes calls one at a time until there
/// are no more, and answers or fails each.
#[pyclass(frozen)]
pub struct Calls {
    model: String,
    log: Option<PathBuf>,
    opening: Mutex<Option<oneshot::Sender<Result<Signature>>>>,
    asked: Mutex<Receiver<Request>>,
    current: Mutex<Option<(Vec<RequestId>, Waiting)>>,
}

/// A host of the function in `settings`; see [`forebay_engine::outside::PythonThreads`]. Starts nothing.
///
/// # Errors
/// Those of [`PythonSettings::declared`].
pub fn host(settings: &PythonSettings) -> Result<Arc<dyn Host>> {
    let PythonSettings { model, log, .. } = settings;
    Ok(Arc::new(ThreadHost { model: model.clone(), declared: settings.declared()?, log: log.clone() }))
}

// === impl ThreadHost ===

impl Host for ThreadHost {
    fn signature(&self) -> BoxFuture<'static, Result<Signature>> {
        if let Some(known) = self.declared.signature.clone() {
            return async move { Ok(known) }.boxed();
        }
        // Whoever only asks what a function takes must not create its log.
        let opened = self.open(0, None);
        async move { Ok(opened.await?.1) }.boxed()
    }

    fn start(&self, replica: u16) -> BoxFuture<'static, Result<Arc<dyn Replica>>> {
        let opened = self.open(replica, self.log.clone());
        let (model, known) = (self.model.clone(), self.declared.signature.clone());
        async move {
            let (replica, signature) = opened.await?;
            if known.is_some_and(|known| known != signature) {
                let other = "it takes and gives something else than its declaration says";
                return Err(Error::new(Kind::Invalid, "start model").with("model", model).source(other));
            }
            let replica: Arc<dyn Replica> = Arc::new(replica);
            Ok(replica)
        }
        .boxed()
    }

    /// What is sent ahead lies in the channel until the thread takes it.
    fn takes_ahead(&self) -> bool {
        true
    }

    fn revision(&self) -> String {
        self.declared.revision.clone()
    }
}

impl ThreadHost {
    /// Starts a thread; resolves when it has loaded the function.
    fn open(&self, replica: u16, log: Option<PathBuf>) -> BoxFuture<'static, Result<(ThreadReplica, Signature)>> {
        let (asked, calls) = channel();
        let (opening, opened) = oneshot::channel();
        let model = self.model.clone();
        let calls = Calls {
            model: model.clone(),
            log,
            opening: Mutex::new(Some(opening)),
            asked: Mutex::new(calls),
            current: Mutex::default(),
        };
        let (open, name) = (self.declared.open.clone(), format!("{model}-{replica}"));
        async move {
            let started = tokio::task::spawn_blocking(move || {
                Python::attach(|py| py.import(MODULE)?.getattr("start")?.call1((open, name, calls)).map(drop))
            });
            let failed = || Error::new(Kind::Unavailable, "start thread of model").with("model", &model);
            match started.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(failed().source(error.to_string())),
                Err(error) => return Err(failed().source(error)),
            }
            let signature = opened.await.map_err(|source| failed().source(source))??;
            Ok((ThreadReplica { model, asked, lost: watch::Sender::new(false) }, signature))
        }
        .boxed()
    }
}

// === impl ThreadReplica ===

impl ThreadReplica {
    fn gone(&self) -> Error {
        let why = "its thread does not answer any more";
        Error::new(Kind::Unavailable, "call model").with("model", &self.model).source(why)
    }
}

impl Replica for ThreadReplica {
    fn call(&self, batch: RequestBatch) -> BoxFuture<'static, Result<Answers>> {
        let (waiting, answered) = oneshot::channel();
        let (gone, mut lost, mut guard) = (self.gone(), self.lost.subscribe(), LostIfDropped(Some(self.lost.clone())));
        let sent = !*lost.borrow() && self.asked.send(Request { batch, waiting }).is_ok();
        async move {
            let lost = pin!(lost.wait_for(|lost| *lost));
            let answers = match select(answered, lost).await {
                Either::Left((Ok(answers), _)) if sent => answers,
                _ => return Err(gone),
            };
            guard.came_back();
            answers
        }
        .boxed()
    }
}

impl LostIfDropped {
    fn came_back(&mut self) {
        self.0 = None;
    }
}

impl Drop for LostIfDropped {
    fn drop(&mut self) {
        if let Some(lost) = &self.0 {
            lost.send_replace(true);
        }
    }
}

// === impl Calls ===

#[pymethods]
impl Calls {
    /// The function is loaded; `signature` is what it takes and gives, as JSON.
    fn ready(&self, signature: &str) {
        self.opened(signature_of(signature));
    }

    /// The function cannot be loaded.
    fn refuse(&self, kind: &str, reason: String) {
        let failed = Error::new(kind_named(kind), "start model").with("model", &self.model);
        self.opened(Err(failed.source(reason)));
    }

    /// The rows of the next call, or `None` when nobody asks any more. Waits without the interpreter.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(Request { batch, waiting }) = py.detach(|| self.next()) else { return Ok(None) };
        *locked(&self.current) = Some((batch.ids, waiting));
        Ok(Some(batch.rows.to_pyarrow(py)?))
    }

    /// The answers to the call that was taken, and the rows that the function refuses: which, and why.
    fn answer(&self, py: Python<'_>, rows: &Bound<'_, PyAny>, refused: Vec<(usize, String)>) -> PyResult<()> {
        let rows = RecordBatch::from_pyarrow_bound(rows)?;
        let refused = refused.into_iter().map(|(row, reason)| Refused { row, reason }).collect();
        py.detach(|| self.answered(Ok(Answers { rows, refused })));
        Ok(())
    }

    /// No row of the call that was taken is answered.
    fn fail(&self, kind: &str, reason: String) {
        self.answered(Err(Error::new(kind_named(kind), "call model").with("model", &self.model).source(reason)));
    }
}

impl Calls {
    /// The next call that somebody still waits for.
    fn next(&self) -> Option<Request> {
        let asked = locked(&self.asked);
        asked.iter().find(|request| !request.waiting.is_canceled())
    }

    fn opened(&self, signature: Result<Signature>) {
        if let Some(opening) = locked(&self.opening).take() {
            // Whoever started it may be gone.
            let _ = opening.send(signature);
        }
    }

    fn answered(&self, answers: Result<Answers>) {
        let Some((ids, waiting)) = locked(&self.current).take() else { return };
        let answers = answers.and_then(|answers| {
            self.log.as_deref().map_or(Ok(()), |log| append(log, &ids))?;
            Ok(answers)
        });
        // The call may have been given up.
        let _ = waiting.send(answers);
    }
}

/// One write for all rows, so that the lines of several threads do not mix.
fn append(log: &Path, ids: &[RequestId]) -> Result<()> {
    let failed = |source| Error::new(Kind::Unavailable, "write log of model").with("log", log.display()).source(source);
    let lines: String = ids.iter().map(|id| format!("{:032x}\n", id.0)).collect();
    let mut file = OpenOptions::new().append(true).create(true).open(log).map_err(failed)?;
    file.write_all(lines.as_bytes()).map_err(failed)
}

/// The kind that `forebay.errors` calls so; a kind of another version of the package is our bug.
fn kind_named(name: &str) -> Kind {
    serde_json::from_value(name.into()).unwrap_or(Kind::Internal)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
