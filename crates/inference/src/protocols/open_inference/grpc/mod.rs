//! The protocol over gRPC.

mod messages;
mod unary;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array, UInt32Array, UInt64Array,
};
use bytes::{Bytes, BytesMut};
use forebay_core::Result;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use self::messages::{
    Contents, ModelInferRequest, ModelInferResponse, ModelMetadataResponse, ModelReadyResponse, ModelRequest,
    RAW_INPUT_CONTENTS, RequestedOutput, Tensor,
};
use super::metadata::{Metadata, TensorMetadata};
use super::tensor::{Content, Given, Taken};
use crate::protocols::endpoint::Endpoint;

/// Asks what `model` takes and gives.
pub(super) async fn metadata(endpoint: &Endpoint, model: &str, version: &str) -> Result<Metadata> {
    let request = ModelRequest { name: model.to_string(), version: version.to_string() }.encode_to_vec().into();
    let told: ModelMetadataResponse = unary::call(endpoint, "ModelMetadata", vec![request]).await?;
    let read = |tensors: Vec<Tensor>| tensors.into_iter().map(described).collect();
    Ok(Metadata { inputs: read(told.inputs), outputs: read(told.outputs) })
}

fn described(tensor: Tensor) -> TensorMetadata {
    TensorMetadata { name: tensor.name, datatype: tensor.datatype, shape: tensor.shape }
}

/// Asks whether `model` is ready.
pub(super) async fn ready(endpoint: &Endpoint, model: &str, version: &str) -> Result<bool> {
    let request = ModelRequest { name: model.to_string(), version: version.to_string() }.encode_to_vec().into();
    let told: ModelReadyResponse = unary::call(endpoint, "ModelReady", vec![request]).await?;
    Ok(told.ready)
}

/// Sends tensors and gives those that come back.
pub(super) async fn infer(
    endpoint: &Endpoint,
    model: &str,
    version: &str,
    inputs: &[Given],
    outputs: &[&str],
) -> Result<Vec<Taken>> {
    let request = ModelInferRequest {
        model_name: model.to_string(),
        model_version: version.to_string(),
        inputs: inputs.iter().map(announced).collect(),
        outputs: outputs.iter().map(|name| RequestedOutput { name: (*name).to_string() }).collect(),
    };
    let mut pieces = vec![Bytes::from(request.encode_to_vec())];
    for tensor in inputs {
        let raw = tensor.raw();
        let mut head = BytesMut::new();
        encode_key(RAW_INPUT_CONTENTS, WireType::LengthDelimited, &mut head);
        encode_varint(raw.len() as u64, &mut head);
        pieces.extend([head.freeze(), raw]);
    }
    let answer: ModelInferResponse = unary::call(endpoint, "ModelInfer", pieces).await?;
    let (tensors, raw) = (answer.outputs, answer.raw_output_contents);
    if !raw.is_empty() && raw.len() != tensors.len() {
        return Err(endpoint.bad_answer(format!("{} raw contents for {} tensors", raw.len(), tensors.len())));
    }
    let mut raw = raw.into_iter();
    Ok(tensors.into_iter().map(|tensor| taken(tensor, raw.next())).collect())
}

fn announced(tensor: &Given) -> Tensor {
    let datatype = tensor.datatype.to_string();
    Tensor { name: tensor.name.clone(), datatype, shape: tensor.shape.clone(), contents: None }
}

fn taken(tensor: Tensor, raw: Option<Bytes>) -> Taken {
    let content = match (raw, tensor.contents) {
        (Some(raw), _) => Content::Raw(raw),
        (None, contents) => Content::Typed(typed(&tensor.datatype, contents.unwrap_or_default())),
    };
    Taken { name: tensor.name, datatype: tensor.datatype, shape: tensor.shape, content }
}

/// The list that holds values of `datatype`. Halves come raw only.
fn typed(datatype: &str, contents: Contents) -> ArrayRef {
    match datatype {
        "BOOL" => Arc::new(BooleanArray::from(contents.bools)),
        "INT8" | "INT16" | "INT32" => Arc::new(Int32Array::from(contents.ints)),
        "INT64" => Arc::new(Int64Array::from(contents.int64s)),
        "UINT8" | "UINT16" | "UINT32" => Arc::new(UInt32Array::from(contents.uints)),
        "UINT64" => Arc::new(UInt64Array::from(contents.uint64s)),
        "FP64" => Arc::new(Float64Array::from(contents.doubles)),
        "BYTES" => Arc::new(BinaryArray::from_iter_values(contents.bytes)),
        _ => Arc::new(Float32Array::from(contents.floats)),
    }
}
