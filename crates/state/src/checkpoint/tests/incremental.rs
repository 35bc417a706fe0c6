//! A job with keyed state in several subtasks whose checkpoints build on each other: stopped after every store call, restored at
//! other parallelisms, with notices that come late or never, and old checkpoints removed as early as allowed.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;

use forebay_core::operator::{Identity, Restored};
use futures::FutureExt;

use super::crash::StoppingStore;
use super::*;
use crate::checkpoint::{Manifest, PlantedBug, StateFile};
use crate::keyed::{Key, KeyedState, Space, StateSettings, StateTable, TableSpec};

const GROUPS: u16 = 8;
const ROWS_PER_EPOCH: u64 = 12;

struct Subtask {
    state: KeyedState,
    table: StateTable<u64>,
    notices: Vec<Epoch>,
}

/// One attempt's subtasks; each row adds its number to its key, and every fifth removes a key.
struct Job {
    process: Process,
    subtasks: Vec<Subtask>,
    /// Rows taken, kept in the manifest.
    position: u64,
    next_epoch: Epoch,
    /// How many checkpoints are kept.
    keep: usize,
}

fn key_of(row: u64) -> Key {
    Key::new((row * 7 % 23).to_le_bytes())
}

fn is_removal(row: u64) -> bool {
    row % 5 == 4
}

/// What the state is after `rows` rows.
fn expected(rows: u64) -> BTreeMap<Key, u64> {
    let mut state = BTreeMap::new();
    for row in 0..rows {
        if is_removal(row) {
            state.remove(&key_of(row));
        } else {
            *state.entry(key_of(row)).or_insert(0) += row;
        }
    }
    state
}

// === impl Job ===

impl Job {
    /// Restores from `resume` at `parallelism`.
    async fn start(process: Process, resume: Resume, parallelism: u16) -> Result<Self> {
        let started = process.restart(resume).await?;
        let mut restored = Restored::default();
        let mut position = 0;
        if let Some(manifest) = &started.restored {
            restored.epoch = manifest.state_of;
            let entries = process.folder.load(manifest, |file| file.task == "sum").await?;
            restored.groups = entries.into_iter().map(|entry| (entry.key_group, entry.bytes)).collect();
            position = manifest.extra["position"].as_u64().unwrap();
        }
        let subtasks = (0..parallelism).map(|subtask| {
            let identity = Identity { uid: "sum".into(), subtask, parallelism, groups: GROUPS, attempt: 1 };
            let mut own = restored.clone();
            own.groups.retain(|(group, _)| identity.key_groups().contains(&group.0));
            let settings = StateSettings { full_after: 4, ..StateSettings::default() };
            let mut state = KeyedState::open(&identity, settings, own)?;
            let table = state.table(TableSpec::new("sums", 1))?;
            state.opened()?;
            Ok(Subtask { state, table, notices: Vec::new() })
        });
        let subtasks = subtasks.collect::<Result<_>>()?;
        let mut job = Self { process, subtasks, position, next_epoch: started.next_epoch, keep: 1 };
        assert_eq!(job.found(), expected(position), "restored {position} rows at parallelism {parallelism}");
        Ok(job)
    }

    fn found(&mut self) -> BTreeMap<Key, u64> {
        let mut found = BTreeMap::new();
        for subtask in &mut self.subtasks {
            for group in subtask.table.key_groups() {
                let visit = |key: &Key, _: &Space, value: &u64| {
                    found.insert(key.clone(), *value);
                    Ok(())
                };
                subtask.table.visit_group(group, visit).unwrap();
            }
        }
        found
    }

    fn row(&mut self) {
        let (row, parallelism) = (self.position, self.subtasks.len() as u16);
        let key = key_of(row);
        let table = &mut self.subtasks[usize::from(key.group(GROUPS).subtask(parallelism, GROUPS))].table;
        if is_removal(row) {
            table.remove(&key, &Space::EMPTY).unwrap();
        } else {
            *table.get_or_insert_with(&key, &Space::EMPTY, || 0).unwrap() += row;
        }
        self.position += 1;
    }

    /// A barrier. `hears` says whether a subtask is told now, or only after the next barrier.
    async fn epoch(&mut self, hears: impl Fn(usize) -> bool) -> Result<()> {
        let epoch = self.next_epoch;
        let mut draft = ManifestDraft::new(epoch);
        for (number, subtask) in self.subtasks.iter_mut().enumerate() {
            let snapshot = subtask.state.snapshot(epoch, &mut [&mut subtask.table])?;
            let entry = |(key_group, bytes)| StateEntry { operator: "sum".into(), key_group, bytes };
            let entries = snapshot.groups.into_iter().map(entry).collect();
            let file = SubtaskSnapshot { task: "sum".into(), subtask: number as u16, epoch, entries };
            let lineages = snapshot.lineage.map(|lineage| ("sum".to_string(), lineage)).into_iter().collect();
            draft.files.push(self.process.folder.write_snapshot(&file, &lineages).await?);
        }
        draft.extra.insert("position".into(), self.position.into());
        self.next_epoch = self.process.folder.publish(draft, &self.process.committers).await?.next_epoch;
        self.process.folder.retain(self.keep).await?;
        for (number, subtask) in self.subtasks.iter_mut().enumerate() {
            subtask.notices.push(epoch);
            let held_back = usize::from(!hears(number));
            let heard = subtask.notices.len() - held_back;
            subtask.notices.drain(..heard).for_each(|epoch| subtask.state.on_checkpoint_complete(epoch));
        }
        Ok(())
    }

    async fn epochs(&mut self, count: u64, hears: impl Fn(u64, usize) -> bool) -> Result<()> {
        for _ in 0..count {
            (0..ROWS_PER_EPOCH).for_each(|_| self.row());
            let epoch = self.next_epoch.0;
            self.epoch(|subtask| hears(epoch, subtask)).await?;
        }
        Ok(())
    }

    async fn newest(&self) -> Manifest {
        self.process.folder.show(Epoch(self.next_epoch.0 - 1)).await.unwrap()
    }
}

/// Two barriers in a row without a notice, then two with: a snapshot then builds on a checkpoint that the one before it does not.
fn late(epoch: u64, subtask: usize) -> bool {
    (epoch as usize + subtask) % 4 < 2
}

fn state_files(disk: &MemoryDisk) -> BTreeSet<String> {
    disk.paths().into_iter().filter(|path| path.contains("/state/")).collect()
}

fn named<'a>(files: impl IntoIterator<Item = &'a StateFile>) -> BTreeSet<String> {
    files.into_iter().map(|file| file.path.clone()).collect()
}

#[test]
fn checkpoints_that_build_on_each_other_are_restored_at_any_parallelism() {
    let disk = MemoryDisk::new();
    block_on(async {
        let mut epochs_with_earlier = 0;
        for (seed, parallelism) in [(1, 2), (2, 3), (3, 1), (4, 4), (5, 2)] {
            let process = Process::new(&disk, seed);
            let mut job = Job::start(process, Resume::Latest, parallelism).await.unwrap();
            for _ in 0..7 {
                job.epochs(1, late).await.unwrap();
                epochs_with_earlier += usize::from(!job.newest().await.earlier.is_empty());
                assert_eq!(job.process.folder.verify(None).await.unwrap(), []);
            }
        }
        assert!(epochs_with_earlier > 25, "{epochs_with_earlier}");
        let last = Job::start(Process::new(&disk, 9), Resume::Latest, 3).await.unwrap();
        assert_eq!(last.position, 5 * 7 * ROWS_PER_EPOCH);
    });
}

#[test]
fn no_order_of_notices_lets_go_of_what_a_later_snapshot_needs() {
    // Two subtasks, five barriers, each notice at once or one barrier late, a restart in between or not: all of them.
    for pattern in 0u64..1 << 11 {
        let disk = MemoryDisk::new();
        let hears = |epoch: u64, subtask: usize| pattern >> ((epoch * 2 + subtask as u64) % 10) & 1 == 1;
        block_on(async {
            let mut job = Job::start(Process::new(&disk, 1), Resume::Fresh, 2).await.unwrap();
            job.epochs(3, hears).await.unwrap();
            if pattern >> 10 == 1 {
                job = Job::start(Process::new(&disk, 2), Resume::Latest, 2).await.unwrap();
            }
            job.epochs(2, hears).await.unwrap();
            assert_eq!(job.process.folder.verify(None).await.unwrap(), [], "pattern {pattern:b}");
            Job::start(Process::new(&disk, 3), Resume::Latest, 3).await.unwrap();
        });
    }
}

#[test]
fn what_nothing_builds_on_is_removed_and_no_more() {
    let disk = MemoryDisk::new();
    block_on(async {
        let mut job = Job::start(Process::new(&disk, 1), Resume::Fresh, 2).await.unwrap();
        let mut most = 0;
        for _ in 0..40 {
            job.epochs(1, |_, _| true).await.unwrap();
            most = most.max(state_files(&disk).len());
        }
        // Every file on disk is named by the newest checkpoint, or by the one before, which the next snapshots might build on.
        assert!(most <= 2 * (4 + 1 + 1) + 2, "{most} files");
        job.epochs(1, |_, _| true).await.unwrap();
        let newest = job.newest().await;
        assert!(named(newest.all_files()).is_subset(&state_files(&disk)));
        assert!(newest.earlier.len() <= 2 * 4, "{}", newest.earlier.len());
        let info = job.process.folder.list().await.unwrap().pop().unwrap().summary.unwrap();
        assert!(info.written_bytes < info.state_bytes && info.files == newest.all_files().count());
    });
}

#[test]
fn an_older_checkpoint_goes_on_without_what_came_after_it() {
    let disk = MemoryDisk::new();
    block_on(async {
        let mut job = Job::start(Process::new(&disk, 1), Resume::Fresh, 2).await.unwrap();
        job.epochs(3, late).await.unwrap();
        // Two more are kept, then the job goes back behind them and on.
        job.process.folder.retain(3).await.unwrap();
        let asked = Epoch(job.next_epoch.0 - 1);
        let mut ahead = Job::start(Process::new(&disk, 2), Resume::Latest, 2).await.unwrap();
        let process = Process::new(&disk, 3);
        (0..ROWS_PER_EPOCH).for_each(|_| ahead.row());
        let before = ahead.position - ROWS_PER_EPOCH;
        let mut back = Job::start(process, Resume::Epoch(asked), 3).await.unwrap();
        assert_eq!(back.position, before);
        back.epochs(4, late).await.unwrap();
        assert_eq!(ahead.epoch(|_| true).await.unwrap_err().kind(), Kind::Fenced);
        Job::start(Process::new(&disk, 4), Resume::Latest, 1).await.unwrap();
    });
}

#[test]
fn a_broken_or_missing_file_that_a_checkpoint_builds_on_is_named() {
    for broken in [false, true] {
        let disk = MemoryDisk::new();
        block_on(async {
            let mut job = Job::start(Process::new(&disk, 1), Resume::Fresh, 1).await.unwrap();
            job.epochs(4, |_, _| true).await.unwrap();
            let newest = job.newest().await;
            let path = newest.earlier[0].path.clone();
            if broken {
                assert!(disk.flip_byte(&path, 40));
            } else {
                job.process.store.delete(&path).await.unwrap();
            }
            let problems = job.process.folder.verify(Some(newest.epoch)).await.unwrap();
            assert_eq!(problems.iter().map(|problem| &problem.path).collect::<Vec<_>>(), [&path]);
            let error = job.process.folder.load(&newest, |_| true).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt);
            assert!(error.chain().contains(&path), "{}", error.chain());
        });
    }
}

#[test]
fn a_link_that_leads_nowhere_is_corrupt_and_not_an_empty_state() {
    let disk = MemoryDisk::new();
    block_on(async {
        let mut job = Job::start(Process::new(&disk, 1), Resume::Fresh, 1).await.unwrap();
        job.epochs(3, |_, _| true).await.unwrap();
        let mut manifest = job.newest().await;
        manifest.earlier.remove(0);
        assert_eq!(job.process.folder.load(&manifest, |_| true).await.unwrap_err().kind(), Kind::Corrupt);
    });
}

/// Runs an attempt of `epochs` epochs until it is done or has made `calls` store calls; answers how many were left.
fn run_and_stop(disk: &MemoryDisk, seed: u64, calls: usize, epochs: u64) -> usize {
    let (process, calls_left): (_, Arc<AtomicUsize>) = StoppingStore::process(disk, seed, calls);
    let work = async {
        let mut job = Job::start(process, Resume::Latest, 1 + (seed % 3) as u16).await?;
        job.epochs(epochs, late).await
    };
    if let Some(result) = Box::pin(work).now_or_never() {
        result.unwrap();
    }
    calls_left.load(Ordering::SeqCst)
}

#[test]
fn a_stop_after_any_store_call_leaves_a_checkpoint_that_can_be_restored_and_built_on() {
    let calls = 10_000 - run_and_stop(&MemoryDisk::new(), 1, 10_000, 6);
    assert!(calls > 100, "{calls}");
    for stop_after in 0..=calls {
        for power_loss in [false, true] {
            let disk = MemoryDisk::new();
            run_and_stop(&disk, 1, stop_after, 6);
            if power_loss {
                disk.crash(stop_after as u64);
            }
            // The second attempt stops early too, in the middle of what builds on the first one's files.
            run_and_stop(&disk, 2, 20 + stop_after % 40, 4);
            if power_loss {
                disk.crash(stop_after as u64 + 1);
            }
            block_on(async {
                let mut job = Job::start(Process::new(&disk, 3), Resume::Latest, 2).await.unwrap();
                job.epochs(5, late).await.unwrap();
                assert_eq!(job.process.folder.verify(None).await.unwrap(), [], "stopped after {stop_after} calls");
                let position = job.position;
                let last = Job::start(Process::new(&disk, 4), Resume::Latest, 3).await.unwrap();
                assert_eq!(last.position, position);
            });
        }
    }
}

#[test]
fn each_planted_bug_of_removal_is_noticed() {
    for (bug, keep) in [(None, 1), (None, 3), (Some(PlantedBug::TrimBuiltOn), 3), (Some(PlantedBug::TrimMayBuildOn), 1)]
    {
        let disk = MemoryDisk::new();
        let mut process = Process::new(&disk, 1);
        process.folder = process.folder.clone().with_bug(bug);
        block_on(async {
            let mut job = Job::start(process, Resume::Fresh, 2).await.unwrap();
            job.keep = keep;
            let mut problems = 0;
            for _ in 0..20 {
                // The files of an earlier checkpoint are asked for after they have gone.
                job.epochs(1, late).await.unwrap();
                problems += job.process.folder.verify(None).await.unwrap().len();
            }
            assert_eq!(problems > 0, bug.is_some(), "{bug:?}: {problems} problems");
        });
    }
}

#[test]
fn a_manifest_of_format_1_is_still_read() {
    let disk = MemoryDisk::new();
    let process = Process::new(&disk, 1);
    block_on(async {
        let started = process.restart(Resume::Fresh).await.unwrap();
        let next = process.epoch(&started, Epoch(2), 0).await.unwrap();
        process.epoch(&started, next, 1).await.unwrap();
        let mut manifest = process.folder.show(Epoch(3)).await.unwrap();
        // As format 1 wrote it: nothing of what a file holds or builds on.
        manifest.format = 1;
        for file in &mut manifest.files {
            (file.epoch, file.completed, file.parts) = (None, None, BTreeMap::new());
        }
        let text = serde_json::to_string(&manifest).unwrap();
        assert!(!text.contains("earlier") && !text.contains("parts"), "{text}");
        let read: Manifest = serde_json::from_str(&text).unwrap();
        let entries = process.folder.load(&read, |_| true).await.unwrap();
        assert_eq!(entries, snapshot(Epoch(3), 2).entries);
    });
}
