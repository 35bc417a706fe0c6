//! A job that is stopped after every single store call, loses power, and is started again.

use std::future::poll_fn;
use std::ops::Range;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;

use forebay_core::store::{Created, StoreEntry};
use futures::FutureExt;

use super::*;
use crate::checkpoint::PlantedBug;

const ROWS: u64 = 4;

/// A store whose process stops, or stalls until more calls are granted: a call waits, undone, while none are left.
pub(super) struct StoppingStore {
    inner: Arc<dyn Store>,
    calls_left: Arc<AtomicUsize>,
}

// === impl StoppingStore ===

impl StoppingStore {
    pub(super) fn process(disk: &MemoryDisk, seed: u64, calls: usize) -> (Process, Arc<AtomicUsize>) {
        let env = ManualEnv::new(seed);
        let inner = Arc::new(LocalStore::new(Arc::new(env.clone()), Arc::new(disk.clone()), "disk"));
        let calls_left = Arc::new(AtomicUsize::new(calls));
        (Process::over(env, Arc::new(Self { inner, calls_left: Arc::clone(&calls_left) })), calls_left)
    }

    /// `call` does nothing before it is first polled.
    fn call<T: Send + 'static>(&self, call: BoxFuture<'static, T>) -> BoxFuture<'static, T> {
        let calls_left = Arc::clone(&self.calls_left);
        let take = move || calls_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        Box::pin(async move {
            poll_fn(|_| if take().is_ok() { Poll::Ready(()) } else { Poll::Pending }).await;
            call.await
        })
    }
}

impl Store for StoppingStore {
    fn read(&self, path: &str) -> BoxFuture<'static, Result<Option<Bytes>>> {
        self.call(self.inner.read(path))
    }
    fn read_range(&self, path: &str, range: Range<u64>) -> BoxFuture<'static, Result<Option<Bytes>>> {
        self.call(self.inner.read_range(path, range))
    }
    fn list(&self, prefix: &str) -> BoxFuture<'static, Result<Vec<StoreEntry>>> {
        self.call(self.inner.list(prefix))
    }
    fn list_levels(&self, prefix: &str, levels: usize) -> BoxFuture<'static, Result<Vec<StoreEntry>>> {
        self.call(self.inner.list_levels(prefix, levels))
    }
    fn create(&self, path: &str, bytes: Bytes) -> BoxFuture<'static, Result<Created>> {
        self.call(self.inner.create(path, bytes))
    }
    fn put(&self, path: &str, bytes: Bytes) -> BoxFuture<'static, Result<()>> {
        self.call(self.inner.put(path, bytes))
    }
    fn rename(&self, from: &str, to: &str) -> BoxFuture<'static, Result<()>> {
        self.call(self.inner.rename(from, to))
    }
    fn delete(&self, path: &str) -> BoxFuture<'static, Result<()>> {
        self.call(self.inner.delete(path))
    }
    fn location(&self) -> String {
        self.inner.location()
    }
}

/// Runs the job until it is done or has made `calls` store calls; answers how many were left.
fn run_and_stop(disk: &MemoryDisk, seed: u64, calls: usize) -> usize {
    let (process, calls_left) = StoppingStore::process(disk, seed, calls);
    if let Some(result) = process.run_to(ROWS).now_or_never() {
        result.unwrap();
    }
    calls_left.load(Ordering::SeqCst)
}

fn check_finished(disk: &MemoryDisk, what: &str) {
    let last = Process::new(disk, 999);
    block_on(last.run_to(ROWS)).unwrap();
    assert_eq!(block_on(last.rows()), [0, 1, 2, 3], "{what}");
    assert_eq!(block_on(last.folder.verify(None)).unwrap(), [], "{what}");
    assert!(block_on(last.store.list("out/staged")).unwrap().is_empty(), "{what}: staged output was left behind");
}

fn calls_of_a_whole_run() -> usize {
    10_000 - run_and_stop(&MemoryDisk::new(), 1, 10_000)
}

#[test]
fn a_stop_after_any_store_call_loses_and_doubles_nothing() {
    let calls = calls_of_a_whole_run();
    assert!(calls > 60, "{calls}");
    for stop_after in 0..=calls {
        for power_loss in [false, true] {
            let disk = MemoryDisk::new();
            run_and_stop(&disk, 1, stop_after);
            if power_loss {
                disk.crash(stop_after as u64);
            }
            check_finished(&disk, &format!("stopped after {stop_after} calls, power loss {power_loss}"));
        }
    }
}

#[test]
fn a_second_stop_while_starting_again_loses_and_doubles_nothing() {
    let calls = calls_of_a_whole_run();
    for first in (0..=calls).step_by(3) {
        for second in 0..30 {
            let disk = MemoryDisk::new();
            run_and_stop(&disk, 1, first);
            disk.crash(1);
            run_and_stop(&disk, 2, second);
            disk.crash(2);
            check_finished(&disk, &format!("stopped after {first} and {second} calls"));
        }
    }
}

#[test]
fn a_stalled_process_that_goes_on_after_its_successor_ran_loses_and_doubles_nothing() {
    let mut fenced = 0;
    for stalled_after in 0..=calls_of_a_whole_run() {
        let disk = MemoryDisk::new();
        let (zombie, calls_left) = StoppingStore::process(&disk, 1, stalled_after);
        let mut work = Box::pin(zombie.run_to(ROWS));
        let early = work.as_mut().now_or_never();
        block_on(Process::new(&disk, 2).run_to(ROWS - 1)).unwrap();
        calls_left.store(usize::MAX / 2, Ordering::SeqCst);
        if early.is_none() {
            // It ends fenced, or had not begun to restart when it stalled and is now the newest itself.
            fenced += usize::from(block_on(work).is_err_and(|error| error.kind() == Kind::Fenced));
        }
        check_finished(&disk, &format!("stalled after {stalled_after} calls"));
    }
    assert!(fenced > 50, "{fenced}");
}

/// A process that has published epochs 2 to 6 and stalls after `calls` store calls of removing all but the newest; then `back`
/// goes back in another process, and the first goes on. Answers whether the removal was still under way.
fn stalls_while_removing(
    calls: usize,
    bug: Option<PlantedBug>,
    back: impl AsyncFn(&Process, &mut dyn FnMut()),
) -> (bool, MemoryDisk) {
    let disk = MemoryDisk::new();
    let (mut zombie, calls_left) = StoppingStore::process(&disk, 1, usize::MAX / 2);
    zombie.folder = zombie.folder.with_bug(bug);
    block_on(async {
        let started = zombie.restart(Resume::Fresh).await.unwrap();
        let mut epoch = started.next_epoch;
        for count in 0..5 {
            epoch = zombie.epoch(&started, epoch, count).await.unwrap();
        }
    });
    calls_left.store(calls, Ordering::SeqCst);
    let mut removal = Box::pin(zombie.folder.retain(1));
    let stalled = removal.as_mut().now_or_never().is_none();
    let mut removal = Some(removal).filter(|_| stalled);
    let mut go_on = || {
        calls_left.store(usize::MAX / 2, Ordering::SeqCst);
        if let Some(removal) = removal.take() {
            // It ends as it likes: old checkpoints may stay.
            let _ = removal.now_or_never();
        }
    };
    block_on(back(&Process::new(&disk, 2), &mut go_on));
    go_on();
    (stalled, disk)
}

/// Goes back to epoch 3, as one region or, `decided`, as one of several. True if that could be had, and was.
///
/// # Errors
/// Any but that it is no longer kept.
async fn goes_back(process: &Process, decided: bool, go_on: &mut dyn FnMut()) -> Result<bool> {
    if decided {
        process.folder.fence().await.unwrap();
        if process.folder.restorable(Some(Epoch(3))).await.is_err() {
            return Ok(false);
        }
        go_on();
        process.folder.decide_restore(&[(0, Epoch(3))].into(), None).await.unwrap();
    }
    match process.restart(Resume::Epoch(Epoch(3))).await {
        Ok(started) => {
            assert_eq!(process.count(&started).await?, 2);
            Ok(true)
        }
        Err(error) if error.chain().contains("no longer kept") => Ok(false),
        Err(error) => Err(error),
    }
}

/// What is wrong after a removal that stalled after each number of calls, and how often the start went back.
fn wrong_after_stalls(bug: Option<PlantedBug>) -> (Vec<String>, usize) {
    let (mut wrong, mut went) = (Vec::new(), 0);
    for decided in [false, true] {
        for calls in 0.. {
            let went_back = std::cell::RefCell::new(Ok(false));
            let (stalled, disk) = stalls_while_removing(calls, bug, async |process, go_on| {
                *went_back.borrow_mut() = goes_back(process, decided, go_on).await;
            });
            if !stalled {
                break;
            }
            let case = format!("stalled after {calls} calls, decided {decided}");
            let problems = block_on(Process::new(&disk, 3).folder.verify(None)).unwrap();
            match went_back.into_inner() {
                Err(error) => wrong.push(format!("{case}: {}", error.chain())),
                Ok(true) if !problems.is_empty() => wrong.push(format!("{case}: {problems:?}")),
                Ok(went_back) => went += usize::from(went_back),
            }
        }
    }
    (wrong, went)
}

#[test]
fn a_removal_that_stalled_takes_nothing_from_a_start_that_went_back_meanwhile() {
    let (wrong, went) = wrong_after_stalls(None);
    assert_eq!(wrong, Vec::<String>::new());
    assert!(went > 10, "{went}");
    let (wrong, _) = wrong_after_stalls(Some(PlantedBug::TrimUnderNewerStart));
    assert!(!wrong.is_empty(), "the planted bug does harm");
}
