//! The client's way to the backend: a pool of HTTP/1.1 connections, or one gRPC connection.

use bytes::Bytes;
use forebay_gate::limiter::Class;
use http_body_util::{BodyExt, Full};
use hyper::header::CONTENT_TYPE;
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::grpc::{self, HandCodec};
use super::message::{Answer, Call, Outcome, Report};
use super::{Protocol, failed, http};
use crate::error::Error;

/// Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Channel {
    origin: String,
    http: Client<HttpConnector, Full<Bytes>>,
    grpc: Option<tonic::client::Grpc<Client<HttpConnector, tonic::body::Body>>>,
}

// === impl Channel ===

impl Channel {
    /// To the backend on loopback at `port`; connects when it is first used.
    pub fn new(port: u16, protocol: Protocol) -> Result<Self, Error> {
        let origin = format!("http://127.0.0.1:{port}");
        let uri: Uri = origin.parse().map_err(|error| failed("name the backend", error))?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = Client::builder(TokioExecutor::new()).build(connector.clone());
        let multiplexed = || Client::builder(TokioExecutor::new()).http2_only(true).build(connector);
        let grpc = (protocol == Protocol::Grpc).then(|| tonic::client::Grpc::with_origin(multiplexed(), uri));
        Ok(Self { origin, http, grpc })
    }

    /// Sets the backend's clock to second 0.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn start(&self) -> Result<(), Error> {
        let response = self.post(http::START_PATH, Bytes::new()).await?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(failed("start the backend's clock", response.status()))
        }
    }

    /// Asks the backend how it is.
    ///
    /// # Errors
    /// When it cannot be reached or understood.
    pub async fn report(&self) -> Result<Report, Error> {
        let attempted = "read the backend's report";
        let response = self.post(http::REPORT_PATH, Bytes::new()).await?;
        let body = response.into_body().collect().await.map_err(|error| failed(attempted, error))?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| failed(attempted, error))
    }

    /// Calls, and says how it ended. Dropping the future gives the call up, which the backend may notice.
    pub async fn call(self, call: Call) -> Outcome {
        match self.grpc {
            Some(_) => self.call_grpc(call).await,
            None => self.call_http(call).await.unwrap_or(Outcome::failed(Class::Down, 0.0)),
        }
    }

    async fn call_grpc(self, call: Call) -> Outcome {
        let Some(mut grpc) = self.grpc else { return Outcome::failed(Class::Down, 0.0) };
        if grpc.ready().await.is_err() {
            return Outcome::failed(Class::Down, 0.0);
        }
        let method = PathAndQuery::from_static(grpc::METHOD);
        let reply = grpc.unary(tonic::Request::new(call), method, HandCodec::<Call, Answer>::default()).await;
        grpc::outcome(reply.map(tonic::Response::into_inner))
    }

    async fn call_http(&self, call: Call) -> Result<Outcome, Error> {
        let body = serde_json::to_vec(&call).map_err(|error| failed("write a call", error))?;
        let response = self.post(http::CALL_PATH, Bytes::from(body)).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| failed("read an answer", error))?;
        Ok(http::outcome(head.status, &head.headers, &body.to_bytes()))
    }

    async fn post(&self, path: &str, body: Bytes) -> Result<Response<hyper::body::Incoming>, Error> {
        let request = Request::post(format!("{}{path}", self.origin)).header(CONTENT_TYPE, "application/json");
        let request = request.body(Full::new(body)).map_err(|error| failed("write a request", error))?;
        self.http.request(request).await.map_err(|error| failed("call the backend", error))
    }
}
