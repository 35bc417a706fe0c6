//! What a table holds in memory: per key group a map from key to the values of its spaces.
//!
//! Keys are hashed, not ordered, because almost every access names its key; a key with one space costs no tree. Wherever an
//! order is visible (scans, iteration, snapshots) it is made: spaces are kept in order, keys are sorted when a group is walked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::ops::{Bound, RangeBounds};

use forebay_core::hash::hash64;

use super::space::Space;
use forebay_core::keys::Key;

/// What is changed is named by key and space; timers put their time first.
pub(super) type Address = (Key, Space);

/// A range of spaces.
pub(super) type SpaceRange = (Bound<Space>, Bound<Space>);

/// Everything.
pub(super) const ALL: SpaceRange = (Bound::Unbounded, Bound::Unbounded);

/// The range as it is kept; `None` if nothing can lie in it.
pub(super) fn space_range(range: &impl RangeBounds<Space>) -> Option<SpaceRange> {
    use Bound::{Excluded, Included};
    let empty = match (range.start_bound(), range.end_bound()) {
        (Included(start), Included(end)) => start > end,
        (Included(start) | Excluded(start), Included(end) | Excluded(end)) => start >= end,
        _ => false,
    };
    (!empty).then(|| (range.start_bound().cloned(), range.end_bound().cloned()))
}

/// Whether the store for cold entries holds this entry too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spilled {
    /// It does not.
    No,
    /// It holds the same value.
    Same,
    /// It holds an older value, to be replaced or removed.
    Stale,
}

/// One value in memory.
#[derive(Debug)]
pub(super) struct Slot<V> {
    pub value: V,
    /// Event time of the last write in microseconds; the least number while it has none.
    pub written: i64,
    /// What the accounts hold for it.
    pub size: u32,
    /// The interval between barriers in which it was last put on the list of changes.
    pub listed_in: u32,
    /// The interval in which it was made, if no snapshot can know of it: removed in the same, it never was.
    pub made_in: u32,
    /// Used since the clock's hand last passed.
    pub referenced: bool,
    pub spilled: Spilled,
}

/// What changed since the last barrier.
#[derive(Debug)]
pub(super) struct Changes<A> {
    addresses: HashSet<A, BuildHasherDefault<KeyHasher>>,
}

/// The values of one key, in order of space.
#[derive(Debug)]
pub(super) enum Spaces<V> {
    One(Space, Slot<V>),
    Many(BTreeMap<Space, Slot<V>>),
}

/// The hash of keys inside a group. All of a group's keys agree in the hash's remainder, so it is mixed once more.
#[derive(Debug, Default)]
pub(super) struct KeyHasher(u64);

/// One key group of a table.
#[derive(Debug)]
pub(super) struct GroupSlots<V> {
    pub keys: HashMap<Key, Spaces<V>, BuildHasherDefault<KeyHasher>>,
    /// What changed since the last barrier.
    pub changed: Changes<Address>,
    /// Entries in memory.
    pub memory: usize,
    /// Entries that only the store for cold entries holds.
    pub disk: usize,
    /// The watermark that this group's state was restored with, the least number without.
    pub restored_watermark: i64,
}

// === impl KeyHasher ===

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = self.0.rotate_left(29) ^ hash64(bytes);
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        let wide = u128::from(self.0) * 0x9e37_79b9_7f4a_7c15;
        (wide >> 64) as u64 ^ wide as u64
    }
}

// === impl Changes ===

impl<A> Default for Changes<A> {
    fn default() -> Self {
        Self { addresses: HashSet::default() }
    }
}

impl<A: Ord + Hash> Changes<A> {
    /// Notes a change; false if it was noted before.
    pub fn push(&mut self, address: A) -> bool {
        self.addresses.insert(address)
    }

    /// Forgets a change; false if there was none.
    pub fn cancel(&mut self, address: &A) -> bool {
        self.addresses.remove(address)
    }

    /// Whether a change is noted.
    pub fn contains(&self, address: &A) -> bool {
        self.addresses.contains(address)
    }

    /// Each changed address, in order; none is noted afterwards.
    pub fn take(&mut self) -> Vec<A> {
        let mut list: Vec<A> = std::mem::take(&mut self.addresses).into_iter().collect();
        list.sort_unstable();
        list
    }
}

// === impl Spaces ===

impl<V> Spaces<V> {
    pub fn get(&self, space: &Space) -> Option<&Slot<V>> {
        match self {
            Spaces::One(only, slot) => (only == space).then_some(slot),
            Spaces::Many(slots) => slots.get(space),
        }
    }

    pub fn get_mut(&mut self, space: &Space) -> Option<&mut Slot<V>> {
        match self {
            Spaces::One(only, slot) => (only == space).then_some(slot),
            Spaces::Many(slots) => slots.get_mut(space),
        }
    }

    /// Puts `slot`; answers what was there.
    pub fn insert(&mut self, space: Space, slot: Slot<V>) -> Option<Slot<V>> {
        match self {
            Spaces::One(only, old) if *only == space => Some(std::mem::replace(old, slot)),
            Spaces::Many(slots) => slots.insert(space, slot),
            Spaces::One(..) => {
                if let Spaces::One(only, old) = std::mem::replace(self, Spaces::Many(BTreeMap::new())) {
                    *self = Spaces::Many(BTreeMap::from([(only, old), (space, slot)]));
                }
                None
            }
        }
    }

    /// In order of space; `range` does not end before it starts.
    pub fn range(&self, range: SpaceRange) -> Box<dyn DoubleEndedIterator<Item = (&Space, &Slot<V>)> + '_> {
        match self {
            Spaces::One(space, slot) => Box::new(range.contains(space).then_some((space, slot)).into_iter()),
            Spaces::Many(slots) => Box::new(slots.range(range)),
        }
    }
}

// === impl GroupSlots ===

impl<V> GroupSlots<V> {
    pub fn new() -> Self {
        Self { keys: HashMap::default(), changed: Changes::default(), memory: 0, disk: 0, restored_watermark: i64::MIN }
    }

    /// Whether there is no entry, in memory or on disk.
    pub fn is_empty(&self) -> bool {
        self.memory + self.disk == 0
    }

    pub fn get(&self, key: &Key, space: &Space) -> Option<&Slot<V>> {
        self.keys.get(key)?.get(space)
    }

    pub fn get_mut(&mut self, key: &Key, space: &Space) -> Option<&mut Slot<V>> {
        self.keys.get_mut(key)?.get_mut(space)
    }

    /// Puts `slot`; answers what was there.
    pub fn insert(&mut self, key: &Key, space: &Space, slot: Slot<V>) -> Option<Slot<V>> {
        let old = match self.keys.get_mut(key) {
            Some(spaces) => spaces.insert(space.clone(), slot),
            None => {
                self.keys.insert(key.clone(), Spaces::One(space.clone(), slot));
                None
            }
        };
        self.memory += usize::from(old.is_none());
        old
    }

    /// Takes the slot out of memory.
    pub fn remove(&mut self, key: &Key, space: &Space) -> Option<Slot<V>> {
        let removed = match self.keys.get_mut(key)? {
            Spaces::Many(slots) if slots.len() > 1 => slots.remove(space)?,
            spaces => {
                spaces.get(space)?;
                match self.keys.remove(key)? {
                    Spaces::One(_, slot) => slot,
                    Spaces::Many(slots) => slots.into_values().next()?,
                }
            }
        };
        self.memory -= 1;
        Some(removed)
    }

    /// Unmarks every entry as not used since now.
    pub fn unmark(&mut self) {
        self.keys.values_mut().for_each(|spaces| match spaces {
            Spaces::One(_, slot) => slot.referenced = false,
            Spaces::Many(slots) => slots.values_mut().for_each(|slot| slot.referenced = false),
        });
    }

    /// Every entry in memory, in order of key and space.
    pub fn sorted(&self) -> Vec<(&Key, &Space, &Slot<V>)> {
        let mut keys: Vec<(&Key, &Spaces<V>)> = self.keys.iter().collect();
        keys.sort_unstable_by_key(|(key, _)| *key);
        let mut entries = Vec::with_capacity(self.memory);
        for (key, spaces) in keys {
            entries.extend(spaces.range(ALL).map(|(space, slot)| (key, space, slot)));
        }
        entries
    }
}
