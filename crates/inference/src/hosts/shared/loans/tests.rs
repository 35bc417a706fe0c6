//! A child that answers as it should, and one that does not: what it can reach, and what its memory costs.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Int32Array, StringArray};
use arrow::datatypes::{DataType, Field, Float32Type, Schema};
use forebay_core::Kind;
use proptest::prelude::*;

use super::*;

const VALUES: usize = 16 << 10;
const NO_BUFFER: [u64; 3] = [0; 3];

fn loans() -> Loans {
    Loans::new(Arena::new(Slab::written_here(64 << 20).unwrap())).unwrap()
}

fn numbers() -> ArrayRef {
    Arc::new(Float32Array::from_iter_values((0..VALUES).map(|value| value as f32)))
}

fn rows() -> RecordBatch {
    RecordBatch::try_from_iter([("x", numbers())]).unwrap()
}

fn lent(loans: &Loans) -> (CallTable, Lent) {
    loans.lend(&rows()).unwrap().unwrap()
}

/// Writes as the child does.
fn write(loans: &Loans, start: u64, bytes: &[u8]) {
    assert_eq!(rustix::io::pwrite(&*loans.answers, bytes, start).unwrap(), bytes.len());
}

/// An answer of one column, whose parts are `words`.
fn answer(data_type: DataType, bytes: u64, words: &[&[u64]]) -> AnswerTable {
    let schema = Arc::new(Schema::new(vec![Field::new("y", data_type, true)]));
    AnswerTable {
        bytes,
        rows: Table { words: words.concat(), schema: LastSchema::default().encoded(&schema).unwrap() },
    }
}

/// `VALUES` numbers at `start` of the answers.
fn numbers_at(start: u64) -> AnswerTable {
    let (length, bytes) = (VALUES as u64, 4 * VALUES as u64);
    answer(DataType::Float32, bytes, &[&[length, length], &NO_BUFFER, &[ANSWERS, start, bytes]])
}

fn write_numbers(loans: &Loans, start: u64) {
    let values = numbers();
    write(loans, start, values.to_data().buffers()[0].as_slice());
}

fn refused(loans: &Loans, lent: &mut Lent, answer: &AnswerTable) {
    assert_eq!(loans.read(answer, lent, None).unwrap_err().kind(), Kind::Corrupt, "{:?}", answer.rows.words);
}

#[test]
fn rows_lie_where_the_table_says() {
    let loans = loans();
    let text: ArrayRef =
        Arc::new(StringArray::from_iter((0..VALUES).map(|row| (row % 3 > 0).then(|| row.to_string()))));
    let rows = RecordBatch::try_from_iter([("x", numbers()), ("text", text)]).unwrap().slice(7, VALUES - 8);
    let (table, lent) = loans.lend(&rows).unwrap().unwrap();
    let back = read(&table.rows.words, rows.schema_ref(), &lent, false).unwrap();
    assert_eq!(back, rows);
}

#[test]
fn what_was_made_in_shared_memory_is_not_copied() {
    let loans = loans();
    let mut draft = loans.requests.draft(4 * VALUES).unwrap();
    draft.bytes_mut().fill(1);
    let lease = draft.freeze();
    let values = lease.buffer(4 * VALUES).unwrap();
    let made: ArrayRef = Arc::new(Int32Array::new(values.into(), None));
    let (table, _lent) = loans.lend(&RecordBatch::try_from_iter([("x", made)]).unwrap()).unwrap().unwrap();
    assert_eq!(table.rows.words[5..], [REQUESTS, lease.start() as u64, 4 * VALUES as u64]);
    assert_eq!(loans.requests.committed_bytes(), 4 * VALUES);
}

#[test]
fn few_bytes_and_odd_types_stay_on_the_socket() {
    let loans = loans();
    assert!(loans.lend(&rows().slice(0, 8000)).unwrap().is_none());
    let view: ArrayRef = Arc::new(arrow::array::StringViewArray::from_iter_values((0..VALUES).map(|_| "x".repeat(20))));
    assert!(loans.lend(&RecordBatch::try_from_iter([("v", view)]).unwrap()).unwrap().is_none());
    loans.expect(1 << 20);
    assert!(loans.lend(&rows().slice(0, 1)).unwrap().is_some(), "a large answer is expected");
}

#[test]
fn large_values_stay_where_the_child_wrote_them_until_they_are_dropped() {
    let loans = loans();
    let (call, mut lent_first) = lent(&loans);
    let start = call.answers.0;
    write_numbers(&loans, start);
    let read = loans.read(&numbers_at(start), &mut lent_first, None).unwrap();
    loans.finish(Some(lent_first), None);
    assert_eq!(read.column(0), &numbers());
    assert_ne!(lent(&loans).0.answers.0, start, "lent again too early");
    write(&loans, start, &1e9f32.to_le_bytes());
    assert_eq!(read.column(0).as_primitive::<Float32Type>().value(0), 1e9, "copied");
    drop(read);
    assert_eq!(lent(&loans).0.answers.0, start);
}

#[test]
fn a_thousand_calls_take_the_memory_of_one() {
    let loans = loans();
    let mut most = [0, 0];
    for round in 0..1000 {
        let (call, mut lent) = lent(&loans);
        write_numbers(&loans, call.answers.0);
        let read = loans.read(&numbers_at(call.answers.0), &mut lent, None).unwrap();
        loans.finish(Some(lent), None);
        assert_eq!(read.num_rows(), VALUES);
        let now = [loans.requests.committed_bytes(), loans.answers.committed_bytes()];
        assert!(round == 0 || now == most, "{now:?} after {most:?}");
        most = now;
    }
}

#[test]
fn what_the_child_still_looks_at_is_copied_and_not_lent_again() {
    let loans = loans();
    let (call, mut lent_first) = lent(&loans);
    let start = call.answers.0;
    write_numbers(&loans, start);
    let held = [Held { call: call.call, rows: true, answers: true }];
    let read = loans.read(&numbers_at(start), &mut lent_first, Some(&held)).unwrap();
    loans.finish(Some(lent_first), Some(&held));
    write(&loans, start, &[0; 64]);
    assert_eq!(read.column(0), &numbers(), "not copied");
    let (second, lent_second) = lent(&loans);
    assert!(second.answers.0 != start && second.rows.words[6] != call.rows.words[6], "lent while it is held");
    loans.finish(Some(lent_second), None);
    assert_ne!(lent(&loans).0.answers.0, start, "still held: nothing new was said");
    loans.finish(None, Some(&[]));
    assert_eq!(lent(&loans).0.answers.0, start);
}

#[test]
fn memory_goes_with_its_replica_and_the_last_of_its_answers() {
    let loans = loans();
    let slabs = loans.arenas().map(|arena| Arc::downgrade(&arena));
    let (call, mut lent_first) = lent(&loans);
    write_numbers(&loans, call.answers.0);
    let read = loans.read(&numbers_at(call.answers.0), &mut lent_first, None).unwrap();
    loans.finish(Some(lent_first), Some(&[Held { call: call.call, rows: true, answers: false }]));
    let (_, in_flight) = lent(&loans);
    drop((loans, in_flight));
    assert_eq!(slabs.each_ref().map(|slab| slab.strong_count() > 0), [false, true], "what a worker held went with it");
    drop(read);
    assert_eq!(slabs[1].strong_count(), 0);
}

#[test]
fn an_answer_may_lie_in_its_own_rows() {
    let loans = loans();
    let (call, mut lent) = lent(&loans);
    let (length, place) = (VALUES as u64, &call.rows.words[5..8]);
    let echo = answer(DataType::Float32, 0, &[&[length, length], &NO_BUFFER, place]);
    let read = loans.read(&echo, &mut lent, None).unwrap();
    loans.finish(Some(lent), None);
    assert_eq!(read.column(0), &numbers());
    assert!(loans.requests.find(&read.column(0).to_data().buffers()[0]).is_some(), "copied");
}

#[test]
fn places_outside_of_the_call_are_refused() {
    let loans = loans();
    let (other, _lent_other) = lent(&loans);
    let (call, mut lent) = lent(&loans);
    let (start, bytes) = call.answers;
    let length = VALUES as u64;
    let one = |slab: u64, at: u64, long: u64| {
        answer(DataType::Float32, u64::MAX, &[&[length, length], &NO_BUFFER, &[slab, at, long]])
    };
    let size = 4 * length;
    for bad in [
        one(ANSWERS, start + bytes - 8, size),
        one(ANSWERS, start, size - 1),
        one(ANSWERS, start, u64::MAX),
        one(ANSWERS, u64::MAX - 8, size),
        one(ANSWERS, other.answers.0, size),
        one(REQUESTS, other.rows.words[6], size),
        one(REQUESTS, SLAB_BYTES as u64, size),
        one(3, start, size),
        answer(DataType::Float32, u64::MAX, &[&[length, u64::MAX], &NO_BUFFER, &[ANSWERS, start, size]]),
        answer(DataType::Float32, u64::MAX, &[&[length, length], &[ANSWERS, start, 1], &[ANSWERS, start, size]]),
        answer(DataType::Float32, u64::MAX, &[&[length - 1, length], &NO_BUFFER, &[ANSWERS, start, size]]),
        answer(DataType::Float32, u64::MAX, &[&[length, length], &NO_BUFFER]),
        answer(DataType::Utf8View, u64::MAX, &[&[length]]),
    ] {
        refused(&loans, &mut lent, &bad);
    }
    assert!(loans.read(&one(ANSWERS, start, size), &mut lent, None).is_ok());
}

#[test]
fn values_at_odd_places_are_copied() {
    let loans = loans();
    let (call, mut lent) = lent(&loans);
    let at = call.answers.0 + 2;
    write_numbers(&loans, at);
    let read = loans.read(&AnswerTable { bytes: u64::MAX, ..numbers_at(at) }, &mut lent, None).unwrap();
    assert_eq!(read.column(0), &numbers());
}

#[test]
fn offsets_and_text_are_copied_before_they_are_checked() {
    let loans = loans();
    let (call, mut lent) = lent(&loans);
    let start = call.answers.0;
    let told = |start: u64| {
        let words: [&[u64]; 4] = [&[2, 2], &NO_BUFFER, &[ANSWERS, start, 12], &[ANSWERS, start + 64, 4]];
        answer(DataType::Utf8, u64::MAX, &words)
    };
    let offsets = |offsets: [i32; 3]| offsets.map(i32::to_le_bytes).concat();
    write(&loans, start, &offsets([0, 1, 4]));
    write(&loans, start + 64, b"abcd");
    let read = loans.read(&told(start), &mut lent, None).unwrap();
    write(&loans, start, &offsets([0, 1, i32::MAX]));
    write(&loans, start + 64, &[0xff; 4]);
    assert_eq!(read.column(0).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("a"), Some("bcd")]);
    refused(&loans, &mut lent, &told(start));
    write(&loans, start, &offsets([0, 1, 4]));
    refused(&loans, &mut lent, &told(start));
}

proptest! {
    #[test]
    fn no_answer_makes_us_panic(
        which in 0usize..5,
        used in any::<u64>(),
        words in prop::collection::vec(prop_oneof![0u64..4, 0u64..200_000, any::<u64>()], 0..24),
        noise in prop::collection::vec(any::<u8>(), 512),
    ) {
        let item = Arc::new(Field::new("item", DataType::Int16, true));
        let types = [
            DataType::Float32,
            DataType::Utf8,
            DataType::List(Arc::clone(&item)),
            DataType::FixedSizeList(Arc::clone(&item), 3),
            DataType::Struct(vec![item].into()),
        ];
        let loans = loans();
        let (call, mut lent) = lent(&loans);
        write(&loans, call.answers.0, &noise);
        let told = answer(types[which].clone(), used, &[&words]);
        if let Ok(read) = loans.read(&told, &mut lent, None) {
            prop_assert!(read.column(0).to_data().validate_full().is_ok());
        }
    }
}
