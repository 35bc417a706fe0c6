//! Rows that come and go, and what that does to the sessions next to them.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::Result;
use forebay_core::keys::Key;
use forebay_core::time::EventTime;
use forebay_state::keyed::{Space, Timers};

use super::super::WindowBug;
use super::super::group::is_gone;
use super::super::opened::{fires, gone};
use super::super::shape::Span;
use super::Standing;
use super::extent::Extent;
use super::session::Session;

/// A row of a batch.
pub(super) struct Row<'a> {
    pub key: &'a Key,
    /// Place of the key in the batch.
    pub place: usize,
    /// The watermark of the key.
    pub watermark: EventTime,
    pub time: EventTime,
    /// As [`Columns`](super::columns::Columns) writes it.
    pub content: &'a [u8],
    /// Whether it takes an earlier one back.
    pub is_retraction: bool,
}

/// What the rows of a batch did to sessions, by place of the key.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Results that stood before, of sessions that changed or are no more.
    pub before: BTreeMap<(usize, Span), Vec<u8>>,
    /// The first times of sessions that changed; only with lateness.
    pub changed: BTreeSet<(usize, EventTime)>,
}

// === impl Touched ===

impl Touched {
    fn note(&mut self, place: usize, span: Span, given: Option<Vec<u8>>) {
        self.before.extend(given.map(|given| ((place, span), given)));
    }
}

// === impl Standing ===

impl Standing {
    /// Adds the row or takes it back; false if it is late.
    pub(super) fn row(&mut self, row: &Row<'_>, ends: &mut Timers, touched: &mut Touched) -> Result<bool> {
        let near = self.near(row.key, row.time)?;
        let joined = near.iter().fold(Extent::at(row.time), |joined, extent| joined.with(*extent));
        if row.time == EventTime::MAX || is_gone(joined.span(self.gap), self.lateness, row.watermark) {
            return Ok(false);
        }
        if !row.is_retraction {
            self.rows.add(row.key, row.time, row.content)?;
            self.replace(row, &near, &[joined], ends, touched)?;
        } else if self.rows.take_back(row.key, row.time, row.content)? {
            // It was there, so what is near is its session.
            let left = self.left(row, joined)?;
            self.replace(row, &near, &left, ends, touched)?;
        }
        Ok(true)
    }

    /// The sessions that a row at `time` is in or joins: at most two.
    fn near(&mut self, key: &Key, time: EventTime) -> Result<Vec<Extent>> {
        let gap = self.gap;
        let until = Space::of_time(EventTime(time.0.saturating_add(gap)));
        let found = self.sessions.scan_range(key, ..=until)?.rev();
        let extents = found.filter_map(|(space, session)| Some(Extent { first: space.time()?, last: session.last }));
        Ok(extents.take_while(|extent| extent.span(gap).end >= time).collect())
    }

    /// What is left of the session `extent` after one of its rows was taken back.
    fn left(&mut self, row: &Row<'_>, extent: Extent) -> Result<Vec<Extent>> {
        if self.rows.is_any_at(row.key, row.time)? {
            return Ok(vec![extent]);
        }
        let beside = self.rows.beside(row.key, row.time, self.gap)?;
        let gap = if self.bug == Some(WindowBug::NeverSplit) { i64::MAX } else { self.gap };
        Ok(extent.without(beside, gap).collect())
    }

    /// Puts the sessions `new` in the place of `old`, which hold rows of the same times.
    fn replace(
        &mut self,
        row: &Row<'_>,
        old: &[Extent],
        new: &[Extent],
        ends: &mut Timers,
        touched: &mut Touched,
    ) -> Result<()> {
        for extent in old.iter().filter(|old| !new.iter().any(|new| new.first == old.first)) {
            let space = Space::of_time(extent.first);
            let Some(session) = self.sessions.remove(row.key, &space)? else { continue };
            ends.remove(session.rings, row.key, &space);
            touched.note(row.place, extent.span(self.gap), session.given);
            touched.changed.remove(&(row.place, extent.first));
        }
        new.iter().try_for_each(|extent| self.put(row, *extent, ends, touched))
    }

    /// Makes the session `extent`, or makes the one that begins like it so.
    fn put(&mut self, row: &Row<'_>, extent: Extent, ends: &mut Timers, touched: &mut Touched) -> Result<()> {
        let space = Space::of_time(extent.first);
        let due = self.due(extent, false, row.watermark);
        if self.lateness > 0 {
            touched.changed.insert((row.place, extent.first));
        }
        let Some(session) = self.sessions.get_mut(row.key, &space)? else {
            ends.set(due, row.key, &space)?;
            return self.sessions.insert(row.key, &space, Session { last: extent.last, rings: due, given: None });
        };
        let before = Extent { last: session.last, ..extent };
        touched.note(row.place, before.span(self.gap), session.given.take());
        session.last = extent.last;
        if due < session.rings {
            ends.remove(session.rings, row.key, &space);
            ends.set(due, row.key, &space)?;
            session.rings = due;
        }
        Ok(())
    }

    /// When a session gives its result, and after that when it goes: at a watermark to come. What is over already goes with the
    /// next one.
    pub(super) fn due(&self, extent: Extent, is_given: bool, watermark: EventTime) -> EventTime {
        let span = extent.span(self.gap);
        let due = if is_given { gone(span, self.lateness) } else { fires(span, self.bug) };
        if due <= watermark { EventTime::MIN } else { due }
    }
}
