//! Models in supervised child processes: started, spoken to over a private Unix socket, listened to, and ended.
//!
//! A crash, an out-of-memory kill or a hang of a model is an error of one call here, never more. The child cannot outlive
//! its parent: the kernel kills it when the parent dies, and it leaves by itself when the socket closes. What it prints
//! goes to the log and is never read for meaning. This file never retries and never restarts: the service does.

#![allow(
    clippy::disallowed_methods,
    reason = "real processes start and hang in real time; the simulation has no child processes"
)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::buffer::MutableBuffer;
use forebay_core::{Error, Kind, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};

use super::child::Child;
use super::gpus::{self, Seats};
use super::line::{Line, Turn};
use super::protocol::{HEADER_BYTES, Message, read_header, rows_bytes};
use super::shared::{Arena, Held, Lent, Loans, SLAB_BYTES, Slab};
use super::{Answers, Host, Replica, Signature};
use crate::request::RequestBatch;

/// Longest time from starting a child to its loaded model. Large models take most of a minute from a cold disk.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How a child is started: `program arguments... --socket PATH [--log FILE]`. It has to speak the frames of
/// [`protocol`](super::protocol), as [`worker::main`](crate::worker::main) does.
#[derive(Debug, Clone)]
pub struct WorkerCommand {
    /// The program.
    pub program: PathBuf,
    /// What comes before the socket.
    pub arguments: Vec<OsString>,
    /// Variables that it gets beside those of this process.
    pub variables: Vec<(OsString, OsString)>,
}

/// A model that runs in child processes, one a replica.
#[derive(Clone)]
pub struct ProcessHost {
    settings: Arc<ProcessSettings>,
    /// Made when it is first needed; `None` in it where there is no shared memory.
    requests: Arc<OnceLock<Option<Arc<Arena>>>>,
}

/// Which model, and how its children are started.
#[derive(Debug, Clone)]
pub struct ProcessSettings {
    /// The model as logs and errors name it.
    pub model: String,
    /// See [`Host::revision`].
    pub revision: String,
    /// JSON that the child opens its model with.
    pub open: String,
    /// How the child is started.
    pub command: WorkerCommand,
    /// File to which children append one line for each row they ran, its request id in hex, before they answer.
    pub log: Option<PathBuf>,
    /// Most private memory of a child in bytes; what it asks for beyond is refused to it.
    pub memory_bytes: Option<u64>,
    /// The GPUs that its children see; `None`: those that this process sees.
    pub seats: Option<Seats>,
    /// What the model takes and gives, if that is known before one is started; one that says otherwise is not taken.
    pub signature: Option<Signature>,
    /// The child takes rows in [shared memory](super::shared).
    pub shares_memory: bool,
    /// Longest time until the model is loaded.
    pub start_timeout: Duration,
}

/// One child with its model loaded.
struct ProcessReplica {
    shared: Arc<Shared>,
}

struct Shared {
    model: String,
    child: Child,
    /// `None` for a child that takes no rows in shared memory.
    loans: Option<Loans>,
    line: Line,
}

/// Ends the child unless the call that holds it came to its end: half a frame may be on the way.
struct EndIfDropped<'a> {
    child: Option<&'a Child>,
}

// === impl WorkerCommand ===

impl WorkerCommand {
    /// This program's own `worker` subcommand.
    ///
    /// # Errors
    /// `Unavailable` if the path of this program cannot be found out.
    pub fn own() -> Result<Self> {
        let program = std::env::current_exe()
            .map_err(|source| Error::new(Kind::Unavailable, "find own program").source(source))?;
        Ok(Self { program, arguments: vec!["worker".into()], variables: Vec::new() })
    }

    /// The same, told which kind of model it runs: `onnx`, `fake`.
    #[must_use]
    pub fn of_kind(mut self, kind: &str) -> Self {
        self.arguments.push(kind.into());
        self
    }
}

// === impl ProcessSettings ===

impl ProcessSettings {
    /// Settings with the usual start timeout, no log and all the memory there is.
    pub fn new(model: &str, revision: String, open: String, command: WorkerCommand) -> Self {
        let (model, start_timeout) = (model.to_string(), START_TIMEOUT);
        let (log, memory_bytes, seats, signature, shares_memory) = (None, None, None, None, false);
        Self { model, revision, open, command, log, memory_bytes, seats, signature, shares_memory, start_timeout }
    }
}

// === impl ProcessHost ===

impl ProcessHost {
    /// A host; starts nothing.
    pub fn new(settings: ProcessSettings) -> Self {
        Self { settings: Arc::new(settings), requests: Arc::default() }
    }

    /// How its children are started.
    pub fn settings(&self) -> &ProcessSettings {
        &self.settings
    }

    /// The same host with [`ProcessSettings::log`] set.
    pub fn logging(self, log: Option<PathBuf>) -> Self {
        Self::new(ProcessSettings { log, ..Arc::unwrap_or_clone(self.settings) })
    }

    /// Memory that its children see: columns whose buffers lie there are not copied when they are asked about. `None` if
    /// its children take no rows so, or if this system has no such memory.
    pub fn arena(&self) -> Option<Arc<Arena>> {
        let made = self.requests.get_or_init(|| {
            let slab = self.settings.shares_memory.then(|| Slab::written_here(SLAB_BYTES))?;
            let missing = |error: &std::io::Error| tracing::warn!(%error, "no shared memory: rows go over sockets");
            slab.inspect_err(missing).ok().map(Arena::new)
        });
        made.clone()
    }

    /// Memory for one more child.
    fn loans(&self) -> Option<Loans> {
        self.arena().and_then(Loans::new)
    }
}

impl Host for ProcessHost {
    fn signature(&self) -> BoxFuture<'static, Result<Signature>> {
        if let Some(known) = self.settings.signature.clone() {
            return async move { Ok(known) }.boxed();
        }
        // Whoever only asks what a model takes must not create its log.
        let settings = ProcessSettings { log: None, ..ProcessSettings::clone(&self.settings) };
        async move { Ok(start(&settings, None, 0).await?.1) }.boxed()
    }

    /// Looking for GPUs blocks.
    fn reserve(&self, replicas: u16) -> BoxFuture<'static, Result<()>> {
        let Some(seats) = self.settings.seats.clone() else { return async { Ok(()) }.boxed() };
        gpus::looking(move || seats.reserve(replicas)).boxed()
    }

    fn start(&self, replica: u16) -> BoxFuture<'static, Result<Arc<dyn Replica>>> {
        let (settings, loans) = (Arc::clone(&self.settings), self.loans());
        async move {
            let replica: Arc<dyn Replica> = Arc::new(start(&settings, loans, replica).await?.0);
            Ok(replica)
        }
        .boxed()
    }

    /// What is sent ahead lies in the socket until the child reads it.
    fn takes_ahead(&self) -> bool {
        true
    }

    fn revision(&self) -> String {
        self.settings.revision.clone()
    }
}

/// Starts a child, waits for it to connect, and has it load its model.
async fn start(settings: &ProcessSettings, loans: Option<Loans>, replica: u16) -> Result<(ProcessReplica, Signature)> {
    let failed = |kind, source: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(kind, "start model process").with("model", &settings.model).source(source)
    };
    let folder = private_folder().map_err(|source| failed(Kind::Unavailable, source.into()))?;
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).map_err(|source| failed(Kind::Unavailable, source.into()))?;
    let child = Child::spawn(settings, &path, loans.as_ref(), replica).await?;
    let opened = async {
        let (mut socket, _) = tokio::select! {
            accepted = listener.accept() => accepted.map_err(|source| failed(Kind::Unavailable, source.into()))?,
            exit = child.exited() => return Err(child.describe(failed(Kind::Unavailable, "it ended".into()), &exit)),
        };
        let answer = opened_with(&mut socket, &settings.open).await;
        Ok((socket, answer))
    };
    let (socket, answer) = match tokio::time::timeout(settings.start_timeout, opened).await {
        Ok(opened) => opened?,
        Err(_) => return Err(failed(Kind::Timeout, format!("not loaded after {:?}", settings.start_timeout).into())),
    };
    let signature = match answer {
        Ok(Message::Ready(signature)) => signature,
        Ok(Message::Failure { kind, reason }) => return Err(failed(kind, reason.into())),
        Ok(_) => return Err(failed(Kind::Internal, "unexpected message".into())),
        Err(error) => return Err(child.describe(failed(Kind::Unavailable, error.into()), &child.last_words().await)),
    };
    if settings.signature.as_ref().is_some_and(|known| *known != signature) {
        return Err(failed(Kind::Invalid, "it takes and gives something else than its declaration says".into()));
    }
    let shared = Shared { model: settings.model.clone(), child, loans, line: Line::new(socket) };
    Ok((ProcessReplica { shared: Arc::new(shared) }, signature))
}

/// A folder that only this user can enter, removed when dropped; by then the child has connected.
fn private_folder() -> std::io::Result<tempfile::TempDir> {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new().prefix("forebay-").permissions(std::fs::Permissions::from_mode(0o700)).tempdir()
}

// === impl ProcessReplica ===

impl Replica for ProcessReplica {
    fn call(&self, batch: RequestBatch) -> BoxFuture<'static, Result<Answers>> {
        let (shared, turn) = (Arc::clone(&self.shared), self.shared.line.turn());
        async move { shared.call(batch, turn).await }.boxed()
    }
}

impl Drop for ProcessReplica {
    fn drop(&mut self) {
        self.shared.child.end();
    }
}

// === impl Shared ===

impl Shared {
    async fn call(&self, batch: RequestBatch, turn: Turn) -> Result<Answers> {
        let failed = |kind| Error::new(kind, "call model process").with("model", &self.model);
        let mut guard = EndIfDropped { child: Some(&self.child) };
        let (frame, lent) = match self.framed(batch) {
            Ok(framed) => framed,
            Err(error) => {
                turn.pass().await;
                guard.child = None;
                return Err(error);
            }
        };
        let answer = match self.exchange(turn, &frame, lent).await {
            Ok(answer) => answer,
            Err(error) => {
                let exit = self.child.last_words().await;
                return Err(self.child.describe(failed(Kind::Unavailable).source(error), &exit));
            }
        };
        guard.child = None;
        match answer {
            Message::Answer(rows) => Ok(rows.into()),
            Message::Mixed(answers) => Ok(answers),
            Message::Failure { kind, reason } => Err(failed(kind).source(reason)),
            _ => Err(failed(Kind::Internal).source("unexpected message")),
        }
    }

    /// Sends a frame behind those of the calls before, and takes the answer behind theirs.
    async fn exchange(&self, mut turn: Turn, frame: &[u8], lent: Option<Lent>) -> Result<Message> {
        let mut sending = turn.sending.taken().await?;
        sending.write_all(frame).await.map_err(lost)?;
        turn.sending.pass(sending);
        let mut receiving = turn.receiving.taken().await?;
        let (answer, held) = answer_of(&mut receiving).await?;
        // Before the next answer is taken: what the child holds is said of all calls, and the last word counts.
        let answer = self.taken(answer, lent, held.as_deref())?;
        turn.receiving.pass(receiving);
        Ok(answer)
    }

    /// The frame of a call, and what shared memory its rows and answers have.
    fn framed(&self, batch: RequestBatch) -> Result<(Vec<u8>, Option<Lent>)> {
        let lent = self.loans.as_ref().map(|loans| loans.lend(&batch.rows)).transpose()?.flatten();
        match lent {
            Some((call, lent)) => Ok((Message::CallShared { call, ids: batch.ids }.encode()?, Some(lent))),
            None => Ok((Message::Call(batch).encode()?, None)),
        }
    }

    /// An answer with its rows, wherever they lie; what its call was lent is given back as far as it can be.
    fn taken(&self, answer: Message, mut lent: Option<Lent>, held: Option<&[Held]>) -> Result<Message> {
        let Some(loans) = &self.loans else { return Ok(answer) };
        let answer = match (answer, &mut lent) {
            (Message::AnswerShared { answer, refused }, Some(lent)) => {
                let rows = loans.read(&answer, lent, held)?;
                Message::Mixed(Answers { rows, refused })
            }
            (answer, _) => {
                if let Message::Answer(rows) | Message::Mixed(Answers { rows, .. }) = &answer {
                    loans.expect(rows_bytes(rows));
                }
                answer
            }
        };
        loans.finish(lent, held);
        Ok(answer)
    }
}

// === impl EndIfDropped ===

impl Drop for EndIfDropped<'_> {
    fn drop(&mut self) {
        if let Some(child) = self.child {
            child.end();
        }
    }
}

async fn opened_with(socket: &mut UnixStream, settings: &str) -> Result<Message> {
    socket.write_all(&Message::Open(settings.to_string()).encode()?).await.map_err(lost)?;
    receive(socket).await
}

/// The answer to a call, and what the child says it still looks at, if it says anything.
async fn answer_of(socket: &mut OwnedReadHalf) -> Result<(Message, Option<Vec<Held>>)> {
    match receive(socket).await? {
        Message::Held(held) => Ok((receive(socket).await?, Some(held))),
        answer => Ok((answer, None)),
    }
}

async fn receive(socket: &mut (impl AsyncRead + Unpin)) -> Result<Message> {
    let mut header = [0; HEADER_BYTES];
    socket.read_exact(&mut header).await.map_err(lost)?;
    let (code, length) = read_header(header)?;
    let mut payload = MutableBuffer::from_len_zeroed(length);
    socket.read_exact(&mut payload).await.map_err(lost)?;
    Message::decode(code, payload.into())
}

fn lost(source: std::io::Error) -> Error {
    Error::new(Kind::Unavailable, "exchange frames with model process").source(source)
}
