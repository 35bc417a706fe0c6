//! The answers that may still be taken back, by content: the keyed state of an inference over updates.
//!
//! An answer is put here in the moment in which its row is given out, and taken away in the moment in which the row that takes
//! it back is: between two barriers, so that a checkpoint never holds one without the other.

use std::time::Duration;

use forebay_core::Result;
use forebay_core::element::Epoch;
use forebay_core::operator::{Identity, Restored, Snapshot};
use forebay_core::time::EventTime;
use forebay_state::keyed::{KeyedState, StateSettings, StateTable, TableSpec};

use super::answers::{Answer, Answers};
use super::contents::Content;

/// Kept answers of this subtask's key groups.
pub(super) struct Kept {
    keyed: KeyedState,
    answers: StateTable<Answers>,
}

// === impl Kept ===

impl Kept {
    /// Answers as the checkpoint holds them; each content is forgotten when the watermark is `ttl` after its latest addition.
    ///
    /// # Errors
    /// `Corrupt` and `Invalid` as of [`KeyedState`].
    pub fn open(identity: &Identity, state: StateSettings, ttl: Option<Duration>, restored: Restored) -> Result<Self> {
        let mut keyed = KeyedState::open(identity, state, restored)?;
        let spec = TableSpec::new("answers", 1);
        let answers = keyed.table(match ttl {
            Some(ttl) => spec.ttl(ttl),
            None => spec,
        })?;
        keyed.opened()?;
        Ok(Self { keyed, answers })
    }

    /// How many answers of `content` are kept.
    ///
    /// # Errors
    /// As of [`StateTable`], here and below.
    pub fn count(&mut self, content: &Content) -> Result<u64> {
        Ok(self.answers.get(&content.parts.0, &content.parts.1)?.map_or(0, Answers::len))
    }

    /// Keeps the answer to a row.
    pub fn put(&mut self, content: &Content, answer: Answer) -> Result<()> {
        let Content { parts: (key, space), time } = content;
        if let Some(answers) = self.answers.get_mut_at(key, space, Some(*time))? {
            answers.push(answer);
            return Ok(());
        }
        let mut answers = Answers::default();
        answers.push(answer);
        self.answers.insert_at(key, space, answers, *time)
    }

    /// Takes an answer away; `None` if there is none.
    pub fn take(&mut self, content: &Content) -> Result<Option<Answer>> {
        let (key, space) = &content.parts;
        // What is left lives no longer because of it.
        let Some(answers) = self.answers.get_mut_at(key, space, Some(EventTime::MIN))? else { return Ok(None) };
        let (answer, is_last) = (answers.pop(), answers.is_empty());
        if is_last {
            self.answers.remove(key, space)?;
        }
        Ok(answer)
    }

    /// The watermark was given out.
    pub fn advance(&mut self, watermark: EventTime) -> Result<()> {
        self.answers.advance(watermark)
    }

    /// Freezes the answers for `epoch`.
    pub fn snapshot(&mut self, epoch: Epoch) -> Result<Snapshot> {
        self.keyed.snapshot(epoch, &mut [&mut self.answers])
    }

    /// The checkpoint of `epoch` is published.
    pub fn on_checkpoint_complete(&mut self, epoch: Epoch) {
        self.keyed.on_checkpoint_complete(epoch);
    }
}
