//! Local files in the few operations whose crash behaviour matters: append, sync, link, rename, remove.
//!
//! The journal and the local store are written against this trait, so that the simulation can lose unsynced bytes, tear
//! writes and forget folder entries exactly where a real disk may. Paths are relative, `/`-separated, without `..`.

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::error::Result;

/// A file or folder found by [`Disk::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskEntry {
    /// Name inside the listed folder.
    pub name: String,
    /// Length in bytes; 0 for a folder.
    pub size_bytes: u64,
    /// True for a folder.
    pub is_folder: bool,
    /// Changes whenever the file's content is replaced (inode and modification time); 0 for a folder.
    pub version: u64,
}

/// Local files below one root folder.
///
/// Nothing is durable until [`Disk::sync`] (content) and [`Disk::sync_folder`] (names) have answered. Every method
/// fails with `Exhausted` on a full disk, `Unavailable` on other I/O errors, `Invalid` on a path that leaves the root.
pub trait Disk: Send + Sync + 'static {
    /// The whole file, `None` if there is none.
    fn read(&self, path: &str) -> BoxFuture<'static, Result<Option<Bytes>>>;

    /// `length` bytes from `start`; shorter at the end of the file; `None` if there is no file.
    fn read_at(&self, path: &str, start: u64, length: usize) -> BoxFuture<'static, Result<Option<Bytes>>>;

    /// Adds `bytes` at the end, creating the file and its folders. A crash may keep any prefix of unsynced bytes. Folders
    /// made here, or by [`Disk::link`] and [`Disk::rename`], are durable at once; the file's name is not.
    fn append(&self, path: &str, bytes: Bytes) -> BoxFuture<'static, Result<()>>;

    /// Makes all appended bytes durable. After an error the state of the file is unknown: stop using it.
    fn sync(&self, path: &str) -> BoxFuture<'static, Result<()>>;

    /// [`Disk::append`] and [`Disk::sync`] in one: where the two run on another thread, it is woken once.
    fn append_durably(&self, path: &str, bytes: Bytes) -> BoxFuture<'static, Result<()>> {
        let (append, sync) = (self.append(path, bytes), self.sync(path));
        Box::pin(async move {
            append.await?;
            sync.await
        })
    }

    /// Makes the names in `folder` durable: files created, linked, renamed or removed.
    fn sync_folder(&self, folder: &str) -> BoxFuture<'static, Result<()>>;

    /// Gives the file a second name; false, changing nothing, if `to` exists. Atomic.
    fn link(&self, from: &str, to: &str) -> BoxFuture<'static, Result<bool>>;

    /// Renames, replacing `to`; false if `from` does not exist. Atomic. Does nothing where both name one file, as POSIX has
    /// it.
    fn rename(&self, from: &str, to: &str) -> BoxFuture<'static, Result<bool>>;

    /// Cuts the file to `length` bytes.
    fn truncate(&self, path: &str, length: u64) -> BoxFuture<'static, Result<()>>;

    /// Removes a file; nothing happens if there is none.
    fn remove(&self, path: &str) -> BoxFuture<'static, Result<()>>;

    /// Entries of `folder` sorted by name; empty if there is no such folder.
    fn list(&self, folder: &str) -> BoxFuture<'static, Result<Vec<DiskEntry>>>;
}
