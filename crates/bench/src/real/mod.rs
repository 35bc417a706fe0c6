//! The same scenarios in real time: a backend process on loopback that waits for as long as the file says, and a client that
//! calls it over HTTP/1.1 or gRPC.
//!
//! Both sides run the state machines of [`virtual_time`](crate::virtual_time), moved by a real clock instead of an agenda that
//! jumps, so what differs from a virtual run is what real life adds: sockets, connection pools, timers that come late, two
//! processes that share a machine, answers that arrive in clumps. Of the file's round trip, what loopback does not take is
//! waited for. A run returns the same [`Run`] as a virtual one, for the same tables and plots.

mod channel;
mod client;
mod clock;
mod grpc;
mod host;
mod http;
mod message;
mod protobuf;
mod served;
mod server;
#[cfg(test)]
mod tests;

use forebay_gate::limiter::Limiter;

pub use self::host::{Place, serve};
use crate::error::Error;
use crate::scenario::Scenario;
use crate::virtual_time::Run;

/// How the client talks to the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Protocol {
    /// JSON over HTTP/1.1, a pool of connections.
    #[default]
    Http,
    /// Protocol buffers over gRPC, calls beside one another on one connection.
    Grpc,
}

/// Runs `scenario` once in real time, which takes its length; `limiter` makes the n-th limiter, one for each client and
/// visible replica. `seed` draws sizes, arrivals and service times; the clock makes no two runs equal all the same.
///
/// # Errors
/// `Other` when the backend cannot be started or reached. Calls that fail during the run are part of the result.
pub fn run(
    scenario: &Scenario,
    seed: u64,
    protocol: Protocol,
    place: &Place,
    limiter: &dyn Fn(usize) -> Box<dyn Limiter>,
) -> Result<Run, Error> {
    let host = host::start(scenario, seed, place)?;
    clock::block_on(client::run(scenario, seed, protocol, host.port(), limiter))?
}

/// `scenario` cut to its first `seconds`: phases and clients that would begin later are left out.
pub fn shortened(scenario: &Scenario, seconds: f64) -> Scenario {
    let mut short = scenario.clone();
    short.length.0 = short.length.0.min(seconds);
    let end = short.length.0;
    short.phases.retain(|phase| phase.at.0 < end);
    short.clients.retain(|client| client.start.0 < end);
    short
}

/// An error of this module.
fn failed(attempted: &str, error: impl std::fmt::Display) -> Error {
    Error::Other(format!("{attempted}: {error}"))
}
