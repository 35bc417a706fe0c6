//! Joins of two streams: what they plan to, and what is said about mistakes.

use forebay_core::time::EVENT_TIME;
use forebay_plan::explain::explain;
use forebay_plan::graph::{EdgeKind, JobGraph};
use forebay_plan::spec::Changes;

use crate::support::{graph_job, plan};

const SINK: &str = "[sink]\nformat = \"parquet\"\npath = \"out\"\nkinds = \"change\"";

/// A job in which clicks and views have event time, with this join of views to clicks.
fn text(join: &str) -> String {
    let steps = format!("[[step]]\nuid = \"met\"\nfrom = \"clicks\"\njoin = {{ {join} }}");
    let text = graph_job(&steps, SINK);
    let watermark = "watermark = { time = \"at\", out_of_order = \"5s\" }\n";
    let text = text.replace("clicks/*.jsonl\"\n", &format!("clicks/*.jsonl\"\n{watermark}"));
    text.replace("views/*.parquet\"\n", &format!("views/*.parquet\"\n{watermark}"))
}

fn graph(join: &str) -> JobGraph {
    plan(&text(join)).expect("the job is right").graph
}

const ON: &str = "stream = \"views\", on = { user = \"user\" }, prefix = \"view_\"";

#[test]
fn both_streams_come_keyed_and_side_outputs_have_their_columns() {
    let graph = graph(&format!("{ON}, within = {{ after = \"5m\", before = \"10s\" }}"));
    insta::assert_snapshot!(explain(&graph));
    let join = graph.tasks.iter().find(|task| task.name == "met").unwrap();
    let into: Vec<_> =
        graph.edges.iter().filter(|edge| edge.to == join.id).map(|edge| (edge.to_port, &edge.kind)).collect();
    assert_eq!(into, [(0, &EdgeKind::Keyed(vec![0])), (1, &EdgeKind::Keyed(vec![0]))]);
    let sides: Vec<_> = join.steps[0].sides.iter().map(|side| (side.name.as_str(), &side.schema)).collect();
    assert_eq!(sides, [("late", &join.steps[0].inputs[0]), ("late_stream", &join.steps[0].inputs[1])]);
}

#[test]
fn event_time_and_nulls_follow_the_rows_that_are_kept() {
    let shown = |join: &str| {
        let graph = graph(&format!("{ON}, {join}"));
        let step = &graph.tasks.iter().find(|task| task.name == "met").unwrap().steps[0];
        let field = |field: &arrow::datatypes::FieldRef| {
            let null = if field.is_nullable() { "?" } else { "" };
            let time = if field.metadata().contains_key(EVENT_TIME) { " time" } else { "" };
            format!("{}{null}{time}", field.name())
        };
        let fields: Vec<String> = step.output.fields().iter().map(field).collect();
        let updates = if step.changes == Changes::Updates { " updates" } else { "" };
        format!("{join}: {}{updates}", fields.join(", "))
    };
    let joins = [
        "window = \"10s\"",
        "window = \"10s\", how = \"left\"",
        "window = \"10s\", how = \"right\"",
        "within = {}, how = \"full\"",
        "as_of = true, how = \"left\"",
        "ttl = \"1h\"",
        "how = \"full\"",
    ];
    insta::assert_snapshot!(joins.map(shown).join("\n"));
}

#[test]
fn mistakes_have_their_place_and_advice() {
    let on = "stream = \"views\", on = { user = \"user\" }";
    let plain = [
        String::new(),
        "on = { user = \"user\" }".to_string(),
        format!("table = {{ format = \"csv\", path = \"t.csv\" }}, {on}"),
        "stream = \"views\", on = {}".to_string(),
        on.to_string(),
        format!("{ON}, within = {{}}, window = \"1s\""),
        format!("{ON}, as_of = true, ttl = \"1s\""),
        format!("{ON}, as_of = true, how = \"full\""),
        format!("{ON}, how = \"outer\""),
        format!("{ON}, window = \"0s\""),
        "table = { format = \"csv\", path = \"t.csv\" }, on = { user = \"file\" }, how = \"full\"".to_string(),
        "table = { format = \"csv\", path = \"t.csv\" }, on = { user = \"file\" }, window = \"1s\"".to_string(),
        "stream = \"views\", on = { usr = \"user\" }, prefix = \"v_\"".to_string(),
        "stream = \"views\", on = { user = \"usr\" }, prefix = \"v_\"".to_string(),
        "stream = \"views\", on = { user = \"n\" }, prefix = \"v_\"".to_string(),
        "stream = \"vews\", on = { user = \"user\" }".to_string(),
    ];
    let said = |text: &str| plan(text).map(|_| "no error".to_string()).unwrap_or_else(|error| error.to_string());
    let mut all: Vec<String> = plain.iter().map(|join| format!("{join}\n    {}", said(&text(join)))).collect();
    let in_time = text(&format!("{ON}, window = \"1s\""));
    let mut other = |what: &str, text: &str| all.push(format!("{what}\n    {}", said(text)));
    other("no uid", &in_time.replace("uid = \"met\"\n", ""));
    other("no watermark", &in_time.replacen("watermark = { time = \"at\", out_of_order = \"5s\" }\n", "", 1));
    let updates = "[[step]]\nuid = \"both\"\njoin = { stream = \"views\", on = { user = \"user\" }, prefix = \"w_\", as_of = true }";
    let outer = text(&format!("{ON}, how = \"full\""));
    other("updates into a join as of", &outer.replace("[sink]", &format!("{updates}\n[sink]")));
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_join_as_of_takes_the_changes_of_a_table_and_only_adds() {
    let latest = "[[step]]\nuid = \"latest\"\nfrom = \"views\"\ndeduplicate = { by = [\"user\"], keep = \"last\" }\n[[step]]\nuid = \"met\"";
    let of = |join: &str| {
        text(&format!("{ON}, {join}").replace("\"views\"", "\"latest\"")).replace("[[step]]\nuid = \"met\"", latest)
    };
    let graph = plan(&of("as_of = true")).unwrap_or_else(|error| panic!("{error}")).graph;
    let join = &graph.tasks.iter().find(|task| task.name == "met").unwrap().steps[0];
    assert_eq!(join.changes, Changes::Append);
    let refused = plan(&of("window = \"1s\"")).map(drop).unwrap_err().to_string();
    assert!(refused.contains("as_of takes those of the stream"), "{refused}");
    let thinned = "[[step]]\nuid = \"some\"\nfilter = \"n > 1\"\n[[step]]\nuid = \"again\"\nselect = [\"user\", \"at\", \"n\"]\n[[step]]\nuid = \"met\"";
    let filtered =
        of("as_of = true").replace("[[step]]\nuid = \"met\"", thinned).replace("\"latest\", on", "\"again\", on");
    let refused = plan(&filtered).map(drop).unwrap_err().to_string();
    assert!(refused.contains("a step between drops rows of it"), "{refused}");
}

#[test]
fn what_meets_is_part_of_the_plan_that_a_checkpoint_remembers() {
    let hash = |join: &str| graph(&format!("{ON}, {join}")).plan_hash;
    let joins =
        ["window = \"10s\"", "window = \"20s\"", "within = {}", "as_of = true", "how = \"inner\"", "ttl = \"1h\""];
    for (place, join) in joins.iter().enumerate() {
        assert!(joins[..place].iter().all(|other| hash(other) != hash(join)), "{join}");
    }
}
