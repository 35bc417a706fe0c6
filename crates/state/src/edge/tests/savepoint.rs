//! Logs in savepoints: copied while they are written, put back after they went on, whatever crashes between.

use forebay_core::Kind;
use forebay_core::disk::Disk;
use futures::executor::block_on;

use super::crash::StoppingDisk;
use super::*;
use crate::checkpoint::{CheckpointFolder, Committers, Logs, ManifestDraft, Resume, Savepoint};
use crate::store::LocalStore;

/// Rows that are written and published when the savepoint is made.
const KEPT: i64 = 20;
/// How many of them are read.
const READ: i64 = 10;

/// A job of two regions with a log between them and a savepoint.
struct Job {
    /// With the log.
    disk: MemoryDisk,
    folder: CheckpointFolder,
    savepoint: Savepoint,
    /// Of the writer and of the reader, as in the checkpoints of the savepoint.
    written: Groups,
    read: Groups,
}

fn logs(disk: impl Disk) -> Logs {
    Logs { disk: Arc::new(disk), folder: "edge".to_string() }
}

/// Checkpoints of two regions without state, on a disk of their own.
fn checkpoints() -> (MemoryDisk, CheckpointFolder) {
    checkpoints_of(&[0, 1])
}

/// The same while only `begun` of them have checkpoints.
fn checkpoints_of(begun: &[u32]) -> (MemoryDisk, CheckpointFolder) {
    let (env, disk) = (ManualEnv::new(1), MemoryDisk::new());
    let store = LocalStore::new(Arc::new(env.clone()), Arc::new(disk.clone()), "disk");
    let folder = CheckpointFolder::new(Arc::new(env), Arc::new(store), "job").unwrap();
    for region in begun {
        let folder = folder.clone().of_region(*region);
        let started = block_on(folder.restart(Resume::Fresh, &Committers::new())).unwrap();
        let draft = ManifestDraft { regions: 2, ..ManifestDraft::new(started.next_epoch) };
        block_on(folder.publish(draft, &Committers::new())).unwrap();
    }
    (disk, folder)
}

/// The state of readers once they are at a barrier.
fn state_of(process: &Process, readers: &mut [EdgeReader]) -> Groups {
    let mut groups = Groups::new();
    for reader in readers {
        let frozen = reader.snapshot(Epoch(2)).unwrap();
        process.env.settle();
        groups.extend(frozen.now_or_never().unwrap().unwrap().groups);
    }
    groups
}

/// The job, with its log at the moment of the savepoint.
fn job(mode: EdgeMode) -> (Job, Process, Vec<EdgeWriter>) {
    let (disk, none) = (MemoryDisk::new(), Groups::new());
    let process = Process::open(&disk, 1, settings(mode)).unwrap();
    process.take_over(1, None, Epoch(1), &none).unwrap().unwrap();
    let mut writers = process.writers(1, 1, &none);
    write(&mut writers, &batch(0..READ));
    process.barrier(&mut writers, Epoch(2)).unwrap();
    process.publish(Epoch(2));
    let mut readers = process.readers(1, &none).unwrap();
    process.read(&mut readers[0], &mut Seen::default()).unwrap();
    let read = state_of(&process, &mut readers);
    write(&mut writers, &batch(READ..KEPT));
    let written = process.barrier(&mut writers, Epoch(3)).unwrap();
    process.publish(Epoch(3));
    let (_, folder) = checkpoints();
    let savepoint = block_on(folder.create_savepoint("kept", Some(&logs(disk.clone())))).unwrap();
    (Job { disk, folder, savepoint, written, read }, process, writers)
}

/// The job after its log went on far beyond the savepoint, and nothing of then is left.
fn gone_on(mode: EdgeMode) -> Job {
    let (job, process, mut writers) = job(mode);
    for epoch in 4..12 {
        write(&mut writers, &batch(epoch * 10..epoch * 10 + 10));
        let written = process.barrier(&mut writers, Epoch(epoch as u64)).unwrap();
        process.publish(Epoch(epoch as u64));
        let positions = Positions::written(&writer_states(&written));
        process.log.producer_retained(positions.clone());
        process.log.consumer_retained("consumer", positions);
        process.env.settle();
    }
    let first = &job.savepoint.edges["a"][0].name;
    assert!(!job.disk.paths().contains(&format!("edge/a/{first}")), "the log was not trimmed");
    job
}

impl Job {
    /// What the reader of the savepoint reads after a restart of both sides, with ten more rows written.
    fn read_on(&self, mode: EdgeMode) -> Vec<i64> {
        let process = Process::open(&self.disk, 3, settings(mode)).unwrap();
        process.take_over(9, Some(Epoch(3)), Epoch(12), &self.written).unwrap().unwrap();
        let mut writers = process.writers(9, 1, &self.written);
        write(&mut writers, &batch(KEPT..KEPT + 10));
        process.barrier(&mut writers, Epoch(13)).unwrap();
        process.publish(Epoch(13));
        let (mut readers, mut seen) = (process.readers(1, &self.read).unwrap(), Seen::default());
        process.read(&mut readers[0], &mut seen).unwrap();
        sorted(seen.rows)
    }
}

#[test]
fn a_log_that_went_on_is_put_back_as_it_was() {
    for mode in [EdgeMode::CommitRead, EdgeMode::IdDedupe] {
        let job = gone_on(mode);
        block_on(job.folder.put_back_log(&job.savepoint, "a", &logs(job.disk.clone()))).unwrap();
        assert_eq!(job.read_on(mode), (READ..KEPT + 10).collect::<Vec<_>>(), "{mode:?}");
    }
}

#[test]
fn a_stop_after_any_disk_call_is_mended_by_putting_it_back_again() {
    let mut stops = 0;
    for calls in 0.. {
        let job = gone_on(EdgeMode::CommitRead);
        let stopping = StoppingDisk::new(&job.disk, calls);
        let done = job.folder.put_back_log(&job.savepoint, "a", &logs(stopping)).now_or_never();
        job.disk.crash(calls as u64);
        block_on(job.folder.put_back_log(&job.savepoint, "a", &logs(job.disk.clone()))).unwrap();
        assert_eq!(job.read_on(EdgeMode::CommitRead), (READ..KEPT + 10).collect::<Vec<_>>(), "after {calls} calls");
        if done.is_some() {
            break;
        }
        stops += 1;
    }
    assert!(stops > 5, "only {stops} stops");
}

#[test]
fn a_damaged_copy_changes_nothing_and_names_its_file() {
    let (job, ..) = job(EdgeMode::CommitRead);
    let damaged = MemoryDisk::new();
    let store = LocalStore::new(Arc::new(ManualEnv::new(2)), Arc::new(damaged), "disk");
    let elsewhere = CheckpointFolder::new(Arc::new(ManualEnv::new(2)), Arc::new(store), "job").unwrap();
    let before = job.disk.paths();
    let error = block_on(elsewhere.put_back_log(&job.savepoint, "a", &logs(job.disk.clone()))).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.chain().contains("job/savepoint-edges/kept/a/00000001-1.fbe"), "{}", error.chain());
    assert_eq!(job.disk.paths(), before);
    let error = block_on(job.folder.put_back_log(&job.savepoint, "b", &logs(job.disk.clone()))).unwrap_err();
    assert!(error.chain().contains("none of this uid"), "{}", error.chain());
}

#[test]
fn a_log_with_a_damaged_byte_that_counts_is_not_kept() {
    let (job, ..) = job(EdgeMode::CommitRead);
    assert!(job.savepoint.edges["a"].len() > 1, "one file only");
    assert!(job.disk.flip_byte("edge/a/00000001-1.fbe", 200));
    let error = block_on(job.folder.create_savepoint("second", Some(&logs(job.disk.clone())))).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.chain().contains("00000001-1.fbe"), "{}", error.chain());
    let names: Vec<String> = block_on(job.folder.savepoints()).unwrap().into_iter().map(|found| found.name).collect();
    assert_eq!(names, ["kept"]);
}

#[test]
fn a_savepoint_is_refused_before_every_region_has_a_checkpoint() {
    for (begun, missing) in [(0, "region=r2"), (1, "region=r1")] {
        let (_, folder) = checkpoints_of(&[begun]);
        let error = block_on(folder.create_savepoint("s", Some(&logs(MemoryDisk::new())))).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.chain().contains(missing), "{}", error.chain());
        assert!(block_on(folder.savepoints()).unwrap().is_empty(), "nothing is left of it");
    }
}

#[test]
fn a_savepoint_of_two_regions_needs_their_logs_and_takes_its_copies_along_when_it_goes() {
    let (store, folder) = checkpoints();
    let error = block_on(folder.create_savepoint("s", None)).unwrap_err();
    assert!(error.chain().contains("--journal"), "{}", error.chain());
    let error = block_on(folder.create_savepoint("s", Some(&logs(MemoryDisk::new())))).unwrap_err();
    assert!(error.chain().contains("on the machine that runs the job"), "{}", error.chain());
    let (job, ..) = job(EdgeMode::CommitRead);
    block_on(folder.create_savepoint("s", Some(&logs(job.disk.clone())))).unwrap();
    let copies = |store: &MemoryDisk| store.paths().iter().filter(|path| path.contains("savepoint-edges")).count();
    assert_eq!(copies(&store), job.savepoint.edges["a"].len());
    block_on(folder.remove_savepoint("s")).unwrap();
    assert_eq!(copies(&store), 0);
}
