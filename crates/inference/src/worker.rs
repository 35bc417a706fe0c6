//! What runs inside a model's child process: connects to its parent, loads the model, answers calls until the socket closes.
//!
//! The program that starts children calls [`main`] for its `worker` subcommand. One call at a time, on one thread; what
//! the model prints is the parent's to read. The process leaves when its parent does, and never forks or daemonises.

use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use forebay_core::{Error, Kind, Result};

use crate::hosts::Signature;
use crate::hosts::fake::FakeModel;
use crate::hosts::onnx::OnnxModel;
use crate::hosts::protocol::{Message, read_blocking, write_blocking};
use crate::request::RequestBatch;

/// A model as the child holds it.
pub(crate) trait Model {
    /// What it takes and gives.
    fn signature(&self) -> Signature;

    /// Answers every row of `batch`; see [`Replica::call`](crate::hosts::Replica::call) for the errors.
    fn call(&mut self, batch: &RequestBatch) -> Result<RecordBatch>;
}

/// Runs a child: `args` is what follows `worker` on the command line, `KIND --socket PATH`. Returns the exit status: 0 when
/// the parent closed the socket, 2 for wrong arguments, 1 for anything else, with the reason on the standard error.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    let (kind, path) = match parse(args) {
        Ok(parsed) => parsed,
        Err(error) => {
            eprintln!("{}", error.chain());
            return 2;
        }
    };
    match run(&kind, &path) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{}", error.chain());
            1
        }
    }
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(String, PathBuf)> {
    let args: Vec<OsString> = args.into_iter().collect();
    match &args[..] {
        [kind, flag, path] if flag == "--socket" => Ok((kind.to_string_lossy().into_owned(), PathBuf::from(path))),
        _ => Err(Error::new(Kind::Invalid, "parse arguments").source("expected KIND --socket PATH")),
    }
}

fn run(kind: &str, path: &PathBuf) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|source| Error::new(Kind::Unavailable, "tie process to its parent").source(source))?;
    let mut socket = UnixStream::connect(path).map_err(|source| {
        Error::new(Kind::Unavailable, "connect to parent").with("socket", path.display()).source(source)
    })?;
    let Some(message) = read_blocking(&mut socket)? else { return Ok(()) };
    let Message::Open(settings) = message else {
        return Err(Error::new(Kind::Internal, "open model").source("the first message does not open one"));
    };
    match open(kind, &settings) {
        Ok(model) => {
            write_blocking(&mut socket, &Message::Ready(model.signature()))?;
            serve(model, &mut socket)
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

fn serve(mut model: Box<dyn Model>, socket: &mut UnixStream) -> Result<()> {
    while let Some(message) = read_blocking(socket)? {
        let Message::Call(batch) = message else {
            return Err(Error::new(Kind::Internal, "serve calls").source("a message is no call"));
        };
        let answer = match model.call(&batch) {
            Ok(rows) => Message::Answer(rows),
            Err(error) => failure(&error),
        };
        write_blocking(socket, &answer)?;
    }
    Ok(())
}

fn failure(error: &Error) -> Message {
    Message::Failure { kind: error.kind(), reason: error.chain() }
}
