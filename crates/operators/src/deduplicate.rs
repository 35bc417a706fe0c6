//! One row of each key: the first or the last, by arrival or by event time.
//!
//! The first by arrival is given at once and all later ones are dropped. The first by event time is given when the watermark
//! reaches it, because until then an earlier one may come; a row behind the watermark whose key has given nothing is late and
//! leaves by side output 1. The last one is given at once and replaced (`-U`, `+U`) whenever a later one comes. Of two rows of
//! one event time that with the lesser id is the earlier, so by event time the result does not depend on the order of arrival.
//!
//! With a time to live a key is forgotten once the watermark is that long after the row that is kept; a row that comes then is
//! the first of its key again, and what was given stays. It never takes updates.

use std::time::Duration;

use arrow::datatypes::SchemaRef;
use forebay_core::element::Epoch;
use forebay_core::keys::Key;
use forebay_core::operator::{Identity, Operator, Restored, Snapshot};
use forebay_core::time::EventTime;
use forebay_core::{Error, Kind, Result, RowId, RowKind};
use forebay_state::keyed::{KeyedState, Space, StateSettings, StateTable, TableSpec, Timers};

use crate::clock::Clock;
use crate::keyed_rows::output::{Output, Stored};
use crate::keyed_rows::{Frame, FrameShape, InputShape, Row, Rules, Side};

/// Which row of a key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The first that comes.
    FirstToCome,
    /// That with the least event time.
    Earliest,
    /// The last that came.
    LastToCome,
    /// That with the greatest event time.
    Latest,
}

/// What a deduplicate step does.
#[derive(Debug, Clone)]
pub struct DeduplicateSettings {
    /// The rows; their event time is required by `Earliest`, `Latest` and `ttl`.
    pub input: InputShape,
    /// The rows that come out: the same columns.
    pub output: SchemaRef,
    /// Which row of a key is kept.
    pub keep: Keep,
    /// How long a key is remembered; `None`: for good.
    pub ttl: Option<Duration>,
    /// How state is kept.
    pub state: StateSettings,
    /// A planted bug.
    #[doc(hidden)]
    pub bug: Option<DeduplicateBug>,
}

/// Mistakes that tests plant to see that their checks find them. Never set in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeduplicateBug {
    /// The earliest row is given as soon as one comes.
    DoNotWait,
    /// A row that comes replaces a later one.
    IgnoreTime,
    /// The row that is replaced is not taken back.
    KeepOld,
    /// A restart forgets the watermark.
    ForgetClock,
}

/// The operator.
///
/// # Errors
/// `Invalid` for a column that cannot be a key or cannot be stored.
pub fn deduplicate(settings: &DeduplicateSettings) -> Result<Box<dyn Operator>> {
    let shape = FrameShape {
        inputs: vec![settings.input.clone()],
        nulls_are_keys: true,
        order: Vec::new(),
        output: SchemaRef::clone(&settings.output),
        appended: Vec::new(),
        mark: None,
    };
    Ok(Box::new(Frame::new(&shape, DeduplicateRules { settings: settings.clone(), state: None })?))
}

struct DeduplicateRules {
    settings: DeduplicateSettings,
    state: Option<State>,
}

struct State {
    keyed: KeyedState,
    /// The kept row of each key, as [`Kept`] writes it.
    kept: StateTable<Vec<u8>>,
    /// When a key gives its earliest row.
    due: Timers,
    clock: Clock,
}

/// A kept row: whether it was given, its event time and id, then, where it is needed again, the row.
struct Kept<'a> {
    is_given: bool,
    time: EventTime,
    id: RowId,
    bytes: &'a [u8],
}

// === impl Kept ===

impl<'a> Kept<'a> {
    fn write(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(25 + self.bytes.len());
        value.push(u8::from(self.is_given));
        value.extend_from_slice(&self.time.0.to_le_bytes());
        value.extend_from_slice(&self.id.to_bytes());
        value.extend_from_slice(self.bytes);
        value
    }

    fn read(value: &'a [u8]) -> Result<Self> {
        let parts = || {
            let (flag, rest) = value.split_first()?;
            let (time, rest) = rest.split_first_chunk::<8>()?;
            let (id, bytes) = rest.split_first_chunk::<16>()?;
            let (time, id) = (EventTime(i64::from_le_bytes(*time)), RowId::from_bytes(*id));
            Some(Self { is_given: *flag == 1, time, id, bytes })
        };
        parts().ok_or_else(|| Error::new(Kind::Corrupt, "read kept row").with("bytes", value.len()))
    }

    fn stored(&self) -> Stored<'a> {
        Stored { id: self.id, bytes: self.bytes }
    }
}

// === impl DeduplicateRules ===

impl DeduplicateRules {
    fn first_to_come(&mut self, key: &Key, row: &Row<'_>, out: &mut Output) -> Result<()> {
        if self.kept(key)?.is_none() {
            out.pair(RowKind::Insert, Some(key), Side::Left, stored(row), None)?;
            self.keep(key, &Kept { is_given: true, time: row.time, id: row.id, bytes: &[] })?;
        }
        Ok(())
    }

    fn earliest(&mut self, key: &Key, row: &Row<'_>, out: &mut Output) -> Result<()> {
        if let Some(value) = self.kept(key)? {
            let kept = Kept::read(&value)?;
            if kept.is_given || (kept.time, kept.id) < (row.time, row.id) {
                return Ok(());
            }
            let state = self.state.as_mut().expect("open comes before rows");
            state.due.remove(kept.time, key, &Space::EMPTY);
            // A write never makes an entry older, and this one is.
            state.kept.remove(key, &Space::EMPTY)?;
        }
        self.keep(key, &Kept { is_given: false, time: row.time, id: row.id, bytes: row.bytes })?;
        self.state.as_mut().expect("open comes before rows").due.set(row.time, key, &Space::EMPTY)?;
        if self.settings.bug == Some(DeduplicateBug::DoNotWait) { self.give(key, out) } else { Ok(()) }
    }

    /// Gives the earliest row of a key; from then on it is only known that it was given.
    fn give(&mut self, key: &Key, out: &mut Output) -> Result<()> {
        let Some(value) = self.kept(key)? else { return Ok(()) };
        let kept = Kept::read(&value)?;
        if !kept.is_given {
            out.pair(RowKind::Insert, Some(key), Side::Left, kept.stored(), None)?;
            self.keep(key, &Kept { is_given: true, bytes: &[], ..kept })?;
        }
        Ok(())
    }

    fn last(&mut self, key: &Key, row: &Row<'_>, out: &mut Output) -> Result<()> {
        let by_time = self.settings.keep == Keep::Latest && self.settings.bug != Some(DeduplicateBug::IgnoreTime);
        let before = self.kept(key)?;
        if let Some(value) = &before {
            let kept = Kept::read(value)?;
            if by_time && (row.time, row.id) < (kept.time, kept.id) {
                return Ok(());
            }
            if self.settings.bug != Some(DeduplicateBug::KeepOld) {
                out.pair(RowKind::UpdateBefore, Some(key), Side::Left, kept.stored(), None)?;
            }
        }
        let kind = if before.is_some() { RowKind::UpdateAfter } else { RowKind::Insert };
        out.pair(kind, Some(key), Side::Left, stored(row), None)?;
        self.keep(key, &Kept { is_given: true, time: row.time, id: row.id, bytes: row.bytes })
    }

    fn kept(&mut self, key: &Key) -> Result<Option<Vec<u8>>> {
        let state = self.state.as_mut().expect("open comes before rows");
        Ok(state.kept.get(key, &Space::EMPTY)?.cloned())
    }

    fn keep(&mut self, key: &Key, kept: &Kept<'_>) -> Result<()> {
        let state = self.state.as_mut().expect("open comes before rows");
        state.kept.insert_at(key, &Space::EMPTY, kept.write(), kept.time)
    }
}

fn stored<'a>(row: &Row<'a>) -> Stored<'a> {
    Stored { id: row.id, bytes: row.bytes }
}

impl Rules for DeduplicateRules {
    fn open(&mut self, identity: &Identity, restored: Restored) -> Result<()> {
        let mut keyed = KeyedState::open(identity, self.settings.state.clone(), restored)?;
        let spec = TableSpec::new("kept", 1);
        let kept = keyed.table(match self.settings.ttl {
            Some(ttl) => spec.ttl(ttl),
            None => spec,
        })?;
        let due = keyed.timers("due")?;
        let forgets = self.settings.bug == Some(DeduplicateBug::ForgetClock);
        let clock = Clock::open(&mut keyed, "clock", identity, forgets)?;
        keyed.opened()?;
        self.state = Some(State { keyed, kept, due, clock });
        Ok(())
    }

    fn is_late(&mut self, _side: Side, key: Option<&Key>, time: EventTime) -> Result<bool> {
        let state = self.state.as_mut().expect("open comes before rows");
        let Some(key) = key.filter(|key| self.settings.keep == Keep::Earliest && time <= state.clock.of(key)) else {
            return Ok(false);
        };
        // One whose key has given a row is only one more of them.
        let kept = self.kept(key)?;
        Ok(kept.is_none_or(|value| value.first() != Some(&1)))
    }

    fn row(&mut self, row: &Row<'_>, out: &mut Output) -> Result<usize> {
        let Some(key) = row.key else { return Ok(0) };
        if row.kind != RowKind::Insert {
            return Err(Error::new(Kind::Internal, "deduplicate rows").source("updates came to a deduplicate step"));
        }
        match self.settings.keep {
            Keep::FirstToCome => self.first_to_come(key, row, out)?,
            Keep::Earliest => self.earliest(key, row, out)?,
            Keep::LastToCome | Keep::Latest => self.last(key, row, out)?,
        }
        Ok(1)
    }

    fn watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<EventTime> {
        let due = |state: &mut Option<State>| state.as_mut().and_then(|state| state.due.due(watermark));
        while let Some(timer) = due(&mut self.state) {
            self.give(&timer.key, out)?;
        }
        let state = self.state.as_mut().expect("open comes before watermarks");
        state.clock.advance(watermark);
        if self.settings.ttl.is_some() {
            state.kept.advance(watermark)?;
        }
        Ok(watermark)
    }

    fn snapshot(&mut self, epoch: Epoch) -> Result<Snapshot> {
        let State { keyed, kept, due, clock } = self.state.as_mut().expect("open comes before a snapshot");
        keyed.snapshot(epoch, &mut [kept, due, clock.part()?])
    }

    fn on_checkpoint_complete(&mut self, epoch: Epoch) {
        self.state.iter_mut().for_each(|state| state.keyed.on_checkpoint_complete(epoch));
    }
}
