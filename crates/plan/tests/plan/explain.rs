//! The printed plan, as a snapshot.

use forebay_plan::explain::explain;

use crate::support::{DIGITS, job, plan};

#[test]
fn digits_plan_reads_like_this() {
    insta::assert_snapshot!(explain(&plan(DIGITS).unwrap().graph));
}

#[test]
fn digits_logical_plan_reads_like_this() {
    insta::assert_snapshot!(plan(DIGITS).unwrap().logical[0].display_indent());
}

#[test]
fn a_plan_without_models_names_none() {
    let shown = explain(&plan(&job("")).unwrap().graph);
    assert!(!shown.contains("models"), "{shown}");
}
