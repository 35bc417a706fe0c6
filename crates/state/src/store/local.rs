//! Objects as files of a disk, each visible only once it is whole and durable.
//!
//! An object is written under `_unfinished/`, synced, and only then given its name: by `link` where it must not exist, by
//! `rename` where it may. The folder is synced before the answer, also when the answer is "already there": what this
//! process saw must not vanish in a power loss after it acted on it. A file left under `_unfinished/` by a dead process is garbage
//! that no name refers to (`abandoned.rs`).

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::disk::Disk;
use forebay_core::env::Env;
use forebay_core::store::{Created, Store, StoreEntry};
use forebay_core::{Error, Kind, Result};
use futures::future::BoxFuture;

use crate::path::{check_folder, check_path, parent};

/// Where unfinished objects lie; hidden from `list` and refused as a path. Nobody's own folder should be called so: a store may be
/// opened over files that others wrote.
pub(crate) const STAGING: &str = "_unfinished";

/// A [`Store`] in a local folder; clones share it.
#[derive(Clone)]
pub struct LocalStore {
    env: Arc<dyn Env>,
    disk: Arc<dyn Disk>,
    label: String,
    bug: Option<PlantedStoreBug>,
}

/// Mistakes that the simulation plants to see that its checks find them. Never set in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedStoreBug {
    /// Answers before the name is durable.
    SkipFolderSync,
    /// Names an object before its content is durable.
    SkipFileSync,
}

// === impl LocalStore ===

impl LocalStore {
    /// The store whose objects are the files of `disk`; `label` is the folder as people know it. `env` names staged files.
    pub fn new(env: Arc<dyn Env>, disk: Arc<dyn Disk>, label: impl Into<String>) -> Self {
        Self { env, disk, label: label.into(), bug: None }
    }

    /// The same store with a planted bug.
    #[doc(hidden)]
    #[must_use]
    pub fn with_bug(mut self, bug: Option<PlantedStoreBug>) -> Self {
        self.bug = bug;
        self
    }

    fn fresh_name(&self) -> String {
        format!("{STAGING}/{:016x}{:016x}", self.env.random(), self.env.random())
    }

    /// Writes and syncs `bytes` under a fresh name, which it answers.
    async fn stage(&self, bytes: Bytes) -> Result<String> {
        let staged = self.fresh_name();
        let written = async {
            self.disk.append(&staged, bytes).await?;
            if self.bug != Some(PlantedStoreBug::SkipFileSync) {
                self.disk.sync(&staged).await?;
            }
            Ok(())
        };
        if let Err(error) = written.await {
            // Best effort: on a full disk the half-written file is in the way, and the first error is the one that counts.
            let _ = self.disk.remove(&staged).await;
            return Err(error);
        }
        Ok(staged)
    }

    async fn sync_folder_of(&self, path: &str) -> Result<()> {
        if self.bug == Some(PlantedStoreBug::SkipFolderSync) {
            return Ok(());
        }
        self.disk.sync_folder(parent(path)).await
    }

    async fn create_object(&self, path: &str, bytes: Bytes) -> Result<Created> {
        let staged = self.stage(bytes).await?;
        let linked = self.disk.link(&staged, path).await;
        let removed = self.disk.remove(&staged).await;
        let linked = linked?;
        self.sync_folder_of(path).await?;
        removed?;
        Ok(if linked { Created::New } else { Created::AlreadyThere })
    }

    async fn put_object(&self, path: &str, bytes: Bytes) -> Result<()> {
        let staged = self.stage(bytes).await?;
        match self.disk.rename(&staged, path).await {
            Ok(true) => self.sync_folder_of(path).await,
            Ok(false) => Err(Error::new(Kind::Unavailable, "put object")
                .with("object", path)
                .with("store", &self.label)
                .source("its staged file was removed by someone else")),
            Err(error) => {
                // Best effort, as in `stage`.
                let _ = self.disk.remove(&staged).await;
                Err(error)
            }
        }
    }

    /// First gives the object its new name, durably, and only then takes the old one away: no order of folder syncs by
    /// others can lose both.
    async fn rename_object(&self, from: &str, to: &str) -> Result<()> {
        if self.disk.read_at(from, 0, 0).await?.is_some() {
            if !self.disk.link(from, to).await? {
                self.replace_by_link(from, to).await?;
            }
            self.sync_folder_of(to).await?;
            self.disk.remove(from).await?;
        }
        if self.disk.read_at(to, 0, 0).await?.is_none() {
            return Err(Error::new(Kind::Corrupt, "rename object")
                .with("from", from)
                .with("to", to)
                .with("store", &self.label)
                .source("neither exists"));
        }
        self.sync_folder_of(to).await?;
        self.sync_folder_of(from).await
    }

    /// Lets `to` name the file of `from`, in one step, whether it named that file already or another one.
    async fn replace_by_link(&self, from: &str, to: &str) -> Result<()> {
        let second = self.fresh_name();
        self.disk.link(from, &second).await?;
        self.disk.rename(&second, to).await?;
        // Where both named one file, the rename did nothing.
        self.disk.remove(&second).await
    }

    /// Objects at most `levels` names below `folder`.
    async fn list_objects(&self, folder: String, levels: usize) -> Result<Vec<StoreEntry>> {
        let mut found = Vec::new();
        let mut folders = vec![(folder, levels)];
        while let Some((folder, levels)) = folders.pop() {
            for entry in self.disk.list(&folder).await? {
                let path = if folder.is_empty() { entry.name } else { format!("{folder}/{}", entry.name) };
                match entry.is_folder {
                    true if path == STAGING => {}
                    true if levels > 1 => folders.push((path, levels - 1)),
                    true => {}
                    false => {
                        let version = format!("{}-{:x}", entry.size_bytes, entry.version);
                        found.push(StoreEntry { path, size_bytes: entry.size_bytes, version });
                    }
                }
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn run<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        paths: &[&str],
        work: impl FnOnce(LocalStore) -> F + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        let checked = paths.iter().try_for_each(|path| check_object(path));
        let store = self.clone();
        Box::pin(async move {
            checked?;
            work(store).await
        })
    }
}

impl Store for LocalStore {
    fn read(&self, path: &str) -> BoxFuture<'static, Result<Option<Bytes>>> {
        let name = path.to_string();
        self.run(&[path], move |store| async move { store.disk.read(&name).await })
    }

    fn read_range(&self, path: &str, range: Range<u64>) -> BoxFuture<'static, Result<Option<Bytes>>> {
        let name = path.to_string();
        self.run(&[path], move |store| async move {
            let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
            store.disk.read_at(&name, range.start, length).await
        })
    }

    fn list(&self, prefix: &str) -> BoxFuture<'static, Result<Vec<StoreEntry>>> {
        let folder = check_folder(prefix).map(str::to_string);
        self.run(&[], move |store| async move { store.list_objects(folder?, usize::MAX).await })
    }

    fn list_levels(&self, prefix: &str, levels: usize) -> BoxFuture<'static, Result<Vec<StoreEntry>>> {
        let folder = check_folder(prefix).map(str::to_string);
        self.run(&[], move |store| async move { store.list_objects(folder?, levels).await })
    }

    fn create(&self, path: &str, bytes: Bytes) -> BoxFuture<'static, Result<Created>> {
        let name = path.to_string();
        self.run(&[path], move |store| async move { store.create_object(&name, bytes).await })
    }

    fn put(&self, path: &str, bytes: Bytes) -> BoxFuture<'static, Result<()>> {
        let name = path.to_string();
        self.run(&[path], move |store| async move { store.put_object(&name, bytes).await })
    }

    fn rename(&self, from: &str, to: &str) -> BoxFuture<'static, Result<()>> {
        let (old, new) = (from.to_string(), to.to_string());
        self.run(&[from, to], move |store| async move { store.rename_object(&old, &new).await })
    }

    fn delete(&self, path: &str) -> BoxFuture<'static, Result<()>> {
        let name = path.to_string();
        self.run(&[path], move |store| async move {
            store.disk.remove(&name).await?;
            store.sync_folder_of(&name).await
        })
    }

    fn location(&self) -> String {
        self.label.clone()
    }
}

fn check_object(path: &str) -> Result<()> {
    check_path(path)?;
    if path == STAGING || path.strip_prefix(STAGING).is_some_and(|rest| rest.starts_with('/')) {
        return Err(Error::new(Kind::Invalid, "check path")
            .with("path", path)
            .source(format!("`{STAGING}` is the store's own")));
    }
    Ok(())
}
