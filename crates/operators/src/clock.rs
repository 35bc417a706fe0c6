//! The watermark that each key group of an operator has seen, kept in state: what was late before a restart is late after
//! it.
//!
//! After a restore a subtask may own groups that came from several, and those need not have seen the same watermark. Each
//! group's watermark is a value of its state, under a key that is found by trying numbers until one falls into the group.

use forebay_core::Result;
use forebay_core::key_group::KeyGroup;
use forebay_core::keys::Key;
use forebay_core::operator::Identity;
use forebay_core::time::EventTime;
use forebay_state::keyed::{KeyedState, Space, StatePart, StateTable, TableSpec};

/// See the module.
pub(crate) struct Clock {
    table: StateTable<i64>,
    /// A key of each owned group.
    keys: Vec<Key>,
    /// The first owned group, and how many there are in all.
    first: u16,
    groups: u16,
    /// What each group had seen when it was restored; empty when all of it is in the past.
    restored: Vec<EventTime>,
    seen: EventTime,
}

// === impl Clock ===

impl Clock {
    /// The clock `name` of the operator whose state this is; one that `forgets` is a planted bug.
    ///
    /// # Errors
    /// Those of [`KeyedState::table`].
    pub fn open(state: &mut KeyedState, name: &'static str, identity: &Identity, forgets: bool) -> Result<Self> {
        let mut table = state.table(TableSpec::new(name, 1))?;
        let keys = keys_of_groups(identity);
        let mut restored = Vec::with_capacity(keys.len());
        for key in &keys {
            let seen = table.get(key, &Space::EMPTY)?.copied();
            restored.push(EventTime(seen.filter(|_| !forgets).unwrap_or(i64::MIN)));
        }
        if restored.iter().all(|restored| *restored == EventTime::MIN) {
            restored = Vec::new();
        }
        let (first, groups) = (identity.key_groups().start, identity.groups);
        Ok(Self { table, keys, first, groups, restored, seen: EventTime::MIN })
    }

    /// The watermark moves to `watermark`; never back.
    pub fn advance(&mut self, watermark: EventTime) {
        self.seen = self.seen.max(watermark);
        if self.restored.iter().all(|restored| *restored <= self.seen) {
            self.restored = Vec::new();
        }
    }

    /// The watermark of rows with `key`.
    pub fn of(&self, key: &Key) -> EventTime {
        if self.restored.is_empty() { self.seen } else { self.of_group(key.group(self.groups)) }
    }

    /// The watermark that a row is held against: that of its key, without a key the newest.
    pub fn of_row(&self, key: Option<&Key>) -> EventTime {
        let newest = || self.restored.iter().copied().fold(self.seen, EventTime::max);
        key.map_or_else(newest, |key| self.of(key))
    }

    /// What goes into the snapshot, brought up to date.
    ///
    /// # Errors
    /// Those of [`StateTable`].
    pub fn part(&mut self) -> Result<&mut dyn StatePart> {
        for (place, key) in self.keys.iter().enumerate() {
            let watermark = self.of_group(KeyGroup(self.first + place as u16));
            if watermark > EventTime::MIN && self.table.get(key, &Space::EMPTY)? != Some(&watermark.0) {
                self.table.insert(key, &Space::EMPTY, watermark.0)?;
            }
        }
        Ok(&mut self.table)
    }

    fn of_group(&self, group: KeyGroup) -> EventTime {
        let place = usize::from(group.0.saturating_sub(self.first));
        self.restored.get(place).map_or(self.seen, |restored| self.seen.max(*restored))
    }
}

/// For each owned group the first number whose bytes fall into it, as key.
fn keys_of_groups(identity: &Identity) -> Vec<Key> {
    let owned = identity.key_groups();
    let mut keys: Vec<Option<Key>> = vec![None; owned.len()];
    let mut missing = keys.len();
    for number in 0u64.. {
        if missing == 0 {
            break;
        }
        let key = Key::new(number.to_le_bytes());
        let group = key.group(identity.groups).0;
        if owned.contains(&group) && keys[usize::from(group - owned.start)].is_none() {
            keys[usize::from(group - owned.start)] = Some(key);
            missing -= 1;
        }
    }
    keys.into_iter().flatten().collect()
}
