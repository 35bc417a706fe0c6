//! When a key group is written whole and when only what changed: the chain of deltas since it was last whole.
//!
//! A chain is what a restore reads. It is cut when its deltas outgrow what they build on, so that a checkpoint's files take at
//! most about twice the state, and after a number of deltas, so that old files can go. Blocks of groups have different
//! numbers, so that not all of them are written whole at the same barrier.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;

/// How a group was written into a snapshot, and its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Full(usize),
    Delta(usize),
}

/// What the newest published checkpoint holds of a group.
#[derive(Debug, Clone, Copy, Default)]
struct Chain {
    full_bytes: usize,
    delta_bytes: usize,
    deltas: u32,
}

/// The chains of a subtask's groups.
#[derive(Debug)]
pub(super) struct Chains {
    owned: Range<u16>,
    full_after: u32,
    completed: Option<Epoch>,
    /// Only of groups that the checkpoint holds anything of.
    chains: BTreeMap<KeyGroup, Chain>,
    /// Snapshots not known to be published.
    taken: BTreeMap<Epoch, Vec<(KeyGroup, Written)>>,
}

// === impl Chains ===

impl Chains {
    /// Chains that begin with what checkpoint `completed` holds; after `full_after` deltas a group is written whole.
    pub fn new(completed: Option<Epoch>, owned: Range<u16>, full_after: u32) -> Self {
        Self { owned, full_after, completed, chains: BTreeMap::new(), taken: BTreeMap::new() }
    }

    /// The newest checkpoint known to be published.
    pub fn completed(&self) -> Option<Epoch> {
        self.completed
    }

    /// Notes one entry of the restored checkpoint.
    pub fn restored(&mut self, group: KeyGroup, is_delta: bool, bytes: usize) {
        self.note(group, if is_delta { Written::Delta(bytes) } else { Written::Full(bytes) });
    }

    /// The groups that the next snapshot must write whole.
    pub fn due_in_full(&self) -> BTreeSet<KeyGroup> {
        let groups = self.owned.clone().map(KeyGroup);
        if self.completed.is_none() || self.full_after == 0 {
            return groups.collect();
        }
        groups.filter(|group| self.is_due(*group)).collect()
    }

    fn is_due(&self, group: KeyGroup) -> bool {
        // A group that the checkpoint holds nothing of has nothing to build on.
        let Some(chain) = self.chains.get(&group) else { return true };
        let block = u32::from(group.0 - self.owned.start) * self.full_after / (2 * self.owned.len().max(1) as u32);
        chain.deltas + block >= self.full_after || chain.delta_bytes > chain.full_bytes
    }

    /// Notes what the snapshot of `epoch` holds.
    pub fn taken(&mut self, epoch: Epoch, written: Vec<(KeyGroup, Written)>) {
        self.taken.insert(epoch, written);
    }

    /// The snapshot of `epoch` is part of a published checkpoint.
    pub fn complete(&mut self, epoch: Epoch) {
        let later = self.taken.split_off(&epoch.next());
        let taken = std::mem::replace(&mut self.taken, later).remove(&epoch);
        for (group, written) in taken.into_iter().flatten() {
            self.note(group, written);
        }
        self.completed = Some(epoch);
    }

    fn note(&mut self, group: KeyGroup, written: Written) {
        match written {
            Written::Full(0) => drop(self.chains.remove(&group)),
            Written::Full(full_bytes) => {
                self.chains.insert(group, Chain { full_bytes, ..Chain::default() });
            }
            Written::Delta(bytes) => {
                let chain = self.chains.entry(group).or_default();
                chain.delta_bytes += bytes;
                chain.deltas += 1;
            }
        }
    }
}
