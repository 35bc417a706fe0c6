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
use forebay_connectors::files::{Feed, FilesEnumerator, Monitor};
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
    /// `Invalid` if nothing matches, `Corrupt` for a list that cannot be read; those of the store.
    pub async fn open(
        folder: &CheckpointFolder,
        source: &SourceSpec,
        key_groups: u16,
        outside: &dyn Outside,
    ) -> Result<Self> {
        let mut list = Self { folder: folder.clone(), uid: source.uid.clone(), number: 0, splits: Vec::new() };
        if source.monitor_interval.is_some() {
            list.number = list.newest_whole().await?;
        }
        let first = match list.read(list.number).await? {
            Some(splits) => splits,
            // What is there may still be written to: it is taken like what comes later.
            None if list.number == 0 && source.monitor_interval.is_some() => list.write(0, &[]).await?,
            None if list.number == 0 => list.write(0, &first_splits(source, key_groups, outside).await?).await?,
            None => {
                let file = list.file(list.number);
                return Err(Error::new(Kind::Corrupt, "read list of splits").with("file", file).source("it vanished"));
            }
        };
        list.splits = first;
        while source.monitor_interval.is_some()
            && let Some(found) = list.read(list.number + 1).await?
        {
            list.number += 1;
            list.extend(found);
        }
        Ok(list)
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
        Ok(self.splits[known..].to_vec())
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
