//! Every byte of a log changed, and every file cut at every byte: an error that names the file, or the right rows. Never others.

use futures::executor::block_on;

use forebay_core::Kind;
use forebay_core::disk::Disk;

use super::*;

/// A log of several segments by two attempts, and the state and number of its newest checkpoint.
fn written(mode: EdgeMode) -> (MemoryDisk, Groups) {
    let disk = MemoryDisk::new();
    let process = Process::open(&disk, 1, settings(mode)).unwrap();
    let none = Groups::new();
    process.take_over(1, None, Epoch(1), &none).unwrap().unwrap();
    let mut writers = process.writers(1, 1, &none);
    write(&mut writers, &batch(0..10));
    let state = process.barrier(&mut writers, Epoch(2)).unwrap();
    process.publish(Epoch(2));
    write(&mut writers, &batch(10..13));
    process.barrier(&mut writers, Epoch(3)).unwrap();
    process.take_over(2, Some(Epoch(2)), Epoch(3), &state).unwrap().unwrap();
    let mut writers = process.writers(2, 1, &state);
    write(&mut writers, &batch(10..20));
    let state = process.barrier(&mut writers, Epoch(4)).unwrap();
    (disk, state)
}

/// What a restart of both sides reads, from the start, or the error that stops it.
fn read_back(disk: &MemoryDisk, mode: EdgeMode, state: &Groups) -> Result<Vec<i64>> {
    let process = Process::open(disk, 3, settings(mode))?;
    process.take_over(3, Some(Epoch(4)), Epoch(5), state).unwrap()?;
    process.publish(Epoch(4));
    let (mut readers, mut seen) = (process.readers(1, &Groups::new())?, Seen::default());
    process.read(&mut readers[0], &mut seen)?;
    Ok(sorted(seen.rows))
}

/// Changes a copy of the log by `change` and reads it back.
fn check(change: impl Fn(&MemoryDisk, &str, usize), what: &str) {
    for mode in [EdgeMode::CommitRead, EdgeMode::IdDedupe] {
        let (disk, _) = written(mode);
        let all = (0..20).collect::<Vec<_>>();
        let (mut noticed, mut harmless) = (0, 0);
        for path in disk.paths() {
            let length = block_on(disk.read(&path)).unwrap().unwrap().len();
            for place in (0..length).step_by(3) {
                let (disk, state) = written(mode);
                change(&disk, &path, place);
                match read_back(&disk, mode, &state) {
                    Ok(rows) => {
                        assert_eq!(rows, all, "{what} {path} {place} {mode:?}");
                        harmless += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), Kind::Corrupt, "{what} {path} {place}: {}", error.chain());
                        assert!(error.chain().contains(".fbe"), "{}", error.chain());
                        noticed += 1;
                    }
                }
            }
        }
        assert!(noticed > harmless, "{what} {mode:?}: {noticed} noticed, {harmless} harmless");
    }
}

#[test]
fn every_changed_byte_is_noticed_or_harmless() {
    check(|disk, path, place| assert!(disk.flip_byte(path, place)), "flipped");
}

#[test]
fn every_cut_file_is_noticed_or_harmless() {
    check(|disk, path, place| block_on(disk.truncate(path, place as u64)).unwrap(), "cut");
}

#[test]
fn a_damaged_record_found_while_reading_names_file_and_byte() {
    let (disk, state) = written(EdgeMode::CommitRead);
    let process = Process::open(&disk, 3, settings(EdgeMode::CommitRead)).unwrap();
    process.take_over(3, Some(Epoch(4)), Epoch(5), &state).unwrap().unwrap();
    process.publish(Epoch(4));
    assert!(disk.flip_byte("edge/a/00000001-1.fbe", 200));
    let mut readers = process.readers(1, &Groups::new()).unwrap();
    let error = process.read(&mut readers[0], &mut Seen::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("edge/a/00000001-1.fbe") && error.to_string().contains("byte="), "{error}");
}

#[test]
fn a_missing_segment_is_noticed() {
    let (disk, state) = written(EdgeMode::CommitRead);
    let middle = disk.paths()[1].clone();
    block_on(disk.remove(&middle)).unwrap();
    assert_eq!(read_back(&disk, EdgeMode::CommitRead, &state).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn a_crash_while_what_was_cut_off_is_trimmed_is_no_damage() {
    let mut opened = 0;
    for removed in 0.. {
        let (disk, none) = (MemoryDisk::new(), Groups::new());
        let first = Process::open(&disk, 1, settings(EdgeMode::CommitRead)).unwrap();
        first.take_over(1, None, Epoch(1), &none).unwrap().unwrap();
        let mut writers = first.writers(1, 1, &none);
        for start in [0, 10, 20, 30] {
            write(&mut writers, &batch(start..start + 10));
            first.barrier(&mut writers, Epoch(2)).unwrap();
        }
        // Nothing of it was published: the next attempt begins again.
        let second = Process::open(&disk, 2, settings(EdgeMode::CommitRead)).unwrap();
        second.take_over(2, None, Epoch(2), &none).unwrap().unwrap();
        let mut writers = second.writers(2, 1, &none);
        write(&mut writers, &batch(100..110));
        let state = second.barrier(&mut writers, Epoch(3)).unwrap();
        let cut_off: Vec<String> = disk.paths().into_iter().filter(|path| path.contains("-1.fbe")).collect();
        if removed > cut_off.len() {
            break;
        }
        for path in &cut_off[..removed] {
            block_on(disk.remove(path)).unwrap();
        }
        let third = Process::open(&disk, 3, settings(EdgeMode::CommitRead)).unwrap();
        third.take_over(3, Some(Epoch(3)), Epoch(4), &state).unwrap().unwrap();
        third.publish(Epoch(3));
        let (mut readers, mut seen) = (third.readers(1, &none).unwrap(), Seen::default());
        third.read(&mut readers[0], &mut seen).unwrap();
        assert_eq!(sorted(seen.rows), (100..110).collect::<Vec<_>>(), "{removed} files removed");
        opened += 1;
    }
    assert!(opened > 3, "only {opened} files were there to be removed");
}
