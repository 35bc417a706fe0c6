//! State and results of an open window step, and the moves between them.

use forebay_core::Result;
use forebay_core::keys::Key;
use forebay_core::row_kind::RowKind;
use forebay_core::time::EventTime;
use forebay_state::keyed::{KeyedState, Space, StateTable, Timers};

use super::WindowBug;
use super::aggregate::Aggregate;
use super::given::Results;
use super::pane::{Given, Pane};
use super::shape::Span;
use crate::clock::Clock;

/// What there is from `open` on.
pub(super) struct Opened {
    pub uid: String,
    pub state: KeyedState,
    pub panes: StateTable<Pane>,
    pub ends: Timers,
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
        aggregates: &[Aggregate],
        lateness: i64,
        bug: Option<WindowBug>,
    ) -> Result<()> {
        let mut joined: Option<Pane> = None;
        for old in stored {
            let space = Space::of_time(old.end);
            self.ends.remove(fires(*old, bug), key, &space);
            self.ends.remove(gone(*old, lateness), key, &space);
            let Some(mut pane) = self.panes.remove(key, &space)? else { continue };
            if let Some(given) = pane.live(aggregates)?.given.take() {
                self.results.push(RowKind::Delete, key, *old, given);
            }
            match &mut joined {
                None => joined = Some(pane),
                Some(_) if bug == Some(WindowBug::MergeOne) => {}
                Some(first) => first.merge(pane, aggregates)?,
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
}

/// The windows of `key` in state.
pub(super) fn spans_of(panes: &mut StateTable<Pane>, key: &Key) -> Result<Vec<Span>> {
    let found = panes.scan(key)?;
    Ok(found.filter_map(|(space, pane)| Some(Span { start: pane.start, end: space.time()? })).collect())
}

/// The result that `pane` gave before, and the one that it gives now. With `keep` it may go on.
pub(super) fn give(pane: &mut Pane, aggregates: &[Aggregate], keep: bool) -> Result<(Option<Given>, Given)> {
    let print = pane.print;
    let live = pane.live(aggregates)?;
    let cells = live.cells.iter_mut().zip(aggregates);
    let values = cells.map(|(cell, aggregate)| cell.evaluate(aggregate, keep)).collect::<Result<_>>()?;
    let given = Given { print, values };
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
