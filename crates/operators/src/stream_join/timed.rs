//! Joins in event time: within an interval, or in the same tumbling window.
//!
//! A pair is put out as soon as both rows are there, so it may come while the watermark is still before the later of the two.
//! The event time of a pair is that of the row whose stream keeps its mark (the left one, of a right join the right one), which
//! may be the earlier of the two: the watermark of the output is therefore behind that of the input, by the longest that a row can
//! still wait for its partner. Flink's interval join does the same.
//!
//! A row stays until the watermark says that no partner can come any more. A row that is kept without a partner is put out
//! then. Rows that are not after the watermark are late and leave by the side outputs: 1 for the left stream, 2 for the right.

use std::time::Duration;

use forebay_core::element::Epoch;
use forebay_core::hash::hash64;
use forebay_core::keys::Key;
use forebay_core::operator::{Identity, Operator, Restored, Snapshot};
use forebay_core::time::EventTime;
use forebay_core::{Result, RowId, RowKind};
use forebay_state::keyed::{KeyedState, Space, StateSettings, StateTable, TableSpec, Timers};

use super::{JoinShape, Keeps, Side};
use crate::clock::Clock;
use crate::keyed_rows::output::{Output, Stored};
use crate::keyed_rows::{Row, Rules};

/// Which rows of one key meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// Those where the right row's time is from `before` before the left row's to `after` after it, both included.
    Interval {
        /// How much earlier the right row may be.
        before: Duration,
        /// How much later the right row may be.
        after: Duration,
    },
    /// Those in the same tumbling window of this size; windows start at whole multiples of it from 1970 on.
    Window(Duration),
}

/// Mistakes that tests plant to see that their checks find them. Never set in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimedJoinBug {
    /// Rows are dropped one millisecond early.
    DropEarly,
    /// A match does not say that the stored row has a partner.
    ForgetPartner,
    /// The watermark is handed on as it is.
    NoHold,
    /// A restart forgets the watermark.
    ForgetClock,
}

/// A join in event time, to be given both streams.
///
/// # Errors
/// `Invalid` for a column that cannot be a key or cannot be stored.
pub fn timed_join(shape: &JoinShape, meeting: Meeting, settings: StateSettings) -> Result<Box<dyn Operator>> {
    timed_join_with(shape, meeting, settings, None)
}

/// [`timed_join`] with a planted bug.
#[doc(hidden)]
pub fn timed_join_with(
    shape: &JoinShape,
    meeting: Meeting,
    settings: StateSettings,
    bug: Option<TimedJoinBug>,
) -> Result<Box<dyn Operator>> {
    let rules = TimedRules { meeting, keeps: shape.keeps, settings, bug, state: None };
    Ok(Box::new(shape.frame(rules)?))
}

struct TimedRules {
    meeting: Meeting,
    keeps: Keeps,
    settings: StateSettings,
    bug: Option<TimedJoinBug>,
    state: Option<State>,
}

struct State {
    keyed: KeyedState,
    /// By time and id, of each side: whether the row has met a partner, then the stored row.
    rows: [StateTable<Vec<u8>>; 2],
    /// When rows of a key can go; the space is the side.
    ends: Timers,
    /// Timers set since the last watermark, each in the place of its key's hash: a row of a busy key seldom needs a new one.
    recent: Vec<Option<(EventTime, Side, Key)>>,
    clock: Clock,
}

/// Timers remembered: as many as a batch has busy keys, and still cheap to forget at each watermark.
const RECENT: usize = 64;

// === impl Meeting ===

impl Meeting {
    /// The times of the other side that a row of `side` meets, first and last.
    fn range(self, side: Side, time: EventTime) -> (EventTime, EventTime) {
        match (self, side) {
            (Self::Interval { before, after }, Side::Left) => (time.minus(before), time.plus(after)),
            (Self::Interval { before, after }, Side::Right) => (time.minus(after), time.plus(before)),
            (Self::Window(size), _) => {
                let start = window_start(time, size);
                (start, EventTime(start.plus(size).0.saturating_sub(1)))
            }
        }
    }

    /// The watermark at which a row of `side` can meet no new one.
    fn end(self, side: Side, time: EventTime) -> EventTime {
        self.range(side, time).1
    }

    /// The latest time of rows of `side` that can meet no new one at `watermark`.
    fn ended(self, side: Side, watermark: EventTime) -> EventTime {
        match (self, side) {
            _ if watermark == EventTime::MAX => EventTime::MAX,
            (Self::Interval { after, .. }, Side::Left) => watermark.minus(after),
            (Self::Interval { before, .. }, Side::Right) => watermark.minus(before),
            (Self::Window(size), _) => {
                let next = EventTime(watermark.0.saturating_add(1));
                EventTime(window_start(next, size).0.saturating_sub(1))
            }
        }
    }

    /// Timers of rows that only go are rounded up to this many microseconds, so that a busy key has few of them. A row then
    /// stays an eighth longer than it must.
    fn grain(self) -> i64 {
        let span = match self {
            Self::Interval { before, after } => before.saturating_add(after),
            Self::Window(size) => size,
        };
        i64::try_from(span.as_micros() / 8).unwrap_or(i64::MAX).max(1000)
    }
}

/// The start of the window of `time`.
fn window_start(time: EventTime, size: Duration) -> EventTime {
    let size = i64::try_from(size.as_micros()).unwrap_or(i64::MAX).max(1);
    EventTime(time.0.saturating_sub(time.0.rem_euclid(size)))
}

// === impl State ===

impl State {
    fn set_timer(&mut self, time: EventTime, side: Side, key: &Key) -> Result<()> {
        let recent = &mut self.recent[hash64(key.as_bytes()) as usize % RECENT];
        let is_known = |known: &(EventTime, Side, Key)| (known.0, known.1, &known.2) == (time, side, key);
        if !recent.as_ref().is_some_and(is_known) {
            self.ends.set(time, key, &Space::new(&[side as u8]))?;
            *recent = Some((time, side, key.clone()));
        }
        Ok(())
    }
}

// === impl TimedRules ===

impl TimedRules {
    /// When the timer of a stored row is set.
    fn timer(&self, side: Side, time: EventTime) -> EventTime {
        let end = self.meeting.end(side, time);
        let grain = self.meeting.grain();
        if self.keeps.keeps(side) {
            return end;
        }
        EventTime(end.0.div_euclid(grain).saturating_add(1).saturating_mul(grain))
    }

    /// The side whose event time is that of the output.
    fn time_side(&self) -> Side {
        if self.keeps == Keeps::Right { Side::Right } else { Side::Left }
    }
}

impl Rules for TimedRules {
    fn open(&mut self, identity: &Identity, restored: Restored) -> Result<()> {
        let mut keyed = KeyedState::open(identity, self.settings.clone(), restored)?;
        let rows = [keyed.table(TableSpec::new("left", 1))?, keyed.table(TableSpec::new("right", 1))?];
        let ends = keyed.timers("ends")?;
        let clock = Clock::open(&mut keyed, "clock", identity, self.bug == Some(TimedJoinBug::ForgetClock))?;
        keyed.opened()?;
        self.state = Some(State { keyed, rows, ends, recent: vec![None; RECENT], clock });
        Ok(())
    }

    fn is_late(&mut self, _side: Side, key: Option<&Key>, time: EventTime) -> Result<bool> {
        Ok(time <= self.state.as_ref().expect("open comes before rows").clock.of_row(key))
    }

    fn row(&mut self, row: &Row<'_>, out: &mut Output) -> Result<usize> {
        let (side, other, stored) = (row.side, row.side.other(), Stored { id: row.id, bytes: row.bytes });
        let keeps = self.keeps;
        let Some(key) = row.key else {
            if keeps.keeps(side) {
                out.pair(RowKind::Insert, None, side, stored, None)?;
            }
            return Ok(0);
        };
        let timer = self.timer(side, row.time);
        let state = self.state.as_mut().expect("open comes before rows");
        let (first, last) = self.meeting.range(side, row.time);
        let (mut met, mut newly_met) = (0, Vec::new());
        let range = Space::of_time(first)..=behind(last);
        for (space, value) in state.rows[other.place()].scan_range(key, range)? {
            out.pair(RowKind::Insert, Some(key), side, stored, Some(read(space, value)))?;
            met += 1;
            if keeps.keeps(other) && value.first() == Some(&0) && self.bug != Some(TimedJoinBug::ForgetPartner) {
                newly_met.push(space.clone());
            }
        }
        for space in newly_met {
            if let Some(flag) = state.rows[other.place()].get_mut(key, &space)?.and_then(|value| value.first_mut()) {
                *flag = 1;
            }
        }
        let mut value = Vec::with_capacity(1 + row.bytes.len());
        value.push(u8::from(met > 0));
        value.extend_from_slice(row.bytes);
        state.rows[side.place()].insert(key, &Space::of_time_and(row.time, &row.id.to_bytes()), value)?;
        state.set_timer(timer, side, key)?;
        Ok(met)
    }

    fn watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<EventTime> {
        let early = if self.bug == Some(TimedJoinBug::DropEarly) { 1000 } else { 0 };
        let state = self.state.as_mut().expect("open comes before watermarks");
        state.clock.advance(watermark);
        state.recent.fill(None);
        while let Some(timer) = state.ends.due(EventTime(watermark.0.saturating_add(early))) {
            let side = if timer.space.as_bytes() == [0] { Side::Left } else { Side::Right };
            let ended = EventTime(self.meeting.ended(side, watermark).0.saturating_add(early));
            for (space, value) in state.rows[side.place()].remove_range(&timer.key, ..=behind(ended))? {
                if self.keeps.keeps(side) && value.first() == Some(&0) {
                    out.pair(RowKind::Insert, Some(&timer.key), side, read(&space, &value), None)?;
                }
            }
        }
        if self.bug == Some(TimedJoinBug::NoHold) {
            return Ok(watermark);
        }
        Ok(self.meeting.ended(self.time_side(), watermark))
    }

    fn snapshot(&mut self, epoch: Epoch) -> Result<Snapshot> {
        let State { keyed, rows: [left, right], ends, clock, .. } =
            self.state.as_mut().expect("open comes before a snapshot");
        keyed.snapshot(epoch, &mut [left, right, ends, clock.part()?])
    }

    fn on_checkpoint_complete(&mut self, epoch: Epoch) {
        self.state.iter_mut().for_each(|state| state.keyed.on_checkpoint_complete(epoch));
    }
}

/// Behind every row of `time`.
pub(super) fn behind(time: EventTime) -> Space {
    Space::of_time_and(time, &[0xff; 17])
}

/// The stored row of an entry.
pub(super) fn read<'a>(space: &Space, value: &'a [u8]) -> Stored<'a> {
    Stored { id: id_of(space), bytes: value.get(1..).unwrap_or_default() }
}

/// The id of the row that lies in `space`; its last 16 bytes.
pub(super) fn id_of(space: &Space) -> RowId {
    RowId::from_bytes(space.as_bytes().last_chunk::<16>().copied().unwrap_or_default())
}
