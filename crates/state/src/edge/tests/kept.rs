//! A log that an earlier day's code wrote is read by today's: files and states in `kept/`, which are never written again.
//!
//! Written were rows 0 to 39 in two attempts of a producer: 0 to 19 published as epoch 2, then 20 to 26 whose epoch was not, then,
//! after a restart at another parallelism, 20 to 39 published as epoch 4. A consumer had read 0 to 19. Where the format changes, this
//! folder stays and another joins it. `UPDATE=1` writes a folder that is not there.

use std::fs;
use std::path::{Path, PathBuf};

use forebay_core::disk::Disk;

use super::*;

const LOG: &str = "edge/a";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/edge/tests/kept")
}

#[test]
fn a_kept_log_is_read_on_from_where_its_consumer_was_and_written_on_by_its_producer() {
    if !folder().exists() && std::env::var("UPDATE").is_ok_and(|update| update == "1") {
        keep();
    }
    let disk = MemoryDisk::new();
    let files = kept("segment");
    assert!(files.len() > 2, "several segments of two attempts: {:?}", files.keys());
    for (name, bytes) in files {
        disk.append(&format!("{LOG}/{name}"), bytes).now_or_never().unwrap().unwrap();
    }
    let state = |part: &str| kept(part).into_iter().map(|(group, bytes)| (KeyGroup(group.parse().unwrap()), bytes));
    let (writers, readers): (Groups, Groups) = (state("writer").collect(), state("reader").collect());
    let process = Process::open(&disk, 1, settings(EdgeMode::CommitRead)).unwrap();
    process.take_over(3, Some(Epoch(4)), Epoch(5), &writers).unwrap().unwrap();
    let (mut writing, mut reading) = (process.writers(3, 2, &writers), process.readers(1, &readers).unwrap());
    process.publish(Epoch(4));
    write(&mut writing, &batch(40..50));
    process.barrier(&mut writing, Epoch(6)).unwrap();
    process.publish(Epoch(6));
    let mut seen = Seen::default();
    process.read(&mut reading[0], &mut seen).unwrap();
    assert!(in_order(&seen.rows));
    assert_eq!(sorted(seen.rows), (20..50).collect::<Vec<_>>());
}

/// The files of one part of the folder, by name.
fn kept(part: &str) -> BTreeMap<String, Bytes> {
    let entries = fs::read_dir(folder().join(part)).unwrap().map(Result::unwrap);
    let file = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap().into());
    entries.map(file).collect()
}

/// Writes the folder with today's code.
fn keep() {
    let disk = MemoryDisk::new();
    let process = Process::open(&disk, 1, settings(EdgeMode::CommitRead)).unwrap();
    let none = Groups::new();
    process.take_over(1, None, Epoch(1), &none).unwrap().unwrap();
    let mut writers = process.writers(1, 2, &none);
    write(&mut writers, &batch(0..20));
    watermark(&mut writers, 5);
    let published = process.barrier(&mut writers, Epoch(2)).unwrap();
    process.publish(Epoch(2));
    let (mut readers, mut seen) = (process.readers(2, &none).unwrap(), Seen::default());
    readers.iter_mut().for_each(|reader| process.read(reader, &mut seen).unwrap());
    assert_eq!(seen.rows.len(), 20);
    let frozen: Vec<_> = readers.iter_mut().map(|reader| reader.snapshot(Epoch(9)).unwrap()).collect();
    let read: Groups = frozen.into_iter().flat_map(|frozen| frozen.now_or_never().unwrap().unwrap().groups).collect();
    write(&mut writers, &batch(20..27));
    process.barrier(&mut writers, Epoch(3)).unwrap();
    process.take_over(2, Some(Epoch(2)), Epoch(3), &published).unwrap().unwrap();
    let mut writers = process.writers(2, 3, &published);
    write(&mut writers, &batch(20..40));
    let written = process.barrier(&mut writers, Epoch(4)).unwrap();
    process.publish(Epoch(4));
    let save = |part: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(folder().join(part)).unwrap();
        fs::write(folder().join(part).join(name), bytes).unwrap();
    };
    for path in disk.paths() {
        let bytes = disk.read(&path).now_or_never().unwrap().unwrap().unwrap();
        save("segment", path.strip_prefix("edge/a/").unwrap(), &bytes);
    }
    written.iter().for_each(|(group, bytes)| save("writer", &group.0.to_string(), bytes));
    read.iter().for_each(|(group, bytes)| save("reader", &group.0.to_string(), bytes));
}
