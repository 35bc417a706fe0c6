//! The blocking half of [`OsDisk`](super::OsDisk): open handles, folders known to be durable, and the calls themselves.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use forebay_core::Result;
use forebay_core::disk::DiskEntry;
use forebay_core::hash::hash64_parts;

use super::{absent_is_none, io_error};
use crate::path::check_path;

/// Append handles kept open. A journal writes to one file and a checkpoint to a few; more would only hold descriptors.
const OPEN_FILES_MAX: usize = 16;

/// Files below `root`.
pub(super) struct Files {
    root: PathBuf,
    /// Files open for appending, the most recently used last.
    open: Mutex<VecDeque<(PathBuf, Arc<File>)>>,
    /// Folders whose own name this process has made durable.
    durable_folders: Mutex<BTreeSet<PathBuf>>,
}

// === impl Files ===

impl Files {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, open: Mutex::default(), durable_folders: Mutex::default() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn file_path(&self, path: &str) -> Result<PathBuf> {
        check_path(path)?;
        Ok(self.root.join(path))
    }

    /// Makes `folder` and what it lies in, and makes their names durable once per process: a folder that exists may have
    /// been made by a process that died before it could sync.
    pub(super) fn make_folder(&self, folder: &Path) -> Result<()> {
        if lock(&self.durable_folders).contains(folder) {
            return Ok(());
        }
        fs::create_dir_all(folder).map_err(|e| io_error("create folder", folder, e))?;
        let inside_root = folder.ancestors().take_while(|ancestor| ancestor.starts_with(&self.root));
        for ancestor in inside_root {
            if let Some(parent) = ancestor.parent() {
                // The root's own parent may be unreadable to us; then its name is as durable as whoever made it left it.
                let synced = sync_folder(parent);
                if ancestor != self.root {
                    synced?;
                }
            }
        }
        lock(&self.durable_folders).insert(folder.to_path_buf());
        Ok(())
    }

    fn make_folder_of(&self, path: &Path) -> Result<()> {
        path.parent().map_or(Ok(()), |folder| self.make_folder(folder))
    }

    pub(super) fn read_at(&self, path: &Path, start: u64, length: usize) -> Result<Option<Bytes>> {
        let Some(file) = absent_is_none(File::open(path), "open file", path)? else { return Ok(None) };
        let data = file.metadata().map_err(|e| io_error("read file", path, e))?;
        if data.is_dir() {
            return Ok(None);
        }
        let length = data.len().saturating_sub(start).min(length as u64) as usize;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, start).map_err(|e| io_error("read file", path, e))?;
        Ok(Some(bytes.into()))
    }

    pub(super) fn append(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let file = self.open_append(path)?;
        (&*file).write_all(bytes).map_err(|e| io_error("append to file", path, e))
    }

    pub(super) fn sync(&self, path: &Path) -> Result<()> {
        let file = match self.cached(path) {
            Some(file) => file,
            None => Arc::new(File::open(path).map_err(|e| io_error("open file to sync", path, e))?),
        };
        file.sync_data().map_err(|e| {
            self.forget(path);
            io_error("sync file", path, e)
        })
    }

    pub(super) fn link(&self, from: &Path, to: &Path) -> Result<bool> {
        self.make_folder_of(to)?;
        match fs::hard_link(from, to) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(io_error("link file", to, e)),
        }
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<bool> {
        self.make_folder_of(to)?;
        self.forget(from);
        self.forget(to);
        if absent_is_none(fs::rename(from, to), "rename file", from)?.is_none() {
            return Ok(false);
        }
        // POSIX: renaming one name of a file over another name of it does nothing. The caller wants `from` gone.
        let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        if let (Ok(left), Ok(target)) = (fs::symlink_metadata(from), fs::symlink_metadata(to))
            && same(&left, &target)
        {
            self.remove(from)?;
        }
        Ok(true)
    }

    pub(super) fn truncate(&self, path: &Path, length: u64) -> Result<()> {
        self.forget(path);
        let file = OpenOptions::new().write(true).open(path).map_err(|e| io_error("open file to cut", path, e))?;
        file.set_len(length).map_err(|e| io_error("cut file", path, e))
    }

    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        self.forget(path);
        absent_is_none(fs::remove_file(path), "remove file", path).map(|_| ())
    }

    fn open_append(&self, path: &Path) -> Result<Arc<File>> {
        if let Some(file) = self.cached(path) {
            return Ok(file);
        }
        self.make_folder_of(path)?;
        let file = OpenOptions::new().append(true).create(true).open(path);
        let file = Arc::new(file.map_err(|e| io_error("open file to append", path, e))?);
        let mut open = lock(&self.open);
        open.push_back((path.to_path_buf(), Arc::clone(&file)));
        if open.len() > OPEN_FILES_MAX {
            open.pop_front();
        }
        Ok(file)
    }

    fn cached(&self, path: &Path) -> Option<Arc<File>> {
        let mut open = lock(&self.open);
        let place = open.iter().position(|(open_path, _)| open_path == path)?;
        let entry = open.remove(place)?;
        let file = Arc::clone(&entry.1);
        open.push_back(entry);
        Some(file)
    }

    fn forget(&self, path: &Path) {
        lock(&self.open).retain(|(open_path, _)| open_path != path);
    }
}

pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    match absent_is_none(File::open(folder), "open folder to sync", folder)? {
        Some(open) => open.sync_all().map_err(|e| io_error("sync folder", folder, e)),
        None => Ok(()),
    }
}

pub(super) fn list(folder: &Path) -> Result<Vec<DiskEntry>> {
    let Some(found) = absent_is_none(fs::read_dir(folder), "list folder", folder)? else { return Ok(Vec::new()) };
    let mut entries = Vec::new();
    for entry in found {
        let entry = entry.map_err(|e| io_error("list folder", folder, e))?;
        // Removed between listing and looking: as if it had been removed before.
        let Some(data) = absent_is_none(fs::metadata(entry.path()), "list folder", &entry.path())? else { continue };
        // Names that are not UTF-8 cannot be addressed through this trait, so they are not shown.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let is_folder = data.is_dir();
        let (size_bytes, version) = if is_folder { (0, 0) } else { (data.len(), version_of(&data)) };
        entries.push(DiskEntry { name, size_bytes, is_folder, version });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn version_of(data: &fs::Metadata) -> u64 {
    let modified = data.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    hash64_parts(&[&data.ino().to_le_bytes(), &modified.as_nanos().to_le_bytes()])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
