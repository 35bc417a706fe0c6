//! Promises as the appender sees them.

use forebay_core::Kind;
use forebay_core::testing::MemoryDisk;
use futures::future::join_all;

use super::{FOLDER, Process, requests, rows, value};
use crate::journal::{Journal, JournalSettings};
use crate::request::Outcome;

#[test]
fn answers_are_found_by_the_next_attempt_row_by_row() {
    let disk = MemoryDisk::new();
    Process::start(&disk, 1).answer(&[1, 2, 3], 10);
    let next = Process::start(&disk, 2);
    assert_eq!(next.find(&[3, 9, 1]), [Some(30), None, Some(10)]);
    assert_eq!(next.report.records, 1);
    let stats = next.journal.stats();
    assert_eq!((stats.answers, stats.failures, stats.segments), (3, 0, 2));
}

#[test]
fn failed_rows_are_finished_too() {
    let disk = MemoryDisk::new();
    let process = Process::start(&disk, 1);
    process.wait(process.journal.append_failures(requests(&[5]), Kind::Data, "not a digit")).unwrap();
    let next = Process::start(&disk, 2);
    let outcomes = next.wait(next.journal.lookup(&requests(&[5]))).unwrap();
    assert!(matches!(&outcomes[0], Some(Outcome::Failed { kind: Kind::Data, reason, .. }) if reason == "not a digit"));
    assert_eq!(next.journal.stats().failures, 1);
}

#[test]
fn a_row_given_up_stays_so_and_an_answer_that_was_there_first_stands() {
    let disk = MemoryDisk::new();
    let process = Process::start(&disk, 1);
    process.answer(&[1], 10);
    let given_up = process.wait(process.journal.give_up(requests(&[1, 2]), Kind::Timeout, "too late")).unwrap();
    assert_eq!(value(&given_up[0]), 10);
    let is_given_up =
        |outcome: &Outcome| matches!(outcome, Outcome::GivenUp { kind: Kind::Timeout, reason } if reason == "too late");
    assert!(is_given_up(&given_up[1]));
    let appended = process.wait(process.journal.append_answers(requests(&[2]), rows(&[2], 77))).unwrap();
    assert_eq!(appended.duplicates, [0], "an answer that comes later changes nothing");
    let next = Process::start(&disk, 2);
    assert!(is_given_up(next.wait(next.journal.lookup(&requests(&[2]))).unwrap()[0].as_ref().unwrap()));
}

#[test]
fn first_writer_wins_before_and_after_reopening() {
    let disk = MemoryDisk::new();
    let process = Process::start(&disk, 1);
    process.answer(&[1, 2], 10);
    let appended = process.wait(process.journal.append_answers(requests(&[2, 3]), rows(&[2, 3], 77))).unwrap();
    assert_eq!(appended.duplicates, [0]);
    assert_eq!(process.journal.stats().duplicates_dropped, 1);
    assert_eq!(process.find(&[1, 2, 3]), [Some(10), Some(20), Some(231)]);
    assert_eq!(Process::start(&disk, 2).find(&[1, 2, 3]), [Some(10), Some(20), Some(231)]);
}

#[test]
fn an_id_twice_in_one_append_keeps_its_first_row() {
    let process = Process::start(&MemoryDisk::new(), 1);
    let answers = rows(&[4, 5], 10);
    let appended = process.wait(process.journal.append_answers(requests(&[4, 4]), answers)).unwrap();
    assert_eq!(appended.duplicates, [1]);
    assert_eq!(process.find(&[4]), [Some(40)]);
}

#[test]
fn many_appends_share_few_syncs() {
    let process = Process::start(&MemoryDisk::new(), 1);
    let appends: Vec<_> =
        (0..100u128).map(|id| process.journal.append_answers(requests(&[id]), rows(&[id], 1))).collect();
    let all = process.wait(Box::pin(join_all(appends)));
    assert!(all.into_iter().all(|result| result.is_ok()));
    assert_eq!(process.journal.stats().groups, 2, "the first alone, the other 99 together");
}

#[test]
fn failed_sync_refuses_everything_until_opened_again() {
    let disk = MemoryDisk::new();
    let process = Process::start(&disk, 1);
    process.answer(&[1], 10);
    disk.fail_syncs(1);
    let error = process.wait(process.journal.append_answers(requests(&[2]), rows(&[2], 10))).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    let error = process.wait(process.journal.append_answers(requests(&[3]), rows(&[3], 10))).unwrap_err();
    assert!(error.chain().contains("append to journal (folder=journal/digits): sync file"), "{}", error.chain());
    assert!(process.wait(process.journal.lookup(&requests(&[1]))).is_err());
    let next = Process::start(&disk, 2);
    assert_eq!(next.find(&[1, 3]), [Some(10), None]);
}

#[test]
fn full_disk_is_exhausted_and_says_so() {
    let disk = MemoryDisk::new();
    let process = Process::start(&disk, 1);
    process.answer(&[1], 10);
    disk.fill_after(Some(100));
    let error = process.wait(process.journal.append_answers(requests(&[2]), rows(&[2], 10))).unwrap_err();
    assert_eq!(error.kind(), Kind::Exhausted);
    assert!(error.chain().contains("disk is full"), "{}", error.chain());
    disk.fill_after(None);
    assert_eq!(Process::start(&disk, 2).find(&[1, 2]), [Some(10), None]);
}

#[test]
fn a_record_beyond_the_limit_fails_alone() {
    let settings = JournalSettings { record_bytes_max: 2000, ..JournalSettings::default() };
    let process = Process::with(&MemoryDisk::new(), 1, settings).unwrap();
    let many: Vec<u128> = (0..500).collect();
    let error = process.wait(process.journal.append_answers(requests(&many), rows(&many, 1))).unwrap_err();
    assert_eq!(error.kind(), Kind::Exhausted);
    process.answer(&[1], 10);
    assert_eq!(process.find(&[1]), [Some(10)]);
}

#[test]
fn rows_and_ids_of_other_counts_are_refused() {
    let process = Process::start(&MemoryDisk::new(), 1);
    let error = process.wait(process.journal.append_answers(requests(&[1, 2]), rows(&[1], 10))).unwrap_err();
    assert_eq!(error.kind(), Kind::Internal);
}

#[test]
fn an_older_attempt_is_fenced() {
    let disk = MemoryDisk::new();
    drop(Process::start(&disk, 5));
    let refused = Process::with(&disk, 4, JournalSettings::default()).err().unwrap();
    assert_eq!(refused.kind(), Kind::Fenced);
    assert!(refused.to_string().contains("newer=5"), "{refused}");
}

#[test]
fn what_a_fenced_attempt_still_writes_is_never_read() {
    let disk = MemoryDisk::new();
    let settings = JournalSettings { segment_bytes_max: 1500, ..JournalSettings::default() };
    let old = Process::with(&disk, 1, settings).unwrap();
    old.answer(&[1], 10);
    let new = Process::with(&disk, 2, settings).unwrap();
    (2..6).for_each(|id| old.answer(&[id], 77));
    (2..6).for_each(|id| new.answer(&[id], 10));
    let next = Process::with(&disk, 3, settings).unwrap();
    assert_eq!(next.find(&[1, 2, 3, 4, 5]), [10, 20, 30, 40, 50].map(Some));
    assert!(!next.report.stale.is_empty() && next.report.corrupt.is_empty(), "{:?}", next.report);
    assert!(Process::with(&disk, 4, settings).unwrap().report.stale.is_empty());
}

#[test]
fn inspecting_counts_and_writes_nothing() {
    let disk = MemoryDisk::new();
    let process = Process::start(&disk, 1);
    process.answer(&[1, 2], 10);
    let before = disk.paths();
    let inspecting = Journal::inspect(std::sync::Arc::new(disk.clone()), FOLDER);
    let (stats, report) = futures::executor::block_on(inspecting).unwrap();
    assert_eq!((stats.answers, stats.segments, report.records), (2, 1, 1));
    assert_eq!(stats.bytes, process.journal.stats().bytes);
    assert_eq!(disk.paths(), before);
    let (none, _) = futures::executor::block_on(Journal::inspect(std::sync::Arc::new(disk), "journal/other")).unwrap();
    assert_eq!(none.segments, 0);
}
