//! Bytes that change or files that vanish: named, with the way out, and never guessed around.

use super::*;

/// A job with checkpoints 2, 3, 4 of 1, 2, 3 rows, all kept.
async fn three_checkpoints(disk: &MemoryDisk) -> Process {
    let process = Process::new(disk, 1);
    let started = process.restart(Resume::Fresh).await.unwrap();
    for count in 0..3 {
        process.epoch(&started, Epoch(count + 2), count).await.unwrap();
    }
    process
}

fn path_of(disk: &MemoryDisk, part: &str) -> String {
    disk.paths().into_iter().find(|path| path.contains(part)).unwrap()
}

#[test]
fn a_broken_record_or_manifest_stops_the_restart_and_names_the_way_out() {
    for part in ["epoch/0000000004", "manifest/0000000004"] {
        for broken in [Some(0), Some(100), None] {
            let disk = MemoryDisk::new();
            block_on(async {
                let process = three_checkpoints(&disk).await;
                let path = path_of(&disk, part);
                match broken {
                    Some(place) => assert!(disk.flip_byte(&path, place)),
                    None if part.starts_with("epoch") => return,
                    None => process.store.delete(&path).await.unwrap(),
                }
                let error = process.restart(Resume::Latest).await.unwrap_err();
                assert_eq!(error.kind(), Kind::Corrupt);
                let text = error.chain();
                assert!(text.contains(&path) && text.contains("--resume 3"), "{text}");

                let problems = process.folder.verify(None).await.unwrap();
                assert_eq!(problems.len(), 1);
                assert_eq!((problems[0].epoch, &problems[0].path), (Epoch(4), &path));
                assert!(process.folder.list().await.unwrap()[3].summary.is_err());

                let started = process.restart(Resume::Epoch(Epoch(3))).await.unwrap();
                assert_eq!(process.count(&started).await.unwrap(), 2);
                assert_eq!(started.next_epoch, Epoch(6), "numbers only grow");
                process.epoch(&started, Epoch(6), 2).await.unwrap();
                process.run_to(5).await.unwrap();
            });
        }
    }
}

#[test]
fn a_broken_state_file_stops_the_load_and_names_the_way_out() {
    let length = snapshot(Epoch(4), 3).encode().unwrap().len();
    for place in 0..=length {
        let disk = MemoryDisk::new();
        block_on(async {
            let process = three_checkpoints(&disk).await;
            let path = path_of(&disk, "state/0000000004");
            if place < length {
                assert!(disk.flip_byte(&path, place));
            } else {
                process.store.delete(&path).await.unwrap();
            }
            let started = process.restart(Resume::Latest).await.unwrap();
            let error = process.count(&started).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt);
            let text = error.chain();
            assert!(text.contains(&path) && text.contains("--resume 3"), "{text}");
            // Epoch 5 is the claim of the restart, with the same state.
            let problems = process.folder.verify(None).await.unwrap();
            assert_eq!(problems.iter().map(|problem| problem.epoch.0).collect::<Vec<_>>(), [4, 5]);
            assert!(problems.iter().all(|problem| problem.path == path && problem.to_do.contains("--resume 3")));
            let started = process.restart(Resume::Epoch(Epoch(3))).await.unwrap();
            assert_eq!(process.count(&started).await.unwrap(), 2);
        });
    }
}

#[test]
fn a_broken_older_checkpoint_does_not_stop_the_latest() {
    let disk = MemoryDisk::new();
    block_on(async {
        let process = three_checkpoints(&disk).await;
        assert!(disk.flip_byte(&path_of(&disk, "state/0000000003"), 30));
        let problems = process.folder.verify(None).await.unwrap();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].to_do.contains("nothing for `--resume latest`"), "{}", problems[0].to_do);
        assert_eq!(process.folder.verify(Some(Epoch(4))).await.unwrap(), []);
        let started = process.restart(Resume::Latest).await.unwrap();
        assert_eq!(process.count(&started).await.unwrap(), 3);
    });
}

#[test]
fn with_nothing_readable_the_error_says_so() {
    let disk = MemoryDisk::new();
    block_on(async {
        let process = three_checkpoints(&disk).await;
        for epoch in 2..=4 {
            assert!(disk.flip_byte(&path_of(&disk, &format!("manifest/{epoch:010}")), 30));
        }
        let text = process.restart(Resume::Latest).await.unwrap_err().chain();
        assert!(text.contains("no checkpoint can be read"), "{text}");
    });
}
