//! The disk as one process reaches it: every operation is a place where the process can be killed, delayed or refused.
//!
//! [`SimDisk`] is a folder of the world's disk. Its operations happen when polled, after the process was given up at least
//! once, so another process may come in between any two. [`Gate`] decides what goes wrong on the way.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use forebay_core::disk::{Disk, DiskEntry};
use forebay_core::env::Env;
use forebay_core::hash::hash64;
use forebay_core::testing::{ManualEnv, MemoryDisk};
use forebay_core::{Error, Kind, Result};
use futures::future::BoxFuture;

use crate::random::{Random, Trace};
use crate::timed;

/// How often operations of one process are slow or fail.
#[derive(Debug, Clone, Default)]
pub(crate) struct Weather {
    /// Operations that take long, per mille; only of writes and syncs.
    pub slow_per_mille: u64,
    /// How long at most.
    pub slow_max: Duration,
    /// How long a read of a source with event time takes at most: its files come from far, so that checkpoints come in between.
    pub far_max: Duration,
    /// Operations that fail, per mille, half of them after they took effect.
    pub fail_per_mille: u64,
    /// Syncs that fail, per mille.
    pub fail_sync_per_mille: u64,
    /// Failures that are left in this seed.
    pub failures_left: Arc<AtomicU32>,
}

/// What every operation of one process passes, before and after.
pub(crate) struct Gate {
    env: ManualEnv,
    trace: Trace,
    journal_failed: AtomicBool,
    state: Mutex<State>,
}

struct State {
    random: Random,
    weather: Weather,
    trap: Option<Trap>,
    sprung: bool,
}

/// Where a process is caught: the `nth` passing of an operation on a path that contains `part`.
#[derive(Debug, Clone)]
pub(crate) struct Trap {
    pub part: &'static str,
    pub nth: u32,
}

/// A folder of the world's disk.
#[derive(Clone)]
pub(crate) struct SimDisk {
    pub disk: MemoryDisk,
    pub prefix: String,
    pub gate: Arc<Gate>,
}

/// Gives the process up once.
struct Yield(bool);

// === impl Gate ===

impl Gate {
    pub fn new(env: ManualEnv, trace: Trace, random: Random, weather: Weather) -> Self {
        Self {
            env,
            trace,
            journal_failed: AtomicBool::new(false),
            state: Mutex::new(State { random, weather, trap: None, sprung: false }),
        }
    }

    pub fn set_trap(&self, trap: Trap) {
        self.lock().trap = Some(trap);
    }

    /// True once, after the trap sprang.
    pub fn take_sprung(&self) -> bool {
        std::mem::take(&mut self.lock().sprung)
    }

    /// From here on everything works, at once.
    pub fn heal(&self) {
        self.lock().weather = Weather::default();
    }

    /// Whether an operation on the journal ever failed: then the process opens it again, and may run rows again whose
    /// answers were on their way into it.
    pub fn journal_failed(&self) -> bool {
        self.journal_failed.load(Ordering::SeqCst)
    }

    /// Notes how an operation ended.
    fn ended<T>(&self, path: &str, result: Result<T>) -> Result<T> {
        if result.is_err() && path.contains("journal/") || path.contains("journal-r2/") {
            self.journal_failed.store(true, Ordering::SeqCst);
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a passing of `path` for the trap.
    fn spring(&self, path: &str) -> bool {
        let mut state = self.lock();
        let Some(trap) = state.trap.as_mut().filter(|trap| path.contains(trap.part)) else { return false };
        trap.nth = trap.nth.saturating_sub(1);
        let sprung = trap.nth == 0;
        if sprung {
            (state.trap, state.sprung) = (None, true);
        }
        sprung
    }

    /// A failure of the operation, if one is due.
    fn fails(&self, sync: bool, attempted: &'static str, path: &str) -> Result<()> {
        let mut state = self.lock();
        let per_mille = state.weather.fail_per_mille + if sync { state.weather.fail_sync_per_mille } else { 0 };
        if per_mille == 0 || !state.random.chance(per_mille) {
            return Ok(());
        }
        let left = &state.weather.failures_left;
        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            return Ok(());
        }
        Err(Error::new(Kind::Unavailable, attempted).with("file", path).source("drawn by the simulation"))
    }

    async fn before(&self, write: bool, attempted: &'static str, path: &str) -> Result<()> {
        let (slow, stay) = {
            let State { random, weather, .. } = &mut *self.lock();
            let far = attempted == "read file" && !weather.far_max.is_zero() && timed::is_source(path);
            let slow = far || write && random.chance(weather.slow_per_mille);
            let micros = if far { weather.far_max } else { weather.slow_max }.as_micros() as u64;
            (slow.then(|| Duration::from_micros(random.within(1, micros.max(1)))), !write && random.chance(700))
        };
        let sprung = self.spring(path);
        match slow {
            Some(slow) => self.env.sleep(slow).await,
            None if stay && !sprung => {}
            None => Yield(false).await,
        }
        self.trace.note(attempted, path.as_bytes());
        self.fails(attempted == "sync file", attempted, path)
    }

    async fn after(&self, attempted: &'static str, path: &str) -> Result<()> {
        if self.spring(path) || self.lock().random.chance(300) {
            Yield(false).await;
        }
        self.fails(false, attempted, path)
    }
}

// === impl SimDisk ===

impl SimDisk {
    fn full(&self, path: &str) -> String {
        match (self.prefix.is_empty(), path.is_empty()) {
            (true, _) => path.to_string(),
            (false, true) => self.prefix.clone(),
            (false, false) => format!("{}/{path}", self.prefix),
        }
    }

    fn look<T: Send + 'static>(
        &self,
        attempted: &'static str,
        path: &str,
        work: impl FnOnce(MemoryDisk, String) -> BoxFuture<'static, Result<T>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        let (gate, disk, path) = (Arc::clone(&self.gate), self.disk.clone(), self.full(path));
        Box::pin(async move {
            let done = async {
                gate.before(false, attempted, &path).await?;
                work(disk, path.clone()).await
            };
            let done = done.await;
            gate.ended(&path, done)
        })
    }

    fn change<T: Send + 'static>(
        &self,
        attempted: &'static str,
        path: &str,
        work: impl FnOnce(MemoryDisk, String) -> BoxFuture<'static, Result<T>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        let (gate, disk, path) = (Arc::clone(&self.gate), self.disk.clone(), self.full(path));
        Box::pin(async move {
            let done = async {
                gate.before(true, attempted, &path).await?;
                let done = work(disk, path.clone()).await?;
                gate.after(attempted, &path).await?;
                Ok(done)
            };
            let done = done.await;
            gate.ended(&path, done)
        })
    }
}

impl Disk for SimDisk {
    fn read(&self, path: &str) -> BoxFuture<'static, Result<Option<Bytes>>> {
        self.look("read file", path, |disk, path| disk.read(&path))
    }

    fn read_at(&self, path: &str, start: u64, length: usize) -> BoxFuture<'static, Result<Option<Bytes>>> {
        self.look("read file", path, move |disk, path| disk.read_at(&path, start, length))
    }

    fn append(&self, path: &str, bytes: Bytes) -> BoxFuture<'static, Result<()>> {
        self.gate.trace.note("bytes", &hash64(&bytes).to_le_bytes());
        self.change("append to file", path, move |disk, path| disk.append(&path, bytes))
    }

    fn sync(&self, path: &str) -> BoxFuture<'static, Result<()>> {
        self.change("sync file", path, |disk, path| disk.sync(&path))
    }

    fn sync_folder(&self, folder: &str) -> BoxFuture<'static, Result<()>> {
        self.change("sync folder", folder, |disk, folder| disk.sync_folder(&folder))
    }

    fn link(&self, from: &str, to: &str) -> BoxFuture<'static, Result<bool>> {
        let from = self.full(from);
        self.change("link file", to, move |disk, to| disk.link(&from, &to))
    }

    fn rename(&self, from: &str, to: &str) -> BoxFuture<'static, Result<bool>> {
        let from = self.full(from);
        self.change("rename file", to, move |disk, to| disk.rename(&from, &to))
    }

    fn truncate(&self, path: &str, length: u64) -> BoxFuture<'static, Result<()>> {
        self.change("truncate file", path, move |disk, path| disk.truncate(&path, length))
    }

    fn remove(&self, path: &str) -> BoxFuture<'static, Result<()>> {
        self.change("remove file", path, |disk, path| disk.remove(&path))
    }

    fn list(&self, folder: &str) -> BoxFuture<'static, Result<Vec<DiskEntry>>> {
        self.look("list folder", folder, |disk, folder| disk.list(&folder))
    }
}

// === impl Yield ===

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
