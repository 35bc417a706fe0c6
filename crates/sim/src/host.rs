//! Subtasks of one attempt on no thread at all: called one turn at a time, by whoever draws them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use forebay_core::time::Instant;
use forebay_core::{Error, Result};
use forebay_runtime::subtask::{Subtask, Turn};
use forebay_runtime::threads::{Place, SubtaskHost, guarded};

/// A flag that a waker sets.
#[derive(Default)]
pub(crate) struct Woken(AtomicBool);

/// The subtasks of one attempt; clones share them.
#[derive(Clone, Default)]
pub(crate) struct SimHost {
    seats: Arc<Mutex<Vec<Seat>>>,
}

struct Seat {
    subtask: Option<Subtask>,
    opened: bool,
    woken: Arc<Woken>,
    until: Option<Instant>,
}

struct SimPlace {
    host: SimHost,
    woken: Arc<Woken>,
}

// === impl Woken ===

impl Woken {
    /// A flag that is set.
    pub fn set() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

// === impl SimHost ===

impl SimHost {
    /// Seats whose subtask can go on at `now`.
    pub fn ready(&self, now: Instant) -> Vec<usize> {
        let seats = self.lock();
        let due = |seat: &Seat| seat.woken.is_set() || seat.until.is_some_and(|until| until <= now);
        let ready = seats.iter().enumerate().filter(|(_, seat)| seat.subtask.is_some() && due(seat));
        ready.map(|(place, _)| place).collect()
    }

    /// True once it was stopped, and before it has a subtask.
    pub fn is_stopped(&self) -> bool {
        self.lock().is_empty()
    }

    /// When the earliest subtask wants to be called.
    pub fn next_wake(&self) -> Option<Instant> {
        self.lock().iter().filter(|seat| seat.subtask.is_some()).filter_map(|seat| seat.until).min()
    }

    /// Calls one subtask once; the error that it failed with, if it did.
    pub fn turn(&self, place: usize, now: Instant) -> Option<Error> {
        let (mut subtask, mut opened, woken) = {
            let mut seats = self.lock();
            let seat = seats.get_mut(place)?;
            seat.until = None;
            (seat.subtask.take()?, seat.opened, Arc::clone(&seat.woken))
        };
        woken.take();
        let turn = guarded(&mut subtask, &mut opened, now);
        let until = match turn {
            Ok(Turn::Moved) => {
                woken.wake();
                None
            }
            Ok(Turn::Idle(until)) => until,
            Err(error) => {
                let seen = Error::new(error.kind(), error.chain());
                subtask.report_failure(error);
                close(subtask);
                return Some(seen);
            }
        };
        if let Some(seat) = self.lock().get_mut(place) {
            (seat.subtask, seat.opened, seat.until) = (Some(subtask), opened, until);
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SubtaskHost for SimHost {
    fn place(&self) -> Box<dyn Place> {
        Box::new(SimPlace { host: self.clone(), woken: Woken::set() })
    }

    fn stop(&self) {
        let seats = std::mem::take(&mut *self.lock());
        seats.into_iter().filter_map(|seat| seat.subtask).for_each(close);
    }
}

impl Place for SimPlace {
    fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.woken))
    }

    fn start(self: Box<Self>, subtask: Subtask) -> Result<()> {
        let seat = Seat { subtask: Some(subtask), opened: false, woken: self.woken, until: None };
        self.host.lock().push(seat);
        Ok(())
    }
}

fn close(mut subtask: Subtask) {
    // As on threads: closing runs operator code too, and a panic there changes nothing any more.
    let _ = catch_unwind(AssertUnwindSafe(|| subtask.close()));
}
