//! One gRPC call with one message each way, over the endpoint's own HTTP/2 connections.
//!
//! A gRPC call is a POST whose bodies have five bytes before each message, and whose end is told in trailers. Doing it here
//! keeps one pool, one TLS set-up and one set of limits for all protocols, and lets tensors go out as the buffers that
//! they are.

use bytes::{Buf, Bytes, BytesMut};
use forebay_core::{Error, Result};
use futures::stream;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use http_body_util::BodyExt;
use prost::Message;
use reqwest::{Body, Method};

use crate::protocols::endpoint::Endpoint;
use crate::protocols::refusal::{Meaning, Refusal};
use crate::protocols::signals::{GrpcStatus, of_grpc};

/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Set aside for a message before any of it came, whatever its prefix claims.
const FIRST_BYTES_MAX: usize = 1 << 20;

/// Calls `method` with the message that `pieces` are together.
///
/// # Errors
/// By what the status means, see [`of_grpc`]; `Exhausted` if a message is too long either way.
pub(super) async fn call<A: Message + Default>(endpoint: &Endpoint, method: &str, pieces: Vec<Bytes>) -> Result<A> {
    let length: usize = pieces.iter().map(Bytes::len).sum();
    endpoint.check_request(length)?;
    let prefix = prefix(length).ok_or_else(|| endpoint.bad_answer("no message has 4 GiB"))?;
    let frames = std::iter::once(prefix).chain(pieces).map(Ok::<_, std::convert::Infallible>);
    let url = endpoint.join(&["inference.GRPCInferenceService", method]);
    let request = endpoint
        .request(Method::POST, url)
        .headers(headers(endpoint))
        .body(Body::wrap_stream(stream::iter(frames.collect::<Vec<_>>())));
    let response = request.send().await.map_err(|source| endpoint.failed(&source))?;
    endpoint.observe(response.headers());
    if !response.status().is_success() {
        return Err(endpoint.read_refusal(response).await);
    }
    let (parts, body) = http::Response::from(response).into_parts();
    // An answer without a message tells its status in the headers.
    if let Some(status) = GrpcStatus::of_trailers(&parts.headers) {
        return Err(refused(endpoint, &status));
    }
    let message = read(endpoint, body).await?;
    A::decode(message).map_err(|source| endpoint.bad_answer(format!("no message of the protocol: {source}")))
}

fn headers(endpoint: &Endpoint) -> HeaderMap {
    let timeout = format!("{}m", endpoint.timeout.as_millis().min(99_999_999));
    let fixed =
        [(CONTENT_TYPE, HeaderValue::from_static("application/grpc")), (TE, HeaderValue::from_static("trailers"))];
    let mut headers = HeaderMap::from_iter(fixed);
    if let Ok(timeout) = HeaderValue::try_from(timeout) {
        headers.insert(HeaderName::from_static("grpc-timeout"), timeout);
    }
    headers
}

fn prefix(length: usize) -> Option<Bytes> {
    let length = u32::try_from(length).ok()?.to_be_bytes();
    Some(Bytes::from_iter(std::iter::once(0).chain(length)))
}

fn refused(endpoint: &Endpoint, status: &GrpcStatus) -> Error {
    match of_grpc(status) {
        Some(mut refusal) => {
            endpoint.reread(&mut refusal, &status.message);
            endpoint.refused(refusal)
        }
        None => endpoint.bad_answer("the call ended well without an answer"),
    }
}

/// Reads one message and the status behind it.
async fn read(endpoint: &Endpoint, mut body: Body) -> Result<Bytes> {
    let mut bytes = BytesMut::new();
    let mut expected = None;
    let mut status = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| endpoint.failed(&source))?;
        match frame.into_data() {
            Ok(data) => {
                bytes.extend_from_slice(&data);
                if expected.is_none() {
                    expected = expected_length(endpoint, &bytes)?;
                    bytes.reserve(expected.unwrap_or(0).min(FIRST_BYTES_MAX));
                }
                if bytes.len() > expected.map_or(PREFIX_BYTES, |length| length + PREFIX_BYTES) {
                    return Err(endpoint.bad_answer("more came than one message"));
                }
            }
            Err(frame) => status = frame.into_trailers().ok().as_ref().and_then(GrpcStatus::of_trailers),
        }
    }
    let lost = || endpoint.refused(Refusal::new(Meaning::Down, "connection lost", "the answer has no status"));
    let status = status.ok_or_else(lost)?;
    if status.code != 0 {
        return Err(refused(endpoint, &status));
    }
    match expected {
        Some(length) if bytes.len() == length + PREFIX_BYTES => {
            bytes.advance(PREFIX_BYTES);
            Ok(bytes.freeze())
        }
        Some(length) => {
            Err(endpoint.bad_answer(format!("{} of {length} bytes came", bytes.len().saturating_sub(PREFIX_BYTES))))
        }
        None => Err(endpoint.bad_answer("the call ended well without an answer")),
    }
}

/// The length of the message that begins `bytes`, once its prefix is whole.
fn expected_length(endpoint: &Endpoint, bytes: &[u8]) -> Result<Option<usize>> {
    let Some(([compressed, length @ ..], _)) = bytes.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    if *compressed != 0 {
        return Err(endpoint.bad_answer("it is compressed, which was not asked for"));
    }
    let length = u32::from_be_bytes(*length) as usize;
    if length > endpoint.answer_bytes_max { Err(endpoint.answer_too_long()) } else { Ok(Some(length)) }
}
