//! A row on its way out: its columns one by one, what it does, its id.
//!
//! A row's id is made of the step's uid, the key, and what caused it: the row or timer at hand and how many rows the call gave before.
//! It is the same in every run and at every parallelism, and differs from every other as far as the ids of the rows that came in
//! do. A row that takes back another one has that one's id if both were given under the same [`Emission::tag`]. Rows of one key
//! share the first part of the id, so they stay together and in order.

use forebay_core::keys::Key;
use forebay_core::{Error, Result, RowId, RowKind};

use super::cell::Cell;
use super::columns::Base;
use super::outputs::{Outputs, Staged};
use super::row::{Row, StoredRow};

/// A row that is being put together; it goes out with [`Emission::emit`], or not at all.
#[must_use = "a row goes out with emit"]
pub struct Emission<'c> {
    outputs: &'c mut Outputs,
    key: &'c Key,
    /// Which output: 0 the main one.
    output: usize,
    column: usize,
    kind: RowKind,
    id: Id<'c>,
    wrong: Option<Error>,
}

enum Id<'c> {
    Cause,
    Tag(&'c [u8]),
    Kept(RowId),
}

// === impl Emission ===

impl<'c> Emission<'c> {
    pub(super) fn new(outputs: &'c mut Outputs, key: &'c Key, output: usize) -> Self {
        outputs.begin_row();
        Self { outputs, key, output, column: 0, kind: RowKind::Insert, id: Id::Cause, wrong: None }
    }

    /// What the row does, an insert without a word. The function must have declared
    /// [`Shape::gives_updates`](super::Shape::gives_updates) for any other.
    pub fn kind(mut self, kind: RowKind) -> Self {
        self.kind = kind;
        self
    }

    /// Makes the id of the key and this tag alone. Rows of one key with one tag have the same columns: a row, and the row that takes it
    /// back.
    pub fn tag(mut self, tag: &'c [u8]) -> Self {
        self.id = Id::Tag(tag);
        self
    }

    /// The next column.
    pub fn cell<'v>(mut self, value: impl Into<Cell<'v>>) -> Self {
        if self.wrong.is_none() {
            self.wrong = self.outputs.put(self.output, self.column, value.into()).err();
            self.column += 1;
        }
        self
    }

    /// All columns of `row`, of an output that begins with them.
    pub fn row(mut self, row: &Row<'_>) -> Self {
        let written = |outputs: &mut Outputs| row.work.write(row.place, outputs.bytes());
        self.input(written);
        self
    }

    /// All columns of a row that was kept, of an output that begins with the columns of the input.
    pub fn stored(mut self, row: &StoredRow) -> Self {
        self.input(|outputs| {
            outputs.bytes().extend_from_slice(&row.0);
            Ok(())
        });
        self
    }

    /// Hands `row` on as it is: its columns, its id, what it does. At most once a row and output.
    ///
    /// # Errors
    /// Those of [`Emission::emit`].
    pub fn forward(mut self, row: &Row<'_>) -> Result<()> {
        (self.kind, self.id) = (row.kind(), Id::Kept(row.id()));
        self.row(row).emit()
    }

    /// Gives the row, unless the call ends with an error.
    ///
    /// # Errors
    /// `Data` for a number that its column cannot hold, `Invalid` for a row with too few or too many columns or of wrong types, and for a row
    /// that takes back another where the function did not say so.
    pub fn emit(self) -> Result<()> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let (outputs, output) = (self.outputs, self.output);
        let count = outputs.width(output);
        if self.column != count {
            let message = format!("{} of {count} columns have a value", self.column);
            return Err(outputs.refused(output, message));
        }
        // A late row that takes back another may leave as it is by a side output.
        let is_handed_on = output > 0 && matches!(self.id, Id::Kept(_));
        if self.kind != RowKind::Insert && !outputs.gives_updates() && !is_handed_on {
            let message = format!("it is {}, and the function declared no updates: call gives_updates", self.kind);
            return Err(outputs.refused(output, message));
        }
        let id = match self.id {
            Id::Cause => outputs.id_of_cause(self.key),
            Id::Tag(tag) => outputs.id_of_tag(self.key, tag),
            Id::Kept(id) if outputs.is_staged(output, id) => {
                return Err(outputs.refused(output, "a row is handed on twice".to_string()));
            }
            Id::Kept(id) => id,
        };
        outputs.stage(Staged { output, kind: self.kind, id, end: 0 });
        Ok(())
    }

    fn input(&mut self, write: impl FnOnce(&mut Outputs) -> Result<()>) {
        if self.wrong.is_some() {
            return;
        }
        let (base, count) = self.outputs.base(self.output);
        if base != Base::Input || self.column > 0 {
            let message = "its columns do not begin with those of the input: declare Columns::input()".to_string();
            self.wrong = Some(self.outputs.refused(self.output, message));
            return;
        }
        self.wrong = write(self.outputs).err();
        self.column = count;
    }
}
