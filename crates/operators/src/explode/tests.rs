//! What becomes of lists, and of the ids of their rows.

use std::collections::BTreeSet;

use arrow::array::{BinaryArray, ListArray, StringArray};
use arrow::datatypes::{Field, Int64Type, Schema};
use forebay_core::testing::ManualEnv;

use super::*;

type List = Option<Vec<Option<i64>>>;

fn rows(lists: Vec<List>, others: Vec<List>) -> RecordBatch {
    let names = StringArray::from_iter_values((0..lists.len()).map(|place| format!("r{place}")));
    let columns: [ArrayRef; 3] = [
        Arc::new(names),
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(others)),
    ];
    RecordBatch::try_from_iter_with_nullable(["name", "a", "b"].into_iter().zip(columns).map(|(n, c)| (n, c, true)))
        .unwrap()
}

fn batch(rows: RecordBatch) -> Batch {
    let ids: Vec<RowId> = (0..rows.num_rows()).map(|row| RowId::new(SplitId(1), row as u64)).collect();
    Batch::new(rows, ids).unwrap()
}

fn explode(columns: &[usize], ignore: bool, input: &Schema) -> Explode {
    let field = |(place, field): (usize, &Arc<Field>)| match field.data_type() {
        DataType::List(inner) if columns.contains(&place) => {
            Arc::new(Field::new(field.name(), inner.data_type().clone(), true))
        }
        _ => Arc::clone(field),
    };
    let fields: Vec<_> = input.fields().iter().enumerate().map(field).collect();
    let mut explode = Explode::new(columns.to_vec(), ignore, Arc::new(Schema::new(fields)));
    explode.open(crate::tests::context(&ManualEnv::new(1)), Restored::default()).unwrap();
    explode
}

/// Everything that comes out of one batch: rows, and reasons of dead letters.
fn out(explode: &mut Explode, batch: Batch) -> (Vec<Batch>, Vec<String>) {
    explode.on_batch(batch).unwrap();
    let (mut batches, mut letters) = (Vec::new(), Vec::new());
    while let Some(out) = explode.poll().unwrap() {
        match out {
            Out::Batch(batch) => batches.push(batch),
            Out::DeadLetters(found) => letters.extend(found.into_iter().map(|letter| letter.reason)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((explode.room(), explode.drain().unwrap()), (Room::Room, Drained::Done));
    (batches, letters)
}

fn text(batches: &[Batch], column: &str) -> String {
    let cell = |batch: &Batch, row: usize| {
        let name = batch.rows().column_by_name("name").unwrap().as_string::<i32>().value(row).to_string();
        let values = batch.rows().column_by_name(column).unwrap().as_primitive::<Int64Type>();
        format!("{name}={}", if values.is_null(row) { "null".to_string() } else { values.value(row).to_string() })
    };
    let cells = batches.iter().flat_map(|batch| (0..batch.len()).map(move |row| cell(batch, row)));
    cells.collect::<Vec<_>>().join(" ")
}

#[test]
fn each_element_is_a_row_and_an_empty_list_one_with_null() {
    let lists = || vec![Some(vec![Some(1), None, Some(3)]), Some(vec![]), None, Some(vec![Some(4)])];
    let given = batch(rows(lists(), lists()));
    let (batches, letters) = out(&mut explode(&[1], false, &given.schema()), given.clone());
    assert_eq!(text(&batches, "a"), "r0=1 r0=null r0=3 r1=null r2=null r3=4");
    assert!(letters.is_empty());
    let (batches, _) = out(&mut explode(&[1], true, &given.schema()), given.clone());
    assert_eq!(text(&batches, "a"), "r0=1 r0=null r0=3 r3=4");
    let none = given.slice(1, 2);
    assert!(out(&mut explode(&[1], true, &none.schema()), none).0.is_empty());
    let tail = given.slice(3, 1);
    assert_eq!(text(&out(&mut explode(&[2], false, &given.schema()), tail).0, "b"), "r3=4");
}

#[test]
fn lists_of_a_row_that_go_together_are_equally_long_or_a_dead_letter() {
    let first = vec![Some(vec![Some(1), Some(2)]), Some(vec![Some(3)]), None, Some(vec![Some(5)])];
    let second = vec![Some(vec![Some(6), Some(7)]), None, Some(vec![Some(8), Some(9)]), Some(vec![])];
    let given = batch(rows(first, second));
    let (batches, letters) = out(&mut explode(&[1, 2], false, &given.schema()), given.clone());
    assert_eq!(text(&batches, "a"), "r0=1 r0=2 r1=3 r3=5");
    assert_eq!(text(&batches, "b"), "r0=6 r0=7 r1=null r3=null");
    assert_eq!(letters, ["lists that go together are not equally long: a has 0, b has 2"]);
}

#[test]
fn ids_are_distinct_in_order_and_the_same_in_every_attempt() {
    let lists: Vec<List> = (0..40).map(|row| Some((0..row % 7).map(Some).collect())).collect();
    let ids: Vec<RowId> = (0..40)
        .map(|row| RowId::new(SplitId(row / 20), [row, row | (row << 40), row | (row << 58)][row as usize % 3]))
        .collect();
    let given = Batch::new(rows(lists.clone(), lists), ids).unwrap();
    let ids_of = |batches: &[Batch]| batches.iter().flat_map(|batch| batch.ids().to_vec()).collect::<Vec<_>>();
    let once = ids_of(&out(&mut explode(&[1], false, &given.schema()), given.clone()).0);
    let halves = [given.slice(0, 13), given.slice(13, 27)];
    let again = halves.map(|half| ids_of(&out(&mut explode(&[1], false, &given.schema()), half).0)).concat();
    assert_eq!(once, again);
    assert_eq!(once.iter().collect::<BTreeSet<_>>().len(), once.len());
    assert!(once.iter().all(|id| !given.ids().contains(id)));
    let few = batch(rows(vec![Some(vec![Some(1); 3]); 5], vec![None; 5]));
    let few = ids_of(&out(&mut explode(&[1], false, &few.schema()), few.clone()).0);
    assert!(few.is_sorted() && few.iter().all(|id| id.split == few[0].split), "rows of a split stay together");
}

#[test]
fn a_long_list_comes_in_batches_of_bounded_rows_and_bytes() {
    let long = batch(rows(vec![Some((0..3000).map(Some).collect()), Some(vec![Some(7)])], vec![None, None]));
    let (batches, _) = out(&mut explode(&[1], false, &long.schema()), long);
    assert_eq!(batches.iter().map(Batch::len).sum::<usize>(), 3001);
    assert!(batches.iter().all(|batch| batch.len() <= ROWS_MAX));
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some((0..20).map(Some).collect::<Vec<_>>())]);
    let wide: ArrayRef = Arc::new(BinaryArray::from_iter_values([vec![0u8; 3 << 20]]));
    let wide = batch(RecordBatch::try_from_iter([("wide", wide), ("a", Arc::new(lists) as ArrayRef)]).unwrap());
    let (batches, _) = out(&mut explode(&[1], false, &wide.schema()), wide);
    assert_eq!(batches.iter().map(Batch::len).sum::<usize>(), 20);
    assert!(batches.iter().all(|batch| batch.size_bytes() < 2 * BYTES_MAX), "rows of 3 MiB go out two by two");
}

#[test]
fn what_a_row_does_its_elements_do_and_a_watermark_waits_for_them() {
    let given = batch(rows(vec![Some(vec![Some(1), Some(2)]), Some(vec![Some(1)])], vec![None, None]));
    let given = given.with_kinds(vec![RowKind::UpdateBefore, RowKind::UpdateAfter]).unwrap();
    let mut explode = explode(&[1], false, &given.schema());
    explode.on_batch(given).unwrap();
    explode.on_watermark(EventTime(3)).unwrap();
    let Some(Out::Batch(batch)) = explode.poll().unwrap() else { panic!("rows first") };
    let kinds = [RowKind::UpdateBefore, RowKind::UpdateBefore, RowKind::UpdateAfter];
    assert_eq!(batch.kinds(), Some(&kinds[..]));
    assert!(matches!(explode.poll().unwrap(), Some(Out::Watermark(EventTime(3)))));
}
