//! What sessions give: at their end, and with allowed lateness after each batch that changes one that is complete.

use std::borrow::Borrow;

use datafusion::scalar::ScalarValue;
use forebay_core::Result;
use forebay_core::keys::Key;
use forebay_core::row_kind::RowKind;
use forebay_core::time::EventTime;
use forebay_state::keyed::{Space, Timer, Timers};

use super::super::WindowBug;
use super::super::given::Results;
use super::super::group::{Grouped, is_gone};
use super::super::opened::fires;
use super::super::pane::Given;
use super::super::scalars::{put, take};
use super::Standing;
use super::columns::Columns;
use super::extent::Extent;
use super::moves::Touched;
use super::rows::Copies;

// === impl Standing ===

impl Standing {
    /// Takes back the results that no longer hold and gives those that hold now, of the sessions of `grouped` that a batch
    /// touched.
    pub(super) fn give(&mut self, grouped: &Grouped, touched: Touched, results: &mut Results) -> Result<()> {
        let Touched { mut before, changed } = touched;
        let mut anew = Vec::new();
        for (place, first) in changed {
            let (key, space) = (&grouped.keys[place], Space::of_time(first));
            let Some(session) = self.sessions.get(key, &space)? else { continue };
            let extent = Extent { first, last: session.last };
            let span = extent.span(self.gap);
            let old = before.remove(&(place, span));
            if old.is_none() && span.last() > grouped.watermarks[place] {
                continue;
            }
            let values = self.values(key, extent)?;
            let stored = encode(&values)?;
            let is_same = old.as_ref() == Some(&stored);
            if let Some(session) = self.sessions.get_mut(key, &space)? {
                session.given = Some(stored);
            }
            if !is_same {
                anew.push((key, span, old, values));
            }
        }
        for ((place, span), old) in before {
            results.push(RowKind::Delete, &grouped.keys[place], span, self.decode(&old)?)?;
        }
        for (key, span, old, values) in anew {
            let old = old.filter(|_| self.bug != Some(WindowBug::KeepOld));
            let kind = if old.is_some() { RowKind::UpdateAfter } else { RowKind::Insert };
            if let Some(old) = old {
                results.push(RowKind::UpdateBefore, key, span, self.decode(&old)?)?;
            }
            results.push(kind, key, span, Given { print: 0, values })?;
        }
        Ok(())
    }

    /// The timer of a session rings: it may be complete, and rows may not come to it any more. Answers how many rows were read.
    pub(super) fn ring(
        &mut self,
        timer: &Timer,
        watermark: EventTime,
        ends: &mut Timers,
        results: &mut Results,
    ) -> Result<usize> {
        let (Some(first), key) = (timer.space.time(), &timer.key) else { return Ok(0) };
        let Some(session) = self.sessions.get(key, &timer.space)? else { return Ok(0) };
        let extent = Extent { first, last: session.last };
        let (span, is_given) = (extent.span(self.gap), session.given.is_some());
        let is_due = !is_given && fires(span, self.bug) <= watermark;
        if is_gone(span, self.lateness, watermark) || is_due && self.lateness == 0 {
            self.sessions.remove(key, &timer.space)?;
            let rows: Vec<Copies> = self.rows.take(key, extent)?.collect();
            if is_due {
                let values = sum(&mut self.columns, rows.iter())?;
                results.push(RowKind::Insert, key, span, Given { print: 0, values })?;
            }
            return Ok(rows.len());
        }
        let given = if is_due { Some(self.values(key, extent)?) } else { None };
        let rings = self.due(extent, is_given || is_due, watermark);
        ends.set(rings, key, &timer.space)?;
        let stored = given.as_deref().map(encode).transpose()?;
        if let Some(session) = self.sessions.get_mut(key, &timer.space)? {
            session.rings = rings;
            session.given = stored.or(session.given.take());
        }
        match given {
            Some(values) => results.push(RowKind::Insert, key, span, Given { print: 0, values }).map(|()| 1),
            None => Ok(0),
        }
    }

    /// The aggregates of the rows of a session, which stay.
    fn values(&mut self, key: &Key, extent: Extent) -> Result<Vec<ScalarValue>> {
        sum(&mut self.columns, self.rows.of(key, extent)?)
    }

    fn decode(&self, mut stored: &[u8]) -> Result<Given> {
        let values = self.columns.kinds().map(|kind| take(&mut stored, &kind)).collect::<Result<_>>()?;
        Ok(Given { print: 0, values })
    }
}

fn sum(columns: &mut Columns, rows: impl Iterator<Item: Borrow<Copies>>) -> Result<Vec<ScalarValue>> {
    let mut sum = columns.sum()?;
    for copies in rows {
        let copies = copies.borrow();
        columns.add(&mut sum, &copies.content, copies.count)?;
    }
    columns.finish(sum)
}

fn encode(values: impl AsRef<[ScalarValue]>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    values.as_ref().iter().try_for_each(|value| put(value, &mut out))?;
    Ok(out)
}
