//! Several regions go back: a crash after any store call leaves all of them where they were, or on their way.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use futures::FutureExt;

use super::crash::StoppingStore;
use super::*;
use crate::checkpoint::{Logs, Undone};
use crate::store::power_loss_tests::StoppingDisk;

const REGIONS: u32 = 2;

/// The folder of one region, without sinks.
fn region(process: &Process, region: u32) -> CheckpointFolder {
    process.folder.clone().of_region(region)
}

async fn publish(folder: &CheckpointFolder, epochs: u64) {
    let started = folder.restart(Resume::Fresh, &Committers::new()).await.unwrap();
    for number in 0..epochs {
        let draft = ManifestDraft::new(Epoch(started.next_epoch.0 + number));
        folder.publish(draft, &Committers::new()).await.unwrap();
    }
}

/// Both regions go back to epoch 2, in their order.
async fn go_back(process: &Process) -> Result<()> {
    process.folder.decide_restore(&(0..REGIONS).map(|region| (region, Epoch(2))).collect(), None).await?;
    for number in 0..REGIONS {
        region(process, number).restart(Resume::Epoch(Epoch(2)), &Committers::new()).await?;
    }
    Ok(())
}

/// The state of each region's newest epoch after a start that asks for the latest.
async fn start_latest(process: &Process) -> Vec<u64> {
    let undone = process.folder.undone_restore().await.unwrap();
    let mut states = Vec::new();
    for number in 0..REGIONS {
        let resume = undone.regions.get(&number).map_or(Resume::Latest, |epoch| Resume::Epoch(*epoch));
        let started = region(process, number).restart(resume, &Committers::new()).await.unwrap();
        states.push(started.restored.unwrap().state_of.unwrap().0);
    }
    assert_eq!(process.folder.undone_restore().await.unwrap().regions, BTreeMap::new(), "all of it is carried out");
    states
}

#[test]
fn a_stop_after_any_store_call_leaves_no_region_behind() {
    let (mut stayed, mut went) = (0, 0);
    for calls in 0.. {
        let disk = MemoryDisk::new();
        let first = Process::new(&disk, 1);
        block_on(async {
            publish(&region(&first, 0), 4).await;
            publish(&region(&first, 1), 4).await;
        });
        let (process, calls_left) = StoppingStore::process(&disk, 2, calls);
        let done = go_back(&process).now_or_never().is_some();
        disk.crash(calls as u64);
        match block_on(start_latest(&Process::new(&disk, 3)))[..] {
            [5, 5] => stayed += 1,
            [2, 2] => went += 1,
            ref other => panic!("after {calls} calls the regions went on from {other:?}"),
        }
        if done && calls_left.load(Ordering::SeqCst) > 0 {
            break;
        }
    }
    assert!(stayed > 0 && went > 0, "{stayed} stops before the decision, {went} after it");
}

#[test]
fn what_is_decided_upon_survives_power_loss() {
    for (calls, seed) in cases() {
        let disk = two_regions();
        let publishing = stopping(&disk, calls);
        let _ = publish_on(&region(&publishing, 0)).now_or_never();
        let decider = Process::new(&disk, 3);
        let back = (0..REGIONS).map(|region| (region, Epoch(2))).collect();
        block_on(decider.folder.decide_restore(&back, None)).unwrap();
        disk.crash(seed);
        let found = block_on(start_latest(&Process::new(&disk, 4)));
        assert_eq!(found, [2, 2], "after {calls} calls, seed {seed}");
    }
}

#[test]
fn a_decision_that_is_carried_out_survives_power_loss() {
    for (calls, seed) in cases() {
        let disk = two_regions();
        let _ = go_back(&stopping(&disk, calls)).now_or_never();
        // The next one goes on with the first region alone, and power is lost.
        let next = Process::new(&disk, 3);
        block_on(async {
            let undone = next.folder.undone_restore().await.unwrap();
            let resume = undone.regions.get(&0).map_or(Resume::Latest, |epoch| Resume::Epoch(*epoch));
            region(&next, 0).restart(resume, &Committers::new()).await.unwrap();
        });
        disk.crash(seed);
        let found = block_on(start_latest(&Process::new(&disk, 4)));
        assert!(found == [5, 5] || found == [2, 2], "after {calls} calls, seed {seed}: {found:?}");
    }
}

#[test]
fn a_savepoint_that_is_decided_upon_survives_power_loss() {
    let mut told = 0;
    for (calls, seed) in cases() {
        let disk = two_regions();
        let made = stopping(&disk, calls).folder.create_savepoint("before", Some(&logs())).now_or_never();
        told += usize::from(made.is_some());
        let decider = Process::new(&disk, 3);
        let decided = block_on(async {
            let savepoint = decider.folder.savepoint("before").await.ok()?;
            decider.folder.decide_restore(&savepoint.regions, Some("before")).await.ok()
        });
        disk.crash(seed);
        let found = block_on(Process::new(&disk, 4).folder.savepoint("before"));
        assert!(decided.is_none() || found.is_ok(), "after {calls} calls, seed {seed}: {found:?}");
    }
    assert!(told > 0, "none was made to its end");
}

/// After how many calls of the disk a process ends, with a seed of what power loss leaves.
fn cases() -> impl Iterator<Item = (usize, u64)> {
    (0..150).flat_map(|calls| (0..4).map(move |seed| (calls, seed)))
}

/// Two regions with four checkpoints each.
fn two_regions() -> MemoryDisk {
    let disk = MemoryDisk::new();
    block_on(async {
        let first = Process::new(&disk, 1);
        publish(&region(&first, 0), 4).await;
        publish(&region(&first, 1), 4).await;
    });
    disk
}

/// The logs of one edge to which nothing was written yet.
fn logs() -> Logs {
    let disk = MemoryDisk::new();
    block_on(disk.append("edges/cut/other", Bytes::from_static(b"no file of a log"))).unwrap();
    Logs { disk: Arc::new(disk), folder: "edges".to_string() }
}

/// Goes on with the newest checkpoint, and publishes one more.
async fn publish_on(folder: &CheckpointFolder) {
    let started = folder.restart(Resume::Latest, &Committers::new()).await.unwrap();
    folder.publish(ManifestDraft::new(started.next_epoch), &Committers::new()).await.unwrap();
}

/// A process that ends after `calls` calls of the disk.
fn stopping(disk: &MemoryDisk, calls: usize) -> Process {
    let env = ManualEnv::new(2);
    let inner = StoppingDisk { inner: disk.clone(), calls_left: calls.into() };
    let store = LocalStore::new(Arc::new(env.clone()), Arc::new(inner), "disk");
    Process::over(env, Arc::new(store))
}

#[test]
fn a_decision_counts_until_the_regions_went_on() {
    let process = Process::new(&MemoryDisk::new(), 1);
    block_on(async {
        publish(&region(&process, 0), 3).await;
        publish(&region(&process, 1), 3).await;
        assert_eq!(process.folder.undone_restore().await.unwrap().regions, BTreeMap::new());
        go_back(&process).await.unwrap();
        assert_eq!(process.folder.undone_restore().await.unwrap().regions, BTreeMap::new());
        let error = process.folder.decide_restore(&[(7, Epoch(1))].into(), None).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
    });
}

#[test]
fn a_decision_for_a_savepoint_names_it_until_all_regions_went_on() {
    let (process, logs) = (Process::new(&MemoryDisk::new(), 1), logs());
    block_on(async {
        publish(&region(&process, 0), 3).await;
        publish(&region(&process, 1), 3).await;
        let decided = [(0, Epoch(2)), (1, Epoch(3))].into();
        let error = process.folder.decide_restore(&decided, Some("before")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "there is no such savepoint");
        process.folder.create_savepoint("before", Some(&logs)).await.unwrap();
        process.folder.decide_restore(&decided, Some("before")).await.unwrap();
        let undone = |regions: &[(u32, u64)], savepoint: Option<&str>| Undone {
            regions: regions.iter().map(|(region, epoch)| (*region, Epoch(*epoch))).collect(),
            savepoint: savepoint.map(ToString::to_string),
        };
        assert_eq!(process.folder.undone_restore().await.unwrap(), undone(&[(0, 2), (1, 3)], Some("before")));
        let error = process.folder.create_savepoint("between", None).await.unwrap_err();
        assert!(error.chain().contains("on its way back"), "{}", error.chain());
        assert_eq!(process.folder.savepoints().await.unwrap().len(), 1, "what was begun is removed");
        region(&process, 0).restart(Resume::Epoch(Epoch(2)), &Committers::new()).await.unwrap();
        assert_eq!(process.folder.undone_restore().await.unwrap(), undone(&[(1, 3)], Some("before")));
        region(&process, 1).restart(Resume::Epoch(Epoch(3)), &Committers::new()).await.unwrap();
        assert_eq!(process.folder.undone_restore().await.unwrap(), undone(&[], None));
    });
}
