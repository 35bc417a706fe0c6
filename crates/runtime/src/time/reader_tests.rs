//! Watermarks, idleness and restored clocks of a reader whose rows the test gives.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::{Context, Frozen, Identity, Restored, Snapshot};
use forebay_core::row::SplitId;
use forebay_core::source::{Read, Reader, Split};
use forebay_core::testing::ManualEnv;
use forebay_core::{Batch, Result, RowId};
use futures::task::noop_waker;

use super::*;
use crate::time::Alignment;

const A: SplitId = SplitId(1);
const B: SplitId = SplitId(u64::MAX / 2);
const GROUPS: u16 = 128;

/// Gives what the test put there; its state is the count of batches given.
#[derive(Default)]
struct Scripted {
    reads: Arc<Mutex<VecDeque<Read>>>,
    ended: Arc<Mutex<Vec<SplitId>>>,
    restored: Arc<Mutex<Vec<(KeyGroup, Bytes)>>>,
}

impl Reader for Scripted {
    fn open(&mut self, _context: Context, _splits: Vec<Split>, restored: Restored) -> Result<()> {
        *self.restored.lock().unwrap() = restored.groups;
        Ok(())
    }

    fn poll_next(&mut self) -> Result<Read> {
        Ok(self.reads.lock().unwrap().pop_front().unwrap_or(Read::Pending))
    }

    fn take_ended(&mut self) -> Vec<SplitId> {
        std::mem::take(&mut self.ended.lock().unwrap())
    }

    fn snapshot(&mut self, _epoch: Epoch) -> Result<Frozen> {
        let groups = [(A.key_group(GROUPS), Bytes::from_static(b"inner"))].into();
        Ok(Box::pin(async { Ok(Snapshot { groups, ..Snapshot::default() }) }))
    }
}

fn rows(times: &[Option<i64>]) -> Batch {
    rows_of(A, times)
}

fn rows_of(split: SplitId, times: &[Option<i64>]) -> Batch {
    let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times.to_vec()));
    let ids: Vec<RowId> = (0..times.len()).map(|n| RowId::new(split, n as u64)).collect();
    Batch::new(RecordBatch::try_from_iter_with_nullable([("at", column, true)]).unwrap(), ids).unwrap()
}

struct Site {
    reader: TimedReader,
    reads: Arc<Mutex<VecDeque<Read>>>,
    ended: Arc<Mutex<Vec<SplitId>>>,
    inner_restored: Arc<Mutex<Vec<(KeyGroup, Bytes)>>>,
    env: Arc<ManualEnv>,
}

impl Site {
    fn open(restored: Restored, member: Option<Member>) -> Self {
        Self::open_with(&[A], &[], restored, member)
    }

    /// A reader of these splits, of which some are at their end.
    fn open_with(splits: &[SplitId], ended: &[SplitId], restored: Restored, member: Option<Member>) -> Self {
        let inner = Scripted { ended: Arc::new(Mutex::new(ended.to_vec())), ..Scripted::default() };
        let (reads, inner_restored) = (Arc::clone(&inner.reads), Arc::clone(&inner.restored));
        let ended = Arc::clone(&inner.ended);
        let settings = TimeSettings {
            column: 0,
            out_of_order: Duration::from_micros(10),
            idle: Some(Duration::from_secs(5)),
            splits: Splits::AnyOrder,
            bug: None,
        };
        let env = Arc::new(ManualEnv::new(1));
        let identity = Identity { uid: "bids".into(), subtask: 0, parallelism: 1, groups: GROUPS, attempt: 1 };
        let context = Context { identity, env: Arc::clone(&env) as _, waker: noop_waker() };
        let mut reader = TimedReader::new(Box::new(inner), settings, member);
        let split = |id: &SplitId| Split { id: *id, name: "a".into(), version: "1".into(), size_bytes: 1 };
        reader.open(context, splits.iter().map(split).collect(), restored).unwrap();
        Self { reader, reads, ended, inner_restored, env }
    }

    fn script(&self, reads: impl IntoIterator<Item = Read>) {
        self.reads.lock().unwrap().extend(reads);
    }

    /// Takes a snapshot.
    fn frozen(&mut self) -> Restored {
        let snapshot = futures::executor::block_on(self.reader.snapshot(Epoch(1)).unwrap()).unwrap();
        Restored { epoch: Some(Epoch(1)), groups: snapshot.groups.into_iter().collect() }
    }

    fn polled(&mut self) -> String {
        match self.reader.poll_next().unwrap() {
            Read::Batch(batch) => format!("{} rows", batch.len()),
            Read::Partly(batch, letters) => {
                format!("{} rows, {} dead: {}", batch.len(), letters.len(), letters[0].reason)
            }
            Read::DeadLetters(letters) => format!("{} dead", letters.len()),
            Read::Watermark(watermark) => format!("watermark {}", watermark.0),
            Read::Idle => "idle".into(),
            Read::Pending => "pending".into(),
            Read::End => "end".into(),
        }
    }
}

#[test]
fn a_watermark_follows_the_rows_it_comes_from() {
    let mut site = Site::open(Restored::default(), None);
    site.script([Read::Batch(rows(&[Some(100), Some(90)])), Read::Batch(rows(&[Some(95)])), Read::End]);
    let seen: Vec<String> = (0..4).map(|_| site.polled()).collect();
    assert_eq!(seen, ["2 rows", "watermark 89", "1 rows", "end"]);
}

#[test]
fn rows_without_event_time_are_dead_letters_given_with_their_batch() {
    let mut site = Site::open(Restored::default(), None);
    site.script([Read::Batch(rows(&[Some(100), None])), Read::Batch(rows(&[None]))]);
    assert_eq!(site.polled(), "1 rows, 1 dead: the event time \"at\" is null, or out of the range of times");
    assert_eq!(site.polled(), "watermark 89");
    assert_eq!(site.polled(), "1 dead");
    let far = [Some(i64::MAX), Some(i64::MIN), Some(95)];
    site.script([Read::Batch(rows(&far))]);
    assert_eq!(site.polled(), "1 rows, 2 dead: the event time \"at\" is null, or out of the range of times");
}

#[test]
fn idleness_is_told_once_after_the_time_and_ends_with_a_row() {
    let mut site = Site::open(Restored::default(), None);
    assert_eq!(site.polled(), "pending");
    site.env.advance(Duration::from_secs(4));
    assert_eq!(site.polled(), "pending");
    site.env.advance(Duration::from_secs(1));
    assert_eq!((site.polled(), site.polled()), ("idle".into(), "pending".into()));
    site.script([Read::Batch(rows(&[Some(100)]))]);
    assert_eq!(
        (site.polled(), site.polled(), site.polled()),
        ("1 rows".into(), "watermark 89".into(), "pending".into())
    );
    site.env.advance(Duration::from_secs(5));
    assert_eq!(site.polled(), "idle");
}

#[test]
fn a_restored_reader_goes_on_with_its_clock_and_the_inner_state() {
    let mut site = Site::open(Restored::default(), None);
    site.script([Read::Batch(rows(&[Some(100)]))]);
    assert_eq!(site.polled(), "1 rows");
    let restored = site.frozen();
    let mut later = Site::open(restored.clone(), None);
    assert_eq!(later.polled(), "watermark 89");
    assert_eq!(*later.inner_restored.lock().unwrap(), [(A.key_group(GROUPS), Bytes::from_static(b"inner"))]);
    for length in 0..restored.groups[0].1.len() - b"inner".len() {
        let cut = Restored { epoch: None, groups: vec![(KeyGroup(0), restored.groups[0].1.slice(..length))] };
        assert_eq!(unwrap_state(cut).unwrap_err().kind(), Kind::Corrupt, "{length} bytes");
    }
}

#[test]
fn a_reader_too_far_ahead_reads_nothing_until_the_slow_one_has_moved() {
    let alignment = Alignment::default();
    let (fast, slow) = (alignment.join(Duration::from_micros(50)), alignment.join(Duration::from_micros(50)));
    slow.advance(EventTime(10));
    let mut site = Site::open(Restored::default(), Some(fast));
    site.script([Read::Batch(rows(&[Some(100)])), Read::Batch(rows(&[Some(200)]))]);
    assert_eq!(
        (site.polled(), site.polled(), site.polled()),
        ("1 rows".into(), "watermark 89".into(), "pending".into())
    );
    slow.advance(EventTime(60));
    assert_eq!(site.polled(), "1 rows");
}

#[test]
fn files_not_begun_hold_the_watermark_back_and_those_at_their_end_do_not() {
    let mut site = Site::open_with(&[A, B], &[], Restored::default(), None);
    site.script([Read::Batch(rows(&[Some(100)])), Read::Pending, Read::Batch(rows_of(B, &[Some(40)]))]);
    assert_eq!((site.polled(), site.polled()), ("1 rows".into(), "pending".into()));
    assert_eq!((site.polled(), site.polled()), ("1 rows".into(), "watermark 29".into()));
    site.ended.lock().unwrap().push(B);
    assert_eq!(site.polled(), "watermark 89", "an end alone moves it too");
    assert_eq!(site.polled(), "pending");
}

#[test]
fn after_a_rescale_each_file_has_the_clock_that_it_had_elsewhere() {
    let mut site = Site::open_with(&[A, B], &[], Restored::default(), None);
    site.script([Read::Batch(rows(&[Some(100)])), Read::Batch(rows_of(B, &[Some(40)]))]);
    let seen: Vec<String> = (0..3).map(|_| site.polled()).collect();
    assert_eq!(seen, ["1 rows", "1 rows", "watermark 29"]);
    let restored = site.frozen();
    let of = |split: SplitId| Restored {
        epoch: restored.epoch,
        groups: restored.groups.iter().filter(|(group, _)| *group == split.key_group(GROUPS)).cloned().collect(),
    };
    let (mut first, mut second) = (Site::open(of(A), None), Site::open_with(&[B], &[], of(B), None));
    assert_eq!((first.polled(), second.polled()), ("watermark 89".into(), "watermark 29".into()));
    let mut ended = Site::open_with(&[A, B], &[B], restored, None);
    assert_eq!(ended.polled(), "watermark 89", "a file that was at its end holds nothing back");
}
