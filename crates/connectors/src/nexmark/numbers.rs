//! What the number of a row says: which stream it is of, its event time, and which people and auctions exist by then.

use super::{NexmarkSettings, Stream};

/// Rows in a round: 1 person, then 3 auctions, then 46 bids.
pub(super) const ROUND: u64 = PEOPLE + AUCTIONS + BIDS;
const PEOPLE: u64 = 1;
const AUCTIONS: u64 = 3;
const BIDS: u64 = 46;
/// What shuffles a group: from one place to the next the number grows by this many, around the group.
pub(super) const STRIDE: u32 = 953;
/// Ids of people and auctions start here.
pub(super) const FIRST_ID: u64 = 1000;
/// People and auctions that do not exist yet but may be named already.
const LEAD: u64 = 10;
/// Of this many people, or auctions, one is hot.
pub(super) const HOT_EVERY: u64 = 100;
/// 2015-07-15 00:00:00 UTC, when the first row happens, in milliseconds since 1970.
const START_MILLIS: u64 = 1_436_918_400_000;

/// Numbers in the order in which they are read, and what they say.
#[derive(Debug, Clone)]
pub(super) struct Numbers {
    rate: u64,
    /// 2^64 / `rate`, rounded up: a multiplication by it is a division that is at most one too large.
    reciprocal: u64,
    group: u64,
}

// === impl Numbers ===

impl Numbers {
    pub fn new(settings: &NexmarkSettings) -> Self {
        let rate = u64::from(settings.rate);
        let reciprocal = if rate == 1 { u64::MAX } else { u64::MAX / rate + 1 };
        Self { rate, reciprocal, group: u64::from(settings.out_of_order) }
    }

    /// The number that is read at `place`.
    pub fn at(&self, place: u64) -> u64 {
        if self.group == 1 {
            return place;
        }
        place - place % self.group + place.wrapping_mul(u64::from(STRIDE)) % self.group
    }

    /// Event time in milliseconds since 1970.
    pub fn millis(&self, number: u64) -> u64 {
        let dividend = number * 1000;
        let quotient = ((u128::from(dividend) * u128::from(self.reciprocal)) >> 64) as u64;
        // At rate 1 the reciprocal does not fit, and the quotient is one too small instead.
        START_MILLIS
            + match quotient * self.rate {
                product if product > dividend => quotient - 1,
                product if dividend - product >= self.rate => quotient + 1,
                _ => quotient,
            }
    }
}

/// The stream that the row `number` is of.
pub(super) fn stream(number: u64) -> Stream {
    match number % ROUND {
        place if place < PEOPLE => Stream::Person,
        place if place < PEOPLE + AUCTIONS => Stream::Auction,
        _ => Stream::Bid,
    }
}

/// The latest person when the row `number` happens, counted from 0; of a person its own.
pub(super) fn last_person(number: u64) -> u64 {
    number / ROUND
}

/// The latest auction when the row `number` happens, counted from 0; of an auction its own. `None` before the first.
pub(super) fn last_auction(number: u64) -> Option<u64> {
    let (round, place) = (number / ROUND, number % ROUND);
    // The auctions of this round that are there: none while its person comes.
    let there = if place < PEOPLE { 0 } else { (place - PEOPLE + 1).min(AUCTIONS) };
    (round * AUCTIONS + there).checked_sub(1)
}

/// How many people may bid or sell when the row `number` happens, and the first of them. Some do not exist yet.
pub(super) fn people(number: u64, active: u64) -> (u64, u64) {
    let there = last_person(number) + 1;
    let active = there.min(active);
    (there - active, active + LEAD)
}

/// How many auctions may be bid for when the row `number` happens, and the first of them. Some do not exist yet.
pub(super) fn auctions(number: u64, in_flight: u64) -> (u64, u64) {
    let last = last_auction(number).unwrap_or(0);
    let first = last.saturating_sub(in_flight);
    (first, last - first + 1 + LEAD)
}

/// Rows after which as many auctions were opened as are in flight.
pub(super) fn rows_of_auctions(in_flight: u64) -> u64 {
    in_flight * ROUND / AUCTIONS
}
