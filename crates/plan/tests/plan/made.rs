//! Sources that make rows on the spot, sinks that drop them: what they need, what they refuse, which columns are made.

use forebay_plan::explain::explain;

use crate::support::plan;

/// A job over made bids; `steps` and `source` are more of each.
fn job(source: &str, steps: &str, sink: &str) -> String {
    format!(
        "name = \"made\"\n[source.bids]\nformat = \"nexmark\"\n{source}\n{steps}\n[sink]\n{sink}\n\
         [dead_letters]\npath = \"dead\"\n"
    )
}

const BIDS: &str = "nexmark = { stream = \"bid\", rows = 1000 }";
const DROPPED: &str = "format = \"blackhole\"";

/// The names of the columns that the source makes.
fn made(source: &str, steps: &str) -> Vec<String> {
    let graph = plan(&job(source, steps, DROPPED)).expect("the job is right").graph;
    graph.tasks[0].inputs()[0].fields().iter().map(|field| field.name().clone()).collect()
}

fn error(text: &str) -> String {
    plan(text).expect_err("the job is wrong").to_string()
}

#[test]
fn plan_of_made_and_dropped_rows_reads_like_this() {
    let steps = "[[step]]\nfilter = \"auction % 123 = 0\"\n[[step]]\nselect = [\"auction\", \"price\"]";
    insta::assert_snapshot!(explain(&plan(&job(BIDS, steps, DROPPED)).unwrap().graph));
}

#[test]
fn only_columns_that_are_used_are_made() {
    assert_eq!(made(BIDS, ""), ["auction", "price", "date_time", "extra"]);
    assert_eq!(made(BIDS, "[[step]]\nfilter = \"price > 7\""), ["auction", "price", "date_time", "extra"]);
    let steps = "[[step]]\nfilter = \"price > 7\"\n[[step]]\nselect = [\"extra AS more\"]";
    assert_eq!(made(BIDS, steps), ["price", "extra"]);
    let timed = format!("{BIDS}\nwatermark = {{ time = \"date_time\" }}");
    assert_eq!(made(&timed, steps), ["price", "date_time", "extra"]);
    assert_eq!(made(BIDS, "[[step]]\nselect = [\"1 AS one\"]"), ["auction"], "a row has one column at least");
}

#[test]
fn all_readers_of_a_source_count() {
    let steps = "[[step]]\nuid = \"a\"\nfrom = \"bids\"\nselect = [\"auction\"]\n\
                 [[step]]\nuid = \"b\"\nfrom = \"bids\"\nselect = [\"price AS auction\"]\n\
                 [[step]]\nunion = [\"a\", \"b\"]";
    assert_eq!(made(BIDS, steps), ["auction", "price"]);
}

#[test]
fn keys_in_the_wrong_place_are_errors() {
    let cases = [
        (job("", "", DROPPED), "the format nexmark needs its table"),
        (
            job(&format!("{BIDS}\nwatermark = {{ time = \"date_time\", files = \"in_order\" }}"), "", DROPPED),
            "a source of format nexmark has no files",
        ),
        (job(&format!("{BIDS}\npath = \"x\""), "", DROPPED), "the format nexmark has no path"),
        (job(BIDS, "", "format = \"blackhole\"\npath = \"out\""), "the format blackhole has no path"),
        (job(BIDS, "", "format = \"jsonl\""), "the format jsonl needs a path"),
        (job(BIDS, "", DROPPED).replace("nexmark\"", "csv\"\npath = \"x\""), "a source of format csv has no nexmark"),
        (job(BIDS, "", DROPPED).replace("path = \"dead\"", ""), "where its dead letters go"),
        (
            job(BIDS, "", DROPPED).replace("path = \"dead\"", "path = \"dead\"\nformat = \"blackhole\""),
            "cannot be dropped",
        ),
    ];
    for (text, expected) in cases {
        let found = error(&text);
        assert!(found.contains(expected), "{found}\n\nin\n{text}");
    }
}
