//! Jobs that are no line: several sources and sinks, branches, unions, event time.

use forebay_core::time::EVENT_TIME;
use forebay_plan::explain::explain;
use forebay_plan::graph::{EdgeKind, JobGraph, StepAction};

use crate::support::{DIGITS, graph_job, job, plan};

/// Two sources with event time meet; one of them also goes to a sink of its own.
const MEETING: &str = include_str!("data/meeting.toml");

fn graph(text: &str) -> JobGraph {
    plan(text).expect("the job can be planned").graph
}

/// The edges between tasks: from, port, to, port, kind.
fn pipelined(graph: &JobGraph) -> Vec<(String, u8, String, u8, EdgeKind)> {
    let edges = graph.edges.iter().filter(|edge| edge.kind.is_pipelined()).cloned();
    edges.map(|edge| (edge.from, edge.from_port, edge.to, edge.to_port, edge.kind)).collect()
}

#[test]
fn meeting_plan_reads_like_this() {
    insta::assert_snapshot!(explain(&graph(MEETING)));
}

#[test]
fn each_sink_has_its_logical_plan() {
    let plans = plan(MEETING).unwrap().logical;
    let shown: Vec<String> = plans.iter().map(|plan| plan.display_indent().to_string()).collect();
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn a_task_starts_at_a_union_and_behind_a_stream_with_several_readers() {
    let graph = graph(MEETING);
    let ids: Vec<&str> = graph.tasks.iter().map(|task| task.id.as_str()).collect();
    assert_eq!(ids, ["t1-clicks", "t2-views", "t3-all", "t4-big", "t5-everything", "t6-large"]);
    let edge = |from: &str, to: &str, port, kind| (from.to_string(), 0, to.to_string(), port, kind);
    let expected = [
        edge("t1-clicks", "t3-all", 0, EdgeKind::Exchange),
        edge("t2-views", "t3-all", 1, EdgeKind::Forward),
        edge("t3-all", "t4-big", 0, EdgeKind::Forward),
        edge("t3-all", "t5-everything", 0, EdgeKind::Exchange),
        edge("t4-big", "t6-large", 0, EdgeKind::Exchange),
    ];
    assert_eq!(pipelined(&graph), expected);
    let union = graph.task("t3-all").unwrap();
    assert_eq!((union.parallelism, union.inputs().len()), (2, 2));
    let StepAction::Union { streams } = &union.steps[0].action else { panic!("a union") };
    assert_eq!(streams, &["own", "seen"]);
}

#[test]
fn a_union_is_null_where_one_of_its_streams_is() {
    let graph = graph(MEETING);
    let union = &graph.task("t3-all").unwrap().steps[0];
    let nullable = |schema: &arrow::datatypes::SchemaRef| schema.field(0).is_nullable();
    assert_eq!((nullable(&union.inputs[0]), nullable(&union.inputs[1]), nullable(&union.output)), (true, false, true));
}

#[test]
fn several_committers_publish_and_all_tasks_share_a_region() {
    let graph = graph(MEETING);
    let committers: Vec<&str> = graph.committers.iter().map(|committer| committer.id.as_str()).collect();
    assert_eq!(committers, ["committer-everything", "committer-large", "committer-dead-letters"]);
    assert_eq!(graph.regions[0].parts.len(), graph.tasks.len());
    let apart = "[sink.a]\nfrom = \"clicks\"\nformat = \"jsonl\"\npath = \"a\"\n\
                 [sink.b]\nfrom = \"views\"\nformat = \"jsonl\"\npath = \"b\"\n[dead_letters]\npath = \"c\"";
    let apart = plan(&graph_job("", apart)).unwrap().graph;
    assert_eq!(apart.regions[0].parts, ["t1-clicks", "t2-views", "t3-a", "t4-b"]);
}

#[test]
fn names_of_the_only_source_and_sink_change_nothing() {
    let plain = job("[[step]]\nfilter = \"taken > 1\"");
    let named = plain.replace("[source]", "[source.source]").replace("[sink]", "[sink.sink]");
    assert_eq!(explain(&graph(&plain)), explain(&graph(&named)));
    let from = plain.replace("filter =", "from = \"source\"\nfilter =").replace("[sink]", "[sink]\nfrom = \"step-1\"");
    assert_eq!(explain(&graph(&plain)), explain(&graph(&from)));
}

/// A checkpoint of a job that is one line is restored by versions that know graphs.
#[test]
fn hash_of_a_line_is_what_it_was_before_there_were_graphs() {
    assert_eq!(graph(DIGITS).plan_hash.to_string(), "57c66c9d42b36e3ed25cf5ea9cb626d7");
}

#[test]
fn hash_sees_what_is_read() {
    let first = graph(MEETING).plan_hash;
    let must = [
        ("union = [\"own\", \"seen\"]", "union = [\"seen\", \"own\"]"),
        ("[sink.large]\nfrom = \"big\"", "[sink.large]\nkinds = \"what\"\nfrom = \"big\""),
        ("from = \"all\"\nfilter", "from = \"seen\"\nfilter"),
        (
            "\nwatermark = { time = \"at\", out_of_order = \"5s\" }",
            "\nwatermark = { time = \"at\", out_of_order = \"9s\" }",
        ),
    ];
    for (place, (from, to)) in must.into_iter().enumerate() {
        assert!(MEETING.contains(from), "{from}");
        let other = graph(&MEETING.replacen(from, to, 1)).plan_hash;
        assert_eq!(other == first, place == 3, "{to}");
    }
}

#[test]
fn a_source_that_looks_for_new_files_says_so_and_may_begin_to() {
    let monitored = MEETING.replacen("watermark =", "monitor_interval = \"10s\"\nwatermark =", 1);
    let monitored = monitored.replacen("out_of_order = \"5s\"", "out_of_order = \"5s\", files = \"in_order\"", 1);
    let graph = graph(&monitored);
    let shown = forebay_plan::explain::explain(&graph);
    assert!(shown.contains("looks for new files every 10s, and never ends by itself"), "{shown}");
    assert_eq!(graph.plan_hash, self::graph(MEETING).plan_hash, "a checkpoint of the job without it goes on with it");
}

#[test]
fn event_time_stays_with_its_column_and_not_with_expressions_over_it() {
    let marked = |select: &str| {
        let step = format!("[[step]]\nselect = [{select}]");
        let text = job(&step)
            .replace("[source]", "[source.views]\nwatermark = { time = \"at\" }")
            .replace("images", "parquet");
        let schema = graph(&text).tasks[0].steps[0].output.clone();
        let marked = schema.fields().iter().filter(|field| field.metadata().contains_key(EVENT_TIME));
        marked.map(|field| format!("{} {}", field.name(), field.data_type())).collect::<Vec<_>>().join(", ")
    };
    let time = "Timestamp(µs, \"+00:00\")";
    assert_eq!(marked("\"at\", \"n\""), format!("at {time}"));
    assert_eq!(marked("\"at AS seen\""), format!("seen {time}"));
    assert_eq!(marked("\"at AS first\", \"at\""), format!("first {time}"));
    assert_eq!(marked("\"date_trunc('hour', at) AS at\""), "");
    assert_eq!(marked("\"CAST(at AS TIMESTAMP) AS at\""), "");
    assert_eq!(marked("\"at + INTERVAL '1 second' AS at\""), "");
}

#[test]
fn kinds_are_a_first_column_of_what_is_written() {
    let graph = graph(&job("").replace("path = \"out\"", "path = \"out\"\nkinds = \"change\""));
    let sink = graph.tasks.last().unwrap().steps.last().unwrap();
    assert_eq!(
        (sink.output.field(0).name().as_str(), sink.output.fields().len()),
        ("change", sink.input().fields().len() + 1)
    );
}
