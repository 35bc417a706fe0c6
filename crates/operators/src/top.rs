//! The first rows of each key in an order, kept up to date.
//!
//! A row that comes among the first of its key is given, and the one that it pushes out is taken back. Of two rows that the
//! order does not tell apart, that with the lesser id is before, so the result depends only on the rows. Without ranks a change
//! is a `-D` and a `+I`; with them each row whose rank changed is taken back and given again (`-U`, `+U`).
//!
//! Over a stream that only adds, only the first rows of each key are kept. Over updates all rows are, because when one of the
//! first is taken back the next one takes its place. A row that is taken back is found by its content, by its id first where
//! several are the same.
//!
//! With a time to live a key is forgotten, all its rows at once, when the watermark is that long after its latest row. What was
//! given stays, and the key starts anew when a row comes.

use std::time::Duration;

use arrow::datatypes::SchemaRef;
use forebay_core::element::Epoch;
use forebay_core::keys::Key;
use forebay_core::operator::{Identity, Operator, Restored, Snapshot};
use forebay_core::time::EventTime;
use forebay_core::{Result, RowId, RowKind};
use forebay_state::keyed::{KeyedState, Space, StateSettings, StateTable, TableSpec, Timers};

pub use crate::keyed_rows::order::OrderColumn;
use crate::keyed_rows::output::{Mark, Output, Stored};
use crate::keyed_rows::{Frame, FrameShape, InputShape, Row, Rules};

/// What a top step does.
#[derive(Debug, Clone)]
pub struct TopSettings {
    /// The rows; their event time is required by `ttl`.
    pub input: InputShape,
    /// How many rows of a key are given, at least one.
    pub rows: usize,
    /// What they are ordered by.
    pub order: Vec<OrderColumn>,
    /// Whether the last column of the output is the rank, from 1.
    pub ranks: bool,
    /// Whether the input takes rows back.
    pub updates: bool,
    /// How long a key is remembered after its latest row; `None`: for good.
    pub ttl: Option<Duration>,
    /// The columns of the input, and the rank.
    pub output: SchemaRef,
    /// How state is kept.
    pub state: StateSettings,
    /// A planted bug.
    #[doc(hidden)]
    pub bug: Option<TopBug>,
}

/// Mistakes that tests plant to see that their checks find them. Never set in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopBug {
    /// The row that is pushed out is not taken back.
    KeepPushedOut,
    /// When one of the first rows goes, the next one does not come.
    ForgetNext,
    /// Only the first rows are kept although rows are taken back.
    DropRest,
}

/// The operator.
///
/// # Errors
/// `Invalid` for a column that cannot be a key or cannot be stored.
pub fn top(settings: &TopSettings) -> Result<Box<dyn Operator>> {
    let shape = FrameShape {
        inputs: vec![settings.input.clone()],
        nulls_are_keys: true,
        order: settings.order.clone(),
        output: SchemaRef::clone(&settings.output),
        appended: Vec::new(),
        mark: settings.ranks.then_some(Mark::Number),
    };
    Ok(Box::new(Frame::new(&shape, TopRules { settings: settings.clone(), state: None })?))
}

struct TopRules {
    settings: TopSettings,
    state: Option<State>,
}

struct State {
    keyed: KeyedState,
    /// Stored rows by order and id.
    rows: StateTable<Vec<u8>>,
    /// The time of the latest row of each key, with a time to live.
    latest: StateTable<i64>,
    /// When a key is forgotten.
    ends: Timers,
}

/// Rows in their order.
type Ranked = Vec<(Space, Vec<u8>)>;

// === impl TopRules ===

impl TopRules {
    fn state(&mut self) -> &mut State {
        self.state.as_mut().expect("open comes first")
    }

    fn insert(&mut self, key: &Key, row: &Row<'_>, out: &mut Output) -> Result<usize> {
        let (count, space) = (self.settings.rows, space_of(row));
        let keeps_all = self.settings.updates && self.settings.bug != Some(TopBug::DropRest);
        let rows = &mut self.state().rows;
        if rows.scan(key)?.nth(count - 1).is_some_and(|(last, _)| *last < space) {
            if keeps_all {
                rows.insert(key, &space, row.bytes.to_vec())?;
            }
            return Ok(count);
        }
        let before = self.first(key)?;
        let rows = &mut self.state().rows;
        rows.insert(key, &space, row.bytes.to_vec())?;
        if let (false, Some((last, _))) = (keeps_all, before.get(count - 1)) {
            rows.remove(key, last)?;
        }
        self.give(key, &before, out)
    }

    fn take_back(&mut self, key: &Key, row: &Row<'_>, out: &mut Output) -> Result<usize> {
        let Some(found) = self.find(key, row)? else { return Ok(1) };
        let before = self.first(key)?;
        self.state().rows.remove(key, &found)?;
        if before.iter().any(|(space, _)| *space == found) { self.give(key, &before, out) } else { Ok(1) }
    }

    /// Where the row lies that `row` takes back.
    fn find(&mut self, key: &Key, row: &Row<'_>) -> Result<Option<Space>> {
        let (rows, exact) = (&mut self.state().rows, space_of(row));
        if rows.get(key, &exact)?.is_some_and(|bytes| bytes == row.bytes) {
            return Ok(Some(exact));
        }
        let last = [row.order, &[0xff; 17]].concat();
        let mut copies = rows.scan_range(key, Space::new(row.order)..=Space::new(&last))?;
        Ok(copies.find(|(_, bytes)| *bytes == row.bytes).map(|(space, _)| space.clone()))
    }

    /// The first rows of a key.
    fn first(&mut self, key: &Key) -> Result<Ranked> {
        let count = self.settings.rows;
        Ok(self.state().rows.scan(key)?.take(count).map(|(space, bytes)| (space.clone(), bytes.clone())).collect())
    }

    /// Gives what has changed since the first rows were `before`.
    fn give(&mut self, key: &Key, before: &Ranked, out: &mut Output) -> Result<usize> {
        let after = self.first(key)?;
        let same = before.iter().zip(&after).take_while(|(old, new)| old.0 == new.0).count();
        let (old, new) = (&before[same..], &after[same..]);
        if self.settings.ranks {
            self.give_ranks(key, same, old, new, out)?;
        } else {
            let gone = old.iter().filter(|(space, _)| new.iter().all(|(other, _)| other != space));
            let come = new.iter().filter(|(space, _)| old.iter().all(|(other, _)| other != space));
            if !(self.settings.bug == Some(TopBug::KeepPushedOut) && after.len() == before.len()) {
                gone.into_iter().try_for_each(|row| put(RowKind::Delete, key, row, 0, out))?;
            }
            if !(self.settings.bug == Some(TopBug::ForgetNext) && after.len() == before.len()) {
                come.into_iter().try_for_each(|row| put(RowKind::Insert, key, row, 0, out))?;
            }
        }
        Ok(before.len() + after.len())
    }

    fn give_ranks(
        &self,
        key: &Key,
        same: usize,
        old: &[(Space, Vec<u8>)],
        new: &[(Space, Vec<u8>)],
        out: &mut Output,
    ) -> Result<()> {
        for place in 0..old.len().max(new.len()) {
            let rank = (same + place + 1) as u32;
            let (old, new) = (old.get(place), new.get(place));
            let is_update = old.is_some() && new.is_some();
            if let Some(row) = old {
                let kind = if is_update { RowKind::UpdateBefore } else { RowKind::Delete };
                put(kind, key, row, rank, out)?;
            }
            if let Some(row) = new {
                let kind = if is_update { RowKind::UpdateAfter } else { RowKind::Insert };
                put(kind, key, row, rank, out)?;
            }
        }
        Ok(())
    }

    /// The key is remembered for its time to live from `time` on.
    fn touch(&mut self, key: &Key, time: EventTime) -> Result<()> {
        let Some(ttl) = self.settings.ttl else { return Ok(()) };
        let State { latest, ends, .. } = self.state();
        let end = |time: i64| EventTime(EventTime(time).plus(ttl).0.saturating_add(1));
        let before = latest.get(key, &Space::EMPTY)?.copied();
        if before.is_some_and(|before| before >= time.0) {
            return Ok(());
        }
        if let Some(before) = before {
            ends.remove(end(before), key, &Space::EMPTY);
        }
        latest.insert(key, &Space::EMPTY, time.0)?;
        ends.set(end(time.0), key, &Space::EMPTY).map(drop)
    }
}

/// Where a row lies.
fn space_of(row: &Row<'_>) -> Space {
    Space::new(&[row.order, &row.id.to_bytes()].concat())
}

fn put(kind: RowKind, key: &Key, (space, bytes): &(Space, Vec<u8>), rank: u32, out: &mut Output) -> Result<()> {
    let id = RowId::from_bytes(space.as_bytes().last_chunk::<16>().copied().unwrap_or_default());
    out.marked(kind, Some(key), Some(Stored { id, bytes }), None, rank)
}

impl Rules for TopRules {
    fn open(&mut self, identity: &Identity, restored: Restored) -> Result<()> {
        let mut keyed = KeyedState::open(identity, self.settings.state.clone(), restored)?;
        let rows = keyed.table(TableSpec::new("rows", 1))?;
        let latest = keyed.table(TableSpec::new("latest", 1))?;
        let ends = keyed.timers("ends")?;
        keyed.opened()?;
        self.state = Some(State { keyed, rows, latest, ends });
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>, out: &mut Output) -> Result<usize> {
        let Some(key) = row.key else { return Ok(0) };
        if row.kind.is_retraction() {
            return self.take_back(key, row, out);
        }
        self.touch(key, row.time)?;
        self.insert(key, row, out)
    }

    fn watermark(&mut self, watermark: EventTime, _out: &mut Output) -> Result<EventTime> {
        let State { rows, latest, ends, .. } = self.state();
        while let Some(timer) = ends.due(watermark) {
            rows.remove_range(&timer.key, ..)?;
            latest.remove(&timer.key, &Space::EMPTY)?;
        }
        Ok(watermark)
    }

    fn snapshot(&mut self, epoch: Epoch) -> Result<Snapshot> {
        let State { keyed, rows, latest, ends } = self.state();
        keyed.snapshot(epoch, &mut [rows, latest, ends])
    }

    fn on_checkpoint_complete(&mut self, epoch: Epoch) {
        self.state().keyed.on_checkpoint_complete(epoch);
    }
}
