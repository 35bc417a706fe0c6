//! Answers that a child wrote, made Arrow arrays: everything it says is checked against what its call was given.
//!
//! Fixed-width values stay where they are if they are large; all else is copied, and checked in the copy. How much is copied
//! for one answer is bounded, so that naming the same bytes a thousand times takes no memory.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use forebay_core::{Error, Kind, Result};

use super::layout::{Role, Source, put_together, travels};
use super::loans::Lent;
use super::table::{ANSWERS, Place};
use crate::hosts::protocol::FRAME_BYTES_MAX;

/// Values of fewer bytes are copied: keeping a span for them would keep whole pages.
const IN_PLACE_BYTES_MIN: usize = 32 << 10;
/// Most that any type of values is aligned to.
const ALIGNMENT_MAX: usize = 16;

/// The words of an answer that are not yet read, and what they may speak of.
struct Answer<'a> {
    words: std::slice::Iter<'a, u64>,
    lent: &'a Lent,
    /// The child still looks at what it wrote: everything is copied.
    copy_answers: bool,
    /// Bytes that may still be copied.
    copies_left: usize,
}

/// The rows of `schema` that `words` tell of, out of the memory of `lent`.
///
/// # Errors
/// `Corrupt` if it speaks of anything else, or of no rows.
pub fn read(words: &[u64], schema: &SchemaRef, lent: &Lent, copy_answers: bool) -> Result<RecordBatch> {
    if !travels(schema) {
        return Err(corrupt().source("columns of such types do not lie in shared memory"));
    }
    let mut answer = Answer { words: words.iter(), lent, copy_answers, copies_left: FRAME_BYTES_MAX };
    let rows = answer.word()?;
    let fields = schema.fields().iter();
    let columns = fields.map(|field| put_together(field.data_type(), &mut answer)).collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(|source| corrupt().source(source))
}

// === impl Answer ===

impl Answer<'_> {
    fn word(&mut self) -> Result<usize> {
        let word = self.words.next().ok_or_else(|| corrupt().source("words are missing"))?;
        usize::try_from(*word).map_err(|source| corrupt().source(source))
    }

    /// `bytes` copied out of `place`, as far as copies are left.
    fn copied(&mut self, place: Place, bytes: usize) -> Result<Buffer> {
        self.copies_left = self.copies_left.checked_sub(bytes).ok_or_else(|| outside(place))?;
        let lease = self.lent.lease(place).ok_or_else(|| outside(place))?;
        lease.copied(place.start as usize, bytes).ok_or_else(|| outside(place))
    }

    fn viewed(&self, place: Place, bytes: usize) -> Result<Buffer> {
        let lease = self.lent.lease(place).ok_or_else(|| outside(place))?;
        lease.view(place.start as usize, bytes).ok_or_else(|| outside(place))
    }
}

impl Source for Answer<'_> {
    fn length(&mut self) -> Result<usize> {
        self.word()
    }

    fn buffer(&mut self, role: Role, bytes_min: usize) -> Result<Option<Buffer>> {
        let (slab, start, bytes) = (self.word()?, self.word()?, self.word()?);
        let place = Place { slab: slab as u64, start: start as u64, bytes: bytes as u64 };
        if slab == 0 {
            return Ok(None);
        }
        if bytes < bytes_min {
            return Err(outside(place).with("bytes_min", bytes_min));
        }
        match role {
            Role::Values(width) if self.stays(place, width, bytes_min) => self.viewed(place, bytes_min).map(Some),
            Role::Values(_) | Role::Structure => self.copied(place, bytes_min).map(Some),
            Role::Text => self.copied(place, bytes).map(Some),
        }
    }
}

impl Answer<'_> {
    fn stays(&self, place: Place, width: usize, bytes: usize) -> bool {
        let alignment = if width.is_power_of_two() { width.min(ALIGNMENT_MAX) } else { 1 };
        let child_writes = place.slab == ANSWERS;
        bytes >= IN_PLACE_BYTES_MIN
            && place.start.is_multiple_of(alignment as u64)
            && !(child_writes && self.copy_answers)
    }
}

fn outside(place: Place) -> Error {
    corrupt().with("slab", place.slab).with("start", place.start).with("bytes", place.bytes)
}

fn corrupt() -> Error {
    Error::new(Kind::Corrupt, "read answer in shared memory")
}
