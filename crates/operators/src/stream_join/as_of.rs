//! The join as of a row's time: each left row with the version of its key that holds then.
//!
//! A row of the right stream is the version of its key from its own time until that of the next one; of two at one time the
//! one with the greater id holds. A left row is put out when the watermark reaches its time, because until then a version that
//! comes before it may still arrive; the event time and the watermark of the output are those of the left stream.
//!
//! The right stream may be the changes of a table. `-U` then says nothing: the `+U` behind it begins the next version, or replaces
//! the one of its own time, and what held before stays history. `-D` ends what its key has: from its time on there is no
//! version until one comes. Flink's temporal join reads a table's changes in the same way. The left stream only adds.
//!
//! Of each key the latest version that is not after the watermark stays for good, and all later ones; of a key that was ended
//! nothing stays, so that a version which comes later than that with an older time holds again. A left row that is not after the
//! watermark is late and leaves by side output 1; a late version is taken and holds for the rows that come.

use forebay_core::element::Epoch;
use forebay_core::keys::Key;
use forebay_core::operator::{Identity, Operator, Restored, Snapshot};
use forebay_core::time::EventTime;
use forebay_core::{Result, RowKind};
use forebay_state::keyed::{KeyedState, Space, StateSettings, StateTable, TableSpec, Timer, Timers};

use super::timed::{behind, id_of};
use super::{JoinShape, Keeps, Side};
use crate::clock::Clock;
use crate::keyed_rows::output::{Output, Stored};
use crate::keyed_rows::{Row, Rules};

/// Mistakes that tests plant to see that their checks find them. Never set in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOfBug {
    /// A row is joined when it comes, with the versions known by then.
    DoNotWait,
    /// The version that holds at the watermark goes with those before it.
    DropTheLatest,
    /// `-U` ends a version as `-D` does.
    UpdatesEnd,
    /// `-D` says as little as `-U`.
    EndsAreLost,
    /// A restart forgets the watermark.
    ForgetClock,
}

/// A join as of the left row's time, to be given both streams. `keeps` of the shape is `Inner` or `Left`.
///
/// # Errors
/// `Invalid` for a column that cannot be a key or cannot be stored.
pub fn as_of_join(shape: &JoinShape, settings: StateSettings) -> Result<Box<dyn Operator>> {
    as_of_join_with(shape, settings, None)
}

/// [`as_of_join`] with a planted bug.
#[doc(hidden)]
pub fn as_of_join_with(shape: &JoinShape, settings: StateSettings, bug: Option<AsOfBug>) -> Result<Box<dyn Operator>> {
    let rules = AsOfRules { keeps: shape.keeps, settings, bug, state: None };
    Ok(Box::new(shape.frame(rules)?))
}

struct AsOfRules {
    keeps: Keeps,
    settings: StateSettings,
    bug: Option<AsOfBug>,
    state: Option<State>,
}

struct State {
    keyed: KeyedState,
    /// Left rows that wait, by time and id.
    waiting: StateTable<Vec<u8>>,
    /// When they can go.
    due: Timers,
    /// Right rows by time and id; no bytes where the key was ended, behind all rows of that time.
    versions: StateTable<Vec<u8>>,
    /// From when a version makes those before it useless.
    replaced: Timers,
    clock: Clock,
}

// === impl AsOfRules ===

impl AsOfRules {
    fn put_out(&mut self, timer: &Timer, out: &mut Output) -> Result<()> {
        let state = self.state.as_mut().expect("open comes before watermarks");
        for (space, bytes) in state.waiting.remove_range(&timer.key, ..=behind(timer.time))? {
            let time = space.time().unwrap_or(timer.time);
            let row = Stored { id: id_of(&space), bytes: &bytes };
            let version = state.versions.scan_range(&timer.key, ..=behind(time))?.next_back();
            let version = version.filter(|(_, bytes)| !bytes.is_empty());
            let version = version.map(|(space, bytes)| Stored { id: id_of(space), bytes });
            if version.is_some() || self.keeps == Keeps::Left {
                out.pair(RowKind::Insert, Some(&timer.key), Side::Left, row, version)?;
            }
        }
        Ok(())
    }

    /// Drops the versions of a key that no row can need any more.
    fn forget(&mut self, timer: &Timer, watermark: EventTime) -> Result<()> {
        let state = self.state.as_mut().expect("open comes before watermarks");
        let holds = state.versions.scan_range(&timer.key, ..=behind(watermark))?.next_back();
        let Some((holds, is_end)) = holds.map(|(space, bytes)| (space.clone(), bytes.is_empty())) else {
            return Ok(());
        };
        state.versions.remove_range(&timer.key, ..holds.clone())?;
        if is_end || self.bug == Some(AsOfBug::DropTheLatest) {
            state.versions.remove(&timer.key, &holds)?;
        }
        Ok(())
    }

    /// Takes a version, or the end of one.
    fn version(&mut self, key: &Key, row: &Row<'_>) -> Result<()> {
        let kind = match (row.kind, self.bug) {
            (RowKind::UpdateBefore, Some(AsOfBug::UpdatesEnd)) => RowKind::Delete,
            (RowKind::Delete, Some(AsOfBug::EndsAreLost)) => RowKind::UpdateBefore,
            (kind, _) => kind,
        };
        let state = self.state.as_mut().expect("open comes before rows");
        let last = state.versions.scan(key)?.next_back().and_then(|(space, _)| space.time());
        let end = behind(row.time);
        match kind {
            RowKind::UpdateBefore => return Ok(()),
            RowKind::Insert => drop(state.versions.remove(key, &end)?),
            RowKind::UpdateAfter | RowKind::Delete => {
                state.versions.remove_range(key, Space::of_time(row.time)..=end.clone())?;
            }
        }
        if kind == RowKind::Delete {
            state.versions.insert(key, &end, Vec::new())?;
        } else {
            let space = Space::of_time_and(row.time, &row.id.to_bytes());
            state.versions.insert(key, &space, row.bytes.to_vec())?;
        }
        // The later of this version and the last one replaces what is before it; a single version replaces nothing.
        if last.is_some() || kind == RowKind::Delete {
            state.replaced.set(row.time.max(last.unwrap_or(row.time)), key, &Space::EMPTY)?;
        }
        Ok(())
    }
}

impl Rules for AsOfRules {
    fn open(&mut self, identity: &Identity, restored: Restored) -> Result<()> {
        let mut keyed = KeyedState::open(identity, self.settings.clone(), restored)?;
        let waiting = keyed.table(TableSpec::new("waiting", 1))?;
        let due = keyed.timers("due")?;
        let versions = keyed.table(TableSpec::new("versions", 1))?;
        let replaced = keyed.timers("replaced")?;
        let clock = Clock::open(&mut keyed, "clock", identity, self.bug == Some(AsOfBug::ForgetClock))?;
        keyed.opened()?;
        self.state = Some(State { keyed, waiting, due, versions, replaced, clock });
        Ok(())
    }

    fn is_late(&mut self, side: Side, key: Option<&Key>, time: EventTime) -> Result<bool> {
        let clock = &self.state.as_ref().expect("open comes before rows").clock;
        Ok(side == Side::Left && time <= clock.of_row(key))
    }

    fn row(&mut self, row: &Row<'_>, out: &mut Output) -> Result<usize> {
        match (row.side, row.key) {
            (Side::Left, Some(key)) => {
                let state = self.state.as_mut().expect("open comes before rows");
                let space = Space::of_time_and(row.time, &row.id.to_bytes());
                state.waiting.insert(key, &space, row.bytes.to_vec())?;
                state.due.set(row.time, key, &Space::EMPTY)?;
                if self.bug == Some(AsOfBug::DoNotWait) {
                    let timer = Timer { time: row.time, key: key.clone(), space: Space::EMPTY };
                    self.put_out(&timer, out)?;
                }
            }
            (Side::Left, None) if self.keeps == Keeps::Left => {
                let stored = Stored { id: row.id, bytes: row.bytes };
                out.pair(RowKind::Insert, None, Side::Left, stored, None)?;
            }
            (Side::Right, Some(key)) => self.version(key, row)?,
            (_, None) => {}
        }
        Ok(1)
    }

    fn watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<EventTime> {
        if let Some(state) = &mut self.state {
            state.clock.advance(watermark);
        }
        let due = |timers: fn(&mut State) -> &mut Timers, state: &mut Option<State>| {
            state.as_mut().and_then(|state| timers(state).due(watermark))
        };
        while let Some(timer) = due(|state| &mut state.due, &mut self.state) {
            self.put_out(&timer, out)?;
        }
        while let Some(timer) = due(|state| &mut state.replaced, &mut self.state) {
            self.forget(&timer, watermark)?;
        }
        Ok(watermark)
    }

    fn snapshot(&mut self, epoch: Epoch) -> Result<Snapshot> {
        let State { keyed, waiting, due, versions, replaced, clock } =
            self.state.as_mut().expect("open comes before a snapshot");
        keyed.snapshot(epoch, &mut [waiting, due, versions, replaced, clock.part()?])
    }

    fn on_checkpoint_complete(&mut self, epoch: Epoch) {
        self.state.iter_mut().for_each(|state| state.keyed.on_checkpoint_complete(epoch));
    }
}
