//! Reading the state of a checkpoint back: its files, and of each file of an earlier checkpoint what still counts.

use std::collections::BTreeMap;

use forebay_core::Result;
use forebay_core::key_group::KeyGroup;
use futures::{StreamExt, TryStreamExt};

use super::folder::CheckpointFolder;
use super::lineage::ways;
use super::manifest::{Manifest, StateFile};
use super::snapshot_file::{StateEntry, SubtaskSnapshot};

/// State files read at once by `load`: hides an object store's latency, bounds memory to a few files.
const READS_IN_FLIGHT: usize = 8;

/// Entries by the path of their file, operator and key group.
type ByFile<'a> = BTreeMap<(&'a str, &'a str, KeyGroup), Vec<&'a StateEntry>>;

// === impl CheckpointFolder ===

impl CheckpointFolder {
    /// The state that `manifest` names, of the tasks that `wanted` chooses files of, each file checked by length, checksums and
    /// hash. In the order of the manifest's files. A key group that builds on earlier checkpoints has
    /// several entries of its operator: what holds everything first, then what changed, in the order of epochs.
    ///
    /// # Errors
    /// `Corrupt` if a file is missing or broken, naming it and the newest older epoch that can be read.
    pub async fn load(&self, manifest: &Manifest, wanted: impl Fn(&StateFile) -> bool) -> Result<Vec<StateEntry>> {
        match self.load_checked(manifest, wanted).await {
            Ok(entries) => Ok(entries),
            Err(error) => Err(self.with_way_out(error, manifest.state_of.unwrap_or(manifest.epoch)).await),
        }
    }

    async fn load_checked(&self, manifest: &Manifest, wanted: impl Fn(&StateFile) -> bool) -> Result<Vec<StateEntry>> {
        let files: Vec<StateFile> = manifest.all_files().filter(|file| wanted(file)).cloned().collect();
        let reads = futures::stream::iter(files).map(|file| {
            let records = self.records.clone();
            async move { Ok::<_, forebay_core::Error>((file.path.clone(), records.snapshot(&file).await?)) }
        });
        let read: BTreeMap<String, SubtaskSnapshot> = reads.buffered(READS_IN_FLIGHT).try_collect().await?;
        let mut by_file: ByFile<'_> = BTreeMap::new();
        for (path, snapshot) in &read {
            for entry in &snapshot.entries {
                by_file.entry((path, &entry.operator, entry.key_group)).or_default().push(entry);
            }
        }
        let mut entries = Vec::new();
        for (file, ways) in manifest.files.iter().zip(ways(manifest)?).filter(|(file, _)| wanted(file)) {
            for ((operator, group), paths) in &ways {
                let found = paths.iter().filter_map(|path| by_file.get(&(*path, *operator, *group)));
                entries.extend(found.flatten().map(|entry| (*entry).clone()));
            }
            let newest = read.get(&file.path).into_iter().flat_map(|snapshot| &snapshot.entries);
            let without_parts = newest.filter(|entry| !ways.contains_key(&(entry.operator.as_str(), entry.key_group)));
            entries.extend(without_parts.cloned());
        }
        Ok(entries)
    }
}
