//! Cuts, edges, regions and the hash.

use std::num::NonZeroU16;
use std::sync::Arc;

use arrow::array::{AsArray, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use forebay_plan::graph::{EdgeKind, StepAction};
use forebay_plan::{Overrides, needs, parse, parse_with};

use crate::support::{DIGITS, job, plan};

#[test]
fn a_task_starts_before_inference_and_before_the_sink() {
    let graph = plan(DIGITS).unwrap().graph;
    let ids: Vec<&str> = graph.tasks.iter().map(|task| task.id.as_str()).collect();
    assert_eq!(ids, ["t1-images", "t2-digits", "t3-sink"]);
    for pair in graph.tasks.windows(2) {
        assert_eq!(pair[0].output(), &pair[1].inputs()[0]);
    }
    for task in &graph.tasks {
        for pair in task.steps.windows(2) {
            assert_eq!(&pair[0].output, pair[1].input(), "{}", pair[1].uid);
        }
    }
}

#[test]
fn another_parallelism_makes_an_exchange() {
    let graph = plan(DIGITS).unwrap().graph;
    let kind =
        |from: &str, to: &str| graph.edges.iter().find(|edge| edge.from == from && edge.to == to).unwrap().kind.clone();
    assert_eq!(kind("t1-images", "t2-digits"), EdgeKind::Forward);
    assert_eq!(kind("t2-digits", "t3-sink"), EdgeKind::Exchange);
    assert_eq!(kind("t2-digits", "model-digits"), EdgeKind::Call);
    assert_eq!(kind("t3-sink", "committer-sink"), EdgeKind::Durable);
    assert_eq!(kind("t1-images", "committer-dead-letters"), EdgeKind::Durable);
}

#[test]
fn regions_follow_pipelined_edges_and_models_are_in_none() {
    let graph = plan(DIGITS).unwrap().graph;
    let parts: Vec<Vec<String>> = graph.regions.iter().map(|region| region.parts.clone()).collect();
    assert_eq!(parts[0], ["t1-images", "t2-digits", "t3-sink"]);
    assert_eq!(parts[1..], [["committer-sink"], ["committer-dead-letters"]]);
    assert!(graph.region_of("model-digits").is_none());
}

#[test]
fn hash_ignores_what_may_change_between_runs_and_sees_the_rest() {
    let hash = |text: &str| plan(text).unwrap().graph.plan_hash;
    let first = hash(DIGITS);
    assert_eq!(first.to_string().parse::<forebay_plan::graph::PlanHash>().unwrap(), first);
    let may = [
        ("parallelism = 2", "parallelism = 3"),
        ("\"1s\"", "\"5s\""),
        ("path = \"data/", "path = \"elsewhere/"),
        ("[model.digits]", "[model.digits]\nreplicas = 2"),
    ];
    for (from, to) in may {
        assert_eq!(hash(&DIGITS.replace(from, to)), first, "{to}");
    }
    let must = [
        ("uid = \"images\"", "uid = \"photos\""),
        ("number AS label", "number AS truth"),
        ("how = \"left\"", "how = \"inner\""),
        ("name = \"digits\"\n", "name = \"digits\"\nkey_groups = 64\n"),
    ];
    for (from, to) in must {
        let other = hash(&DIGITS.replacen(from, to, 1));
        assert_ne!(other, first, "{to}");
        assert_eq!(first.check_restore(other).unwrap_err().kind(), forebay_core::Kind::Invalid);
    }
}

#[test]
fn needs_name_the_source_tables_and_models() {
    let job = parse(DIGITS, "job.toml", |_| Some("out".to_string())).unwrap();
    let needs = needs(&job);
    assert_eq!(needs.sources["images"].path, "data/*.{png,jpg}");
    assert_eq!(needs.tables.keys().copied().collect::<Vec<_>>(), [4]);
    assert_eq!(needs.models["digits"].replicas, 1);
    assert_eq!(job.dead_letters.path, "out/_dead_letters");
}

#[test]
fn join_appends_the_table_without_its_keys() {
    let steps =
        plan(&job("[[step]]\njoin = { table = { format = \"csv\", path = \"l.csv\" }, on = { path = \"file\" } }"));
    let step = steps.unwrap().graph.tasks.remove(0).steps.remove(0);
    let names: Vec<String> = step.output.fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["path", "content", "taken", "number", "ratio"]);
    let StepAction::LookupJoin(join) = step.action else { panic!("a join") };
    assert_eq!((join.on, join.take), (vec![(0, 0)], vec![1, 2]));
}

#[test]
fn infer_wires_columns_by_place_and_takes_the_types_of_the_model() {
    let graph = plan(DIGITS).unwrap().graph;
    let step = &graph.tasks[1].steps[0];
    let StepAction::Infer(infer) = &step.action else { panic!("inference") };
    assert_eq!(infer.inputs, [("pixels".to_string(), 1)]);
    let types: Vec<String> = step.output.fields().iter().map(|field| field.data_type().to_string()).collect();
    assert_eq!(types[2], "Int64");
    assert!(types[3].starts_with("FixedSizeList(10 x"), "{}", types[3]);
}

#[test]
fn expressions_of_steps_evaluate_over_their_input() {
    let steps = "[[step]]\nfilter = \"taken > 1\"\n[[step]]\nwith = [\"taken + length(path) AS taken\", \"Upper(path) AS loud\"]";
    let steps = plan(&job(steps)).unwrap().graph.tasks.remove(0).steps;
    let rows = RecordBatch::try_new(
        Arc::clone(steps[0].input()),
        vec![
            Arc::new(StringArray::from(vec!["a", "bb", "cc"])),
            Arc::new(BinaryArray::from(vec![b"".as_slice(), b"", b""])),
            Arc::new(Int64Array::from(vec![Some(1), Some(2), None])),
        ],
    )
    .unwrap();
    let StepAction::Filter { predicate, .. } = &steps[0].action else { panic!("a filter") };
    let kept = predicate.evaluate(&rows).unwrap().into_array(3).unwrap();
    assert_eq!(kept.as_boolean().iter().collect::<Vec<_>>(), [Some(false), Some(true), None]);
    let StepAction::Project { columns, .. } = &steps[1].action else { panic!("a projection") };
    let arrays = columns.iter().map(|column| column.expr.evaluate(&rows).unwrap().into_array(3).unwrap());
    let projected = RecordBatch::try_new(Arc::clone(&steps[1].output), arrays.collect()).unwrap();
    assert_eq!(projected["taken"].as_primitive::<Int64Type>().value(1), 4);
    assert_eq!(projected["loud"].as_string::<i32>().value(2), "CC");
}

#[test]
fn command_line_parallelism_replaces_the_jobs_and_not_that_of_parts() {
    let overrides = Overrides { parallelism: NonZeroU16::new(5) };
    let job = parse_with(DIGITS, "job.toml", |_| Some("out".to_string()), overrides).unwrap();
    assert_eq!((job.sources[0].spec.parallelism, job.sinks[0].parallelism), (5, 1));
}
