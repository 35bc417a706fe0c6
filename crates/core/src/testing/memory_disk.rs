//! A disk in memory with the crash behaviour of a real one.
//!
//! Content is durable after `sync`, names after `sync_folder`. [`MemoryDisk::crash`] keeps any prefix of unsynced bytes
//! (torn writes) and keeps or forgets each unsynced name, as the seed says. A removed or renamed name may likewise come
//! back. This is the model that ALICE (Pillai et al., OSDI 2014) gives for file systems that only promise what fsync says.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use futures::future::{BoxFuture, ready};

use crate::disk::{Disk, DiskEntry};
use crate::error::{Error, Kind, Result};
use crate::hash::hash64_parts;

/// A disk in memory; clones share it.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Content by file number: what is written and how much of it is synced.
    files: BTreeMap<u64, File>,
    /// Names as the running process sees them.
    names: BTreeMap<String, u64>,
    /// Names that survive a crash for certain.
    durable_names: BTreeMap<String, u64>,
    /// Folders with changes that are not synced.
    next_file: u64,
    full_after: Option<u64>,
    fail_syncs: u32,
}

#[derive(Default, Clone)]
struct File {
    bytes: Vec<u8>,
    synced: usize,
}

// === impl MemoryDisk ===

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses power: unsynced bytes keep a prefix, unsynced names are kept or forgotten, as `seed` says.
    pub fn crash(&self, seed: u64) {
        let mut state = self.lock();
        for (number, file) in &mut state.files {
            let unsynced = file.bytes.len() - file.synced;
            let kept = hash64_parts(&[&seed.to_le_bytes(), &number.to_le_bytes()]) % (unsynced as u64 + 1);
            file.bytes.truncate(file.synced + kept as usize);
            file.synced = file.bytes.len();
        }
        let mut names = state.durable_names.clone();
        let touched: BTreeSet<String> = state.names.keys().chain(state.durable_names.keys()).cloned().collect();
        for name in touched {
            let (now, durable) = (state.names.get(&name).copied(), state.durable_names.get(&name).copied());
            let survives = hash64_parts(&[&seed.to_le_bytes(), name.as_bytes()]).is_multiple_of(2);
            if now != durable && survives {
                match now {
                    Some(number) => names.insert(name, number),
                    None => names.remove(&name),
                };
            }
        }
        state.names = names.clone();
        state.durable_names = names;
    }

    /// Refuses writes with `Exhausted` once `bytes` more bytes were written; `None` lifts it.
    pub fn fill_after(&self, bytes: Option<u64>) {
        self.lock().full_after = bytes;
    }

    /// Makes the next `count` syncs fail with `Unavailable`.
    pub fn fail_syncs(&self, count: u32) {
        self.lock().fail_syncs = count;
    }

    /// Changes one stored byte, as bit rot does. False if the file has no such byte.
    pub fn flip_byte(&self, path: &str, place: usize) -> bool {
        let mut state = self.lock();
        let Some(number) = state.names.get(path).copied() else { return false };
        match state.files.get_mut(&number).and_then(|file| file.bytes.get_mut(place)) {
            Some(byte) => {
                *byte ^= 0x40;
                true
            }
            None => false,
        }
    }

    /// Every file path, sorted.
    pub fn paths(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn file(&mut self, path: &str) -> Option<&mut File> {
        let number = self.names.get(path)?;
        self.files.get_mut(number)
    }

    fn append(&mut self, path: &str, bytes: &Bytes) -> Result<()> {
        if let Some(left) = &mut self.full_after {
            if (*left as usize) < bytes.len() {
                return Err(Error::new(Kind::Exhausted, "append to file").with("file", path).source("disk is full"));
            }
            *left -= bytes.len() as u64;
        }
        if !self.names.contains_key(path) {
            self.next_file += 1;
            self.names.insert(path.to_string(), self.next_file);
            self.files.insert(self.next_file, File::default());
        }
        if let Some(file) = self.file(path) {
            file.bytes.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn sync(&mut self, path: &str) -> Result<()> {
        if self.fail_syncs > 0 {
            self.fail_syncs -= 1;
            return Err(Error::new(Kind::Unavailable, "sync file").with("file", path).source("input/output error"));
        }
        match self.file(path) {
            Some(file) => file.synced = file.bytes.len(),
            None => return Err(Error::new(Kind::Unavailable, "sync file").with("file", path).source("no such file")),
        }
        Ok(())
    }

    fn sync_folder(&mut self, folder: &str) {
        let prefix = prefix_of(folder);
        let gone: Vec<String> = children(&self.durable_names, &prefix).map(|(name, _)| name.clone()).collect();
        for name in gone {
            self.durable_names.remove(&name);
        }
        let current = children(&self.names, &prefix).map(|(name, number)| (name.clone(), *number));
        self.durable_names.extend(current);
    }

    fn list(&self, folder: &str) -> Vec<DiskEntry> {
        let prefix = prefix_of(folder);
        let mut entries: BTreeMap<String, DiskEntry> = BTreeMap::new();
        for (name, number) in below(&self.names, &prefix) {
            let rest = &name[prefix.len()..];
            let entry = match rest.split_once('/') {
                Some((sub, _)) => DiskEntry { name: sub.to_string(), size_bytes: 0, is_folder: true, version: 0 },
                None => DiskEntry {
                    name: rest.to_string(),
                    size_bytes: self.files.get(number).map_or(0, |file| file.bytes.len() as u64),
                    is_folder: false,
                    version: *number,
                },
            };
            entries.insert(entry.name.clone(), entry);
        }
        entries.into_values().collect()
    }
}

/// What the names of everything below `folder` begin with.
fn prefix_of(folder: &str) -> String {
    match folder.trim_end_matches('/') {
        "" => String::new(),
        folder => format!("{folder}/"),
    }
}

/// Everything whose name begins with `prefix`.
fn below<'a>(names: &'a BTreeMap<String, u64>, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a u64)> {
    names
        .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
        .take_while(move |(name, _)| name.starts_with(prefix))
}

/// The same, but nothing in folders further down.
fn children<'a>(names: &'a BTreeMap<String, u64>, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a u64)> {
    below(names, prefix).filter(move |(name, _)| !name[prefix.len()..].contains('/'))
}

impl Disk for MemoryDisk {
    fn read(&self, path: &str) -> BoxFuture<'static, Result<Option<Bytes>>> {
        let found = self.lock().file(path).map(|file| Bytes::from(file.bytes.clone()));
        Box::pin(ready(Ok(found)))
    }

    fn read_at(&self, path: &str, start: u64, length: usize) -> BoxFuture<'static, Result<Option<Bytes>>> {
        let found = self.lock().file(path).map(|file| {
            let start = (start as usize).min(file.bytes.len());
            let end = start.saturating_add(length).min(file.bytes.len());
            Bytes::copy_from_slice(&file.bytes[start..end])
        });
        Box::pin(ready(Ok(found)))
    }

    fn append(&self, path: &str, bytes: Bytes) -> BoxFuture<'static, Result<()>> {
        Box::pin(ready(self.lock().append(path, &bytes)))
    }

    fn sync(&self, path: &str) -> BoxFuture<'static, Result<()>> {
        Box::pin(ready(self.lock().sync(path)))
    }

    /// In two polls, so that a crash comes between the two.
    fn append_durably(&self, path: &str, bytes: Bytes) -> BoxFuture<'static, Result<()>> {
        let (disk, path) = (self.clone(), path.to_string());
        Box::pin(async move {
            disk.append(&path, bytes).await?;
            let mut is_next_poll = false;
            poll_fn(|context| {
                context.waker().wake_by_ref();
                if std::mem::replace(&mut is_next_poll, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            disk.sync(&path).await
        })
    }

    fn sync_folder(&self, folder: &str) -> BoxFuture<'static, Result<()>> {
        self.lock().sync_folder(folder);
        Box::pin(ready(Ok(())))
    }

    fn link(&self, from: &str, to: &str) -> BoxFuture<'static, Result<bool>> {
        let mut state = self.lock();
        let answer = match (state.names.get(from).copied(), state.names.contains_key(to)) {
            (_, true) => Ok(false),
            (Some(number), false) => {
                state.names.insert(to.to_string(), number);
                Ok(true)
            }
            (None, false) => Err(Error::new(Kind::Unavailable, "link file").with("file", from).source("no such file")),
        };
        Box::pin(ready(answer))
    }

    fn rename(&self, from: &str, to: &str) -> BoxFuture<'static, Result<bool>> {
        let mut state = self.lock();
        let moved = state.names.get(from).copied();
        if let Some(number) = moved.filter(|number| state.names.get(to) != Some(number)) {
            state.names.remove(from);
            state.names.insert(to.to_string(), number);
        }
        Box::pin(ready(Ok(moved.is_some())))
    }

    fn truncate(&self, path: &str, length: u64) -> BoxFuture<'static, Result<()>> {
        if let Some(file) = self.lock().file(path) {
            file.bytes.truncate(length as usize);
            file.synced = file.synced.min(length as usize);
        }
        Box::pin(ready(Ok(())))
    }

    fn remove(&self, path: &str) -> BoxFuture<'static, Result<()>> {
        self.lock().names.remove(path);
        Box::pin(ready(Ok(())))
    }

    fn list(&self, folder: &str) -> BoxFuture<'static, Result<Vec<DiskEntry>>> {
        Box::pin(ready(Ok(self.lock().list(folder))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    #[test]
    fn synced_bytes_under_a_synced_name_survive_every_crash() {
        for seed in 0..50 {
            let disk = MemoryDisk::new();
            block_on(disk.append("a/log", Bytes::from_static(b"kept"))).unwrap();
            block_on(disk.sync("a/log")).unwrap();
            block_on(disk.sync_folder("a")).unwrap();
            block_on(disk.append("a/log", Bytes::from_static(b"lost?"))).unwrap();
            disk.crash(seed);
            let bytes = block_on(disk.read("a/log")).unwrap().unwrap();
            assert!(bytes.starts_with(b"kept") && b"keptlost?".starts_with(&bytes[..]));
        }
    }

    #[test]
    fn unsynced_names_sometimes_vanish() {
        let survived = (0..50)
            .filter(|seed| {
                let disk = MemoryDisk::new();
                block_on(disk.append("log", Bytes::from_static(b"x"))).unwrap();
                block_on(disk.sync("log")).unwrap();
                disk.crash(*seed);
                block_on(disk.read("log")).unwrap().is_some()
            })
            .count();
        assert!(survived > 0 && survived < 50, "{survived}");
    }
}
