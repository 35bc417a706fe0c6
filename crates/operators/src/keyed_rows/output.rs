//! Stored rows, alone or in pairs, become output batches.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::SchemaRef;
use forebay_core::hash::hash64;
use forebay_core::keys::Key;
use forebay_core::row::SplitId;
use forebay_core::{Batch, Error, Kind, Result, RowId, RowKind};

use super::{FrameShape, Side};
use crate::stored_rows::RowReader;

/// Bytes of stored rows after which a batch is closed.
const BYTES_MAX: usize = 8 << 20;
/// Rows after which a batch is closed.
const ROWS_MAX: usize = 4096;

/// A row of one side: its id and its stored bytes.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub id: RowId,
    pub bytes: &'a [u8],
}

/// What was put out and not yet taken.
pub(crate) type Outputs = Vec<Batch>;

/// What the last column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The mark itself, a 64-bit number.
    Number,
    /// The text of that number.
    Text(&'static [&'static str]),
}

/// Gathers rows.
pub(crate) struct Output {
    schema: SchemaRef,
    /// Key columns of both sides, in pairs.
    keys: Vec<(usize, usize)>,
    appended: Vec<usize>,
    left: RowReader,
    right: Option<RowReader>,
    mark: Option<Mark>,
    marks: Vec<u32>,
    uid: Vec<u8>,
    scratch: Vec<u8>,
    ids: Vec<RowId>,
    kinds: Vec<RowKind>,
    /// True where the right row stands alone.
    alone: Vec<bool>,
    done: Outputs,
    done_rows: usize,
}

// === impl Output ===

impl Output {
    pub fn new(shape: &FrameShape) -> Result<Self> {
        let (left, right) = (&shape.inputs[0], shape.inputs.get(1));
        let others = right.map(|right| right.keys.clone()).unwrap_or_default();
        Ok(Self {
            schema: Arc::clone(&shape.output),
            keys: left.keys.iter().copied().zip(others).collect(),
            appended: shape.appended.clone(),
            left: RowReader::new(&left.schema)?,
            right: right.map(|right| RowReader::new(&right.schema)).transpose()?,
            mark: shape.mark,
            marks: Vec::new(),
            uid: Vec::new(),
            scratch: Vec::new(),
            ids: Vec::new(),
            kinds: Vec::new(),
            alone: Vec::new(),
            done: Outputs::new(),
            done_rows: 0,
        })
    }

    /// Says whose output it is; ids hang on it.
    pub fn name(&mut self, uid: &str) {
        self.uid = [&(uid.len() as u64).to_le_bytes()[..], uid.as_bytes()].concat();
    }

    /// How many rows wait to be taken.
    pub fn rows(&self) -> usize {
        self.done_rows + self.ids.len()
    }

    /// Puts out a row of `side` with its partner; without one the other columns are null.
    pub fn pair(
        &mut self,
        kind: RowKind,
        key: Option<&Key>,
        side: Side,
        row: Stored<'_>,
        partner: Option<Stored<'_>>,
    ) -> Result<()> {
        let (left, right) = match side {
            Side::Left => (Some(row), partner),
            Side::Right => (partner, Some(row)),
        };
        self.marked(kind, key, left, right, 0)
    }

    /// Puts out a row of either input or a pair, with a mark for the last column.
    pub fn marked(
        &mut self,
        kind: RowKind,
        key: Option<&Key>,
        left: Option<Stored<'_>>,
        right: Option<Stored<'_>>,
        mark: u32,
    ) -> Result<()> {
        push(&mut self.left, left)?;
        self.right.as_mut().map_or(Ok(()), |rows| push(rows, right))?;
        let id = self.id(key, left, right, mark);
        self.ids.push(id);
        self.kinds.push(kind);
        self.alone.push(left.is_none());
        self.marks.push(mark);
        let bytes = self.left.bytes() + self.right.as_ref().map_or(0, RowReader::bytes);
        if self.ids.len() >= ROWS_MAX || bytes >= BYTES_MAX {
            self.close()?;
        }
        Ok(())
    }

    /// Everything put out since the last call.
    pub fn finish(&mut self) -> Result<Outputs> {
        if !self.ids.is_empty() {
            self.close()?;
        }
        self.done_rows = 0;
        Ok(std::mem::take(&mut self.done))
    }

    /// The split is that of the key, so that an exchange by row keeps the changes of a key in order.
    fn id(&mut self, key: Option<&Key>, left: Option<Stored<'_>>, right: Option<Stored<'_>>, mark: u32) -> RowId {
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.uid);
        self.scratch.extend_from_slice(key.map_or(&[], |key| key.as_bytes()));
        let split = SplitId(hash64(&self.scratch));
        let mut ids = [0; 38];
        for (part, stored) in [left, right].into_iter().enumerate() {
            if let Some(stored) = stored {
                ids[part * 17] = 1;
                ids[part * 17 + 1..(part + 1) * 17].copy_from_slice(&stored.id.to_bytes());
            }
        }
        ids[34..].copy_from_slice(&mark.to_be_bytes());
        RowId::new(split, hash64(if self.mark.is_some() { &ids } else { &ids[..34] }))
    }

    fn close(&mut self) -> Result<()> {
        let wrong = |source| Error::new(Kind::Internal, "build rows").source(source);
        let mut columns: Vec<ArrayRef> = self.left.finish()?;
        let right = self.right.as_mut().map_or(Ok(Vec::new()), RowReader::finish)?;
        if self.alone.contains(&true) {
            let alone = BooleanArray::from(self.alone.clone());
            for (left, other) in &self.keys {
                columns[*left] = zip(&alone, &right[*other], &columns[*left]).map_err(wrong)?;
            }
        }
        columns.extend(self.appended.iter().map(|place| Arc::clone(&right[*place])));
        let marks = std::mem::take(&mut self.marks).into_iter();
        match self.mark {
            None => {}
            Some(Mark::Number) => columns.push(Arc::new(Int64Array::from_iter_values(marks.map(i64::from)))),
            Some(Mark::Text(texts)) => {
                columns.push(Arc::new(StringArray::from_iter_values(marks.map(|mark| texts[mark as usize]))));
            }
        }
        self.alone.clear();
        let ids = std::mem::take(&mut self.ids);
        let options = RecordBatchOptions::new().with_row_count(Some(ids.len()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(wrong)?;
        self.done_rows += ids.len();
        self.done.push(Batch::new(rows, ids)?.with_kinds(std::mem::take(&mut self.kinds))?);
        Ok(())
    }
}

fn push(rows: &mut RowReader, stored: Option<Stored<'_>>) -> Result<()> {
    match stored {
        Some(stored) => rows.push(stored.bytes),
        None => {
            rows.push_nulls();
            Ok(())
        }
    }
}
