//! Lets the first rows that come through and drops the others.
//!
//! All rows come to one subtask, that of the key group of the empty key. How many have gone through is part of each
//! checkpoint: after a restart the count goes on where it was, and what was committed before is never given again.
//! Which rows are the first is a matter of their arrival, and so may differ between two runs of several readers.
//!
//! [`Full`] says to the outside that nothing more is wanted, so that whoever reads for this step alone may stop.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use bytes::{Buf, BufMut, Bytes};
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::keys::Key;
use forebay_core::operator::{Context, Drained, Frozen, Operator, Out, Restored, Room, Snapshot};
use forebay_core::time::EventTime;
use forebay_core::{Batch, Error, Kind, Result};

/// Format of the state: this byte, then the count as 8 bytes, little-endian.
const VERSION: u8 = 1;

/// Whether a limit has let all its rows through; set once in an attempt, seen by every clone.
#[derive(Debug, Clone, Default)]
pub struct Full {
    set: Arc<AtomicBool>,
    waiting: Arc<Mutex<Vec<Waker>>>,
}

/// See the module.
#[derive(Debug)]
pub struct Limit {
    rows: u64,
    given: u64,
    full: Full,
    /// The group that the rows belong to, in the subtask that owns it.
    group: Option<KeyGroup>,
    outs: VecDeque<Out>,
    bug: Option<LimitBug>,
}

/// Mistakes that tests plant to see that their checks find them. Never set in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitBug {
    /// A restart counts from 0.
    ForgetCount,
}

// === impl Full ===

impl Full {
    /// Whether the limit is reached.
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    /// Wakes this one too when the limit is reached: a reader that waits for rows which nobody wants any more.
    pub fn wakes(&self, waker: Waker) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
    }

    fn set(&self) {
        self.set.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(Waker::wake);
    }
}

// === impl Limit ===

impl Limit {
    /// Lets `rows` rows through, then sets `full`.
    pub fn new(rows: u64, full: Full) -> Self {
        Self { rows, given: 0, full, group: None, outs: VecDeque::new(), bug: None }
    }

    /// The same with a planted bug.
    #[doc(hidden)]
    #[must_use]
    pub fn with_bug(self, bug: Option<LimitBug>) -> Self {
        Self { bug, ..self }
    }

    fn tell(&self) {
        if self.given >= self.rows {
            self.full.set();
        }
    }
}

impl Operator for Limit {
    fn open(&mut self, context: Context, restored: Restored) -> Result<()> {
        let identity = context.identity;
        let group = Key::new([]).group(identity.groups);
        self.group = identity.key_groups().contains(&group.0).then_some(group);
        let mut stored = restored.groups.into_iter().filter(|(of, _)| Some(*of) == self.group);
        if let (Some((_, bytes)), None) = (stored.next_back(), self.bug) {
            self.given = decode(bytes)?;
        }
        self.tell();
        Ok(())
    }

    fn room(&self) -> Room {
        if self.outs.is_empty() { Room::Room } else { Room::Full }
    }

    fn on_batch(&mut self, batch: Batch) -> Result<()> {
        let left = usize::try_from(self.rows.saturating_sub(self.given)).unwrap_or(usize::MAX);
        let taken = batch.len().min(left);
        if taken > 0 {
            self.given += taken as u64;
            self.outs.push_back(Out::Batch(batch.slice(0, taken)));
            self.tell();
        }
        Ok(())
    }

    fn on_watermark(&mut self, watermark: EventTime) -> Result<()> {
        self.outs.push_back(Out::Watermark(watermark));
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Out>> {
        Ok(self.outs.pop_front())
    }

    fn snapshot(&mut self, _epoch: Epoch) -> Result<Frozen> {
        let groups: BTreeMap<KeyGroup, Bytes> = self.group.iter().map(|group| (*group, encode(self.given))).collect();
        Ok(Box::pin(async { Ok(Snapshot { groups, ..Snapshot::default() }) }))
    }

    fn drain(&mut self) -> Result<Drained> {
        Ok(if self.outs.is_empty() { Drained::Done } else { Drained::Pending })
    }
}

fn encode(given: u64) -> Bytes {
    let mut bytes = Vec::with_capacity(9);
    bytes.put_u8(VERSION);
    bytes.put_u64_le(given);
    bytes.into()
}

fn decode(mut bytes: Bytes) -> Result<u64> {
    if bytes.len() != 9 || bytes.get_u8() != VERSION {
        return Err(Error::new(Kind::Corrupt, "read count of a limit"));
    }
    Ok(bytes.get_u64_le())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use forebay_core::RowId;
    use forebay_core::operator::Identity;
    use forebay_core::row::SplitId;
    use forebay_core::testing::ManualEnv;
    use futures::FutureExt;
    use futures::task::noop_waker;

    fn opened(full: &Full, subtask: u16, parallelism: u16, restored: &Snapshot) -> Limit {
        let mut limit = Limit::new(5, full.clone());
        let identity = Identity { uid: "first".into(), subtask, parallelism, groups: 8, attempt: 1 };
        let owned = identity.key_groups();
        let groups = restored.groups.iter().filter(|(group, _)| owned.contains(&group.0));
        let groups = groups.map(|(group, bytes)| (*group, bytes.clone())).collect();
        let context = Context { identity, env: Arc::new(ManualEnv::new(1)), waker: noop_waker() };
        limit.open(context, Restored { epoch: Some(Epoch(1)), groups }).unwrap();
        limit
    }

    fn given(limit: &mut Limit, rows: u64) -> usize {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let ids: Vec<RowId> = (0..rows).map(|row| RowId::new(SplitId(1), row)).collect();
        limit.on_batch(Batch::new(batch, ids).unwrap()).unwrap();
        match limit.poll().unwrap() {
            Some(Out::Batch(batch)) => batch.len(),
            None => 0,
            other => panic!("{other:?}"),
        }
    }

    fn frozen(limit: &mut Limit) -> Snapshot {
        limit.snapshot(Epoch(1)).unwrap().now_or_never().unwrap().unwrap()
    }

    #[test]
    fn count_goes_on_after_a_restart_at_another_parallelism() {
        let owner = (0..3).find(|subtask| opened(&Full::default(), *subtask, 3, &Snapshot::default()).group.is_some());
        let full = Full::default();
        let mut limit = opened(&full, owner.unwrap(), 3, &Snapshot::default());
        assert_eq!((given(&mut limit, 3), full.is_set()), (3, false));
        let snapshot = frozen(&mut limit);
        let full = Full::default();
        let mut limit = opened(&full, 0, 1, &snapshot);
        assert_eq!((given(&mut limit, 9), full.is_set(), given(&mut limit, 9)), (2, true, 0));
        let (snapshot, again) = (frozen(&mut limit), Full::default());
        opened(&again, 0, 1, &snapshot);
        assert!(again.is_set(), "a limit that was reached before the restart says so at once");
    }

    #[test]
    fn subtask_without_the_rows_keeps_no_count_and_says_nothing() {
        let full = Full::default();
        let mut others: Vec<Limit> = (0..3).map(|subtask| opened(&full, subtask, 3, &Snapshot::default())).collect();
        assert_eq!(others.iter_mut().map(|limit| frozen(limit).groups.len()).sum::<usize>(), 1);
        assert!(!full.is_set());
    }

    #[test]
    fn damaged_count_is_refused() {
        for bytes in [&b""[..], &[2; 9], &[1; 8], &[1; 10]] {
            assert_eq!(decode(Bytes::from_static(bytes)).unwrap_err().kind(), Kind::Corrupt);
        }
    }
}
