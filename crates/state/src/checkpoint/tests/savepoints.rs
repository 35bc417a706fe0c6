//! What a savepoint keeps, what it refuses, and what crashes leave.

use futures::FutureExt;

use super::crash::StoppingStore;
use super::*;
use crate::checkpoint::{PlantedBug, StillNeeded};
use crate::store::power_loss_tests::StoppingDisk;

/// A job that has published this many checkpoints, with no more than one kept, and a savepoint after the second.
async fn with_savepoint(process: &Process, checkpoints: u64) -> Started {
    let started = process.restart(Resume::Fresh).await.unwrap();
    for count in 0..checkpoints {
        process.epoch(&started, Epoch(count + 2), count).await.unwrap();
        process.folder.retain(1).await.unwrap();
        if count == 1 {
            let savepoint = process.folder.create_savepoint("before-upgrade", None).await.unwrap();
            assert_eq!(savepoint.regions, [(0, Epoch(3))].into());
        }
    }
    started
}

#[test]
fn a_savepoint_stays_restorable_however_old_it_is() {
    let process = Process::new(&MemoryDisk::new(), 1);
    block_on(async {
        with_savepoint(&process, 10).await;
        assert_eq!(process.folder.verify(None).await.unwrap(), []);
        let epochs: Vec<Epoch> = process.folder.list().await.unwrap().iter().map(|info| info.epoch).collect();
        assert_eq!(epochs, [Epoch(3), Epoch(11)]);
        let savepoint = process.folder.savepoint("before-upgrade").await.unwrap();
        let started = process.restart(Resume::Epoch(savepoint.regions[&0])).await.unwrap();
        assert_eq!(process.count(&started).await.unwrap(), 2);
    });
}

#[test]
fn nothing_that_a_savepoint_may_ask_for_is_said_to_be_free() {
    let process = Process::new(&MemoryDisk::new(), 1);
    block_on(async {
        with_savepoint(&process, 10).await;
        let needed = |journal, edges| Some(StillNeeded { journal: Epoch(journal), edges: Epoch(edges) });
        assert_eq!(process.folder.retain(1).await.unwrap(), needed(3, 11), "logs have been copied");
        process.folder.remove_savepoint("before-upgrade").await.unwrap();
        assert_eq!(process.folder.retain(1).await.unwrap(), needed(11, 11));
        assert_eq!(process.restart(Resume::Epoch(Epoch(3))).await.unwrap_err().kind(), Kind::Invalid);
    });
}

#[test]
fn an_epoch_that_a_job_was_decided_to_go_back_to_outlives_its_savepoint_until_it_did() {
    let process = Process::new(&MemoryDisk::new(), 1);
    block_on(async {
        with_savepoint(&process, 10).await;
        process.folder.decide_restore(&[(0, Epoch(3))].into(), None).await.unwrap();
        process.folder.remove_savepoint("before-upgrade").await.unwrap();
        process.folder.retain(1).await.unwrap();
        let started = process.restart(Resume::Epoch(Epoch(3))).await.unwrap();
        assert_eq!(process.count(&started).await.unwrap(), 2);
        process.epoch(&started, started.next_epoch, 3).await.unwrap();
        process.folder.retain(1).await.unwrap();
        assert_eq!(process.restart(Resume::Epoch(Epoch(3))).await.unwrap_err().kind(), Kind::Invalid);
    });
}

#[test]
fn a_record_of_what_was_removed_before_it_keeps_nothing_from_being_removed() {
    let process = Process::new(&MemoryDisk::new(), 1);
    block_on(async {
        with_savepoint(&process, 10).await;
        let made = process.folder.savepoint("before-upgrade").await.unwrap();
        let path = process.folder.records.layout.savepoint("late").unwrap();
        let named =
            |complete| crate::checkpoint::Savepoint { regions: [(0, Epoch(5))].into(), complete, ..made.clone() };
        for (complete, expected) in [(false, Ok(Some(Epoch(3)))), (true, Err(Kind::Corrupt))] {
            process.store.put(&path, crate::checkpoint::sealed::seal(&named(complete)).unwrap()).await.unwrap();
            let retained = process.folder.retain(1).await;
            let found = retained.map(|needed| needed.map(|needed| needed.journal)).map_err(|error| error.kind());
            assert_eq!(found, expected, "complete: {complete}");
        }
    });
}

#[test]
fn while_a_job_can_go_back_to_its_beginning_everything_is_needed() {
    let process = Process::new(&MemoryDisk::new(), 1);
    block_on(async {
        let started = process.restart(Resume::Fresh).await.unwrap();
        process.epoch(&started, Epoch(2), 0).await.unwrap();
        let started = process.restart(Resume::Epoch(Epoch(1))).await.unwrap();
        assert_eq!(started.next_epoch, Epoch(4), "epoch 3 claims the empty state");
        let needed = |epoch| Some(StillNeeded { journal: Epoch(epoch), edges: Epoch(epoch) });
        process.epoch(&started, Epoch(4), 0).await.unwrap();
        assert_eq!(process.folder.retain(2).await.unwrap(), needed(0));
        process.epoch(&started, Epoch(5), 1).await.unwrap();
        assert_eq!(process.folder.retain(2).await.unwrap(), needed(4));
    });
}

/// What is held after `checkpoints` for a savepoint of the third epoch that is still being made.
fn held_while_copied(bug: Option<PlantedBug>) -> StillNeeded {
    let mut process = Process::new(&MemoryDisk::new(), 1);
    process.folder = process.folder.clone().with_bug(bug);
    block_on(async {
        with_savepoint(&process, 3).await;
        let made = process.folder.savepoint("before-upgrade").await.unwrap();
        let path = process.folder.records.layout.savepoint("before-upgrade").unwrap();
        let half = crate::checkpoint::Savepoint { complete: false, ..made };
        process.store.put(&path, crate::checkpoint::sealed::seal(&half).unwrap()).await.unwrap();
        process.folder.retain(1).await.unwrap().unwrap()
    })
}

#[test]
fn logs_are_held_while_they_are_copied() {
    let held = StillNeeded { journal: Epoch(3), edges: Epoch(3) };
    assert_eq!(held_while_copied(None), held);
    assert_ne!(held_while_copied(Some(PlantedBug::TrimWhileCopied)), held, "the planted bug is not seen");
}

#[test]
fn removal_that_forgets_savepoints_is_noticed() {
    let disk = MemoryDisk::new();
    let mut process = Process::new(&disk, 1);
    process.folder = process.folder.clone().with_bug(Some(PlantedBug::TrimSavepoints));
    block_on(async {
        with_savepoint(&process, 10).await;
        assert_ne!(process.folder.verify(None).await.unwrap(), []);
    });
}

/// What is broken once a removal has stopped after `calls` calls of the disk, the job has gone on, and power is lost.
fn broken_by_removal(bug: Option<PlantedBug>, calls: usize, seed: u64) -> Option<String> {
    let disk = MemoryDisk::new();
    let process = Process::new(&disk, 1);
    let stopping = StoppingDisk { inner: disk.clone(), calls_left: calls.into() };
    let env = ManualEnv::new(2);
    let store = LocalStore::new(Arc::new(env.clone()), Arc::new(stopping), "disk");
    let mut remover = Process::over(env, Arc::new(store));
    remover.folder = remover.folder.clone().with_bug(bug);
    block_on(async {
        with_savepoint(&process, 10).await;
        let _ = remover.folder.remove_savepoint("before-upgrade").now_or_never();
        process.folder.retain(1).await.unwrap();
        disk.crash(seed);
        if let Err(error) = process.folder.retain(1).await {
            return Some(error.chain());
        }
        for savepoint in process.folder.savepoints().await.unwrap().iter().filter(|savepoint| savepoint.complete) {
            let problems = process.folder.verify(Some(savepoint.regions[&0])).await.unwrap();
            if let Some(problem) = problems.into_iter().next() {
                return Some(problem.what);
            }
        }
        None
    })
}

#[test]
fn a_removal_that_power_loss_undoes_leaves_nothing_that_looks_whole() {
    let cases = || (0..20).flat_map(|calls| (0..20).map(move |seed| (calls, seed)));
    for (calls, seed) in cases() {
        assert_eq!(broken_by_removal(None, calls, seed), None, "after {calls} calls, seed {seed}");
    }
    let bug = Some(PlantedBug::RemoveSavepointAtOnce);
    assert!(cases().any(|(calls, seed)| broken_by_removal(bug, calls, seed).is_some()), "the planted bug is not seen");
}

#[test]
fn names_are_taken_once_and_found_again() {
    let process = Process::new(&MemoryDisk::new(), 1);
    block_on(async {
        with_savepoint(&process, 3).await;
        let error = process.folder.create_savepoint("before-upgrade", None).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        let error = process.folder.savepoint("other").await.unwrap_err();
        assert!(error.to_string().contains("savepoints=before-upgrade"), "{error}");
        let error = process.folder.remove_savepoint("other").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
    });
}

#[test]
fn a_region_without_a_checkpoint_has_no_savepoint() {
    let process = Process::new(&MemoryDisk::new(), 1);
    block_on(async {
        assert_eq!(process.folder.create_savepoint("early", None).await.unwrap_err().kind(), Kind::Invalid);
        let started = process.restart(Resume::Fresh).await.unwrap();
        let error = process.folder.create_savepoint("early", None).await.unwrap_err();
        assert!(error.chain().contains("after its first"), "{}", error.chain());
        process.epoch(&started, Epoch(2), 0).await.unwrap();
        process.folder.clone().of_region(1).restart(Resume::Fresh, &Committers::new()).await.unwrap();
        let error = process.folder.create_savepoint("cut", None).await.unwrap_err();
        assert!(error.chain().contains("region=r2"), "{}", error.chain());
        assert_eq!(process.folder.savepoints().await.unwrap(), []);
    });
}

#[test]
fn a_crash_while_one_is_made_leaves_a_savepoint_that_is_refused_and_can_be_removed() {
    let disk = MemoryDisk::new();
    let process = Process::new(&disk, 1);
    block_on(async {
        let started = process.restart(Resume::Fresh).await.unwrap();
        process.epoch(&started, Epoch(2), 0).await.unwrap();
        let path = process.folder.records.layout.savepoint("half").unwrap();
        let half = crate::checkpoint::Savepoint {
            format: 1,
            name: "half".to_string(),
            created_wall_micros: 0,
            regions: [(0, Epoch(2))].into(),
            edges: BTreeMap::new(),
            complete: false,
        };
        process.store.put(&path, crate::checkpoint::sealed::seal(&half).unwrap()).await.unwrap();
        let error = process.folder.savepoint("half").await.unwrap_err();
        assert!(error.chain().contains("not completed"), "{}", error.chain());
        process.folder.remove_savepoint("half").await.unwrap();
        assert_eq!(process.folder.savepoints().await.unwrap(), []);
    });
}

#[test]
fn damage_of_a_savepoint_stops_removal_and_names_the_file() {
    let disk = MemoryDisk::new();
    let process = Process::new(&disk, 1);
    block_on(async {
        with_savepoint(&process, 3).await;
        assert!(disk.flip_byte("job/savepoint/before-upgrade.json", 20));
        let error = process.folder.retain(1).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.to_string().contains("before-upgrade.json"), "{error}");
    });
}

#[test]
fn only_what_was_not_given_up_is_restorable() {
    let process = Process::new(&MemoryDisk::new(), 1);
    block_on(async {
        let started = process.restart(Resume::Fresh).await.unwrap();
        for count in 0..4 {
            process.epoch(&started, Epoch(count + 2), count).await.unwrap();
        }
        let epochs =
            |found: Vec<crate::checkpoint::Manifest>| -> Vec<u64> { found.iter().map(|m| m.epoch.0).collect() };
        assert_eq!(epochs(process.folder.restorable(None).await.unwrap()), [2, 3, 4, 5]);
        assert_eq!(epochs(process.folder.restorable(Some(Epoch(4))).await.unwrap()), [2, 3, 4]);
        // Back to 3: the claim, 6, holds its state, and 4 and 5 are given up.
        process.restart(Resume::Epoch(Epoch(3))).await.unwrap();
        assert_eq!(epochs(process.folder.restorable(None).await.unwrap()), [2, 3, 6]);
        assert_eq!(process.folder.restorable(Some(Epoch(5))).await.unwrap_err().kind(), Kind::Invalid);
        assert_eq!(process.folder.restorable(Some(Epoch(9))).await.unwrap_err().kind(), Kind::Invalid);
    });
}

#[test]
fn that_a_savepoint_was_given_up_is_remembered_when_the_claim_is_gone_that_says_so() {
    let process = Process::new(&MemoryDisk::new(), 1);
    block_on(async {
        let started = process.restart(Resume::Fresh).await.unwrap();
        for count in 0..3 {
            process.epoch(&started, Epoch(count + 2), count).await.unwrap();
        }
        let before = process.folder.create_savepoint("before", None).await.unwrap();
        assert!(!process.folder.has_given_up(&before).await.unwrap());
        let started = process.restart(Resume::Epoch(Epoch(2))).await.unwrap();
        assert!(process.folder.has_given_up(&before).await.unwrap());
        for count in 0..6 {
            process.epoch(&started, Epoch(started.next_epoch.0 + count), count).await.unwrap();
            process.folder.retain(1).await.unwrap();
        }
        let epochs: Vec<u64> = process.folder.list().await.unwrap().iter().map(|info| info.epoch.0).collect();
        assert_eq!(epochs, [4, 11], "the claim is gone");
        let error = process.restart(Resume::Epoch(Epoch(4))).await.unwrap_err();
        assert!(error.to_string().contains("given up by"), "{error}");
        assert!(process.folder.has_given_up(&before).await.unwrap());
        let restorable = process.folder.restorable(None).await.unwrap();
        assert_eq!(restorable.iter().map(|manifest| manifest.epoch.0).collect::<Vec<_>>(), [11]);
    });
}

#[test]
fn a_savepoint_is_whole_at_whatever_moment_checkpoints_come() {
    let mut moments = 0;
    for calls in 0.. {
        let disk = MemoryDisk::new();
        let job = Process::new(&disk, 1);
        let (maker, calls_left) = StoppingStore::process(&disk, 2, calls);
        let finished = block_on(async {
            let started = job.restart(Resume::Fresh).await.unwrap();
            job.epoch(&started, Epoch(2), 0).await.unwrap();
            let mut made = Box::pin(maker.folder.create_savepoint("now", None));
            // As far as it comes with so many calls; then two checkpoints come, and only the newest is kept.
            let early = made.as_mut().now_or_never();
            for count in 1..3 {
                job.epoch(&started, Epoch(count + 2), count).await.unwrap();
                job.folder.retain(1).await.unwrap();
            }
            let finished = early.is_some();
            calls_left.store(usize::MAX, Ordering::SeqCst);
            let savepoint = match early {
                Some(done) => done.unwrap(),
                None => made.await.unwrap(),
            };
            for count in 3..6 {
                job.epoch(&started, Epoch(count + 2), count).await.unwrap();
                job.folder.retain(1).await.unwrap();
            }
            let epoch = savepoint.regions[&0];
            assert_eq!(job.folder.verify(Some(epoch)).await.unwrap(), [], "after {calls} calls, epoch {epoch}");
            finished
        });
        moments += 1;
        if finished {
            break;
        }
    }
    assert!(moments > 5, "only {moments} moments were tried");
}
