//! Makes one row of each element of a list; the other columns are repeated.
//!
//! A row whose lists are empty or null becomes one row with null, or none. Where several columns are exploded, the lists of
//! a row are equally long; a row of which they are not is a dead letter. What comes out is cut into batches of bounded
//! rows and bytes, made one at a time as they are taken, so a long list costs no more memory than the row that holds it.
//!
//! An element's id is made of its row's id and its place in the list: the same in every attempt, different from every other
//! row of the step, and in reading order within a split.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};
use forebay_core::dead_letter::{DeadLetter, describe_row};
use forebay_core::hash::hash64_parts;
use forebay_core::operator::{Context, Drained, Operator, Out, Restored, Room};
use forebay_core::row::{RowId, SplitId};
use forebay_core::row_kind::RowKind;
use forebay_core::time::EventTime;
use forebay_core::{Batch, Error, Kind, Result};

/// Most rows of one batch that goes out.
const ROWS_MAX: usize = 1024;

/// Most bytes that the repeated columns of one batch should have; a single wider row travels alone.
const BYTES_MAX: usize = 8 << 20;

/// Bits of an id's place that the element takes; the row's own place has the others.
const ELEMENT_BITS: u32 = 24;

/// See the module. It has room when everything it got has come out, so it holds nothing at a barrier.
#[derive(Debug)]
pub struct Explode {
    columns: Vec<usize>,
    ignore_empty_and_null: bool,
    schema: SchemaRef,
    uid: String,
    open: Option<Open>,
    outs: VecDeque<Out>,
}

/// A batch that is being exploded.
#[derive(Debug)]
struct Open {
    batch: Batch,
    /// By exploded column.
    lists: Vec<Lists>,
    /// How many rows each of its rows becomes.
    counts: Vec<usize>,
    /// Bytes of each row without its lists.
    widths: Vec<usize>,
    /// The next row, and which of its elements.
    next: (usize, usize),
}

/// The lists of a column: all their elements, and where those of each row lie.
#[derive(Debug)]
struct Lists {
    elements: ArrayRef,
    ranges: Vec<Range<usize>>,
}

/// A row that goes out: that it is made of, and which of its elements it has; of an empty list the first, which is not there.
type Place = (usize, usize);

// === impl Explode ===

impl Explode {
    /// Explodes the lists at `columns`; `schema` is that of the rows that go out.
    pub fn new(columns: Vec<usize>, ignore_empty_and_null: bool, schema: SchemaRef) -> Self {
        Self { columns, ignore_empty_and_null, schema, uid: String::new(), open: None, outs: VecDeque::new() }
    }

    /// How many rows the row at `place` becomes; `None` if its lists are not equally long.
    fn count(&self, lists: &[Lists], place: usize) -> Option<usize> {
        let least = usize::from(!self.ignore_empty_and_null);
        let mut counts = lists.iter().map(|list| list.ranges[place].len().max(least));
        let first = counts.next().unwrap_or(least);
        counts.all(|count| count == first).then_some(first)
    }

    fn letter(&self, batch: &Batch, lists: &[Lists], place: usize) -> DeadLetter {
        let names = self.columns.iter().map(|column| batch.schema().field(*column).name().clone());
        let lengths: Vec<String> =
            names.zip(lists).map(|(name, list)| format!("{name} has {}", list.ranges[place].len())).collect();
        DeadLetter {
            row: batch.ids()[place],
            operator: self.uid.clone(),
            kind: Kind::Data,
            reason: format!("lists that go together are not equally long: {}", lengths.join(", ")),
            attempts: 1,
            input: describe_row(batch, place),
        }
    }

    /// The next rows of `open`.
    fn slice(&self, open: &mut Open) -> Result<Option<Batch>> {
        let places = open.places();
        if places.is_empty() {
            return Ok(None);
        }
        let rows = UInt64Array::from_iter_values(places.iter().map(|(row, _)| *row as u64));
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for (place, column) in open.batch.rows().columns().iter().enumerate() {
            let exploded = self.columns.iter().position(|exploded| *exploded == place);
            columns.push(match exploded {
                Some(list) => open.lists[list].pick(&places)?,
                None => take(column, &rows, None).map_err(|source| wrong("repeat column").source(source))?,
            });
        }
        let made = RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|source| wrong("build rows of elements").source(source))?;
        let ids: Vec<RowId> = self.ids(open.batch.ids(), &places);
        let batch = Batch::new(made, ids)?;
        let Some(kinds) = open.batch.kinds() else { return Ok(Some(batch)) };
        let kinds: Vec<RowKind> = places.iter().map(|(row, _)| kinds[*row]).collect();
        batch.with_kinds(kinds).map(Some)
    }

    /// The ids of rows at `places`. Rows of one split, and places of common size, are the rule, so the last hash is kept.
    fn ids(&self, ids: &[RowId], places: &[Place]) -> Vec<RowId> {
        let mut last: Option<((SplitId, u64, u64), SplitId)> = None;
        let id = |(row, element): &Place| {
            let (id, element) = (ids[*row], *element as u64);
            // What does not fit beside each other goes into the split, so that no two rows ever share an id but by a hash.
            let parts = (id.split, id.ordinal >> (u64::BITS - ELEMENT_BITS), element >> ELEMENT_BITS);
            let split = match last {
                Some((of, split)) if of == parts => split,
                _ => self.split(parts),
            };
            last = Some((parts, split));
            RowId::new(split, (id.ordinal << ELEMENT_BITS) | (element & ((1 << ELEMENT_BITS) - 1)))
        };
        places.iter().map(id).collect()
    }

    fn split(&self, (split, high, far): (SplitId, u64, u64)) -> SplitId {
        let parts = [split.0, high, far].map(u64::to_be_bytes);
        SplitId(hash64_parts(&[self.uid.as_bytes(), &parts[0], &parts[1], &parts[2]]))
    }
}

// === impl Open ===

impl Open {
    /// The places of the next batch; none at the end.
    fn places(&mut self) -> Vec<Place> {
        let (mut places, mut bytes) = (Vec::new(), 0);
        while places.len() < ROWS_MAX && self.next.0 < self.counts.len() {
            let (row, first) = self.next;
            let width = self.widths[row].max(1);
            let fits = (BYTES_MAX.saturating_sub(bytes) / width).max(usize::from(places.is_empty()));
            let last = self.counts[row].min(first + fits.min(ROWS_MAX - places.len()));
            places.extend((first..last).map(|element| (row, element)));
            bytes += width * (last - first);
            if last < self.counts[row] {
                self.next.1 = last;
                break;
            }
            self.next = (row + 1, 0);
        }
        places
    }
}

// === impl Lists ===

impl Lists {
    fn of(column: &ArrayRef) -> Result<Self> {
        let range = |place: usize, start: usize, end: usize| if column.is_null(place) { 0..0 } else { start..end };
        let count = column.len();
        Ok(match column.data_type() {
            DataType::List(_) => {
                let list = column.as_list::<i32>();
                let at = |place: usize| list.value_offsets()[place] as usize;
                let ranges = (0..count).map(|place| range(place, at(place), at(place + 1))).collect();
                Self { elements: Arc::clone(list.values()), ranges }
            }
            DataType::LargeList(_) => {
                let list = column.as_list::<i64>();
                let at = |place: usize| list.value_offsets()[place] as usize;
                let ranges = (0..count).map(|place| range(place, at(place), at(place + 1))).collect();
                Self { elements: Arc::clone(list.values()), ranges }
            }
            DataType::FixedSizeList(_, length) => {
                let (list, length) = (column.as_fixed_size_list(), *length as usize);
                let ranges = (0..count).map(|place| range(place, place * length, (place + 1) * length)).collect();
                Self { elements: Arc::clone(list.values()), ranges }
            }
            other => return Err(wrong("explode column").with("type", other)),
        })
    }

    /// The elements at `places`, null where there is none.
    fn pick(&self, places: &[Place]) -> Result<ArrayRef> {
        let at = |(row, element): &Place| self.ranges[*row].clone().nth(*element).map(|place| place as u64);
        let indices: UInt64Array = places.iter().map(at).collect();
        take(&self.elements, &indices, None).map_err(|source| wrong("take elements").source(source))
    }
}

/// Bytes of each row without the columns at `lists`; of columns whose rows are not of their own length, the mean.
fn widths(batch: &Batch, lists: &[usize]) -> Vec<usize> {
    let mut widths = vec![0; batch.len()];
    for (_, column) in batch.rows().columns().iter().enumerate().filter(|(place, _)| !lists.contains(place)) {
        let mut add = |lengths: &mut dyn Iterator<Item = usize>| {
            widths.iter_mut().zip(lengths).for_each(|(width, length)| *width += length);
        };
        match column.data_type() {
            DataType::Utf8 => add(&mut column.as_string::<i32>().offsets().lengths()),
            DataType::LargeUtf8 => add(&mut column.as_string::<i64>().offsets().lengths()),
            DataType::Binary => add(&mut column.as_binary::<i32>().offsets().lengths()),
            DataType::LargeBinary => add(&mut column.as_binary::<i64>().offsets().lengths()),
            _ => add(&mut std::iter::repeat(column.get_buffer_memory_size() / column.len().max(1))),
        }
    }
    widths
}

fn wrong(attempted: &'static str) -> Error {
    Error::new(Kind::Internal, attempted)
}

impl Operator for Explode {
    fn open(&mut self, context: Context, _restored: Restored) -> Result<()> {
        self.uid = context.identity.uid;
        Ok(())
    }

    fn room(&self) -> Room {
        if self.outs.is_empty() && self.open.is_none() { Room::Room } else { Room::Full }
    }

    fn on_batch(&mut self, batch: Batch) -> Result<()> {
        let lists = self.columns.iter().map(|place| Lists::of(batch.rows().column(*place)));
        let lists: Vec<Lists> = lists.collect::<Result<_>>()?;
        let counts: Vec<Option<usize>> = (0..batch.len()).map(|place| self.count(&lists, place)).collect();
        let unequal = (0..batch.len()).filter(|place| counts[*place].is_none());
        let letters: Vec<DeadLetter> = unequal.map(|place| self.letter(&batch, &lists, place)).collect();
        if !letters.is_empty() {
            self.outs.push_back(Out::DeadLetters(letters));
        }
        let counts = counts.into_iter().map(Option::unwrap_or_default).collect();
        let widths = widths(&batch, &self.columns);
        self.open = Some(Open { batch, lists, counts, widths, next: (0, 0) });
        Ok(())
    }

    fn on_watermark(&mut self, watermark: EventTime) -> Result<()> {
        self.outs.push_back(Out::Watermark(watermark));
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Out>> {
        if let Some(Out::DeadLetters(_)) = self.outs.front() {
            return Ok(self.outs.pop_front());
        }
        if let Some(mut open) = self.open.take()
            && let Some(batch) = self.slice(&mut open)?
        {
            self.open = Some(open);
            return Ok(Some(Out::Batch(batch)));
        }
        Ok(self.outs.pop_front())
    }

    fn drain(&mut self) -> Result<Drained> {
        Ok(if self.outs.is_empty() && self.open.is_none() { Drained::Done } else { Drained::Pending })
    }
}

#[cfg(test)]
mod tests;
