//! The core's `Disk` over the operating system's files.
//!
//! Plain `std::fs` calls on threads that may block: their order and their `fsync`s are what the crash promises rest on, so
//! nothing is hidden behind a buffer. Inside a tokio runtime the calls go to its blocking threads; outside one (tests, command line
//! tools) they run where they are polled. A call whose future is dropped still runs to its end.
//!
//! It never retries, never follows a path out of its root, and after a failed sync forgets the open file.

mod files;
mod lock;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::disk::{Disk, DiskEntry};
use forebay_core::{Error, Kind, Result};
use futures::future::BoxFuture;
use tokio::runtime::Handle;

use crate::path::{check_folder, check_path};
use files::Files;

pub use lock::LockGuard;

/// Local files below one root folder of the operating system; clones share open files.
#[derive(Clone)]
pub struct OsDisk {
    files: Arc<Files>,
    runtime: Option<Handle>,
}

// === impl OsDisk ===

impl OsDisk {
    /// The disk below `root`, which is created, durably, if it does not exist.
    ///
    /// # Errors
    /// `Invalid` if `root` exists and is not a folder, `Exhausted` or `Unavailable` if it cannot be created.
    pub fn open(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).map_err(|e| io_error("open folder", root, e))?;
        if root.exists() && !root.is_dir() {
            let error = Error::new(Kind::Invalid, "open folder").with("folder", root.display());
            return Err(error.source("a file of that name is in the way"));
        }
        let files = Files::new(root.clone());
        files.make_folder(&root)?;
        Ok(Self { files: Arc::new(files), runtime: Handle::try_current().ok() })
    }

    /// Where the disk's files lie.
    pub fn root(&self) -> &Path {
        self.files.root()
    }

    /// Takes the lock called `name` below the root, for as long as the guard lives, so that two engines never share a job
    /// folder. The operating system gives it back when the process ends, however it ends.
    ///
    /// # Errors
    /// `Fenced`, naming the other holder's process id, if another process or guard holds it.
    pub fn lock(&self, name: &str) -> Result<LockGuard> {
        check_path(name)?;
        let path = self.files.root().join(name);
        if let Some(folder) = path.parent() {
            self.files.make_folder(folder)?;
        }
        lock::take(path)
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        let files = Arc::clone(&self.files);
        let runtime = self.runtime.clone();
        Box::pin(async move {
            match runtime {
                None => work(&files),
                Some(runtime) => runtime
                    .spawn_blocking(move || work(&files))
                    .await
                    .unwrap_or_else(|e| Err(Error::new(Kind::Cancelled, "use disk").source(e.to_string()))),
            }
        })
    }
}

impl Disk for OsDisk {
    fn read(&self, path: &str) -> BoxFuture<'static, Result<Option<Bytes>>> {
        let path = path.to_string();
        self.run(move |files| {
            let path = files.file_path(&path)?;
            match fs::read(&path) {
                Err(e) if e.kind() == ErrorKind::IsADirectory => Ok(None),
                found => Ok(absent_is_none(found, "read file", &path)?.map(Bytes::from)),
            }
        })
    }

    fn read_at(&self, path: &str, start: u64, length: usize) -> BoxFuture<'static, Result<Option<Bytes>>> {
        let path = path.to_string();
        self.run(move |files| files.read_at(&files.file_path(&path)?, start, length))
    }

    fn append(&self, path: &str, bytes: Bytes) -> BoxFuture<'static, Result<()>> {
        let path = path.to_string();
        self.run(move |files| files.append(&files.file_path(&path)?, &bytes))
    }

    fn sync(&self, path: &str) -> BoxFuture<'static, Result<()>> {
        let path = path.to_string();
        self.run(move |files| files.sync(&files.file_path(&path)?))
    }

    fn append_durably(&self, path: &str, bytes: Bytes) -> BoxFuture<'static, Result<()>> {
        let path = path.to_string();
        self.run(move |files| {
            let path = files.file_path(&path)?;
            files.append(&path, &bytes)?;
            files.sync(&path)
        })
    }

    fn sync_folder(&self, folder: &str) -> BoxFuture<'static, Result<()>> {
        let folder = folder.to_string();
        self.run(move |files| files::sync_folder(&files.root().join(check_folder(&folder)?)))
    }

    fn link(&self, from: &str, to: &str) -> BoxFuture<'static, Result<bool>> {
        let (from, to) = (from.to_string(), to.to_string());
        self.run(move |files| files.link(&files.file_path(&from)?, &files.file_path(&to)?))
    }

    fn rename(&self, from: &str, to: &str) -> BoxFuture<'static, Result<bool>> {
        let (from, to) = (from.to_string(), to.to_string());
        self.run(move |files| files.rename(&files.file_path(&from)?, &files.file_path(&to)?))
    }

    fn truncate(&self, path: &str, length: u64) -> BoxFuture<'static, Result<()>> {
        let path = path.to_string();
        self.run(move |files| files.truncate(&files.file_path(&path)?, length))
    }

    fn remove(&self, path: &str) -> BoxFuture<'static, Result<()>> {
        let path = path.to_string();
        self.run(move |files| files.remove(&files.file_path(&path)?))
    }

    fn list(&self, folder: &str) -> BoxFuture<'static, Result<Vec<DiskEntry>>> {
        let folder = folder.to_string();
        self.run(move |files| files::list(&files.root().join(check_folder(&folder)?)))
    }
}

/// Turns an I/O error into the project's, with what the user can do where that is known.
fn io_error(attempted: &str, path: &Path, error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::new(Kind::Exhausted, attempted)
            .with("file", path.display())
            .with("to do", "free space on this disk or its quota, then run again; nothing published is lost")
            .source(error),
        ErrorKind::FileTooLarge => Error::new(Kind::Exhausted, attempted).with("file", path.display()).source(error),
        _ => Error::new(Kind::Unavailable, attempted).with("file", path.display()).source(error),
    }
}

fn absent_is_none<T>(result: std::io::Result<T>, attempted: &str, path: &Path) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(io_error(attempted, path, e)),
    }
}

#[cfg(test)]
mod tests;
