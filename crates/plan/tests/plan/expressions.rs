//! What an expression of a step gives when it is run, as opposed to when it is planned.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use arrow::array::{AsArray, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::Int64Type;
use forebay_plan::graph::StepAction;

use crate::support::{job, plan};

/// Runs a `select` of `columns` over one row: path `a.png`, all else null where it may be.
fn selected(columns: &str) -> Vec<arrow::array::ArrayRef> {
    let graph = plan(&job(&format!("[[step]]\nselect = [{columns}]"))).expect("the job is right").graph;
    let step = &graph.tasks[0].steps[0];
    let StepAction::Project { columns, .. } = &step.action else { panic!("a projection") };
    let input = step.input();
    let nullable = |field: &std::sync::Arc<arrow::datatypes::Field>| field.as_ref().clone().with_nullable(true);
    let schema = arrow::datatypes::Schema::new(input.fields().iter().map(nullable).collect::<Vec<_>>());
    let cells = input.fields().iter().map(|field| match field.name().as_str() {
        "path" => std::sync::Arc::new(StringArray::from(vec!["a.png"])) as arrow::array::ArrayRef,
        _ => new_null_array(field.data_type(), 1),
    });
    let batch = RecordBatch::try_new(std::sync::Arc::new(schema), cells.collect()).unwrap();
    columns.iter().map(|column| column.expr.evaluate(&batch).unwrap().into_array(1).unwrap()).collect()
}

#[test]
fn functions_that_are_only_rewritten_can_be_run() {
    let found = selected(
        r#""coalesce(taken, 7) AS a", "nvl(taken, 8) AS b", "nvl2(taken, 1, 2) AS c", "nullif(path, 'a.png') AS d", "coalesce(path, 'none') AS e""#,
    );
    let number = |place: usize| found[place].as_primitive::<Int64Type>().value(0);
    assert_eq!((number(0), number(1), number(2)), (7, 8, 2));
    assert_eq!(found[3].null_count(), 1);
    assert_eq!(found[4].as_string::<i32>().value(0), "a.png");
}

#[test]
fn what_is_constant_and_cannot_be_computed_fails_when_it_is_run() {
    let job = job("[[step]]\nselect = [\"1 / 0 AS x\"]");
    assert!(plan(&job).is_ok(), "a job whose source is empty would run");
}
