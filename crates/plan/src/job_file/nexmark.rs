//! The `nexmark` table of a source. Ranges are the connector's to check; defaults are the public generators'.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::nexmark::{NexmarkSpec, NexmarkStream};

/// What only the Nexmark source understands.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NexmarkTable {
    /// Which of the three streams is read.
    pub stream: NexmarkStream,
    /// Rows of all three streams together: of every 50, 1 is a person, 3 are auctions and 46 bids.
    pub rows: u64,
    /// What chance starts from; another seed makes other rows.
    #[serde(default)]
    pub seed: u64,
    /// Rows of all streams in one second of event time.
    #[serde(default = "number::<10_000>")]
    pub rate: NonZeroU32,
    /// Rows are shuffled in groups of this many; 1 leaves them in the order of their time.
    #[serde(default = "number::<1>")]
    pub out_of_order: NonZeroU32,
    /// How many splits read side by side.
    #[serde(default = "number::<64>")]
    pub splits: NonZeroU32,
    /// Average size of a person, in bytes.
    #[serde(default = "number::<200>")]
    pub person_bytes: NonZeroU32,
    /// Average size of an auction, in bytes.
    #[serde(default = "number::<500>")]
    pub auction_bytes: NonZeroU32,
    /// Average size of a bid, in bytes, channel and URL not counted.
    #[serde(default = "number::<100>")]
    pub bid_bytes: NonZeroU32,
    /// One bid in this many is for any open auction, the others for the hot one.
    #[serde(default = "number::<2>")]
    pub hot_auctions: NonZeroU32,
    /// One bid in this many is by any active person, the others by the hot one.
    #[serde(default = "number::<4>")]
    pub hot_bidders: NonZeroU32,
    /// One auction in this many is of any active person, the others of the hot one.
    #[serde(default = "number::<4>")]
    pub hot_sellers: NonZeroU32,
    /// How many of the latest people bid and sell.
    #[serde(default = "number::<1000>")]
    pub active_people: NonZeroU32,
    /// How many of the latest auctions are bid for.
    #[serde(default = "number::<100>")]
    pub auctions_in_flight: NonZeroU32,
}

fn number<const N: u32>() -> NonZeroU32 {
    NonZeroU32::new(N).expect("every default is written with a number above zero")
}

// === impl NexmarkTable ===

impl NexmarkTable {
    /// The table as settings.
    pub(super) fn spec(&self) -> NexmarkSpec {
        NexmarkSpec {
            stream: self.stream,
            rows: self.rows,
            seed: self.seed,
            rate: self.rate.get(),
            out_of_order: self.out_of_order.get(),
            splits: self.splits.get(),
            person_bytes: self.person_bytes.get(),
            auction_bytes: self.auction_bytes.get(),
            bid_bytes: self.bid_bytes.get(),
            hot_auctions: self.hot_auctions.get(),
            hot_bidders: self.hot_bidders.get(),
            hot_sellers: self.hot_sellers.get(),
            active_people: self.active_people.get(),
            auctions_in_flight: self.auctions_in_flight.get(),
        }
    }
}
