//! Steps that keep rows by key and those of the feedback loop: what they plan to, and what is said about mistakes.

use forebay_core::time::event_time_place;
use forebay_plan::explain::explain;
use forebay_plan::graph::{EdgeKind, JobGraph, Step};
use forebay_plan::spec::Changes;

use crate::support::{graph_job, plan};

const KEYED: &str = include_str!("data/keyed.toml");
const FEEDBACK: &str = include_str!("data/feedback.toml");

fn graph(text: &str) -> JobGraph {
    plan(text).unwrap_or_else(|error| panic!("{error}")).graph
}

fn step<'a>(graph: &'a JobGraph, uid: &str) -> &'a Step {
    graph.tasks.iter().flat_map(|task| &task.steps).find(|step| step.uid == uid).expect("the step is in the plan")
}

/// A job of one step over clicks; both sources have event time, and what the step gives is written with its changes.
fn text(step: &str) -> String {
    let steps = format!("[[step]]\nuid = \"s\"\nfrom = \"clicks\"\n{step}");
    let text = graph_job(
        &steps,
        "[sink.views_out]\nfrom = \"views\"\nformat = \"blackhole\"\n[sink.out]\nfrom = \"s\"\nformat = \"parquet\"\npath = \"out\"\nkinds = \"change\"\n[dead_letters]\npath = \"dead\"",
    );
    let watermark = "watermark = { time = \"at\", out_of_order = \"5s\" }\n";
    let text = text.replace("clicks/*.jsonl\"\n", &format!("clicks/*.jsonl\"\n{watermark}"));
    text.replace("views/*.parquet\"\n", &format!("views/*.parquet\"\n{watermark}"))
}

#[test]
fn keyed_plan_reads_like_this() {
    insta::assert_snapshot!(explain(&graph(KEYED)));
}

#[test]
fn feedback_plan_reads_like_this() {
    insta::assert_snapshot!(explain(&graph(FEEDBACK)));
}

#[test]
fn rows_come_by_key_and_changes_are_said() {
    let (keyed, feedback) = (graph(KEYED), graph(FEEDBACK));
    let into = |graph: &JobGraph, uid: &str| {
        let task = graph.tasks.iter().find(|task| task.name == uid).unwrap();
        graph.edges.iter().filter(|edge| edge.to == task.id).map(|edge| edge.kind.clone()).collect::<Vec<_>>()
    };
    assert_eq!(into(&keyed, "first"), [EdgeKind::Keyed(vec![0, 2])]);
    assert_eq!(into(&feedback, "judged"), [EdgeKind::Keyed(vec![0]), EdgeKind::Keyed(vec![0])]);
    assert_eq!(into(&feedback, "in_all"), [EdgeKind::Keyed(Vec::new())]);
    let changes = |graph, uid| step(graph, uid).changes;
    assert_eq!((changes(&keyed, "first"), changes(&keyed, "earliest")), (Changes::Append, Changes::Append));
    assert_eq!((changes(&keyed, "latest"), changes(&keyed, "best")), (Changes::Updates, Changes::Updates));
    assert_eq!((changes(&feedback, "judged"), changes(&feedback, "quality")), (Changes::Updates, Changes::Updates));
    let once = graph(&FEEDBACK.replace(", allowed_lateness = \"1d\"", ""));
    assert_eq!(changes(&once, "quality"), Changes::Append, "an interval that takes no change gives one row");
}

#[test]
fn event_time_is_that_of_the_rows_the_prediction_and_the_interval() {
    let (keyed, feedback) = (graph(KEYED), graph(FEEDBACK));
    let time = |step: &Step| event_time_place(&step.output).map(|place| step.output.field(place).name().clone());
    assert_eq!(time(step(&keyed, "earliest")).as_deref(), Some("at"));
    assert_eq!(time(step(&feedback, "judged")).as_deref(), Some("at"));
    assert_eq!(time(step(&feedback, "quality")).as_deref(), Some("window_time"));
    assert_eq!(time(step(&feedback, "in_all")), None);
}

#[test]
fn hash_sees_what_the_steps_do() {
    for (text, from, to) in [
        (KEYED, "ttl = \"1h\"", "ttl = \"2h\""),
        (KEYED, "keep = \"last\"", "keep = \"first\""),
        (KEYED, "rows = 3", "rows = 4"),
        (KEYED, "digit DESC", "digit"),
        (FEEDBACK, "wait = \"10m\"", "wait = \"11m\""),
        (FEEDBACK, "retention = \"1d\"", "retention = \"2d\""),
        (FEEDBACK, "threshold = 0.7", "threshold = 0.6"),
        (FEEDBACK, "bins = 20", "bins = 10"),
    ] {
        assert!(text.contains(from), "{from}");
        assert_ne!(graph(&text.replacen(from, to, 1)).plan_hash, graph(text).plan_hash, "{to}");
    }
}

#[test]
fn mistakes_have_their_place_and_advice() {
    let mut said = String::new();
    let mut case = |shown: &str, text: &str| {
        let answer = plan(text).map(|_| "no error".to_string()).unwrap_or_else(|error| error.to_string());
        said.push_str(&format!("{}\n    {answer}\n", shown.replace('\n', " | ")));
    };
    let labels = "labels = \"views\", on = { user = \"user\" }, prefix = \"v_\"";
    let given = [
        "deduplicate = { by = [] }".to_string(),
        "deduplicate = { by = [\"usr\"] }".to_string(),
        "deduplicate = { by = [\"user\", \"user\"] }".to_string(),
        "deduplicate = { by = [\"user\"], keep = \"best\" }".to_string(),
        "deduplicate = { by = [\"user\"], ttl = \"0s\" }".to_string(),
        "deduplicate = { by = [\"make_array(n) AS list\"] }".to_string(),
        "top = { rows = 0, order = [\"n\"] }".to_string(),
        "top = { rows = 20000, order = [\"n\"] }".to_string(),
        "top = { rows = 3, order = [] }".to_string(),
        "top = { rows = 3, order = [\"n + 1 DESC\"] }".to_string(),
        "top = { rows = 3, order = [\"make_array(n) AS list\"] }".to_string(),
        "top = { rows = 3, order = [\"n\"], rank = \"user\" }".to_string(),
        format!("feedback = {{ {labels}, wait = \"1h\" }}"),
        format!("feedback = {{ {labels}, wait = \"2h\", retention = \"1h\" }}"),
        format!("feedback = {{ {labels}, wait = \"0s\", retention = \"1h\" }}"),
        "feedback = { labels = \"views\", on = {}, wait = \"1h\", retention = \"1h\" }".to_string(),
        "feedback = { labels = \"views\", on = { user = \"user\" }, wait = \"1h\", retention = \"1h\" }".to_string(),
        "feedback = { labels = \"vews\", on = { user = \"user\" }, wait = \"1h\", retention = \"1h\" }".to_string(),
        "metrics = { score = \"n\", label = \"n\" }".to_string(),
        "metrics = { score = \"score\", label = \"n\" }".to_string(),
        "metrics = { score = \"n\", label = \"n\", threshold = 2.0 }".to_string(),
        "metrics = { score = \"n\", label = \"n\", bins = 1 }".to_string(),
        "metrics = { score = \"n\", label = \"n\", allowed_lateness = \"1h\" }".to_string(),
        "metrics = { score = \"n\", label = \"n\", reference = { from = \"2026-01-02T00:00:00Z\", to = \"2026-01-01T00:00:00Z\" } }"
            .to_string(),
        "on_error = \"null\"\ntop = { rows = 3, order = [\"n\"] }".to_string(),
    ];
    for step in &given {
        case(step, &text(step));
    }
    let top = text("top = { rows = 3, order = [\"n\"] }");
    case("no uid", &top.replace("uid = \"s\"\n", "").replace("from = \"s\"\n", ""));
    case("updates into a sink without kinds", &top.replace("kinds = \"change\"", ""));
    let twice = "[[step]]\nuid = \"t\"\ndeduplicate = { by = [\"user\"] }\n[sink.views_out]";
    let twice = top.replace("[sink.views_out]", twice).replace("[sink.out]\nfrom = \"s\"", "[sink.out]\nfrom = \"t\"");
    case("updates into deduplicate", &twice);
    let timeless = text("deduplicate = { by = [\"user\"], order = \"event_time\" }");
    case("no event time", &timeless.replacen("watermark = { time = \"at\", out_of_order = \"5s\" }\n", "", 1));
    insta::assert_snapshot!(said);
}
