//! A lock that one process holds on a folder, given back by the operating system when the process ends.
//!
//! It hangs on the open file, which a child has too for the moment between its fork and the start of its program. So it is
//! given back by a word, and not by closing the file: else whoever takes it again at once may find it held.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;

use forebay_core::{Error, Kind, Result};

use super::io_error;

/// A held lock. Dropping it gives the lock back; the file stays, so that no one can lock a removed file.
#[derive(Debug)]
pub struct LockGuard {
    file: File,
    process: u32,
}

// === impl LockGuard ===

impl Drop for LockGuard {
    fn drop(&mut self) {
        // A forked copy of this process has the lock on behalf of nobody.
        if std::process::id() == self.process {
            // What fails here is given back when the file is closed.
            let _ = self.file.unlock();
        }
    }
}

/// Takes the lock in the file at `path` without waiting and leaves the process id in it.
pub(super) fn take(path: PathBuf) -> Result<LockGuard> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = file.map_err(|e| io_error("open lock file", &path, e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(held_by_another(&path, &mut file)),
        Err(TryLockError::Error(e)) => return Err(io_error("lock file", &path, e)),
    }
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(|e| io_error("write lock file", &path, e))?;
    Ok(LockGuard { file, process: std::process::id() })
}

fn held_by_another(path: &std::path::Path, file: &mut File) -> Error {
    let mut holder = String::new();
    // Only for the message: an unreadable holder is shown as unknown.
    let readable = file.take(32).read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
    let holder = if readable { holder.trim() } else { "unknown" };
    Error::new(Kind::Fenced, "lock folder")
        .with("file", path.display())
        .with("held by process", holder)
        .with("to do", "stop that process, or use another folder")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_given_back_is_free_whoever_still_has_the_file_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let guard = take(path.clone()).unwrap();
        let inherited = guard.file.try_clone().unwrap();
        assert!(take(path.clone()).is_err());
        drop(guard);
        assert!(take(path).is_ok());
        drop(inherited);
    }
}
