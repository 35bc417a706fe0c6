//! The pure core, step by step.

use std::time::Duration;

use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::time::Instant;
use forebay_core::{Error, Kind};

use super::requests;
use crate::journal::core::Core;
use crate::journal::event::{Action, Event, Failure, Ticket, Told};
use crate::journal::index::Index;
use crate::journal::segment::{HEADER_BYTES, file_name};
use crate::journal::{Appended, JournalSettings, record};

const NOW: Instant = Instant(1_000_000);

fn core(settings: JournalSettings) -> Core {
    let mut index = Index::default();
    index.add_segment(1, format!("j/{}", file_name(1, 9)), HEADER_BYTES as u64);
    Core::new(settings, "j", 9, index, (1, HEADER_BYTES as u64))
}

fn append(ticket: Ticket, ids: &[u128]) -> Event {
    let ids = requests(ids);
    let bytes = record::failure(&ids, false, Kind::Data, "unreadable", 1 << 20).unwrap();
    Event::Append { ticket, ids, failed: true, bytes }
}

fn told(ticket: Ticket) -> Action {
    Action::Tell { ticket, result: Ok(Told::Durable(Appended::default())) }
}

fn write_of(actions: &[Action]) -> (String, Bytes) {
    match actions {
        [Action::Write { file, bytes }] => (file.clone(), bytes.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn appender_is_told_only_when_its_record_is_durable() {
    let mut core = core(JournalSettings::default());
    let (file, _) = write_of(&core.step(append(1, &[1, 2]), NOW));
    assert_eq!(file, "j/00000001-9.fbj");
    assert_eq!(core.find(requests(&[1])[0]), Ok(None), "not durable, so not found");
    assert_eq!(core.step(Event::Wrote(Ok(())), NOW), [told(1)]);
    assert!(core.find(requests(&[1])[0]).unwrap().is_some());
}

#[test]
fn first_group_of_a_segment_waits_for_its_name() {
    let mut core = core(JournalSettings { segment_bytes_max: HEADER_BYTES as u64, ..JournalSettings::default() });
    let (file, bytes) = write_of(&core.step(append(1, &[1]), NOW));
    assert_eq!(file, "j/00000002-9.fbj");
    assert!(bytes.starts_with(b"FBJRNL"));
    assert_eq!(core.step(Event::Wrote(Ok(())), NOW), [Action::SyncFolder]);
    assert_eq!(core.step(Event::FolderSynced(Ok(())), NOW), [told(1)]);
}

#[test]
fn what_arrives_during_a_write_is_one_group_that_waits_at_most_the_linger() {
    let mut core = core(JournalSettings::default());
    core.step(append(1, &[1]), NOW);
    assert!(core.step(append(2, &[2]), NOW).is_empty());
    assert!(core.step(append(3, &[3]), NOW).is_empty());
    let soon = NOW + Duration::from_micros(300);
    let timer = Action::SetTimer { group: 1, after: Duration::from_micros(1700) };
    assert_eq!(core.step(Event::Wrote(Ok(())), soon), [told(1), timer.clone()]);
    let early = core.step(Event::Timer { group: 0 }, soon);
    assert!(early.is_empty(), "the timer of another group changes nothing: {early:?}");
    assert_eq!(core.step(Event::Timer { group: 1 }, soon), [timer], "a timer that fires early is set again");
    write_of(&core.step(Event::Timer { group: 1 }, NOW + Duration::from_millis(2)));
    assert_eq!(core.step(Event::Wrote(Ok(())), NOW + Duration::from_millis(3)), [told(2), told(3)]);
    assert_eq!(core.stats().groups, 2);
}

#[test]
fn a_full_group_does_not_wait() {
    let mut core = core(JournalSettings { group_bytes_max: 200, ..JournalSettings::default() });
    core.step(append(1, &[1]), NOW);
    core.step(append(2, &[2, 3, 4, 5, 6, 7, 8]), NOW);
    core.step(append(3, &[9, 10, 11]), NOW);
    let actions = core.step(Event::Wrote(Ok(())), NOW);
    assert!(matches!(&actions[..], [_, Action::Write { .. }]), "{actions:?}");
}

#[test]
fn a_duplicate_is_told_so_only_when_the_first_is_durable() {
    let mut core = core(JournalSettings::default());
    core.step(append(1, &[1, 2]), NOW);
    assert!(core.step(append(2, &[2]), NOW).is_empty());
    let duplicate = Ok(Told::Durable(Appended { duplicates: vec![0] }));
    let expected = [told(1), Action::Tell { ticket: 2, result: duplicate }];
    assert_eq!(core.step(Event::Wrote(Ok(())), NOW), expected);
    assert_eq!(core.stats().duplicates_dropped, 1);
}

#[test]
fn closing_the_unknown_or_the_closed_writes_nothing() {
    let mut core = core(JournalSettings::default());
    core.step(append(1, &[1]), NOW);
    core.step(Event::Wrote(Ok(())), NOW);
    let later = NOW + Duration::from_secs(1);
    write_of(&core.step(Event::Close { ticket: 2, epoch: Epoch(4), ids: requests(&[1, 99]) }, later));
    assert_eq!(core.step(Event::Wrote(Ok(())), later), [told(2)]);
    assert_eq!(core.stats().closed, 1);
    let again = Event::Close { ticket: 3, epoch: Epoch(4), ids: requests(&[1, 99]) };
    assert_eq!(core.step(again, later), [told(3)]);
}

#[test]
fn a_failed_write_or_folder_sync_refuses_all_from_then_on() {
    let failure = Failure::of(&Error::new(Kind::Unavailable, "sync file").source("input/output error"));
    let steps: [fn(Failure) -> Vec<Event>; 2] = [
        |failure| vec![Event::Wrote(Err(failure))],
        |failure| vec![Event::Wrote(Ok(())), Event::FolderSynced(Err(failure))],
    ];
    for step in steps {
        let mut core = core(JournalSettings { segment_bytes_max: 1, ..JournalSettings::default() });
        core.step(append(1, &[1]), NOW);
        core.step(append(2, &[2]), NOW);
        let refused = |ticket| Action::Tell { ticket, result: Err(failure.clone()) };
        let last = step(failure.clone()).into_iter().map(|event| core.step(event, NOW)).next_back().unwrap();
        assert_eq!(last, [refused(1), refused(2)]);
        let later = NOW + Duration::from_secs(9);
        assert_eq!(core.step(append(3, &[3]), later), [refused(3)]);
        assert_eq!(core.step(Event::Close { ticket: 4, epoch: Epoch(1), ids: vec![] }, later), [refused(4)]);
        assert_eq!(core.step(Event::Trim { ticket: 5, oldest_retained: Epoch(1) }, later), [refused(5)]);
        assert_eq!(core.find(requests(&[1])[0]), Err(failure.clone()));
    }
}
