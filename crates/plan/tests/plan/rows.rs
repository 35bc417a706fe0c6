//! Steps that make several rows of one, leave rows out, or aggregate all of them: their plan, and what is said about mistakes.

use arrow::datatypes::DataType;
use forebay_core::time::event_time_place;
use forebay_plan::explain::explain;
use forebay_plan::graph::{EdgeKind, JobGraph, Step};

use crate::support::{graph_job, plan};

const ROWS: &str = include_str!("data/rows.toml");

fn graph(text: &str) -> JobGraph {
    plan(text).unwrap_or_else(|error| panic!("{error}")).graph
}

fn step<'a>(graph: &'a JobGraph, uid: &str) -> &'a Step {
    graph.tasks.iter().flat_map(|task| &task.steps).find(|step| step.uid == uid).expect("the step is in the plan")
}

/// A job of one step over clicks with lists, whose rows are written with their changes.
fn text(step: &str) -> String {
    let lists = "[[step]]\nuid = \"lists\"\nfrom = \"clicks\"\nwith = [\"make_array(n) AS list\"]\n";
    let steps = format!("{lists}[[step]]\nuid = \"s\"\n{step}");
    let sinks = "[sink.views_out]\nfrom = \"views\"\nformat = \"blackhole\"\n[sink.out]\nfrom = \"s\"\nformat = \"parquet\"\npath = \"out\"\n";
    graph_job(&steps, &format!("{sinks}kinds = \"change\"\n[dead_letters]\npath = \"dead\""))
}

#[test]
fn rows_plan_reads_like_this() {
    insta::assert_snapshot!(explain(&graph(ROWS)));
}

#[test]
fn elements_have_their_type_and_may_be_null_and_event_time_stays() {
    let timed = ROWS.replace(".jsonl\"\n", ".jsonl\"\nwatermark = { time = \"at\", out_of_order = \"5s\" }\n");
    let graph = graph(&timed);
    let exploded = &step(&graph, "numbers").output;
    let kind =
        |name: &str| exploded.field_with_name(name).map(|field| (field.data_type().clone(), field.is_nullable()));
    assert_eq!(kind("numbers").unwrap(), (DataType::Int64, true));
    assert_eq!(kind("words").unwrap(), (DataType::Utf8, true));
    assert_eq!(event_time_place(exploded), exploded.index_of("at").ok());
    let sums = step(&graph, "sums");
    assert!(event_time_place(&sums.output).is_none() && sums.sides.is_empty());
    let names: Vec<&str> = sums.output.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["user", "part", "total", "rows"]);
}

#[test]
fn all_rows_of_a_limit_come_to_one_subtask() {
    let graph = graph(ROWS);
    let task = graph.tasks.iter().find(|task| task.name == "first").unwrap();
    let into: Vec<_> = graph.edges.iter().filter(|edge| edge.to == task.id).map(|edge| edge.kind.clone()).collect();
    assert_eq!(into, [EdgeKind::Keyed(Vec::new())]);
}

#[test]
fn hash_sees_what_the_steps_do() {
    for (from, to) in [
        ("limit = 100", "limit = 101"),
        ("seed = 7", "seed = 8"),
        ("ratio = 0.1", "ratio = 0.2"),
        ("ignore_empty_and_null = true", "ignore_empty_and_null = false"),
        ("count(*) AS rows", "count(n) AS rows"),
    ] {
        assert!(ROWS.contains(from), "{from}");
        assert_ne!(graph(&ROWS.replacen(from, to, 1)).plan_hash, graph(ROWS).plan_hash, "{to}");
    }
}

#[test]
fn mistakes_have_their_place_and_advice() {
    let mut said = String::new();
    let mut case = |shown: &str, text: &str| {
        let answer = plan(text).map(|_| "no error".to_string()).unwrap_or_else(|error| error.to_string());
        said.push_str(&format!("{shown}\n    {answer}\n"));
    };
    for step in [
        "explode = { columns = [] }",
        "explode = { columns = [\"lst\"] }",
        "explode = { columns = [\"list\", \"list\"] }",
        "explode = { columns = [\"n\"] }",
        "limit = 0",
        "sample = { ratio = 0.0 }",
        "sample = { ratio = 1.5 }",
        "sample = { ratio = nan }",
        "group = { by = [\"user\"], aggregates = [] }",
        "group = { by = [\"list\"], aggregates = [\"count(*) AS rows\"] }",
        "group = { by = [\"user\"], aggregates = [\"count(*) AS user\"] }",
        "group = { by = [\"user\"], aggregates = [\"n AS n\"] }",
    ] {
        case(step, &text(step));
    }
    let no_uid = |step: &str| text(step).replace("uid = \"s\"\n", "").replace("from = \"s\"\n", "");
    case("limit without uid", &no_uid("limit = 3"));
    case("group without uid", &no_uid("group = { aggregates = [\"count(*) AS rows\"] }"));
    let top = "top = { rows = 3, order = [\"n\"] }\n[[step]]\nuid = \"t\"\n";
    for step in ["limit = 3", "sample = { ratio = 0.5 }"] {
        let behind = text(&format!("{top}{step}")).replace("from = \"s\"", "from = \"t\"");
        case(&format!("{step} of updates"), &behind);
    }
    let late = text("group = { aggregates = [\"count(*) AS rows\"] }").replace("from = \"s\"", "from = \"s.late\"");
    case("rows that are late for a group", &late);
    insta::assert_snapshot!(said);
}
