//! The regular join: every pair of rows with the same key, as both streams are now.
//!
//! Both inputs may take rows back. A row that comes puts out a pair (`+I`) with every row of the other side, one that is taken
//! back takes its pairs back (`-D`); updates of an input travel as both. A row that is kept without a partner is put out with
//! nulls while it has none, and that is taken back when one comes. The pairs of a key come in the order of what caused them.
//!
//! Rows are found by their content when they are taken back, by their id first where several are the same. With a time to live a
//! row is gone for rows that come once the watermark is that long after its event time; what was put out with it stays. The
//! output has no event time, because a row may meet one of any age; watermarks pass.

use std::time::Duration;

use forebay_core::element::Epoch;
use forebay_core::hash::hash64;
use forebay_core::keys::Key;
use forebay_core::operator::{Identity, Operator, Restored, Snapshot};
use forebay_core::time::EventTime;
use forebay_core::{Result, RowId, RowKind};
use forebay_state::keyed::{KeyedState, Space, StateSettings, StateTable, TableSpec};

use super::timed::read;
use super::{JoinShape, Keeps, Side};
use crate::keyed_rows::output::{Output, Stored};
use crate::keyed_rows::{Row, Rules};

/// Mistakes that tests plant to see that their checks find them. Never set in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegularBug {
    /// A row of nulls stays when a partner comes.
    KeepNulls,
    /// When the last partner goes, the row of nulls does not come.
    ForgetNulls,
}

/// A regular join, to be given both streams. With `ttl` both streams have event time.
///
/// # Errors
/// `Invalid` for a column that cannot be a key or cannot be stored.
pub fn regular_join(shape: &JoinShape, ttl: Option<Duration>, settings: StateSettings) -> Result<Box<dyn Operator>> {
    regular_join_with(shape, ttl, settings, None)
}

/// [`regular_join`] with a planted bug.
#[doc(hidden)]
pub fn regular_join_with(
    shape: &JoinShape,
    ttl: Option<Duration>,
    settings: StateSettings,
    bug: Option<RegularBug>,
) -> Result<Box<dyn Operator>> {
    Ok(Box::new(shape.frame(RegularRules { keeps: shape.keeps, ttl, settings, bug, state: None })?))
}

struct RegularRules {
    keeps: Keeps,
    ttl: Option<Duration>,
    settings: StateSettings,
    bug: Option<RegularBug>,
    state: Option<State>,
}

struct State {
    keyed: KeyedState,
    /// By hash of content and id, of each side: whether its row of nulls is out, then the stored row.
    rows: [StateTable<Vec<u8>>; 2],
}

// === impl RegularRules ===

impl RegularRules {
    fn insert(&mut self, key: &Key, row: &Row<'_>, out: &mut Output) -> Result<usize> {
        let (side, other) = (row.side, row.side.other());
        let stored = Stored { id: row.id, bytes: row.bytes };
        let table = &mut self.state.as_mut().expect("open comes before rows").rows[other.place()];
        let (mut met, mut alone) = (0, Vec::new());
        for (space, value) in table.scan(key)? {
            let partner = read(space, value);
            if value.first() == Some(&1) && self.bug != Some(RegularBug::KeepNulls) {
                out.pair(RowKind::Delete, Some(key), other, partner, None)?;
                alone.push(space.clone());
            }
            out.pair(RowKind::Insert, Some(key), side, stored, Some(partner))?;
            met += 1;
        }
        self.mark(key, other, &alone, false)?;
        let is_alone = met == 0 && self.keeps.keeps(side);
        if is_alone {
            out.pair(RowKind::Insert, Some(key), side, stored, None)?;
        }
        let mut value = Vec::with_capacity(1 + row.bytes.len());
        value.push(u8::from(is_alone));
        value.extend_from_slice(row.bytes);
        let table = &mut self.state.as_mut().expect("open comes before rows").rows[side.place()];
        let space = space_of(row.bytes, row.id);
        match self.ttl {
            Some(_) => table.insert_at(key, &space, value, row.time)?,
            None => table.insert(key, &space, value)?,
        }
        Ok(met)
    }

    fn take_back(&mut self, key: &Key, row: &Row<'_>, out: &mut Output) -> Result<usize> {
        let (side, other) = (row.side, row.side.other());
        let Some(found) = self.find(key, row)? else { return Ok(1) };
        let [left, right] = &mut self.state.as_mut().expect("open comes before rows").rows;
        let (own, others) = if side == Side::Left { (left, right) } else { (right, left) };
        let Some(value) = own.remove(key, &found)? else { return Ok(1) };
        let stored = read(&found, &value);
        if value.first() == Some(&1) {
            out.pair(RowKind::Delete, Some(key), side, stored, None)?;
            return Ok(1);
        }
        let is_last = own.scan(key)?.next().is_none();
        let becomes_alone = is_last && self.keeps.keeps(other) && self.bug != Some(RegularBug::ForgetNulls);
        let (mut met, mut alone) = (0, Vec::new());
        for (space, value) in others.scan(key)? {
            let partner = read(space, value);
            out.pair(RowKind::Delete, Some(key), side, stored, Some(partner))?;
            met += 1;
            if becomes_alone && value.first() == Some(&0) {
                out.pair(RowKind::Insert, Some(key), other, partner, None)?;
                alone.push(space.clone());
            }
        }
        self.mark(key, other, &alone, true)?;
        Ok(met)
    }

    /// Where the row lies that `row` takes back.
    fn find(&mut self, key: &Key, row: &Row<'_>) -> Result<Option<Space>> {
        let table = &mut self.state.as_mut().expect("open comes before rows").rows[row.side.place()];
        let exact = space_of(row.bytes, row.id);
        let is_same = |value: &Vec<u8>| value.get(1..) == Some(row.bytes);
        if table.get(key, &exact)?.is_some_and(is_same) {
            return Ok(Some(exact));
        }
        let content = hash64(row.bytes).to_be_bytes();
        let last = [&content[..], &[0xff; 17]].concat();
        let mut copies = table.scan_range(key, Space::new(&content)..=Space::new(&last))?;
        Ok(copies.find(|(_, value)| is_same(value)).map(|(space, _)| space.clone()))
    }

    /// Notes whether the rows of nulls of these rows are out; their time to live goes on.
    fn mark(&mut self, key: &Key, side: Side, spaces: &[Space], is_out: bool) -> Result<()> {
        let table = &mut self.state.as_mut().expect("open comes before rows").rows[side.place()];
        for space in spaces {
            let Some(mut value) = table.get(key, space)?.cloned() else { continue };
            value[0] = u8::from(is_out);
            match self.ttl {
                Some(_) => table.insert_at(key, space, value, EventTime::MIN)?,
                None => table.insert(key, space, value)?,
            }
        }
        Ok(())
    }
}

/// Where a row lies: same content side by side.
fn space_of(bytes: &[u8], id: RowId) -> Space {
    let mut space = [0; 24];
    space[..8].copy_from_slice(&hash64(bytes).to_be_bytes());
    space[8..].copy_from_slice(&id.to_bytes());
    Space::new(&space)
}

impl Rules for RegularRules {
    fn open(&mut self, identity: &Identity, restored: Restored) -> Result<()> {
        let mut keyed = KeyedState::open(identity, self.settings.clone(), restored)?;
        let spec = |name| match self.ttl {
            Some(ttl) => TableSpec::new(name, 1).ttl(ttl),
            None => TableSpec::new(name, 1),
        };
        let rows = [keyed.table(spec("left"))?, keyed.table(spec("right"))?];
        keyed.opened()?;
        self.state = Some(State { keyed, rows });
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>, out: &mut Output) -> Result<usize> {
        let Some(key) = row.key else {
            if self.keeps.keeps(row.side) {
                let kind = if row.kind.is_retraction() { RowKind::Delete } else { RowKind::Insert };
                out.pair(kind, None, row.side, Stored { id: row.id, bytes: row.bytes }, None)?;
            }
            return Ok(0);
        };
        if row.kind.is_retraction() { self.take_back(key, row, out) } else { self.insert(key, row, out) }
    }

    fn watermark(&mut self, watermark: EventTime, _out: &mut Output) -> Result<EventTime> {
        if self.ttl.is_some() {
            let state = self.state.as_mut().expect("open comes before watermarks");
            state.rows.iter_mut().try_for_each(|table| table.advance(watermark))?;
        }
        Ok(watermark)
    }

    fn snapshot(&mut self, epoch: Epoch) -> Result<Snapshot> {
        let State { keyed, rows: [left, right] } = self.state.as_mut().expect("open comes before a snapshot");
        keyed.snapshot(epoch, &mut [left, right])
    }

    fn on_checkpoint_complete(&mut self, epoch: Epoch) {
        self.state.iter_mut().for_each(|state| state.keyed.on_checkpoint_complete(epoch));
    }
}
