//! How an edge is written and read: what users tune, with the usual values.

use std::collections::BTreeSet;

use super::protocol::{CoreSettings, EdgeMode, PlantedBug};

/// Bytes that an edge holds before its producer waits: minutes of a slow consumer at tens of MB/s, and read back in seconds.
pub const QUOTA_BYTES: u64 = 4 << 30;
/// Size at which a segment is closed and the next begun; trimming gives disk space back in pieces of this size.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// Bytes written that start a sync before the barrier does, so that the barrier finds little left: 4 MiB take about 15 ms.
pub const UNSYNCED_BYTES_MAX: u64 = 4 << 20;
/// Largest record; a longer length on disk is damage, and is known as such before anything is allocated.
pub const RECORD_BYTES_MAX: u32 = 256 << 20;
/// Parts of the quota that one segment may take: the one being written is never trimmed.
const SEGMENTS_IN_QUOTA: u64 = 4;

/// How an edge is written and read.
#[derive(Debug, Clone)]
pub struct EdgeSettings {
    /// When consumers see what was written; see [`EdgeMode::allowed_for`].
    pub mode: EdgeMode,
    /// The names of all consumers. Nothing is trimmed before each has told what it retains.
    pub consumers: BTreeSet<String>,
    /// See `QUOTA_BYTES`.
    pub quota_bytes: u64,
    /// See `SEGMENT_BYTES_MAX`; at most a quarter of the quota is used.
    pub segment_bytes_max: u64,
    /// See `UNSYNCED_BYTES_MAX`.
    pub unsynced_bytes_max: u64,
    /// See `RECORD_BYTES_MAX`.
    pub record_bytes_max: u32,
    /// A bug to switch on, for tests to find.
    #[doc(hidden)]
    pub bug: Option<PlantedBug>,
}

// === impl EdgeSettings ===

impl EdgeSettings {
    /// The usual settings.
    pub fn new(mode: EdgeMode, consumers: impl IntoIterator<Item = String>) -> Self {
        Self {
            mode,
            consumers: consumers.into_iter().collect(),
            quota_bytes: QUOTA_BYTES,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            unsynced_bytes_max: UNSYNCED_BYTES_MAX,
            record_bytes_max: RECORD_BYTES_MAX,
            bug: None,
        }
    }

    pub(super) fn of_core(self) -> CoreSettings {
        CoreSettings {
            mode: self.mode,
            consumers: self.consumers,
            quota_bytes: self.quota_bytes,
            segment_bytes_max: self.segment_bytes_max.min(self.quota_bytes / SEGMENTS_IN_QUOTA),
            unsynced_bytes_max: self.unsynced_bytes_max,
            record_bytes_max: self.record_bytes_max,
            bug: self.bug,
        }
    }
}
