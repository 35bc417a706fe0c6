//! Bids: most are for the hot auction and by the hot bidder; half come through one of four channels.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use forebay_core::Result;

use super::chance::{Chance, extra_length, letters, lower, upper};
use super::columns::{self, Texts};
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

    pub fn rows(&self, settings: &NexmarkSettings, chance: &Chance, bids: &[u64]) -> Result<RecordBatch> {
        let times = Numbers::new(settings);
        let (channels, urls) = self.channels(chance, bids)?;
        let columns = vec![
            columns::integers(bids, |number| auction(settings, chance, number)),
            columns::integers(bids, |number| bidder(settings, chance, number)),
            columns::integers(bids, |number| chance.price(chance.draw(number, PRICE))),
            channels,
            urls,
            columns::times(bids, |number| times.millis(number)),
            extra(settings, chance, bids)?,
        ];
        columns::rows(schema(), columns)
    }

    fn channels(&self, chance: &Chance, bids: &[u64]) -> Result<(ArrayRef, ArrayRef)> {
        let (mut names, mut urls) = (Texts::new(bids.len(), 10), Texts::new(bids.len(), 72));
        for number in bids {
            let draw = chance.draw(*number, CHANNEL);
            let hot = lower(draw, 2) > 0;
            let place = if hot { upper(draw, 4) } else { 4 + upper(draw, u64::from(CHANNELS)) };
            let (name, url) = &self.channels[place as usize];
            names.bytes.extend_from_slice(name.as_bytes());
            urls.bytes.extend_from_slice(url.as_bytes());
            names.end();
            urls.end();
        }
        Ok((names.finish()?, urls.finish()?))
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

fn extra(settings: &NexmarkSettings, chance: &Chance, bids: &[u64]) -> Result<ArrayRef> {
    let mut texts = Texts::new(bids.len(), settings.bid_bytes as usize);
    for number in bids {
        let draw = chance.draw(*number, EXTRA);
        letters(draw, extra_length(draw, USED, settings.bid_bytes), &mut texts.bytes);
        texts.end();
    }
    texts.finish()
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
