//! Row functions, facts and a job for the tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use forebay_core::function::{Argument, BoundFunction, Evaluated, RowFunction};
use forebay_core::model::{ModelField, ModelSignature};
use forebay_core::types::image_field;
use forebay_core::types::tensor::TensorType;
use forebay_core::{Error, Kind, Result};
use forebay_plan::{Facts, JobFileError, Plan, build, parse};

/// The job of the demo.
pub const DIGITS: &str = include_str!("data/digits.toml");

/// Plans `text` with the facts below.
pub fn plan(text: &str) -> std::result::Result<Plan, JobFileError> {
    let job = parse(text, "job.toml", |name| (name == "OUT").then(|| "out".to_string()))?;
    build(&job, &facts(), &functions(), &[])
}

/// The facts that every test job lives with.
pub fn facts() -> Facts {
    let source = Schema::new(vec![
        Field::new("path", DataType::Utf8, false),
        image_field("content", false),
        Field::new("taken", DataType::Int64, true),
    ]);
    let labels = Arc::new(Schema::new(vec![
        Field::new("file", DataType::Utf8, true),
        Field::new("number", DataType::Int64, true),
        Field::new("ratio", DataType::Float64, true),
    ]));
    let digits = ModelSignature {
        inputs: vec![ModelField::new("pixels", DataType::Float32, &[Some(8), Some(8), Some(1)])],
        outputs: vec![
            ModelField::new("label", DataType::Int64, &[]),
            ModelField::new("scores", DataType::Float32, &[Some(10)]),
            ModelField::new("ragged", DataType::Float32, &[None]),
        ],
    };
    let clicks = Arc::new(Schema::new(vec![
        Field::new("user", DataType::Utf8, true),
        Field::new("at", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
    ]));
    let views = Arc::new(Schema::new(vec![
        Field::new("user", DataType::Utf8, false),
        Field::new("at", DataType::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into())), true),
        Field::new("n", DataType::Int64, true),
    ]));
    let source = Arc::new(source);
    let bids = Arc::new(Schema::new(vec![
        Field::new("auction", DataType::Int64, false),
        Field::new("price", DataType::Int64, false),
        Field::new("date_time", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        Field::new("extra", DataType::Utf8, false),
    ]));
    let files = [("source", &source), ("images", &source), ("photos", &source), ("clicks", &clicks), ("views", &views)];
    let sources = files.into_iter().chain([("bids", &bids)]);
    let text = |outputs: &[(&str, DataType)]| ModelSignature {
        inputs: vec![ModelField::new("text", DataType::Utf8, &[])],
        outputs: outputs.iter().map(|(name, kind)| ModelField::new(*name, kind.clone(), &[])).collect(),
    };
    let answers = text(&[("answer", DataType::Utf8), ("score", DataType::Float64)]);
    Facts {
        sources: sources.map(|(uid, schema)| (uid.to_string(), Arc::clone(schema))).collect(),
        tables: (1..=5).map(|step| (step, Arc::clone(&labels))).collect(),
        signatures: BTreeMap::from([
            ("digits".to_string(), digits),
            ("m".to_string(), answers.clone()),
            ("second".to_string(), answers),
            ("other".to_string(), text(&[("answer", DataType::Int64)])),
        ]),
    }
}

/// `image_to_tensor(image, width, height)` and `upper_row(text)`.
pub fn functions() -> Vec<Arc<dyn RowFunction>> {
    vec![Arc::new(ImageToTensor), Arc::new(UpperRow)]
}

#[derive(Debug)]
struct ImageToTensor;

impl RowFunction for ImageToTensor {
    fn name(&self) -> &'static str {
        "image_to_tensor"
    }

    fn usage(&self) -> &'static str {
        "image_to_tensor(image, width, height)"
    }

    fn bind(&self, arguments: &[Argument]) -> Result<Arc<dyn BoundFunction>> {
        match arguments {
            [Argument::Column(field), Argument::Int(width), Argument::Int(height)]
                if *field.data_type() == DataType::Binary =>
            {
                let shape = [*height as usize, *width as usize, 1];
                let output = TensorType::new(DataType::Float32, shape).field("out", field.is_nullable());
                Ok(Arc::new(Bound(Arc::new(output))))
            }
            _ => Err(Error::new(Kind::Invalid, "bind image_to_tensor").with("width", "a whole number")),
        }
    }
}

#[derive(Debug)]
struct UpperRow;

impl RowFunction for UpperRow {
    fn name(&self) -> &'static str {
        "upper_row"
    }

    fn usage(&self) -> &'static str {
        "upper_row(text)"
    }

    fn bind(&self, arguments: &[Argument]) -> Result<Arc<dyn BoundFunction>> {
        match arguments {
            [Argument::Column(field)] if *field.data_type() == DataType::Utf8 => {
                Ok(Arc::new(Bound(Arc::new(Field::new("out", DataType::Utf8, field.is_nullable())))))
            }
            _ => Err(Error::new(Kind::Invalid, "bind upper_row")),
        }
    }
}

#[derive(Debug)]
struct Bound(FieldRef);

impl BoundFunction for Bound {
    fn output(&self) -> FieldRef {
        Arc::clone(&self.0)
    }

    fn evaluate(&self, columns: &[ArrayRef], _rows: usize) -> Result<Evaluated> {
        Ok(Evaluated { column: Arc::clone(&columns[0]), errors: Vec::new() })
    }
}

/// A job with these steps between a source of images and a Parquet sink.
pub fn job(steps: &str) -> String {
    format!(
        "name = \"t\"\n[source]\nformat = \"images\"\npath = \"in/*.png\"\n{steps}\n[sink]\nformat = \"parquet\"\npath = \"out\"\n"
    )
}

/// A job with two sources, `clicks` (text times) and `views` (timestamps), these steps, and these sinks.
pub fn graph_job(steps: &str, sinks: &str) -> String {
    format!(
        "name = \"t\"\n[source.clicks]\nformat = \"jsonl\"\npath = \"clicks/*.jsonl\"\n\
         [source.views]\nformat = \"parquet\"\npath = \"views/*.parquet\"\n{steps}\n{sinks}\n"
    )
}
