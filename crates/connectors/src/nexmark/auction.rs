//! Auctions: most are of the hot seller; each closes after about the time in which as many open as are in flight.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use forebay_core::Result;

use super::chance::{Chance, extra_length, letters, lower, upper, words};
use super::columns;
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

/// The columns of `schema` of the auctions with these numbers.
pub(super) fn rows(
    settings: &NexmarkSettings,
    chance: &Chance,
    schema: &SchemaRef,
    auctions: &[u64],
) -> Result<RecordBatch> {
    let times = Numbers::new(settings);
    let price = |number, place| chance.price(chance.draw(number, place));
    let integers = |value: &dyn Fn(u64) -> i64| Ok(columns::integers(auctions, value));
    columns::rows(schema, |column| match column {
        "id" => integers(&|number| (FIRST_ID + numbers::last_auction(number).unwrap_or(0)) as i64),
        "item_name" => columns::texts(auctions, 12, |number, out| item(chance, number, out)),
        "description" => columns::texts(auctions, 52, |number, out| description(chance, number, out)),
        "initial_bid" => integers(&|number| price(number, INITIAL_BID)),
        "reserve" => integers(&|number| price(number, INITIAL_BID) + price(number, RESERVE)),
        "date_time" => Ok(columns::times(auctions, |number| times.millis(number))),
        "expires" => Ok(columns::times(auctions, |number| expires(settings, chance, &times, number))),
        "seller" => integers(&|number| seller(settings, chance, number)),
        "category" => integers(&|number| (FIRST_CATEGORY + upper(chance.draw(number, CATEGORY), CATEGORIES)) as i64),
        "extra" => columns::texts(auctions, settings.auction_bytes as usize, |number, out| {
            let draw = chance.draw(number, EXTRA);
            letters(draw, extra_length(draw, used(chance, number, out), settings.auction_bytes), out);
        }),
        other => Err(columns::unknown(other)),
    })
}

fn item(chance: &Chance, number: u64, out: &mut Vec<u8>) {
    words(chance.draw(number, ITEM), ITEM_LENGTH, out);
}

fn description(chance: &Chance, number: u64, out: &mut Vec<u8>) {
    words(chance.draw(number, DESCRIPTION), DESCRIPTION_LENGTH, out);
}

/// Bytes of an auction without `extra`; the end of `scratch` is written to and left as it was.
fn used(chance: &Chance, number: u64, scratch: &mut Vec<u8>) -> u64 {
    let start = scratch.len();
    item(chance, number, scratch);
    description(chance, number, scratch);
    let texts = scratch.len() - start;
    scratch.truncate(start);
    USED + texts as u64
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
