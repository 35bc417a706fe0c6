//! What keeps an operator's state within bounds.

use std::fmt;
use std::sync::Arc;

use super::spill::SpillStore;

/// Deltas after which a group is written whole. Ten keep the files of a checkpoint few and let old ones go after ten intervals;
/// a barrier then writes about a seventh of a big state whole.
const FULL_AFTER: u32 = 10;

/// Bytes of live values that one operator keeps in memory in one subtask: 64 operators in subtasks of such size fit into 16 GiB.
const MEMORY_BYTES_MAX: usize = 256 << 20;

/// Bounds of one operator's state in one subtask.
#[derive(Clone)]
pub struct StateSettings {
    /// Bytes that values may take in memory before cold ones go to `spill`; 0 for no bound. Keys and fixed costs count;
    /// timers do not.
    pub memory_bytes_max: usize,
    /// Where cold entries go; without it there is no bound.
    pub spill: Option<Arc<dyn SpillStore>>,
    /// Deltas after which a key group is written whole; 0 writes every snapshot whole.
    pub full_after: u32,
}

impl Default for StateSettings {
    fn default() -> Self {
        Self { memory_bytes_max: MEMORY_BYTES_MAX, spill: None, full_after: FULL_AFTER }
    }
}

impl fmt::Debug for StateSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateSettings")
            .field("memory_bytes_max", &self.memory_bytes_max)
            .field("spills", &self.spill.is_some())
            .field("full_after", &self.full_after)
            .finish()
    }
}
