//! Rows that a function gave: staged during a call, then gathered to batches.
//!
//! A row is staged as the bytes of `stored_rows` until its call has ended well, so that a call that fails gives nothing.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use forebay_core::hash::hash64_parts;
use forebay_core::keys::{Key, columns_of};
use forebay_core::operator::Out;
use forebay_core::row::SplitId;
use forebay_core::{Batch, Error, Kind, Result, RowId, RowKind};

use super::Timer;
use super::cell::{Cell, Put, put};
use super::columns::Base;
use super::row::Row;
use super::shape::Declared;
use crate::stored_rows::{RowReader, plain};

/// Bytes of rows after which a batch is closed.
const BYTES_MAX: usize = 1 << 20;
/// Rows after which a batch is closed.
pub(super) const ROWS_MAX: usize = 4096;

/// First bytes of what ids are made of.
const OF_ROW: u8 = 0;
const OF_TIMER: u8 = 1;
const OF_TAG: u8 = 2;

/// A row of the call at hand.
pub(super) struct Staged {
    pub output: usize,
    pub kind: RowKind,
    pub id: RowId,
    /// Where its bytes end.
    pub end: usize,
}

/// See the module.
pub(super) struct Outputs {
    uid: String,
    gives_updates: bool,
    outputs: Vec<Output>,
    done: Vec<Out>,
    done_rows: usize,
    // Of the call at hand.
    cause: Vec<u8>,
    bytes: Vec<u8>,
    staged: Vec<Staged>,
}

/// The main output, or a side output.
struct Output {
    name: &'static str,
    /// `None`: nobody reads it.
    port: Option<u8>,
    base: Base,
    /// How many columns of the input its columns begin with.
    based: usize,
    schema: SchemaRef,
    key_kinds: Vec<DataType>,
    /// Columns behind those of the key, as they are stored.
    kinds: Vec<DataType>,
    rows: RowReader,
    keys: Vec<Key>,
    ids: Vec<RowId>,
    row_kinds: Vec<RowKind>,
}

// === impl Outputs ===

impl Outputs {
    /// Those that a function `declared` over rows of so many key columns and columns; `sides` are the side outputs that are
    /// read, by port.
    pub fn new(declared: &Declared, counts: (usize, usize), sides: &[String]) -> Result<Self> {
        let port = |place: usize, name: &str| match place {
            0 => Some(0),
            _ => sides.iter().position(|side| side == name).and_then(|side| u8::try_from(side + 1).ok()),
        };
        let output = |(place, (name, base, schema)): (usize, &(&'static str, Base, SchemaRef))| {
            Output::new(name, port(place, name), *base, schema, counts)
        };
        Ok(Self {
            uid: String::new(),
            gives_updates: declared.gives_updates,
            outputs: declared.outputs.iter().enumerate().map(output).collect::<Result<_>>()?,
            done: Vec::new(),
            done_rows: 0,
            cause: Vec::new(),
            bytes: Vec::new(),
            staged: Vec::new(),
        })
    }

    /// Says whose output it is; ids hang on it.
    pub fn name(&mut self, uid: &str) {
        self.uid = uid.to_string();
    }

    /// A call begins, for a row.
    pub fn begin(&mut self, row: &Row<'_>) {
        self.abandon();
        self.cause.extend_from_slice(&[OF_ROW, row.kind().to_byte()]);
        self.cause.extend_from_slice(&row.id().to_bytes());
    }

    /// A call begins, for a timer.
    pub fn begin_timer(&mut self, timer: &Timer) {
        self.abandon();
        self.cause.push(OF_TIMER);
        self.cause.extend_from_slice(&timer.time.0.to_be_bytes());
        self.cause.extend_from_slice(timer.name.as_bytes());
    }

    /// The call ended badly: forgets what it gave.
    pub fn abandon(&mut self) {
        self.cause.clear();
        self.forget_staged();
    }

    /// The same, and the call may still be named: what caused it stays.
    pub fn forget_staged(&mut self) {
        self.bytes.clear();
        self.staged.clear();
    }

    /// The call ended well: what it gave goes out. `key` is that of the call.
    pub fn commit(&mut self, key: &Key) -> Result<()> {
        let mut start = 0;
        for Staged { output, kind, id, end } in self.staged.drain(..) {
            let row = &self.bytes[start..end];
            start = end;
            let output = &mut self.outputs[output];
            if output.port.is_some() {
                output.push(key, row, kind, id)?;
                if output.ids.len() >= ROWS_MAX || output.rows.bytes() >= BYTES_MAX {
                    self.done_rows += output.ids.len();
                    self.done.extend(output.close()?);
                }
            }
        }
        Ok(())
    }

    /// Rows that wait.
    pub fn rows(&self) -> usize {
        self.done_rows + self.outputs.iter().map(|output| output.ids.len()).sum::<usize>()
    }

    /// All that wait.
    pub fn finish(&mut self) -> Result<Vec<Out>> {
        for output in &mut self.outputs {
            self.done.extend(output.close()?);
        }
        self.done_rows = 0;
        Ok(std::mem::take(&mut self.done))
    }

    // === for the row that is being put together ===

    /// Forgets the bytes of a row that was begun and did not go out.
    pub fn begin_row(&mut self) {
        let end = self.staged.last().map_or(0, |staged| staged.end);
        self.bytes.truncate(end);
    }

    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub fn gives_updates(&self) -> bool {
        self.gives_updates
    }

    /// What the columns of `output` begin with, and how many are those of the input if that is what they begin with.
    pub fn base(&self, output: usize) -> (Base, usize) {
        let output = &self.outputs[output];
        (output.base, output.based)
    }

    /// How many columns a row of `output` is given.
    pub fn width(&self, output: usize) -> usize {
        self.outputs[output].kinds.len()
    }

    /// Appends the value of a column to the row that is being put together.
    pub fn put(&mut self, output: usize, column: usize, cell: Cell<'_>) -> Result<()> {
        let (of, before) = (&self.outputs[output], self.bytes.len());
        let Some(kind) = of.kinds.get(column) else {
            return Err(self.refused(output, format!("more than {column} columns")));
        };
        let put = put(cell, kind, &mut self.bytes);
        let field = &of.schema.fields()[of.key_kinds.len() + column];
        let (kind, why) = match put {
            Put::Done if cell != Cell::Null || field.is_nullable() => return Ok(()),
            Put::Done => (Kind::Invalid, "it is given null: declare it nullable()".to_string()),
            Put::OutOfRange => (Kind::Data, format!("{cell:?} is out of its range")),
            Put::WrongType => (Kind::Invalid, format!("it is given {cell:?}")),
        };
        self.bytes.truncate(before);
        Err(Error::new(kind, "give row").with("column", field.name()).with("type", field.data_type()).source(why))
    }

    pub fn is_staged(&self, output: usize, id: RowId) -> bool {
        self.staged.iter().any(|staged| staged.output == output && staged.id == id)
    }

    pub fn stage(&mut self, staged: Staged) {
        let end = self.bytes.len();
        self.staged.push(Staged { end, ..staged });
    }

    pub fn id_of_cause(&self, key: &Key) -> RowId {
        let number = (self.staged.len() as u64).to_be_bytes();
        RowId::new(self.split(key), hash64_parts(&[&self.cause, &number]))
    }

    pub fn id_of_tag(&self, key: &Key, tag: &[u8]) -> RowId {
        RowId::new(self.split(key), hash64_parts(&[&[OF_TAG], tag]))
    }

    pub fn refused(&self, output: usize, why: String) -> Error {
        let name = self.outputs[output].name;
        let error = Error::new(Kind::Invalid, "give row");
        if name.is_empty() { error.source(why) } else { error.with("side_output", name).source(why) }
    }

    fn split(&self, key: &Key) -> SplitId {
        SplitId(hash64_parts(&[self.uid.as_bytes(), key.as_bytes()]))
    }
}

// === impl Output ===

impl Output {
    fn new(
        name: &'static str,
        port: Option<u8>,
        base: Base,
        schema: &SchemaRef,
        (keys, columns): (usize, usize),
    ) -> Result<Self> {
        let (key, rest) = schema.fields().split_at(if base == Base::Key { keys } else { 0 });
        let kind = |field: &arrow::datatypes::FieldRef| plain(field.data_type()).unwrap_or(DataType::Null);
        Ok(Self {
            name,
            port,
            base,
            based: if base == Base::Input { columns } else { 0 },
            schema: Arc::clone(schema),
            key_kinds: key.iter().map(|field| field.data_type().clone()).collect(),
            kinds: rest.iter().map(kind).collect(),
            rows: RowReader::new(&Schema::new(rest.to_vec()))?,
            keys: Vec::new(),
            ids: Vec::new(),
            row_kinds: Vec::new(),
        })
    }

    fn push(&mut self, key: &Key, row: &[u8], kind: RowKind, id: RowId) -> Result<()> {
        self.rows.push(row)?;
        if self.base == Base::Key {
            self.keys.push(key.clone());
        }
        self.ids.push(id);
        self.row_kinds.push(kind);
        Ok(())
    }

    /// What was gathered, as a batch.
    fn close(&mut self) -> Result<Option<Out>> {
        let Some(port) = self.port.filter(|_| !self.ids.is_empty()) else { return Ok(None) };
        let mut columns: Vec<ArrayRef> = columns_of(&std::mem::take(&mut self.keys), &self.key_kinds)?;
        columns.extend(self.rows.finish()?);
        let ids = std::mem::take(&mut self.ids);
        let options = RecordBatchOptions::new().with_row_count(Some(ids.len()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|source| Error::new(Kind::Internal, "build rows").source(source))?;
        let batch = Batch::new(rows, ids)?.with_kinds(std::mem::take(&mut self.row_kinds))?;
        Ok(Some(if port == 0 { Out::Batch(batch) } else { Out::Side(port, batch) }))
    }
}
