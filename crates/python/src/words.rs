//! What a job is told while it runs: to end, or to go on at another parallelism after a stop.
//!
//! Whichever thread says what, and when: the job's own thread asks after each part what comes next. A part that is suspended for
//! the next one looks like any other that was stopped; only here is known why. A word that comes between two parts holds for
//! the next one, and one that comes before the first for that.

use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use forebay_core::{Error, Kind};
use forebay_engine::{Prepared, Stop};
use futures::channel::oneshot::{Receiver, Sender, channel};

use crate::background::Promise;
use crate::errors::Failure;

/// Resolves when the next part runs, or the job is at its end.
pub type Up = Arc<Promise<Result<(), Failure>>>;

/// What follows a part.
pub struct Next {
    /// The job's parallelism in it.
    pub parallelism: NonZeroU16,
    /// The job, planned with that.
    pub prepared: Prepared,
}

/// What a job was told.
#[derive(Default)]
pub struct Words(Mutex<State>);

#[derive(Default)]
struct State {
    /// Ends the part that runs, unless it was told to end.
    part: Option<Sender<Stop>>,
    /// How the job shall end.
    last: Option<Stop>,
    /// What follows the part that runs, and who waits for it.
    next: Option<(Next, Up)>,
    /// Who waits for the part that runs.
    up: Option<Up>,
    is_over: bool,
}

// === impl Words ===

impl Words {
    /// A part begins; what comes out ends it.
    pub fn begin(&self) -> Receiver<Stop> {
        let (part, told) = channel();
        let mut state = self.lock();
        state.part = Some(part);
        if let Some(word) = state.last.or(state.next.as_ref().map(|_| Stop::Suspend)) {
            state.tell(word);
        }
        told
    }

    /// The user wants the job to end so. The first such word counts.
    pub fn end(&self, how: Stop) {
        let mut state = self.lock();
        if state.last.is_none() {
            state.last = Some(how);
            state.tell(how);
        }
    }

    /// Suspends the part that runs, for `next` to follow it.
    ///
    /// # Errors
    /// `Invalid` if the job has ended, or was told to.
    pub fn follow_with(&self, next: Next) -> Result<Up, Failure> {
        let mut state = self.lock();
        state.check()?;
        let up = Up::default();
        state.next = Some((next, Arc::clone(&up)));
        state.tell(Stop::Suspend);
        Ok(up)
    }

    /// Refuses where [`Words::follow_with`] would.
    ///
    /// # Errors
    /// `Invalid` if the job has ended, or was told to.
    pub fn check(&self) -> Result<(), Failure> {
        self.lock().check()
    }

    /// What follows a part that has ended; nothing if it `completed` the job.
    pub fn next(&self, completed: bool) -> Option<Next> {
        let mut state = self.lock();
        let (next, up) = state.next.take()?;
        state.up = Some(up);
        (!completed && state.last != Some(Stop::Suspend)).then_some(next)
    }

    /// The part runs.
    pub fn is_up(&self) {
        self.told(Ok(()));
    }

    /// The job is at its end.
    pub fn over(&self, ended: Result<(), Failure>) {
        {
            let mut state = self.lock();
            state.is_over = true;
            state.up = state.next.take().map(|(_, up)| up).or_else(|| state.up.take());
        }
        self.told(ended);
    }

    fn told(&self, what: Result<(), Failure>) {
        let up = self.lock().up.take();
        up.iter().for_each(|up| up.set(what.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn tell(&mut self, how: Stop) {
        if let Some(part) = self.part.take() {
            // It may have ended by itself.
            let _ = part.send(how);
        }
    }

    fn check(&self) -> Result<(), Failure> {
        let why = match (self.is_over, self.last) {
            (true, _) => "the job has ended",
            (false, Some(_)) => "the job was told to end",
            (false, None) => return Ok(()),
        };
        Err(Error::new(Kind::Invalid, "scale job").source(why).into())
    }
}
