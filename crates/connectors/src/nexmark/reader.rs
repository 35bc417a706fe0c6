//! The reader of one subtask: makes the rows of its splits in the order of their places, on the spot.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, SchemaRef};
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::{Context, Frozen, Restored, Snapshot};
use forebay_core::row::{RowId, SplitId};
use forebay_core::source::{Read, Reader, Split};
use forebay_core::{Batch, Error, Kind, Result};

use super::bid::Bids;
use super::chance::Chance;
use super::numbers::{self, Numbers};
use super::position::{self, Places};
use super::{NexmarkSettings, Stream, auction, columns, enumerator, person};

/// Places in a row that belong to one split. A multiple of a round, so that every split has the same share of each stream;
/// as many as make a batch or more of bids, so that few batches are of several splits.
const BLOCK: u64 = 100 * numbers::ROUND;

/// Makes the rows of one stream, for one subtask. The id of a row counts its place among all three streams.
pub struct NexmarkReader {
    settings: NexmarkSettings,
    schema: SchemaRef,
    batch_rows: usize,
    numbers: Numbers,
    chance: Chance,
    bids: Option<Bids>,
    /// The splits that are not at their end, the earliest place first.
    waiting: BinaryHeap<Reverse<Cursor>>,
    places: BTreeMap<KeyGroup, Places>,
}

/// Where reading goes on in a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cursor {
    place: u64,
    split: SplitId,
    group: KeyGroup,
}

/// What the next batch is made of.
struct Chosen {
    numbers: Vec<u64>,
    ids: Vec<RowId>,
}

// === impl NexmarkReader ===

impl NexmarkReader {
    /// A reader of batches of at most `batch_rows`. `schema` is the stream's or a choice of its columns in any order; no
    /// others are made.
    ///
    /// # Errors
    /// `Invalid` for settings that no row can be made of, and for a column that the stream does not have.
    pub fn new(settings: NexmarkSettings, schema: SchemaRef, batch_rows: usize) -> Result<Self> {
        settings.check()?;
        let all = settings.stream.schema();
        let known =
            |field: &Field| all.field_with_name(field.name()).is_ok_and(|of| of.data_type() == field.data_type());
        if let Some(other) = schema.fields().iter().find(|field| !known(field)) {
            return Err(columns::unknown(other.name()));
        }
        let chance = Chance::new(settings.seed);
        Ok(Self {
            batch_rows: batch_rows.max(1),
            numbers: Numbers::new(&settings),
            bids: (settings.stream == Stream::Bid).then(|| Bids::new(&chance)),
            chance,
            settings,
            schema,
            waiting: BinaryHeap::new(),
            places: BTreeMap::new(),
        })
    }

    /// Chooses the next rows and moves on behind them.
    fn choose(&mut self) -> Chosen {
        let mut chosen =
            Chosen { numbers: Vec::with_capacity(self.batch_rows), ids: Vec::with_capacity(self.batch_rows) };
        while chosen.ids.len() < self.batch_rows {
            let Some(Reverse(mut cursor)) = self.waiting.pop() else { break };
            cursor.place = self.choose_from(cursor, &mut chosen);
            self.places.entry(cursor.group).or_default().insert(cursor.split, cursor.place);
            if cursor.place < self.settings.rows {
                self.waiting.push(Reverse(cursor));
            }
        }
        chosen
    }

    /// Chooses rows of the block at `cursor`, and says where the split goes on.
    fn choose_from(&self, cursor: Cursor, chosen: &mut Chosen) -> u64 {
        let block = cursor.place / BLOCK;
        let end = (block + 1) * BLOCK;
        for place in cursor.place..end.min(self.settings.rows) {
            let number = self.numbers.at(place);
            if numbers::stream(number) != self.settings.stream {
                continue;
            }
            chosen.numbers.push(number);
            chosen.ids.push(RowId::new(cursor.split, place));
            if chosen.ids.len() == self.batch_rows && place + 1 < end {
                return place + 1;
            }
        }
        if end > self.settings.rows { self.settings.rows } else { (block + u64::from(self.settings.splits)) * BLOCK }
    }

    fn rows(&self, numbers: &[u64]) -> Result<RecordBatch> {
        match (self.settings.stream, &self.bids) {
            (Stream::Bid, Some(bids)) => bids.rows(&self.settings, &self.chance, &self.schema, numbers),
            (Stream::Person, _) => person::rows(&self.settings, &self.chance, &self.schema, numbers),
            (Stream::Auction, _) => auction::rows(&self.settings, &self.chance, &self.schema, numbers),
            (Stream::Bid, None) => Err(Error::new(Kind::Internal, "make bids").source("no channels")),
        }
    }

    /// The place at which a split starts.
    fn start(&self, split: &Split) -> Result<u64> {
        if split.version == self.settings.version() {
            return Ok(u64::from(enumerator::place(split)?) * BLOCK);
        }
        Err(Error::new(Kind::Invalid, "resume nexmark source")
            .with("then", &split.version)
            .with("now", self.settings.version())
            .source("its settings make other rows than when the job first started; only `rows` may change"))
    }
}

impl Reader for NexmarkReader {
    fn open(&mut self, context: Context, splits: Vec<Split>, restored: Restored) -> Result<()> {
        let groups = context.identity.groups;
        for split in &splits {
            let start = self.start(split)?;
            self.places.entry(split.id.key_group(groups)).or_default().insert(split.id, start);
        }
        for (group, stored) in &restored.groups {
            position::restore(self.places.entry(*group).or_default(), stored)?;
        }
        for (group, places) in &self.places {
            let cursors = places.iter().map(|(split, place)| Cursor { place: *place, split: *split, group: *group });
            self.waiting.extend(cursors.filter(|cursor| cursor.place < self.settings.rows).map(Reverse));
        }
        Ok(())
    }

    fn poll_next(&mut self) -> Result<Read> {
        let chosen = self.choose();
        if chosen.ids.is_empty() {
            return Ok(Read::End);
        }
        Ok(Read::Batch(Batch::new(self.rows(&chosen.numbers)?, chosen.ids)?))
    }

    fn snapshot(&mut self, _epoch: Epoch) -> Result<Frozen> {
        let groups = self.places.iter().map(|(group, places)| (*group, position::encode(places))).collect();
        Ok(Box::pin(async move { Ok(Snapshot { groups, ..Snapshot::default() }) }))
    }

    fn close(&mut self) {
        self.waiting.clear();
    }
}
