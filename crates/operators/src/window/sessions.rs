//! Session windows: which of a key's windows, in state or in the batch, each row joins.
//!
//! Rows are taken one by one, in order of arrival, as if each came alone: whether a row is late must not follow from where a batch
//! happens to end.

use forebay_core::Result;
use forebay_core::keys::Key;
use forebay_core::time::EventTime;

use super::group::{Group, Grouped, is_gone};
use super::shape::{Shape, Span};

// === impl Grouped ===

impl Grouped {
    /// Puts each row into the session that it opens or joins. `stored` gives the sessions of a key in state.
    ///
    /// # Errors
    /// Those of `stored`.
    pub fn assign_sessions(
        &mut self,
        shape: Shape,
        lateness: i64,
        times: &[i64],
        keys: &[usize],
        mut stored: impl FnMut(&Key) -> Result<Vec<Span>>,
    ) -> Result<()> {
        let mut of_key: Vec<Option<Vec<Group>>> = (0..self.keys.len()).map(|_| None).collect();
        for (row, (time, key)) in times.iter().zip(keys).enumerate() {
            let open = &mut of_key[*key];
            if open.is_none() {
                let group = |span| Group { key: *key, span, rows: Vec::new(), stored: vec![span] };
                *open = Some(stored(&self.keys[*key])?.into_iter().map(group).collect());
            }
            let Some(open) = open else { continue };
            let own = shape.spans(EventTime(*time)).next();
            if !own.is_some_and(|own| join(open, *key, own, row as u32, lateness, self.watermarks[*key])) {
                self.late.push(row);
            }
        }
        let touched = of_key.into_iter().flatten().flatten().filter(|group| !group.rows.is_empty());
        self.groups = touched
            .map(|mut group| {
                group.rows.sort_unstable();
                group
            })
            .collect();
        Ok(())
    }
}

/// Adds a row whose own session is `own`; false if even with all that it touches it is gone.
fn join(open: &mut Vec<Group>, key: usize, own: Span, row: u32, lateness: i64, watermark: EventTime) -> bool {
    let touched = |group: &Group| group.span.touches(own);
    let span = open.iter().filter(|group| touched(group)).fold(own, |span, group| span.with(group.span));
    if is_gone(span, lateness, watermark) {
        return false;
    }
    let mut joined = Group { key, span, rows: Vec::new(), stored: Vec::new() };
    let mut kept = Vec::with_capacity(open.len() + 1);
    for mut group in std::mem::take(open) {
        if touched(&group) {
            joined.rows.append(&mut group.rows);
            joined.stored.append(&mut group.stored);
        } else {
            kept.push(group);
        }
    }
    joined.rows.push(row);
    kept.push(joined);
    *open = kept;
    true
}
