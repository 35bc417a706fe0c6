//! The folder over a real local store on a disk in memory, with a small job: each epoch stages one row and keeps a count.

mod broken;
mod crash;
mod incremental;
mod restore_decision;
mod retention;
mod savepoints;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use forebay_core::disk::Disk;
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::sink::{Committer, Guarantee};
use forebay_core::store::Store;
use forebay_core::testing::{ManualEnv, MemoryDisk};
use forebay_core::{Error, Kind, Result};
use futures::executor::block_on;
use futures::future::BoxFuture;

use super::folder::{CheckpointFolder, Committers, ManifestDraft};
use super::manifest::{EpochKind, SinkCommittables};
use super::restart::{Resume, Started};
use super::snapshot_file::{StateEntry, SubtaskSnapshot};
use crate::store::{LocalStore, open_store};

/// A sink whose staged rows are objects, published by renaming them.
struct RowSink {
    store: Arc<dyn Store>,
    commits: AtomicU64,
}

// === impl RowSink ===

impl Committer for RowSink {
    fn commit(&self, _epoch: Epoch, committables: Vec<Bytes>) -> BoxFuture<'static, Result<()>> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        let store = Arc::clone(&self.store);
        Box::pin(async move {
            for item in committables {
                let name = String::from_utf8(item.to_vec()).unwrap();
                store.rename(&format!("out/staged/{name}"), &format!("out/final/{name}")).await?;
            }
            Ok(())
        })
    }

    fn abort_before(&self, attempt: u64) -> BoxFuture<'static, Result<()>> {
        let store = Arc::clone(&self.store);
        Box::pin(async move {
            for entry in store.list("out/staged").await? {
                let owner = entry.path.rsplit(['/', '-']).nth(1).unwrap().parse::<u64>().unwrap();
                if owner < attempt {
                    store.delete(&entry.path).await?;
                }
            }
            Ok(())
        })
    }

    fn check_fresh(&self) -> BoxFuture<'static, Result<()>> {
        let store = Arc::clone(&self.store);
        Box::pin(async move {
            let found = !store.list("out/final").await?.is_empty();
            if found { Err(Error::new(Kind::Invalid, "start sink")) } else { Ok(()) }
        })
    }

    fn roll_back(&self, _state_of: Epoch, _next: Epoch) -> BoxFuture<'static, Result<()>> {
        // The engine calls this after a start; the checkpoint folder itself never does.
        Box::pin(async { Ok(()) })
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Transactional
    }
}

/// One process's view of a job on a disk that outlives it.
struct Process {
    env: ManualEnv,
    store: Arc<dyn Store>,
    folder: CheckpointFolder,
    sink: Arc<RowSink>,
    committers: Committers,
}

// === impl Process ===

impl Process {
    fn new(disk: &MemoryDisk, seed: u64) -> Self {
        let env = ManualEnv::new(seed);
        let store = LocalStore::new(Arc::new(env.clone()), Arc::new(disk.clone()), "disk");
        Self::over(env, Arc::new(store))
    }

    fn over(env: ManualEnv, store: Arc<dyn Store>) -> Self {
        let folder = CheckpointFolder::new(Arc::new(env.clone()), Arc::clone(&store), "job").unwrap();
        let sink = Arc::new(RowSink { store: Arc::clone(&store), commits: AtomicU64::new(0) });
        let committers: Committers = [("rows".to_string(), Arc::clone(&sink) as Arc<dyn Committer>)].into();
        Self { env, store, folder, sink, committers }
    }

    async fn restart(&self, resume: Resume) -> Result<Started> {
        self.folder.restart(resume, &self.committers).await
    }

    /// Stages the row after `count` others and publishes it with the new count.
    async fn epoch(&self, started: &Started, epoch: Epoch, count: u64) -> Result<Epoch> {
        let name = format!("{}-{count}", started.attempt);
        self.store.put(&format!("out/staged/{name}"), Bytes::from_static(b"row")).await?;
        let file = self.folder.write_snapshot(&snapshot(epoch, count + 1), &BTreeMap::new()).await?;
        let mut draft = ManifestDraft::new(epoch);
        draft.files = vec![file];
        draft.parallelism = [("count".to_string(), 1)].into();
        draft.committables = vec![SinkCommittables { sink: "rows".into(), items: vec![name.into()] }];
        Ok(self.folder.publish(draft, &self.committers).await?.next_epoch)
    }

    /// The count that an attempt starts with.
    async fn count(&self, started: &Started) -> Result<u64> {
        let Some(manifest) = &started.restored else { return Ok(0) };
        let entries = self.folder.load(manifest, |file| file.task == "count").await?;
        Ok(u64::from_le_bytes(entries[0].bytes[..].try_into().unwrap()))
    }

    /// Restarts from the latest epoch and goes on to `rows` rows.
    async fn run_to(&self, rows: u64) -> Result<Started> {
        let started = self.restart(Resume::Latest).await?;
        let mut epoch = started.next_epoch;
        for count in self.count(&started).await?..rows {
            epoch = self.epoch(&started, epoch, count).await?;
            self.folder.retain(2).await?;
        }
        Ok(started)
    }

    /// The rows that readers see, sorted.
    async fn rows(&self) -> Vec<u64> {
        let entries = self.store.list("out/final").await.unwrap();
        let mut rows: Vec<u64> =
            entries.iter().map(|entry| entry.path.rsplit('-').next().unwrap().parse().unwrap()).collect();
        rows.sort_unstable();
        rows
    }
}

fn snapshot(epoch: Epoch, count: u64) -> SubtaskSnapshot {
    let bytes = Bytes::copy_from_slice(&count.to_le_bytes());
    let entries = vec![StateEntry { operator: "count".into(), key_group: KeyGroup(5), bytes }];
    SubtaskSnapshot { task: "count".into(), subtask: 0, epoch, entries }
}

#[test]
fn a_fresh_job_publishes_and_a_restart_goes_on_where_it_was() {
    let disk = MemoryDisk::new();
    let first = Process::new(&disk, 1);
    block_on(async {
        let started = first.restart(Resume::Fresh).await.unwrap();
        assert_eq!((started.generation, started.attempt, started.next_epoch), (1, 1, Epoch(2)));
        assert!(started.restored.is_none());
        let next = first.epoch(&started, Epoch(2), 0).await.unwrap();
        assert_eq!(first.epoch(&started, next, 1).await.unwrap(), Epoch(4));

        let second = Process::new(&disk, 2);
        let started = second.restart(Resume::Latest).await.unwrap();
        assert_eq!((started.attempt, started.next_epoch), (2, Epoch(5)));
        assert_eq!(started.restored.as_ref().unwrap().state_of, Some(Epoch(3)));
        assert_eq!(second.count(&started).await.unwrap(), 2);
        second.epoch(&started, Epoch(5), 2).await.unwrap();
        assert_eq!(second.rows().await, [0, 1, 2]);
        assert_eq!(second.sink.commits.load(Ordering::SeqCst), 1, "nothing was left to commit again");
        assert_eq!(second.folder.verify(None).await.unwrap(), []);

        let list = second.folder.list().await.unwrap();
        let kinds: Vec<_> = list.iter().map(|info| (info.epoch.0, info.summary.as_ref().unwrap().kind)).collect();
        let (claim, checkpoint) = (EpochKind::Claim, EpochKind::Checkpoint);
        assert_eq!(kinds, [(1, claim), (2, checkpoint), (3, checkpoint), (4, claim), (5, checkpoint)]);
        assert!(list.iter().all(|info| info.summary.as_ref().unwrap().committed));
        assert_eq!(second.folder.show(Epoch(4)).await.unwrap().state_of, Some(Epoch(3)));
        assert_eq!(second.folder.show(Epoch(9)).await.unwrap_err().kind(), Kind::Invalid);
    });
}

#[test]
fn every_kind_of_store_serves() {
    let env = ManualEnv::new(1);
    let folder = tempfile::tempdir().unwrap();
    let shared: Arc<dyn forebay_core::env::Env> = Arc::new(env.clone());
    let local = open_store(folder.path().to_str().unwrap(), &shared).unwrap();
    for store in [local, open_store("memory://", &shared).unwrap()] {
        block_on(async {
            Process::over(env.clone(), Arc::clone(&store)).run_to(3).await.unwrap();
            let second = Process::over(env.clone(), store);
            let started = second.run_to(5).await.unwrap();
            assert_eq!(second.rows().await, [0, 1, 2, 3, 4]);
            assert_eq!((started.attempt, second.folder.verify(None).await.unwrap()), (2, vec![]));
        });
    }
}

#[test]
fn a_fenced_attempt_can_neither_publish_nor_change_what_is_there() {
    let disk = MemoryDisk::new();
    let (zombie, successor) = (Process::new(&disk, 1), Process::new(&disk, 2));
    block_on(async {
        let old = zombie.restart(Resume::Fresh).await.unwrap();
        let new = successor.restart(Resume::Latest).await.unwrap();
        assert_eq!(zombie.epoch(&old, old.next_epoch, 0).await.unwrap_err().kind(), Kind::Fenced);
        successor.epoch(&new, new.next_epoch, 0).await.unwrap();
        assert_eq!(successor.rows().await, [0]);
    });
}

#[test]
fn what_an_epoch_owes_its_sinks_is_committed_before_the_next_attempt_runs() {
    let disk = MemoryDisk::new();
    let first = Process::new(&disk, 1);
    block_on(async {
        let started = first.restart(Resume::Fresh).await.unwrap();
        first.epoch(&started, Epoch(2), 0).await.unwrap();
        // As if the process had died between epoch record and commit.
        first.store.rename("out/final/1-0", "out/staged/1-0").await.unwrap();
        first.store.delete(&first.folder.records.layout.committed(Epoch(2))).await.unwrap();
        assert!(!first.folder.list().await.unwrap()[1].summary.as_ref().unwrap().committed);

        let second = Process::new(&disk, 2);
        second.restart(Resume::Latest).await.unwrap();
        assert_eq!(second.rows().await, [0]);
        assert!(second.folder.list().await.unwrap()[1].summary.as_ref().unwrap().committed);
    });
}

#[test]
fn an_owed_commit_without_its_sink_is_the_users_to_fix() {
    let disk = MemoryDisk::new();
    let process = Process::new(&disk, 1);
    block_on(async {
        let started = process.restart(Resume::Fresh).await.unwrap();
        process.epoch(&started, Epoch(2), 0).await.unwrap();
        process.store.delete(&process.folder.records.layout.committed(Epoch(2))).await.unwrap();
        let error = process.folder.restart(Resume::Latest, &Committers::new()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("sink=rows"), "{error}");
    });
}

#[test]
fn going_on_from_nothing_claims_nothing_where_another_jobs_output_lies() {
    let disk = MemoryDisk::new();
    let process = Process::new(&disk, 1);
    block_on(async {
        process.store.create("out/final/theirs", Bytes::from_static(b"rows")).await.unwrap();
        for _ in 0..2 {
            assert_eq!(process.restart(Resume::Latest).await.unwrap_err().kind(), Kind::Invalid);
            assert!(process.folder.list().await.unwrap().is_empty());
        }
        process.store.delete("out/final/theirs").await.unwrap();
        process.restart(Resume::Latest).await.unwrap();
    });
}

#[test]
fn fresh_is_refused_where_a_job_is_and_epochs_are_dense() {
    let disk = MemoryDisk::new();
    let process = Process::new(&disk, 1);
    block_on(async {
        let error = process.folder.publish(ManifestDraft::new(Epoch(1)), &process.committers).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Internal);
        process.restart(Resume::Fresh).await.unwrap();
        let error = process.folder.publish(ManifestDraft::new(Epoch(3)), &process.committers).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Internal);
        let error = process.restart(Resume::Fresh).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.chain().contains("--resume latest"), "{}", error.chain());
        let error = process.restart(Resume::Epoch(Epoch(7))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("kept=1 to 1"), "{error}");
    });
}

#[test]
fn a_failed_publish_can_be_repeated() {
    let disk = MemoryDisk::new();
    let process = Process::new(&disk, 1);
    block_on(async {
        let started = process.restart(Resume::Fresh).await.unwrap();
        // One more failing sync in each try moves the failure behind one more write, past the epoch record too.
        for failures in 1..6 {
            let (epoch, count) = (Epoch(1 + failures), failures - 1);
            disk.fail_syncs(failures as u32);
            while process.epoch(&started, epoch, count).await.is_err() {
                process.env.advance(Duration::from_secs(1));
            }
        }
        assert_eq!(process.rows().await, [0, 1, 2, 3, 4]);
        assert_eq!(process.folder.verify(None).await.unwrap(), []);
    });
}

#[test]
fn a_publish_whose_commit_failed_is_repeated_under_its_own_record() {
    let disk = MemoryDisk::new();
    let process = Process::new(&disk, 1);
    block_on(async {
        process.restart(Resume::Fresh).await.unwrap();
        let mut draft = ManifestDraft::new(Epoch(2));
        draft.committables = vec![SinkCommittables { sink: "rows".into(), items: vec!["1-0".into()] }];
        // Nothing is staged yet, so the commit fails after the epoch record exists.
        let error = process.folder.publish(draft.clone(), &process.committers).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        process.store.put("out/staged/1-0", Bytes::from_static(b"row")).await.unwrap();
        process.env.advance(Duration::from_secs(1));
        process.folder.publish(draft, &process.committers).await.unwrap();
        assert_eq!(process.rows().await, [0]);
    });
}

#[test]
fn an_epoch_whose_output_was_taken_back_is_refused() {
    let process = Process::new(&MemoryDisk::new(), 1);
    block_on(async {
        let started = process.restart(Resume::Fresh).await.unwrap();
        let next = process.epoch(&started, started.next_epoch, 0).await.unwrap();
        process.epoch(&started, next, 1).await.unwrap();
        // Epoch 1 is the empty state, 2 and 3 are checkpoints, 4 goes back to 2.
        process.restart(Resume::Epoch(Epoch(2))).await.unwrap();
        let error = process.restart(Resume::Epoch(Epoch(3))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("given up by=4"), "{error}");
        process.restart(Resume::Epoch(Epoch(2))).await.unwrap();
        process.restart(Resume::Latest).await.unwrap();
    });
}

#[test]
fn an_epoch_record_that_was_acted_on_survives_power_loss() {
    for seed in 0..20 {
        let disk = MemoryDisk::new();
        let process = Process::new(&disk, 1);
        block_on(async {
            let started = process.restart(Resume::Fresh).await.unwrap();
            process.epoch(&started, started.next_epoch, 0).await.unwrap();
            // As if the process that published had been killed between naming the record and making the name durable.
            let record = "job/region-0/epoch/0000000002.json";
            let bytes = disk.read(record).await.unwrap().unwrap();
            disk.remove(record).await.unwrap();
            disk.sync_folder("job/region-0/epoch").await.unwrap();
            disk.append("_unfinished/x", bytes).await.unwrap();
            disk.sync("_unfinished/x").await.unwrap();
            disk.link("_unfinished/x", record).await.unwrap();
            process.folder.records.make_durable(Epoch(2)).await.unwrap();
            disk.crash(seed);
            assert!(process.folder.records.record(Epoch(2)).await.unwrap().is_some());
        });
    }
}

#[test]
fn a_value_that_was_read_survives_power_loss() {
    let path = "job/once/splits.json";
    let whole = MemoryDisk::new();
    block_on(Process::new(&whole, 1).folder.write_once("splits.json", Bytes::from_static(b"[1]"))).unwrap();
    let stored = block_on(whole.read(path)).unwrap().unwrap();
    for seed in 0..30 {
        // Whoever wrote it ended before the name was durable.
        let disk = MemoryDisk::new();
        block_on(disk.append(path, stored.clone())).unwrap();
        block_on(disk.sync(path)).unwrap();
        let read = |number| block_on(Process::new(&disk, number).folder.read_once("splits.json")).unwrap();
        assert_eq!(read(1).unwrap(), "[1]");
        disk.crash(seed);
        assert_eq!(read(2).unwrap(), "[1]", "seed {seed}");
    }
}

#[test]
fn a_value_is_written_once() {
    let disk = MemoryDisk::new();
    let process = Process::new(&disk, 1);
    let write =
        |text: &'static str| block_on(process.folder.write_once("splits.json", Bytes::from_static(text.as_bytes())));
    assert_eq!(write("[1]").unwrap(), "[1]");
    assert_eq!(write("[2]").unwrap(), "[1]");
    assert!(disk.flip_byte("job/once/splits.json", 1));
    let error = write("[3]").unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("job/once/splits.json"), "{error}");
}
