//! What power loss does to a local store, after every single disk call of a few writes and for many ways to lose.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use forebay_core::disk::{Disk, DiskEntry};
use forebay_core::testing::{ManualEnv, MemoryDisk};
use futures::FutureExt;
use futures::executor::block_on;
use futures::future::{BoxFuture, pending};

use super::*;

const SEEDS: u64 = 100;

/// A disk whose process stops for good after some calls: later calls never answer and do nothing.
pub(crate) struct StoppingDisk {
    pub inner: MemoryDisk,
    pub calls_left: AtomicUsize,
}

// === impl StoppingDisk ===

impl StoppingDisk {
    fn call<T: Send + 'static>(&self, call: impl FnOnce() -> BoxFuture<'static, T>) -> BoxFuture<'static, T> {
        let left = self.calls_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() { call() } else { Box::pin(pending()) }
    }
}

impl Disk for StoppingDisk {
    fn read(&self, path: &str) -> BoxFuture<'static, Result<Option<Bytes>>> {
        self.call(|| self.inner.read(path))
    }
    fn read_at(&self, path: &str, start: u64, length: usize) -> BoxFuture<'static, Result<Option<Bytes>>> {
        self.call(|| self.inner.read_at(path, start, length))
    }
    fn append(&self, path: &str, bytes: Bytes) -> BoxFuture<'static, Result<()>> {
        self.call(|| self.inner.append(path, bytes))
    }
    fn sync(&self, path: &str) -> BoxFuture<'static, Result<()>> {
        self.call(|| self.inner.sync(path))
    }
    fn sync_folder(&self, folder: &str) -> BoxFuture<'static, Result<()>> {
        self.call(|| self.inner.sync_folder(folder))
    }
    fn link(&self, from: &str, to: &str) -> BoxFuture<'static, Result<bool>> {
        self.call(|| self.inner.link(from, to))
    }
    fn rename(&self, from: &str, to: &str) -> BoxFuture<'static, Result<bool>> {
        self.call(|| self.inner.rename(from, to))
    }
    fn truncate(&self, path: &str, length: u64) -> BoxFuture<'static, Result<()>> {
        self.call(|| self.inner.truncate(path, length))
    }
    fn remove(&self, path: &str) -> BoxFuture<'static, Result<()>> {
        self.call(|| self.inner.remove(path))
    }
    fn list(&self, folder: &str) -> BoxFuture<'static, Result<Vec<DiskEntry>>> {
        self.call(|| self.inner.list(folder))
    }
}

/// What was answered before the stop, and what each path holds after the power loss.
struct Outcome {
    answered: usize,
    created: Option<Bytes>,
    replaced: Option<Bytes>,
    staged: Option<Bytes>,
    moved: Option<Bytes>,
    left_calls: usize,
}

fn stop_and_lose_power(bug: Option<PlantedStoreBug>, calls: usize, seed: u64) -> Outcome {
    let disk = MemoryDisk::new();
    let env: Arc<dyn Env> = Arc::new(ManualEnv::new(seed));
    let after = LocalStore::new(Arc::clone(&env), Arc::new(disk.clone()), "disk");
    block_on(after.put("f/replaced", Bytes::from_static(b"old content"))).unwrap();
    let stopping = Arc::new(StoppingDisk { inner: disk.clone(), calls_left: AtomicUsize::new(calls) });
    let store = LocalStore::new(env, stopping.clone(), "disk").with_bug(bug);
    let answered = AtomicUsize::new(0);
    let answer = || answered.fetch_add(1, Ordering::SeqCst);
    let writes = async {
        store.create("f/created", Bytes::from_static(b"created content")).await.unwrap();
        answer();
        store.put("f/replaced", Bytes::from_static(b"new content")).await.unwrap();
        answer();
        store.put("staged/moved", Bytes::from_static(b"moved content")).await.unwrap();
        answer();
        store.rename("staged/moved", "g/moved").await.unwrap();
        answer();
    };
    writes.now_or_never();
    disk.crash(seed);
    let read = |path: &str| block_on(after.read(path)).unwrap();
    Outcome {
        answered: answered.load(Ordering::SeqCst),
        created: read("f/created"),
        replaced: read("f/replaced"),
        staged: read("staged/moved"),
        moved: read("g/moved"),
        left_calls: stopping.calls_left.load(Ordering::SeqCst),
    }
}

/// The first promise that `outcome` breaks.
fn broken(outcome: &Outcome) -> Option<&'static str> {
    let whole = |found: &Option<Bytes>, content: &str| found.as_ref().is_none_or(|bytes| bytes == content);
    let is = |found: &Option<Bytes>, content: &str| found.as_ref().is_some_and(|bytes| bytes == content);
    let checks = [
        (whole(&outcome.created, "created content"), "a partial object became visible by create"),
        (is(&outcome.replaced, "old content") || is(&outcome.replaced, "new content"), "put tore what it replaces"),
        (whole(&outcome.staged, "moved content"), "a partial object became visible by put"),
        (whole(&outcome.moved, "moved content"), "a partial object became visible by rename"),
        (outcome.answered < 1 || outcome.created.is_some(), "a created object vanished"),
        (outcome.answered < 2 || is(&outcome.replaced, "new content"), "a put was undone"),
        (outcome.answered < 3 || outcome.staged.is_some() || outcome.moved.is_some(), "an object was lost in a rename"),
        (outcome.answered < 4 || outcome.moved.is_some(), "a rename was undone"),
        (outcome.answered < 4 || outcome.staged.is_none(), "a renamed object came back"),
    ];
    checks.iter().find(|(holds, _)| !holds).map(|(_, what)| *what)
}

#[test]
fn power_loss_after_any_disk_call_keeps_every_promise() {
    let calls = 1000 - stop_and_lose_power(None, 1000, 0).left_calls;
    assert!((15..50).contains(&calls), "{calls}");
    for stop_after in 0..=calls {
        for seed in 0..SEEDS {
            let outcome = stop_and_lose_power(None, stop_after, seed);
            assert_eq!(broken(&outcome), None, "stopped after {stop_after} calls, seed {seed}");
            assert!(stop_after < calls || outcome.answered == 4);
        }
    }
}

/// A rename stopped after `calls[0]` disk calls, again after `calls[1]`, then the power goes, then it is run to its end.
fn rename_again(replaces: bool, calls: [usize; 2], seed: u64) -> Result<()> {
    let disk = MemoryDisk::new();
    let env: Arc<dyn Env> = Arc::new(ManualEnv::new(seed));
    let after = LocalStore::new(Arc::clone(&env), Arc::new(disk.clone()), "disk");
    if replaces {
        block_on(after.put("g/moved", Bytes::from_static(b"old")))?;
    }
    block_on(after.put("staged/moved", Bytes::from_static(b"content")))?;
    for calls in calls {
        let stopping = StoppingDisk { inner: disk.clone(), calls_left: AtomicUsize::new(calls) };
        let store = LocalStore::new(Arc::clone(&env), Arc::new(stopping), "disk");
        let _ = store.rename("staged/moved", "g/moved").now_or_never();
    }
    disk.crash(seed);
    block_on(after.rename("staged/moved", "g/moved"))?;
    assert_eq!(block_on(after.read("g/moved"))?.as_deref(), Some(&b"content"[..]));
    assert_eq!(block_on(after.read("staged/moved"))?, None);
    Ok(())
}

#[test]
fn a_rename_interrupted_twice_loses_nothing() {
    for (first, second) in (0..12).flat_map(|first| (0..12).map(move |second| (first, second))) {
        for (replaces, seed) in
            [false, true].into_iter().flat_map(|replaces| (0..SEEDS).map(move |seed| (replaces, seed)))
        {
            rename_again(replaces, [first, second], seed)
                .unwrap_or_else(|error| panic!("stopped after {first} and {second} calls, seed {seed}: {error}"));
        }
    }
}

#[test]
fn each_planted_bug_breaks_a_promise() {
    for (bug, found) in [
        (PlantedStoreBug::SkipFolderSync, "a created object vanished"),
        (PlantedStoreBug::SkipFileSync, "a partial object became visible by create"),
    ] {
        let mut broken = (0..SEEDS).filter_map(|seed| broken(&stop_and_lose_power(Some(bug), 1000, seed)));
        assert!(broken.any(|what| what == found), "{bug:?}");
    }
}
