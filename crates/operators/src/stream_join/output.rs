//! Pairs of stored rows become output batches.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::SchemaRef;
use forebay_core::hash::hash64;
use forebay_core::keys::Key;
use forebay_core::row::SplitId;
use forebay_core::{Batch, Error, Kind, Result, RowId, RowKind};

use super::{JoinShape, Side};
use crate::stored_rows::RowReader;

/// Bytes of stored rows after which a batch is closed.
const BYTES_MAX: usize = 8 << 20;
/// Rows after which a batch is closed.
const ROWS_MAX: usize = 4096;

/// A row of one side: its id and its stored bytes.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    pub id: RowId,
    pub bytes: &'a [u8],
}

/// What was put out and not yet taken.
pub(super) type Outputs = Vec<Batch>;

/// Gathers pairs.
pub(super) struct Output {
    schema: SchemaRef,
    /// Key columns of both sides, in pairs.
    keys: Vec<(usize, usize)>,
    appended: Vec<usize>,
    left: RowReader,
    right: RowReader,
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
    pub fn new(shape: &JoinShape) -> Result<Self> {
        Ok(Self {
            schema: Arc::clone(&shape.output),
            keys: shape.left.keys.iter().copied().zip(shape.right.keys.iter().copied()).collect(),
            appended: shape.appended.clone(),
            left: RowReader::new(&shape.left.schema)?,
            right: RowReader::new(&shape.right.schema)?,
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
        push(&mut self.left, left)?;
        push(&mut self.right, right)?;
        let id = self.id(key, left, right);
        self.ids.push(id);
        self.kinds.push(kind);
        self.alone.push(left.is_none());
        if self.ids.len() >= ROWS_MAX || self.left.bytes() + self.right.bytes() >= BYTES_MAX {
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
    fn id(&mut self, key: Option<&Key>, left: Option<Stored<'_>>, right: Option<Stored<'_>>) -> RowId {
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.uid);
        self.scratch.extend_from_slice(key.map_or(&[], |key| key.as_bytes()));
        let split = SplitId(hash64(&self.scratch));
        let mut ids = [0; 34];
        for (part, stored) in [left, right].into_iter().enumerate() {
            if let Some(stored) = stored {
                ids[part * 17] = 1;
                ids[part * 17 + 1..(part + 1) * 17].copy_from_slice(&stored.id.to_bytes());
            }
        }
        RowId::new(split, hash64(&ids))
    }

    fn close(&mut self) -> Result<()> {
        let wrong = |source| Error::new(Kind::Internal, "join rows").source(source);
        let mut columns: Vec<ArrayRef> = self.left.finish()?;
        let right = self.right.finish()?;
        if self.alone.contains(&true) {
            let alone = BooleanArray::from(self.alone.clone());
            for (left, other) in &self.keys {
                columns[*left] = zip(&alone, &right[*other], &columns[*left]).map_err(wrong)?;
            }
        }
        columns.extend(self.appended.iter().map(|place| Arc::clone(&right[*place])));
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
