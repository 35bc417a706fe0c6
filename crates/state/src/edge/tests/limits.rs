//! What an edge holds: quota, trimming by the slowest of several consumers, and a full disk.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use forebay_core::Kind;
use forebay_core::operator::Room;

use super::*;

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_full_edge_stops_its_writer_until_the_slowest_consumer_is_past() {
    let consumers = ["fast".to_string(), "slow".to_string()];
    let quota = EdgeSettings { quota_bytes: 8000, ..EdgeSettings::new(EdgeMode::CommitRead, consumers) };
    let process = Process::open(&MemoryDisk::new(), 1, quota).unwrap();
    let none = Groups::new();
    process.take_over(1, None, Epoch(1), &none).unwrap().unwrap();
    let woken = Arc::new(Count(AtomicUsize::new(0)));
    let mut writer = EdgeWriter::new(&process.log, by_row());
    let context = Context { waker: Waker::from(Arc::clone(&woken)), ..context(&process.env, 1, 0, 1) };
    writer.open(context, Restored::default()).unwrap();
    let mut epoch = Epoch(2);
    while writer.room() == Room::Room {
        writer.on_batch(batch(epoch.0 as i64 * 10..epoch.0 as i64 * 10 + 10)).unwrap();
        process.barrier(std::slice::from_mut(&mut writer), epoch).unwrap();
        process.publish(epoch);
        epoch = epoch.next();
    }
    assert!(epoch > Epoch(5) && writer.absorbs(), "{epoch}");
    let (mut readers, mut seen) = (process.readers(1, &none).unwrap(), Seen::default());
    process.read(&mut readers[0], &mut seen).unwrap();
    process.log.consumer_retained("fast", readers[0].positions());
    process.env.settle();
    assert_eq!(writer.room(), Room::Full, "the other consumer has not said what it needs");
    let before = woken.0.load(Ordering::SeqCst);
    process.log.consumer_retained("slow", readers[0].positions());
    process.env.settle();
    assert_eq!(writer.room(), Room::Room);
    assert!(woken.0.load(Ordering::SeqCst) > before);
    let stats = process.log.stats();
    assert!(stats.bytes < 8000 && stats.segments <= 2, "{stats:?}");
    let late = process.readers(1, &none).map(drop).unwrap_err();
    assert_eq!(late.kind(), Kind::Corrupt, "{}", late.chain());
}

#[test]
fn one_write_beyond_the_quota_stops_its_writer_only_until_it_was_read() {
    let quota = EdgeSettings { quota_bytes: 500, ..settings(EdgeMode::CommitRead) };
    let process = Process::open(&MemoryDisk::new(), 1, quota).unwrap();
    let none = Groups::new();
    process.take_over(1, None, Epoch(1), &none).unwrap().unwrap();
    let mut writers = process.writers(1, 1, &none);
    let (mut readers, mut seen) = (process.readers(1, &none).unwrap(), Seen::default());
    for epoch in (2..5).map(Epoch) {
        assert_eq!(writers[0].room(), Room::Room, "{epoch}");
        write(&mut writers, &batch(epoch.0 as i64 * 100..epoch.0 as i64 * 100 + 100));
        process.barrier(&mut writers, epoch).unwrap();
        process.publish(epoch);
        assert_eq!(writers[0].room(), Room::Full, "{epoch}");
        process.read(&mut readers[0], &mut seen).unwrap();
        process.log.consumer_retained("consumer", readers[0].positions());
        process.env.settle();
    }
    assert_eq!(seen.rows.len(), 300);
    assert!(process.log.stats().segments <= 2, "{:?}", process.log.stats());
}

#[test]
fn what_is_written_after_the_end_was_read_is_needed_by_nobody() {
    let quota = EdgeSettings { quota_bytes: 500, ..settings(EdgeMode::IdDedupe) };
    let process = Process::open(&MemoryDisk::new(), 1, quota).unwrap();
    let none = Groups::new();
    let (mut readers, mut seen) = (process.readers(1, &none).unwrap(), Seen::default());
    // Each attempt comes to the same rows and to their end, and dies before its checkpoint.
    for attempt in 1..4 {
        process.take_over(attempt, None, Epoch(attempt), &none).unwrap().unwrap();
        let mut writers = process.writers(attempt, 1, &none);
        write(&mut writers, &batch(0..100));
        assert_eq!(writers[0].drain().unwrap(), forebay_core::operator::Drained::Done);
        process.env.settle();
        process.read(&mut readers[0], &mut seen).unwrap();
        let written = process.barrier(&mut writers, Epoch(9)).unwrap();
        process.log.producer_retained(Positions::written(&writer_states(&written)));
        process.log.consumer_retained("consumer", readers[0].positions());
        process.env.settle();
        assert_eq!(writers[0].room(), Room::Room, "attempt {attempt}");
    }
    assert_eq!(sorted(seen.rows), (0..100).collect::<Vec<_>>());
    let ended = readers[0].snapshot(Epoch(9)).unwrap().now_or_never().unwrap().unwrap().groups;
    assert!(process.readers(1, &ended).is_ok(), "what has ended goes on from nowhere");
}

#[test]
fn what_no_checkpoint_covers_is_cut_off_also_behind_an_end_that_was_read() {
    let process = Process::open(&MemoryDisk::new(), 1, settings(EdgeMode::CommitRead)).unwrap();
    let none = Groups::new();
    process.take_over(1, None, Epoch(1), &none).unwrap().unwrap();
    let mut writers = process.writers(1, 1, &none);
    write(&mut writers, &batch(0..10));
    assert_eq!(writers[0].drain().unwrap(), forebay_core::operator::Drained::Done);
    let state = process.barrier(&mut writers, Epoch(2)).unwrap();
    process.publish(Epoch(2));
    let (mut readers, mut seen) = (process.readers(1, &none).unwrap(), Seen::default());
    process.read(&mut readers[0], &mut seen).unwrap();
    // Each attempt writes more, dies before its checkpoint, and leaves the log as that of the first says.
    for attempt in 2..5 {
        process.take_over(attempt, Some(Epoch(2)), Epoch(attempt + 1), &state).unwrap().unwrap();
        let mut writers = process.writers(attempt, 1, &state);
        for start in [100, 200, 300] {
            write(&mut writers, &batch(start..start + 100));
            process.barrier(&mut writers, Epoch(attempt + 2)).unwrap();
        }
        process.log.consumer_retained("consumer", readers[0].positions());
        process.env.settle();
    }
    assert_eq!(seen.rows.len(), 10);
}

#[test]
fn a_full_disk_fails_the_edge_and_opening_it_again_goes_on() {
    let disk = MemoryDisk::new();
    let none = Groups::new();
    let process = Process::open(&disk, 1, settings(EdgeMode::CommitRead)).unwrap();
    process.take_over(1, None, Epoch(1), &none).unwrap().unwrap();
    let mut writers = process.writers(1, 1, &none);
    write(&mut writers, &batch(0..10));
    let state = process.barrier(&mut writers, Epoch(2)).unwrap();
    disk.fill_after(Some(10));
    write(&mut writers, &batch(10..20));
    let frozen = writers[0].snapshot(Epoch(3)).unwrap();
    process.env.settle();
    assert_eq!(frozen.now_or_never().unwrap().unwrap_err().kind(), Kind::Exhausted);
    let mut readers = process.readers(1, &none).unwrap();
    assert_eq!(process.read(&mut readers[0], &mut Seen::default()).unwrap_err().kind(), Kind::Exhausted);
    disk.fill_after(None);
    let process = Process::open(&disk, 2, settings(EdgeMode::CommitRead)).unwrap();
    process.take_over(2, Some(Epoch(2)), Epoch(3), &state).unwrap().unwrap();
    process.publish(Epoch(2));
    let (mut readers, mut seen) = (process.readers(1, &none).unwrap(), Seen::default());
    process.read(&mut readers[0], &mut seen).unwrap();
    assert_eq!(sorted(seen.rows), (0..10).collect::<Vec<_>>());
}
