//! State and results of an open window step, and the moves between them.

use std::time::Duration;

use forebay_core::Result;
use forebay_core::keys::Key;
use forebay_core::row_kind::RowKind;
use forebay_core::time::EventTime;
use forebay_state::keyed::{KeyedState, Space, StateTable, Timer, Timers};

use super::WindowBug;
use super::cell::Layout;
use super::given::Results;
use super::pane::{Given, Pane};
use super::shape::Span;
use super::sliced::Sliced;
use super::standing::Standing;
use crate::clock::Clock;

/// What there is from `open` on.
pub(super) struct Opened {
    pub uid: String,
    pub state: KeyedState,
    pub panes: StateTable<Pane>,
    /// The time of the latest row of each key, where keys are forgotten.
    pub latest: Option<StateTable<i64>>,
    pub ends: Timers,
    /// Where windows consist of slices.
    pub sliced: Option<Sliced>,
    /// Where sessions are over updates.
    pub standing: Option<Standing>,
    pub clock: Clock,
    pub results: Results,
}

// === impl Opened ===

impl Opened {
    /// Sets the timers of a new window.
    pub fn set_timers(
        &mut self,
        key: &Key,
        span: Span,
        watermark: EventTime,
        lateness: i64,
        bug: Option<WindowBug>,
    ) -> Result<()> {
        let space = Space::of_time(span.end);
        if span.last() > watermark {
            self.ends.set(fires(span, bug), key, &space)?;
        }
        if lateness > 0 {
            self.ends.set(gone(span, lateness), key, &space)?;
        }
        Ok(())
    }

    /// Makes the windows `stored` of a key one, which is `span`. Results that they gave are taken back.
    pub fn join(
        &mut self,
        key: &Key,
        span: Span,
        stored: &[Span],
        layout: &Layout,
        lateness: i64,
        bug: Option<WindowBug>,
    ) -> Result<()> {
        let mut joined: Option<Pane> = None;
        for old in stored {
            let space = Space::of_time(old.end);
            self.ends.remove(fires(*old, bug), key, &space);
            self.ends.remove(gone(*old, lateness), key, &space);
            let Some(mut pane) = self.panes.remove(key, &space)? else { continue };
            if let Some(given) = pane.live(layout)?.given.take() {
                self.results.push(RowKind::Delete, key, *old, given)?;
            }
            match &mut joined {
                None => joined = Some(pane),
                Some(_) if bug == Some(WindowBug::MergeOne) => {}
                Some(first) => first.merge(&pane, layout)?,
            }
        }
        if let Some(mut pane) = joined {
            pane.start = span.start;
            self.panes.insert(key, &Space::of_time(span.end), pane)?;
            let watermark = self.clock.of(key);
            self.set_timers(key, span, watermark, lateness, bug)?;
        }
        Ok(())
    }

    /// A window goes whose last row was taken back, with the result that it gave.
    pub fn leave(
        &mut self,
        key: &Key,
        span: Span,
        layout: &Layout,
        lateness: i64,
        bug: Option<WindowBug>,
    ) -> Result<()> {
        let space = Space::of_time(span.end);
        if self.latest.is_none() {
            self.ends.remove(fires(span, bug), key, &space);
            self.ends.remove(gone(span, lateness), key, &space);
        }
        let Some(mut pane) = self.panes.remove(key, &space)? else { return Ok(()) };
        match pane.live(layout)?.given.take() {
            Some(given) => self.results.push(RowKind::Delete, key, span, given),
            None => Ok(()),
        }
    }

    /// Gives the result `after` in the place of `before`.
    pub fn replace(
        &mut self,
        key: &Key,
        span: Span,
        before: Option<Given>,
        after: Given,
        bug: Option<WindowBug>,
    ) -> Result<()> {
        let Some(before) = before.filter(|_| bug != Some(WindowBug::KeepOld)) else {
            return self.results.push(RowKind::Insert, key, span, after);
        };
        if self.results.are_same(&before, &after) {
            return Ok(());
        }
        self.results.push(RowKind::UpdateBefore, key, span, before)?;
        self.results.push(RowKind::UpdateAfter, key, span, after)
    }

    /// The key of the pane in `space` is remembered for `ttl` from `time` on.
    pub fn touch(&mut self, key: &Key, space: &Space, time: EventTime, ttl: Duration) -> Result<()> {
        let Some(latest) = &mut self.latest else { return Ok(()) };
        let end = |time: i64| EventTime(EventTime(time).plus(ttl).0.saturating_add(1));
        let before = latest.get(key, space)?.copied();
        if before.is_some_and(|before| before >= time.0) {
            return Ok(());
        }
        if let Some(before) = before {
            self.ends.remove(end(before), key, space);
        }
        latest.insert(key, space, time.0)?;
        self.ends.set(end(time.0), key, space).map(drop)
    }

    /// Forgets the key that `timer` is of, if keys are forgotten; false if they are not. What it gave stays.
    pub fn forget(&mut self, timer: &Timer) -> Result<bool> {
        let Some(latest) = &mut self.latest else { return Ok(false) };
        latest.remove(&timer.key, &timer.space)?;
        self.panes.remove(&timer.key, &timer.space)?;
        Ok(true)
    }
}

/// The windows of `key` in state.
pub(super) fn spans_of(panes: &mut StateTable<Pane>, key: &Key) -> Result<Vec<Span>> {
    let found = panes.scan(key)?;
    Ok(found.filter_map(|(space, pane)| Some(Span { start: pane.start, end: space.time()? })).collect())
}

/// The result that `pane` gave before, and the one that it gives now. With `keep` it may go on.
pub(super) fn give(pane: &mut Pane, layout: &Layout, keep: bool) -> Result<(Option<Given>, Given)> {
    let print = pane.print;
    let live = pane.live(layout)?;
    let given = live.result(print, layout, keep)?;
    let before = if keep { live.given.replace(given.clone()) } else { None };
    Ok((before, given))
}

/// The watermark at which a window is complete.
pub(super) fn fires(span: Span, bug: Option<WindowBug>) -> EventTime {
    let early = if bug == Some(WindowBug::FireEarly) { 1 } else { 0 };
    EventTime(span.last().0 - early)
}

/// The watermark at which nothing can be added to a window any more.
pub(super) fn gone(span: Span, lateness: i64) -> EventTime {
    EventTime(span.last().0.saturating_add(lateness))
}
