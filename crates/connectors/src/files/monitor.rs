//! New files of a folder that goes on being read: which of them are taken, and how they come to the readers.
//!
//! [`Monitor`] is pure: listings in, new splits out. A file is taken once two listings in a row saw it with the same version, so
//! that one which is still being written is left alone. Paths are taken once: a file that changes later, or comes back, is
//! not read again. Whoever lists makes the new splits durable first and then announces them in a [`Feed`], in that
//! order, so that every attempt reads the same files in the same order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use forebay_core::source::Split;
use forebay_core::{Error, Result};

/// What is known of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Monitor {
    /// Paths that were taken.
    taken: BTreeSet<String>,
    /// The other paths of the last listing, with their versions.
    seen: BTreeMap<String, String>,
}

/// Splits that were found while the job runs; clones share it.
#[derive(Clone, Default)]
pub struct Feed {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    found: Vec<Split>,
    failed: Option<Error>,
    readers: Vec<Waker>,
}

// === impl Monitor ===

impl Monitor {
    /// Of a folder of which `taken` is being read.
    pub fn new(taken: &[Split]) -> Self {
        let mut monitor = Self::default();
        monitor.take(taken);
        monitor
    }

    /// What the folder has now; answers what is to be taken, sorted by path. Until [`Monitor::take`] is told that, the
    /// next look answers it again.
    pub fn look(&mut self, listed: Vec<Split>) -> Vec<Split> {
        let new = listed.into_iter().filter(|split| !self.taken.contains(&split.name));
        let (mut ready, mut seen) = (Vec::new(), BTreeMap::new());
        for split in new {
            seen.insert(split.name.clone(), split.version.clone());
            if self.seen.get(&split.name) == Some(&split.version) {
                ready.push(split);
            }
        }
        self.seen = seen;
        ready.sort_by(|left, right| left.name.cmp(&right.name));
        ready
    }

    /// Takes `splits`.
    pub fn take(&mut self, splits: &[Split]) {
        self.taken.extend(splits.iter().map(|split| split.name.clone()));
    }
}

// === impl Feed ===

impl Feed {
    /// Tells the readers of `splits`, which are durable.
    pub fn announce(&self, splits: Vec<Split>) {
        let mut shared = self.lock();
        shared.found.extend(splits);
        shared.wake();
    }

    /// Lets one of the readers fail with `error`.
    pub fn fail(&self, error: Error) {
        let mut shared = self.lock();
        shared.failed = Some(error);
        shared.wake();
    }

    /// Wakes this reader whenever something comes.
    pub(super) fn listen(&self, reader: Waker) {
        self.lock().readers.push(reader);
    }

    /// What came after the first `known` splits.
    pub(super) fn after(&self, known: usize) -> Result<Vec<Split>> {
        let mut shared = self.lock();
        match shared.failed.take() {
            Some(error) => Err(error),
            None => Ok(shared.found.get(known..).unwrap_or_default().to_vec()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Shared ===

impl Shared {
    fn wake(&self) {
        self.readers.iter().for_each(Waker::wake_by_ref);
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::row::SplitId;

    use super::*;

    fn split(name: &str, version: &str) -> Split {
        let id = SplitId::new("files", name, version);
        Split { id, name: name.to_string(), version: version.to_string(), size_bytes: 1 }
    }

    fn names(splits: &[Split]) -> Vec<&str> {
        splits.iter().map(|split| split.name.as_str()).collect()
    }

    #[test]
    fn a_file_is_taken_when_it_stopped_changing_and_then_never_again() {
        let mut monitor = Monitor::new(&[split("a", "1")]);
        assert!(monitor.look(vec![split("a", "2"), split("c", "1"), split("b", "1")]).is_empty());
        let ready = monitor.look(vec![split("a", "2"), split("c", "1"), split("b", "2"), split("d", "1")]);
        assert_eq!(names(&ready), ["c"]);
        let ready = monitor.look(vec![split("d", "1"), split("b", "2"), split("c", "1")]);
        assert_eq!(names(&ready), ["b", "c", "d"], "what was not taken comes again");
        monitor.take(&ready);
        assert!(monitor.look(vec![split("b", "3"), split("c", "1")]).is_empty());
        assert!(monitor.look(vec![split("b", "3"), split("c", "1")]).is_empty());
    }

    #[test]
    fn a_file_that_was_gone_in_between_is_new() {
        let mut monitor = Monitor::new(&[]);
        assert!(monitor.look(vec![split("a", "1")]).is_empty());
        assert!(monitor.look(Vec::new()).is_empty());
        assert!(monitor.look(vec![split("a", "1")]).is_empty());
        assert_eq!(names(&monitor.look(vec![split("a", "1")])), ["a"]);
    }

    #[test]
    fn every_reader_gets_all_and_one_the_error() {
        let feed = Feed::default();
        feed.announce(vec![split("a", "1")]);
        feed.announce(vec![split("b", "1")]);
        assert_eq!(names(&feed.after(0).unwrap()), ["a", "b"]);
        assert_eq!(names(&feed.after(1).unwrap()), ["b"]);
        feed.fail(Error::new(forebay_core::Kind::Unavailable, "write the list"));
        assert!(feed.after(2).is_err());
        assert!(feed.after(2).unwrap().is_empty());
    }
}
