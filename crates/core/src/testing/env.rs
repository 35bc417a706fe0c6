//! An [`Env`] on one thread: background work runs when told, in an order drawn from the seed, on a clock that jumps.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::future::BoxFuture;

use crate::disk::Disk;
use crate::env::Env;
use crate::hash::hash64_parts;
use crate::testing::MemoryDisk;
use crate::time::Instant;

/// A process in virtual time; clones share it.
#[derive(Clone)]
pub struct ManualEnv {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
}

struct Shared {
    state: Mutex<State>,
}

struct State {
    now: Instant,
    seed: u64,
    drawn: u64,
    next_task: u64,
    tasks: BTreeMap<u64, Task>,
    sleepers: Vec<(Instant, Waker)>,
}

struct Task {
    work: Option<BoxFuture<'static, ()>>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

struct Sleep {
    shared: Arc<Shared>,
    until: Instant,
}

// === impl ManualEnv ===

impl ManualEnv {
    /// An environment over an empty [`MemoryDisk`].
    pub fn new(seed: u64) -> Self {
        Self::with_disk(seed, Arc::new(MemoryDisk::new()))
    }

    /// An environment over `disk`.
    pub fn with_disk(seed: u64, disk: Arc<dyn Disk>) -> Self {
        let state =
            State { now: Instant(1), seed, drawn: 0, next_task: 0, tasks: BTreeMap::new(), sleepers: Vec::new() };
        Self { shared: Arc::new(Shared { state: Mutex::new(state) }), disk }
    }

    /// Runs one piece of background work that can go on; false if none can.
    pub fn step(&self) -> bool {
        let Some((number, mut work, woken)) = self.shared.pick() else { return false };
        let waker = Waker::from(Arc::clone(&woken));
        if work.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            let mut state = self.shared.lock();
            if let Some(task) = state.tasks.get_mut(&number) {
                task.work = Some(work);
            }
        } else {
            self.shared.lock().tasks.remove(&number);
        }
        true
    }

    /// Runs background work until nothing can go on without time passing.
    pub fn settle(&self) {
        while self.step() {}
    }

    /// When the earliest sleep ends, if any sleeps.
    pub fn next_wake(&self) -> Option<Instant> {
        self.shared.lock().sleepers.iter().map(|(until, _)| *until).min()
    }

    /// Moves the clock by `duration`, waking what sleeps until then. Runs nothing.
    pub fn advance(&self, duration: Duration) {
        let until = self.shared.lock().now + duration;
        self.advance_to(until);
    }

    /// Moves the clock to `until`, never back.
    pub fn advance_to(&self, until: Instant) {
        let due: Vec<Waker> = {
            let mut state = self.shared.lock();
            state.now = state.now.max(until);
            let now = state.now;
            let (due, rest) = std::mem::take(&mut state.sleepers).into_iter().partition(|(until, _)| *until <= now);
            state.sleepers = rest;
            let due: Vec<(Instant, Waker)> = due;
            due.into_iter().map(|(_, waker)| waker).collect()
        };
        due.into_iter().for_each(Waker::wake);
    }

    /// Runs `work` to its end, running background work and moving the clock as needed.
    ///
    /// # Panics
    /// If nothing can go on any more: `work` waits for something that will never happen.
    pub fn block_on<T: 'static>(&self, work: impl Future<Output = T> + 'static) -> T {
        let mut work: Pin<Box<dyn Future<Output = T>>> = Box::pin(work);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        loop {
            if woken.0.swap(false, Ordering::SeqCst)
                && let Poll::Ready(value) = work.as_mut().poll(&mut Context::from_waker(&waker))
            {
                return value;
            }
            if self.step() || woken.0.load(Ordering::SeqCst) {
                continue;
            }
            let next = self.next_wake().expect("work waits for something that can still happen");
            self.advance_to(next);
        }
    }

    /// Drops all background work, as the end of a process does.
    pub fn kill(&self) {
        let (tasks, sleepers) = {
            let mut state = self.shared.lock();
            (std::mem::take(&mut state.tasks), std::mem::take(&mut state.sleepers))
        };
        drop(tasks);
        drop(sleepers);
    }
}

impl Env for ManualEnv {
    fn now(&self) -> Instant {
        self.shared.lock().now
    }

    fn wall_micros(&self) -> i64 {
        1_700_000_000_000_000 + self.shared.lock().now.0 as i64
    }

    fn random(&self) -> u64 {
        self.shared.lock().draw()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let until = self.now() + duration;
        Box::pin(Sleep { shared: Arc::clone(&self.shared), until })
    }

    fn spawn(&self, work: BoxFuture<'static, ()>) {
        let mut state = self.shared.lock();
        state.next_task += 1;
        let number = state.next_task;
        state.tasks.insert(number, Task { work: Some(work), woken: Arc::new(Woken(AtomicBool::new(true))) });
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send + 'static>) {
        self.spawn(Box::pin(async move { work() }));
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one woken task, drawn by the seed.
    fn pick(&self) -> Option<(u64, BoxFuture<'static, ()>, Arc<Woken>)> {
        let mut state = self.lock();
        let ready: Vec<u64> = state
            .tasks
            .iter()
            .filter(|(_, task)| task.work.is_some() && task.woken.0.load(Ordering::SeqCst))
            .map(|(number, _)| *number)
            .collect();
        if ready.is_empty() {
            return None;
        }
        let number = ready[(state.draw() % ready.len() as u64) as usize];
        let task = state.tasks.get_mut(&number)?;
        task.woken.0.store(false, Ordering::SeqCst);
        Some((number, task.work.take()?, Arc::clone(&task.woken)))
    }
}

// === impl State ===

impl State {
    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        hash64_parts(&[&self.seed.to_le_bytes(), &self.drawn.to_le_bytes()])
    }
}

// === impl Woken ===

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

// === impl Sleep ===

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.shared.lock();
        if state.now >= self.until {
            return Poll::Ready(());
        }
        state.sleepers.push((self.until, context.waker().clone()));
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_moves_only_when_nothing_else_can() {
        let env = ManualEnv::new(1);
        let inner = env.clone();
        let woke_at = env.block_on(async move {
            inner.sleep(Duration::from_secs(5)).await;
            inner.now()
        });
        assert_eq!(woke_at, Instant(1) + Duration::from_secs(5));
    }

    #[test]
    fn one_seed_gives_one_order() {
        let order = |seed| {
            let env = ManualEnv::new(seed);
            let seen: Arc<Mutex<Vec<u32>>> = Arc::default();
            for number in 0..8 {
                let seen = Arc::clone(&seen);
                env.spawn(Box::pin(async move { seen.lock().unwrap().push(number) }));
            }
            env.settle();

            seen.lock().unwrap().clone()
        };
        assert_eq!(order(3), order(3));
        assert!((0..10).any(|seed| order(seed) != order(3)));
    }
}
