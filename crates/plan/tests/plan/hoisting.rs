//! Calls of row functions become steps of their own.

use forebay_core::types::tensor::TensorType;
use forebay_plan::graph::{Step, StepAction};

use crate::support::{job, plan};

/// The steps of the first task, as `kind` or the text of the call.
fn shown(steps: &[Step]) -> Vec<String> {
    let one = |step: &Step| match &step.action {
        StepAction::Filter { .. } => "filter".to_string(),
        StepAction::Project { .. } => "project".to_string(),
        StepAction::Call(call) => call.text.clone(),
        _ => "other".to_string(),
    };
    steps.iter().map(one).collect()
}

fn steps(text: &str) -> Vec<Step> {
    plan(&job(text)).expect("the job is right").graph.tasks.remove(0).steps
}

#[test]
fn nested_calls_run_from_the_inside_out() {
    let steps = steps("[[step]]\nselect = [\"upper_row(upper_row(path)) || '!' AS loud\"]");
    assert_eq!(shown(&steps), ["upper_row(path)", "upper_row(upper_row(path))", "project"]);
    assert_eq!(steps[0].uid, "step-1.upper_row");
    assert_eq!(steps[1].uid, "step-1.upper_row-2");
    assert_eq!(steps[2].output.fields().len(), 1);
}

#[test]
fn the_same_call_twice_in_a_step_is_made_once() {
    let steps = steps("[[step]]\nwith = [\"upper_row(path) AS a\", \"lower(upper_row(path)) AS b\"]");
    assert_eq!(shown(&steps), ["upper_row(path)", "project"]);
}

#[test]
fn a_filter_with_a_call_keeps_the_columns_it_had() {
    let steps = steps("[[step]]\nfilter = \"upper_row(path) = 'A'\"");
    assert_eq!(shown(&steps), ["upper_row(path)", "filter", "project"]);
    let (before, after) = (steps[0].input(), &steps[2].output);
    assert_eq!(before.fields(), after.fields());
}

#[test]
fn a_call_sees_expressions_as_its_argument() {
    let steps = steps("[[step]]\nselect = [\"upper_row(concat(path, '?')) AS a\"]");
    assert_eq!(shown(&steps), ["upper_row(concat(path, '?'))", "project"]);
    let StepAction::Call(call) = &steps[0].action else { panic!("a call") };
    assert_eq!(call.arguments.len(), 1);
}

#[test]
fn constants_may_be_negative_or_cast() {
    let text = "image_to_tensor(content, CAST('4' AS BIGINT), -(-2)) AS x";
    let steps = steps(&format!("[[step]]\nselect = [\"{text}\"]"));
    let StepAction::Call(call) = &steps[0].action else { panic!("a call") };
    assert_eq!(call.arguments.len(), 1, "only the images are a column");
}

#[test]
fn tensor_shape_survives_into_the_columns_of_later_steps() {
    let steps = steps("[[step]]\nwith = [\"image_to_tensor(content, 4, 2) AS x\"]\n[[step]]\nfilter = \"path <> ''\"");
    let last = &steps.last().unwrap().output;
    let tensor = TensorType::of(last.field_with_name("x").unwrap()).unwrap();
    assert_eq!(tensor.shape, [2, 4, 1]);
    assert_eq!(last.field(1).metadata()["ARROW:extension:name"], "forebay.image");
}

#[test]
fn null_on_error_makes_the_result_nullable() {
    let steps = steps("[[step]]\nselect = [\"upper_row(path) AS a\"]\non_error = \"null\"");
    assert!(steps.last().unwrap().output.field(0).is_nullable());
}
