//! Carries out what the core decides: asks the journal, starts and calls replicas, tells callers. Decides nothing itself.
//!
//! The lock is held only while the core steps; permits, answers and replicas are dropped outside of it, because others'
//! code runs then. Whoever drives the core carries out what others left as well, one at a time, so that actions happen in
//! the order in which the core gave them, whichever threads its events come from.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use forebay_core::env::Env;
use forebay_core::{Error, Kind, Result};
use forebay_gate::limiter::Class;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{AbortHandle, Abortable, BoxFuture, Either, ready, select};

use super::core::Core;
use super::events::{Action, Counters, DispatchId, Event, Failure, Replicas, SubmissionId};
use super::waiting::Waiting;
use crate::call::Permit;
use crate::hosts::{Answers, Host, Replica};
use crate::journal::{Appended, Journal};
use crate::protocols::{class_of, is_forbidden, may_have_worked, retry_after};
use crate::request::{Outcome, RequestBatch, RequestId};

pub(super) type Told = Result<Vec<Outcome>, Failure>;

/// The service's inside, shared by clones and background work.
pub(super) struct Shell {
    pub(super) env: Arc<dyn Env>,
    pub(super) host: Arc<dyn Host>,
    pub(super) journal: Option<Journal>,
    pub(super) timeout: Duration,
    pub(super) idempotent: bool,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    core: Core,
    /// What the core said and nobody has begun to carry out.
    actions: VecDeque<Action>,
    /// Somebody carries actions out.
    acting: bool,
    pub(super) replicas: BTreeMap<u16, Loaded>,
    pub(super) callers: BTreeMap<SubmissionId, Caller>,
    submissions: u64,
    waiting: Waiting,
    cancel_on_drop: bool,
}

/// A replica and the way to give up each of its running calls.
pub(super) struct Loaded {
    pub(super) replica: Arc<dyn Replica>,
    calls: BTreeMap<DispatchId, AbortHandle>,
    /// Resolves when the end of its last call was told.
    last: Option<Ended>,
}

/// Resolves, with whatever, when the end of a call was told, or the call was given up.
type Ended = oneshot::Receiver<()>;

/// Lets others carry actions out, even if one of them panicked.
struct Acting<'a>(&'a Shell);

pub(super) struct Caller {
    pub(super) permit: Option<Permit>,
    tell: Option<oneshot::Sender<Told>>,
}

/// The planted bug `cancel_on_drop`: dropping the caller's future cancels its rows.
pub(super) struct CancelOnDrop {
    shell: Option<Arc<Shell>>,
    submission: SubmissionId,
}

// === impl State ===

impl State {
    pub(super) fn new(core: Core) -> Self {
        let cancel_on_drop = core.cancels_on_drop();
        Self {
            core,
            actions: VecDeque::new(),
            acting: false,
            replicas: BTreeMap::new(),
            callers: BTreeMap::new(),
            submissions: 0,
            waiting: Waiting::default(),
            cancel_on_drop,
        }
    }
}

// === impl Shell ===

impl Shell {
    pub(super) fn register(&self, permit: Permit, tell: oneshot::Sender<Told>) -> SubmissionId {
        let mut state = self.lock();
        state.submissions += 1;
        let submission = SubmissionId(state.submissions);
        state.callers.insert(submission, Caller { permit: Some(permit), tell: Some(tell) });
        submission
    }

    pub(super) fn cancel_on_drop(self: &Arc<Self>, submission: SubmissionId) -> Option<CancelOnDrop> {
        let wanted = self.lock().cancel_on_drop;
        wanted.then(|| CancelOnDrop { shell: Some(Arc::clone(self)), submission })
    }

    pub(super) fn counters(&self) -> Counters {
        self.lock().core.counters().clone()
    }

    pub(super) fn replicas(&self) -> Replicas {
        self.lock().core.replicas()
    }

    pub(super) fn open_rows(&self) -> usize {
        self.lock().core.open_rows()
    }

    /// Steps the core and carries out what it says, unless somebody does already; then it is carried out by them.
    pub(super) fn drive(self: &Arc<Self>, event: Event) {
        {
            let now = self.env.now();
            let state = &mut *self.lock();
            state.actions.extend(state.core.step(event, now));
            if std::mem::replace(&mut state.acting, true) {
                return;
            }
        }
        let acting = Acting(self);
        while let Some(action) = acting.next() {
            self.carry_out(action);
        }
    }

    fn carry_out(self: &Arc<Self>, action: Action) {
        match action {
            Action::Start { replica, after } => self.start(replica, after),
            Action::Discard { replica } => self.discard(replica),
            Action::Lookup { submission, ids } => self.lookup(submission, ids),
            Action::Dispatch { dispatch, replica, submission, batch } => {
                self.call(dispatch, replica, submission, batch);
            }
            Action::Append { dispatch, ids, rows } => {
                self.append(dispatch, ids, move |journal, ids| journal.append_answers(ids, rows));
            }
            Action::AppendFailure { dispatch, ids, failure } => {
                let Failure { kind, reason, .. } = failure;
                self.append(dispatch, ids, move |journal, ids| journal.append_failures(ids, kind, &reason));
            }
            Action::Release { submission, class } => {
                let permit = self.lock().callers.get_mut(&submission).and_then(|caller| caller.permit.take());
                if let Some(permit) = permit {
                    permit.finish(class);
                }
            }
            Action::Tell { submission, result } => {
                let caller = self.lock().callers.remove(&submission);
                if let Some(Caller { tell: Some(tell), permit }) = caller {
                    drop(permit);
                    // The caller may be gone; the journal keeps the answer for whoever asks again.
                    let _ = tell.send(result);
                }
            }
        }
    }

    fn start(self: &Arc<Self>, replica: u16, after: Duration) {
        let shell = Arc::clone(self);
        self.env.spawn(Box::pin(async move {
            if !after.is_zero() {
                shell.env.sleep(after).await;
            }
            match caught("start replica", || shell.host.start(replica)).await {
                Ok(loaded) => {
                    let loaded = Loaded { replica: loaded, calls: BTreeMap::new(), last: None };
                    shell.lock().replicas.insert(replica, loaded);
                    shell.drive(Event::ReplicaReady { replica });
                }
                // Its files may be gone with the job.
                Err(_) if shell.lock().core.is_over() => {}
                Err(error) => {
                    if shell.lock().core.replicas().wanted > replica {
                        tracing::warn!(replica, error = error.chain(), "replica could not be started");
                    }
                    shell.drive(Event::ReplicaFailed { replica, failure: failure_of(&error) });
                }
            }
        }));
    }

    fn discard(&self, replica: u16) {
        let loaded = self.lock().replicas.remove(&replica);
        loaded.iter().flat_map(|loaded| loaded.calls.values()).for_each(AbortHandle::abort);
        drop(loaded);
    }

    pub(super) fn end(self: &Arc<Self>) {
        let over = Error::new(Kind::Cancelled, "answer rows").source("the job is over");
        self.drive(Event::End { failure: failure_of(&over) });
        let replicas: Vec<u16> = self.lock().replicas.keys().copied().collect();
        replicas.into_iter().for_each(|replica| self.discard(replica));
    }

    fn lookup(self: &Arc<Self>, submission: SubmissionId, ids: Vec<RequestId>) {
        let Some(journal) = self.journal.clone() else { return };
        let mut asked = Box::pin(async move {
            match journal.lookup(&ids).await {
                Ok(known) => Event::Known { submission, known },
                Err(error) => Event::JournalFailed { failure: failure_of(&error) },
            }
        });
        // Rows that were never asked are unknown without a look at the disk, and need not wait for a thread that is free.
        if let Some(event) = (&mut asked).now_or_never() {
            return self.drive(event);
        }
        let shell = Arc::clone(self);
        self.env.spawn(Box::pin(async move { shell.drive(asked.await) }));
    }

    fn call(self: &Arc<Self>, dispatch: DispatchId, replica: u16, submission: SubmissionId, batch: RequestBatch) {
        let (abort, registration) = AbortHandle::new_pair();
        let (ended, end) = oneshot::channel();
        let loaded = self.lock().replicas.get_mut(&replica).map(|loaded| {
            loaded.calls.insert(dispatch, abort);
            (Arc::clone(&loaded.replica), loaded.last.replace(end))
        });
        let (shell, remote) = (Arc::clone(self), self.host.calls_max() > 1);
        // Made here and not in the background, so that a replica begins its calls in the order of dispatches.
        let call: BoxFuture<'static, Result<Answers>> = match loaded {
            Some((loaded, _)) if remote => Box::pin(Arc::clone(self).call_hedged(loaded, submission, batch)),
            Some((loaded, before)) => Box::pin(Arc::clone(self).call_in_turn(&*loaded, batch, before)),
            None => ready(Err(Error::new(Kind::Unavailable, "call replica").source("it is gone"))).boxed(),
        };
        self.env.spawn(Box::pin(async move {
            // Dropped when the end of this call was told.
            let _ended = ended;
            let answer = Abortable::new(call, registration).await;
            // An aborted call was given up by the core, which waits for nothing from it.
            let Ok(answer) = answer else { return };
            if let Some(loaded) = shell.lock().replicas.get_mut(&replica) {
                loaded.calls.remove(&dispatch);
            }
            shell.drive(match answer {
                Ok(answers) => {
                    shell.lock().waiting.answered();
                    Event::Answered { dispatch, result: Ok(answers) }
                }
                Err(error) => {
                    tracing::debug!(replica, error = error.chain(), "call failed");
                    let mut failure = failure_of(&error);
                    failure.final_ |= remote && !shell.idempotent && may_have_worked(&error);
                    if shell.host.many_servers() && failure.class != Class::Answered {
                        failure.class = Class::Cancelled;
                    }
                    let said = remote.then(|| shell.lock().waiting.failed(shell.env.now(), &failure)).flatten();
                    said.into_iter().for_each(|said| tracing::warn!("{said}"));
                    match failure.kind {
                        Kind::Timeout if !remote => Event::ReplicaLost { replica, failure },
                        _ => Event::Answered { dispatch, result: Err(failure) },
                    }
                }
            });
        }));
    }

    /// One call of a local replica, which begins when the one `before` has ended. If it fails, it does so after that one.
    fn call_in_turn(
        self: Arc<Self>,
        replica: &dyn Replica,
        batch: RequestBatch,
        before: Option<Ended>,
    ) -> impl Future<Output = Result<Answers>> + Send + use<> {
        let (rows, call) = (batch.len(), caught("call replica", || replica.call(batch)));
        async move {
            let Some(before) = before else { return self.timed(call, rows).await };
            match select(call, before).await {
                Either::Left((answer, before)) => {
                    if answer.is_err() {
                        // Both ways to resolve mean that it ended.
                        let _ = before.await;
                    }
                    answer
                }
                Either::Right((_, call)) => self.timed(call, rows).await,
            }
        }
    }

    /// The answer to `call` of `rows` rows, which begins now.
    pub(super) async fn timed(&self, call: BoxFuture<'static, Result<Answers>>, rows: usize) -> Result<Answers> {
        match select(call, self.env.sleep(self.timeout)).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => Err(Error::new(Kind::Timeout, "call replica")
                .with("rows", rows)
                .with("timeout", format!("{:?}", self.timeout))),
        }
    }

    fn append(
        self: &Arc<Self>,
        dispatch: DispatchId,
        ids: Vec<RequestId>,
        append: impl FnOnce(&Journal, Vec<RequestId>) -> BoxFuture<'static, Result<Appended>>,
    ) {
        let Some(journal) = self.journal.clone() else { return };
        // Made here and not in the background, so that appends take effect in the order of answers.
        let appended = append(&journal, ids.clone());
        let shell = Arc::clone(self);
        self.env.spawn(Box::pin(async move {
            let first = match appended.await {
                Ok(Appended { duplicates }) => first_outcomes(&journal, &ids, duplicates).await,
                Err(error) => Err(error),
            };
            shell.drive(match first {
                Ok(first) => Event::Durable { dispatch, first },
                Err(error) => Event::JournalFailed { failure: failure_of(&error) },
            });
        }));
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Acting ===

impl Acting<'_> {
    /// The next action; without one, whoever drives next carries out.
    fn next(&self) -> Option<Action> {
        let mut state = self.0.lock();
        let next = state.actions.pop_front();
        state.acting = next.is_some();
        next
    }
}

impl Drop for Acting<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().acting = false;
        }
    }
}

// === impl CancelOnDrop ===

impl CancelOnDrop {
    pub(super) fn disarm(mut self) {
        self.shell = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(shell) = self.shell.take() {
            shell.drive(Event::Cancel { submission: self.submission });
        }
    }
}

/// What the journal holds for the rows at `duplicates`, which someone else finished first.
async fn first_outcomes(journal: &Journal, ids: &[RequestId], duplicates: Vec<usize>) -> Result<Vec<(usize, Outcome)>> {
    if duplicates.is_empty() {
        return Ok(Vec::new());
    }
    let asked: Vec<RequestId> = duplicates.iter().filter_map(|place| ids.get(*place).copied()).collect();
    let known = journal.lookup(&asked).await?;
    Ok(duplicates.into_iter().zip(known).filter_map(|(place, outcome)| Some((place, outcome?))).collect())
}

/// What `begin` begins, with a panic turned into an error, so that a bug in a host costs a call and not the service.
pub(super) fn caught<T: Send + 'static>(
    attempted: &'static str,
    begin: impl FnOnce() -> BoxFuture<'static, Result<T>>,
) -> BoxFuture<'static, Result<T>> {
    let failed =
        move |panic: Box<dyn Any + Send>| Err(Error::new(Kind::Internal, attempted).source(panic_text(panic.as_ref())));
    match catch_unwind(AssertUnwindSafe(begin)) {
        Ok(work) => AssertUnwindSafe(work).catch_unwind().map(move |ended| ended.unwrap_or_else(failed)).boxed(),
        Err(panic) => ready(failed(panic)).boxed(),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".to_string())
}

fn failure_of(error: &Error) -> Failure {
    let (kind, class, retry_after) = (error.kind(), class_of(error), retry_after(error));
    Failure { kind, reason: error.chain(), class, retry_after, final_: is_forbidden(error) }
}
