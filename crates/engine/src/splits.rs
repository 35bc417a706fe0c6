//! The list of splits of a source: written before its first row is read, and longer each time that a monitored source finds more.
//!
//! ```text
//! JOB/once/splits-UID.json            what was there when the job first started; nothing, if the source was monitored then
//! JOB/once/splits-UID.0000000001.json what was found next; every 64th file is the whole list again, so that a start reads few
//! ```
//!
//! A split is announced to readers once it is in the list. A crash before that finds it anew; after it, the next attempt has it at
//! the same place. Positions are counts within the list, so they hold in every attempt.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_connectors::files::{Feed, FilePattern, FilesEnumerator, Monitor};
use forebay_core::env::Env;
use forebay_core::source::{Enumerator, Split};
use forebay_core::{Error, Kind, Result};
use forebay_plan::spec::SourceSpec;
use forebay_state::checkpoint::CheckpointFolder;

use crate::nexmark;
use crate::outside::Outside;
use crate::prepare::files;

/// Every file with a number that is a multiple of this holds the whole list.
const WHOLE_EVERY: u64 = 64;

/// Between the first two looks of an attempt, at most.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// Mistakes that tests plant to see that their checks find them. Never set in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MonitorBug {
    /// Readers get what was found, and it is written nowhere.
    NotWritten,
    /// A file is taken as soon as it is seen.
    TakeAtOnce,
}

/// The splits of one source, in reading order.
pub(crate) struct SplitList {
    folder: CheckpointFolder,
    uid: String,
    /// Of the newest file.
    number: u64,
    pub splits: Vec<Split>,
}

/// A source whose folder goes on being looked at.
pub(crate) struct Monitored {
    pub uid: String,
    pub feed: Feed,
    files: FilesEnumerator,
    interval: Duration,
    list: SplitList,
    monitor: Monitor,
    bug: Option<MonitorBug>,
}

// === impl SplitList ===

impl SplitList {
    /// The list as far as it is written; if it is not, what is there now.
    ///
    /// # Errors
    /// `Invalid` if nothing matches or what is written is of other files, `Corrupt` for a list that cannot be read; those of
    /// the store.
    pub async fn open(
        folder: &CheckpointFolder,
        source: &SourceSpec,
        key_groups: u16,
        outside: &dyn Outside,
    ) -> Result<Self> {
        let mut list = Self { folder: folder.clone(), uid: source.uid.clone(), number: 0, splits: Vec::new() };
        if !list.restore().await? {
            // What is there now may still be written to: a monitored source takes it like what comes later.
            let first = match source.monitor_interval {
                Some(_) => Vec::new(),
                None => first_splits(source, key_groups, outside).await?,
            };
            list.splits = list.write(0, &first).await?;
        } else {
            list.check_is_of(source)?;
        }
        Ok(list)
    }

    /// Whether what is written, if anything is, can be what `source` says.
    ///
    /// # Errors
    /// `Invalid` if it is of other files; those of the store.
    pub async fn check(folder: &CheckpointFolder, source: &SourceSpec) -> Result<()> {
        let mut list = Self { folder: folder.clone(), uid: source.uid.clone(), number: 0, splits: Vec::new() };
        if list.restore().await? { list.check_is_of(source) } else { Ok(()) }
    }

    /// A folder may have moved, but other files would never be read. Those of a monitored source come later than its list.
    fn check_is_of(&self, source: &SourceSpec) -> Result<()> {
        if source.monitor_interval.is_some() || source.nexmark.is_some() {
            return Ok(());
        }
        let pattern = FilePattern::parse(&source.path)?;
        let Some(other) = self.splits.iter().find(|split| !pattern.matches(&split.name)) else { return Ok(()) };
        Err(Error::new(Kind::Invalid, "go on with source")
            .with("source", &self.uid)
            .with("path", &source.path)
            .with("listed", &other.name)
            .source(
                "the checkpoints are of other files, and a job that goes on reads those that it began with: give this \
                 one other checkpoints",
            ))
    }

    /// Takes over what is written, whoever wrote it; false if nothing is.
    async fn restore(&mut self) -> Result<bool> {
        self.number = self.newest_whole().await?;
        match self.read(self.number).await? {
            Some(splits) => self.splits = splits,
            None if self.number == 0 => return Ok(false),
            None => {
                return Err(Error::new(Kind::Corrupt, "read list of splits")
                    .with("file", self.file(self.number))
                    .source("another process removed it meanwhile: start the job again"));
            }
        }
        while let Some(found) = self.read(self.number + 1).await? {
            self.number += 1;
            self.extend(found);
        }
        Ok(true)
    }

    /// Writes that `found` was found; answers what is new in the list then, which is what another attempt wrote if that was first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn append(&mut self, found: &[Split]) -> Result<Vec<Split>> {
        let number = self.number + 1;
        let known = self.splits.len();
        let stored = if number.is_multiple_of(WHOLE_EVERY) {
            self.write(number, &[&self.splits, found].concat()).await?
        } else {
            self.write(number, found).await?
        };
        self.number = number;
        self.extend(stored);
        if number.is_multiple_of(WHOLE_EVERY) {
            self.clean_up().await;
        }
        Ok(self.splits.get(known..).unwrap_or_default().to_vec())
    }

    /// Takes in what the file of the present number holds.
    fn extend(&mut self, stored: Vec<Split>) {
        if self.number.is_multiple_of(WHOLE_EVERY) {
            self.splits = stored;
        } else {
            self.splits.extend(stored);
        }
    }

    /// Removes what two whole lists have made needless. The last one's may be being read by a start.
    async fn clean_up(&self) {
        let Some(last) = self.number.checked_sub(2 * WHOLE_EVERY) else { return };
        for number in last.max(1)..last + WHOLE_EVERY {
            if let Err(error) = self.folder.remove_once(&self.file(number)).await {
                tracing::warn!("a list of files that is no longer needed stays: {}", error.chain());
                return;
            }
        }
    }

    async fn newest_whole(&self) -> Result<u64> {
        let names = self.folder.once_names().await?;
        let number = |name: &String| {
            let number = name.strip_prefix(&format!("splits-{}.", self.uid))?.strip_suffix(".json")?;
            number.parse().ok()
        };
        Ok(names.iter().filter_map(number).filter(|number: &u64| number.is_multiple_of(WHOLE_EVERY)).max().unwrap_or(0))
    }

    fn file(&self, number: u64) -> String {
        match number {
            0 => format!("splits-{}.json", self.uid),
            _ => format!("splits-{}.{number:010}.json", self.uid),
        }
    }

    async fn read(&self, number: u64) -> Result<Option<Vec<Split>>> {
        let stored = self.folder.read_once(&self.file(number)).await?;
        stored.map(|stored| self.decode(number, &stored)).transpose()
    }

    async fn write(&self, number: u64, splits: &[Split]) -> Result<Vec<Split>> {
        let encoded =
            serde_json::to_vec(splits).map_err(|source| Error::new(Kind::Internal, "encode splits").source(source))?;
        let stored = self.folder.write_once(&self.file(number), Bytes::from(encoded)).await?;
        self.decode(number, &stored)
    }

    fn decode(&self, number: u64, stored: &[u8]) -> Result<Vec<Split>> {
        serde_json::from_slice(stored).map_err(|source| {
            Error::new(Kind::Corrupt, "read list of splits").with("file", self.file(number)).source(source)
        })
    }
}

// === impl Monitored ===

impl Monitored {
    /// What goes on with `list`, if `source` is monitored.
    ///
    /// # Errors
    /// Those of the store.
    pub fn of(source: &SourceSpec, list: SplitList, outside: &dyn Outside) -> Result<Option<Self>> {
        let Some(interval) = source.monitor_interval else { return Ok(None) };
        let (store, pattern) = files(outside, &source.path)?;
        Ok(Some(Self {
            uid: source.uid.clone(),
            feed: Feed::default(),
            files: FilesEnumerator::new(source.uid.clone(), store, pattern),
            interval,
            monitor: Monitor::new(&list.splits),
            list,
            bug: outside.planted().monitor,
        }))
    }

    /// Looks at the folder for as long as the attempt runs. A look that fails is made again; what was found and cannot be
    /// written fails the region.
    pub async fn run(mut self, env: Arc<dyn Env>) {
        // What lies there already waits no longer than it must to be known as whole.
        let mut pause = self.interval.min(SETTLED_AFTER);
        loop {
            if let Err(error) = self.look().await {
                self.feed.fail(error);
                return;
            }
            env.sleep(pause).await;
            pause = self.interval;
        }
    }

    async fn look(&mut self) -> Result<()> {
        let listed = match self.files.list().await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!("source {} was not looked at for new files: {}", self.uid, error.chain());
                return Ok(());
            }
        };
        if self.bug == Some(MonitorBug::TakeAtOnce) {
            self.monitor.look(listed.clone());
        }
        let ready = self.monitor.look(listed);
        if ready.is_empty() {
            return Ok(());
        }
        let found = match self.bug {
            Some(MonitorBug::NotWritten) => ready,
            _ => self.list.append(&ready).await?,
        };
        tracing::debug!("source {} found {} new files", self.uid, found.len());
        self.monitor.take(&found);
        self.feed.announce(found);
        Ok(())
    }
}

/// The splits of `source` in a job of `key_groups`, listed now.
async fn first_splits(source: &SourceSpec, key_groups: u16, outside: &dyn Outside) -> Result<Vec<Split>> {
    if let Some(made) = &source.nexmark {
        return nexmark::enumerator(source, made, key_groups).splits().await;
    }
    let (store, pattern) = files(outside, &source.path)?;
    FilesEnumerator::new(source.uid.clone(), store, pattern).splits().await
}

#[cfg(test)]
mod tests {
    use forebay_core::row::SplitId;
    use forebay_core::testing::{ManualEnv, MemoryDisk};
    use forebay_state::store::LocalStore;
    use futures::executor::block_on;

    use super::*;

    fn folder(disk: &MemoryDisk) -> CheckpointFolder {
        let env: Arc<dyn Env> = Arc::new(ManualEnv::new(1));
        let store = Arc::new(LocalStore::new(Arc::clone(&env), Arc::new(disk.clone()), "disk"));
        CheckpointFolder::new(env, store, "job").expect("the name is right")
    }

    /// The list of `uid` as a start finds it.
    fn restored(folder: &CheckpointFolder, uid: &str) -> Option<SplitList> {
        let mut list = SplitList { folder: folder.clone(), uid: uid.to_string(), number: 0, splits: Vec::new() };
        block_on(list.restore()).expect("the list can be read").then_some(list)
    }

    fn split(number: u64) -> Split {
        Split { id: SplitId(number), name: format!("{number}.jsonl"), version: "1".to_string(), size_bytes: 1 }
    }

    fn numbers(splits: &[Split]) -> Vec<u64> {
        splits.iter().map(|split| split.id.0).collect()
    }

    #[test]
    fn every_start_finds_what_was_found_and_old_files_go() {
        let disk = MemoryDisk::new();
        let folder = folder(&disk);
        assert!(restored(&folder, "a").is_none());
        let mut list = SplitList { folder: folder.clone(), uid: "a".to_string(), number: 0, splits: Vec::new() };
        block_on(list.write(0, &[])).expect("there is room");
        for number in 1..=200 {
            let found = block_on(list.append(&[split(number)])).expect("there is room");
            assert_eq!(numbers(&found), [number]);
            let again = restored(&folder, "a").expect("it was written");
            assert_eq!((again.number, numbers(&again.splits)), (number, (1..=number).collect()));
        }
        let names = block_on(folder.once_names()).expect("it can be listed");
        assert_eq!(names.len() as u64, 1 + 200 - 127, "the first, and all from the whole list before the last one");
        assert!(restored(&folder, "b").is_none(), "of another source nothing is known");
    }

    #[test]
    fn of_two_attempts_the_second_takes_what_the_first_one_found() {
        let disk = MemoryDisk::new();
        let folder = folder(&disk);
        for count in [1, WHOLE_EVERY - 1] {
            let uid = format!("after-{count}");
            let mut stale = SplitList { folder: folder.clone(), uid: uid.clone(), number: 0, splits: Vec::new() };
            block_on(stale.write(0, &[])).expect("there is room");
            (1..=count).for_each(|number| drop(block_on(stale.append(&[split(number)])).expect("there is room")));
            let mut newer = restored(&folder, &uid).expect("it was written");
            assert_eq!(numbers(&block_on(newer.append(&[split(100), split(101)])).expect("there is room")), [100, 101]);
            assert_eq!(numbers(&block_on(stale.append(&[split(101)])).expect("there is room")), [100, 101]);
            assert_eq!(numbers(&stale.splits), numbers(&newer.splits));
        }
    }
}
