//! What runs inside a model's child process: connects to its parent, loads the model, answers calls until the socket closes.
//!
//! The program that starts children calls [`main`] for its `worker` subcommand. One call at a time, on one thread; what
//! the model prints is the parent's to read. The process leaves when its parent does, and never forks or daemonises.
//!
//! With `--log`, executions are written down here, where they happen: a claim that nothing ran twice then does not rest on
//! the engine's own counters.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use forebay_core::{Error, Kind, Result};

use crate::hosts::fake::FakeModel;
use crate::hosts::onnx::OnnxModel;
use crate::hosts::protocol::{Message, read_blocking, write_blocking};
use crate::hosts::{Answers, Signature};
use crate::request::RequestBatch;

/// A model as the child holds it.
pub(crate) trait Model {
    /// What it takes and gives.
    fn signature(&self) -> Signature;

    /// Answers every row of `batch`; see [`Replica::call`](crate::hosts::Replica::call) for the errors.
    fn call(&mut self, batch: &RequestBatch) -> Result<Answers>;
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    kind: String,
    socket: PathBuf,
    log: Option<PathBuf>,
}

/// A file that gets one line for each row that ran: its request id in hex.
struct ExecutionLog(File);

/// Runs a child: `args` is what follows `worker` on the command line, `KIND --socket PATH [--log FILE]`. Returns the exit
/// status: 0 when the parent closed the socket, 2 for wrong arguments, 1 for anything else, with the reason on the standard
/// error.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments = match parse(args) {
        Ok(parsed) => parsed,
        Err(error) => {
            eprintln!("{}", error.chain());
            return 2;
        }
    };
    match run(&arguments) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{}", error.chain());
            1
        }
    }
}

// === impl ExecutionLog ===

impl ExecutionLog {
    fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let failed = |source| Error::new(Kind::Invalid, "open log of model").with("log", path.display()).source(source);
        file.map(Self).map_err(failed)
    }

    /// One write for all rows, so that the lines of several processes do not mix.
    fn append(&mut self, batch: &RequestBatch) -> Result<()> {
        let lines: String = batch.ids.iter().map(|id| format!("{id}\n")).collect();
        let failed = |source| Error::new(Kind::Invalid, "write log of model").source(source);
        self.0.write_all(lines.as_bytes()).map_err(failed)
    }
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Arguments> {
    let args: Vec<OsString> = args.into_iter().collect();
    let (kind, socket, log) = match &args[..] {
        [kind, flag, socket] if flag == "--socket" => (kind, socket, None),
        [kind, flag, socket, other, log] if flag == "--socket" && other == "--log" => (kind, socket, Some(log)),
        _ => {
            return Err(Error::new(Kind::Invalid, "parse arguments").source("expected KIND --socket PATH [--log FILE]"));
        }
    };
    Ok(Arguments { kind: kind.to_string_lossy().into_owned(), socket: socket.into(), log: log.map(PathBuf::from) })
}

fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { kind, socket: path, log } = arguments;
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|source| Error::new(Kind::Unavailable, "tie process to its parent").source(source))?;
    let mut socket = UnixStream::connect(path).map_err(|source| {
        Error::new(Kind::Unavailable, "connect to parent").with("socket", path.display()).source(source)
    })?;
    let Some(message) = read_blocking(&mut socket)? else { return Ok(()) };
    let Message::Open(settings) = message else {
        return Err(Error::new(Kind::Internal, "open model").source("the first message does not open one"));
    };
    let opened = log.as_deref().map(ExecutionLog::open).transpose().and_then(|log| Ok((open(kind, &settings)?, log)));
    match opened {
        Ok((model, log)) => {
            write_blocking(&mut socket, &Message::Ready(model.signature()))?;
            serve(model, log, &mut socket)
        }
        Err(error) => write_blocking(&mut socket, &failure(&error)),
    }
}

fn open(kind: &str, settings: &str) -> Result<Box<dyn Model>> {
    match kind {
        "fake" => Ok(Box::new(FakeModel::open(settings)?)),
        "onnx" => Ok(Box::new(OnnxModel::open(settings)?)),
        other => Err(Error::new(Kind::Invalid, "open model").with("kind", other).source("no such kind of model")),
    }
}

fn serve(mut model: Box<dyn Model>, mut log: Option<ExecutionLog>, socket: &mut UnixStream) -> Result<()> {
    while let Some(message) = read_blocking(socket)? {
        let Message::Call(batch) = message else {
            return Err(Error::new(Kind::Internal, "serve calls").source("a message is no call"));
        };
        let logged = |answers| log.as_mut().map_or(Ok(()), |log| log.append(&batch)).map(|()| answers);
        let answer = match model.call(&batch).and_then(logged) {
            Ok(answers) if answers.refused.is_empty() => Message::Answer(answers.rows),
            Ok(answers) => Message::Mixed(answers),
            Err(error) => failure(&error),
        };
        write_blocking(socket, &answer)?;
    }
    Ok(())
}

fn failure(error: &Error) -> Message {
    Message::Failure { kind: error.kind(), reason: error.chain() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Arguments> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn arguments_are_kind_and_socket_and_perhaps_a_log() {
        let plain = Arguments { kind: "onnx".into(), socket: "/s".into(), log: None };
        assert_eq!(parsed(&["onnx", "--socket", "/s"]).unwrap(), plain);
        let logged = Arguments { log: Some("/l".into()), ..plain };
        assert_eq!(parsed(&["onnx", "--socket", "/s", "--log", "/l"]).unwrap(), logged);
        assert_eq!(parsed(&["onnx", "--log", "/l"]).unwrap_err().kind(), Kind::Invalid);
    }
}
