//! One child process: started so that it cannot outlive us, its output read into the log, its end noticed and described.
//!
//! It gets a process group of its own: Ctrl-C in a terminal is for the parent, which needs its models while it drains.

#![allow(
    clippy::disallowed_methods,
    reason = "real processes end, print and hang in real time; the simulation has no child processes"
)]

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use forebay_core::{Error, Kind, Result};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::gpus::{self, Seat};
use super::process::ProcessSettings;
use super::shared::{Loans, inherit};

/// Longest line taken from a child; the rest of it is dropped.
const LINE_BYTES_MAX: usize = 2048;
/// Lines a second that one child may put into the log; more are counted.
const LINES_PER_SECOND: u32 = 50;
/// Last lines kept for error messages: enough for the head of a stack trace.
const TAIL_LINES: usize = 5;
/// How long a child whose socket closed is waited for before it is killed.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A running or ended child.
pub(super) struct Child {
    end: Arc<Notify>,
    exit: watch::Receiver<Option<String>>,
    tail: Arc<Mutex<VecDeque<String>>>,
}

/// Takes the output of one child.
struct Listener {
    model: String,
    replica: u16,
    tail: Arc<Mutex<VecDeque<String>>>,
    second: Instant,
    lines: u32,
    dropped: u32,
}

// === impl Child ===

impl Child {
    /// Starts `settings.command` with the socket at `path` and the memory of `loans`.
    ///
    /// # Errors
    /// `Invalid` if the program cannot be run, or if there are too few GPUs.
    pub async fn spawn(settings: &ProcessSettings, path: &Path, loans: Option<&Loans>, replica: u16) -> Result<Self> {
        let mut command = Command::new(&settings.command.program);
        command.args(&settings.command.arguments).arg("--socket").arg(path);
        command.envs(settings.command.variables.iter().cloned());
        let seat = seat_of(settings, replica).await?;
        if let Some(seat) = &seat {
            command.env(gpus::VARIABLE, seat.gpus().join(","));
        }
        if let Some(log) = &settings.log {
            command.arg("--log").arg(log);
        }
        if let Some(loans) = loans {
            let descriptors = inherit(&mut command, loans.arenas());
            command.arg("--memory").args(descriptors.map(|number| number.to_string()));
        }
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = spawn_on_lasting_thread(command).await.map_err(|source| {
            Error::new(Kind::Invalid, "start model process")
                .with("model", &settings.model)
                .with("program", settings.command.program.display())
                .source(source)
        })?;
        if let Some(bytes) = settings.memory_bytes {
            limit_memory(&process, bytes).map_err(|source| {
                let failed = Error::new(Kind::Unavailable, "limit memory of model process");
                failed.with("model", &settings.model).with("bytes", bytes).source(source)
            })?;
        }
        let tail: Arc<Mutex<VecDeque<String>>> = Arc::default();
        let listener = || Listener::new(&settings.model, replica, Arc::clone(&tail));
        let mut readers = Vec::new();
        readers.extend(process.stdout.take().map(|output| tokio::spawn(listener().listen(output))));
        readers.extend(process.stderr.take().map(|output| tokio::spawn(listener().listen(output))));
        let (end, (exited, exit)) = (Arc::new(Notify::new()), watch::channel(None));
        let ended = Arc::clone(&end);
        tokio::spawn(async move {
            let status = tokio::select! {
                status = process.wait() => status,
                () = ended.notified() => {
                    // Fails only if it is gone already.
                    let _ = process.start_kill();
                    process.wait().await
                }
            };
            // Nobody else is placed there before.
            drop(seat);
            for reader in readers {
                // A grandchild may hold the pipe open: its output is not worth waiting for.
                let _ = tokio::time::timeout(Duration::from_millis(200), reader).await;
            }
            let text = status.map_or_else(|error| error.to_string(), exit_text);
            let _ = exited.send(Some(text));
        });
        Ok(Self { end, exit, tail })
    }

    /// Kills the child. Harmless when it has ended.
    pub fn end(&self) {
        self.end.notify_one();
    }

    /// Resolves when the child has ended: how.
    pub async fn exited(&self) -> String {
        let mut exit = self.exit.clone();
        let exited = exit.wait_for(Option::is_some).await.map(|text| text.clone());
        exited.ok().flatten().unwrap_or_else(|| "unknown".to_string())
    }

    /// How the child ended, which its socket says it did; kills it if it takes too long over that.
    pub async fn last_words(&self) -> String {
        if let Ok(exit) = tokio::time::timeout(LAST_WORDS, self.exited()).await {
            return exit;
        }
        self.end();
        self.exited().await
    }

    /// `error` with how the child ended and what it printed last.
    pub fn describe(&self, error: Error, exit: &str) -> Error {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let error = error.with("exit", exit);
        if tail.is_empty() {
            return error;
        }
        error.with("output", tail.iter().cloned().collect::<Vec<_>>().join(" | "))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// The GPUs of `replica`, if its model is given any.
async fn seat_of(settings: &ProcessSettings, replica: u16) -> Result<Option<Seat>> {
    match settings.seats.clone() {
        Some(seats) => gpus::looking(move || seats.of(replica)).await.map(Some),
        None => Ok(None),
    }
}

// === impl Listener ===

impl Listener {
    fn new(model: &str, replica: u16, tail: Arc<Mutex<VecDeque<String>>>) -> Self {
        Self { model: model.to_string(), replica, tail, second: Instant::now(), lines: 0, dropped: 0 }
    }

    async fn listen(mut self, mut output: impl AsyncRead + Unpin) {
        let mut line = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = output.read(&mut chunk).await {
            for byte in &chunk[..length] {
                if *byte == b'\n' {
                    self.take(&line);
                    line.clear();
                } else if line.len() < LINE_BYTES_MAX {
                    line.push(*byte);
                }
            }
        }
        self.take(&line);
    }

    fn take(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line).trim_end().to_string();
        if text.is_empty() {
            return;
        }
        if self.may_log() {
            tracing::info!(target: "model", model = self.model, replica = self.replica, "{text}");
        }
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(text);
    }

    fn may_log(&mut self) -> bool {
        if self.second.elapsed() >= Duration::from_secs(1) {
            if self.dropped > 0 {
                let lines = self.dropped;
                tracing::warn!(target: "model", model = self.model, replica = self.replica, lines, "output dropped");
            }
            (self.second, self.lines, self.dropped) = (Instant::now(), 0, 0);
        }
        self.lines += 1;
        self.dropped += u32::from(self.lines > LINES_PER_SECOND);
        self.lines <= LINES_PER_SECOND
    }
}

struct Spawn {
    command: Command,
    runtime: Handle,
    spawned: oneshot::Sender<std::io::Result<tokio::process::Child>>,
}

/// Starts `command` from a thread that lives as long as this process.
///
/// The child asks the kernel to be killed when its parent dies, and by that Linux means the parent *thread*. Threads of a
/// runtime come and go.
async fn spawn_on_lasting_thread(command: Command) -> std::io::Result<tokio::process::Child> {
    static SPAWNER: OnceLock<Sender<Spawn>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (send, receive) = channel::<Spawn>();
        std::thread::spawn(move || {
            for Spawn { mut command, runtime, spawned } in receive {
                let _inside = runtime.enter();
                // The caller may have given up; the child then ends with its handle.
                let _ = spawned.send(command.spawn());
            }
        });
        send
    });
    let (spawned, child) = oneshot::channel();
    let gone = || std::io::Error::other("the thread that starts processes is gone");
    spawner.send(Spawn { command, runtime: Handle::current(), spawned }).map_err(|_| gone())?;
    child.await.map_err(|_| gone())?
}

/// Bounds what `process` can ask for. Its data and not its addresses are bounded: libraries of GPUs reserve addresses far
/// beyond the memory they use.
fn limit_memory(process: &tokio::process::Child, bytes: u64) -> std::io::Result<()> {
    let pid = process.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    // Without an id it has ended, and its end is told to whoever waits for it.
    let Some(pid) = pid else { return Ok(()) };
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    prlimit(Some(pid), Resource::Data, limit)?;
    Ok(())
}

/// How a process ended, for people: `status 1`, `signal 9 (SIGKILL)`.
fn exit_text(status: ExitStatus) -> String {
    let Some(signal) = status.signal() else {
        return format!("status {}", status.code().unwrap_or_default());
    };
    let name = match signal {
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}
