//! What a column of pixels costs in Parquet, as bytes and as a list; the figures are in `docs/reference/formats/parquet.md`.
//!
//! `tensor_columns [PIXELS]`, where `PIXELS` is a file of rows of 224 x 224 x 3 bytes; without it, pixels are made up.

use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, RecordBatch, UInt8Array};
use arrow::datatypes::{DataType, Schema};
use forebay_connectors::sinks::files::{FileSinkSettings, SinkFormat, Tensors, encode_one};
use forebay_core::types::tensor::TensorType;

const ROW_BYTES: usize = 224 * 224 * 3;
/// Rows encoded as one file: 30 MB, what one output file holds.
const FILE_ROWS: usize = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pixels = match std::env::args().nth(1) {
        Some(path) => std::fs::read(path)?,
        None => (0..2 * FILE_ROWS * ROW_BYTES).map(|place| (place / 7 + place % 11) as u8).collect(),
    };
    let files: Vec<RecordBatch> =
        pixels.chunks_exact(FILE_ROWS * ROW_BYTES).map(rows).collect::<Result<_, arrow::error::ArrowError>>()?;
    for tensors in [Tensors::Bytes, Tensors::List] {
        let settings = FileSinkSettings { tensors, ..FileSinkSettings::new(SinkFormat::Parquet) };
        let (before, mut bytes) = (cpu_seconds()?, 0);
        for rows in &files {
            bytes += encode_one(rows, &settings)?.len();
        }
        let seconds = cpu_seconds()? - before;
        println!("{tensors:?}: {} rows, {seconds:.2} CPU s, {:.1} MB", files.len() * FILE_ROWS, bytes as f64 / 1e6);
    }
    Ok(())
}

fn rows(pixels: &[u8]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let tensor = TensorType::new(DataType::UInt8, [224, 224, 3]);
    let DataType::FixedSizeList(item, length) = tensor.storage() else { unreachable!("tensors are lists") };
    let values: ArrayRef = Arc::new(UInt8Array::from(pixels.to_vec()));
    let column: ArrayRef = Arc::new(FixedSizeListArray::try_new(item, length, values, None)?);
    RecordBatch::try_new(Arc::new(Schema::new(vec![tensor.field("pixels", false)])), vec![column])
}

/// User and system time of this process, from the kernel, in steps of 10 ms.
fn cpu_seconds() -> Result<f64, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |place: usize| fields.get(place).and_then(|text| text.parse::<f64>().ok()).ok_or("no CPU time");
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
