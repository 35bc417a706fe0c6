//! A disk for models: files with a synced prefix and names that survive or not, as values that can be compared and hashed.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::{Action, CoreSettings, EdgeCore, Fact, Replay};
use forebay_core::Result;

/// How much of what is not durable survives a crash of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Survives {
    Nothing,
    Everything,
    /// Half of each file's unsynced bytes, and all names: a torn write.
    Half,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct File {
    bytes: Vec<u8>,
    synced: usize,
    named: bool,
}

/// A folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct ModelDisk {
    files: BTreeMap<String, File>,
}

// === impl ModelDisk ===

impl ModelDisk {
    /// Carries out one action of a core; the fact that it reports.
    pub fn carry_out(&mut self, action: &Action) -> Option<Fact> {
        match action {
            Action::Write { file, bytes } => {
                self.files.entry(file.clone()).or_default().bytes.extend_from_slice(bytes);
                Some(Fact::Wrote(Ok(())))
            }
            Action::Sync { file } => {
                let file = self.files.entry(file.clone()).or_default();
                file.synced = file.bytes.len();
                Some(Fact::Synced(Ok(())))
            }
            Action::SyncFolder => {
                self.files.values_mut().for_each(|file| file.named = true);
                Some(Fact::FolderSynced(Ok(())))
            }
            Action::Remove { files } => {
                files.iter().for_each(|file| drop(self.files.remove(file)));
                Some(Fact::Removed(Ok(())))
            }
            Action::Tell { .. } | Action::WakeReaders | Action::WakeWriters => None,
        }
    }

    pub fn crash(&mut self, survives: Survives) {
        self.files.retain(|_, file| file.named || survives != Survives::Nothing);
        for file in self.files.values_mut() {
            let unsynced = file.bytes.len() - file.synced;
            let kept = match survives {
                Survives::Nothing => 0,
                Survives::Everything => unsynced,
                Survives::Half => unsynced / 2,
            };
            file.bytes.truncate(file.synced + kept);
            (file.synced, file.named) = (file.bytes.len(), true);
        }
    }

    /// Opens the folder as production does: every file is read, what was read counts as durable.
    pub fn open(&self, settings: &CoreSettings) -> Result<EdgeCore> {
        let mut replay = Replay::new(settings, self.files.keys().cloned());
        while let Some(file) = replay.next_file().map(str::to_string) {
            replay.take(Bytes::from(self.files[&file].bytes.clone()))?;
        }
        Ok(EdgeCore::open(settings.clone(), replay.end()?))
    }

    /// The bytes of a file from `start` on.
    pub fn read(&self, file: &str, start: u64) -> &[u8] {
        self.files.get(file).and_then(|file| file.bytes.get(start as usize..)).unwrap_or_default()
    }
}
