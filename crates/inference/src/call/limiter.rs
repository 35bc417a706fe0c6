//! How many request batches may be in flight to one model, and the permit that counts one of them.
//!
//! [`Limiter`] is the seam between the operator, which asks before it sends, and whoever decides. [`FixedLimiter`] never
//! moves its limit; an adaptive one measures answers and moves it, behind the same trait. A limiter never queues: the
//! refused keep their rows and are woken when it is worth asking again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use forebay_gate::limiter::Class;

/// Decides how many request batches may be in flight. Shared by every subtask that calls one model.
pub trait Limiter: Send + Sync {
    /// A permit for one request batch of `rows` rows, or `None` if the limit is reached.
    ///
    /// After `None`, `waker` is woken once when a permit comes back or the limit grows. Being woken promises nothing:
    /// another caller may have been faster, so the caller asks again and may be refused again.
    fn try_acquire(&self, rows: usize, waker: &Waker) -> Option<Permit>;

    /// How many request batches may be in flight now.
    fn limit(&self) -> usize;

    /// How many permits are out now. Above [`Limiter::limit`] for a while after the limit shrank.
    fn in_flight(&self) -> usize;

    /// How large a request batch should be now; `None` where the caller's own settings hold.
    fn shape(&self) -> Option<Shape> {
        None
    }
}

/// How large a request batch should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Most rows, at least 1.
    pub rows_max: usize,
    /// Longest wait of its first row.
    pub linger: Duration,
}

/// The right to one request batch in flight. Giving it back wakes everyone who was refused; a permit that is dropped is
/// given back as [`Class::Cancelled`], which tells the limiter nothing.
pub struct Permit {
    give_back: Option<Box<dyn FnOnce(Class) + Send>>,
}

/// A limiter whose limit never moves. It counts request batches, whatever their size.
#[derive(Clone)]
pub struct FixedLimiter {
    limit: usize,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    in_flight: usize,
    refused: Vec<Waker>,
}

// === impl Permit ===

impl Permit {
    /// A permit that runs `give_back` once when given back, on whatever thread that happens.
    pub fn new(give_back: impl FnOnce(Class) + Send + 'static) -> Self {
        Self { give_back: Some(Box::new(give_back)) }
    }

    /// A permit that nobody counts, for callers without a limiter.
    pub fn unlimited() -> Self {
        Self { give_back: None }
    }

    /// Gives the permit back, saying how the call ended.
    pub fn finish(mut self, class: Class) {
        if let Some(give_back) = self.give_back.take() {
            give_back(class);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(give_back) = self.give_back.take() {
            give_back(Class::Cancelled);
        }
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Permit")
    }
}

// === impl FixedLimiter ===

impl FixedLimiter {
    /// A limiter that lets `limit` request batches be in flight; 0 is taken as 1, since nothing would ever be sent.
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), shared: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self) {
        let refused = {
            let mut shared = self.lock();
            shared.in_flight -= 1;
            std::mem::take(&mut shared.refused)
        };
        refused.into_iter().for_each(Waker::wake);
    }
}

impl Limiter for FixedLimiter {
    fn try_acquire(&self, _rows: usize, waker: &Waker) -> Option<Permit> {
        let mut shared = self.lock();
        if shared.in_flight >= self.limit {
            if !shared.refused.iter().any(|other| other.will_wake(waker)) {
                shared.refused.push(waker.clone());
            }
            return None;
        }
        shared.in_flight += 1;
        let limiter = self.clone();
        Some(Permit::new(move |_| limiter.give_back()))
    }

    fn limit(&self) -> usize {
        self.limit
    }

    fn in_flight(&self) -> usize {
        self.lock().in_flight
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn counted() -> (Arc<Wakes>, Waker) {
        let wakes = Arc::new(Wakes::default());
        (Arc::clone(&wakes), Waker::from(wakes))
    }

    #[test]
    fn dropped_permit_gives_its_place_back_and_wakes_every_refused() {
        let limiter = FixedLimiter::new(1);
        let (first_wakes, first) = counted();
        let (second_wakes, second) = counted();
        let permit = limiter.try_acquire(8, &first).unwrap();
        assert!(limiter.try_acquire(8, &first).is_none());
        assert!(limiter.try_acquire(8, &first).is_none());
        assert!(limiter.try_acquire(8, &second).is_none());
        assert_eq!(limiter.in_flight(), 1);
        drop(permit);
        assert_eq!(limiter.in_flight(), 0);
        let woken = (first_wakes.0.load(Ordering::SeqCst), second_wakes.0.load(Ordering::SeqCst));
        assert_eq!(woken, (1, 1), "each refused caller is woken once, however often it asked");
        assert!(limiter.try_acquire(8, &second).is_some());
    }

    #[test]
    fn never_more_permits_than_the_limit() {
        let limiter = FixedLimiter::new(3);
        let waker = Waker::noop();
        let permits: Vec<Permit> = (0..10).filter_map(|_| limiter.try_acquire(1, waker)).collect();
        assert_eq!((permits.len(), limiter.in_flight()), (3, 3));
    }

    #[test]
    fn a_limit_of_zero_still_lets_one_through() {
        assert!(FixedLimiter::new(0).try_acquire(1, Waker::noop()).is_some());
    }
}
