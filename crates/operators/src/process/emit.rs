//! A row on its way out: its columns one by one, what it does, its id.
//!
//! A row's id is made of the step's uid, the key, and what caused it: the row or timer at hand and how many rows the call gave before.
//! It is the same in every run and at every parallelism, and differs from every other as far as the ids of the rows that came in
//! do. A row that takes back another one has that one's id if both were given under the same [`Emission::tag`]. Rows of one key
//! share the first part of the id, so they stay together and in order.

use arrow::datatypes::{DataType, TimeUnit};
use forebay_core::keys::Key;
use forebay_core::time::EventTime;
use forebay_core::{Error, Kind, Result, RowId, RowKind};

use super::columns::Base;
use super::outputs::{Outputs, Staged};
use super::row::{Row, StoredRow};
use crate::stored_rows::{NULL, VALUE};

/// A value of a column. Numbers, text, bytes, moments and options of them become cells by themselves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// For boolean columns.
    Bool(bool),
    /// For columns of integers of any width, and of floating-point numbers.
    Int(i128),
    /// For columns of floating-point numbers.
    Float(f64),
    /// For text.
    Text(&'a str),
    /// For binary.
    Bytes(&'a [u8]),
    /// For timestamps of any unit.
    Time(EventTime),
}

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
            self.wrong = self.write(value.into()).err();
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

    fn write(&mut self, cell: Cell<'_>) -> Result<()> {
        let Some((name, kind, nullable)) = self.outputs.column(self.output, self.column) else {
            return Err(self.outputs.refused(self.output, format!("more than {} columns", self.column)));
        };
        self.column += 1;
        let refused = |kind_of: Kind, why: String| {
            Err(Error::new(kind_of, "give row").with("column", name.as_str()).with("type", &kind).source(why))
        };
        let bytes = self.outputs.bytes();
        let before = bytes.len();
        match put(cell, &kind, bytes) {
            Put::Done if cell == Cell::Null && !nullable => {
                refused(Kind::Invalid, "it is given null: declare it nullable()".to_string())
            }
            Put::Done => Ok(()),
            Put::OutOfRange => {
                bytes.truncate(before);
                refused(Kind::Data, format!("{cell:?} is out of its range"))
            }
            Put::WrongType => {
                bytes.truncate(before);
                refused(Kind::Invalid, format!("it is given {cell:?}"))
            }
        }
    }
}

// === cells to bytes ===

enum Put {
    Done,
    OutOfRange,
    WrongType,
}

/// Appends `cell` as `stored_rows` has a value of type `kind`.
fn put(cell: Cell<'_>, kind: &DataType, out: &mut Vec<u8>) -> Put {
    match (cell, kind) {
        (Cell::Null, _) => out.push(NULL),
        (Cell::Bool(value), DataType::Boolean) => out.extend_from_slice(&[VALUE, u8::from(value)]),
        (Cell::Int(value), _) if kind.is_integer() => return put_int(value, kind, out),
        (Cell::Int(value), _) if kind.is_floating() => return put(Cell::Float(value as f64), kind, out),
        (Cell::Float(value), DataType::Float64) => put_fixed(&value.to_le_bytes(), out),
        (Cell::Float(value), DataType::Float32) => put_fixed(&(value as f32).to_le_bytes(), out),
        (Cell::Text(value), DataType::Utf8 | DataType::LargeUtf8) => put_piece(value.as_bytes(), out),
        (Cell::Bytes(value), DataType::Binary | DataType::LargeBinary) => put_piece(value, out),
        (Cell::Time(EventTime(micros)), DataType::Timestamp(unit, _)) => {
            let value = match unit {
                TimeUnit::Second => Some(micros.div_euclid(1_000_000)),
                TimeUnit::Millisecond => Some(micros.div_euclid(1000)),
                TimeUnit::Microsecond => Some(micros),
                TimeUnit::Nanosecond => micros.checked_mul(1000),
            };
            let Some(value) = value else { return Put::OutOfRange };
            put_fixed(&value.to_le_bytes(), out);
        }
        _ => return Put::WrongType,
    }
    Put::Done
}

fn put_int(value: i128, kind: &DataType, out: &mut Vec<u8>) -> Put {
    let (width, least, most) = match kind {
        DataType::Int8 => (1, i128::from(i8::MIN), i128::from(i8::MAX)),
        DataType::Int16 => (2, i128::from(i16::MIN), i128::from(i16::MAX)),
        DataType::Int32 => (4, i128::from(i32::MIN), i128::from(i32::MAX)),
        DataType::Int64 => (8, i128::from(i64::MIN), i128::from(i64::MAX)),
        DataType::UInt8 => (1, 0, i128::from(u8::MAX)),
        DataType::UInt16 => (2, 0, i128::from(u16::MAX)),
        DataType::UInt32 => (4, 0, i128::from(u32::MAX)),
        _ => (8, 0, i128::from(u64::MAX)),
    };
    if !(least..=most).contains(&value) {
        return Put::OutOfRange;
    }
    put_fixed(&value.to_le_bytes()[..width], out);
    Put::Done
}

fn put_fixed(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(VALUE);
    out.extend_from_slice(bytes);
}

fn put_piece(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(VALUE);
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

// === impl Cell ===

macro_rules! cell_from {
    ($($type:ty => |$value:ident| $cell:expr),+ $(,)?) => {$(
        impl<'a> From<$type> for Cell<'a> {
            fn from($value: $type) -> Self {
                $cell
            }
        }
    )+};
}

cell_from! {
    bool => |value| Cell::Bool(value),
    i32 => |value| Cell::Int(value.into()),
    i64 => |value| Cell::Int(value.into()),
    u32 => |value| Cell::Int(value.into()),
    u64 => |value| Cell::Int(value.into()),
    usize => |value| Cell::Int(value as i128),
    f32 => |value| Cell::Float(value.into()),
    f64 => |value| Cell::Float(value),
    &'a str => |value| Cell::Text(value),
    &'a String => |value| Cell::Text(value),
    &'a [u8] => |value| Cell::Bytes(value),
    &'a Vec<u8> => |value| Cell::Bytes(value),
    EventTime => |value| Cell::Time(value),
}

impl<'a, T: Into<Cell<'a>>> From<Option<T>> for Cell<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Null, Into::into)
    }
}
