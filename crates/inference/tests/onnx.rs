//! Real ONNX models in real child processes. Needs onnxruntime (`pip install onnxruntime`); without it these tests fail.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Int64Type, Schema};
use forebay_core::types::tensor::TensorType;
use forebay_core::{Kind, Result};
use forebay_inference::call::Permit;
use forebay_inference::hosts::Host;
use forebay_inference::hosts::onnx::{OnnxSettings, host};
use forebay_inference::hosts::process::ProcessHost;
use forebay_inference::service::{Service, ServiceSettings};

use support::{TokioEnv, batch, command, shown};

fn opened(path: &Path) -> Result<ProcessHost> {
    host(&OnnxSettings { path: path.to_path_buf(), library: None, threads: 1 }, command())
}

fn model(name: &str) -> ProcessHost {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(format!("{name}.onnx"));
    opened(&path).unwrap()
}

fn pixels_type() -> TensorType {
    TensorType::new(DataType::Float32, [2, 3])
}

/// Rows of `small.onnx`: row `n` holds its largest pixel at place `n`, and adds 100 to it.
fn small_rows(rows: usize) -> RecordBatch {
    let values =
        Float32Array::from_iter_values((0..rows * 6).map(|place| if place % 6 == place / 6 % 6 { 9.0 } else { 1.5 }));
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let pixels = FixedSizeListArray::new(item, 6, Arc::new(values), None);
    let fields: Vec<FieldRef> =
        vec![Arc::new(Field::new("add", DataType::Int64, false)), Arc::new(pixels_type().field("pixels", false))];
    let add = Int64Array::from_iter_values(std::iter::repeat_n(100, rows));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![Arc::new(add), Arc::new(pixels)]).unwrap()
}

#[tokio::test]
async fn tensors_and_numbers_go_through_a_model() {
    let replica = model("small").start(0).await.unwrap();
    let answer = replica.call(batch(1, small_rows(8).slice(2, 4))).await.unwrap().rows;
    assert_eq!(answer.num_rows(), 4);
    let labels = answer.column_by_name("label").unwrap().as_primitive::<Int64Type>();
    assert_eq!(labels.values(), &[102, 103, 104, 105]);
    let doubled = answer.column_by_name("doubled").unwrap().as_fixed_size_list();
    let first = doubled.value(0);
    assert_eq!(first.as_primitive::<Float32Type>().values(), &[3.0, 3.0, 18.0, 3.0, 3.0, 3.0]);
    assert_eq!(TensorType::of(answer.schema().field(0)), Some(pixels_type()));
}

#[tokio::test]
async fn the_signature_is_the_models_and_is_checked_with_names_and_shapes() {
    let host = model("small");
    let signature = host.signature().await.unwrap();
    let shown: Vec<String> =
        signature.inputs.iter().chain(&signature.outputs).map(|slot| format!("{} {slot}", slot.name)).collect();
    assert_eq!(
        shown,
        ["pixels float32[rows, 2, 3]", "add int64[rows]", "doubled float32[rows, 2, 3]", "label int64[rows]"]
    );
    assert_eq!(signature.output_fields().unwrap()[0], pixels_type().field("doubled", false));
    let wrong =
        BTreeMap::from([("pixels".to_string(), TensorType::new(DataType::Float32, [3, 2]).field("image", false))]);
    assert_eq!(
        signature.check(&wrong).unwrap_err().chain(),
        "match column to model input (input=pixels, expected=float32[rows, 2, 3], given=float32[rows, 3, 2], column=image)"
    );
}

#[tokio::test]
async fn a_call_with_the_wrong_type_is_refused_before_the_runtime_sees_it() {
    let replica = model("lookup").start(0).await.unwrap();
    let column: ArrayRef = Arc::new(Float32Array::from(vec![1.0]));
    let rows = RecordBatch::try_from_iter([("index", column)]).unwrap();
    let error = replica.call(batch(1, rows)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.chain().contains("input=index, expected=int64[rows], given=float32[rows]"), "{}", error.chain());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_model_cannot_take_fails_alone() {
    let settings = ServiceSettings { timeout: Duration::from_secs(60), ..ServiceSettings::default() };
    let service = Service::new(TokioEnv::shared(), Arc::new(model("lookup")), None, settings);
    let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(3), Some(99), None, Some(1)]));
    let rows = RecordBatch::try_from_iter([("index", column)]).unwrap();
    let told = shown(&service.submit(batch(1, rows), Permit::unlimited()).await.unwrap());
    assert_eq!((&told[0][..], &told[3][..]), ("30.0", "10.0"));
    assert!(told[1].starts_with("data: ") && told[1].contains("out of data bounds"), "{}", told[1]);
    assert!(told[2].starts_with("data: ") && told[2].contains("models take no nulls"), "{}", told[2]);
}

#[tokio::test]
async fn no_rows_give_no_rows() {
    let replica = model("lookup").start(0).await.unwrap();
    let column: ArrayRef = Arc::new(Int64Array::from(Vec::<i64>::new()));
    let rows = RecordBatch::try_from_iter([("index", column)]).unwrap();
    assert_eq!(replica.call(batch(1, rows)).await.unwrap().rows.num_rows(), 0);
}

#[tokio::test]
async fn a_model_with_a_fixed_first_axis_is_refused_with_the_way_out() {
    let error = model("one_row").signature().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.chain().contains("name=x, rows=1"), "{}", error.chain());
    assert!(error.chain().contains("export the model with a dynamic first axis"), "{}", error.chain());
}

#[tokio::test]
async fn a_file_that_is_no_model_or_no_file_is_invalid() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.onnx");
    assert_eq!(opened(&path).err().unwrap().kind(), Kind::Invalid);
    std::fs::write(&path, "not a model").unwrap();
    let host = opened(&path).unwrap();
    let error = host.signature().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.chain().contains("load model (model="), "{}", error.chain());
    std::fs::write(&path, "another").unwrap();
    let error = host.signature().await.unwrap_err();
    assert!(error.chain().contains("the file changed since the job was planned"), "{}", error.chain());
}

#[tokio::test]
async fn a_library_that_is_none_is_invalid() {
    let library = Some(PathBuf::from("/bin/sh"));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/small.onnx");
    let host = host(&OnnxSettings { path, library, threads: 1 }, command()).unwrap();
    let error = host.signature().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.chain().contains("load onnxruntime (library=/bin/sh)"), "{}", error.chain());
}
