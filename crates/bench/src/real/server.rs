//! The backend's sockets: one loopback address that answers HTTP/1.1 and gRPC alike.
//!
//! Connections parse and wait; all that is decided is decided by [`Served`] in one loop, in the order in which calls came.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use forebay_gate::limiter::Class;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};

use super::clock::Clock;
use super::grpc::{self, HandCodec};
use super::http;
use super::message::{Answer, Call, Outcome, Report};
use super::served::Served;
use crate::scenario::Scenario;
use crate::virtual_time::calls::CallId;

/// Answers whose caller went away are looked for this often.
const SWEEP_SECONDS: f64 = 0.01;

/// What a connection asks of the loop.
enum Ask {
    Start(oneshot::Sender<()>),
    Call(Call, oneshot::Sender<Outcome>),
    Report(oneshot::Sender<Report>),
}

/// Where all calls come together.
struct Desk<'a> {
    scenario: &'a Scenario,
    seed: u64,
    clock: Clock,
    served: Served<'a>,
    waiting: BTreeMap<CallId, oneshot::Sender<Outcome>>,
    swept: f64,
}

/// Answers what comes to `listener` until `stop` ends. The scenario's second 0 is when the start was posted.
pub async fn answer(listener: TcpListener, scenario: &Scenario, seed: u64, stop: oneshot::Receiver<()>) {
    let (asks, mut asked) = mpsc::unbounded_channel();
    let accepting = tokio::spawn(accept(listener, asks));
    tokio::select! {
        () = Desk::new(scenario, seed).work(&mut asked) => {}
        _ = stop => {}
    }
    accepting.abort();
}

async fn accept(listener: TcpListener, asks: mpsc::UnboundedSender<Ask>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, asks.clone()));
    }
}

async fn connection(stream: TcpStream, asks: mpsc::UnboundedSender<Ask>) {
    // Answers are small; waiting to fill a packet would show as latency.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |request| {
        let asks = asks.clone();
        async move { Ok::<_, Infallible>(route(request, asks).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(None);
    // A connection ends when its client goes away, with an error or without.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn route(request: Request<Incoming>, asks: mpsc::UnboundedSender<Ask>) -> Response<Body> {
    match request.uri().path() {
        grpc::METHOD => Grpc::new(HandCodec::<Answer, Call>::default()).unary(Caller(asks), request).await,
        http::CALL_PATH => match read(request).await {
            Some(call) => whole(http::response(ask_call(&asks, call).await)),
            None => bare(StatusCode::BAD_REQUEST),
        },
        http::START_PATH => match ask(&asks, Ask::Start).await {
            Some(()) => bare(StatusCode::NO_CONTENT),
            None => bare(StatusCode::BAD_GATEWAY),
        },
        http::REPORT_PATH => match ask(&asks, Ask::Report).await.and_then(|report| serde_json::to_vec(&report).ok()) {
            Some(body) => whole(Response::new(Bytes::from(body))),
            None => bare(StatusCode::BAD_GATEWAY),
        },
        _ => bare(StatusCode::NOT_FOUND),
    }
}

async fn read(request: Request<Incoming>) -> Option<Call> {
    let body = request.into_body().collect().await.ok()?.to_bytes();
    serde_json::from_slice(&body).ok()
}

async fn ask<Reply>(
    asks: &mpsc::UnboundedSender<Ask>,
    ask: impl FnOnce(oneshot::Sender<Reply>) -> Ask,
) -> Option<Reply> {
    let (sender, reply) = oneshot::channel();
    asks.send(ask(sender)).ok()?;
    reply.await.ok()
}

async fn ask_call(asks: &mpsc::UnboundedSender<Ask>, call: Call) -> Outcome {
    ask(asks, |reply| Ask::Call(call, reply)).await.unwrap_or(Outcome::failed(Class::Down, 0.0))
}

fn whole(response: Response<Bytes>) -> Response<Body> {
    response.map(|body| Body::new(Full::new(body)))
}

fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

// === impl Desk ===

impl<'a> Desk<'a> {
    fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let (clock, served) = (Clock::start(), Served::new(scenario, seed));
        Self { scenario, seed, clock, served, waiting: BTreeMap::new(), swept: 0.0 }
    }

    /// Works until nobody can ask any more.
    async fn work(mut self, asked: &mut mpsc::UnboundedReceiver<Ask>) {
        loop {
            self.advance();
            self.sweep();
            let sweep_at = if self.waiting.is_empty() { f64::INFINITY } else { self.swept + SWEEP_SECONDS };
            let due = self.served.due().min(sweep_at);
            tokio::select! {
                biased;
                ask = asked.recv() => match ask {
                    Some(ask) => self.take(ask),
                    None => return,
                },
                () = self.clock.wait_until(due) => {}
            }
        }
    }

    /// Lets the backend do what is due, and sends its answers.
    fn advance(&mut self) {
        for (id, outcome) in self.served.advance(self.clock.now()) {
            // A caller that is gone does not want its answer.
            let _ = self.waiting.remove(&id).map(|reply| reply.send(outcome));
        }
    }

    /// Tells the backend of callers that went away.
    fn sweep(&mut self) {
        let now = self.clock.now();
        if now - self.swept >= SWEEP_SECONDS {
            self.swept = now;
            for (id, _) in self.waiting.extract_if(.., |_, reply| reply.is_closed()) {
                self.served.abandon(id);
            }
        }
    }

    fn take(&mut self, ask: Ask) {
        match ask {
            Ask::Start(reply) => {
                *self = Self::new(self.scenario, self.seed);
                // Whoever asked may have gone; it will not call.
                let _ = reply.send(());
            }
            Ask::Report(reply) => drop(reply.send(self.served.report())),
            Ask::Call(call, reply) => {
                // What became due while it was on its way comes first.
                self.advance();
                self.waiting.insert(self.served.receive(&call), reply);
            }
        }
    }
}

/// The gRPC method.
struct Caller(mpsc::UnboundedSender<Ask>);

// === impl Caller ===

impl UnaryService<Call> for Caller {
    type Response = Answer;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Answer>, tonic::Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Call>) -> Self::Future {
        let asks = self.0.clone();
        Box::pin(async move { grpc::reply(ask_call(&asks, request.into_inner()).await).map(tonic::Response::new) })
    }
}
