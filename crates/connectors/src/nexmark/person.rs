//! People: names, cities and states of short lists, so that queries find results in little data.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use forebay_core::Result;

use super::NexmarkSettings;
use super::chance::{Chance, extra_length, letters, lower, upper};
use super::columns::{self, Texts};
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

pub(super) fn rows(settings: &NexmarkSettings, chance: &Chance, people: &[u64]) -> Result<RecordBatch> {
    let times = Numbers::new(settings);
    let mut texts: [Texts; 5] = std::array::from_fn(|_| Texts::new(people.len(), 16));
    for number in people {
        write(chance, *number, &mut texts);
    }
    let extra = extra(settings, chance, people, &texts)?;
    let [name, email, card, city, state] = texts;
    let columns = vec![
        columns::integers(people, |number| (FIRST_ID + numbers::last_person(number)) as i64),
        name.finish()?,
        email.finish()?,
        card.finish()?,
        city.finish()?,
        state.finish()?,
        columns::times(people, |number| times.millis(number)),
        extra,
    ];
    columns::rows(schema(), columns)
}

/// Appends name, address, card, city and state of one person.
fn write(chance: &Chance, number: u64, [name, email, card, city, state]: &mut [Texts; 5]) {
    let pick = |draw: u64, list: &[&'static str]| list[upper(draw, list.len() as u64) as usize];
    let draw = chance.draw(number, NAME);
    name.bytes.extend_from_slice(pick(draw, &FIRST_NAMES).as_bytes());
    name.bytes.push(b' ');
    name.bytes.extend_from_slice(LAST_NAMES[lower(draw, LAST_NAMES.len() as u64) as usize].as_bytes());

    let (user, host) = (chance.draw(number, EMAIL), chance.draw(number, EMAIL_HOST));
    letters(user, 3 + upper(user, 4) as usize, &mut email.bytes);
    email.bytes.push(b'@');
    letters(host, 3 + upper(host, 2) as usize, &mut email.bytes);
    email.bytes.extend_from_slice(b".com");

    let (start, end) = (chance.draw(number, CARD), chance.draw(number, CARD_END));
    let groups = [upper(start, 10_000), lower(start, 10_000), upper(end, 10_000), lower(end, 10_000)];
    for (place, group) in groups.into_iter().enumerate() {
        if place > 0 {
            card.bytes.push(b' ');
        }
        card.bytes.extend([1000, 100, 10, 1].map(|unit| b'0' + (group / unit % 10) as u8));
    }
    city.bytes.extend_from_slice(pick(chance.draw(number, CITY), &CITIES).as_bytes());
    state.bytes.extend_from_slice(pick(chance.draw(number, STATE), &STATES).as_bytes());
    for text in [name, email, card, city, state] {
        text.end();
    }
}

fn extra(settings: &NexmarkSettings, chance: &Chance, people: &[u64], texts: &[Texts; 5]) -> Result<ArrayRef> {
    let mut extra = Texts::new(people.len(), settings.person_bytes as usize);
    for (row, number) in people.iter().enumerate() {
        let draw = chance.draw(*number, EXTRA);
        let used = USED + texts.iter().map(|text| text.length(row)).sum::<u64>();
        letters(draw, extra_length(draw, used, settings.person_bytes), &mut extra.bytes);
        extra.end();
    }
    extra.finish()
}
