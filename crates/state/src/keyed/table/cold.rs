//! Entries that a table does not hold in memory: when they go, and how they come back.
//!
//! All tables of one operator in one subtask share a budget. A table over it sends away what was not used since the clock's
//! hand last passed, a whole key group at a time, so that what goes does not depend on the order of a hash map. An entry
//! that comes back keeps its copy on disk until it changes; going again unchanged then costs nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use forebay_core::key_group::KeyGroup;
use forebay_core::{Error, Kind, Result};

use super::super::bytes::put_time;
use super::super::changes::Mark;
use super::super::settings::StateBug;
use super::super::slots::{Slot, SpaceRange, Spilled};
use super::super::space::Space;
use super::super::spill::SpillTable;
use super::super::value::StateValue;
use super::StateTable;
use super::address::{address, address_range, read_address};
use super::bytes::read_cold;
use forebay_core::keys::Key;
use forebay_core::time::EventTime;

/// What an entry costs beside key, space and value: its slot, its place in the map, its share of unused room.
const ENTRY_BYTES: usize = 96;

/// The part of a table that may lie on disk.
pub(in super::super) struct Cold {
    store: Box<dyn SpillTable>,
    budget: Arc<Budget>,
    /// What this table holds of the budget.
    bytes: usize,
    hand: usize,
}

/// Bytes that the tables of one operator in one subtask may take in memory.
#[derive(Debug)]
pub(in super::super) struct Budget {
    pub bytes_max: usize,
    pub tables: AtomicUsize,
    pub used: AtomicUsize,
}

// === impl Cold ===

impl Cold {
    pub fn new(store: Box<dyn SpillTable>, budget: Arc<Budget>) -> Self {
        budget.tables.fetch_add(1, Relaxed);
        Self { store, budget, bytes: 0, hand: 0 }
    }

    /// Brings the account of an entry up to date.
    pub fn account<V: StateValue>(&mut self, slot: &mut Slot<V>, key: &Key, space: &Space) {
        let size = ENTRY_BYTES + key.as_bytes().len() + space.heap_bytes() + slot.value.size_bytes();
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        self.change(slot.size, size);
        slot.size = size;
    }

    fn change(&mut self, before: u32, after: u32) {
        let (before, after) = (before as usize, after as usize);
        self.bytes = self.bytes + after - before;
        if after != before {
            // The tables of a subtask's operator are driven by one thread: nobody else writes in between.
            let used = self.budget.used.load(Relaxed);
            self.budget.used.store(used + after - before, Relaxed);
        }
    }

    /// Forgets an entry that was removed.
    pub fn forget<V>(
        &mut self,
        group: KeyGroup,
        key: &Key,
        space: &Space,
        slot: &Slot<V>,
        keeps_copy: bool,
    ) -> Result<()> {
        self.change(slot.size, 0);
        if slot.spilled == Spilled::No || keeps_copy { Ok(()) } else { self.store.remove(&address(group, key, space)) }
    }

    /// Whether this table has to give something up: all tables together are over, and this one has more than its share.
    fn is_over(&self) -> bool {
        let share = self.budget.bytes_max / self.budget.tables.load(Relaxed).max(1);
        self.budget.used.load(Relaxed) > self.budget.bytes_max && self.bytes > share
    }

    /// Whether it has given up enough: a tenth more than it had to, so that not every access gives something up.
    fn is_relieved(&self) -> bool {
        let share = self.budget.bytes_max / self.budget.tables.load(Relaxed).max(1);
        let enough = self.budget.bytes_max - self.budget.bytes_max / 10;
        self.budget.used.load(Relaxed) <= enough || self.bytes <= share - share / 10
    }

    pub fn scan(&mut self, from: &[u8], until: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.store.scan(from, until)
    }

    pub fn get(&mut self, group: KeyGroup, key: &Key, space: &Space) -> Result<Option<Vec<u8>>> {
        self.store.get(&address(group, key, space))
    }
}

impl Drop for Cold {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Relaxed);
        self.budget.tables.fetch_sub(1, Relaxed);
    }
}

// === impl StateTable ===

impl<V: StateValue> StateTable<V> {
    /// Makes the entry, if there is one, lie in memory; gives up others first if there is no room.
    pub(super) fn warm(&mut self, place: usize, key: &Key, space: &Space) -> Result<()> {
        self.relieve()?;
        let group = self.group_at(place);
        let Some(cold) = &mut self.cold else { return Ok(()) };
        if self.slots[place].disk == 0 || self.slots[place].get(key, space).is_some() {
            return Ok(());
        }
        match cold.get(group, key, space)? {
            Some(bytes) => self.bring_back(place, key, space, &bytes),
            None => Ok(()),
        }
    }

    /// Makes the key's entries in `range` lie in memory.
    pub(super) fn warm_range(&mut self, place: usize, key: &Key, range: &SpaceRange) -> Result<()> {
        self.relieve()?;
        let group = self.group_at(place);
        let Some(cold) = &mut self.cold else { return Ok(()) };
        if self.slots[place].disk == 0 {
            return Ok(());
        }
        let (from, until) = address_range(group, key, range);
        for (address, bytes) in cold.scan(&from, &until)? {
            let (key, space) = read_address(&address).map_err(|reason| self.lost(reason))?;
            if self.slots[place].get(&key, &space).is_none() {
                self.bring_back(place, &key, &space, &bytes)?;
            }
        }
        Ok(())
    }

    fn bring_back(&mut self, place: usize, key: &Key, space: &Space, bytes: &[u8]) -> Result<()> {
        let (written, value) = read_cold(bytes).map_err(|reason| self.lost(reason))?;
        let value = V::decode(value)?;
        let mut slot =
            Slot { value, written, size: 0, mark: Mark::default(), referenced: true, spilled: Spilled::Same };
        if let Some(cold) = &mut self.cold {
            cold.account(&mut slot, key, space);
        }
        self.slots[place].disk -= 1;
        self.slots[place].insert(key, space, slot);
        Ok(())
    }

    /// Sends entries away until the table is within its budget. Twice round is enough: once unmarks, once sends.
    pub(super) fn relieve(&mut self) -> Result<()> {
        if !self.cold.as_ref().is_some_and(Cold::is_over) {
            return Ok(());
        }
        for _ in 0..2 * self.slots.len() {
            let Some(cold) = &mut self.cold else { return Ok(()) };
            if cold.is_relieved() {
                return Ok(());
            }
            cold.hand = (cold.hand + 1) % self.slots.len();
            let place = cold.hand;
            self.send_away(place)?;
        }
        Ok(())
    }

    /// Sends away the unused entries of a group, and unmarks the others.
    fn send_away(&mut self, place: usize) -> Result<()> {
        let group = self.group_at(place);
        let Some(cold) = &mut self.cold else { return Ok(()) };
        let mut unused = Vec::new();
        for (key, space, slot) in self.slots[place].sorted() {
            if slot.referenced {
                continue;
            }
            let keeps_copy = slot.spilled == Spilled::Stale && self.bug == Some(StateBug::KeepStaleCopy);
            if slot.spilled != Spilled::Same && !keeps_copy {
                let mut bytes = Vec::new();
                let written = (slot.written != i64::MIN).then_some(EventTime(slot.written));
                put_time(&mut bytes, written);
                slot.value.encode(&mut bytes);
                cold.store.put(&address(group, key, space), &bytes)?;
            }
            unused.push((key.clone(), space.clone()));
        }
        for (key, space) in unused {
            if let Some(slot) = self.slots[place].remove(&key, &space) {
                cold.change(slot.size, 0);
                self.slots[place].disk += 1;
                self.slots[place].changed.left(slot.mark);
            }
        }
        self.slots[place].unmark();
        Ok(())
    }

    pub(super) fn group_at(&self, place: usize) -> KeyGroup {
        KeyGroup(self.owned.start + place as u16)
    }

    pub(super) fn lost(&self, reason: String) -> Error {
        Error::new(Kind::Corrupt, "read spilled state")
            .with("operator", &self.operator)
            .with("state", self.spec.name)
            .source(reason)
    }
}
