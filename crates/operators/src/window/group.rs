//! The rows of a batch by key and window, so that each state is looked up once a batch and not once a row.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use forebay_core::hash::hash64;
use forebay_core::keys::Key;
use forebay_core::time::EventTime;

use super::shape::{Shape, Span};

/// Rows of one key in one window.
#[derive(Debug)]
pub(super) struct Group {
    /// Place of the key in [`Grouped::keys`].
    pub key: usize,
    pub span: Span,
    /// Places in the batch, ascending.
    pub rows: Vec<u32>,
    /// Windows in state that became this one; only of sessions.
    pub stored: Vec<Span>,
}

/// The rows of a batch, in the order in which their keys first occur.
#[derive(Debug, Default)]
pub(super) struct Grouped {
    pub keys: Vec<Key>,
    /// The watermark of each key.
    pub watermarks: Vec<EventTime>,
    pub groups: Vec<Group>,
    /// Places of rows all of whose windows are gone.
    pub late: Vec<usize>,
}

/// Hash maps that are never walked.
type Map<K, V> = HashMap<K, V, BuildHasherDefault<Fast>>;

/// The engine's one hash as a [`Hasher`].
#[derive(Default)]
pub(super) struct Fast(u64);

// === impl Grouped ===

impl Grouped {
    /// The keys of a batch, each once, with the place of each row's.
    pub fn of_keys(rows: Vec<Key>, watermark: impl Fn(&Key) -> EventTime) -> (Self, Vec<usize>) {
        let mut places: Map<Key, usize> = Map::default();
        let mut grouped = Self::default();
        let mut of_row = Vec::with_capacity(rows.len());
        for key in rows {
            let place = match places.get(&key) {
                Some(place) => *place,
                None => {
                    let place = grouped.keys.len();
                    grouped.watermarks.push(watermark(&key));
                    grouped.keys.push(key.clone());
                    places.insert(key, place);
                    place
                }
            };
            of_row.push(place);
        }
        (grouped, of_row)
    }

    /// Puts each row into the windows of `shape` that are still open or open again within `lateness`.
    pub fn assign(&mut self, shape: Shape, lateness: i64, times: &[i64], keys: &[usize]) {
        let mut places: Map<(usize, i64), usize> = Map::default();
        for (row, (time, key)) in times.iter().zip(keys).enumerate() {
            let watermark = self.watermarks[*key];
            let mut is_late = true;
            for span in shape.spans(EventTime(*time)) {
                if is_gone(span, lateness, watermark) {
                    // Those that follow end earlier.
                    break;
                }
                is_late = false;
                let place = *places.entry((*key, span.end.0)).or_insert_with(|| {
                    self.groups.push(Group { key: *key, span, rows: Vec::new(), stored: Vec::new() });
                    self.groups.len() - 1
                });
                self.groups[place].rows.push(row as u32);
            }
            if is_late {
                self.late.push(row);
            }
        }
    }

    /// Puts each row into its slice of sliding windows, unless all windows of the slice are gone.
    pub fn assign_slices(&mut self, shape: Shape, lateness: i64, times: &[i64], keys: &[usize]) {
        let mut places: Map<(usize, i64), usize> = Map::default();
        // Rows of one key mostly follow each other in one slice.
        let mut latest: Vec<Option<usize>> = vec![None; self.keys.len()];
        for (row, (time, key)) in times.iter().zip(keys).enumerate() {
            let known = latest[*key].filter(|place| self.groups[*place].span.holds(*time));
            let place = known.or_else(|| {
                let slice = shape.slice(EventTime(*time));
                if is_gone(shape.last_of(slice.end), lateness, self.watermarks[*key]) {
                    return None;
                }
                Some(*places.entry((*key, slice.end.0)).or_insert_with(|| {
                    self.groups.push(Group { key: *key, span: slice, rows: Vec::new(), stored: Vec::new() });
                    self.groups.len() - 1
                }))
            });
            match place {
                Some(place) => self.groups[place].rows.push(row as u32),
                None => self.late.push(row),
            }
            latest[*key] = place.or(latest[*key]);
        }
    }
}

/// Whether nothing can be added to `span` any more.
pub(super) fn is_gone(span: Span, lateness: i64, watermark: EventTime) -> bool {
    span.last().0.saturating_add(lateness) <= watermark.0
}

// === impl Fast ===

impl Hasher for Fast {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = self.0.rotate_left(29) ^ hash64(bytes);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_i64(number as i64);
    }

    fn write_i64(&mut self, number: i64) {
        let mixed = (self.0 ^ number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }
}
