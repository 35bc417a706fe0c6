//! Rows that take back others: each gets the answer that was given for the row that it takes back, and no model is asked.
//!
//! What is kept changes only in the moment in which rows are given out, so that a checkpoint holds an answer exactly if it holds
//! that its row was given and not taken back. Rows that wait to take back are rows of the table like all others: they are in the
//! snapshot, watermarks wait for them, and they keep their place in every order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use forebay_core::element::Epoch;
use forebay_core::keys::Key;
use forebay_core::operator::{Identity, Restored, Snapshot};
use forebay_core::time::EventTime;
use forebay_core::{Error, Kind, Result};
use forebay_inference::request::Outcome;
use forebay_state::keyed::{Space, StateSettings};

use super::Inference;
use super::answer::{AnswerColumns, Assembled, letter};
use super::answers::Answer;
use super::contents::{Content, ContentColumns};
use super::kept::Kept;
use super::pending::Pending;
use super::table::{Entry, Order};
use crate::stored_rows::{RowReader, RowWriter};

/// Why a row that takes back nothing is a dead letter.
const NOTHING: &str = "it takes back a row whose answer is not kept: that row never came, or its ttl ended";

/// What an operator whose rows are also taken back does about it.
#[derive(Debug, Clone)]
pub struct UpdatesSettings {
    /// What rows are known by.
    pub contents: ContentColumns,
    /// How long an answer is kept for the row that takes it back, in event time; `None`: for good.
    pub ttl: Option<Duration>,
    /// How answers are kept.
    pub state: StateSettings,
}

/// What is known of rows that may be taken back, or take back.
pub(super) struct TakingBack {
    kept: Kept,
    pending: Pending,
}

// === impl TakingBack ===

impl TakingBack {
    /// With the answers that `restored` holds.
    pub fn open(settings: &UpdatesSettings, identity: &Identity, restored: Restored) -> Result<Self> {
        let kept = Kept::open(identity, settings.state.clone(), settings.ttl, restored)?;
        Ok(Self { kept, pending: Pending::default() })
    }

    pub fn snapshot(&mut self, epoch: Epoch) -> Result<Snapshot> {
        self.kept.snapshot(epoch)
    }

    pub fn on_checkpoint_complete(&mut self, epoch: Epoch) {
        self.kept.on_checkpoint_complete(epoch);
    }

    /// The rows that are given out or become dead letters, those that take back with the answer that was given; and those that
    /// take back nothing. One that takes back a dead letter is in neither: its row was never given.
    fn answered(&mut self, entries: Vec<Entry>, answers: &AnswerColumns) -> Result<(Vec<Entry>, Vec<Entry>)> {
        let (mut known, mut unknown) = (Vec::<Entry>::with_capacity(entries.len()), Vec::new());
        let mut given = RowReader::new(&answers.added())?;
        let mut together = Together::of(&entries);
        for mut entry in entries {
            let Some(content) = entry.content.as_deref().filter(|_| entry.takes_back) else {
                together.add(&entry, known.len());
                known.push(entry);
                continue;
            };
            if let Some(place) = together.take(content) {
                let addition = &mut known[place];
                addition.is_taken_back = true;
                if answers.gives(addition) {
                    (entry.rung, entry.outcome) = (addition.rung, addition.outcome.clone());
                    known.push(entry);
                }
                continue;
            }
            match self.kept.take(content)? {
                Some(Answer::Given(row)) => {
                    let place = given.rows();
                    given.push(&row)?;
                    // The rows are put in below, when there are all of them.
                    entry.outcome = Some(Outcome::Answered { rows: empty(), place });
                    entry.is_kept = true;
                    known.push(entry);
                }
                Some(Answer::Letter) => {}
                None => unknown.push(entry),
            }
        }
        if given.rows() > 0 {
            let taken = answers.taken_back(given.finish()?)?;
            for entry in known.iter_mut().filter(|entry| entry.is_kept) {
                if let Some(Outcome::Answered { rows, .. }) = &mut entry.outcome {
                    *rows = taken.clone();
                }
            }
        }
        Ok((known, unknown))
    }

    /// Keeps the answers to additions that `assembled` is made of.
    fn keep(&mut self, entries: &[Entry], assembled: &Assembled, answers: &AnswerColumns) -> Result<()> {
        let given = assembled.batch.as_ref().map(|batch| answers.of_added(batch.rows())).transpose()?;
        let writer = given.as_ref().map(RowWriter::new).transpose()?;
        let mut place = 0;
        for entry in entries {
            let is_given = answers.gives(entry);
            if let (Some(content), false) = (&entry.content, entry.takes_back || entry.is_taken_back) {
                let answer = match writer.as_ref().filter(|_| is_given) {
                    Some(writer) => {
                        let mut row = Vec::new();
                        writer.write(place, &mut row);
                        Answer::Given(row)
                    }
                    None => Answer::Letter,
                };
                self.kept.put(content, answer)?;
            }
            place += usize::from(is_given);
        }
        Ok(())
    }
}

/// Additions that leave together with rows that may take them back, by content, those that came last at the end.
struct Together {
    additions: Option<BTreeMap<(Key, Space), Vec<usize>>>,
}

// === impl Together ===

impl Together {
    /// None yet; none ever, if no row of `entries` takes back.
    fn of(entries: &[Entry]) -> Self {
        Self { additions: entries.iter().any(|entry| entry.takes_back).then(BTreeMap::new) }
    }

    fn add(&mut self, entry: &Entry, place: usize) {
        if let (Some(additions), Some(content)) = (&mut self.additions, &entry.content) {
            additions.entry(content.parts.clone()).or_default().push(place);
        }
    }

    fn take(&mut self, content: &Content) -> Option<usize> {
        self.additions.as_mut()?.get_mut(&content.parts)?.pop()
    }
}

fn empty() -> RecordBatch {
    RecordBatch::new_empty(Arc::new(Schema::empty()))
}

// === impl AnswerColumns ===

impl AnswerColumns {
    /// The added columns.
    pub(super) fn added(&self) -> Schema {
        Schema::new(self.schema.fields()[self.kept.len()..].to_vec())
    }

    /// The added columns of rows that are given out.
    fn of_added(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let places: Vec<usize> = (self.kept.len()..rows.num_columns()).collect();
        rows.project(&places).map_err(|source| Error::new(Kind::Internal, "keep answers").source(source))
    }

    /// Added columns that were kept, as a model gives them: under the names of its outputs, then who answered.
    fn taken_back(&self, columns: Vec<arrow::array::ArrayRef>) -> Result<RecordBatch> {
        let names = self.outputs.iter().map(String::as_str).chain([""]);
        let field =
            |(name, column): (&str, &arrow::array::ArrayRef)| Field::new(name, column.data_type().clone(), true);
        let fields: Vec<Field> = names.zip(&columns).map(field).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|source| Error::new(Kind::Internal, "give kept answers").source(source))
    }
}

// === impl Inference ===

impl Inference {
    /// Puts finished rows and their answers together, and keeps what may be taken back.
    pub(super) fn give(&mut self, entries: Vec<Entry>) -> Result<Assembled> {
        let uid = self.context().identity.uid.clone();
        let answers = &self.settings.answers;
        let Some(taking_back) = &mut self.taking_back else { return answers.assemble(&entries, &uid) };
        let addition = |entry: &Entry| (!entry.takes_back).then_some(entry.number);
        let left: Vec<(Box<Content>, Option<u64>)> =
            entries.iter().filter_map(|entry| Some((entry.content.clone()?, addition(entry)))).collect();
        let (known, unknown) = taking_back.answered(entries, answers)?;
        let mut assembled = answers.assemble(&known, &uid)?;
        taking_back.keep(&known, &assembled, answers)?;
        let letters = unknown.iter().map(|entry| letter(entry, Kind::Data, NOTHING, &uid));
        assembled.dead_letters.extend(letters);
        left.iter().for_each(|(content, addition)| taking_back.pending.left(content, *addition));
        left.iter().try_for_each(|(content, _)| self.settle(content))?;
        Ok(assembled)
    }

    /// A row that adds came; or one that takes back, which may leave at once if an answer is kept for it.
    pub(super) fn came(&mut self, number: u64) -> Result<()> {
        let Some(taking_back) = &mut self.taking_back else { return Ok(()) };
        let Some(entry) = self.table.get(number) else { return Ok(()) };
        let Some(content) = entry.content.clone() else { return Ok(()) };
        if entry.takes_back {
            taking_back.pending.take_back(&content, number);
            self.settle(&content)
        } else {
            taking_back.pending.add(&content, number);
            Ok(())
        }
    }

    /// Lets rows of `content` go that need not wait any more.
    fn settle(&mut self, content: &Content) -> Result<()> {
        // Where rows of one content leave as they came, those before it have left, or leave with it.
        let in_order = self.settings.order != Order::Unordered;
        let need_not_wait = in_order || self.settings.planted.retraction_overtakes;
        let Some(TakingBack { kept, pending }) = &mut self.taking_back else { return Ok(()) };
        if !pending.is_waiting(content) {
            return Ok(());
        }
        let count = if need_not_wait { u64::MAX } else { kept.count(content)? };
        while let Some(number) = pending.next_ready(content, count) {
            // What it is given is looked up when it leaves.
            self.table.finish(number, Outcome::GivenUp { kind: Kind::Data, reason: NOTHING.to_string() });
        }
        Ok(())
    }

    /// Whether another row of the table is the same inference: one that was taken back may have come again under its id. Its answer
    /// must stay in the journal until that one has left, too.
    pub(super) fn is_wanted(&self, entry: &Entry) -> bool {
        let (Some(taking_back), Some(content)) = (&self.taking_back, &entry.content) else { return false };
        let same = |other: &Entry| other.batch.ids()[other.place] == entry.batch.ids()[entry.place];
        taking_back.pending.additions(content).any(|number| self.table.get(number).is_some_and(same))
    }

    /// A watermark has left.
    pub(super) fn forget(&mut self, watermark: EventTime) -> Result<()> {
        self.taking_back.as_mut().map_or(Ok(()), |taking_back| taking_back.kept.advance(watermark))
    }
}
