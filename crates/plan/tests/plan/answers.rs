//! Models asked about rows that are also taken back: what is kept of answers, and what is said about mistakes.

use std::time::Duration;

use forebay_plan::explain::explain;
use forebay_plan::graph::{EdgeKind, JobGraph, StepAction};
use forebay_plan::infer::AnswersSpec;

use crate::support::{job, plan};

/// A job with event time in which a model is asked about the latest row of each user.
fn over_updates(settings: &str) -> String {
    let latest = "[[step]]\nuid = \"latest\"\ndeduplicate = { by = [\"user\"], keep = \"last\" }\n";
    let model = "{ model = \"m\", inputs = { text = \"user\" }, outputs = { answer = \"a\" }";
    let text = job(&format!(
        "{latest}[[step]]\nuid = \"between\"\nfilter = \"n > 0\"\n[[step]]\ninfer = {model}{settings} }}\n"
    ));
    let text = text.replace("[source]", "[source.views]\nwatermark = { time = \"at\" }").replace("images", "parquet");
    text.replace("[sink]\n", "[model.m]\nhost = \"fake\"\n[sink]\nkinds = \"change\"\n")
}

fn over_rows(settings: &str) -> String {
    over_updates(settings).replace("keep = \"last\"", "keep = \"first\"").replace("kinds = \"change\"\n", "")
}

fn graph(text: &str) -> JobGraph {
    plan(text).unwrap_or_else(|error| panic!("{error}")).graph
}

/// What is kept, and how rows come to the model's step.
fn kept(graph: &JobGraph) -> (Option<AnswersSpec>, EdgeKind) {
    let found = graph.tasks.iter().find_map(|task| match &task.steps.first()?.action {
        StepAction::Infer(infer) => Some((task, infer.answers.clone())),
        _ => None,
    });
    let (task, answers) = found.expect("a model is asked");
    let edge = graph.edges.iter().find(|edge| edge.to == task.id).expect("rows come");
    (answers, edge.kind.clone())
}

#[test]
fn rows_of_one_content_come_to_one_subtask_in_every_order() {
    for order in ["unordered", "ordered"] {
        let (answers, edge) = kept(&graph(&over_updates(&format!(", order = \"{order}\""))));
        assert_eq!(answers, Some(AnswersSpec { by: vec![0, 1, 2], ttl: None }));
        assert_eq!(edge, EdgeKind::Keyed(vec![0, 1, 2]));
    }
    let (answers, edge) = kept(&graph(&over_updates(", order = \"per_key\", key = [\"n\"], ttl = \"1h\"")));
    assert_eq!(answers, Some(AnswersSpec { by: vec![2], ttl: Some(Duration::from_secs(3600)) }));
    assert_eq!(edge, EdgeKind::Keyed(vec![2]), "those of a key are of one content or of another");
}

#[test]
fn nothing_is_kept_of_rows_that_only_add() {
    let (answers, edge) = kept(&graph(&over_rows("")));
    assert_eq!((answers, edge), (None, EdgeKind::Forward));
}

#[test]
fn the_plan_says_how_long_answers_are_kept_and_the_hash_sees_it() {
    let (for_good, an_hour) = (graph(&over_updates("")), graph(&over_updates(", ttl = \"1h\"")));
    assert!(explain(&for_good).contains("answers are kept for good, by content, for the rows that take them back"));
    assert!(explain(&an_hour).contains("answers are kept for 1h"));
    assert!(!explain(&graph(&over_rows(""))).contains("answers are kept"));
    assert_ne!(for_good.plan_hash, an_hour.plan_hash);
}

#[test]
fn mistakes() {
    let case = |text: &str, parts: [&str; 2]| {
        let said = plan(text).map(drop).expect_err("it is refused").to_string();
        parts.iter().for_each(|part| assert!(said.contains(part), "{said}"));
    };
    case(&over_rows(", ttl = \"1h\""), ["ttl says nothing of rows that are never taken back", "remove it"]);
    case(&over_updates(", ttl = \"0s\""), ["ttl must be longer than zero", "job.toml"]);
    let without_time = over_updates(", ttl = \"1h\"").replace("watermark = { time = \"at\" }", "");
    case(&without_time, ["its rows have no event time", "watermark"]);
    let map = "with = [\"map(make_array(user), make_array(n)) AS pairs\"]";
    let text = over_updates("").replace("filter = \"n > 0\"", map);
    case(&text, ["the column \"pairs\" is", "leave it out in a select step before"]);
}

#[test]
fn a_column_that_is_no_key_is_part_of_the_content() {
    let text = over_updates("").replace("filter = \"n > 0\"", "with = [\"make_array(n) AS list\"]");
    assert_eq!(kept(&graph(&text)).0.map(|answers| answers.by), Some(vec![0, 1, 2]));
}
