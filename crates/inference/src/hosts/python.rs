//! Python functions and classes, run by worker processes of the `forebay` package, or by threads of an interpreter that is
//! there already.
//!
//! The interpreter of a worker is a child like any other model process: what crosses is frames, never pickled rows. A function
//! is named by module and name, or lies pickled in a file whose hash is compared before it is unpickled. This file starts no
//! interpreter and runs no Python; it only says how a worker is started, what it is told and what its content is called.

use std::path::{Path, PathBuf};

use forebay_core::hash::hash128_parts;
use forebay_core::{Error, Kind, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Signature;
use super::gpus::Seats;
use super::process::{ProcessHost, ProcessSettings, WorkerCommand};

/// What a worker process runs.
const WORKER_MODULE: &str = "forebay._worker";

/// Which function, and how it is run.
#[derive(Debug, Clone)]
pub struct PythonSettings {
    /// The model as logs and errors name it.
    pub model: String,
    /// Where the function is.
    pub code: PythonCode,
    /// Folders that the worker looks for modules in before all others.
    pub path: Vec<PathBuf>,
    /// How many workers share the machine's cores.
    pub replicas: u16,
    /// Names the content; `None` hashes what can be found of it.
    pub version: Option<String>,
    /// Most private memory of one worker in bytes.
    pub memory_bytes: Option<u64>,
    /// The GPUs that its workers see, if not all.
    pub seats: Option<Seats>,
    /// What the function takes and gives as JSON, so that planning starts no worker.
    pub signature: Option<String>,
    /// File that gets one line for each row that ran, its request id in hex, before the row is answered.
    pub log: Option<PathBuf>,
}

/// Where a Python function is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PythonCode {
    /// `MODULE:NAME`, imported by the worker.
    Function(String),
    /// A file that the package wrote.
    Pickled(PathBuf),
}

/// What whoever runs the function has to know of it.
#[derive(Debug, Clone)]
pub struct Declared {
    /// See [`Host::revision`](super::Host::revision).
    pub revision: String,
    /// JSON that the package loads the function with.
    pub open: String,
    /// What it takes and gives, if that is known without loading it.
    pub signature: Option<Signature>,
}

/// What the worker is told.
#[derive(Debug, Serialize)]
struct Open<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pickled: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    path: &'a [PathBuf],
    replicas: u16,
}

// === impl WorkerCommand ===

impl WorkerCommand {
    /// A worker of `interpreter`.
    pub fn python(interpreter: impl Into<PathBuf>) -> Self {
        // What a function prints has to be in the log before its process dies.
        let variables = vec![("PYTHONUNBUFFERED".into(), "1".into())];
        Self { program: interpreter.into(), arguments: vec!["-m".into(), WORKER_MODULE.into()], variables }
    }
}

/// A host of the function in `settings`, whose workers `command` starts. Reads files to name the revision.
///
/// # Errors
/// Those of [`PythonSettings::declared`].
pub fn host(settings: &PythonSettings, command: WorkerCommand) -> Result<ProcessHost> {
    let Declared { revision, open, signature } = settings.declared()?;
    let PythonSettings { model, memory_bytes, seats, log, .. } = settings;
    let (memory_bytes, seats, log, shares_memory) = (*memory_bytes, seats.clone(), log.clone(), true);
    let settings = ProcessSettings::new(model, revision, open, command);
    Ok(ProcessHost::new(ProcessSettings { memory_bytes, seats, signature, log, shares_memory, ..settings }))
}

// === impl PythonSettings ===

impl PythonSettings {
    /// What whoever runs the function has to know of it. Reads files to name the revision.
    ///
    /// # Errors
    /// `Invalid` if a pickled function or the signature cannot be read.
    pub fn declared(&self) -> Result<Declared> {
        let (path, replicas) = (&self.path, self.replicas);
        let (open, content) = match &self.code {
            PythonCode::Function(name) => {
                let source = source_of(name, path).unwrap_or_default();
                let revision = hash128_parts(&[name.as_bytes(), &source]);
                (Open { function: Some(name), pickled: None, sha256: None, path, replicas }, revision)
            }
            PythonCode::Pickled(file) => {
                let content = std::fs::read(file).map_err(|source| {
                    Error::new(Kind::Invalid, "read pickled function").with("file", file.display()).source(source)
                })?;
                let sha256 = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
                let open = Open { function: None, pickled: Some(file), sha256: Some(sha256), path, replicas };
                (open, hash128_parts(&[&content]))
            }
        };
        let open = serde_json::to_string(&open)
            .map_err(|source| Error::new(Kind::Internal, "write settings of model").source(source))?;
        let revision = self.version.clone().unwrap_or_else(|| format!("{content:032x}"));
        let signature = self.signature.as_deref().map(signature_of).transpose()?;
        Ok(Declared { revision, open, signature })
    }
}

/// What a function takes and gives, from its JSON.
///
/// # Errors
/// `Invalid` if it cannot be understood.
pub fn signature_of(signature: &str) -> Result<Signature> {
    serde_json::from_str(signature)
        .map_err(|source| Error::new(Kind::Invalid, "read signature of model").source(source))
}

/// The source file of the module in `name`, `MODULE:NAME`, if it lies in one of `folders` or in the current one. What is
/// installed elsewhere has a version of its own, and is not looked for.
fn source_of(name: &str, folders: &[PathBuf]) -> Option<Vec<u8>> {
    let module = name.split(':').next()?.replace('.', "/");
    let here = PathBuf::new();
    let mut folders = folders.iter().chain(std::iter::once(&here));
    folders.find_map(|folder| {
        let file = folder.join(format!("{module}.py"));
        std::fs::read(file).or_else(|_| std::fs::read(folder.join(&module).join("__init__.py"))).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::Host;

    fn settings(code: PythonCode, path: &Path) -> PythonSettings {
        PythonSettings {
            model: "m".into(),
            code,
            path: vec![path.into()],
            replicas: 2,
            version: None,
            memory_bytes: None,
            seats: None,
            signature: None,
            log: None,
        }
    }

    fn revision(settings: &PythonSettings) -> String {
        host(settings, WorkerCommand::python("python3")).unwrap().revision()
    }

    #[test]
    fn the_revision_follows_the_source_unless_a_version_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(folder.path().join("shouting.py"), text).unwrap();
        let mut settings = settings(PythonCode::Function("shouting:Shout".into()), folder.path());
        let missing = revision(&settings);
        write("one");
        let one = revision(&settings);
        write("two");
        let two = revision(&settings);
        assert!(missing != one && one != two);
        settings.code = PythonCode::Function("shouting:Whisper".into());
        assert_ne!(revision(&settings), two, "another function of the same file");
        settings.version = Some("3".into());
        assert_eq!(revision(&settings), "3");
    }

    #[test]
    fn a_pickled_function_is_told_with_the_hash_that_the_worker_compares() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f.pkl");
        let missing =
            host(&settings(PythonCode::Pickled(file.clone()), folder.path()), WorkerCommand::python("python3"));
        assert_eq!(missing.err().map(|error| error.kind()), Some(Kind::Invalid));
        std::fs::write(&file, "abc").unwrap();
        let host = host(&settings(PythonCode::Pickled(file), folder.path()), WorkerCommand::python("python3")).unwrap();
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(host.settings().open.contains(sha256), "{}", host.settings().open);
        assert!(host.settings().open.contains("\"replicas\":2"), "{}", host.settings().open);
    }
}
