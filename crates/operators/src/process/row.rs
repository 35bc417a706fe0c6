//! A row that comes in.

use arrow::array::Array;
use forebay_core::time::EventTime;
use forebay_core::{Error, Kind, Result, RowId, RowKind};
use forebay_state::keyed::StateValue;

use super::columns::{Column, ColumnValue};
use super::work::Work;

/// The row at hand: a view, valid during the call.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub(super) work: &'a Work,
    pub(super) place: usize,
}

/// A whole row, to be kept in state and given later ([`Emission::stored`](super::Emission::stored)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow(pub(super) Vec<u8>);

// === impl Row ===

impl<'a> Row<'a> {
    /// The value in `column`; `None` if it is null.
    pub fn get<T: ColumnValue + ?Sized>(&self, column: Column<T>) -> Option<T::Ref<'a>> {
        let (_, column) = &self.work.columns[column.place];
        column.is_valid(self.place).then(|| T::at(column, self.place))
    }

    /// The value in `column`, which must not be null.
    ///
    /// # Errors
    /// `Data` if it is null; handed on, the row becomes a dead letter.
    pub fn need<T: ColumnValue + ?Sized>(&self, column: Column<T>) -> Result<T::Ref<'a>> {
        self.get(column).ok_or_else(|| {
            let schema = self.work.batch.schema();
            let name = schema.field(self.work.columns[column.place].0).name();
            Error::new(Kind::Data, "read column").with("column", name).source("it is null")
        })
    }

    /// The event time, if the rows have one and it is not null.
    pub fn time(&self) -> Option<EventTime> {
        self.work.time(self.place)
    }

    /// What the row does: always an insert, unless the function takes updates.
    pub fn kind(&self) -> RowKind {
        self.work.batch.kind(self.place)
    }

    /// The row's id, the same in every run.
    pub fn id(&self) -> RowId {
        self.work.batch.ids()[self.place]
    }

    /// The whole row, to be kept.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn store(&self) -> Result<StoredRow> {
        let mut bytes = Vec::new();
        self.work.write(self.place, &mut bytes)?;
        Ok(StoredRow(bytes))
    }
}

// === impl StoredRow ===

impl StateValue for StoredRow {
    const CODEC: &'static str = "row";

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(Self(bytes.to_vec()))
    }

    fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.0.capacity()
    }
}
