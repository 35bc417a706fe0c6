//! The protocol over HTTP: tensors as JSON, or raw behind a JSON header (the binary tensor extension).

use bytes::{Bytes, BytesMut};
use forebay_core::{Error, Kind, Result};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::metadata::{Metadata, TensorMetadata};
use super::tensor::{Content, Given, Taken};
use crate::protocols::columns::cell;
use crate::protocols::endpoint::{Answer, Endpoint};
use crate::protocols::http_json::json_headers;

/// How long the JSON before the raw tensors is.
const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

#[derive(Deserialize)]
struct MetadataBody {
    #[serde(default)]
    inputs: Vec<TensorBody>,
    #[serde(default)]
    outputs: Vec<TensorBody>,
}

#[derive(Deserialize)]
struct AnswerBody {
    outputs: Vec<TensorBody>,
}

#[derive(Deserialize)]
struct TensorBody {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    parameters: Option<ParametersBody>,
}

#[derive(Deserialize)]
struct ParametersBody {
    binary_data_size: Option<u64>,
}

/// Asks what the model at `path` takes and gives.
pub(super) async fn metadata(endpoint: &Endpoint, path: &[&str]) -> Result<Metadata> {
    let answer = endpoint.exchange(Method::GET, endpoint.join(path), HeaderMap::new(), Bytes::new()).await?;
    let told: MetadataBody = parsed(endpoint, &answer.headers, &answer.body)?;
    let read = |tensors: Vec<TensorBody>| {
        let described =
            |tensor: TensorBody| TensorMetadata { name: tensor.name, datatype: tensor.datatype, shape: tensor.shape };
        tensors.into_iter().map(described).collect()
    };
    Ok(Metadata { inputs: read(told.inputs), outputs: read(told.outputs) })
}

/// Asks whether the model at `path` is ready. Servers say no by another status than 2xx.
pub(super) async fn ready(endpoint: &Endpoint, path: &[&str]) -> Result<bool> {
    let path: Vec<&str> = path.iter().copied().chain(["ready"]).collect();
    let answer = endpoint.exchange(Method::GET, endpoint.join(&path), HeaderMap::new(), Bytes::new()).await?;
    let told: Option<Value> = serde_json::from_slice(&answer.body).ok();
    Ok(told.and_then(|told| told.get("ready").and_then(Value::as_bool)).unwrap_or(true))
}

/// Sends tensors to the model at `path` and gives those that come back.
pub(super) async fn infer(
    endpoint: &Endpoint,
    path: &[&str],
    inputs: &[Given],
    outputs: &[&str],
    binary: bool,
) -> Result<Vec<Taken>> {
    let (headers, body) = if binary { raw_request(inputs, outputs)? } else { json_request(inputs, outputs)? };
    let path: Vec<&str> = path.iter().copied().chain(["infer"]).collect();
    let answer = endpoint.exchange(Method::POST, endpoint.join(&path), headers, body).await?;
    read(endpoint, answer)
}

fn json_request(inputs: &[Given], outputs: &[&str]) -> Result<(HeaderMap, Bytes)> {
    let mut tensors = Vec::with_capacity(inputs.len());
    for tensor in inputs {
        let field = arrow::datatypes::Field::new(&tensor.name, tensor.values.data_type().clone(), false);
        let data = (0..tensor.values.len()).map(|place| cell(&field, tensor.values.as_ref(), place));
        let data: Vec<Value> = data
            .collect::<Result<_, _>>()
            .map_err(|why| Error::new(Kind::Data, "write request").with("input", &tensor.name).source(why))?;
        tensors.push(json!({
            "name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape, "data": data,
        }));
    }
    let outputs: Vec<Value> = outputs.iter().map(|name| json!({ "name": name })).collect();
    Ok((json_headers(), written(&json!({ "inputs": tensors, "outputs": outputs }))?))
}

fn raw_request(inputs: &[Given], outputs: &[&str]) -> Result<(HeaderMap, Bytes)> {
    let raw: Vec<Bytes> = inputs.iter().map(Given::raw).collect();
    let tensor = |(tensor, raw): (&Given, &Bytes)| {
        json!({
            "name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape,
            "parameters": { "binary_data_size": raw.len() },
        })
    };
    let tensors: Vec<Value> = inputs.iter().zip(&raw).map(tensor).collect();
    let output = |name: &&str| json!({ "name": name, "parameters": { "binary_data": true } });
    let outputs: Vec<Value> = outputs.iter().map(output).collect();
    let head = written(&json!({ "inputs": tensors, "outputs": outputs }))?;
    let mut body = BytesMut::with_capacity(head.len() + raw.iter().map(Bytes::len).sum::<usize>());
    body.extend_from_slice(&head);
    raw.iter().for_each(|raw| body.extend_from_slice(raw));
    let octets = (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let headers = HeaderMap::from_iter([octets, (HEADER_LENGTH, HeaderValue::from(head.len()))]);
    Ok((headers, body.freeze()))
}

fn read(endpoint: &Endpoint, answer: Answer) -> Result<Vec<Taken>> {
    let Answer { headers, body } = answer;
    let head = match headers.get(HEADER_LENGTH) {
        None => body.len(),
        Some(length) => {
            let length = length.to_str().ok().and_then(|length| length.parse().ok());
            let length = length.filter(|length: &usize| *length <= body.len());
            length.ok_or_else(|| endpoint.bad_answer("the JSON header is said to be longer than the answer"))?
        }
    };
    let told: AnswerBody = parsed(endpoint, &headers, &body[..head])?;
    let mut raw = body.slice(head..);
    let mut taken = Vec::with_capacity(told.outputs.len());
    for tensor in told.outputs {
        let content = match tensor.parameters.and_then(|parameters| parameters.binary_data_size) {
            None => Content::Json(tensor.data),
            Some(size) => match usize::try_from(size).ok().filter(|size| *size <= raw.len()) {
                Some(size) => Content::Raw(raw.split_to(size)),
                None => {
                    let why = format!("tensor `{}` has {size} bytes, {} came", tensor.name, raw.len());
                    return Err(endpoint.bad_answer(why));
                }
            },
        };
        taken.push(Taken { name: tensor.name, datatype: tensor.datatype, shape: tensor.shape, content });
    }
    if raw.is_empty() { Ok(taken) } else { Err(endpoint.bad_answer(format!("{} bytes are left over", raw.len()))) }
}

fn parsed<'a, T: Deserialize<'a>>(endpoint: &Endpoint, headers: &HeaderMap, body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body)
        .map_err(|source| endpoint.unread(headers, format!("no JSON of the protocol: {source}")))
}

fn written(value: &Value) -> Result<Bytes> {
    let written =
        serde_json::to_vec(value).map_err(|source| Error::new(Kind::Internal, "write request").source(source));
    written.map(Bytes::from)
}
