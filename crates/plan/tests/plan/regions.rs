//! Durable steps: where they cut, and which are refused.

use forebay_plan::explain::explain;
use forebay_plan::graph::EdgeKind;

use crate::support::{job, plan};

const INFER: &str = "[[step]]\n[step.infer]\nuid = \"ask\"\nmodel = \"digits\"\ninputs = { pixels = \"pixels\" }\n\
                     outputs = { label = \"label\" }\n";
const PIXELS: &str = "[[step]]\nselect = [\"path\", \"image_to_tensor(content, 8, 8) AS pixels\"]\n";
const DIGITS: &str = "[model.digits]\nhost = \"onnx\"\npath = \"digits.onnx\"\n";

fn cut(durable: &str) -> String {
    job(&format!("{PIXELS}[[step]]\nuid = \"decoded\"\ndurable = {durable}\n{INFER}{DIGITS}"))
}

fn error(text: &str) -> String {
    plan(text).expect_err("the job is wrong").to_string()
}

#[test]
fn a_durable_step_makes_a_region_of_what_is_behind_it() {
    let graph = plan(&cut("{}")).unwrap().graph;
    let parts: Vec<Vec<String>> = graph.task_regions().map(|region| region.parts.clone()).collect();
    assert_eq!(parts, [vec!["t1-source"], vec!["t2-decoded", "t3-ask", "t4-sink"]]);
    let edge = graph.edges.iter().find(|edge| edge.kind == EdgeKind::Logged).unwrap();
    assert_eq!((edge.from.as_str(), edge.to.as_str()), ("t1-source", "t2-decoded"));
    insta::assert_snapshot!(explain(&graph));
}

#[test]
fn a_durable_step_needs_a_uid_and_room() {
    assert!(error(&cut("{}").replace("uid = \"decoded\"\n", "")).contains("keeps state and needs a uid"));
    assert!(error(&cut("{ quota = \"1KiB\" }")).contains("less than 1 MiB"));
    let mode = error(&cut("{ mode = \"sometimes\" }"));
    assert!(mode.contains("accepted: commit_read, id_dedupe"), "{mode}");
}

#[test]
fn a_cut_that_separates_nothing_is_refused() {
    let steps = "[[step]]\nuid = \"cut\"\ndurable = {}\n[[step]]\nuid = \"again\"\nunion = [\"cut\", \"source\"]";
    let meets = error(&job(steps));
    assert!(meets.contains("does not cut the job in two"), "{meets}");
    let twice = format!("{INFER}[[step]]\nuid = \"cut\"\ndurable = {{}}\n");
    let twice = format!(
        "{PIXELS}{twice}{}{DIGITS}",
        INFER.replace("\"ask\"", "\"again\"").replace("\"label\" }", "\"other\" }")
    );
    let shared = error(&job(&twice));
    assert!(shared.contains("does not cut the job in two"), "{shared}");
}

#[test]
fn id_dedupe_needs_rows_that_come_again() {
    assert!(plan(&cut("{ mode = \"id_dedupe\" }")).is_ok());
    let durable =
        format!("{PIXELS}{INFER}[[step]]\nuid = \"answered\"\ndurable = {{ mode = \"id_dedupe\" }}\n{DIGITS}");
    assert!(plan(&job(&durable)).is_ok());
    // What does not lead to the cut may be anything.
    let beside = "[[step]]\nuid = \"plain\"\nfrom = \"step-1\"\ndurable = { mode = \"id_dedupe\" }\n[sink.a]\nfrom = \"ask\"\n\
                  format = \"parquet\"\npath = \"a\"\n[sink.b]\nfrom = \"plain\"\nformat = \"jsonl\"\npath = \"b\"\n[dead_letters]\npath = \"d\"\n";
    let beside = format!("{PIXELS}{INFER}{beside}{DIGITS}journal = false\n");
    let beside = job(&beside).replace("[sink]\nformat = \"parquet\"\npath = \"out\"\n", "");
    assert!(plan(&beside).is_ok(), "{:?}", plan(&beside).err());
    let unjournalled = error(&job(&format!("{durable}journal = false\n")));
    assert!(unjournalled.contains("step \"ask\" in front of \"answered\" may give other rows again"), "{unjournalled}");
}
