//! The function on its own, through restarts; and the guide shows this example word for word.

#![allow(clippy::unwrap_used, reason = "a test may stop at anything odd")]

use std::path::PathBuf;

use forebay::EventTime;
use forebay::process::{Columns, Trial};

#[path = "../src/sessions.rs"]
mod sessions;

use sessions::Sessions;

fn trial() -> Trial {
    let columns = Columns::new().int("user").text("page").float("price").nullable().event_time("at");
    Trial::new::<Sessions>(columns, &["user"], r#"{"gap": "30s"}"#).unwrap()
}

#[test]
fn a_visit_ends_with_silence_or_a_purchase() {
    let mut trial = trial();
    trial.rows(r#"{"user": 1, "page": "search", "at": "2026-01-31T12:00:20Z"}"#).unwrap();
    trial.rows(r#"{"user": 1, "page": "home", "at": "2026-01-31T12:00:00Z"}"#).unwrap();
    trial.rows(r#"{"user": 2, "page": "bought", "price": 9.5, "at": "2026-01-31T12:00:10Z"}"#).unwrap();
    trial.restart(3).unwrap();
    trial.end().unwrap();
    let mut visits = trial.output().unwrap();
    visits.sort();
    assert_eq!(
        visits,
        [
            r#"{"user":1,"start":"2026-01-31T12:00:00Z","end":"2026-01-31T12:00:50Z","pages":2,"spent":0.0,"bought":false}"#,
            r#"{"user":2,"start":"2026-01-31T12:00:10Z","end":"2026-01-31T12:00:10Z","pages":1,"spent":9.5,"bought":true}"#,
        ]
    );
}

#[test]
fn what_was_late_before_a_restart_is_late_after_it() {
    let mut trial = trial();
    trial.watermark(EventTime(1_769_860_830_000_000)).unwrap();
    trial.restart(2).unwrap();
    trial.rows(r#"{"user": 1, "page": "home", "at": "2026-01-31T12:00:30Z"}"#).unwrap();
    assert_eq!(trial.side("late").unwrap(), [r#"{"user":1,"page":"home","at":"2026-01-31T12:00:30Z"}"#]);
}

#[test]
fn a_negative_price_costs_its_row() {
    let mut trial = trial();
    trial.rows(r#"{"user": 1, "page": "bought", "price": -1.0, "at": "2026-01-31T12:00:00Z"}"#).unwrap();
    trial.end().unwrap();
    assert_eq!((trial.output().unwrap().len(), trial.dead_letters().len()), (0, 1));
}

fn read(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn blocks_of_the_guide_are_in_the_example() {
    let page = read("../../docs/guide/process-functions.md");
    for (language, files) in
        [("rust", &["src/main.rs", "src/sessions.rs", "tests/sessions.rs"][..]), ("toml", &["job.toml"][..])]
    {
        let source: String = files.iter().map(|file| read(file)).collect();
        let fence = format!("```{language}\n");
        let blocks: Vec<&str> = page.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!blocks.is_empty(), "{language}");
        for block in blocks {
            assert!(source.contains(block), "not in {files:?}:\n{block}");
        }
    }
}
