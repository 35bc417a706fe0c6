//! The OpenAI API against llama.cpp's server with a tiny random model, and against answers that are hostile.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float32Type, Int64Type};
use forebay_core::{Error, Kind, Result};
use forebay_gate::limiter::Class;
use forebay_inference::hosts::Host;
use forebay_inference::protocols::openai::{OpenAi, OpenAiSettings, Task, host};
use forebay_inference::protocols::{Connections, RemoteHost, Secrets, class_of};
use serde_json::{Value, json};

use support::batch;
use support::servers::{Script, Scripted, Server};

static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start("openai.py", "/health"));

fn chat(schema: Option<Value>) -> Task {
    let messages = json!([
        { "role": "system", "content": "Answer in one word." },
        { "role": "user", "content": "Is this spam? {{text}}" },
    ]);
    Task::Chat { messages, schema }
}

fn completion() -> Task {
    Task::Completion { prompt: "{{text}} and".into() }
}

fn embeddings(length: Option<usize>) -> Task {
    Task::Embeddings { input: "{{text}}".into(), length }
}

fn settings(url: &str, task: Task, stream: bool) -> OpenAiSettings {
    let mut settings = OpenAiSettings { stream, ..OpenAiSettings::new(&format!("{url}/v1"), "tiny", task) };
    for (name, value) in [("max_tokens", json!(40)), ("temperature", json!(0)), ("seed", json!(1))] {
        settings.parameters.insert(name.to_string(), value);
    }
    settings
}

fn made(settings: &OpenAiSettings) -> RemoteHost<OpenAi> {
    host(settings, &Connections::new(), &Secrets::of_process()).unwrap()
}

fn texts(texts: &[&str]) -> RecordBatch {
    let column: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    RecordBatch::try_from_iter([("text", column)]).unwrap()
}

async fn asked(settings: &OpenAiSettings, rows: &[&str]) -> Result<RecordBatch> {
    Ok(made(settings).start(0).await?.call(batch(1, texts(rows))).await?.rows)
}

fn column<'a>(rows: &'a RecordBatch, name: &str) -> Vec<&'a str> {
    rows.column_by_name(name).unwrap().as_string::<i32>().iter().flatten().collect()
}

fn tokens(rows: &RecordBatch, name: &str) -> Vec<i64> {
    rows.column_by_name(name).unwrap().as_primitive::<Int64Type>().values().to_vec()
}

#[tokio::test]
async fn streamed_or_not_chats_and_completions_say_the_same() {
    for task in [chat(None), completion()] {
        let whole = asked(&settings(&SERVER.url(), task.clone(), false), &["buy now", "hello"]).await.unwrap();
        let streamed = asked(&settings(&SERVER.url(), task.clone(), true), &["buy now", "hello"]).await.unwrap();
        assert_eq!(whole.schema(), streamed.schema());
        assert_eq!(column(&whole, "text").len(), 2);
        assert!(column(&whole, "text").iter().all(|text| !text.is_empty()), "{task:?}");
        assert_eq!(column(&whole, "finish_reason"), column(&streamed, "finish_reason"));
        assert_eq!(tokens(&whole, "prompt_tokens"), tokens(&streamed, "prompt_tokens"));
        let (whole_tokens, streamed_tokens) =
            (tokens(&whole, "completion_tokens"), tokens(&streamed, "completion_tokens"));
        assert!(whole_tokens.iter().chain(&streamed_tokens).all(|count| (1..=40).contains(count)));
        let names: Vec<String> = whole.schema().fields().iter().map(|field| field.name().clone()).collect();
        let signature = made(&settings(&SERVER.url(), task, false)).signature().await.unwrap();
        assert_eq!(names, signature.outputs.iter().map(|slot| slot.name.clone()).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn tokens_are_those_of_each_row_and_are_summed_on_the_side() {
    let host = made(&settings(&SERVER.url(), completion(), false));
    let replica = host.start(0).await.unwrap();
    let rows = replica.call(batch(1, texts(&["a", "a longer text has more tokens"]))).await.unwrap().rows;
    let prompt = tokens(&rows, "prompt_tokens");
    // The model's tokens are bytes, and its tokenizer writes a space in three.
    assert_eq!(prompt[1] - prompt[0], ("a▁longer▁text▁has▁more▁tokens".len() - 1) as i64);
    let seen = host.start_unasked(0).observed();
    assert_eq!(seen.tokens.prompt as i64, prompt.iter().sum::<i64>());
    assert_eq!(seen.tokens.generated as i64, tokens(&rows, "completion_tokens").iter().sum::<i64>());
}

#[tokio::test]
async fn structured_answers_are_structs() {
    let schema = json!({
        "type": "object",
        "properties": { "spam": { "type": "boolean" }, "label": { "enum": ["a", "b"] } },
        "required": ["spam", "label"],
        "additionalProperties": false,
    });
    for stream in [false, true] {
        let mut settings = settings(&SERVER.url(), chat(Some(schema.clone())), stream);
        settings.parameters.insert("max_tokens".into(), json!(400));
        let rows = asked(&settings, &["buy now"]).await.unwrap();
        let answer = rows.column_by_name("answer").unwrap().as_struct();
        assert_eq!(answer.column_by_name("spam").unwrap().data_type(), &DataType::Boolean);
        let label = answer.column_by_name("label").unwrap().as_string::<i32>().value(0);
        assert!(["a", "b"].contains(&label), "{label}");
        let output = made(&settings).signature().await.unwrap().outputs[0].field().unwrap();
        assert_eq!(&output, rows.schema_ref().field(0));
    }
}

#[tokio::test]
async fn an_answer_cut_at_its_limit_of_tokens_is_no_struct() {
    let schema = json!({ "type": "object", "properties": { "spam": { "type": "boolean" } }, "required": ["spam"] });
    let mut settings = settings(&SERVER.url(), chat(Some(schema)), false);
    settings.parameters.insert("max_tokens".into(), json!(2));
    let error = asked(&settings, &["buy now"]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Data);
    assert!(error.chain().ends_with("it was cut at max_tokens"), "{}", error.chain());
}

#[tokio::test]
async fn embeddings_of_a_batch_come_in_one_call() {
    let mut settings = settings(&SERVER.second_url(), embeddings(None), false);
    settings.parameters.clear();
    let host = made(&settings);
    let signature = host.signature().await.unwrap();
    assert_eq!(signature.outputs[0].to_string(), "float32[rows, 64]");
    let replica = host.start(0).await.unwrap();
    let rows = replica.call(batch(1, texts(&["a", "b", "a"]))).await.unwrap().rows;
    let vectors = rows.column(0).as_fixed_size_list();
    let vector = |row: usize| vectors.value(row).as_primitive::<Float32Type>().values().to_vec();
    let distance = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(distance(vector(0), vector(2)) < 1e-3, "the same text");
    assert!(distance(vector(0), vector(1)) > 1e-2, "another text");
    assert!(host.start_unasked(0).observed().tokens.prompt > 0 && !host.batches());
}

#[tokio::test]
async fn a_prompt_longer_than_the_context_is_a_bad_row() {
    let error = asked(&settings(&SERVER.url(), chat(None), false), &["x".repeat(5_000).as_str()]).await.unwrap_err();
    assert_eq!((error.kind(), class_of(&error)), (Kind::Data, Class::Answered), "{}", error.chain());
    assert!(error.chain().contains("exceeds the available context size"), "{}", error.chain());
}

#[tokio::test]
async fn chats_beyond_the_servers_slots_wait_and_are_answered() {
    let host = made(&settings(&SERVER.url(), chat(None), true));
    assert!(host.batches() && host.calls_max() > 1);
    let replica = host.start(0).await.unwrap();
    let calls = (0..8).map(|call| replica.call(batch(call, texts(&["hello"]))));
    let answers = futures::future::try_join_all(calls).await.unwrap();
    assert!(answers.iter().all(|answer| answer.rows.num_rows() == 1));
}

#[tokio::test]
async fn parameters_of_the_protocol_itself_are_refused() {
    let mut settings = settings("http://localhost", chat(None), false);
    settings.parameters.insert("stream".into(), json!(true));
    let error = host(&settings, &Connections::new(), &Secrets::of_process()).map(|_| ()).unwrap_err();
    assert_eq!(error.chain(), "read parameters of model (parameter=stream): this field is set by the protocol");
}

async fn hostile(script: Script, task: Task, stream: bool) -> Error {
    let server = Scripted::start(vec![script]);
    let settings = settings(&server.url(), task, stream);
    made(&settings).start_unasked(0).call(batch(1, texts(&["a"]))).await.unwrap_err()
}

#[tokio::test]
async fn hostile_answers_end_in_clear_errors() {
    let case = |body: &'static str, expected: &'static str| async move {
        let error = hostile(Script::json(body), chat(None), false).await;
        assert_eq!((error.kind(), class_of(&error)), (Kind::Data, Class::Answered), "{}", error.chain());
        assert!(error.chain().contains(expected), "{}", error.chain());
    };
    case("", "no JSON of the protocol").await;
    case(r#"{"choices":[]}"#, "no text (finish_reason=none)").await;
    case(r#"{"choices":[{"message":{"content":7},"finish_reason":"stop"}]}"#, "no JSON of the protocol").await;
    case(
        r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#,
        "no `usage`. Let the server count them, or ask it as `http_json`",
    )
    .await;
    case(r#"{"choices":[{"text":"a"},{"text":"b","index":1}]}"#, "where one was asked for").await;
    let vectors = |body: &'static str, expected: &'static str| async move {
        let error = hostile(Script::json(body), embeddings(Some(2)), false).await;
        assert_eq!(error.kind(), Kind::Data);
        assert!(error.chain().contains(expected), "{}", error.chain());
    };
    vectors(r#"{"data":[]}"#, "0 vectors to 1 rows").await;
    vectors(r#"{"data":[{"index":0,"embedding":[1.0]}]}"#, "shape [1], expected float32[rows, 2]").await;
    vectors(r#"{"data":[{"index":0,"embedding":[1.0,NaN]}]}"#, "no JSON").await;
    vectors(r#"{"data":[{"index":0,"embedding":[1.0,1e39]}]}"#, "expected a finite number").await;
    vectors(r#"{"data":[{"index":9,"embedding":[1.0,1.0]}]}"#, "a vector for row 9 of 1").await;
}

/// What a whole answer of `content` is read as, asked with a schema of one label.
async fn labelled(content: &str, reason: &str, stream: bool) -> Result<RecordBatch> {
    let label = json!({ "type": "string", "enum": ["spam", "fine"] });
    let schema = json!({ "type": "object", "required": ["label"], "properties": { "label": label } });
    let server = Scripted::start(vec![Script::json(&whole(content, reason))]);
    let settings = settings(&server.url(), chat(Some(schema)), stream);
    made(&settings).start_unasked(0).call(batch(1, texts(&["a"]))).await.map(|answers| answers.rows)
}

fn whole(content: &str, reason: &str) -> String {
    let choice = json!({ "index": 0, "message": { "content": content }, "finish_reason": reason });
    json!({ "choices": [choice], "usage": { "prompt_tokens": 3, "completion_tokens": 4 } }).to_string()
}

#[tokio::test]
async fn a_structured_answer_that_is_not_as_its_schema_says_is_a_bad_row() {
    let rows = labelled(r#"{"label":"spam"}"#, "stop", false).await.unwrap();
    assert_eq!(column(&RecordBatch::from(rows.column(0).as_struct()), "label"), ["spam"]);
    let other = labelled(r#"{"label":"ham"}"#, "stop", false).await.unwrap_err();
    assert_eq!((other.kind(), class_of(&other)), (Kind::Data, Class::Answered));
    let why = r#"row 0: not as the schema says: `/label`: "ham" is not one of "spam" or "fine""#;
    assert!(other.chain().ends_with(why), "{}", other.chain());
    let cut = labelled(r#"{"label":"spam"}"#, "length", false).await.unwrap_err();
    assert_eq!(cut.kind(), Kind::Data);
    assert!(cut.chain().ends_with("it was cut at max_tokens"), "{}", cut.chain());
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_read_whole() {
    for body in [whole("hello", "stop"), format!("\n{}", whole("hello", "stop"))] {
        let types = ["application/json", "Application/JSON; charset=utf-8"];
        let script = |kind: &&str| Script::answer(200, &format!("Content-Type: {kind}\r\n"), &body);
        let server = Scripted::start(types.iter().map(script).collect());
        for _ in types {
            let settings = settings(&server.url(), chat(None), true);
            let rows = made(&settings).start_unasked(0).call(batch(1, texts(&["a"]))).await.unwrap().rows;
            assert_eq!((column(&rows, "text"), tokens(&rows, "completion_tokens")), (vec!["hello"], vec![4]));
        }
    }
    let html = Script::answer(200, "Content-Type: text/html\r\n", "<html>\n\nhello</html>");
    let error = hostile(html, chat(None), true).await;
    assert_eq!((error.kind(), class_of(&error)), (Kind::Data, Class::Answered), "{}", error.chain());
    assert!(error.chain().contains("no event came where a stream was asked for"), "{}", error.chain());
}

#[tokio::test]
async fn an_error_says_whether_it_came_in_a_stream() {
    let body = r#"{"error":{"message":"boom","type":"server_error"}}"#;
    let error = hostile(Script::json(body), chat(None), false).await;
    assert!(error.chain().ends_with("(error in answer, code=server_error): boom"), "{}", error.chain());
    let error = hostile(Script::stream(&format!("data: {body}\n\n")), chat(None), true).await;
    assert!(error.chain().ends_with("(error in stream, code=server_error): boom"), "{}", error.chain());
}

#[tokio::test]
async fn a_compressed_answer_is_called_that() {
    let packed = |kind: &str| {
        let headers = format!("Content-Type: {kind}\r\nContent-Encoding: gzip\r\n");
        Script::answer(200, &headers, b"\x1f\x8b\x08\x00\x00\n\n\xff")
    };
    for (kind, task, stream) in [
        ("application/json", chat(None), false),
        ("application/json", embeddings(Some(2)), false),
        ("application/json", chat(None), true),
        ("text/event-stream", chat(None), true),
    ] {
        let error = hostile(packed(kind), task, stream).await;
        assert_eq!(error.kind(), Kind::Data, "{}", error.chain());
        assert!(error.chain().contains("its Content-Encoding is `gzip`"), "{}", error.chain());
    }
}

#[tokio::test]
async fn a_null_is_not_asked_about() {
    let column: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>]));
    let rows = RecordBatch::try_from_iter_with_nullable([("text", column, true)]).unwrap();
    let ask = |task| {
        let server = Scripted::start(vec![Script::json(&whole("a", "stop"))]);
        let (settings, rows) = (settings(&server.url(), task, false), rows.clone());
        async move { (made(&settings).start_unasked(0).call(batch(1, rows)).await, server.requests().len()) }
    };
    let alone = Task::Chat { messages: json!([{ "role": "user", "content": "{{text}}" }]), schema: None };
    for task in [alone, Task::Completion { prompt: "{{text}}".into() }, embeddings(Some(2))] {
        let (answer, asked) = ask(task).await;
        let error = answer.unwrap_err();
        assert_eq!((error.kind(), asked), (Kind::Data, 0), "{}", error.chain());
        assert!(error.chain().ends_with("(input=text, row=0): it is null, and models take text"), "{}", error.chain());
    }
    // Inside of a longer text it is nothing.
    assert_eq!(ask(chat(None)).await.1, 1);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_overload_and_one_that_never_ends_is_too_large() {
    let piece = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let done = hostile(Script::stream(&format!("{piece}data: [DONE]\n\n")), chat(None), true).await;
    assert_eq!(done.kind(), Kind::Data, "{}", done.chain());
    let broken = hostile(Script::stream(piece), chat(None), true).await;
    assert_eq!((broken.kind(), class_of(&broken)), (Kind::Overload, Class::Overloaded), "{}", broken.chain());
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n".to_vec();
    let endless = |head: Vec<u8>, piece: &[u8]| {
        let server = Scripted::start(vec![Script::Endless(head, piece.repeat(100))]);
        let mut settings = settings(&server.url(), chat(None), true);
        settings.endpoint.answer_bytes_max = 4 << 20;
        async move { made(&settings).start_unasked(0).call(batch(1, texts(&["a"]))).await.unwrap_err() }
    };
    let error = endless(head.clone(), piece.as_bytes()).await;
    assert_eq!((error.kind(), class_of(&error)), (Kind::Exhausted, Class::TooLarge), "{}", error.chain());
    let error = endless(head, b"data: no end of line ").await;
    assert!(error.kind() == Kind::Data && error.chain().contains("an event is longer than"), "{}", error.chain());
}

#[tokio::test]
async fn a_stream_that_stalls_times_out_and_an_error_inside_one_keeps_its_class() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1000\r\n\r\ndata: ";
    let server = Scripted::start(vec![Script::Stalled(head.as_bytes().to_vec())]);
    let mut settings = settings(&server.url(), chat(None), true);
    settings.endpoint.timeout = Duration::from_millis(200);
    let error = made(&settings).start_unasked(0).call(batch(1, texts(&["a"]))).await.unwrap_err();
    assert_eq!((error.kind(), class_of(&error)), (Kind::Timeout, Class::Timeout), "{}", error.chain());
    let body = "data: {\"error\":{\"message\":\"CUDA out of memory\",\"code\":500}}\n\n";
    let error = hostile(Script::stream(body), chat(None), true).await;
    assert_eq!(class_of(&error), Class::TooLarge, "{}", error.chain());
    let error = hostile(Script::stream("data: \u{fffd}x\n\n"), chat(None), true).await;
    assert_eq!(error.kind(), Kind::Data, "{}", error.chain());
}
