//! HTTP/JSON services: templates, pointers, credentials, refusals and answers that are hostile.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type};
use forebay_core::{Error, Kind, Result};
use forebay_gate::limiter::Class;
use forebay_inference::hosts::{Host, Slot};
use forebay_inference::protocols::gauges::Scraper;
use forebay_inference::protocols::http_json::{HttpJson, HttpJsonSettings, Output, Rows, host};
use forebay_inference::protocols::{Connections, EndpointSettings, RemoteHost, Secrets, class_of, retry_after};
use serde_json::json;

use support::servers::{Script, Scripted};
use support::{TokioEnv, batch, cells};

fn settings(url: &str) -> HttpJsonSettings {
    let output = |name: &str, value, pointer: &str| Output { slot: Slot::scalar(name, value), pointer: pointer.into() };
    HttpJsonSettings {
        endpoint: EndpointSettings::new(url),
        request: json!({ "q": "about {{text}}", "weight": "{{weight}}" }),
        inputs: vec![Slot::scalar("weight", DataType::Float64)],
        outputs: vec![
            output("label", DataType::Utf8, "/result/0/label"),
            output("score", DataType::Float32, "/result/0/score"),
        ],
        rows: Rows::One,
        revision: String::new(),
    }
}

fn secrets() -> Secrets {
    Secrets::new(|name| (name == "KEY").then(|| "sk-very-hidden".to_string()))
}

fn made(settings: &HttpJsonSettings) -> Result<RemoteHost<HttpJson>> {
    host(settings, &Connections::new(), &secrets())
}

fn rows(texts: &[&str]) -> RecordBatch {
    let weights: ArrayRef = Arc::new(Float64Array::from(vec![0.5; texts.len()]));
    let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    RecordBatch::try_from_iter([("text", texts), ("weight", weights)]).unwrap()
}

async fn asked(settings: &HttpJsonSettings, texts: &[&str]) -> Result<RecordBatch> {
    let replica = made(settings)?.start(0).await?;
    replica.call(batch(1, rows(texts))).await.map(|answers| answers.rows)
}

async fn refused(script: Script) -> Error {
    let server = Scripted::start(vec![script]);
    asked(&settings(&server.url()), &["a"]).await.unwrap_err()
}

#[tokio::test]
async fn a_row_goes_out_through_the_template_and_comes_back_through_pointers() {
    let answer = |label: &str| Script::json(&format!("{{\"result\":[{{\"label\":\"{label}\",\"score\":0.25}}]}}"));
    let server = Scripted::start(vec![answer("x"), answer("y")]);
    let rows = asked(&settings(&server.url()), &["a \"b\"", "c"]).await.unwrap();
    assert_eq!(cells(&rows), ["x 0.25", "y 0.25"]);
    let bodies: Vec<String> =
        server.requests().iter().map(|request| request.split_once("\r\n\r\n").unwrap().1.to_string()).collect();
    assert_eq!(bodies, [r#"{"q":"about a \"b\"","weight":0.5}"#, r#"{"q":"about c","weight":0.5}"#]);
}

#[tokio::test]
async fn rows_of_a_batch_can_share_a_request() {
    let body = r#"{"items":[{"result":[{"label":"x","score":1}]},{"result":[{"label":"y","score":2}]}]}"#;
    let server = Scripted::start(vec![Script::json(body), Script::json(r#"{"items":[]}"#)]);
    let rows = Rows::Many { request: Some("rows".into()), answer: "/items".into() };
    let settings = HttpJsonSettings { rows, ..settings(&server.url()) };
    assert_eq!(cells(&asked(&settings, &["a", "b"]).await.unwrap()), ["x 1.0", "y 2.0"]);
    assert!(server.requests()[0].ends_with(r#"{"rows":[{"q":"about a","weight":0.5},{"q":"about b","weight":0.5}]}"#));
    let error = asked(&settings, &["a", "b"]).await.unwrap_err();
    assert!(error.chain().ends_with("0 answers to 2 rows"), "{}", error.chain());
}

#[tokio::test]
async fn one_bad_answer_of_many_is_refused_and_the_others_stand() {
    let items = [r#"{"v":null}"#, r#"{"v":1.5}"#, r#"{"w":1}"#, r#"{"v":"x"}"#, r#"{"v":2}"#];
    let server = Scripted::start(vec![
        Script::json(&format!("{{\"items\":[{}]}}", items.join(","))),
        Script::json(r#"{"items":[{"v":null},{}]}"#),
    ]);
    let many = Rows::Many { request: None, answer: "/items".into() };
    let outputs = vec![Output { slot: Slot::scalar("v", DataType::Float64), pointer: "/v".into() }];
    let settings = HttpJsonSettings { rows: many, outputs, ..settings(&server.url()) };
    let texts = ["a", "b", "c", "d", "e"];
    let replica = made(&settings).unwrap().start_unasked(0);
    let answers = replica.call(batch(5, rows(&texts))).await.unwrap();
    let refused: Vec<usize> = answers.refused.iter().map(|refused| refused.row).collect();
    assert_eq!(refused, [0, 2, 3]);
    assert!(answers.refused[1].reason.contains("row 2: nothing at `/v`"), "{}", answers.refused[1].reason);
    let values = answers.rows.column(0).as_primitive::<Float64Type>().values().to_vec();
    assert_eq!((values.len(), values[1], values[4]), (5, 1.5, 2.0));
    let error = replica.call(batch(2, rows(&texts[..2]))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Data, "no answer is good");
}

/// Settings with one text output, the whole of `/v`.
fn text_settings(url: &str) -> HttpJsonSettings {
    let output = Output { slot: Slot::scalar("v", DataType::Utf8), pointer: "/v".into() };
    HttpJsonSettings { outputs: vec![output], ..settings(url) }
}

#[tokio::test]
async fn a_text_output_keeps_the_digits_that_came() {
    let values =
        ["12345678901234567890123", "1.10", "-0", "1E2", "{\"b\":1.0,\"a\":[1.50,\"x  y\"]}", "false", "\"1.10\""];
    let server = Scripted::start(values.iter().map(|value| Script::json(&format!("{{\"v\": {value} }}"))).collect());
    for value in values {
        let rows = asked(&text_settings(&server.url()), &["a"]).await.unwrap();
        assert_eq!(cells(&rows), [value.trim_matches('"')]);
    }
    let body = "{\"n\": [0.10], \"items\": [{\"v\": 1.10}, {\"v\": [2.0, 3]}]}";
    let server = Scripted::start(vec![Script::json(body)]);
    let rows = Rows::Many { request: None, answer: "/items".into() };
    let settings = HttpJsonSettings { rows, ..text_settings(&server.url()) };
    assert_eq!(cells(&asked(&settings, &["a", "b"]).await.unwrap()), ["1.10", "[2.0, 3]"]);
    let server = Scripted::start(vec![Script::json("{\"v\":[1.10,\"b\"]}")]);
    let mut settings = text_settings(&server.url());
    settings.outputs[0].slot.shape = vec![Some(2)];
    let rows = asked(&settings, &["a"]).await.unwrap();
    let texts = rows.column(0).as_fixed_size_list().values().as_string::<i32>().iter().flatten().collect::<Vec<_>>();
    assert_eq!(texts, ["1.10", "b"]);
}

#[tokio::test]
async fn a_null_is_sent_as_one_and_taken_as_none() {
    let server = Scripted::start(vec![Script::json("{\"v\":null}")]);
    let request = json!({ "q": "{{text}}", "long": "about {{text}}.", "weight": "{{weight}}" });
    let settings = HttpJsonSettings { request, ..text_settings(&server.url()) };
    let (text, weight): (ArrayRef, ArrayRef) =
        (Arc::new(StringArray::from(vec![None::<&str>])), Arc::new(Float64Array::from(vec![None])));
    let rows = RecordBatch::try_from_iter_with_nullable([("text", text, true), ("weight", weight, true)]).unwrap();
    let error = made(&settings).unwrap().start_unasked(0).call(batch(1, rows)).await.unwrap_err();
    assert!(server.requests()[0].ends_with(r#"{"q":null,"long":"about .","weight":null}"#), "{:?}", server.requests());
    assert_eq!(error.kind(), Kind::Data);
    assert!(error.chain().ends_with("`/v`: value 0 is null"), "{}", error.chain());
}

#[tokio::test]
async fn a_compressed_answer_is_called_that() {
    let packed = b"\x1f\x8b\x08\x00\xff";
    let error = refused(Script::answer(200, "Content-Encoding: gzip\r\n", packed)).await;
    assert_eq!(error.kind(), Kind::Data);
    assert!(
        error.chain().contains("no JSON: ") && error.chain().contains("Content-Encoding is `gzip`"),
        "{}",
        error.chain()
    );
    let error = refused(Script::answer(400, "Content-Encoding: br\r\n", packed)).await;
    assert!(error.chain().contains("rows refused (status 400): its Content-Encoding is `br`"), "{}", error.chain());
    // What says so and is none is read.
    let body = r#"{"result":[{"label":"x","score":1}]}"#;
    let server = Scripted::start(vec![Script::answer(200, "Content-Encoding: utf-8\r\n", body)]);
    assert_eq!(cells(&asked(&settings(&server.url()), &["a"]).await.unwrap()), ["x 1.0"]);
}

#[tokio::test]
async fn a_chat_without_usage_is_asked_as_http_json() {
    let server = Scripted::start(vec![Script::json(r#"{"choices":[{"message":{"content":"hi"}}]}"#)]);
    let request = json!({ "model": "m", "messages": [{ "role": "user", "content": "{{text}} {{weight}}" }] });
    let mut settings = HttpJsonSettings { request, ..text_settings(&server.url()) };
    settings.outputs[0].pointer = "/choices/0/message/content".into();
    assert_eq!(cells(&asked(&settings, &["a"]).await.unwrap()), ["hi"]);
}

#[tokio::test]
async fn a_credential_reaches_the_server_and_nothing_else() {
    let echo = r#"{"error":{"message":"wrong key sk-very-hidden","code":"sk-very-hidden"}}"#;
    let server = Scripted::start(vec![Script::answer(401, "", echo), Script::json("[\"sk-very-hidden\"]")]);
    let mut settings = settings(&server.url());
    settings.endpoint.credential = Some("secret://KEY".into());
    settings.endpoint.headers = vec![("x-api-key".into(), "secret://KEY".into()), ("x-plain".into(), "1".into())];
    let host = made(&settings).unwrap();
    let error = asked(&settings, &["a"]).await.unwrap_err();
    assert_eq!((error.kind(), class_of(&error)), (Kind::Invalid, Class::Answered));
    assert!(error.chain().contains("wrong key ***"), "{}", error.chain());
    let second = asked(&settings, &["a"]).await.unwrap_err();
    let request = server.requests()[0].to_lowercase();
    assert!(request.contains("authorization: bearer sk-very-hidden") && request.contains("x-api-key: sk-very-hidden"));
    let shown = [format!("{error:?}"), error.chain(), format!("{second:?}"), format!("{settings:?}"), host.revision()];
    assert!(shown.iter().all(|text| !text.contains("hidden")), "{shown:?}");
}

#[tokio::test]
async fn addresses_that_would_leak_a_credential_are_refused() {
    let why = |url: &str, credential: Option<&str>, header: Option<(&str, &str)>| {
        let mut settings = settings(url);
        settings.endpoint.credential = credential.map(str::to_string);
        settings.endpoint.headers = header.iter().map(|(n, v)| ((*n).to_string(), (*v).to_string())).collect();
        made(&settings).map(|_| ()).map_err(|error| (error.kind(), error.chain()))
    };
    let clear = why("http://models.example.com/x?key=abc", Some("secret://KEY"), None).unwrap_err();
    assert_eq!(clear.0, Kind::Invalid);
    assert!(clear.1.contains("use https, or none") && !clear.1.contains("abc"), "{}", clear.1);
    assert_eq!(why("http://models.example.com/x", None, None), Ok(()));
    assert_eq!(why("http://127.0.0.1:9/x", Some("secret://KEY"), None), Ok(()));
    assert_eq!(why("https://models.example.com/x", Some("secret://KEY"), None), Ok(()));
    let written = why("https://models.example.com", None, Some(("api-key", "sk-written"))).unwrap_err().1;
    assert!(written.contains("never written") && !written.contains("sk-"), "{written}");
    let user = why("https://user:pass@models.example.com", None, None).unwrap_err().1;
    assert!(user.contains("no user or password") && !user.contains("pass@"), "{user}");
    assert!(why("ftp://models.example.com", None, None).is_err());
    assert!(why("https://models.example.com", Some("secret://ABSENT"), None).unwrap_err().1.contains("ABSENT"));
}

#[tokio::test]
async fn a_refusal_carries_its_class_and_its_pause() {
    let error = refused(Script::answer(429, "Retry-After: 3\r\n", "slow down")).await;
    assert_eq!((error.kind(), class_of(&error)), (Kind::Overload, Class::Throttled));
    assert_eq!(retry_after(&error), Some(Duration::from_secs(3)));
    assert!(error.chain().contains("rate limit reached (status 429, retry_after=3s): slow down"), "{}", error.chain());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_down() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = asked(&settings(&format!("http://127.0.0.1:{port}")), &["a"]).await.unwrap_err();
    assert_eq!((error.kind(), class_of(&error)), (Kind::Unavailable, Class::Down));
    let cut = refused(Script::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"result\"".to_vec())).await;
    assert_eq!((cut.kind(), class_of(&cut)), (Kind::Unavailable, Class::Down), "{}", cut.chain());
    let closed = refused(Script::Bytes(Vec::new())).await;
    assert_eq!(class_of(&closed), Class::Down, "{}", closed.chain());
}

#[tokio::test]
async fn a_silent_server_times_out() {
    let server = Scripted::start(vec![Script::Silence]);
    let mut settings = settings(&server.url());
    settings.endpoint.timeout = Duration::from_millis(100);
    let error = asked(&settings, &["a"]).await.unwrap_err();
    assert_eq!((error.kind(), class_of(&error)), (Kind::Timeout, Class::Timeout), "{}", error.chain());
}

#[tokio::test]
async fn hostile_answers_end_in_clear_errors() {
    let data = |body: &'static str, expected: &'static str| async move {
        let error = refused(Script::json(body)).await;
        assert_eq!((error.kind(), class_of(&error)), (Kind::Data, Class::Answered), "{}", error.chain());
        assert!(error.chain().contains(expected), "{}", error.chain());
    };
    data("<html>", "no JSON").await;
    data("", "no JSON").await;
    data(r#"{"result":[]}"#, "nothing at `/result/0/label`").await;
    data(r#"{"result":[{"label":"x","score":NaN}]}"#, "no JSON").await;
    data(r#"{"result":[{"label":"x","score":1e999}]}"#, "no JSON").await;
    data(r#"{"result":[{"label":"x","score":"1"}]}"#, "expected a finite number").await;
    data(r#"{"result":[{"label":null,"score":1}]}"#, "value 0 is null").await;
    let deep: &'static str = Box::leak("[".repeat(100_000).into_boxed_str());
    data(deep, "recursion limit").await;
    let broken = refused(Script::answer(200, "", b"{\"result\":[{\"label\":\"\xff\",\"score\":1}]}")).await;
    assert!(broken.chain().contains("no JSON"), "{}", broken.chain());
}

#[tokio::test]
async fn answers_longer_than_the_limit_are_refused_before_they_are_held() {
    let limited = |script| async move {
        let server = Scripted::start(vec![script]);
        let mut settings = settings(&server.url());
        settings.endpoint.answer_bytes_max = 10_000;
        let error = asked(&settings, &["a"]).await.unwrap_err();
        assert_eq!((error.kind(), class_of(&error)), (Kind::Exhausted, Class::TooLarge), "{}", error.chain());
        assert!(error.chain().contains("answer of more than 10000 bytes"), "{}", error.chain());
    };
    limited(Script::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n".to_vec())).await;
    let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
    limited(Script::Endless(head, vec![b'['; 4_096])).await;
}

#[tokio::test]
async fn requests_longer_than_the_limit_are_never_sent() {
    let server = Scripted::start(vec![Script::json("{}")]);
    let mut settings = settings(&server.url());
    settings.endpoint.request_bytes_max = 100;
    let error = asked(&settings, &["x".repeat(200).as_str()]).await.unwrap_err();
    assert_eq!((error.kind(), class_of(&error)), (Kind::Exhausted, Class::TooLarge));
    assert!(error.chain().contains("at most 100 may be sent"), "{}", error.chain());
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_at_once() {
    let why = |settings: HttpJsonSettings| made(&settings).map(|_| ()).unwrap_err().chain();
    let url = "http://localhost";
    assert!(why(HttpJsonSettings { outputs: Vec::new(), ..settings(url) }).contains("name at least one"));
    let unused = vec![Slot::scalar("other", DataType::Utf8)];
    assert!(why(HttpJsonSettings { inputs: unused, ..settings(url) }).contains("no place for it"));
    let pointer = Output { slot: Slot::scalar("x", DataType::Utf8), pointer: "a/b".into() };
    assert!(why(HttpJsonSettings { outputs: vec![pointer], ..settings(url) }).contains("begins with `/`"));
    let signature = made(&settings(url)).unwrap().signature().await.unwrap();
    let names: Vec<String> = signature.inputs.iter().map(|slot| format!("{} {slot}", slot.name)).collect();
    assert_eq!(names, ["text string[rows]", "weight float64[rows]"]);
    let host = made(&settings(url)).unwrap();
    assert!(host.batches() && host.calls_max() > 1, "one row a request, any number at a time");
}

#[tokio::test]
async fn rate_limits_and_utilization_are_noted_on_the_side() {
    let headers = "x-ratelimit-limit-requests: 500\r\nendpoint-load-metrics: TEXT application_utilization=1.5\r\n";
    let server = Scripted::start(vec![Script::answer(200, headers, r#"{"result":[{"label":"x","score":1}]}"#)]);
    let host = made(&settings(&server.url())).unwrap();
    host.start(0).await.unwrap().call(batch(1, rows(&["a"]))).await.unwrap();
    let seen = host.start_unasked(0).observed();
    assert_eq!((seen.rate_limits.unwrap().requests, seen.utilization), (Some(500), Some(1.5)));
}

#[tokio::test]
async fn gauges_are_scraped_and_a_page_without_them_is_an_error() {
    let page = include_str!("exchanges/gauges/vllm.txt");
    let server =
        Scripted::start(vec![Script::answer(200, "", page), Script::answer(200, "", "up 1\n"), Script::Silence]);
    let endpoint = EndpointSettings::new(&server.url());
    let scraper = Scraper::new(TokioEnv::shared(), &endpoint, None, &Connections::new(), &secrets()).unwrap();
    assert!(scraper.fresh().is_none());
    let scraped = scraper.read().await.unwrap();
    assert_eq!((scraped.gauges.waiting, scraped.gauges.running), (7.0, 48.0));
    assert_eq!(scraper.fresh(), Some(scraped));
    assert!(scraper.read().await.unwrap_err().chain().contains("no gauge of a known server"));
    assert_eq!(scraper.read().await.unwrap_err().kind(), Kind::Timeout);
}
