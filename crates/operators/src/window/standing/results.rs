//! What sessions give: at their end, and with allowed lateness after each batch that changes one that is complete.

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
use super::super::shape::Span;
use super::Standing;
use super::extent::Extent;
use super::moves::Touched;
use super::session::Session;

/// A result that holds now.
struct Anew {
    /// Of the key.
    place: usize,
    span: Span,
    /// The result that stood before in the same window.
    old: Option<Vec<u8>>,
    values: Vec<ScalarValue>,
}

// === impl Standing ===

impl Standing {
    /// Takes back the results that no longer hold and gives those that hold now, of the sessions of `grouped` that a batch
    /// touched.
    pub(super) fn give(&mut self, grouped: &Grouped, mut touched: Touched, results: &mut Results) -> Result<()> {
        let anew = self.anew(grouped, &mut touched)?;
        for ((place, span), old) in touched.before {
            results.push(RowKind::Delete, &grouped.keys[place], span, self.decode(&old)?)?;
        }
        for Anew { place, span, old, values } in anew {
            let (key, given) = (&grouped.keys[place], Given { print: 0, values });
            match old.filter(|_| self.bug != Some(WindowBug::KeepOld)) {
                None => results.push(RowKind::Insert, key, span, given)?,
                Some(old) => {
                    results.push(RowKind::UpdateBefore, key, span, self.decode(&old)?)?;
                    results.push(RowKind::UpdateAfter, key, span, given)?;
                }
            }
        }
        Ok(())
    }

    /// The results of complete sessions that are not what they were. Those that stood before in the same windows are taken out
    /// of `touched`.
    fn anew(&mut self, grouped: &Grouped, touched: &mut Touched) -> Result<Vec<Anew>> {
        let mut anew = Vec::new();
        for (place, first) in std::mem::take(&mut touched.changed) {
            let (key, space) = (&grouped.keys[place], Space::of_time(first));
            let Some(last) = self.sessions.get(key, &space)?.map(|session| session.last) else { continue };
            let extent = Extent { first, last };
            let span = extent.span(self.gap);
            let old = touched.before.remove(&(place, span));
            if old.is_none() && span.last() > grouped.watermarks[place] {
                continue;
            }
            let values = self.values(key, extent)?;
            let stored = encode(&values)?;
            if old.as_ref() != Some(&stored) {
                anew.push(Anew { place, span, old, values });
            }
            if let Some(session) = self.sessions.get_mut(key, &space)? {
                session.given = Some(stored);
            }
        }
        Ok(anew)
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
        let Some(session) = self.sessions.get(key, &timer.space)?.cloned() else { return Ok(0) };
        let extent = Extent { first, last: session.last };
        let span = extent.span(self.gap);
        let is_due = session.given.is_none() && fires(span, self.bug) <= watermark;
        let is_over = is_gone(span, self.lateness, watermark) || (is_due && self.lateness == 0);
        let given = if is_due { Some(self.values(key, extent)?) } else { None };
        let read = if is_over {
            self.sessions.remove(key, &timer.space)?;
            self.rows.remove(key, extent)?
        } else {
            let rings = self.due(extent, is_due || session.given.is_some(), watermark);
            ends.set(rings, key, &timer.space)?;
            let given = given.as_deref().map(encode).transpose()?.or(session.given);
            self.sessions.insert(key, &timer.space, Session { rings, given, ..session })?;
            1
        };
        given.map(|values| results.push(RowKind::Insert, key, span, Given { print: 0, values })).transpose()?;
        Ok(read)
    }

    /// The aggregates of the rows of a session, which stay.
    fn values(&mut self, key: &Key, extent: Extent) -> Result<Vec<ScalarValue>> {
        let mut sum = self.columns.sum()?;
        for copies in self.rows.of(key, extent)? {
            self.columns.add(&mut sum, &copies.content, copies.count)?;
        }
        self.columns.finish(sum)
    }

    fn decode(&self, mut stored: &[u8]) -> Result<Given> {
        let values = self.columns.kinds().map(|kind| take(&mut stored, &kind)).collect::<Result<_>>()?;
        Ok(Given { print: 0, values })
    }
}

fn encode(values: impl AsRef<[ScalarValue]>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    values.as_ref().iter().try_for_each(|value| put(value, &mut out))?;
    Ok(out)
}
