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
fn rows_and_fallbacks_of_inference_are_shown() {
    let step = r#"
[[step]]
[step.infer]
model = "m"
inputs = { text = "path" }
outputs = { answer = "a", score = "s" }
order = "per_key"
key = ["taken"]
deadline = "2s"
cost = "length(path)"
batch_cost = 4096
length = "length(path)"
buckets = [64, 256]
close_on_watermark = true
fallback = [
    { model = "second" },
    { sql = { answer = "upper(path)" } },
    { constant = { answer = "unknown", score = 0 } },
]
fallback_column = "by"
fallback_after = "1m"

[model.m]
host = "fake"

[model.second]
host = "fake"
"#;
    insta::assert_snapshot!(explain(&plan(&job(step)).unwrap().graph));
}

#[test]
fn a_plan_without_models_names_none() {
    let shown = explain(&plan(&job("")).unwrap().graph);
    assert!(!shown.contains("models"), "{shown}");
}

#[test]
fn a_model_with_limits_and_replicas_reads_like_this() {
    let model = r#"host = "open_inference"
urls = ["https://a", "https://b"]
latency = "200ms"
idempotent = true
hedge = { after = "80ms" }
limits = { requests_per_second = 2.5, rows_per_second = 100, in_flight_bytes = "64MiB" }
refusals = [{ status = 500, contains = "busy", means = "overload" }]
ca = "ca.pem"
request_bytes = "4MiB"
"#;
    let text = DIGITS.replacen("host = \"onnx\"\npath = \"digits.onnx\"\n", model, 1);
    let told = explain(&plan(&text).unwrap().graph);
    let models: Vec<&str> =
        told.lines().skip_while(|line| *line != "models").take_while(|line| !line.is_empty()).collect();
    assert_eq!(
        models,
        [
            "models",
            "  model-digits: digits of an Open Inference server at https://a, https://b",
            "    as many requests in flight as it answers within 200ms, 99 in 100",
            "    at most 2.5 requests a second, 100 rows a second, 64MiB in flight, whoever asks",
            "    a second copy on another replica after 80ms, of at most 5 in 100 requests",
            "    journal on: an answer is stored before it is used and never asked for twice",
        ]
    );
}

#[test]
fn a_fetch_says_whom_it_asks() {
    let model = "host = \"fetch\"\nfetch = { private_hosts = [\"a\", \"b:1\"] }\n";
    let text = DIGITS.replacen("host = \"onnx\"\npath = \"digits.onnx\"\n", model, 1);
    let told = explain(&plan(&text).unwrap().graph);
    let expected = "  model-digits: fetches what the url of each row names, at public addresses only\n    and at a, b:1, public or not\n";
    assert!(told.contains(expected), "{told}");
}
