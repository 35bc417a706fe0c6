//! Models in ONNX files, run by onnxruntime in child processes.
//!
//! The runtime's library is not linked: it is the one of the `onnxruntime` (or `onnxruntime-gpu`) Python wheel or any other
//! 1.22 or later, found by [`find_library`]. This process never loads it; only children do.

mod columns;
mod model;

use std::path::{Path, PathBuf};

use forebay_core::hash::hash128;
use forebay_core::{Error, Kind, Result};
use serde::{Deserialize, Serialize};

use super::process::{ProcessHost, ProcessSettings, WorkerCommand};

pub(crate) use model::OnnxModel;

/// Which file, and how it is run.
#[derive(Debug, Clone)]
pub struct OnnxSettings {
    /// The `.onnx` file.
    pub path: PathBuf,
    /// The onnxruntime library; `None` looks for one, see [`find_library`].
    pub library: Option<PathBuf>,
    /// Threads inside one call of one replica, at least 1.
    pub threads: usize,
}

/// What the child is told.
#[derive(Debug, Serialize, Deserialize)]
struct Open {
    path: PathBuf,
    revision: String,
    library: PathBuf,
    threads: usize,
}

/// A host of the model in `settings.path`. Reads the file to name its revision; does not load it.
///
/// # Errors
/// `Invalid` if the file cannot be read or no onnxruntime is found.
pub fn host(settings: &OnnxSettings, command: WorkerCommand) -> Result<ProcessHost> {
    let library = find_library(settings.library.as_deref())?;
    let revision = revision_of(&settings.path)?;
    let open =
        Open { path: settings.path.clone(), revision: revision.clone(), library, threads: settings.threads.max(1) };
    let open = serde_json::to_string(&open)
        .map_err(|source| Error::new(Kind::Internal, "write settings of model").source(source))?;
    let model = settings.path.display().to_string();
    Ok(ProcessHost::new(ProcessSettings::new(&model, revision, open, command.of_kind("onnx"))))
}

/// The hash of the file's content, which is the model's revision.
fn revision_of(path: &Path) -> Result<String> {
    let content = std::fs::read(path)
        .map_err(|source| Error::new(Kind::Invalid, "read model").with("model", path.display()).source(source))?;
    Ok(format!("{:032x}", hash128(&content)))
}

/// The onnxruntime library: `wanted` if given, else the variable `ORT_DYLIB_PATH`, else the wheel in the virtual
/// environment that is active, else the wheel in `~/.cache/forebay/venv`.
///
/// # Errors
/// `Invalid`, saying how to get one.
pub fn find_library(wanted: Option<&Path>) -> Result<PathBuf> {
    let error = || Error::new(Kind::Invalid, "find onnxruntime");
    let named = wanted.map(Path::to_path_buf).or_else(|| std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from));
    if let Some(path) = named {
        return if path.is_file() {
            Ok(path)
        } else {
            Err(error().with("library", path.display()).source("no such file"))
        };
    }
    let active = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from);
    let own = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/forebay/venv"));
    let environments: Vec<PathBuf> = active.into_iter().chain(own).collect();
    environments.iter().find_map(|folder| library_of_wheel(folder)).ok_or_else(|| {
        error().source(
            "no library found; `pip install onnxruntime` in the active virtual environment, or name libonnxruntime.so \
             in the model's setting `library` or in ORT_DYLIB_PATH",
        )
    })
}

/// The newest `lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so*` under `environment`.
fn library_of_wheel(environment: &Path) -> Option<PathBuf> {
    let pythons = names_in(&environment.join("lib"), "python3");
    let folders = pythons.iter().map(|python| python.join("site-packages/onnxruntime/capi"));
    folders.flat_map(|folder| names_in(&folder, "libonnxruntime.so")).max()
}

fn names_in(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    named.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_named_and_missing_is_an_error_and_not_replaced() {
        let error = find_library(Some(Path::new("/nowhere/libonnxruntime.so"))).unwrap_err();
        assert_eq!(error.chain(), "find onnxruntime (library=/nowhere/libonnxruntime.so): no such file");
    }

    #[test]
    fn the_library_of_a_wheel_is_found_in_its_environment() {
        let folder = tempfile::tempdir().unwrap();
        let capi = folder.path().join("lib/python3.11/site-packages/onnxruntime/capi");
        std::fs::create_dir_all(&capi).unwrap();
        assert_eq!(library_of_wheel(folder.path()), None);
        std::fs::write(capi.join("libonnxruntime_providers_shared.so"), "").unwrap();
        std::fs::write(capi.join("libonnxruntime.so.1.31.1"), "").unwrap();
        assert_eq!(library_of_wheel(folder.path()), Some(capi.join("libonnxruntime.so.1.31.1")));
    }
}
