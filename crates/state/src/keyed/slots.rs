//! What a table holds in memory: per key group a map from key to the values of its spaces.
//!
//! Keys are hashed, not ordered, because almost every access names its key; a key with one space costs no tree. Wherever an
//! order is visible (scans, iteration, snapshots) it is made: spaces are kept in order, keys are sorted when a group is walked.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::{Bound, RangeBounds};

use forebay_core::hash::hash64;

use super::changes::{Changes, Mark};
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
    /// Its place on the list of changes.
    pub mark: Mark,
    /// Used since the clock's hand last passed.
    pub referenced: bool,
    pub spilled: Spilled,
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

    /// Lets `write` change what is there, or give what is put where nothing is; true if it was put. `write` gives something
    /// exactly where it is shown nothing.
    fn write(&mut self, space: &Space, write: impl FnOnce(Option<&mut Slot<V>>) -> Option<Slot<V>>) -> bool {
        if let Spaces::One(only, slot) = self {
            if only == space {
                write(Some(slot));
                return false;
            }
            let Some(new) = write(None) else { return false };
            if let Spaces::One(only, old) = std::mem::replace(self, Spaces::Many(BTreeMap::new())) {
                *self = Spaces::Many(BTreeMap::from([(only, old), (space.clone(), new)]));
            }
            return true;
        }
        let Spaces::Many(slots) = self else { return false };
        match slots.entry(space.clone()) {
            Entry::Occupied(mut slot) => {
                write(Some(slot.get_mut()));
                false
            }
            Entry::Vacant(place) => write(None).map(|slot| place.insert(slot)).is_some(),
        }
    }

    /// All, in order of space.
    fn into_all(self) -> Vec<(Space, Slot<V>)> {
        match self {
            Spaces::One(space, slot) => vec![(space, slot)],
            Spaces::Many(slots) => slots.into_iter().collect(),
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

/// Takes `range` out of `slots`, in order.
fn take_range<V>(slots: &mut BTreeMap<Space, Slot<V>>, range: &SpaceRange) -> Vec<(Space, Slot<V>)> {
    if range.0 == Bound::Unbounded {
        let mut removed = Vec::new();
        while let Some(first) = slots.first_entry().filter(|first| range.contains(first.key())) {
            removed.push(first.remove_entry());
        }
        return removed;
    }
    let found: Vec<Space> = slots.range(range.clone()).map(|(space, _)| space.clone()).collect();
    found.into_iter().filter_map(|space| slots.remove_entry(&space)).collect()
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

    /// Puts `slot`.
    pub fn insert(&mut self, key: &Key, space: &Space, slot: Slot<V>) {
        self.write(key, space, |_, old| match old {
            Some(old) => {
                *old = slot;
                None
            }
            None => Some(slot),
        });
    }

    /// Lets `write` change what is there, or give what is put where nothing is; it is shown what changed too.
    pub fn write(
        &mut self,
        key: &Key,
        space: &Space,
        write: impl FnOnce(&mut Changes<Address>, Option<&mut Slot<V>>) -> Option<Slot<V>>,
    ) {
        let Self { keys, changed, memory, .. } = self;
        if let Some(spaces) = keys.get_mut(key) {
            *memory += usize::from(spaces.write(space, |slot| write(changed, slot)));
        } else if let Some(slot) = write(changed, None) {
            keys.insert(key.clone(), Spaces::One(space.clone(), slot));
            *memory += 1;
        }
    }

    /// Takes the key's slots in `range` out of memory, in order of space.
    pub fn remove_range(&mut self, key: &Key, range: &SpaceRange) -> Vec<(Space, Slot<V>)> {
        let Some(spaces) = self.keys.get_mut(key) else { return Vec::new() };
        let removed = match spaces {
            Spaces::Many(slots) => {
                let removed = take_range(slots, range);
                if slots.is_empty() {
                    self.keys.remove(key);
                }
                removed
            }
            Spaces::One(only, _) if range.contains(only) => {
                self.keys.remove(key).map_or_else(Vec::new, Spaces::into_all)
            }
            Spaces::One(..) => Vec::new(),
        };
        self.memory -= removed.len();
        removed
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
