//! Joins each row with the row of a small table that has the same key. The table is held whole in memory.
//!
//! The table is read once, when the job is built, and does not change while the attempt runs. Keys compare by value after
//! both sides are cast to the table's type; a null key matches nothing.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::SchemaRef;
use arrow::row::{OwnedRow, RowConverter, SortField};
use forebay_core::operator::Context;
use forebay_core::{Batch, Error, Kind, Result};

use crate::stateless::{Applied, Transform};

/// What becomes of rows without a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    /// They are dropped.
    Inner,
    /// Their table columns are null.
    Left,
}

/// A table indexed by its key columns.
pub struct LookupJoin {
    table: RecordBatch,
    added: Vec<usize>,
    stream_keys: Vec<usize>,
    table_keys: Vec<usize>,
    converter: RowConverter,
    index: HashMap<OwnedRow, u32>,
    kind: JoinKind,
    schema: SchemaRef,
}

// === impl LookupJoin ===

impl LookupJoin {
    /// A join of stream columns `stream_keys` with `table_keys` of `table`; `added` are the table columns that follow the
    /// stream's columns in `schema`.
    ///
    /// # Errors
    /// `Invalid` if two table rows have the same key.
    pub fn new(
        table: RecordBatch,
        stream_keys: Vec<usize>,
        table_keys: Vec<usize>,
        added: Vec<usize>,
        kind: JoinKind,
        schema: SchemaRef,
    ) -> Result<Self> {
        let types = table_keys.iter().map(|place| SortField::new(table.column(*place).data_type().clone())).collect();
        let converter = RowConverter::new(types).map_err(|source| wrong("index lookup table", source))?;
        let keys: Vec<ArrayRef> = table_keys.iter().map(|place| Arc::clone(table.column(*place))).collect();
        let rows = converter.convert_columns(&keys).map_err(|source| wrong("index lookup table", source))?;
        let mut index = HashMap::with_capacity(table.num_rows());
        for (place, row) in rows.iter().enumerate() {
            if keys.iter().any(|key| key.is_null(place)) {
                continue;
            }
            if index.insert(row.owned(), place as u32).is_some() {
                let shown = arrow::util::display::array_value_to_string(&keys[0], place).unwrap_or_default();
                return Err(Error::new(Kind::Invalid, "index lookup table")
                    .with("key", shown)
                    .source("two rows of the table have this key; each key may occur once"));
            }
        }
        Ok(Self { table, added, stream_keys, table_keys, converter, index, kind, schema })
    }

    /// The table row of each row of `batch`.
    fn matches(&self, batch: &Batch) -> Result<UInt32Array> {
        let pairs = self.stream_keys.iter().zip(&self.table_keys);
        let keys: Vec<ArrayRef> = pairs
            .map(|(stream, table)| cast(batch.rows().column(*stream), self.table.column(*table).data_type()))
            .collect::<Result<_, _>>()
            .map_err(|source| wrong("cast join key", source))?;
        let rows = self.converter.convert_columns(&keys).map_err(|source| wrong("read join key", source))?;
        let found = rows.iter().enumerate().map(|(place, row)| {
            let null = keys.iter().any(|key| key.is_null(place));
            if null { None } else { self.index.get(&row.owned()).copied() }
        });
        Ok(found.collect())
    }
}

impl Transform for LookupJoin {
    fn apply(&mut self, batch: Batch, _context: &Context) -> Result<Applied> {
        let mut matches = self.matches(&batch)?;
        let mut batch = batch;
        if self.kind == JoinKind::Inner && matches.null_count() > 0 {
            let keep = arrow::compute::is_not_null(&matches).map_err(|source| wrong("join rows", source))?;
            batch = batch.filter(&keep)?;
            matches = matches.iter().flatten().collect::<Vec<u32>>().into();
        }
        let mut columns = batch.rows().columns().to_vec();
        for place in &self.added {
            columns.push(take(self.table.column(*place), &matches, None).map_err(|source| wrong("join rows", source))?);
        }
        let rows =
            RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|source| wrong("join rows", source))?;
        Ok(Applied { batch: Some(batch.with_rows(rows)?), ..Applied::default() })
    }
}

fn wrong(attempted: &str, source: arrow::error::ArrowError) -> Error {
    Error::new(Kind::Internal, attempted).source(source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use forebay_core::RowId;
    use forebay_core::row::SplitId;
    use forebay_core::testing::ManualEnv;

    fn table(keys: &[&str]) -> RecordBatch {
        let file: ArrayRef = Arc::new(StringArray::from(keys.to_vec()));
        let label: ArrayRef = Arc::new(Int64Array::from_iter_values(0..keys.len() as i64));
        RecordBatch::try_from_iter([("file", file), ("label", label)]).unwrap()
    }

    fn joined(kind: JoinKind) -> Batch {
        let schema = Arc::new(Schema::new(vec![
            Field::new("name", DataType::Utf8, true),
            Field::new("label", DataType::Int64, true),
        ]));
        let mut join = LookupJoin::new(table(&["a", "b"]), vec![0], vec![0], vec![1], kind, schema).unwrap();
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None, Some("x"), Some("a")]));
        let rows = RecordBatch::try_from_iter([("name", names)]).unwrap();
        let ids: Vec<RowId> = (0..4).map(|n| RowId::new(SplitId(1), n)).collect();
        join.apply(Batch::new(rows, ids).unwrap(), &crate::tests::context(&ManualEnv::new(1))).unwrap().batch.unwrap()
    }

    #[test]
    fn left_join_keeps_rows_without_a_match_and_inner_join_drops_them() {
        let left = joined(JoinKind::Left);
        let labels: Vec<Option<i64>> = left.rows().column(1).as_primitive::<Int64Type>().iter().collect();
        assert_eq!(labels, [Some(1), None, None, Some(0)]);
        let inner = joined(JoinKind::Inner);
        assert_eq!(inner.ids().iter().map(|id| id.ordinal).collect::<Vec<_>>(), [0, 3]);
    }

    #[test]
    fn a_key_twice_in_the_table_is_refused_by_name() {
        let schema = Arc::new(Schema::empty());
        let error =
            LookupJoin::new(table(&["a", "a"]), vec![0], vec![0], vec![1], JoinKind::Left, schema).err().unwrap();
        assert!(error.chain().contains("key=a"), "{}", error.chain());
    }
}
