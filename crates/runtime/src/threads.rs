//! The embedded host: a thread a subtask, parked when there is nothing to do.
//!
//! A panic in an operator is caught at the thread's edge, reported as `Internal`, and costs the region, not the process.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::thread::JoinHandle;

use forebay_core::env::Env;
use forebay_core::time::Instant;
use forebay_core::{Error, Kind, Result};

use crate::subtask::{Subtask, Turn};

/// What runs subtasks: threads in production, a seeded loop in simulation.
pub trait SubtaskHost: Send + Sync {
    /// A place for one subtask; its waker exists before the subtask does.
    fn place(&self) -> Box<dyn Place>;

    /// Stops calling the subtasks and frees them. Returns when none is being called any more.
    fn stop(&self);
}

/// A place for one subtask.
pub trait Place: Send {
    /// Wakes the subtask that will be here: from any thread, coalesced, harmless after the end.
    fn waker(&self) -> Waker;

    /// Opens the subtask and calls it until the host stops or it fails.
    ///
    /// # Errors
    /// `Exhausted` if it cannot be run here (no thread to be had).
    fn start(self: Box<Self>, subtask: Subtask) -> Result<()>;
}

/// A thread a subtask.
pub struct Threads {
    env: Arc<dyn Env>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    running: Mutex<Vec<(Arc<Parker>, JoinHandle<()>)>>,
}

struct ThreadPlace {
    env: Arc<dyn Env>,
    shared: Arc<Shared>,
    parker: Arc<Parker>,
}

#[derive(Default)]
struct Parker {
    woken: Mutex<bool>,
    changed: Condvar,
}

// === impl Threads ===

impl Threads {
    /// A host without subtasks.
    pub fn new(env: Arc<dyn Env>) -> Self {
        Self { env, shared: Arc::default() }
    }
}

impl SubtaskHost for Threads {
    fn place(&self) -> Box<dyn Place> {
        let (env, shared) = (Arc::clone(&self.env), Arc::clone(&self.shared));
        Box::new(ThreadPlace { env, shared, parker: Arc::default() })
    }

    fn stop(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let running = std::mem::take(&mut *self.shared.running.lock().unwrap_or_else(PoisonError::into_inner));
        for (parker, thread) in running {
            parker.unpark();
            // A panic was caught and reported inside the thread.
            let _ = thread.join();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}

// === impl ThreadPlace ===

impl Place for ThreadPlace {
    fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.parker))
    }

    fn start(self: Box<Self>, subtask: Subtask) -> Result<()> {
        let Self { env, shared, parker } = *self;
        let (parked, flag) = (Arc::clone(&parker), Arc::clone(&shared));
        let name = format!("subtask-{}-{}", subtask.id().task, subtask.id().subtask);
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || run(subtask, &*env, &parked, &flag.stopped))
            .map_err(|source| Error::new(Kind::Exhausted, "start thread of subtask").source(source))?;
        shared.running.lock().unwrap_or_else(PoisonError::into_inner).push((parker, thread));
        Ok(())
    }
}

/// Calls `subtask` until it fails or the host stops.
fn run(mut subtask: Subtask, env: &dyn Env, parker: &Parker, stopped: &AtomicBool) {
    let mut opened = false;
    while !stopped.load(Ordering::SeqCst) {
        match guarded(&mut subtask, &mut opened, env.now()) {
            Ok(Turn::Moved) => {}
            Ok(Turn::Idle(until)) => parker.park(until, env),
            Err(error) => {
                subtask.report_failure(error);
                break;
            }
        }
    }
    // Closing runs operator code too; a panic there changes nothing any more.
    let _ = catch_unwind(AssertUnwindSafe(|| subtask.close()));
}

/// One call of the subtask with panics turned into `Internal`; shared with the simulated host.
///
/// # Errors
/// Those of the subtask, `Internal` for a panic.
pub fn guarded(subtask: &mut Subtask, opened: &mut bool, now: Instant) -> Result<Turn> {
    let call = AssertUnwindSafe(|| {
        if !*opened {
            *opened = true;
            subtask.open()?;
        }
        subtask.turn(now)
    });
    catch_unwind(call).unwrap_or_else(|panic| {
        Err(Error::new(Kind::Internal, "run operator").source(format!("panic: {}", panic_text(&*panic))))
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("of unknown kind")
}

// === impl Parker ===

impl Parker {
    fn unpark(&self) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    /// Waits for a wake, or until `until`.
    fn park(&self, until: Option<Instant>, env: &dyn Env) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        while !*woken {
            match until {
                None => woken = self.changed.wait(woken).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.since(env.now());
                    if left.is_zero() {
                        break;
                    }
                    woken = self.changed.wait_timeout(woken, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        *woken = false;
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.unpark();
    }
}
