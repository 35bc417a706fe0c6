//! Storage of whole objects: checkpoints, staged output, input files. A local folder or an object store.
//!
//! Small on purpose: what every store can do atomically and durably. Paths are relative to the store's root,
//! `/`-separated, without `..`.

use std::ops::Range;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::error::Result;

/// What [`Store::create`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The object did not exist and now does, durably.
    New,
    /// The object existed; nothing was changed.
    AlreadyThere,
}

/// An object found by [`Store::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreEntry {
    /// Path from the store's root.
    pub path: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Changes whenever the content does: an etag, or length and modification time.
    pub version: String,
}

/// Whole objects, each written at once, atomically and durably.
///
/// A method that answered `Ok` survives power loss. Every method fails with `Exhausted` on a full disk, `Unavailable`
/// when the store cannot be reached, `Invalid` on a path that leaves the root.
pub trait Store: Send + Sync + 'static {
    /// The whole object, `None` if there is none.
    fn read(&self, path: &str) -> BoxFuture<'static, Result<Option<Bytes>>>;

    /// Bytes `range` of the object, shorter at its end, `None` if there is none.
    fn read_range(&self, path: &str, range: Range<u64>) -> BoxFuture<'static, Result<Option<Bytes>>>;

    /// Every object whose path starts with the folder `prefix`, at any depth, sorted by path. Staged temporary objects of
    /// the store itself are not shown.
    fn list(&self, prefix: &str) -> BoxFuture<'static, Result<Vec<StoreEntry>>>;

    /// As [`Store::list`], but only objects at most `levels` names below `prefix`: 1 is the folder itself. Folders further down are
    /// not looked at.
    fn list_levels(&self, prefix: &str, levels: usize) -> BoxFuture<'static, Result<Vec<StoreEntry>>>;

    /// Writes the object if there is none; of several writers exactly one gets [`Created::New`].
    fn create(&self, path: &str, bytes: Bytes) -> BoxFuture<'static, Result<Created>>;

    /// Writes the object, replacing what was there.
    fn put(&self, path: &str, bytes: Bytes) -> BoxFuture<'static, Result<()>>;

    /// Moves an object, replacing what was there. Repeatable: answers `Ok` when `from` is gone and `to` exists.
    ///
    /// # Errors
    /// `Corrupt` if neither exists.
    fn rename(&self, from: &str, to: &str) -> BoxFuture<'static, Result<()>>;

    /// Removes the object; nothing happens if there is none.
    fn delete(&self, path: &str) -> BoxFuture<'static, Result<()>>;

    /// Where this store is, for people: a folder or a URL without credentials.
    fn location(&self) -> String;
}
