//! Bids: most are for the hot auction and by the hot bidder; half come through one of four channels.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use forebay_core::Result;

use super::chance::{Chance, extra_length, letters, lower, upper};
use super::columns;
use super::numbers::{self, FIRST_ID, HOT_EVERY, Numbers};
use super::{NexmarkSettings, person};

const AUCTION: u64 = 0;
const BIDDER: u64 = 1;
const PRICE: u64 = 2;
const CHANNEL: u64 = 3;
const EXTRA: u64 = 4;

/// Channels that half of all bids come through.
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
/// Channels that the other half comes through.
const CHANNELS: u32 = 10_000;
/// Bytes of a bid's numbers and time.
const USED: u64 = 32;

pub(super) fn schema() -> SchemaRef {
    columns::schema(&[
        ("auction", DataType::Int64),
        ("bidder", DataType::Int64),
        ("price", DataType::Int64),
        ("channel", DataType::Utf8),
        ("url", DataType::Utf8),
        ("date_time", columns::time()),
        ("extra", DataType::Utf8),
    ])
}

/// Makes bids.
pub(super) struct Bids {
    /// Name and address of each channel, the hot ones first.
    channels: Vec<(String, String)>,
}

// === impl Bids ===

impl Bids {
    pub fn new(chance: &Chance) -> Self {
        let hot = HOT_CHANNELS.iter().zip(0..).map(|(name, channel)| {
            let draw = chance.draw(u64::MAX - channel, 0);
            ((*name).to_string(), base_url(draw))
        });
        let other = (0..CHANNELS).map(|channel| (format!("channel-{channel}"), url(chance, channel)));
        Self { channels: hot.chain(other).collect() }
    }

    /// The columns of `schema` of the bids with these numbers.
    pub fn rows(
        &self,
        settings: &NexmarkSettings,
        chance: &Chance,
        schema: &SchemaRef,
        bids: &[u64],
    ) -> Result<RecordBatch> {
        let times = Numbers::new(settings);
        columns::rows(schema, |column| match column {
            "auction" => Ok(columns::integers(bids, |number| auction(settings, chance, number))),
            "bidder" => Ok(columns::integers(bids, |number| bidder(settings, chance, number))),
            "price" => Ok(columns::integers(bids, |number| chance.price(chance.draw(number, PRICE)))),
            "channel" => columns::texts(bids, 10, |number, out| {
                out.extend_from_slice(self.channel(chance, number).0.as_bytes());
            }),
            "url" => columns::texts(bids, 72, |number, out| {
                out.extend_from_slice(self.channel(chance, number).1.as_bytes());
            }),
            "date_time" => Ok(columns::times(bids, |number| times.millis(number))),
            "extra" => columns::texts(bids, settings.bid_bytes as usize, |number, out| {
                let draw = chance.draw(number, EXTRA);
                letters(draw, extra_length(draw, USED, settings.bid_bytes), out);
            }),
            other => Err(columns::unknown(other)),
        })
    }

    fn channel(&self, chance: &Chance, number: u64) -> &(String, String) {
        let draw = chance.draw(number, CHANNEL);
        let hot = lower(draw, 2) > 0;
        let place = if hot { upper(draw, 4) } else { 4 + upper(draw, u64::from(CHANNELS)) };
        &self.channels[place as usize]
    }
}

fn auction(settings: &NexmarkSettings, chance: &Chance, number: u64) -> i64 {
    let draw = chance.draw(number, AUCTION);
    let auction = if lower(draw, u64::from(settings.hot_auctions)) > 0 {
        numbers::last_auction(number).unwrap_or(0) / HOT_EVERY * HOT_EVERY
    } else {
        let (first, count) = numbers::auctions(number, u64::from(settings.auctions_in_flight));
        first + upper(draw, count)
    };
    (FIRST_ID + auction) as i64
}

/// The hot bidder is the second of its hundred people, so that it is never the hot seller.
fn bidder(settings: &NexmarkSettings, chance: &Chance, number: u64) -> i64 {
    let draw = chance.draw(number, BIDDER);
    if lower(draw, u64::from(settings.hot_bidders)) > 0 {
        (FIRST_ID + numbers::last_person(number) / HOT_EVERY * HOT_EVERY + 1) as i64
    } else {
        person::any(settings, draw, number)
    }
}

/// An address in three random folders.
fn base_url(draw: u64) -> String {
    let mut folders = Vec::with_capacity(15);
    letters(draw, 15, &mut folders);
    let folder = |place: usize| String::from_utf8_lossy(&folders[place * 5..][..5]).into_owned();
    format!("https://www.nexmark.com/{}/{}/{}/item.htm?query=1", folder(0), folder(1), folder(2))
}

/// Nine addresses in ten name their channel. The draws are of numbers that no row has.
fn url(chance: &Chance, channel: u32) -> String {
    let draw = chance.draw(u64::MAX - u64::from(channel), 1);
    let url = base_url(draw);
    if lower(draw, 10) == 0 {
        return url;
    }
    format!("{url}&channel_id={}", (channel.reverse_bits() as i32).unsigned_abs())
}
