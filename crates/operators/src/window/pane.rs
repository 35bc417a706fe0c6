//! What is kept of one window of one key, or of one slice of overlapping windows.
//!
//! A pane that came back from a checkpoint stays bytes until it is needed, because only the operator knows the aggregates
//! that read them.

use std::cell::RefCell;

use arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;
use forebay_core::Result;
use forebay_core::row::RowId;
use forebay_core::time::EventTime;
use forebay_state::keyed::{StateValue, TableSpec};

use super::aggregate::Aggregate;
use super::cell::{Cell, Layout};
use super::scalars::{bytes, corrupt, number, put, take};

/// Flag of the bytes of a pane: a result that was given out is in them.
const GIVEN: u8 = 1;

/// Flag of the bytes of a pane over updates whose sums of floats are not rounded. A pane of an older checkpoint that was never
/// needed stays the bytes that it was.
const EXACT: u8 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Pane {
    /// Where the window or slice starts.
    pub start: EventTime,
    /// Sum of the prints of the rows in it: the same for the same rows in whatever order they came. What is taken back is
    /// subtracted; where that has another id than the row that was given, the sum tells what has happened and not what is left.
    pub print: u64,
    body: RefCell<Body>,
}

#[derive(Debug)]
enum Body {
    Stored(Vec<u8>),
    Live(Live),
}

/// The part of a pane that holds values.
#[derive(Debug)]
pub(super) struct Live {
    pub cells: Vec<Cell>,
    /// How many rows are in it, where [`Layout::counted`].
    pub rows: Option<i64>,
    /// What was given out last, if rows may still change it.
    pub given: Option<Given>,
}

/// A result that was given out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Given {
    /// The print of the rows in it.
    pub print: u64,
    /// The aggregates.
    pub values: Vec<ScalarValue>,
}

// === impl Pane ===

impl Pane {
    /// A window without rows.
    pub fn new(start: EventTime, layout: &Layout) -> Result<Self> {
        let cells = layout.aggregates.iter().map(Cell::new).collect::<Result<_>>()?;
        let live = Live { cells, rows: layout.counted.then_some(0), given: None };
        Ok(Self { start, print: 0, body: RefCell::new(Body::Live(live)) })
    }

    /// The values, read if they are still bytes.
    pub fn live(&mut self, layout: &Layout) -> Result<&mut Live> {
        self.body.get_mut().live(layout)
    }

    /// Takes in the rows of `other`, which holds rows of the same key and keeps them. Never called where rows may be taken back.
    pub fn merge(&mut self, other: &Self, layout: &Layout) -> Result<()> {
        self.print = self.print.wrapping_add(other.print);
        let (mut theirs, ours) = (other.body.borrow_mut(), &mut self.live(layout)?.cells);
        let theirs = &mut theirs.live(layout)?.cells;
        for ((cell, more), aggregate) in ours.iter_mut().zip(theirs).zip(&layout.aggregates) {
            cell.merge(aggregate, more)?;
        }
        Ok(())
    }

    /// The result of the rows in it, which may go on.
    pub fn result(&self, layout: &Layout) -> Result<Given> {
        self.body.borrow_mut().live(layout)?.result(self.print, layout, true)
    }
}

// === impl Body ===

impl Body {
    fn live(&mut self, layout: &Layout) -> Result<&mut Live> {
        if let Self::Stored(stored) = self {
            *self = Self::Live(Live::decode(stored, layout)?);
        }
        match self {
            Self::Live(live) => Ok(live),
            Self::Stored(_) => Err(corrupt("it was not read")),
        }
    }
}

/// The table `panes` of a step with this layout.
///
/// Panes over updates hold other bytes, those of version 2 sums that were rounded. What was rounded of variances is not read:
/// they would go on being wrong.
pub(super) fn spec(layout: &Layout) -> TableSpec<Pane> {
    if !layout.counted {
        return TableSpec::new("panes", 1);
    }
    let spec = TableSpec::new("panes", 3);
    if layout.aggregates.iter().all(Aggregate::reads_rounded) { spec.reads(2, Pane::decode) } else { spec }
}

/// What a row adds to the print of its window.
pub(super) fn print_of(id: RowId) -> u64 {
    let mixed = (id.split.0 ^ id.ordinal.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed ^ (mixed >> 32)).wrapping_mul(0xc4ce_b9fe_1a85_ec53) ^ id.split.0.rotate_left(32)
}

impl StateValue for Pane {
    const CODEC: &'static str = "window-pane-1";

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.start.0.to_le_bytes());
        out.extend_from_slice(&self.print.to_le_bytes());
        match &mut *self.body.borrow_mut() {
            Body::Stored(stored) => out.extend_from_slice(stored),
            Body::Live(live) => live.encode(out).expect("accumulators give their state, and Arrow writes any value"),
        }
    }

    fn decode(mut bytes: &[u8]) -> Result<Self> {
        let start = EventTime(number(&mut bytes)? as i64);
        let print = number(&mut bytes)?;
        Ok(Self { start, print, body: RefCell::new(Body::Stored(bytes.to_vec())) })
    }

    fn size_bytes(&self) -> usize {
        let body = match &*self.body.borrow() {
            Body::Stored(stored) => stored.len(),
            Body::Live(live) => live.cells.iter().map(Cell::size_bytes).sum(),
        };
        size_of::<Self>() + body
    }
}

// === impl Live ===

impl Live {
    /// The result of the rows whose prints add up to `print`. With `keep` they may go on.
    pub fn result(&mut self, print: u64, layout: &Layout, keep: bool) -> Result<Given> {
        let cells = self.cells.iter_mut().zip(&layout.aggregates);
        let values = cells.map(|(cell, aggregate)| cell.evaluate(aggregate, keep)).collect::<Result<_>>()?;
        Ok(Given { print, values })
    }

    fn encode(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let form = if self.rows.is_some() { EXACT } else { 0 };
        match &self.given {
            None => out.push(form),
            Some(given) => {
                out.push(form | GIVEN);
                out.extend_from_slice(&given.print.to_le_bytes());
                given.values.iter().try_for_each(|value| put(value, out))?;
            }
        }
        if let Some(rows) = self.rows {
            out.extend_from_slice(&rows.to_le_bytes());
        }
        for cell in &mut self.cells {
            let state = cell.state()?;
            state.iter().try_for_each(|value| put(value, out))?;
        }
        Ok(())
    }

    fn decode(mut stored: &[u8], layout: &Layout) -> Result<Self> {
        let (rest, aggregates) = (&mut stored, &layout.aggregates);
        let flags = *bytes(rest, 1)?.first().ok_or_else(|| corrupt("it is cut"))?;
        let given = match flags & GIVEN {
            0 => None,
            _ => {
                let print = number(rest)?;
                let field = |aggregate: &Aggregate| take(rest, aggregate.function.field().data_type());
                Some(Given { print, values: aggregates.iter().map(field).collect::<Result<_>>()? })
            }
        };
        let rows = if layout.counted { Some(number(rest)? as i64) } else { None };
        let mut cells = Vec::with_capacity(aggregates.len());
        for aggregate in aggregates {
            let kinds: &[DataType] = aggregate.stored_state(flags & EXACT != 0);
            let state = kinds.iter().map(|kind| take(rest, kind)).collect::<Result<_>>()?;
            cells.push(Cell::of_state(aggregate, state)?);
        }
        if !rest.is_empty() {
            return Err(corrupt("bytes behind the last aggregate"));
        }
        Ok(Self { cells, rows, given })
    }
}
