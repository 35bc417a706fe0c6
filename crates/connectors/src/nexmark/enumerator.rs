//! The splits of a Nexmark stream: every so many thousands of numbers belong to the next split, in turn.
//!
//! Splits advance side by side in event time, whoever reads them. Which subtask that is follows from a hash of the split's
//! name, so names are tried until the splits lie evenly over the key groups: any parallelism then has about equal work.

use forebay_core::key_group::KeyGroup;
use forebay_core::row::SplitId;
use forebay_core::source::{Enumerator, Split};
use forebay_core::{Error, Kind, Result};
use futures::future::BoxFuture;

use super::NexmarkSettings;

/// Lists the splits of one stream.
#[derive(Debug, Clone)]
pub struct NexmarkEnumerator {
    source_uid: String,
    settings: NexmarkSettings,
    key_groups: u16,
}

// === impl NexmarkEnumerator ===

impl NexmarkEnumerator {
    /// The splits of `settings` for the source `source_uid` in a job of `key_groups`.
    pub fn new(source_uid: impl Into<String>, settings: NexmarkSettings, key_groups: u16) -> Self {
        Self { source_uid: source_uid.into(), settings, key_groups }
    }

    fn split(&self, place: u32, version: &str) -> Split {
        let group = spread(place, self.key_groups);
        let named = |attempt: u32| {
            let name = format!("{}-{place}.{attempt}", self.settings.stream);
            let id = SplitId::new(&self.source_uid, &name, version);
            Split { id, name, version: version.to_string(), size_bytes: 0 }
        };
        (0..)
            .map(named)
            .find(|split| split.id.key_group(self.key_groups) == group)
            .expect("a hash falls into every group")
    }
}

impl Enumerator for NexmarkEnumerator {
    fn splits(&self) -> BoxFuture<'static, Result<Vec<Split>>> {
        let this = self.clone();
        Box::pin(async move {
            this.settings.check()?;
            let version = this.settings.version();
            Ok((0..this.settings.splits).map(|place| this.split(place, &version)).collect())
        })
    }
}

/// The key group of the split at `place`: neighbours lie far apart (van der Corput), so that those whose rows are next to
/// each other in event time are read by different subtasks.
fn spread(place: u32, groups: u16) -> KeyGroup {
    KeyGroup(((u64::from(place.reverse_bits()) * u64::from(groups)) >> 32) as u16)
}

/// The place of a split, by its name.
///
/// # Errors
/// `Corrupt` for a name that no enumerator gave.
pub(super) fn place(split: &Split) -> Result<u32> {
    let number = split.name.split_once('-').and_then(|(_, rest)| rest.split_once('.')?.0.parse().ok());
    number.ok_or_else(|| Error::new(Kind::Corrupt, "read nexmark split").with("split", &split.name))
}
