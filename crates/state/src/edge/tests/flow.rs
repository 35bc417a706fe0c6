//! What is written comes out: visible when it may be, in order, at any parallelism of either side.

use forebay_core::Kind;
use forebay_core::operator::Drained;

use super::*;

#[test]
fn commit_read_shows_an_epoch_when_it_is_published_and_watermarks_after_their_rows() {
    let process = Process::open(&MemoryDisk::new(), 1, settings(EdgeMode::CommitRead)).unwrap();
    let none = Groups::new();
    process.take_over(1, None, Epoch(1), &none).unwrap().unwrap();
    let (mut writers, mut readers) = (process.writers(1, 2, &none), process.readers(3, &none).unwrap());
    let mut seen = vec![Seen::default(); 3];
    let read = |readers: &mut [EdgeReader], seen: &mut [Seen]| {
        readers.iter_mut().zip(seen).for_each(|(reader, seen)| process.read(reader, seen).unwrap());
    };
    write(&mut writers, &batch(0..20));
    watermark(&mut writers, 5);
    process.barrier(&mut writers, Epoch(2)).unwrap();
    read(&mut readers, &mut seen);
    assert!(seen.iter().all(|seen| *seen == Seen::default()), "nothing is published");
    write(&mut writers, &batch(20..30));
    process.publish(Epoch(2));
    read(&mut readers, &mut seen);
    assert_eq!(sorted(seen.iter().flat_map(|seen| seen.rows.clone()).collect()), (0..20).collect::<Vec<_>>());
    assert!(seen.iter().all(|seen| seen.watermarks == [5] && in_order(&seen.rows)));
    writers.iter_mut().for_each(|writer| assert_eq!(writer.drain().unwrap(), Drained::Done));
    process.barrier(&mut writers, Epoch(3)).unwrap();
    process.publish(Epoch(3));
    read(&mut readers, &mut seen);
    assert_eq!(sorted(seen.iter().flat_map(|seen| seen.rows.clone()).collect()), (0..30).collect::<Vec<_>>());
    assert!(seen.iter().all(|seen| seen.ended));
}

#[test]
fn both_sides_restart_at_another_parallelism_and_nothing_is_lost_or_doubled() {
    for mode in [EdgeMode::CommitRead, EdgeMode::IdDedupe] {
        let process = Process::open(&MemoryDisk::new(), 1, settings(mode)).unwrap();
        let none = Groups::new();
        process.take_over(1, None, Epoch(1), &none).unwrap().unwrap();
        let mut writers = process.writers(1, 2, &none);
        write(&mut writers, &batch(0..20));
        let state = process.barrier(&mut writers, Epoch(2)).unwrap();
        process.publish(Epoch(2));
        // The tail: durable, not published. The reader of id-dedupe sees it.
        write(&mut writers, &batch(20..27));
        process.barrier(&mut writers, Epoch(3)).unwrap();
        let (mut readers, mut seen) = (process.readers(3, &none).unwrap(), Seen::default());
        readers.iter_mut().for_each(|reader| process.read(reader, &mut seen).unwrap());
        assert_eq!(seen.rows.len(), if mode == EdgeMode::CommitRead { 20 } else { 27 }, "{mode:?}");
        let frozen: Vec<_> = readers.iter_mut().map(|reader| reader.snapshot(Epoch(9)).unwrap()).collect();
        let reader_state: Groups =
            frozen.into_iter().flat_map(|frozen| frozen.now_or_never().unwrap().unwrap().groups).collect();

        process.take_over(2, Some(Epoch(2)), Epoch(3), &state).unwrap().unwrap();
        assert_eq!(writers[0].on_batch(owned(&batch(20..40), 0, 2).unwrap()).unwrap_err().kind(), Kind::Fenced);
        let mut writers = process.writers(2, 3, &state);
        // Not in the same order: what is written again is told by its id.
        write(&mut writers, &batch([23, 24, 20, 21, 22].into_iter().chain(25..40)));
        process.barrier(&mut writers, Epoch(4)).unwrap();
        process.publish(Epoch(4));
        let mut readers = process.readers(1, &reader_state).unwrap();
        process.read(&mut readers[0], &mut seen).unwrap();
        assert_eq!(sorted(seen.rows), (0..40).collect::<Vec<_>>(), "{mode:?}");
    }
}

#[test]
fn a_row_of_another_writers_key_group_is_our_bug_and_an_old_attempt_cannot_open() {
    let process = Process::open(&MemoryDisk::new(), 1, settings(EdgeMode::CommitRead)).unwrap();
    let none = Groups::new();
    process.take_over(2, None, Epoch(1), &none).unwrap().unwrap();
    let mut writers = process.writers(2, 2, &none);
    let foreign = owned(&batch(0..20), 1, 2).unwrap();
    assert_eq!(writers[0].on_batch(foreign).unwrap_err().kind(), Kind::Internal);
    let open = |attempt| {
        let mut writer = EdgeWriter::new(&process.log, by_row());
        writer.open(context(&process.env, attempt, 0, 1), Restored::default()).unwrap_err().kind()
    };
    assert_eq!((open(1), open(3)), (Kind::Fenced, Kind::Internal));
    assert_eq!(process.take_over(1, None, Epoch(1), &none).unwrap().unwrap_err().kind(), Kind::Fenced);
}

#[test]
fn kinds_come_out_as_they_went_in_and_both_halves_of_an_update_pass() {
    use forebay_core::row_kind::RowKind::{Delete, Insert, UpdateAfter, UpdateBefore};
    let process = Process::open(&MemoryDisk::new(), 1, settings(EdgeMode::IdDedupe)).unwrap();
    let none = Groups::new();
    process.take_over(1, None, Epoch(1), &none).unwrap().unwrap();
    let mut writers = process.writers(1, 1, &none);
    let kinds = [Insert, UpdateBefore, UpdateAfter, Delete];
    writers[0].on_batch(batch([5, 10, 10, 15]).with_kinds(kinds).unwrap()).unwrap();
    writers[0].on_batch(batch([10]).with_kinds([UpdateAfter]).unwrap()).unwrap();
    let mut reader = process.readers(1, &none).unwrap().remove(0);
    process.env.settle();
    assert!(matches!(reader.poll_next().unwrap(), Read::Pending));
    process.env.settle();
    let Read::Batch(read) = reader.poll_next().unwrap() else { panic!("rows are visible") };
    assert_eq!(read.kinds().unwrap(), kinds);
    assert!(matches!(reader.poll_next().unwrap(), Read::Pending), "the same half again is dropped");
}

#[test]
fn id_dedupe_is_refused_behind_a_nondeterministic_producer() {
    use super::super::Determinism;
    let refused = EdgeMode::IdDedupe.allowed_for(Determinism::Nondeterministic).unwrap_err();
    assert_eq!(refused.kind(), Kind::Invalid);
    assert!(EdgeMode::IdDedupe.allowed_for(Determinism::Journalled).is_ok());
    assert!(EdgeMode::CommitRead.allowed_for(Determinism::Nondeterministic).is_ok());
}

#[test]
fn what_a_process_writes_after_another_took_over_is_never_read_back() {
    for mode in [EdgeMode::CommitRead, EdgeMode::IdDedupe] {
        let (disk, none) = (MemoryDisk::new(), Groups::new());
        let old = Process::open(&disk, 1, settings(mode)).unwrap();
        old.take_over(1, None, Epoch(1), &none).unwrap().unwrap();
        let mut stale = old.writers(1, 1, &none);
        write(&mut stale, &batch(0..10));
        let state = old.barrier(&mut stale, Epoch(2)).unwrap();
        let new = Process::open(&disk, 2, settings(mode)).unwrap();
        new.take_over(2, Some(Epoch(2)), Epoch(3), &state).unwrap().unwrap();
        let mut writers = new.writers(2, 1, &state);
        // The old one goes on in its last segment, and then in others whose numbers the new one takes too.
        for round in 0..4 {
            write(&mut stale, &batch(100 + round * 10..110 + round * 10));
            old.barrier(&mut stale, Epoch(3 + round as u64)).unwrap();
            write(&mut writers, &batch(10 + round * 10..20 + round * 10));
        }
        let state = new.barrier(&mut writers, Epoch(4)).unwrap();
        let last = Process::open(&disk, 3, settings(mode)).unwrap();
        last.take_over(3, Some(Epoch(4)), Epoch(5), &state).unwrap().unwrap();
        last.publish(Epoch(4));
        let (mut reader, mut seen) = (last.readers(1, &none).unwrap().remove(0), Seen::default());
        last.read(&mut reader, &mut seen).unwrap();
        assert_eq!(sorted(seen.rows), (0..50).collect::<Vec<_>>(), "{mode:?}");
        assert!(disk.paths().iter().filter(|path| path.ends_with("-1.fbe")).count() <= 2, "{:?}", disk.paths());
    }
}
