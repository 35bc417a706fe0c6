//! Settings of the Nexmark source: which of its streams, how many rows, and what they are like.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One of Nexmark's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NexmarkStream {
    /// People who joined.
    Person,
    /// Auctions that were opened.
    Auction,
    /// Bids that were made.
    Bid,
}

/// What the Nexmark source makes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NexmarkSpec {
    /// The stream that is read.
    pub stream: NexmarkStream,
    /// Rows of all three streams together.
    pub rows: u64,
    /// What chance starts from.
    pub seed: u64,
    /// Rows of all streams in one second of event time.
    pub rate: u32,
    /// Rows are shuffled in groups of this many.
    pub out_of_order: u32,
    /// How many splits read side by side.
    pub splits: u32,
    /// Average size of a person, in bytes.
    pub person_bytes: u32,
    /// Average size of an auction, in bytes.
    pub auction_bytes: u32,
    /// Average size of a bid, in bytes, channel and URL not counted.
    pub bid_bytes: u32,
    /// One bid in this many is not for the hot auction.
    pub hot_auctions: u32,
    /// One bid in this many is not by the hot bidder.
    pub hot_bidders: u32,
    /// One auction in this many is not of the hot seller.
    pub hot_sellers: u32,
    /// How many of the latest people bid and sell.
    pub active_people: u32,
    /// How many of the latest auctions are bid for.
    pub auctions_in_flight: u32,
}

// === impl NexmarkStream ===

impl fmt::Display for NexmarkStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Person => "person",
            Self::Auction => "auction",
            Self::Bid => "bid",
        })
    }
}
