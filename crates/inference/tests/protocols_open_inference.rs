//! The Open Inference Protocol against MLServer, over gRPC and HTTP, against KServe with binary tensors, and against answers
//! that are hostile.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Schema};
use forebay_core::types::tensor::TensorType;
use forebay_core::{Error, Kind, Result};
use forebay_gate::limiter::Class;
use forebay_inference::call::Permit;
use forebay_inference::hosts::{Host, Slot};
use forebay_inference::protocols::open_inference::{OpenInference, OpenInferenceSettings, Transport, host};
use forebay_inference::protocols::{Connections, RemoteHost, Secrets, class_of, is_forbidden, retry_after};
use forebay_inference::service::{Service, ServiceSettings};

use support::servers::{Script, Scripted, Server};
use support::{TokioEnv, batch, cells, shown};

static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start("open_inference.py", "/v2/health/ready"));

static HOSTILE: LazyLock<Server> = LazyLock::new(|| Server::start("hostile_grpc.py", "/"));

/// MLServer does not take raw tensors over HTTP, KServe does.
static KSERVE: LazyLock<Server> =
    LazyLock::new(|| Server::start_in("venv-kserve", "binary_tensors.py", "/v2/health/ready"));

fn settings(transport: Transport, model: &str) -> OpenInferenceSettings {
    let url = match transport {
        Transport::Grpc => SERVER.second_url(),
        Transport::HttpJson => SERVER.url(),
        Transport::HttpBinary => KSERVE.url(),
    };
    OpenInferenceSettings { transport, ..OpenInferenceSettings::new(&url, model) }
}

fn made(settings: &OpenInferenceSettings) -> RemoteHost<OpenInference> {
    host(settings, &Connections::new(), &Secrets::of_process()).unwrap()
}

async fn asked(settings: &OpenInferenceSettings, rows: RecordBatch) -> Result<RecordBatch> {
    Ok(made(settings).start(0).await?.call(batch(1, rows)).await?.rows)
}

/// Rows of a tensor `x` with `width` values each.
fn tensors(width: usize, values: Vec<f32>) -> RecordBatch {
    let kind = TensorType::new(DataType::Float32, [width]);
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let rows = FixedSizeListArray::new(item, width as i32, Arc::new(Float32Array::from(values)), None);
    let schema = Schema::new(vec![kind.field("x", false)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(rows)]).unwrap()
}

fn values(rows: &RecordBatch) -> Vec<f32> {
    rows.column_by_name("y").unwrap().as_fixed_size_list().values().as_primitive::<Float32Type>().values().to_vec()
}

const BOTH: [Transport; 2] = [Transport::Grpc, Transport::HttpJson];
const ALL: [Transport; 3] = [Transport::Grpc, Transport::HttpJson, Transport::HttpBinary];

#[tokio::test]
async fn the_server_says_what_its_model_takes_and_gives() {
    for transport in ALL {
        let signature = made(&settings(transport, "double")).signature().await.unwrap();
        let all: Vec<String> =
            signature.inputs.iter().chain(&signature.outputs).map(|slot| format!("{} {slot}", slot.name)).collect();
        assert_eq!(all, ["x float32[rows, 2]", "y float32[rows, 2]"], "{transport:?}");
    }
}

#[tokio::test]
async fn tensors_go_to_the_model_and_come_back() {
    for transport in ALL {
        let rows = tensors(2, vec![1.0, 2.5, -3.0, 0.1]);
        let answer = asked(&settings(transport, "double"), rows.clone()).await.unwrap();
        assert_eq!(values(&answer), [2.0, 5.0, -6.0, 0.2], "{transport:?}");
        let field = answer.schema_ref().field(0).clone();
        assert_eq!(TensorType::of(&field), Some(TensorType::new(DataType::Float32, [2])));
        let one = asked(&settings(transport, "double"), rows.slice(1, 1)).await.unwrap();
        assert_eq!(values(&one), [-6.0, 0.2], "a slice, {transport:?}");
    }
}

#[tokio::test]
async fn every_type_survives_every_transport() {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 100]));
    for transport in ALL {
        let host = made(&settings(transport, "echo"));
        let signature = host.signature().await.unwrap();
        assert_eq!(signature.inputs.len(), 13);
        let column = |slot: &Slot| -> (Field, ArrayRef) {
            let values = cast(&numbers, &slot.value).unwrap();
            match slot.shape[..] {
                [Some(width)] => {
                    let twice = arrow::compute::concat(&[&values, &values]).unwrap();
                    let item = Arc::new(Field::new("item", slot.value.clone(), false));
                    let list = FixedSizeListArray::new(item, width as i32, twice, None);
                    (TensorType::new(slot.value.clone(), [width]).field(&slot.name, false), Arc::new(list))
                }
                _ => (Field::new(&slot.name, slot.value.clone(), false), values),
            }
        };
        let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = signature.inputs.iter().map(column).unzip();
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let answer = host.start(0).await.unwrap().call(batch(1, rows.clone())).await.unwrap().rows;
        for (place, slot) in signature.outputs.iter().enumerate() {
            assert_eq!(answer.column(place).as_ref(), rows.column(place).as_ref(), "{} {transport:?}", slot.name);
        }
    }
}

#[tokio::test]
async fn text_of_any_length_and_script_passes() {
    let texts: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["", "é漢字\n\"", &"x".repeat(100_000)]));
    let rows = RecordBatch::try_from_iter([("in_bytes", texts)]).unwrap();
    for transport in BOTH {
        let only = |name: &str| vec![Slot::scalar(name, DataType::Utf8)];
        let settings = OpenInferenceSettings {
            inputs: only("in_bytes"),
            outputs: only("out_bool"),
            ..settings(transport, "echo")
        };
        // The model pairs inputs with outputs in order and takes no fewer: it refuses, and says so.
        let error = asked(&settings, rows.clone()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Data, "{}", error.chain());
    }
    let one: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["", "é漢字\n\"", &"x".repeat(100_000)]));
    let rows = RecordBatch::try_from_iter([("in", one.clone())]).unwrap();
    for transport in BOTH {
        let answer = asked(&settings(transport, "text"), rows.clone()).await.unwrap();
        assert_eq!(answer.column(0).as_ref(), one.as_ref(), "{transport:?}");
    }
}

#[tokio::test]
async fn calls_overlap_on_one_connection() {
    for transport in ALL {
        let replica = made(&settings(transport, "double")).start(0).await.unwrap();
        let calls = (0..32).map(|call| replica.call(batch(call, tensors(2, vec![call as f32 + 0.25, 1.0]))));
        let answers = futures::future::try_join_all(calls).await.unwrap();
        let firsts: Vec<f32> = answers.iter().map(|answer| values(&answer.rows)[0]).collect();
        assert_eq!(firsts, (0..32).map(|call| call as f32 * 2.0 + 0.5).collect::<Vec<_>>(), "{transport:?}");
    }
}

#[tokio::test]
async fn a_refused_row_is_data_and_its_neighbours_pass_alone() {
    for transport in BOTH {
        let host = Arc::new(made(&settings(transport, "double")));
        let service = Service::new(TokioEnv::shared(), host, None, ServiceSettings::default());
        let rows = tensors(2, vec![1.0, 1.0, 13.0, 1.0, 2.0, 2.0]);
        let ask = |first: u128, rows: RecordBatch| service.submit(batch(first, rows), Permit::unlimited());
        let together = shown(&ask(1, rows.clone()).await.unwrap());
        assert!(together.iter().all(|told| told.starts_with("data: ") && told.contains("13 is not digestible")));
        let (before, at, after) =
            tokio::join!(ask(4, rows.slice(0, 1)), ask(5, rows.slice(1, 1)), ask(6, rows.slice(2, 1)));
        assert_eq!(shown(&before.unwrap()), ["[2.0, 2.0]"], "{transport:?}");
        assert_eq!(shown(&after.unwrap()), ["[4.0, 4.0]"], "{transport:?}");
        assert!(shown(&at.unwrap())[0].starts_with("data: "));
    }
}

#[tokio::test]
async fn an_answer_one_row_short_is_not_taken() {
    for transport in BOTH {
        let error = asked(&settings(transport, "short"), tensors(2, vec![1.0; 4])).await.unwrap_err();
        assert_eq!((error.kind(), class_of(&error)), (Kind::Data, Class::Answered));
        assert!(error.chain().contains("output `y`: 1 answers to 2 rows"), "{}", error.chain());
    }
}

#[tokio::test]
async fn a_model_that_is_not_there_is_the_settings_fault() {
    for transport in BOTH {
        let host = made(&settings(transport, "none"));
        let error = host.signature().await.unwrap_err();
        assert_eq!((error.kind(), class_of(&error)), (Kind::Invalid, Class::Answered), "{}", error.chain());
    }
}

#[tokio::test]
async fn a_message_larger_than_the_server_takes_says_so_and_fewer_rows_pass() {
    let (width, rows) = (1 << 20, 2);
    let settings = settings(Transport::Grpc, "large");
    let error = asked(&settings, tensors(width, vec![1.0; rows * width])).await.unwrap_err();
    assert_eq!((error.kind(), class_of(&error)), (Kind::Exhausted, Class::TooLarge), "{}", error.chain());
    assert!(error.chain().contains("larger than max"), "{}", error.chain());
    // Nothing of it was dropped on the way, and the connection still works.
    let answer = asked(&OpenInferenceSettings { model: "double".into(), ..settings }, tensors(2, vec![1.0, 2.0])).await;
    assert_eq!(values(&answer.unwrap()), [2.0, 4.0]);
}

#[tokio::test]
async fn a_tensor_of_four_mebibytes_passes_over_http() {
    let width = 1 << 20;
    let (settings, rows) = (settings(Transport::HttpJson, "large"), tensors(width, vec![0.5; width]));
    let mut answer = asked(&settings, rows.clone()).await;
    // The server of a very busy machine may close the connection; the gate asks again then, and so does this.
    for _ in 0..2 {
        if answer.as_ref().is_err_and(|error| error.kind() == Kind::Unavailable) {
            answer = asked(&settings, rows.clone()).await;
        }
    }
    let values = values(&answer.unwrap());
    assert!(values.len() == width && values.iter().all(|value| *value == 1.0));
}

#[tokio::test]
async fn our_own_limits_are_told_on_both_ways() {
    for transport in BOTH {
        let mut small = settings(transport, "double");
        small.endpoint.request_bytes_max = 100;
        let error = asked(&small, tensors(2, vec![1.0; 200])).await.unwrap_err();
        assert_eq!((error.kind(), class_of(&error)), (Kind::Exhausted, Class::TooLarge));
        assert!(error.chain().contains("at most 100 may be sent"), "{}", error.chain());
        let mut small = settings(transport, "double");
        small.endpoint.answer_bytes_max = 300;
        let error = asked(&small, tensors(2, vec![1.0; 200])).await.unwrap_err();
        assert_eq!(class_of(&error), Class::TooLarge, "{}", error.chain());
        assert!(error.chain().contains("answer of more than 300 bytes"), "{}", error.chain());
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_down() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for transport in BOTH {
        let url = format!("http://127.0.0.1:{port}");
        let settings = OpenInferenceSettings { transport, ..OpenInferenceSettings::new(&url, "x") };
        let error = made(&settings).start(0).await.map(|_| ()).unwrap_err();
        assert_eq!((error.kind(), class_of(&error)), (Kind::Unavailable, Class::Down), "{}", error.chain());
    }
}

/// A model with one float in and one out, asked for two rows; its server plays `script`.
async fn hostile(transport: Transport, script: Script) -> (Result<RecordBatch>, Vec<String>) {
    let server = Scripted::start(vec![script]);
    let slot = |name: &str| vec![Slot::scalar(name, DataType::Float32)];
    let settings = OpenInferenceSettings {
        transport,
        inputs: slot("x"),
        outputs: slot("y"),
        ..OpenInferenceSettings::new(&server.url(), "m")
    };
    let column: ArrayRef = Arc::new(Float32Array::from(vec![1.0, 2.0]));
    let rows = RecordBatch::try_from_iter([("x", column)]).unwrap();
    let host = made(&OpenInferenceSettings { transport, ..settings });
    let replica = host.start_unasked(0);
    (replica.call(batch(1, rows)).await.map(|answers| answers.rows), server.requests())
}

fn binary(header: &str, raw: &[u8]) -> Script {
    let length = format!("Inference-Header-Content-Length: {}\r\n", header.len());
    Script::answer(200, &length, [header.as_bytes(), raw].concat())
}

#[tokio::test]
async fn raw_tensors_travel_behind_a_json_header() {
    let header = r#"{"outputs":[{"name":"y","datatype":"FP32","shape":[2],"parameters":{"binary_data_size":8}}]}"#;
    let raw = [3.5f32.to_le_bytes(), 4.5f32.to_le_bytes()].concat();
    let (answer, requests) = hostile(Transport::HttpBinary, binary(header, &raw)).await;
    assert_eq!(cells(&answer.unwrap()), ["3.5", "4.5"]);
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    let length: usize =
        head.lines().find_map(|line| line.strip_prefix("inference-header-content-length: ")).unwrap().parse().unwrap();
    assert!(head.starts_with("post /v2/models/m/infer ") && head.contains("application/octet-stream"), "{head}");
    // Recorded from tritonclient 2.73.0 for the same tensors.
    let recorded = include_str!("exchanges/open_inference/binary_request.json");
    let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(parsed(&body[..length]), parsed(recorded));
    let raw = include_bytes!("exchanges/open_inference/binary_request.raw");
    assert_eq!(body[length..], String::from_utf8_lossy(raw));
}

#[tokio::test]
async fn hostile_answers_end_in_clear_errors() {
    let case = |script: Script, expected: &'static str| async move {
        let error = hostile(Transport::HttpBinary, script).await.0.unwrap_err();
        assert_eq!((error.kind(), class_of(&error)), (Kind::Data, Class::Answered), "{}", error.chain());
        assert!(error.chain().contains(expected), "{}", error.chain());
    };
    let tensor = |shape: &str, size: &str| {
        format!(
            r#"{{"outputs":[{{"name":"y","datatype":"FP32","shape":{shape},"parameters":{{"binary_data_size":{size}}}}}]}}"#
        )
    };
    case(binary(&tensor("[2]", "8"), &[0; 7]), "tensor `y` has 8 bytes, 7 came").await;
    case(binary(&tensor("[2]", "8"), &[0; 12]), "4 bytes are left over").await;
    case(binary(&tensor("[2]", "18446744073709551615"), &[0; 8]), "has 18446744073709551615 bytes, 8 came").await;
    case(binary(&tensor("[2]", "-8"), &[0; 8]), "no JSON of the protocol").await;
    case(binary(&tensor("[4611686018427387904, 4]", "8"), &[0; 8]), "answers to 2 rows").await;
    case(binary(&tensor("[2, 1]", "8"), &[0; 8]), "its shape is [2, 1], expected float32[rows]").await;
    case(binary(&tensor("[2]", "8"), &f32::NAN.to_le_bytes().repeat(2)), "row 0 is NaN or infinite").await;
    case(binary(r#"{"outputs":[]}"#, &[]), "output `y`: it is missing").await;
    case(Script::answer(200, "Inference-Header-Content-Length: 99999\r\n", "{}"), "longer than the answer").await;
    case(Script::json(r#"{"outputs":[{"name":"y","datatype":"FP32","shape":[2],"data":[NaN,1]}]}"#), "no JSON").await;
    case(Script::json(r#"{"outputs":[{"name":"y","datatype":"FP32","shape":[2],"data":[null,1]}]}"#), "is null").await;
    let twice = r#"{"outputs":[{"name":"y","datatype":"FP32","shape":[2],"data":[7,7]},{"name":"y","datatype":"FP32","shape":[2],"data":[1,2]}]}"#;
    case(Script::json(twice), "output `y`: it came twice").await;
    case(Script::answer(200, "Content-Encoding: gzip\r\n", b"\x1f\x8b\x08"), "Content-Encoding is `gzip`").await;
    case(Script::json(r#"{"outputs":[{"name":"y","datatype":"INT32","shape":[2],"data":[1,1]}]}"#), "it is INT32")
        .await;
}

#[tokio::test]
async fn what_is_no_grpc_server_is_down_and_hangs_nobody() {
    let not_grpc: [(&str, Script); 2] = [("HTTP/1.1", Script::json("{}")), ("noise", Script::Bytes(vec![0xff; 4_096]))];
    for (name, script) in not_grpc {
        let error: Error = hostile(Transport::Grpc, script).await.0.unwrap_err();
        assert_eq!((error.kind(), class_of(&error)), (Kind::Unavailable, Class::Down), "{name}: {}", error.chain());
    }
}

/// Two rows asked of `model` of the server that answers wrongly, which waits for an answer so long and takes so many bytes.
async fn wrongly(model: &str, timeout: Duration, answer_bytes_max: usize) -> Result<RecordBatch> {
    let slot = |name: &str| vec![Slot::scalar(name, DataType::Float32)];
    let mut settings = OpenInferenceSettings {
        inputs: slot("x"),
        outputs: slot("y"),
        ..OpenInferenceSettings::new(&HOSTILE.second_url(), model)
    };
    (settings.endpoint.timeout, settings.endpoint.answer_bytes_max) = (timeout, answer_bytes_max);
    let column: ArrayRef = Arc::new(Float32Array::from(vec![1.0, 2.0]));
    let rows = RecordBatch::try_from_iter([("x", column)]).unwrap();
    made(&settings).start_unasked(0).call(batch(1, rows)).await.map(|answers| answers.rows)
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn raw_and_typed_contents_are_the_same_answer() {
    for model in ["good", "typed"] {
        assert_eq!(cells(&wrongly(model, LONG, 1 << 20).await.unwrap()), ["3.5", "4.5"], "{model}");
    }
}

#[tokio::test]
async fn hostile_messages_end_in_clear_errors() {
    for (model, expected) in [
        ("typed_short", "1 values came, its shape has 2"),
        ("nothing", "output `y`: it is missing"),
        ("garbage", "no message of the protocol"),
        ("cut", "no message of the protocol"),
        ("two_raw", "2 raw contents for 1 tensors"),
        ("short_raw", "7 bytes came for 2 values of 4 bytes"),
        ("wrong_rows", "1 answers to 2 rows"),
        ("huge_shape", "expected float32[rows]"),
        ("nan", "row 1 is NaN or infinite"),
    ] {
        let error = wrongly(model, LONG, 1 << 20).await.unwrap_err();
        assert_eq!((error.kind(), class_of(&error)), (Kind::Data, Class::Answered), "{model}: {}", error.chain());
        assert!(error.chain().contains(expected), "{model}: {}", error.chain());
    }
    let error = wrongly("long", LONG, 100_000).await.unwrap_err();
    assert_eq!((error.kind(), class_of(&error)), (Kind::Exhausted, Class::TooLarge), "{}", error.chain());
}

#[tokio::test]
async fn trailers_tell_when_to_come_back_and_whether() {
    let quota = wrongly("quota", LONG, 1 << 20).await.unwrap_err();
    assert_eq!((class_of(&quota), retry_after(&quota)), (Class::Throttled, Some(Duration::from_millis(700))));
    assert!(quota.chain().ends_with("slow down: 100% é") && !is_forbidden(&quota), "{}", quota.chain());
    let never = wrongly("never", LONG, 1 << 20).await.unwrap_err();
    assert_eq!((class_of(&never), is_forbidden(&never)), (Class::Overloaded, true), "{}", never.chain());
    let slow = wrongly("slow", Duration::from_millis(300), 1 << 20).await.unwrap_err();
    assert_eq!((slow.kind(), class_of(&slow)), (Kind::Timeout, Class::Timeout), "{}", slow.chain());
}
