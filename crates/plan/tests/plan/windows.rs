//! Window steps: how they are planned, and what is said about mistakes in them.

use forebay_core::time::event_time_place;
use forebay_plan::explain::explain;
use forebay_plan::graph::{EdgeKind, JobGraph, StepAction};
use forebay_plan::spec::Changes;

use crate::support::{job, plan};

/// Windows of each shape over one source.
const WINDOWS: &str = include_str!("data/windows.toml");

fn graph(text: &str) -> JobGraph {
    plan(text).expect("the job is right").graph
}

/// A job whose one step is `window = { .. }`.
fn window(table: &str) -> String {
    timed(&format!("[[step]]\nuid = \"w\"\nwindow = {{ {table} }}"))
}

/// A job of `steps` behind a source with event time.
fn timed(steps: &str) -> String {
    job(steps).replace("[source]", "[source.views]\nwatermark = { time = \"at\" }").replace("images", "parquet")
}

#[test]
fn windows_plan_reads_like_this() {
    insta::assert_snapshot!(explain(&graph(WINDOWS)));
}

#[test]
fn a_window_starts_a_task_behind_an_exchange_by_its_key() {
    let graph = graph(WINDOWS);
    let kind_into = |name: &str| {
        let task = graph.tasks.iter().find(|task| task.steps.iter().any(|step| step.uid == name)).unwrap();
        assert_eq!(task.steps[0].uid, name);
        graph.edges.iter().find(|edge| edge.to == task.id).unwrap().kind.clone()
    };
    assert_eq!(kind_into("per_user"), EdgeKind::Keyed(vec![0]));
    assert_eq!(kind_into("quiet"), EdgeKind::Keyed(Vec::new()));
}

#[test]
fn event_time_of_results_is_the_last_moment_of_the_window() {
    let graph = graph(WINDOWS);
    let steps = graph.tasks.iter().flat_map(|task| &task.steps);
    for step in steps.filter(|step| matches!(step.action, StepAction::Window(_))) {
        let place = event_time_place(&step.output).unwrap();
        assert_eq!(step.output.field(place).name(), "window_time");
        let late = &step.sides[0];
        assert_eq!((late.name.as_str(), &late.schema), ("late", step.input()));
    }
}

#[test]
fn results_are_updates_only_with_allowed_lateness() {
    let graph = graph(WINDOWS);
    let changes = |uid: &str| {
        let mut steps = graph.tasks.iter().flat_map(|task| &task.steps);
        steps.find(|step| step.uid == uid).unwrap().changes
    };
    assert_eq!(
        (changes("per_user"), changes("busy"), changes("quiet")),
        (Changes::Append, Changes::Updates, Changes::Append)
    );
}

#[test]
fn hash_sees_what_a_window_computes() {
    let first = graph(WINDOWS).plan_hash;
    for (from, to) in
        [("\"1m\", by", "\"2m\", by"), ("sum(n)", "min(n)"), ("\"30s\" }\n\n[[step]]", "\"40s\" }\n\n[[step]]")]
    {
        assert!(WINDOWS.contains(from), "{from}");
        assert_ne!(graph(&WINDOWS.replacen(from, to, 1)).plan_hash, first, "{to}");
    }
}

#[test]
fn any_aggregate_function_of_datafusion_is_accepted() {
    for call in [
        "stddev(n)",
        "median(n)",
        "approx_distinct(\"user\")",
        "array_agg(n)",
        "bool_and(n > 1)",
        "corr(n, n)",
        "first_value(n ORDER BY at)",
        "approx_percentile_cont(0.9) WITHIN GROUP (ORDER BY n)",
        "string_agg(\"user\", ',')",
        "bit_xor(n)",
        "var_pop(n)",
        "count(DISTINCT \"user\")",
        "min(\"user\")",
        "sum(n) FILTER (WHERE n > 2)",
    ] {
        let text = window(&format!("tumble = \"1m\", aggregates = [\"\"\"{call} AS x\"\"\"]"));
        plan(&text).map(drop).unwrap_or_else(|error| panic!("{call}: {error}"));
    }
}

#[test]
fn mistakes_in_windows() {
    let mut said = String::new();
    let mut case = |shown: &str, text: &str| {
        let answer = plan(text).map(|_| "no error".to_string()).unwrap_or_else(|error| error.to_string());
        said.push_str(&format!("{}\n    {answer}\n", shown.replace('\n', " | ")));
    };
    for table in [
        "by = [\"user\"], aggregates = [\"count(*) AS n\"]",
        "tumble = \"1m\", session = \"1m\", aggregates = [\"count(*) AS n\"]",
        "tumble = \"0s\", aggregates = [\"count(*) AS n\"]",
        "tumble = \"5ns\", aggregates = [\"count(*) AS n\"]",
        "slide = { size = \"1s\", every = \"2s\" }, aggregates = [\"count(*) AS n\"]",
        "slide = { size = \"1h\", every = \"1s\" }, aggregates = [\"count(*) AS n\"]",
        "tumble = \"1m\", aggregates = []",
        "tumble = \"1m\"",
        "tumble = \"1m\", aggregates = [\"count(*)\"]",
        "tumble = \"1m\", aggregates = [\"n AS m\"]",
        "tumble = \"1m\", aggregates = [\"sum(n) / count(*) AS mean\"]",
        "tumble = \"1m\", aggregates = [\"sum(m) AS total\"]",
        "tumble = \"1m\", aggregates = [\"sum(user) AS total\"]",
        "tumble = \"1m\", aggregates = [\"summ(n) AS total\"]",
        "tumble = \"1m\", aggregates = [\"max(upper_row(user)) AS most\"]",
        "tumble = \"1m\", aggregates = [\"max(n + random()) AS most\"]",
        "tumble = \"1m\", aggregates = [\"max(n) AS x\", \"min(n) AS x\"]",
        "tumble = \"1m\", aggregates = [\"max(n) AS window_end\"]",
        "tumble = \"1m\", by = [\"usr\"], aggregates = [\"max(n) AS most\"]",
        "tumble = \"1m\", by = [\"n + 1\"], aggregates = [\"max(n) AS most\"]",
        "tumble = \"1m\", by = [\"user\", \"user\"], aggregates = [\"max(n) AS most\"]",
        "tumble = \"1m\", by = [\"make_array(n) AS list\"], aggregates = [\"max(n) AS most\"]",
        "tumble = \"1m\", by = [\"user\"], aggregates = [\"max(n) AS most\"], lateness = \"1s\"",
    ] {
        case(table, &window(table));
    }
    let count = "window = { tumble = \"1m\", aggregates = [\"count(*) AS n\"] }";
    case("without a uid", &timed(&format!("[[step]]\n{count}")));
    case("on_error", &timed(&format!("[[step]]\nuid = \"w\"\non_error = \"null\"\n{count}")));
    case(
        "without event time",
        &window("tumble = \"1m\", aggregates = [\"count(*) AS n\"]").replace("watermark = { time = \"at\" }", ""),
    );
    let late = "window = { tumble = \"1m\", aggregates = [\"count(*) AS n\"], allowed_lateness = \"1s\" }";
    case("updates into a sink without kinds", &timed(&format!("[[step]]\nuid = \"w\"\n{late}")));
    case(
        "a side output that is none",
        &timed(&format!("[[step]]\nuid = \"w\"\n{count}\n[[step]]\nfrom = \"w.early\"\nfilter = \"n > 1\"")),
    );
    insta::assert_snapshot!(said);
}
