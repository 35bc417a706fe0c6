//! Process steps: what they plan to, and what is said about mistakes.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use forebay_core::process::{KnownProcess, ProcessShape, ProcessSide, ProcessSite};
use forebay_core::{Error, Kind, Result};
use forebay_plan::explain::explain;
use forebay_plan::graph::{EdgeKind, JobGraph, StepAction};
use forebay_plan::spec::Changes;
use forebay_plan::{JobFileError, Plan, build, parse};

use crate::support::{facts, functions};

const JOB: &str = include_str!("data/process.toml");

/// Gives the keys and a number; its side outputs are those rows and late ones. Called `updating`, it takes and gives updates.
#[derive(Debug)]
struct Sessions(&'static str);

impl KnownProcess for Sessions {
    fn name(&self) -> &str {
        self.0
    }

    fn shape(&self, site: &ProcessSite) -> Result<ProcessShape> {
        if site.settings.contains("bad") {
            return Err(Error::new(Kind::Invalid, "read settings").source("gap is missing"));
        }
        let mut fields: Vec<Field> = site.keys.iter().map(|place| site.input.field(*place).clone()).collect();
        fields.push(Field::new("pages", DataType::Int64, false));
        let output = Arc::new(Schema::new(fields));
        let updates = self.0 == "updating";
        let sides = [("robots", &output), ("late", &site.input)];
        let sides = sides.map(|(name, schema)| ProcessSide { name, schema: Arc::clone(schema) }).into();
        Ok(ProcessShape { output, sides, takes_updates: updates, gives_updates: updates })
    }
}

fn plan(text: &str) -> std::result::Result<Plan, JobFileError> {
    let known: [Arc<dyn KnownProcess>; 3] =
        ["sessions", "updating", "visits"].map(|name| Arc::new(Sessions(name)) as Arc<dyn KnownProcess>);
    build(&parse(text, "job.toml", |_| None)?, &facts(), &functions(), &known)
}

fn graph(text: &str) -> JobGraph {
    plan(text).unwrap_or_else(|error| panic!("{error}")).graph
}

#[test]
fn process_plan_reads_like_this() {
    insta::assert_snapshot!(explain(&graph(JOB)));
}

#[test]
fn rows_come_by_key_and_the_function_says_what_goes_out() {
    let graph = graph(JOB);
    let into = |name: &str| {
        let task = graph.tasks.iter().find(|task| task.name == name).unwrap();
        graph.edges.iter().filter(|edge| edge.to == task.id).map(|edge| edge.kind.clone()).collect::<Vec<_>>()
    };
    assert_eq!(into("all"), [EdgeKind::Keyed(Vec::new())]);
    let steps: Vec<_> = graph.tasks.iter().flat_map(|task| &task.steps).collect();
    let step = |uid: &str| *steps.iter().find(|step| step.uid == uid).unwrap();
    assert_eq!((step("visits").changes, step("all").changes), (Changes::Append, Changes::Updates));
    let StepAction::Process(spec) = &step("visits").action else { panic!("{:?}", step("visits")) };
    assert_eq!((spec.settings.as_str(), spec.sides.len()), (r#"{"gap":"30s","most":5}"#, 1));
    assert_eq!(step("visits").sides[0].schema, *step("visits").input(), "late rows have the columns that come in");
}

#[test]
fn settings_may_change_between_two_runs_and_the_function_may_not() {
    let hash = |from: &str, to: &str| {
        assert!(JOB.contains(from), "{from}");
        graph(&JOB.replacen(from, to, 1)).plan_hash
    };
    assert_eq!(hash("gap = \"30s\"", "gap = \"40s\""), graph(JOB).plan_hash);
    assert_ne!(hash("\"sessions\"", "\"visits\""), graph(JOB).plan_hash);
    assert_ne!(hash("by = [\"substr(user, 1, 1) AS letter\"]", "by = [\"user\"]"), graph(JOB).plan_hash);
}

#[test]
fn mistakes_have_their_place_and_advice() {
    let mut said = String::new();
    let mut case = |from: &str, to: &str| {
        assert!(JOB.contains(from), "{from}");
        let answer = plan(&JOB.replacen(from, to, 1)).map(|_| "no error".to_string());
        said.push_str(&format!("{to}\n    {}\n", answer.unwrap_or_else(|error| error.to_string())));
    };
    case("\"sessions\"", "\"sesions\"");
    case("\"sessions\"", "\"other\"");
    case("side_outputs = [\"late\"]", "side_outputs = [\"latest\"]");
    case("side_outputs = [\"late\"]", "side_outputs = [\"late\", \"late\"]");
    case("side_outputs = [\"late\"]", "side_outputs = [\"late\", \"latest\"]");
    case(", side_outputs = [\"late\"]", "");
    case("gap = \"30s\"", "bad = 1");
    case("substr(user, 1, 1) AS letter", "usr");
    case("substr(user, 1, 1) AS letter", "make_array(n) AS list");
    case("uid = \"all\"\nfrom = \"clicks\"\nprocess = { function", "uid = \"all\"\nfrom = \"clicks\"\nprocess = { fn");
    case("uid = \"all\"\n", "");
    case("kinds = \"change\"", "");
    case(
        "uid = \"all\"\nfrom = \"clicks\"\n",
        "uid = \"top\"\nfrom = \"clicks\"\ntop = { rows = 1, order = [\"n\"] }\n[[step]]\nuid = \"all\"\n",
    );
    case(
        "uid = \"all\"\nfrom = \"clicks\"\nprocess = { function = \"updating\" }",
        "uid = \"top\"\nfrom = \"clicks\"\ntop = { rows = 1, order = [\"n\"] }\n[[step]]\nuid = \"all\"\nprocess = { function = \"sessions\" }",
    );
    let none = build(&parse(JOB, "job.toml", |_| None).unwrap(), &facts(), &functions(), &[]).unwrap_err();
    said.push_str(&format!("a program without functions\n    {none}\n"));
    insta::assert_snapshot!(said);
}
