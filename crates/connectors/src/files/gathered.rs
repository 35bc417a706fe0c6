//! What a reader gives out next, gathered from chunks, and the positions that hold once it is given out.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use forebay_core::dead_letter::DeadLetter;
use forebay_core::key_group::KeyGroup;
use forebay_core::row::SplitId;
use forebay_core::source::Read;
use forebay_core::{Batch, Error, Kind, Result, RowId};

use super::format::{BadRow, Chunk, Content, Position};
use super::position::GroupPosition;

/// Most dead letters given out at once.
const LETTERS_MAX: usize = 256;

/// Positions of every group.
pub(super) type Groups = BTreeMap<KeyGroup, GroupPosition>;

/// Rows or dead letters, never both, so that one output moves the positions past all it was made from.
#[derive(Default)]
pub(super) struct Gathered {
    rows: Vec<RecordBatch>,
    ids: Vec<RowId>,
    bytes: usize,
    letters: Vec<DeadLetter>,
    steps: Vec<(KeyGroup, Step)>,
    /// Splits whose last row was given out, until somebody asks for them.
    ended: Vec<SplitId>,
}

/// How a group's position moves.
enum Step {
    To(Position),
    NextSplit,
}

// === impl Gathered ===

impl Gathered {
    /// True if there is nothing to give out.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.letters.is_empty()
    }

    /// How many rows are gathered.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Whether `content` can be given out together with what is here.
    pub fn fits(&self, content: &Content, batch_rows: usize, batch_bytes_max: usize) -> bool {
        match content {
            Content::Bad(bad) => self.ids.is_empty() && self.letters.len() + bad.len() <= LETTERS_MAX,
            Content::Rows { .. } if !self.letters.is_empty() => false,
            Content::Rows { .. } if self.ids.is_empty() => true,
            Content::Rows { ordinals, .. } => {
                self.ids.len() + ordinals.len() <= batch_rows && self.bytes + content.bytes() <= batch_bytes_max
            }
        }
    }

    /// Adds a chunk that fits; `uid` names the source in dead letters.
    pub fn add(&mut self, split: SplitId, group: KeyGroup, chunk: Chunk, uid: &str) {
        self.bytes += chunk.content.bytes();
        match chunk.content {
            Content::Rows { rows, ordinals } => {
                self.rows.push(rows);
                self.ids.extend(ordinals.into_iter().map(|ordinal| RowId::new(split, ordinal)));
            }
            Content::Bad(bad) => self.letters.extend(bad.into_iter().map(|bad| letter(bad, split, uid))),
        }
        self.steps.push((group, Step::To(chunk.next)));
    }

    /// Notes that a split of `group` is done; takes effect with what is gathered, at once if that is nothing.
    pub fn end_split(&mut self, group: KeyGroup, groups: &mut Groups) {
        self.steps.push((group, Step::NextSplit));
        if self.is_empty() {
            self.settle(groups);
        }
    }

    /// Notes splits that were done before.
    pub fn note_ended(&mut self, splits: &[SplitId]) {
        self.ended.extend_from_slice(splits);
    }

    /// The splits that are done since the last call, in the positions too.
    pub fn take_ended(&mut self) -> Vec<SplitId> {
        std::mem::take(&mut self.ended)
    }

    /// Gives out what is gathered, which is not empty, and moves the positions.
    ///
    /// # Errors
    /// `Internal` if chunks have other columns.
    pub fn give_out(&mut self, groups: &mut Groups) -> Result<Read> {
        self.settle(groups);
        let all = std::mem::take(self);
        self.ended = all.ended;
        match all.rows.as_slice() {
            [] => Ok(Read::DeadLetters(all.letters)),
            [one] => Ok(Read::Batch(Batch::new(one.clone(), all.ids)?)),
            [first, ..] => {
                let rows = concat_batches(&first.schema(), &all.rows)
                    .map_err(|source| Error::new(Kind::Internal, "gather rows").source(source))?;
                Ok(Read::Batch(Batch::new(rows, all.ids)?))
            }
        }
    }

    /// Applies the position steps.
    fn settle(&mut self, groups: &mut Groups) {
        for (group, step) in self.steps.drain(..) {
            let position = groups.entry(group).or_default();
            match step {
                Step::To(current) => position.current = current,
                Step::NextSplit => {
                    self.ended.extend(position.splits.get(position.finished));
                    position.finish_split();
                }
            }
        }
    }
}

fn letter(bad: BadRow, split: SplitId, uid: &str) -> DeadLetter {
    DeadLetter {
        row: RowId::new(split, bad.ordinal),
        operator: uid.to_string(),
        kind: Kind::Data,
        reason: bad.reason,
        attempts: 1,
        input: bad.input,
    }
}

// === impl Content ===

impl Content {
    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Content::Rows { rows, .. } => rows.get_array_memory_size(),
            Content::Bad(bad) => bad.iter().map(|bad| bad.reason.len() + bad.input.len()).sum(),
        }
    }
}
