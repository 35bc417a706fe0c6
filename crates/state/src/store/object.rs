//! Objects of an object store, with conditional puts for "create if absent".
//!
//! The store's own atomicity and durability are relied on: a put is whole or absent, and durable once answered. A create
//! that was repeated by the client after a lost answer may say `AlreadyThere` about its own write; callers that must know
//! compare what is stored.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::store::{Created, Store, StoreEntry};
use forebay_core::{Error, Kind, Result};
use futures::TryStreamExt;
use futures::future::BoxFuture;
use object_store::aws::AmazonS3Builder;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode};
use tokio::runtime::Handle;
use url::Url;

use super::without_credentials;
use crate::path::{check_folder, check_path};

/// A [`Store`] over an `object_store` client; clones share it.
#[derive(Clone)]
pub struct ObjectStoreStore {
    client: Arc<dyn ObjectStore>,
    label: String,
    runtime: Option<Handle>,
}

// === impl ObjectStoreStore ===

impl ObjectStoreStore {
    /// The store behind `client`; `label` is its URL as people know it, without credentials. Calls run on the tokio
    /// runtime that this is called in, if any; clients that use the network need one.
    pub fn new(client: Arc<dyn ObjectStore>, label: impl Into<String>) -> Self {
        Self { client, label: label.into(), runtime: Handle::try_current().ok() }
    }

    /// An empty store in memory, gone with the process.
    pub fn memory() -> Self {
        Self::new(Arc::new(InMemory::new()), "memory://")
    }

    /// The store at an `s3://bucket/prefix` URL; credentials, region and endpoint come from the `AWS_*` variables.
    ///
    /// # Errors
    /// `Invalid` if the URL or the variables do not describe a bucket.
    pub fn s3(url: &Url) -> Result<Self> {
        let invalid =
            |e| Error::new(Kind::Invalid, "open object store").with("location", without_credentials(url)).source(e);
        let client = AmazonS3Builder::from_env().with_url(url.as_str()).build().map_err(invalid)?;
        let prefix = Path::from_url_path(url.path()).map_err(|e| invalid(e.into()))?;
        let client: Arc<dyn ObjectStore> = match prefix.as_ref().is_empty() {
            true => Arc::new(client),
            false => Arc::new(PrefixStore::new(client, prefix)),
        };
        Ok(Self::new(client, without_credentials(url)))
    }

    fn run<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        work: impl FnOnce(ObjectStoreStore) -> F,
    ) -> BoxFuture<'static, Result<T>> {
        let work = work(self.clone());
        match self.runtime.clone() {
            None => Box::pin(work),
            Some(runtime) => Box::pin(async move {
                let stopped = |e: tokio::task::JoinError| Error::new(Kind::Cancelled, "use object store").source(e);
                runtime.spawn(work).await.map_err(stopped)?
            }),
        }
    }

    fn failed(&self, attempted: &str, path: &str, error: object_store::Error) -> Error {
        use object_store::Error as E;
        let kind = match &error {
            E::InvalidPath { .. }
            | E::NotSupported { .. }
            | E::NotImplemented { .. }
            | E::PermissionDenied { .. }
            | E::Unauthenticated { .. }
            | E::UnknownConfigurationKey { .. } => Kind::Invalid,
            _ => Kind::Unavailable,
        };
        Error::new(kind, attempted).with("object", path).with("store", &self.label).source(error)
    }

    async fn meta(&self, path: &str) -> Result<Option<ObjectMeta>> {
        match self.client.head(&object_path(path)?).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.failed("look for object", path, e)),
        }
    }

    async fn read_object(&self, path: &str) -> Result<Option<Bytes>> {
        let found = match self.client.get(&object_path(path)?).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(self.failed("read object", path, e)),
        };
        found.bytes().await.map(Some).map_err(|e| self.failed("read object", path, e))
    }

    /// Asks for the length first: stores disagree on ranges that start at or behind the end.
    async fn read_object_range(&self, path: &str, range: Range<u64>) -> Result<Option<Bytes>> {
        let Some(meta) = self.meta(path).await? else { return Ok(None) };
        let range = range.start..range.end.min(meta.size);
        if range.is_empty() {
            return Ok(Some(Bytes::new()));
        }
        match self.client.get_range(&object_path(path)?, range).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.failed("read object", path, e)),
        }
    }

    async fn list_objects(&self, folder: &str) -> Result<Vec<StoreEntry>> {
        let prefix = if folder.is_empty() { None } else { Some(object_path(folder)?) };
        let found: Vec<ObjectMeta> = self
            .client
            .list(prefix.as_ref())
            .try_collect()
            .await
            .map_err(|e| self.failed("list objects", folder, e))?;
        let mut entries: Vec<StoreEntry> = found.into_iter().map(entry).collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    async fn list_some_objects(&self, folder: &str, levels: usize) -> Result<Vec<StoreEntry>> {
        let folder = if folder.is_empty() { None } else { Some(object_path(folder)?) };
        let (mut entries, mut folders) = (Vec::new(), vec![(folder, levels)]);
        while let Some((folder, levels)) = folders.pop() {
            let found = self.client.list_with_delimiter(folder.as_ref()).await;
            let shown = folder.as_ref().map_or("", |folder| folder.as_ref());
            let found = found.map_err(|e| self.failed("list objects", shown, e))?;
            entries.extend(found.objects.into_iter().map(entry));
            if levels > 1 {
                folders.extend(found.common_prefixes.into_iter().map(|below| (Some(below), levels - 1)));
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    async fn create_object(&self, path: &str, bytes: Bytes) -> Result<Created> {
        match self.client.put_opts(&object_path(path)?, bytes.into(), PutMode::Create.into()).await {
            Ok(_) => Ok(Created::New),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(Created::AlreadyThere)
            }
            Err(e) => Err(self.failed("create object", path, e)),
        }
    }

    async fn rename_object(&self, from: &str, to: &str) -> Result<()> {
        match self.client.copy(&object_path(from)?, &object_path(to)?).await {
            Ok(()) => self.delete_object(from).await,
            Err(object_store::Error::NotFound { .. }) if self.meta(to).await?.is_some() => Ok(()),
            Err(e @ object_store::Error::NotFound { .. }) => Err(Error::new(Kind::Corrupt, "rename object")
                .with("from", from)
                .with("to", to)
                .with("store", &self.label)
                .source(e)),
            Err(e) => Err(self.failed("rename object", from, e)),
        }
    }

    async fn delete_object(&self, path: &str) -> Result<()> {
        match self.client.delete(&object_path(path)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.failed("delete object", path, e)),
        }
    }
}

impl Store for ObjectStoreStore {
    fn read(&self, path: &str) -> BoxFuture<'static, Result<Option<Bytes>>> {
        let path = path.to_string();
        self.run(|store| async move { store.read_object(&path).await })
    }

    fn read_range(&self, path: &str, range: Range<u64>) -> BoxFuture<'static, Result<Option<Bytes>>> {
        let path = path.to_string();
        self.run(|store| async move { store.read_object_range(&path, range).await })
    }

    fn list(&self, prefix: &str) -> BoxFuture<'static, Result<Vec<StoreEntry>>> {
        let folder = check_folder(prefix).map(str::to_string);
        self.run(|store| async move { store.list_objects(&folder?).await })
    }

    fn list_levels(&self, prefix: &str, levels: usize) -> BoxFuture<'static, Result<Vec<StoreEntry>>> {
        let folder = check_folder(prefix).map(str::to_string);
        self.run(move |store| async move { store.list_some_objects(&folder?, levels).await })
    }

    fn create(&self, path: &str, bytes: Bytes) -> BoxFuture<'static, Result<Created>> {
        let path = path.to_string();
        self.run(|store| async move { store.create_object(&path, bytes).await })
    }

    fn put(&self, path: &str, bytes: Bytes) -> BoxFuture<'static, Result<()>> {
        let path = path.to_string();
        self.run(|store| async move {
            let put = store.client.put(&object_path(&path)?, bytes.into()).await;
            put.map(|_| ()).map_err(|e| store.failed("put object", &path, e))
        })
    }

    fn rename(&self, from: &str, to: &str) -> BoxFuture<'static, Result<()>> {
        let (from, to) = (from.to_string(), to.to_string());
        self.run(|store| async move { store.rename_object(&from, &to).await })
    }

    fn delete(&self, path: &str) -> BoxFuture<'static, Result<()>> {
        let path = path.to_string();
        self.run(|store| async move { store.delete_object(&path).await })
    }

    fn location(&self) -> String {
        self.label.clone()
    }
}

fn object_path(path: &str) -> Result<Path> {
    check_path(path)?;
    Path::parse(path).map_err(|e| Error::new(Kind::Invalid, "check path").with("path", path).source(e))
}

fn entry(meta: ObjectMeta) -> StoreEntry {
    let version = meta.e_tag.unwrap_or_else(|| format!("{}-{}", meta.size, meta.last_modified.timestamp_micros()));
    StoreEntry { path: meta.location.to_string(), size_bytes: meta.size, version }
}
