//! People: names, cities and states of short lists, so that queries find results in little data.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use forebay_core::Result;

use super::NexmarkSettings;
use super::chance::{Chance, extra_length, letters, lower, upper};
use super::columns;
use super::numbers::{self, FIRST_ID, Numbers};

const NAME: u64 = 0;
const EMAIL: u64 = 1;
const EMAIL_HOST: u64 = 2;
const CARD: u64 = 3;
const CARD_END: u64 = 4;
const CITY: u64 = 5;
const STATE: u64 = 6;
const EXTRA: u64 = 7;

const FIRST_NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
const CITIES: [&str; 10] =
    ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
/// Bytes of a person's number.
const USED: u64 = 8;

pub(super) fn schema() -> SchemaRef {
    columns::schema(&[
        ("id", DataType::Int64),
        ("name", DataType::Utf8),
        ("email_address", DataType::Utf8),
        ("credit_card", DataType::Utf8),
        ("city", DataType::Utf8),
        ("state", DataType::Utf8),
        ("date_time", columns::time()),
        ("extra", DataType::Utf8),
    ])
}

/// The person behind `draw`: any of the active ones when the row `number` happens.
pub(super) fn any(settings: &NexmarkSettings, draw: u64, number: u64) -> i64 {
    let (first, count) = numbers::people(number, u64::from(settings.active_people));
    (FIRST_ID + first + upper(draw, count)) as i64
}

/// The columns of `schema` of the people with these numbers.
pub(super) fn rows(
    settings: &NexmarkSettings,
    chance: &Chance,
    schema: &SchemaRef,
    people: &[u64],
) -> Result<RecordBatch> {
    let times = Numbers::new(settings);
    columns::rows(schema, |column| match column {
        "id" => Ok(columns::integers(people, |number| (FIRST_ID + numbers::last_person(number)) as i64)),
        "name" => columns::texts(people, 16, |number, out| name(chance, number, out)),
        "email_address" => columns::texts(people, 16, |number, out| email(chance, number, out)),
        "credit_card" => columns::texts(people, 19, |number, out| card(chance, number, out)),
        "city" => columns::texts(people, 8, |number, out| out.extend_from_slice(pick(chance, number, CITY, &CITIES))),
        "state" => columns::texts(people, 2, |number, out| out.extend_from_slice(pick(chance, number, STATE, &STATES))),
        "date_time" => Ok(columns::times(people, |number| times.millis(number))),
        "extra" => columns::texts(people, settings.person_bytes as usize, |number, out| {
            let draw = chance.draw(number, EXTRA);
            letters(draw, extra_length(draw, used(chance, number, out), settings.person_bytes), out);
        }),
        other => Err(columns::unknown(other)),
    })
}

fn pick(chance: &Chance, number: u64, place: u64, list: &[&'static str]) -> &'static [u8] {
    list[upper(chance.draw(number, place), list.len() as u64) as usize].as_bytes()
}

fn name(chance: &Chance, number: u64, out: &mut Vec<u8>) {
    let last = lower(chance.draw(number, NAME), LAST_NAMES.len() as u64);
    out.extend_from_slice(pick(chance, number, NAME, &FIRST_NAMES));
    out.push(b' ');
    out.extend_from_slice(LAST_NAMES[last as usize].as_bytes());
}

fn email(chance: &Chance, number: u64, out: &mut Vec<u8>) {
    let (user, host) = (chance.draw(number, EMAIL), chance.draw(number, EMAIL_HOST));
    letters(user, 3 + upper(user, 4) as usize, out);
    out.push(b'@');
    letters(host, 3 + upper(host, 2) as usize, out);
    out.extend_from_slice(b".com");
}

/// Four groups of four digits.
fn card(chance: &Chance, number: u64, out: &mut Vec<u8>) {
    let (start, end) = (chance.draw(number, CARD), chance.draw(number, CARD_END));
    let groups = [upper(start, 10_000), lower(start, 10_000), upper(end, 10_000), lower(end, 10_000)];
    for (place, group) in groups.into_iter().enumerate() {
        if place > 0 {
            out.push(b' ');
        }
        out.extend([1000, 100, 10, 1].map(|unit| b'0' + (group / unit % 10) as u8));
    }
}

/// Bytes of a person without `extra`; the end of `scratch` is written to and left as it was.
fn used(chance: &Chance, number: u64, scratch: &mut Vec<u8>) -> u64 {
    let start = scratch.len();
    name(chance, number, scratch);
    email(chance, number, scratch);
    card(chance, number, scratch);
    let texts = scratch.len() - start + pick(chance, number, CITY, &CITIES).len() + 2;
    scratch.truncate(start);
    USED + texts as u64
}
