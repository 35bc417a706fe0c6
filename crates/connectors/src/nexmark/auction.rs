//! Auctions: most are of the hot seller; each closes after about the time in which as many open as are in flight.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use forebay_core::Result;

use super::chance::{Chance, extra_length, letters, lower, upper, words};
use super::columns::{self, Texts};
use super::numbers::{self, FIRST_ID, HOT_EVERY, Numbers};
use super::{NexmarkSettings, person};

const SELLER: u64 = 0;
const CATEGORY: u64 = 1;
const INITIAL_BID: u64 = 2;
const RESERVE: u64 = 3;
const OPEN: u64 = 4;
const ITEM: u64 = 5;
const DESCRIPTION: u64 = 6;
const EXTRA: u64 = 7;

/// Categories, few so that queries find results in little data, and the first of them.
const CATEGORIES: u64 = 5;
const FIRST_CATEGORY: u64 = 10;
/// Most letters of a name and of a description, and one.
const ITEM_LENGTH: u64 = 20;
const DESCRIPTION_LENGTH: u64 = 100;
/// Bytes of an auction's numbers and times.
const USED: u64 = 48;

pub(super) fn schema() -> SchemaRef {
    columns::schema(&[
        ("id", DataType::Int64),
        ("item_name", DataType::Utf8),
        ("description", DataType::Utf8),
        ("initial_bid", DataType::Int64),
        ("reserve", DataType::Int64),
        ("date_time", columns::time()),
        ("expires", columns::time()),
        ("seller", DataType::Int64),
        ("category", DataType::Int64),
        ("extra", DataType::Utf8),
    ])
}

pub(super) fn rows(settings: &NexmarkSettings, chance: &Chance, auctions: &[u64]) -> Result<RecordBatch> {
    let times = Numbers::new(settings);
    let text = |place, length| {
        let mut texts = Texts::new(auctions.len(), length as usize);
        for number in auctions {
            words(chance.draw(*number, place), length, &mut texts.bytes);
            texts.end();
        }
        texts
    };
    let (item, description) = (text(ITEM, ITEM_LENGTH), text(DESCRIPTION, DESCRIPTION_LENGTH));
    let extra = extra(settings, chance, auctions, [&item, &description])?;
    let initial = |number| chance.price(chance.draw(number, INITIAL_BID));
    let columns = vec![
        columns::integers(auctions, |number| (FIRST_ID + numbers::last_auction(number).unwrap_or(0)) as i64),
        item.finish()?,
        description.finish()?,
        columns::integers(auctions, initial),
        columns::integers(auctions, |number| initial(number) + chance.price(chance.draw(number, RESERVE))),
        columns::times(auctions, |number| times.millis(number)),
        columns::times(auctions, |number| expires(settings, chance, &times, number)),
        columns::integers(auctions, |number| seller(settings, chance, number)),
        columns::integers(auctions, |number| {
            (FIRST_CATEGORY + upper(chance.draw(number, CATEGORY), CATEGORIES)) as i64
        }),
        extra,
    ];
    columns::rows(schema(), columns)
}

/// The hot seller is the first of its hundred people.
fn seller(settings: &NexmarkSettings, chance: &Chance, number: u64) -> i64 {
    let draw = chance.draw(number, SELLER);
    if lower(draw, u64::from(settings.hot_sellers)) > 0 {
        (FIRST_ID + numbers::last_person(number) / HOT_EVERY * HOT_EVERY) as i64
    } else {
        person::any(settings, draw, number)
    }
}

fn expires(settings: &NexmarkSettings, chance: &Chance, times: &Numbers, number: u64) -> u64 {
    let later = number + numbers::rows_of_auctions(u64::from(settings.auctions_in_flight));
    let (now, later) = (times.millis(number), times.millis(later));
    now + 1 + upper(chance.draw(number, OPEN), ((later - now) * 2).clamp(1, 1 << 32))
}

fn extra(settings: &NexmarkSettings, chance: &Chance, auctions: &[u64], texts: [&Texts; 2]) -> Result<ArrayRef> {
    let mut extra = Texts::new(auctions.len(), settings.auction_bytes as usize);
    for (row, number) in auctions.iter().enumerate() {
        let draw = chance.draw(*number, EXTRA);
        let used = USED + texts.iter().map(|text| text.length(row)).sum::<u64>();
        letters(draw, extra_length(draw, used, settings.auction_bytes), &mut extra.bytes);
        extra.end();
    }
    extra.finish()
}
