//! What `retain` gives up and what it never does.

use super::*;
use crate::checkpoint::StillNeeded;

fn files_below(disk: &MemoryDisk, folder: &str) -> usize {
    disk.paths().iter().filter(|path| path.starts_with(folder)).count()
}

/// Everything is needed from `epoch` on.
fn from(epoch: u64) -> Option<StillNeeded> {
    Some(StillNeeded { journal: Epoch(epoch), edges: Epoch(epoch) })
}

#[test]
fn the_newest_checkpoints_stay_restorable_and_the_folder_bounded() {
    let disk = MemoryDisk::new();
    let process = Process::new(&disk, 1);
    block_on(async {
        let started = process.restart(Resume::Fresh).await.unwrap();
        let mut epoch = started.next_epoch;
        for count in 0..10 {
            epoch = process.epoch(&started, epoch, count).await.unwrap();
            let needed = process.folder.retain(3).await.unwrap();
            assert_eq!(needed, if count < 2 { None } else { from(count) }, "{count}");
            assert_eq!(process.folder.verify(None).await.unwrap(), []);
        }
        assert_eq!(files_below(&disk, "job/region-0/state"), 3);
        assert_eq!(files_below(&disk, "job/region-0/manifest"), 3);
        assert_eq!(files_below(&disk, "job/region-0/committed"), 3);
        assert_eq!(files_below(&disk, "job/region-0/epoch"), 11);
        let error = process.restart(Resume::Epoch(Epoch(5))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("kept=9 to 11"), "{error}");
        let started = process.restart(Resume::Epoch(Epoch(10))).await.unwrap();
        assert_eq!(process.count(&started).await.unwrap(), 9);
    });
}

#[test]
fn keep_zero_keeps_the_newest() {
    let disk = MemoryDisk::new();
    let process = Process::new(&disk, 1);
    block_on(async {
        let started = process.restart(Resume::Fresh).await.unwrap();
        process.epoch(&started, Epoch(2), 0).await.unwrap();
        assert_eq!(process.folder.retain(0).await.unwrap(), from(2));
        let started = process.restart(Resume::Latest).await.unwrap();
        assert_eq!(process.count(&started).await.unwrap(), 1);
    });
}

#[test]
fn claims_keep_the_state_that_they_name() {
    let disk = MemoryDisk::new();
    let process = Process::new(&disk, 1);
    block_on(async {
        let started = process.restart(Resume::Fresh).await.unwrap();
        process.epoch(&started, Epoch(2), 0).await.unwrap();
        process.epoch(&started, Epoch(3), 1).await.unwrap();
        process.epoch(&started, Epoch(4), 2).await.unwrap();
        // Back to an old epoch, then several starts that get nowhere.
        for _ in 0..5 {
            process.restart(Resume::Epoch(Epoch(2))).await.unwrap();
        }
        assert_eq!(process.folder.retain(1).await.unwrap(), from(2), "the claims still need epoch 2");
        assert_eq!(process.folder.verify(None).await.unwrap(), []);
        let started = process.restart(Resume::Latest).await.unwrap();
        assert_eq!(process.count(&started).await.unwrap(), 1);
    });
}

#[test]
fn nothing_is_removed_while_a_kept_epoch_cannot_be_read() {
    let disk = MemoryDisk::new();
    let process = Process::new(&disk, 1);
    block_on(async {
        let started = process.restart(Resume::Fresh).await.unwrap();
        for count in 0..4 {
            process.epoch(&started, Epoch(count + 2), count).await.unwrap();
        }
        let path = disk.paths().into_iter().find(|path| path.contains("manifest/0000000005")).unwrap();
        assert!(disk.flip_byte(&path, 50));
        let before = disk.paths();
        assert_eq!(process.folder.retain(1).await.unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(disk.paths(), before);
    });
}
