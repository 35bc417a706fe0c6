//! Torn tails and flipped bits: named, cut or stepped over, and nothing else lost.

use bytes::Bytes;
use forebay_core::Result;
use forebay_core::disk::Disk;
use forebay_core::testing::MemoryDisk;
use futures::executor::block_on;

use super::{FOLDER, Process, bytes_of};
use crate::journal::segment::HEADER_BYTES;

fn file(number: u32, attempt: u64) -> String {
    format!("{FOLDER}/{number:08}-{attempt}.fbj")
}

/// A disk that holds `bytes` as `path`, durably.
fn disk_with(path: &str, bytes: &[u8]) -> Result<MemoryDisk> {
    let disk = MemoryDisk::new();
    block_on(disk.append(path, Bytes::copy_from_slice(bytes)))?;
    block_on(disk.sync(path))?;
    block_on(disk.sync_folder(FOLDER))?;
    Ok(disk)
}

/// A segment with three records, and where each begins.
fn three_records() -> (Vec<u8>, [usize; 3]) {
    let disk = MemoryDisk::new();
    let process = Process::start(&disk, 1);
    let starts = [[1, 2], [3, 4], [5, 6]].map(|ids| {
        let start = bytes_of(&disk, &file(1, 1)).len();
        process.answer(&ids, 10);
        start
    });
    (bytes_of(&disk, &file(1, 1)), starts)
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_named() {
    let (bytes, [_, _, last]) = three_records();
    for length in last + 1..bytes.len() {
        let disk = disk_with(&file(1, 1), &bytes[..length]).unwrap();
        let process = Process::start(&disk, 2);
        let torn = process.report.torn.clone().unwrap();
        assert_eq!((torn.file, torn.place as usize, torn.bytes as usize), (file(1, 1), last, length - last));
        assert!(process.report.corrupt.is_empty());
        assert_eq!(process.find(&[1, 4, 5, 6]), [Some(10), Some(40), None, None], "cut at {length}");
        process.answer(&[5, 6], 70);
        disk.crash(length as u64);
        let next = Process::start(&disk, 3);
        assert_eq!(next.report.torn, None, "the cut is durable");
        assert_eq!(next.find(&[1, 4, 5, 6]), [Some(10), Some(40), Some(350), Some(420)]);
    }
}

#[test]
fn a_header_torn_at_any_byte_loses_nothing() {
    let (bytes, _) = three_records();
    for length in 0..HEADER_BYTES {
        let disk = disk_with(&file(1, 1), &bytes[..length]).unwrap();
        let process = Process::start(&disk, 2);
        assert_eq!(process.report.torn.as_ref().map(|torn| torn.place), Some(0));
        process.answer(&[1], 10);
        assert_eq!(disk.paths(), [file(2, 2)]);
        let next = Process::start(&disk, 3);
        assert_eq!((next.report.torn, next.report.corrupt), (None, vec![]));
    }
}

#[test]
fn a_flipped_bit_in_the_middle_costs_its_record_alone() {
    let (bytes, [first, middle, last]) = three_records();
    for place in (middle + 4..last).filter(|place| *place != middle + 8) {
        let disk = disk_with(&file(1, 1), &bytes).unwrap();
        assert!(disk.flip_byte(&file(1, 1), place));
        let process = Process::start(&disk, 2);
        assert_eq!(process.report.torn, None);
        let [damage] = &process.report.corrupt[..] else { panic!("{:?}", process.report) };
        assert_eq!((&damage.file, damage.place as usize), (&file(1, 1), middle));
        assert_eq!(process.journal.stats().corrupt_records, 1);
        assert_eq!(process.find(&[1, 2, 3, 4, 5, 6]), [Some(10), Some(20), None, None, Some(50), Some(60)]);
    }
    assert!(first < middle);
}

#[test]
fn a_flipped_length_in_an_older_segment_costs_the_rest_of_that_segment() {
    let (bytes, [_, middle, _]) = three_records();
    let disk = disk_with(&file(1, 1), &bytes).unwrap();
    Process::start(&disk, 2).answer(&[7], 10);
    assert!(disk.flip_byte(&file(1, 1), middle + 1));
    let process = Process::start(&disk, 3);
    let [damage] = &process.report.corrupt[..] else { panic!("{:?}", process.report) };
    assert_eq!((damage.place as usize, damage.bytes as usize), (middle, bytes.len() - middle));
    assert_eq!(process.find(&[1, 3, 5, 7]), [Some(10), None, None, Some(70)]);
}

#[test]
fn a_damaged_header_costs_no_record() {
    let (bytes, _) = three_records();
    let disk = disk_with(&file(1, 1), &bytes).unwrap();
    assert!(disk.flip_byte(&file(1, 1), 3));
    let process = Process::start(&disk, 2);
    assert_eq!(process.report.corrupt.len(), 1);
    assert_eq!(process.find(&[1, 3, 5]), [Some(10), Some(30), Some(50)]);
}

#[test]
fn an_older_segment_that_lost_its_end_is_named() {
    let (bytes, [_, _, last]) = three_records();
    let disk = disk_with(&file(1, 1), &bytes).unwrap();
    Process::start(&disk, 2).answer(&[7], 10);
    block_on(disk.truncate(&file(1, 1), last as u64)).unwrap();
    let process = Process::start(&disk, 3);
    let [damage] = &process.report.corrupt[..] else { panic!("{:?}", process.report) };
    assert_eq!((damage.place as usize, damage.bytes as usize), (last, bytes.len() - last));
    assert_eq!(process.find(&[1, 5, 7]), [Some(10), None, Some(70)]);
}

#[test]
fn a_record_that_rots_while_open_is_not_finished_and_may_be_answered_again() {
    let disk = MemoryDisk::new();
    let process = Process::start(&disk, 1);
    process.answer(&[1, 2], 10);
    process.answer(&[3], 10);
    assert!(disk.flip_byte(&file(1, 1), HEADER_BYTES + 100));
    assert_eq!(process.find(&[1, 2, 3]), [None, None, Some(30)]);
    assert_eq!(process.journal.stats().corrupt_records, 1);
    process.answer(&[1, 2], 50);
    assert_eq!(Process::start(&disk, 2).find(&[1, 2, 3]), [Some(50), Some(100), Some(30)]);
}
