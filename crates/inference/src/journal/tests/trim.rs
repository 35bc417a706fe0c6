//! Trimming removes what no kept checkpoint can ask for, and only that.

use forebay_core::element::Epoch;
use forebay_core::testing::MemoryDisk;

use super::{Process, requests};
use crate::journal::{JournalSettings, TrimReport};

/// Every group gets its own segment.
const TINY: JournalSettings = JournalSettings {
    group_linger: crate::journal::GROUP_LINGER_MAX,
    group_bytes_max: crate::journal::GROUP_BYTES_MAX,
    segment_bytes_max: 1,
    record_bytes_max: crate::journal::RECORD_BYTES_MAX,
    restored: None,
    planted: None,
};

fn close(process: &Process, epoch: u64, ids: &[u128]) {
    process.wait(process.journal.close_rows(Epoch(epoch), requests(ids))).unwrap();
}

fn trim(process: &Process, oldest_retained: u64) -> TrimReport {
    process.wait(process.journal.trim(Epoch(oldest_retained))).unwrap()
}

#[test]
fn rows_of_a_retained_epoch_stay() {
    let disk = MemoryDisk::new();
    let process = Process::with(&disk, 1, TINY).unwrap();
    process.answer(&[1, 2], 10);
    process.answer(&[3], 10);
    process.answer(&[4], 10);
    close(&process, 1, &[1]);
    assert_eq!(trim(&process, 1).rows, 0, "row 2 is not emitted");
    close(&process, 2, &[2]);
    close(&process, 3, &[3]);
    assert_eq!(trim(&process, 1).rows, 0, "a restore from epoch 1 asks for row 2 again");
    let report = trim(&process, 2);
    assert_eq!((report.segments, report.rows), (1, 2), "the segment of rows 1 and 2; the empty one went before");
    assert_eq!(process.find(&[1, 2, 3, 4]), [None, None, Some(30), Some(40)]);
    let stats = process.journal.stats();
    assert_eq!((stats.answers, stats.closed), (2, 1));
    assert_eq!(Process::with(&disk, 2, TINY).unwrap().find(&[1, 2, 3, 4]), [None, None, Some(30), Some(40)]);
}

#[test]
fn trimming_stops_at_the_first_segment_that_is_needed() {
    let process = Process::with(&MemoryDisk::new(), 1, TINY).unwrap();
    process.answer(&[1], 10);
    process.answer(&[2], 10);
    close(&process, 1, &[2]);
    assert_eq!(trim(&process, 9).rows, 0, "row 1 lies before row 2 and is open");
    close(&process, 1, &[1]);
    assert_eq!(trim(&process, 9).rows, 2);
    assert_eq!(process.journal.stats().segments, 1, "the segment that is written stays");
}

#[test]
fn a_row_emitted_again_counts_with_its_later_epoch() {
    let disk = MemoryDisk::new();
    let process = Process::with(&disk, 1, TINY).unwrap();
    process.answer(&[1], 10);
    close(&process, 2, &[1]);
    close(&process, 5, &[1]);
    assert_eq!(trim(&process, 4).rows, 0);
    assert_eq!(trim(&Process::with(&disk, 2, TINY).unwrap(), 4).rows, 0);
    assert_eq!(trim(&process, 5).rows, 1);
}

#[test]
fn closings_after_the_epoch_restored_from_are_void_for_good() {
    let disk = MemoryDisk::new();
    let process = Process::with(&disk, 1, TINY).unwrap();
    process.answer(&[1], 10);
    process.answer(&[2], 10);
    close(&process, 3, &[1]);
    close(&process, 7, &[2]);
    let restored = Process::with(&disk, 2, JournalSettings { restored: Some(Epoch(4)), ..TINY }).unwrap();
    assert_eq!(restored.journal.stats().closed, 1);
    trim(&restored, 9);
    assert_eq!(restored.find(&[1, 2]), [None, Some(20)], "row 2 is not emitted in the timeline that goes on from 4");
    let next = Process::with(&disk, 3, TINY).unwrap();
    trim(&next, 9);
    assert_eq!(next.find(&[2]), [Some(20)], "what was voided stays void");
    close(&next, 9, &[2]);
    trim(&next, 9);
    assert_eq!(next.find(&[2]), [None]);
}

#[test]
fn trimmed_segments_are_gone_after_any_crash() {
    for seed in 0..40 {
        let disk = MemoryDisk::new();
        let process = Process::with(&disk, 1, TINY).unwrap();
        (1..6).for_each(|id| process.answer(&[id], 10));
        close(&process, 1, &[1, 2, 3]);
        assert_eq!(trim(&process, 1).rows, 3);
        disk.crash(seed);
        let next = Process::with(&disk, 2, TINY).unwrap();
        assert_eq!(next.find(&[1, 2, 3, 4, 5]), [None, None, None, Some(40), Some(50)]);
        assert!(next.report.corrupt.is_empty() && next.report.torn.is_none());
    }
}
