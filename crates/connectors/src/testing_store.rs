//! A store in memory for this crate's tests, whose moves can be made to fail and which remembers what was asked.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use forebay_core::hash::hash64;
use forebay_core::store::{Created, Store, StoreEntry};
use forebay_core::{Error, Kind, Result};
use futures::future::{BoxFuture, ready};

/// Objects in memory; clones share them.
#[derive(Clone, Default)]
pub(crate) struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Bytes>,
    renames_left: Option<u32>,
    refuse_puts: bool,
}

// === impl MemoryStore ===

impl MemoryStore {
    pub fn new<'a>(objects: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> Self {
        let store = Self::default();
        for (path, bytes) in objects {
            store.set(path, bytes);
        }
        store
    }

    pub fn set(&self, path: &str, bytes: impl Into<Bytes>) {
        self.lock().objects.insert(path.to_string(), bytes.into());
    }

    pub fn get(&self, path: &str) -> Option<Bytes> {
        self.lock().objects.get(path).cloned()
    }

    pub fn paths(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    /// Lets `count` more moves through, then fails them; `None` lifts it.
    pub fn fail_renames_after(&self, count: Option<u32>) {
        self.lock().renames_left = count;
    }

    pub fn refuse_puts(&self, refuse: bool) {
        self.lock().refuse_puts = refuse;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// Like a network: the object is looked up when the future runs, not when it is made.
fn later<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> BoxFuture<'static, Result<T>> {
    Box::pin(async move {
        ready(()).await;
        work()
    })
}

impl Store for MemoryStore {
    fn read(&self, path: &str) -> BoxFuture<'static, Result<Option<Bytes>>> {
        let (store, path) = (self.clone(), path.to_string());
        later(move || Ok(store.get(&path)))
    }

    fn read_range(&self, path: &str, range: Range<u64>) -> BoxFuture<'static, Result<Option<Bytes>>> {
        let (store, path) = (self.clone(), path.to_string());
        later(move || {
            Ok(store.get(&path).map(|bytes| {
                let cut = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(bytes.len());
                bytes.slice(cut(range.start)..cut(range.end))
            }))
        })
    }

    fn list_levels(&self, prefix: &str, levels: usize) -> BoxFuture<'static, Result<Vec<StoreEntry>>> {
        let (all, start) = (self.list(prefix), if prefix.is_empty() { 0 } else { prefix.len() + 1 });
        Box::pin(async move {
            let mut all = all.await?;
            all.retain(|entry| entry.path[start..].split('/').count() <= levels);
            Ok(all)
        })
    }

    fn list(&self, prefix: &str) -> BoxFuture<'static, Result<Vec<StoreEntry>>> {
        let (store, prefix) = (self.clone(), if prefix.is_empty() { String::new() } else { format!("{prefix}/") });
        later(move || {
            let state = store.lock();
            let inside = state.objects.iter().filter(|(path, _)| path.starts_with(&prefix));
            Ok(inside
                .map(|(path, bytes)| StoreEntry {
                    path: path.clone(),
                    size_bytes: bytes.len() as u64,
                    version: format!("{:x}", hash64(bytes)),
                })
                .collect())
        })
    }

    fn create(&self, path: &str, bytes: Bytes) -> BoxFuture<'static, Result<Created>> {
        let (store, path) = (self.clone(), path.to_string());
        later(move || {
            if store.get(&path).is_some() {
                return Ok(Created::AlreadyThere);
            }
            store.set(&path, bytes);
            Ok(Created::New)
        })
    }

    fn put(&self, path: &str, bytes: Bytes) -> BoxFuture<'static, Result<()>> {
        let (store, path) = (self.clone(), path.to_string());
        later(move || {
            if store.lock().refuse_puts {
                return Err(Error::new(Kind::Exhausted, "put object").with("path", path).source("disk is full"));
            }
            store.set(&path, bytes);
            Ok(())
        })
    }

    fn rename(&self, from: &str, to: &str) -> BoxFuture<'static, Result<()>> {
        let (store, from, to) = (self.clone(), from.to_string(), to.to_string());
        later(move || {
            let mut state = store.lock();
            if let Some(left) = &mut state.renames_left {
                *left = left.checked_sub(1).ok_or_else(|| Error::new(Kind::Unavailable, "rename object"))?;
            }
            match state.objects.remove(&from) {
                Some(bytes) => state.objects.insert(to, bytes),
                None if state.objects.contains_key(&to) => None,
                None => return Err(Error::new(Kind::Corrupt, "rename object").with("from", from).with("to", to)),
            };
            Ok(())
        })
    }

    fn delete(&self, path: &str) -> BoxFuture<'static, Result<()>> {
        let (store, path) = (self.clone(), path.to_string());
        later(move || {
            store.lock().objects.remove(&path);
            Ok(())
        })
    }

    fn location(&self) -> String {
        "memory".to_string()
    }
}
