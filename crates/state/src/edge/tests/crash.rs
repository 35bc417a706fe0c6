//! Both regions and their log, stopped after every single disk call, in many ways to lose power, and started again.

use std::sync::atomic::{AtomicUsize, Ordering};

use forebay_core::disk::{Disk, DiskEntry};
use futures::future::{BoxFuture, pending};

use super::*;

const ROWS: i64 = 24;
const BATCH: i64 = 4;
const SEEDS: u64 = 6;

/// A disk whose process stops for good after some calls: later calls never answer and do nothing.
pub(super) struct StoppingDisk {
    inner: MemoryDisk,
    calls_left: AtomicUsize,
}

/// What survives outside the log: epoch records of the producer and checkpoints of the consumer.
#[derive(Default)]
struct Outside {
    attempt: u64,
    /// Number, the checkpoint whose state it holds, rows emitted until then, and the writers' state.
    newest: Option<(Epoch, Option<Epoch>, i64, Groups)>,
    /// The consumer's checkpoints: what it has seen and its state. The last two are retained.
    consumer: Vec<(Seen, Groups)>,
}

// === impl StoppingDisk ===

impl StoppingDisk {
    /// `disk`, with this many calls.
    pub(super) fn new(disk: &MemoryDisk, calls: usize) -> Self {
        Self { inner: disk.clone(), calls_left: AtomicUsize::new(calls) }
    }

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

// === impl Outside ===

impl Outside {
    /// Restarts both sides and goes on until all rows are published and read; `None` once the disk stops.
    fn run(&mut self, env: ManualEnv, settings: EdgeSettings) -> Option<()> {
        let process = Process::over(env, settings)?.unwrap();
        self.attempt += 1;
        let (base, mut emitted, groups) = match &self.newest {
            Some((_, base, emitted, groups)) => (*base, *emitted, groups.clone()),
            None => (None, 0, Groups::new()),
        };
        let claimed = self.newest.as_ref().map_or(Epoch(1), |newest| newest.0.next());
        self.newest = Some((claimed, base, emitted, groups.clone()));
        process.log.published(Published { epoch: claimed, state_of: base });
        process.take_over(self.attempt, base, claimed, &groups)?.unwrap();
        let parallelism = 1 + (self.attempt % 2) as u16;
        let mut writers = process.writers(self.attempt, parallelism, &groups);
        let (mut seen, state) = self.consumer.last().cloned().unwrap_or_default();
        let mut readers = process.readers(3 - parallelism, &state).unwrap();
        let mut epoch = claimed.next();
        while seen.rows.len() < ROWS as usize {
            for _ in 0..2 {
                let end = (emitted + BATCH).min(ROWS);
                if emitted < end {
                    write(&mut writers, &batch(emitted..end));
                    process.env.settle();
                }
                emitted = end;
            }
            let groups = process.barrier(&mut writers, epoch)?;
            self.newest = Some((epoch, Some(epoch), emitted, groups.clone()));
            process.publish(epoch);
            process.log.producer_retained(Positions::written(&writer_states(&groups)));
            readers.iter_mut().for_each(|reader| process.read(reader, &mut seen).unwrap());
            self.checkpoint(&process, &mut readers, &seen);
            epoch = epoch.next();
            if process.env.step() || epoch.0 > claimed.0 + 20 {
                return None;
            }
        }
        Some(())
    }

    fn checkpoint(&mut self, process: &Process, readers: &mut [EdgeReader], seen: &Seen) {
        let frozen = readers.iter_mut().map(|reader| reader.snapshot(Epoch(1)).unwrap());
        let state: Groups = frozen.flat_map(|frozen| frozen.now_or_never().unwrap().unwrap().groups).collect();
        self.consumer.push((seen.clone(), state));
        let retained = self.consumer.iter().rev().take(2).map(|(_, state)| reader_positions(state));
        process.log.consumer_retained("consumer", Positions::least(&retained.collect::<Vec<_>>()));
        process.env.settle();
    }
}

/// Stops after `calls` disk calls, loses power as `seed` says, stops again after `again` calls, and then runs to the end.
/// Answers how many of the first calls were left.
fn stop_and_go_on(settings: &EdgeSettings, calls: usize, again: Option<usize>, seed: u64) -> usize {
    let (disk, mut outside) = (MemoryDisk::new(), Outside::default());
    let mut left = 0;
    for (round, calls) in [Some(calls), again].into_iter().flatten().enumerate() {
        let stopping = Arc::new(StoppingDisk { inner: disk.clone(), calls_left: AtomicUsize::new(calls) });
        let env = ManualEnv::with_disk(seed, stopping.clone());
        outside.run(env.clone(), settings.clone());
        env.kill();
        if round == 0 {
            left = stopping.calls_left.load(Ordering::SeqCst);
        }
        disk.crash(seed + round as u64);
    }
    outside.run(ManualEnv::with_disk(seed, Arc::new(disk)), settings.clone()).expect("this disk answers");
    let rows = outside.consumer.last().map(|(seen, _)| seen.rows.clone()).unwrap_or_default();
    assert!(in_order(&rows), "stopped after {calls} and {again:?} calls, seed {seed}: {rows:?}");
    assert_eq!(sorted(rows), (0..ROWS).collect::<Vec<_>>(), "stopped after {calls} and {again:?} calls, seed {seed}");
    left
}

fn calls_of_a_whole_run(settings: &EdgeSettings) -> usize {
    10_000 - stop_and_go_on(settings, 10_000, None, 0)
}

#[test]
fn a_stop_after_any_disk_call_loses_and_doubles_nothing() {
    for mode in [EdgeMode::CommitRead, EdgeMode::IdDedupe] {
        let settings = settings(mode);
        let calls = calls_of_a_whole_run(&settings);
        assert!(calls > 30, "{calls}");
        println!("edge {mode:?}: {calls} disk calls, {SEEDS} ways to lose power after each");
        for stop_after in 0..=calls {
            for seed in 0..SEEDS {
                stop_and_go_on(&settings, stop_after, None, seed);
            }
        }
    }
}

#[test]
fn a_second_stop_while_starting_again_loses_and_doubles_nothing() {
    for mode in [EdgeMode::CommitRead, EdgeMode::IdDedupe] {
        let settings = settings(mode);
        for first in (0..=calls_of_a_whole_run(&settings)).step_by(3) {
            for second in 0..16 {
                stop_and_go_on(&settings, first, Some(second), first as u64);
            }
        }
    }
}

#[test]
fn each_planted_bug_of_the_disk_order_is_found() {
    // That rows must not be shown before they are synced is for the model check: here nothing is read between the two.
    let mut bugs = [
        (EdgeMode::CommitRead, PlantedBug::FlushBeforeSync),
        (EdgeMode::CommitRead, PlantedBug::SkipFolderSync),
        (EdgeMode::CommitRead, PlantedBug::KeepUnpublishedTail),
    ]
    .into_iter();
    std::panic::set_hook(Box::new(|_| {}));
    let missed = bugs.find(|(mode, bug)| {
        let settings = EdgeSettings { bug: Some(*bug), ..settings(*mode) };
        let run = |stop_after, seed| {
            let settings = settings.clone();
            std::panic::catch_unwind(move || stop_and_go_on(&settings, stop_after, None, seed)).is_err()
        };
        !(0..80).any(|stop_after| (0..SEEDS).any(|seed| run(stop_after, seed)))
    });
    let _ = std::panic::take_hook();
    assert_eq!(missed, None);
}
