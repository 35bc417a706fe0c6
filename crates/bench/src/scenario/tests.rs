//! Files that are right, files that are wrong and what is said of them, and scenarios drawn at random.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;
use crate::error::Error;

const PLAIN: &str = r#"
name = "plain"
objective = "200ms"
length = "1m"

[backend.slots]
slots = 4
service = { mean = "50ms" }
"#;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benchmarks/gate/scenarios")
}

/// What is said of [`PLAIN`] with `more` at the end and `from` replaced by `to`: line, key, message.
fn complaint(from: &str, to: &str, more: &str) -> (usize, String, String) {
    let text = format!("{}{more}", PLAIN.replace(from, to));
    match parse(&text, Path::new("test.toml")) {
        Err(Error::Scenario { line, key, message, .. }) => (line, key, message),
        other => panic!("expected a complaint: {other:?}"),
    }
}

#[track_caller]
fn complains(from: &str, to: &str, more: &str, line: usize, key: &str, part: &str) {
    let (is_line, is_key, message) = complaint(from, to, more);
    assert_eq!((is_line, is_key.as_str()), (line, key), "{message}");
    assert!(message.contains(part), "{message}");
}

#[test]
fn a_file_needs_little() {
    let scenario = parse(PLAIN, Path::new("test.toml")).unwrap();
    assert_eq!((scenario.objective, scenario.length, scenario.round_trip), (Span(0.2), Span(60.0), Span(0.002)));
    assert_eq!((scenario.timeout_seconds(), scenario.client_spans()), (0.4, vec![(0.0, f64::INFINITY)]));
    assert_eq!(scenario.accept, Accept::default());
    let (conditions, ramping) = scenario.conditions(30.0);
    assert_eq!((conditions.capacity, conditions.demand, ramping), (1.0, f64::INFINITY, Ramping::Steady));
}

#[test]
fn wrong_files_are_told_where_and_why() {
    complains("slots = 4", "slots = 0", "", 7, "backend.slots.slots", "count of at least 1");
    complains("slots = 4", "slots = 4\nsloths = 1", "", 8, "backend.slots.sloths", "unknown field `sloths`");
    complains("\"200ms\"", "\"200\"", "", 3, "objective", "not a duration");
    complains("\"200ms\"", "200", "", 3, "objective", "expected a string");
    complains("\"200ms\"", "\"0s\"", "", 3, "objective", "longer than 0");
    complains("objective = \"200ms\"\n", "", "", 1, "", "missing field `objective`");
    complains("[backend.slots]", "[backend.slugs]", "", 6, "backend.slugs", "unknown variant `slugs`");
    complains("slots = 4", "slots = ", "", 7, "", "");
    complains("\"50ms\"", "\"50ms\", cv = -1", "", 8, "backend.slots.service.cv", "at least 0");
}

#[test]
fn contradictions_are_told_where_and_why() {
    let phases = "[[phases]]\nat = \"20s\"\n[[phases]]\nat = \"10s\"\n";
    complains("", "", phases, 12, "phases[1].at", "begin after the one before");
    complains("", "", "[[phases]]\nat = \"2m\"\n", 10, "phases[0].at", "over before");
    complains("", "", "[[phases]]\nat = \"9s\"\nrate_limit = 5\n", 11, "phases[0].rate_limit", "no [gateway]");
    let replica = "[[phases]]\nat = \"9s\"\nreplicas = [{ replica = 2, service = 2.0 }]\n";
    complains("", "", replica, 11, "phases[0].replicas", "has 1 replicas");
    complains("", "", "[[clients]]\nstart = \"9s\"\nstop = \"5s\"\n", 11, "clients[0].stop", "before it begins");
    complains("length", "rows_per_call_max = 2\nlength", "", 4, "rows_per_call_max", "one row a call");
    complains("length", "hedge = { budget_ratio = 0.1 }\nlength", "", 4, "hedge", "two visible replicas");
}

#[test]
fn every_scenario_of_the_study_is_there() {
    let names: BTreeSet<String> = load_all(&folder()).unwrap().into_iter().map(|scenario| scenario.name).collect();
    let groups = [("A", 9), ("B", 4), ("C", 5), ("D", 8), ("E", 5)];
    let study = groups.iter().flat_map(|(group, count)| (1..=*count).map(move |number| format!("{group}{number}")));
    let wanted: BTreeSet<String> = study.chain(["knee".to_string()]).collect();
    assert_eq!(names, wanted);
}

#[test]
fn every_file_says_what_it_shows_and_bears_its_name() {
    for scenario in load_all(&folder()).unwrap() {
        let text = std::fs::read_to_string(folder().join(format!("{}.toml", scenario.name))).unwrap();
        assert!(text.starts_with("# ") && text.lines().nth(1).unwrap().starts_with("name"), "{}", scenario.name);
        assert!(!scenario.title.is_empty(), "{}", scenario.name);
    }
}

#[test]
fn what_is_written_reads_the_same() {
    let mut all = load_all(&folder()).unwrap();
    all.extend(random(5, 8).into_iter().map(rounded));
    for scenario in all {
        let text = toml::to_string(&scenario).unwrap();
        assert_eq!(parse(&text, Path::new("written.toml")).unwrap(), scenario, "{text}");
    }
}

/// With durations of whole nanoseconds, as text has them.
fn rounded(scenario: Scenario) -> Scenario {
    toml::from_str(&toml::to_string(&scenario).unwrap()).unwrap()
}

#[test]
fn random_scenarios_do_not_depend_on_how_many_are_drawn() {
    assert_eq!(random(9, 12)[..5], random(9, 5)[..]);
    assert_ne!(random(9, 4)[0].backend, random(10, 4)[0].backend);
    let families: Vec<bool> = random(9, 4).iter().map(|scenario| scenario.backend.takes_client_batches()).collect();
    assert_eq!(families, [false, true, false, false]);
}

#[test]
fn random_scenarios_contradict_nothing() {
    for scenario in random(90_001, 64).into_iter().map(rounded) {
        let text = toml::to_string(&scenario).unwrap();
        assert!(parse(&text, Path::new("random.toml")).is_ok(), "{text}");
        assert!(scenario.phases.len() >= 3 && scenario.objective.0 > 0.0);
    }
}

#[test]
fn a_ramp_goes_straight_to_the_next_phase() {
    let more = "[[phases]]\nat = \"10s\"\nramp = true\n[[phases]]\nat = \"20s\"\ncapacity = 0.5\ndemand = 7\n";
    let scenario = parse(&format!("{PLAIN}{more}"), Path::new("ramp.toml")).unwrap();
    let capacity = |at: f64| scenario.conditions(at).0.capacity;
    assert_eq!([9.0, 10.0, 15.0, 20.0, 59.0].map(capacity), [1.0, 1.0, 0.75, 0.5, 0.5]);
    assert_eq!(scenario.conditions(15.0).1, Ramping::Moving);
    let demand = |at: f64| scenario.conditions(at).0.demand;
    assert_eq!((demand(15.0), demand(20.0)), (f64::INFINITY, 7.0), "a backlog does not shrink to a rate");
}

/// `UPDATE=1` rewrites the file.
#[test]
fn the_schema_file_is_current() {
    let path = folder().join("../scenario.schema.json");
    let schema = schemars::schema_for!(Scenario).to_value();
    let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert!(std::fs::read_to_string(&path).unwrap() == text, "run again with UPDATE=1");
}
