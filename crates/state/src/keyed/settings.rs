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
    /// A planted bug.
    #[doc(hidden)]
    pub bug: Option<StateBug>,
}

/// Mistakes that tests plant to see that their checks find them. Never set in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateBug {
    /// A delta does not say what was removed.
    ForgetRemovals,
    /// A delta holds what changed since the last snapshot, published or not.
    ClearBeforeCompletion,
    /// An entry expires when the watermark reaches its end.
    ExpireEarly,
    /// A snapshot leaves out entries on disk.
    SkipSpilled,
    /// An entry that changed since it came back from disk is dropped for its old copy.
    KeepStaleCopy,
    /// A removed entry's copy stays on disk.
    ForgetDiskCopy,
    /// What a group builds on is not read again at a restore: later entries of a group replace earlier ones.
    NewestEntryOnly,
}

impl Default for StateSettings {
    fn default() -> Self {
        Self { memory_bytes_max: MEMORY_BYTES_MAX, spill: None, full_after: FULL_AFTER, bug: None }
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
