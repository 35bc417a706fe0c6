//! What recorded refusals mean: one line an exchange in `exchanges/<protocol>/refusals.json`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use forebay_core::{Error, Kind};
use forebay_gate::limiter::Class;
use forebay_inference::protocols::signals::{
    Dialect, GrpcStatus, Rule, of_error_object, of_grpc, of_http, utilization,
};
use forebay_inference::protocols::{Meaning, Refusal, class_of, is_forbidden, retry_after};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    dialect: Option<String>,
    #[serde(default)]
    status: u16,
    #[serde(default)]
    headers: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    grpc: Option<serde_json::Map<String, serde_json::Value>>,
    means: String,
    kind: String,
    #[serde(default)]
    retry_after_ms: Option<u64>,
    #[serde(default)]
    retryable: Option<bool>,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    words: Option<String>,
}

fn headers(map: &serde_json::Map<String, serde_json::Value>) -> HeaderMap {
    let pair = |(name, value): (&String, &serde_json::Value)| {
        (HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value.as_str().unwrap()).unwrap())
    };
    map.iter().map(pair).collect()
}

/// The error as a caller far above the protocol sees it.
fn error(refusal: Refusal) -> Error {
    let kind = refusal.meaning.kind();
    Error::new(kind, "answer rows").source(Error::new(kind, "call model").source(refusal))
}

fn check(default: Dialect, text: &str) {
    let cases: Vec<Case> = serde_json::from_str(text).unwrap();
    for case in cases {
        let refusal = match &case.grpc {
            Some(trailers) => of_grpc(&GrpcStatus::of_trailers(&headers(trailers)).unwrap()),
            None => {
                let dialect = if case.dialect.as_deref() == Some("dynamo") { Dialect::Dynamo } else { default };
                of_http(dialect, &[], case.status, &headers(&case.headers), case.body.as_bytes())
            }
        };
        let refusal = refusal.unwrap_or_else(|| panic!("{}: no refusal", case.name));
        let name = &case.name;
        let (meaning, class) = match case.means.as_str() {
            "throttled" => (Meaning::Throttled, Class::Throttled),
            "overloaded" => (Meaning::Overloaded, Class::Overloaded),
            "down" => (Meaning::Down, Class::Down),
            "timeout" => (Meaning::Timeout, Class::Timeout),
            "too_large" => (Meaning::TooLarge, Class::TooLarge),
            "bad_row" => (Meaning::BadRow, Class::Answered),
            "settings" => (Meaning::Settings, Class::Answered),
            other => panic!("{name}: {other}"),
        };
        assert_eq!(refusal.meaning, meaning, "{name}: {refusal}");
        if case.code.is_some() {
            assert_eq!(refusal.code, case.code, "{name}");
        }
        if let Some(words) = &case.words {
            assert_eq!(refusal.words, *words, "{name}");
        }
        let error = error(refusal);
        assert_eq!(error.kind().name(), case.kind, "{name}");
        assert_eq!(class_of(&error), class, "{name}");
        assert_eq!(retry_after(&error), case.retry_after_ms.map(Duration::from_millis), "{name}");
        assert_eq!(!is_forbidden(&error), case.retryable.unwrap_or(true), "{name}");
    }
}

#[test]
fn refusals_of_http_services() {
    check(Dialect::Http, include_str!("exchanges/http_json/refusals.json"));
}

#[test]
fn refusals_of_openai_compatible_servers() {
    check(Dialect::OpenAi, include_str!("exchanges/openai/refusals.json"));
}

#[test]
fn refusals_of_open_inference_servers() {
    check(Dialect::OpenInference, include_str!("exchanges/open_inference/refusals.json"));
}

#[test]
fn a_rule_of_the_user_comes_first() {
    let rule = Rule { status: Some(400), contains: Some("busy".into()), meaning: Meaning::Overloaded };
    let meaning = |status, body: &str| {
        of_http(Dialect::Http, std::slice::from_ref(&rule), status, &HeaderMap::new(), body.as_bytes()).unwrap().meaning
    };
    assert_eq!(meaning(400, "we are busy"), Meaning::Overloaded);
    assert_eq!(meaning(400, "bad text"), Meaning::BadRow);
    assert_eq!(meaning(401, "we are busy"), Meaning::Settings);
}

#[test]
fn success_refuses_nothing() {
    assert_eq!(of_http(Dialect::Http, &[], 200, &HeaderMap::new(), b"CUDA out of memory"), None);
    assert_eq!(of_grpc(&GrpcStatus::default()), None);
}

#[test]
fn an_error_inside_a_stream_is_read_like_one_outside() {
    let error = serde_json::json!({ "message": "engine_overloaded", "code": 500 });
    assert_eq!(of_error_object(Dialect::OpenAi, "error in stream", &error).meaning, Meaning::Overloaded);
    let error = serde_json::json!({ "error": { "message": "slow down", "code": 429 } });
    assert_eq!(of_error_object(Dialect::OpenAi, "error in stream", &error).meaning, Meaning::Throttled);
}

#[test]
fn orca_utilization_is_read_in_both_forms() {
    let case = |value: &'static str| {
        utilization(&HeaderMap::from_iter([(
            HeaderName::from_static("endpoint-load-metrics"),
            HeaderValue::from_static(value),
        )]))
    };
    assert_eq!(case("TEXT cpu_utilization=0.3,application_utilization=1.25"), Some(1.25));
    assert_eq!(case("JSON {\"application_utilization\": 0.5}"), Some(0.5));
    assert_eq!(case("TEXT application_utilization=NaN"), None);
    assert_eq!(case("BIN AAAA"), None);
}

#[test]
fn errors_without_a_refusal_are_classed_by_kind() {
    let class = |kind| class_of(&Error::new(kind, "x"));
    assert_eq!(class(Kind::Unavailable), Class::Down);
    assert_eq!(class(Kind::Exhausted), Class::TooLarge);
    assert_eq!(class(Kind::Cancelled), Class::Cancelled);
    assert_eq!(class(Kind::Data), Class::Answered);
    assert_eq!(retry_after(&Error::new(Kind::Overload, "x")), None);
}
