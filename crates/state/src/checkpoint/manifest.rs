//! What a checkpoint consists of: the manifest, and the epoch record that makes it exist.
//!
//! A manifest is immutable and lies under a name that holds its hash; writing it publishes nothing. The epoch record names one
//! manifest; creating it, if absent, is the commit.

use std::collections::BTreeMap;

use bytes::Bytes;
use forebay_core::Result;
use forebay_core::element::Epoch;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::layout::Layout;
use super::sealed::seal;
use super::snapshot_file::content_hash;

/// Version of manifests and epoch records. Readers refuse newer ones.
///
/// 1: every state file holds everything. 2: files say what they hold, and may build on `earlier` ones.
pub const FORMAT: u32 = 2;

/// Why an epoch exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EpochKind {
    /// The region's state at a barrier.
    Checkpoint,
    /// A restart's mark: no new state, and no earlier attempt can publish any more.
    Claim,
}

/// One state file of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// The task, as the plan calls it.
    pub task: String,
    /// Which parallel copy wrote it.
    pub subtask: u16,
    /// Path from the store's root.
    pub path: String,
    /// Length of the file.
    pub size_bytes: u64,
    /// XXH3-128 of the file, 32 hex digits.
    pub hash: String,
    /// The checkpoint that it was written for; `None` in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// The oldest checkpoint that later snapshots of this subtask may build on, 0 for any; `None` if they never do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<Epoch>,
    /// The key groups that it holds by operator, and what each builds on: `0-3@5,4-7` (see `lineage.rs`). Empty in format 1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, String>,
}

/// What one sink's writers prepared in an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkCommittables {
    /// Uid of the sink.
    pub sink: String,
    /// One per prepared unit, hex in JSON, handed to the committer as they are.
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub items: Vec<Bytes>,
}

/// What a checkpoint consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`] at the time of writing.
    pub format: u32,
    /// The job it belongs to.
    pub job: String,
    /// The region it belongs to.
    pub region: u32,
    /// Its number.
    pub epoch: Epoch,
    /// The epoch before it; `None` for the first.
    pub parent: Option<Epoch>,
    /// Why it exists.
    pub kind: EpochKind,
    /// The checkpoint whose state `files` hold: `epoch` for a checkpoint, an earlier one for a claim, `None` for the empty
    /// state that a job starts with.
    pub state_of: Option<Epoch>,
    /// Generation that published it.
    pub generation: u64,
    /// Attempt that published it.
    pub attempt: u64,
    /// When it was written, microseconds since 1970, for people only.
    pub created_wall_micros: i64,
    /// Parallelism by task.
    pub parallelism: BTreeMap<String, u16>,
    /// The job's number of key groups.
    pub key_groups: u16,
    /// How many regions the job has; 0 where that was not written, as by a job of one region.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub regions: u32,
    /// Hash of the plan that ran.
    pub plan_hash: String,
    /// State files, all durable before the manifest is written.
    pub files: Vec<StateFile>,
    /// State files of earlier checkpoints that `files` build on, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<StateFile>,
    /// What the sinks' committers must publish once the epoch record exists.
    pub committables: Vec<SinkCommittables>,
    /// True if the job had read all its input and this is its last epoch.
    pub ended: bool,
    /// Whatever else the engine keeps; not interpreted here.
    pub extra: serde_json::Map<String, serde_json::Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(regions: &u32) -> bool {
    *regions == 0
}

/// The record that makes epoch `epoch` of a region exist: created once, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// [`FORMAT`] at the time of writing.
    pub format: u32,
    /// Its number.
    pub epoch: Epoch,
    /// As in the manifest.
    pub kind: EpochKind,
    /// As in the manifest.
    pub generation: u64,
    /// As in the manifest.
    pub attempt: u64,
    /// Path of the manifest from the store's root.
    pub manifest: String,
    /// XXH3-128 of the manifest's bytes.
    pub manifest_hash: String,
    /// Whether a committer must act before the epoch is done with.
    pub needs_commit: bool,
}

/// A manifest encoded, with the record that would publish it.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// The manifest's bytes.
    pub bytes: Bytes,
    /// The record to create.
    pub record: EpochRecord,
}

// === impl Manifest ===

impl Manifest {
    /// True if a committer must act.
    pub fn needs_commit(&self) -> bool {
        self.committables.iter().any(|sink| !sink.items.is_empty())
    }

    /// Every state file that a restore reads.
    pub fn all_files(&self) -> impl Iterator<Item = &StateFile> {
        self.earlier.iter().chain(&self.files)
    }

    /// Bytes of all state files that a restore reads.
    pub fn state_bytes(&self) -> u64 {
        self.all_files().map(|file| file.size_bytes).sum()
    }

    /// Bytes of the state files that were written for this checkpoint.
    pub fn written_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }

    /// The manifest's bytes, and the record that names them.
    ///
    /// # Errors
    /// `Internal` if it cannot be JSON.
    pub fn encode(&self, layout: &Layout) -> Result<Encoded> {
        let bytes = seal(self)?;
        let hash = content_hash(&bytes);
        let record = EpochRecord {
            format: FORMAT,
            epoch: self.epoch,
            kind: self.kind,
            generation: self.generation,
            attempt: self.attempt,
            manifest: layout.manifest(self.epoch, self.generation, &hash),
            manifest_hash: hash,
            needs_commit: self.needs_commit(),
        };
        Ok(Encoded { bytes, record })
    }
}

fn to_hex<S: Serializer>(items: &[Bytes], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(items.iter().map(|item| format!("{item:x}")))
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Bytes>, D::Error> {
    let items = Vec::<String>::deserialize(deserializer)?;
    let decode = |item: &String| parse_hex(item).ok_or_else(|| serde::de::Error::custom("a committable is not hex"));
    items.iter().map(decode).collect()
}

fn parse_hex(text: &str) -> Option<Bytes> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|place| u8::from_str_radix(&text[place..place + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committables_survive_json() {
        let written =
            SinkCommittables { sink: "s".into(), items: vec![Bytes::from_static(b"\x00\xff{"), Bytes::new()] };
        let text = serde_json::to_string(&written).unwrap();
        assert_eq!(text, r#"{"sink":"s","items":["00ff7b",""]}"#);
        assert_eq!(serde_json::from_str::<SinkCommittables>(&text).unwrap(), written);
        for bad in ["0", "zz", "+1", "ä"] {
            let text = format!(r#"{{"sink":"s","items":["{bad}"]}}"#);
            assert!(serde_json::from_str::<SinkCommittables>(&text).is_err(), "{bad}");
        }
    }
}
