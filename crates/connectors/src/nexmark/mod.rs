//! Nexmark as a source: the people, auctions and bids of a made-up auction house, without end and without a file.
//!
//! The benchmark of Tucker et al. ("NEXMark", 2002) as its public generators have it (Apache Beam's `sdk/nexmark` and
//! github.com/nexmark/nexmark): the same columns, proportions, hot keys, sizes and order of numbers. What differs is
//! chance: there a row is drawn from a generator that lives on, here every row is a pure function of the seed and its
//! number, so that any position restores exactly, any split is made alone, and another language makes the same rows.
//!
//! Rows of the three streams are numbered together, 50 in a round: 1 person, 3 auctions, 46 bids. A job reads one stream
//! at a time; its numbers have gaps where the other streams' rows are.
//!
//! Nothing here waits: rows come as fast as they are taken, whatever their event time says.

mod auction;
mod bid;
mod chance;
mod columns;
mod enumerator;
mod numbers;
mod person;
mod position;
mod reader;
#[cfg(test)]
mod tests;

use std::fmt;

use arrow::datatypes::SchemaRef;
use forebay_core::{Error, Kind, Result};

pub use enumerator::NexmarkEnumerator;
pub use reader::NexmarkReader;

/// Most rows of all streams together: their times then stay far below the end of what a timestamp holds.
const ROWS_MAX: u64 = 1 << 40;
/// Most splits; more would only make positions larger.
const SPLITS_MAX: u32 = 4096;
/// Most of anything that a draw chooses from: a draw has 32 bits.
const COUNT_MAX: u64 = 1 << 24;
/// Most bytes of an average row, so that a batch of any size fits 32-bit offsets.
const ROW_BYTES_MAX: u32 = 16 << 10;

/// Which of the three streams is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// People who joined.
    Person,
    /// Auctions that were opened.
    Auction,
    /// Bids that were made.
    Bid,
}

/// What the rows are like. Every setting but `rows` changes the content of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NexmarkSettings {
    /// Which stream is read.
    pub stream: Stream,
    /// How many rows all three streams have together.
    pub rows: u64,
    /// What chance starts from.
    pub seed: u64,
    /// Rows of all streams in one second of event time.
    pub rate: u32,
    /// Rows are shuffled in groups of this many numbers; 1 leaves them in the order of their time.
    pub out_of_order: u32,
    /// How many splits read side by side.
    pub splits: u32,
    /// Average size of a person, in bytes.
    pub person_bytes: u32,
    /// Average size of an auction, in bytes.
    pub auction_bytes: u32,
    /// Average size of a bid, in bytes, channel and URL not counted.
    pub bid_bytes: u32,
    /// One bid in this many is for any open auction, the others for the hot one.
    pub hot_auctions: u32,
    /// One bid in this many is by any active person, the others by the hot one.
    pub hot_bidders: u32,
    /// One auction in this many is of any active person, the others of the hot one.
    pub hot_sellers: u32,
    /// How many of the latest people bid and sell.
    pub active_people: u32,
    /// How many of the latest auctions are bid for.
    pub auctions_in_flight: u32,
}

// === impl Stream ===

impl Stream {
    /// The columns of its rows. None is ever null; times are in microseconds, of whole milliseconds.
    pub fn schema(self) -> SchemaRef {
        match self {
            Stream::Person => person::schema(),
            Stream::Auction => auction::schema(),
            Stream::Bid => bid::schema(),
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stream::Person => "person",
            Stream::Auction => "auction",
            Stream::Bid => "bid",
        })
    }
}

// === impl NexmarkSettings ===

impl NexmarkSettings {
    /// The public generators' settings for `rows` rows of all streams, of which `stream` is read.
    pub fn new(stream: Stream, rows: u64) -> Self {
        Self {
            stream,
            rows,
            seed: 0,
            rate: 10_000,
            out_of_order: 1,
            splits: 64,
            person_bytes: 200,
            auction_bytes: 500,
            bid_bytes: 100,
            hot_auctions: 2,
            hot_bidders: 4,
            hot_sellers: 4,
            active_people: 1000,
            auctions_in_flight: 100,
        }
    }

    /// Whether rows can be made of this.
    ///
    /// # Errors
    /// `Invalid`, naming the setting and its range.
    pub fn check(&self) -> Result<()> {
        let at_least_one = [
            ("out_of_order", self.out_of_order),
            ("splits", self.splits),
            ("hot_auctions", self.hot_auctions),
            ("hot_bidders", self.hot_bidders),
            ("hot_sellers", self.hot_sellers),
            ("active_people", self.active_people),
            ("auctions_in_flight", self.auctions_in_flight),
        ];
        for (name, value) in at_least_one {
            within(name, u64::from(value), 1, COUNT_MAX)?;
        }
        within("rate", u64::from(self.rate), 1, u64::from(u32::MAX))?;
        within("splits", u64::from(self.splits), 1, u64::from(SPLITS_MAX))?;
        within("rows", self.rows, 0, ROWS_MAX)?;
        for (name, value) in
            [("person_bytes", self.person_bytes), ("auction_bytes", self.auction_bytes), ("bid_bytes", self.bid_bytes)]
        {
            within(name, u64::from(value), 0, u64::from(ROW_BYTES_MAX))?;
        }
        if self.out_of_order.is_multiple_of(numbers::STRIDE) {
            return Err(wrong("out_of_order")
                .with("value", self.out_of_order)
                .source(format!("a multiple of {} would read one row of a group again and again", numbers::STRIDE)));
        }
        Ok(())
    }

    /// Says which rows these are: two settings of one version make the same row of every number.
    pub(crate) fn version(&self) -> String {
        let content = Self { rows: 0, ..self.clone() };
        format!("nexmark-1 {content:?}")
    }
}

fn within(name: &'static str, value: u64, least: u64, most: u64) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(wrong(name).with("value", value).source(format!("accepted: {least} to {most}")))
}

fn wrong(name: &'static str) -> Error {
    Error::new(Kind::Invalid, "set up nexmark source").with("setting", name)
}
