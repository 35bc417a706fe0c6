//! Where the backend runs: a process of its own, or a thread for tests.
//!
//! The process is this program again, with a hidden argument that ends in [`serve`]. It reads one line, the scenario and the
//! seed as JSON, from its standard input, writes the port it listens at as one line, and ends when the input ends, so that it
//! never outlives the run.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::served::backend_of;
use super::{clock, failed, server};
use crate::error::Error;
use crate::scenario::Scenario;

/// Where the backend runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A thread of this process: for tests only, because it shares more with the client than a real backend does.
    Thread,
    /// A process: a program and arguments with which it calls [`serve`].
    Process(PathBuf, Vec<String>),
}

/// What the process is told.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    scenario: Scenario,
    seed: u64,
}

/// A backend that runs until this is dropped.
pub struct Host {
    port: u16,
    running: Running,
}

enum Running {
    Thread(Option<oneshot::Sender<()>>, Option<JoinHandle<()>>),
    Process(Child),
}

/// Starts the backend of `scenario` at `place` and waits until it listens.
pub fn start(scenario: &Scenario, seed: u64, place: &Place) -> Result<Host, Error> {
    match place {
        Place::Thread => start_thread(scenario, seed),
        Place::Process(program, arguments) => start_process(scenario, seed, program, arguments),
    }
}

/// The whole life of a backend process; see the module for what it reads and writes.
///
/// # Errors
/// `Other` when it is told nonsense or cannot listen.
pub fn serve() -> Result<(), Error> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|error| failed("read the order", error))?;
    let order: Order = serde_json::from_str(&line).map_err(|error| failed("read the order", error))?;
    let (stop, stopped) = oneshot::channel();
    std::thread::spawn(move || {
        // Ends with the parent, whatever becomes of it.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(stop);
    });
    listen(&order.scenario, order.seed, stopped, |port| {
        let mut out = std::io::stdout();
        writeln!(out, "{port}").and_then(|()| out.flush()).map_err(|error| failed("write the port", error))
    })
}

/// Listens at a free port of loopback, says which, and answers until `stop` ends.
fn listen(
    scenario: &Scenario,
    seed: u64,
    stop: oneshot::Receiver<()>,
    say: impl FnOnce(u16) -> Result<(), Error>,
) -> Result<(), Error> {
    let backend = backend_of(scenario);
    clock::block_on(async {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).await.map_err(|error| failed("listen on loopback", error))?;
        say(listener.local_addr().map_err(|error| failed("listen on loopback", error))?.port())?;
        server::answer(listener, &backend, seed, stop).await;
        Ok(())
    })?
}

fn start_thread(scenario: &Scenario, seed: u64) -> Result<Host, Error> {
    let (stop, stopped) = oneshot::channel();
    let (port_sender, port) = std::sync::mpsc::channel();
    let scenario = scenario.clone();
    let thread = std::thread::spawn(move || {
        let failure = port_sender.clone();
        let result = listen(&scenario, seed, stopped, |port| {
            port_sender.send(Ok(port)).map_err(|error| failed("say the port", error))
        });
        if let Err(error) = result {
            // Nobody listens any more when the failure came after the port.
            let _ = failure.send(Err(error));
        }
    });
    let port = port.recv().map_err(|error| failed("start the backend", error))??;
    Ok(Host { port, running: Running::Thread(Some(stop), Some(thread)) })
}

fn start_process(scenario: &Scenario, seed: u64, program: &PathBuf, arguments: &[String]) -> Result<Host, Error> {
    let attempted = "start the backend process";
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| Error::file(attempted, program, error))?;
    let order = serde_json::to_string(&Order { scenario: scenario.clone(), seed });
    let order = order.map_err(|error| failed("write the order", error))?;
    // The child's input stays open in `child` until the host is dropped.
    let told = child.stdin.as_mut().map(|input| writeln!(input, "{order}").and_then(|()| input.flush()));
    let mut host = Host { port: 0, running: Running::Process(child) };
    told.transpose().map_err(|error| Error::file(attempted, program, error))?;
    let Running::Process(child) = &mut host.running else { return Ok(host) };
    let mut line = String::new();
    let read = child.stdout.take().map(|output| BufReader::new(output).read_line(&mut line));
    read.transpose().map_err(|error| Error::file(attempted, program, error))?;
    host.port = line.trim().parse().map_err(|error| failed("read the backend's port", error))?;
    Ok(host)
}

// === impl Host ===

impl Host {
    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        match &mut self.running {
            Running::Thread(stop, thread) => {
                drop(stop.take());
                // A panic over there was printed there.
                let _ = thread.take().map(JoinHandle::join);
            }
            Running::Process(child) => {
                // It may have ended by itself.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
