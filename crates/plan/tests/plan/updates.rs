//! Aggregates over updates, and groups that give them: how they are planned, and what is said about mistakes.

use forebay_plan::explain::explain;
use forebay_plan::graph::{JobGraph, Step};
use forebay_plan::spec::Changes;

use crate::support::{job, plan};

fn graph(text: &str) -> JobGraph {
    plan(text).unwrap_or_else(|error| panic!("{error}")).graph
}

fn step<'a>(graph: &'a JobGraph, uid: &str) -> &'a Step {
    graph.tasks.iter().flat_map(|task| &task.steps).find(|step| step.uid == uid).expect("the step is in the plan")
}

/// A job with event time in which `steps` stand behind one whose rows are replaced by later ones.
fn over_updates(steps: &str) -> String {
    let latest = "[[step]]\nuid = \"latest\"\ndeduplicate = { by = [\"user\"], keep = \"last\" }\n";
    let text = job(&format!("{latest}[[step]]\nuid = \"w\"\n{steps}"));
    let text = text.replace("[source]", "[source.views]\nwatermark = { time = \"at\" }").replace("images", "parquet");
    text.replace("[sink]\n", "[sink]\nkinds = \"change\"\n")
}

const RUNNING: &str = "group = { by = [\"n\"], aggregates = [\"max(user) AS last\"], emit = \"changes\", ttl = \"1h\" }
[[step]]
uid = \"v\"
group = { by = [\"last\"], aggregates = [\"count(*) AS users\"], emit = \"changes\" }";

#[test]
fn running_aggregates_read_like_this() {
    insta::assert_snapshot!(explain(&graph(&over_updates(RUNNING))));
}

#[test]
fn what_is_given_once_is_never_taken_back() {
    let case = |table: &str, expected: Changes| {
        let graph = graph(&over_updates(table));
        assert_eq!(step(&graph, "w").changes, expected, "{table}");
        step(&graph, "w").sides.iter().for_each(|side| assert_eq!(side.changes, Changes::Updates, "{table}"));
    };
    case("group = { aggregates = [\"count(*) AS n\"] }", Changes::Append);
    case("group = { aggregates = [\"count(*) AS n\"], emit = \"end\" }", Changes::Append);
    case("group = { aggregates = [\"count(*) AS n\"], emit = \"changes\" }", Changes::Updates);
    case("window = { tumble = \"1m\", aggregates = [\"count(*) AS n\"] }", Changes::Append);
    let late = "allowed_lateness = \"1s\"";
    case(&format!("window = {{ tumble = \"1m\", aggregates = [\"count(*) AS n\"], {late} }}"), Changes::Updates);
    case("window = { session = \"1m\", aggregates = [\"count(*) AS n\"] }", Changes::Append);
    case(&format!("window = {{ session = \"1m\", aggregates = [\"count(*) AS n\"], {late} }}"), Changes::Updates);
}

#[test]
fn a_group_over_rows_that_only_add_gives_updates() {
    let text = over_updates(RUNNING).replace("keep = \"last\"", "keep = \"first\"");
    assert_eq!(step(&graph(&text), "w").changes, Changes::Updates);
}

#[test]
fn hash_sees_updates_emit_and_ttl() {
    let whole = over_updates(RUNNING);
    for (from, to) in [
        ("emit = \"changes\", ttl = \"1h\"", "emit = \"end\""),
        ("ttl = \"1h\"", "ttl = \"2h\""),
        ("keep = \"last\"", "keep = \"first\""),
    ] {
        assert!(whole.contains(from), "{from}");
        assert_ne!(graph(&whole.replacen(from, to, 1)).plan_hash, graph(&whole).plan_hash, "{to}");
    }
}

#[test]
fn these_aggregates_take_rows_back() {
    for call in [
        "count(*)",
        "count(DISTINCT user)",
        "sum(n)",
        "sum(n) FILTER (WHERE n > 2)",
        "sum(CAST(n AS DECIMAL(20, 2)))",
        "avg(n)",
        "avg(CAST(n AS DECIMAL(20, 2)))",
        "min(n)",
        "max(user)",
        "max(at)",
        "max(CAST(n AS DOUBLE))",
        "min(DISTINCT n)",
        "bit_xor(n)",
        "var(n)",
        "var_pop(n)",
        "stddev(n)",
        "stddev_pop(n)",
        "median(n)",
        "percentile_cont(0.9) WITHIN GROUP (ORDER BY n)",
        "regr_slope(n, n + 1)",
        "regr_sxy(n, n + 1)",
    ] {
        let text = over_updates(&format!("group = {{ aggregates = [\"\"\"{call} AS x\"\"\"] }}"));
        plan(&text).map(drop).unwrap_or_else(|error| panic!("{call}: {error}"));
    }
}

#[test]
fn sessions_take_aggregates_that_cannot_take_rows_back() {
    for call in [
        "array_agg(n)",
        "last_value(n ORDER BY at)",
        "approx_distinct(n)",
        "sum(DISTINCT n)",
        "corr(n, n)",
        "max(make_array(n))",
        "count(map(make_array('a'), make_array(n)))",
    ] {
        let text = over_updates(&format!("window = {{ session = \"1m\", aggregates = [\"\"\"{call} AS x\"\"\"] }}"));
        plan(&text).map(drop).unwrap_or_else(|error| panic!("{call}: {error}"));
    }
}

#[test]
fn mistakes_with_updates() {
    let mut said = String::new();
    let mut case = |shown: &str, text: &str| {
        let answer = plan(text).map(|_| "no error".to_string()).unwrap_or_else(|error| error.to_string());
        said.push_str(&format!("{shown}\n    {answer}\n"));
    };
    let count = "aggregates = [\"count(*) AS n\"]";
    for table in [
        "window = { session = \"1m\", aggregates = [\"first_value(map(make_array('a'), make_array(n))) AS x\"] }"
            .to_string(),
        "group = { aggregates = [\"array_agg(n) AS x\"] }".to_string(),
        "group = { aggregates = [\"last_value(n ORDER BY at) AS x\"] }".to_string(),
        "group = { aggregates = [\"approx_distinct(n) AS x\"] }".to_string(),
        "group = { aggregates = [\"sum(DISTINCT n) AS x\"] }".to_string(),
        "group = { aggregates = [\"corr(n, n) AS x\"] }".to_string(),
        "group = { aggregates = [\"max(make_array(n)) AS x\"] }".to_string(),
        format!("group = {{ {count}, emit = \"often\" }}"),
        format!("group = {{ {count}, ttl = \"1h\" }}"),
        format!("group = {{ {count}, emit = \"changes\", ttl = \"0s\" }}"),
    ] {
        case(&table, &over_updates(&table));
    }
    let forgets = format!("group = {{ {count}, emit = \"changes\", ttl = \"1h\" }}");
    case(
        "ttl without event time",
        &over_updates(&forgets)
            .replace("watermark = { time = \"at\" }", "")
            .replace("keep = \"last\"", "keep = \"first\""),
    );
    let running = format!("group = {{ {count}, emit = \"changes\" }}");
    case("a sink without kinds", &over_updates(&running).replace("kinds = \"change\"\n", ""));
    insta::assert_snapshot!(said);
}

#[test]
fn no_barrier_overtakes_rows_that_take_back_others_on_an_edge_without_a_key() {
    let text = over_updates(
        "filter = \"n > 0\"\n[[step]]\nuid = \"v\"\nfrom = \"latest\"\nfilter = \"n < 9\"\n[[step]]\nuid = \"u\"\nunion = [\"w\", \"v\"]",
    );
    let graph = plan(&text).unwrap_or_else(|error| panic!("{error}")).graph;
    let needs_order = |uid: &str| {
        let task = graph.tasks.iter().find(|task| task.steps.iter().any(|step| step.uid == uid));
        graph.needs_order(task.expect("there is one"))
    };
    assert!(needs_order("w") && needs_order("v"), "each reader is a task of its own, subtask to subtask");
    assert!(!needs_order("latest"), "what only adds may be overtaken");
    let plain = plan(&text.replace("\"last\"", "\"first\"").replace("kinds = \"change\"\n", "")).map(|plan| plan.graph);
    let plain = plain.unwrap_or_else(|error| panic!("{error}"));
    assert!(!plain.tasks.iter().any(|task| plain.needs_order(task)));
}
