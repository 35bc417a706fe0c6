//! Overlapping windows made of slices.
//!
//! A row is added once, to its slice; a window's result is made of its slices when it is complete, and again when a late row has
//! come to one of them. A slice goes with the last of its windows. What a window gave is kept only while late rows may change it.
//!
//! Which windows are due follows from the slices there are, see [`Agenda`]. After a restore a window may come round once more that
//! a key group has seen complete: its clock says so, and the keys of that group are passed over.
//!
//! State of a release that kept a pane for each window is read: such a pane holds the rows that came until then, and counts for its
//! window like one more slice.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use forebay_core::Result;
use forebay_core::keys::Key;
use forebay_core::row_kind::RowKind;
use forebay_core::time::EventTime;
use forebay_state::keyed::{KeyedState, Space, StatePart, StateTable, TableSpec};

use super::agenda::Agenda;
use super::cell::Layout;
use super::group::{Group, Grouped, is_gone};
use super::incoming::Incoming;
use super::opened::{Opened, fires};
use super::pane::{Given, Pane};
use super::shape::{Shape, Span};
use super::{RESULTS_MAX, Window, WindowBug, WindowSettings};

/// What there is beside [`Opened`] where windows consist of slices.
pub(super) struct Sliced {
    /// By key and end of the slice.
    slices: StateTable<Pane>,
    /// By key and end of the window, what it gave last; no rows. Only with lateness.
    given: StateTable<Pane>,
    by_slice: Agenda,
    /// Of `given`, and of panes that an earlier release left.
    by_window: Agenda,
    /// Whether there are such panes.
    has_panes: bool,
    /// The end of the last window that was begun.
    begun: EventTime,
    turn: Option<Turn>,
}

/// A complete window, key by key.
struct Turn {
    span: Span,
    /// Keys with the ends of their slices, in the order in which results leave, and the next one.
    parts: Vec<(Key, EventTime)>,
    next: usize,
}

// === impl Sliced ===

impl Sliced {
    /// The tables, to be opened behind those of [`Opened`].
    pub fn open(state: &mut KeyedState, panes: &mut StateTable<Pane>) -> Result<Self> {
        let mut slices = state.table(TableSpec::new("slices", 1))?;
        let mut given = state.table(TableSpec::new("given", 1))?;
        let (mut by_slice, mut by_window) = (Agenda::default(), Agenda::default());
        fill(&mut by_slice, &mut slices)?;
        fill(&mut by_window, &mut given)?;
        fill(&mut by_window, panes)?;
        let has_panes = !panes.is_empty();
        Ok(Self { slices, given, by_slice, by_window, has_panes, begun: EventTime::MIN, turn: None })
    }

    /// The tables, as they were opened.
    pub fn parts(&mut self) -> [&mut dyn StatePart; 2] {
        [&mut self.slices, &mut self.given]
    }

    /// Adds the rows of `group` to its slice.
    fn add(&mut self, group: &Group, key: &Key, incoming: &Incoming, layout: &Layout) -> Result<()> {
        let space = Space::of_time(group.span.end);
        if let Some(slice) = self.slices.get_mut(key, &space)? {
            return incoming.put(slice, layout, &group.rows, &[]).map(drop);
        }
        let mut slice = Pane::new(group.span.start, layout)?;
        incoming.put(&mut slice, layout, &group.rows, &[])?;
        self.by_slice.add(group.span.end, key.clone());
        self.slices.insert(key, &space, slice)
    }

    /// Begins the next window that is complete at `watermark`; false if there is none.
    fn begin(&mut self, shape: Shape, watermark: EventTime, bug: Option<WindowBug>) -> bool {
        self.turn = None;
        let begun = self.begun;
        let of_slices = self.by_slice.ends(..).find_map(|end| shape.next_of(end, begun));
        let behind = (Bound::Excluded(begun), Bound::Unbounded);
        let of_panes = self.by_window.ends(behind).next().filter(|_| self.has_panes).map(|end| shape.ending(end));
        let Some(span) = of_slices.into_iter().chain(of_panes).min() else { return false };
        if fires(span, bug) > watermark {
            return false;
        }
        let mut parts = Vec::new();
        self.by_slice.collect(slices_of(span), &mut parts);
        if self.has_panes {
            self.by_window.collect(span.end..=span.end, &mut parts);
        }
        // Each end's keys are in order, which this sort makes use of.
        parts.sort();
        parts.dedup();
        self.begun = span.end;
        self.turn = Some(Turn { span, parts, next: 0 });
        true
    }

    /// The next key of the window that was begun; the ends of its slices go to `ends`.
    fn next(&mut self, ends: &mut Vec<EventTime>) -> Option<(Key, Span)> {
        let turn = self.turn.as_mut()?;
        let rest = &turn.parts[turn.next..];
        let key = rest.first()?.0.clone();
        ends.clear();
        ends.extend(rest.iter().take_while(|part| part.0 == key).map(|part| part.1));
        turn.next += ends.len();
        Some((key, turn.span))
    }

    /// The result of the window `span` of `key` from its slices that end at `ends`; `None` if nothing is there.
    fn result(
        &mut self,
        panes: &mut StateTable<Pane>,
        (key, span): (&Key, Span),
        ends: &[EventTime],
        (layout, bug): (&Layout, Option<WindowBug>),
    ) -> Result<Option<Given>> {
        let ends = if bug == Some(WindowBug::OneSlice) { &ends[..1.min(ends.len())] } else { ends };
        if let ([end], false) = (ends, self.has_panes) {
            let slice = self.slices.get(key, &Space::of_time(*end))?;
            return slice.map(|slice| slice.result(layout)).transpose();
        }
        let mut sum = Pane::new(span.start, layout)?;
        let mut is_there = false;
        for end in ends {
            if let Some(slice) = self.slices.get(key, &Space::of_time(*end))? {
                sum.merge(slice, layout)?;
                is_there = true;
            }
        }
        if self.has_panes
            && let Some(pane) = panes.get(key, &Space::of_time(span.end))?
        {
            sum.merge(pane, layout)?;
            is_there = true;
        }
        is_there.then(|| sum.result(layout)).transpose()
    }

    /// Keeps what the window `span` of `key` gives now, and answers what it gave before.
    fn swap(
        &mut self,
        panes: &mut StateTable<Pane>,
        (key, span): (&Key, Span),
        given: Given,
        layout: &Layout,
    ) -> Result<Option<Given>> {
        let space = Space::of_time(span.end);
        let pane = if self.has_panes { panes.get_mut(key, &space)? } else { None };
        let by_pane = pane.map_or(Ok(None), |pane| pane.live(layout).map(|live| live.given.take()))?;
        if let Some(known) = self.given.get_mut(key, &space)? {
            return Ok(known.live(layout)?.given.replace(given));
        }
        let mut kept = Pane::new(span.start, layout)?;
        kept.live(layout)?.given = Some(given);
        self.given.insert(key, &space, kept)?;
        self.by_window.add(span.end, key.clone());
        Ok(by_pane)
    }

    /// Removes what no row can come to and no window needs at `watermark`.
    fn forget(&mut self, panes: &mut StateTable<Pane>, settings: &WindowSettings, watermark: EventTime) -> Result<()> {
        let (shape, lateness, bug) = (settings.shape, settings.lateness, settings.bug);
        let last = |end| match bug {
            Some(WindowBug::DropSlices) => shape.next_of(end, EventTime::MIN).unwrap_or(shape.last_of(end)),
            _ => shape.last_of(end),
        };
        while let Some((end, keys)) = self.by_slice.pop(|end| is_gone(last(end), lateness, watermark)) {
            for key in keys {
                self.slices.remove(&key, &Space::of_time(end))?;
            }
        }
        while let Some((end, keys)) = self.by_window.pop(|end| is_gone(shape.ending(end), lateness, watermark)) {
            for key in keys {
                self.given.remove(&key, &Space::of_time(end))?;
                panes.remove(&key, &Space::of_time(end))?;
            }
        }
        self.has_panes = self.has_panes && !panes.is_empty();
        Ok(())
    }
}

/// The slices of a window, by their ends.
fn slices_of(span: Span) -> (Bound<EventTime>, Bound<EventTime>) {
    (Bound::Excluded(span.start), Bound::Included(span.end))
}

/// Notes what `table` holds.
fn fill(agenda: &mut Agenda, table: &mut StateTable<Pane>) -> Result<()> {
    for group in table.key_groups().collect::<Vec<_>>() {
        table.visit_group(group, |key, space, _| {
            if let Some(end) = space.time() {
                agenda.add(end, key.clone());
            }
            Ok(())
        })?;
    }
    Ok(())
}

// === impl Window ===

impl Window {
    /// Adds rows to their slices; complete windows that a late row came to give their result anew.
    pub(super) fn update_slices(&mut self, grouped: &Grouped, incoming: &Incoming) -> Result<()> {
        let (shape, lateness, layout) = (self.settings.shape, self.settings.lateness, Arc::clone(&self.layout));
        let mut changed = BTreeSet::new();
        for group in &grouped.groups {
            let Some(sliced) = &mut self.opened().sliced else { return Ok(()) };
            sliced.add(group, &grouped.keys[group.key], incoming, &layout)?;
            let watermark = grouped.watermarks[group.key];
            if group.span.start <= watermark && lateness > 0 {
                let spans = shape.spans(group.span.start);
                let spans = spans.take_while(|span| !is_gone(*span, lateness, watermark));
                let complete = spans.filter(|span| span.last() <= watermark);
                changed.extend(complete.map(|span| (group.key, span)));
            }
        }
        changed.into_iter().try_for_each(|(key, span)| self.give_anew(&grouped.keys[key], span))
    }

    fn give_anew(&mut self, key: &Key, span: Span) -> Result<()> {
        let (bug, layout) = (self.settings.bug, Arc::clone(&self.layout));
        let opened = self.opened();
        let Opened { sliced: Some(sliced), panes, .. } = opened else { return Ok(()) };
        let (first, last) = (Space::of_time(span.start), Space::of_time(span.end));
        let slices = sliced.slices.scan_range(key, (Bound::Excluded(first), Bound::Included(last)))?;
        let ends: Vec<EventTime> = slices.filter_map(|(space, _)| space.time()).collect();
        let Some(after) = sliced.result(panes, (key, span), &ends, (&layout, bug))? else { return Ok(()) };
        let before = sliced.swap(panes, (key, span), after.clone(), &layout)?;
        opened.replace(key, span, before, after, bug)
    }

    /// Gives results of complete windows until a batch is full; true if none is left.
    pub(super) fn fire_slices(&mut self, watermark: EventTime) -> Result<bool> {
        let (settings, layout) = (&self.settings, &self.layout);
        let (shape, lateness, bug) = (settings.shape, settings.lateness, settings.bug);
        let Some(Opened { sliced: Some(sliced), panes, clock, results, ends, .. }) = &mut self.opened else {
            return Ok(true);
        };
        let mut slices = Vec::new();
        while results.len() < RESULTS_MAX {
            let Some((key, span)) = sliced.next(&mut slices) else {
                if sliced.begin(shape, watermark, bug) {
                    continue;
                }
                sliced.forget(panes, settings, watermark)?;
                // Timers of panes that an earlier release left.
                while ends.due(watermark).is_some() {}
                return Ok(true);
            };
            if span.last() <= clock.of(&key) {
                continue;
            }
            let Some(given) = sliced.result(panes, (&key, span), &slices, (layout, bug))? else { continue };
            if lateness > 0 {
                sliced.swap(panes, (&key, span), given.clone(), layout)?;
            }
            results.push(RowKind::Insert, &key, span, given)?;
        }
        Ok(false)
    }
}
