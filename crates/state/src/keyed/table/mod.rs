//! A table of one operator's state: `(key, space) -> value`, live in memory, cut by key group.
//!
//! The three usual forms are uses of it. **Value state**: [`Space::EMPTY`]. **Map state**: the map's key as space.
//! **List state**: [`Space::of_number`] with a growing number, or [`Space::of_time_and`] for rows in order of time;
//! [`StateTable::append`] finds the next number.
//!
//! Nothing here reads a clock: expiry follows the watermark that [`StateTable::advance`] is told.

mod address;
mod bytes;
pub(super) mod cold;
mod part;
mod spec;
mod ttl;

use std::ops::{Range, RangeBounds};

use forebay_core::key_group::KeyGroup;
use forebay_core::operator::Identity;
use forebay_core::time::EventTime;
use forebay_core::{Error, Kind, Result};

use super::changes::Mark;
use super::settings::StateBug;
use super::slots::{GroupSlots, Slot, Spilled, space_range};
use super::space::Space;
use super::value::StateValue;
use cold::Cold;
use forebay_core::keys::Key;
pub use spec::TableSpec;
use ttl::Ttl;

/// State of one operator in one subtask: `(key, space) -> V`.
///
/// Keys outside the subtask's key groups are refused as `Internal`: a row went to the wrong subtask. Every method may fail as
/// [`SpillTable`](super::SpillTable) does where cold entries are on disk.
pub struct StateTable<V> {
    operator: String,
    spec: TableSpec<V>,
    groups: u16,
    owned: Range<u16>,
    slots: Vec<GroupSlots<V>>,
    ttl: Option<Ttl>,
    cold: Option<Cold>,
    bug: Option<StateBug>,
}

// === impl StateTable ===

impl<V: StateValue> StateTable<V> {
    pub(super) fn new(identity: &Identity, spec: TableSpec<V>, cold: Option<Cold>, bug: Option<StateBug>) -> Self {
        let (operator, groups, owned) = (identity.uid.clone(), identity.groups, identity.key_groups());
        let ttl = spec.ttl.map(|ttl| Ttl::new(ttl, bug));
        let slots = owned.clone().map(|_| GroupSlots::new()).collect();
        Self { operator, spec, groups, owned, slots, ttl, cold, bug }
    }

    /// The value, if there is one that has not expired.
    ///
    /// # Errors
    /// See the type.
    pub fn get(&mut self, key: &Key, space: &Space) -> Result<Option<&V>> {
        let place = self.reach(key, space)?;
        let slot = self.slots[place].get_mut(key, space);
        Ok(slot.map(|slot| {
            slot.referenced = true;
            &slot.value
        }))
    }

    /// The value to be changed in place: it counts as written now, at the watermark.
    ///
    /// # Errors
    /// See the type.
    pub fn get_mut(&mut self, key: &Key, space: &Space) -> Result<Option<&mut V>> {
        self.get_mut_at(key, space, None)
    }

    /// [`StateTable::get_mut`] with the event time of the row that changes the value, as [`StateTable::insert_at`] takes it;
    /// `None`: the watermark.
    ///
    /// # Errors
    /// See the type.
    pub fn get_mut_at(&mut self, key: &Key, space: &Space, time: Option<EventTime>) -> Result<Option<&mut V>> {
        let place = self.reach(key, space)?;
        let now = self.write_time(time);
        let group = &mut self.slots[place];
        let Some(slot) = group.keys.get_mut(key).and_then(|spaces| spaces.get_mut(space)) else { return Ok(None) };
        group.changed.changed(&mut slot.mark, || (key.clone(), space.clone()));
        slot.touch(now);
        if let Some(cold) = &mut self.cold {
            cold.account(slot, key, space);
        }
        Ok(Some(&mut slot.value))
    }

    /// The value to be changed in place, made by `make` if there is none: one look-up for accumulators.
    ///
    /// # Errors
    /// See the type.
    pub fn get_or_insert_with(&mut self, key: &Key, space: &Space, make: impl FnOnce() -> V) -> Result<&mut V> {
        if self.get_mut(key, space)?.is_none() {
            self.insert(key, space, make())?;
        }
        let place = self.place(key)?;
        let slot = self.slots[place].get_mut(key, space);
        Ok(slot.map(|slot| &mut slot.value).expect("it was there or has just been inserted"))
    }

    /// Writes the value, at the watermark.
    ///
    /// # Errors
    /// See the type.
    pub fn insert(&mut self, key: &Key, space: &Space, value: V) -> Result<()> {
        self.write(key, space, value, None)
    }

    /// Writes the value with the event time of the row that wrote it: in a table with a TTL the entry expires that long
    /// after it. The time never goes back: a write at an earlier time than the last keeps the last. Without a time
    /// ([`StateTable::insert`], [`StateTable::get_mut`]) a write counts at the watermark, before the first watermark at
    /// the first watermark.
    ///
    /// # Errors
    /// See the type.
    pub fn insert_at(&mut self, key: &Key, space: &Space, value: V, time: EventTime) -> Result<()> {
        self.write(key, space, value, Some(time))
    }

    /// Writes the value behind all others of the key and answers its number: list state.
    ///
    /// # Errors
    /// See the type; `Internal` if the key's last space is no [`Space::of_number`].
    pub fn append(&mut self, key: &Key, value: V) -> Result<u64> {
        let last = self.scan(key)?.next_back().map(|(space, _)| space.number());
        let number = match last {
            None => 0,
            Some(Some(number)) => number + 1,
            Some(None) => return Err(self.error(Kind::Internal, "append to a key whose spaces are no numbers")),
        };
        self.insert(key, &Space::of_number(number), value)?;
        Ok(number)
    }

    /// Removes the value and answers it.
    ///
    /// # Errors
    /// See the type.
    pub fn remove(&mut self, key: &Key, space: &Space) -> Result<Option<V>> {
        let place = self.reach(key, space)?;
        self.take(place, key, space)
    }

    /// Removes the key's values in `range` and answers them in order of space.
    ///
    /// # Errors
    /// See the type.
    pub fn remove_range(&mut self, key: &Key, range: impl RangeBounds<Space>) -> Result<Vec<(Space, V)>> {
        let place = self.place(key)?;
        let Some(range) = space_range(&range) else { return Ok(Vec::new()) };
        self.warm_range(place, key, &range)?;
        let (now, lifetime) = (self.clock(place), self.lifetime());
        let mut removed = self.slots[place].remove_range(key, &range);
        for (space, slot) in &removed {
            self.taken(place, key, space, slot)?;
        }
        removed.retain(|(_, slot)| !lifetime.is_some_and(|lifetime| lifetime.is_over(slot.written, now)));
        Ok(removed.into_iter().map(|(space, slot)| (space, slot.value)).collect())
    }

    /// Every value of the key, in order of space.
    ///
    /// # Errors
    /// See the type.
    pub fn scan(&mut self, key: &Key) -> Result<impl DoubleEndedIterator<Item = (&Space, &V)>> {
        self.scan_range(key, ..)
    }

    /// The key's values in `range`, in order of space.
    ///
    /// # Errors
    /// See the type.
    pub fn scan_range(
        &mut self,
        key: &Key,
        range: impl RangeBounds<Space>,
    ) -> Result<impl DoubleEndedIterator<Item = (&Space, &V)>> {
        let place = self.place(key)?;
        let range = space_range(&range);
        if let Some(range) = &range {
            self.warm_range(place, key, range)?;
        }
        let now = self.clock(place);
        let lifetime = self.lifetime();
        let spaces = range.and_then(|range| Some(self.slots[place].keys.get(key)?.range(range)));
        let found = spaces.into_iter().flatten();
        let alive =
            found.filter(move |(_, slot)| !lifetime.is_some_and(|lifetime| lifetime.is_over(slot.written, now)));
        Ok(alive.map(|(space, slot)| (space, &slot.value)))
    }

    /// Shows every value of a key group, in order of key, then space. Values on disk are read and not kept.
    ///
    /// # Errors
    /// See the type, and those of `visit`, which end the walk.
    pub fn visit_group(
        &mut self,
        group: KeyGroup,
        mut visit: impl FnMut(&Key, &Space, &V) -> Result<()>,
    ) -> Result<()> {
        self.walk(group, |key, space, entry| match entry {
            bytes::Entry::Live(slot) => visit(key, space, &slot.value),
            bytes::Entry::Cold { value, .. } => visit(key, space, &V::decode(value)?),
        })
    }

    /// The key groups that this table is responsible for.
    pub fn key_groups(&self) -> impl Iterator<Item = KeyGroup> + use<V> {
        self.owned.clone().map(KeyGroup)
    }

    /// How many entries there are, in memory and on disk, expired ones that were not yet removed included.
    pub fn len(&self) -> usize {
        self.slots.iter().map(|group| group.memory + group.disk).sum()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn write(&mut self, key: &Key, space: &Space, value: V, time: Option<EventTime>) -> Result<()> {
        let place = self.reach(key, space)?;
        let now = self.write_time(time);
        let (cold, ttl) = (&mut self.cold, &mut self.ttl);
        self.slots[place].write(key, space, |changed, old| {
            let mut end = |slot: &mut Slot<V>| {
                slot.touch(now);
                if let Some(cold) = cold {
                    cold.account(slot, key, space);
                }
                if slot.written == i64::MIN
                    && let Some(ttl) = ttl
                {
                    ttl.undated.push((key.clone(), space.clone()));
                }
            };
            if let Some(slot) = old {
                slot.value = value;
                changed.changed(&mut slot.mark, || (key.clone(), space.clone()));
                end(slot);
                return None;
            }
            let mut slot = Slot::new(value, changed.made(|| (key.clone(), space.clone())));
            end(&mut slot);
            Some(slot)
        });
        Ok(())
    }

    /// Takes an entry out of memory and disk and notes the change.
    fn take(&mut self, place: usize, key: &Key, space: &Space) -> Result<Option<V>> {
        let Some(slot) = self.slots[place].remove(key, space) else { return Ok(None) };
        self.taken(place, key, space, &slot)?;
        Ok(Some(slot.value))
    }

    /// Notes that an entry was taken out of memory, and takes it from disk too.
    fn taken(&mut self, place: usize, key: &Key, space: &Space, slot: &Slot<V>) -> Result<()> {
        self.slots[place].changed.ended(slot.mark, || (key.clone(), space.clone()));
        if let Some(cold) = &mut self.cold {
            let group = KeyGroup(self.owned.start + place as u16);
            cold.forget(group, key, space, slot, self.bug == Some(StateBug::ForgetDiskCopy))?;
        }
        Ok(())
    }

    /// Makes the entry, if there is one, lie in memory and not be expired; answers the place of its group.
    fn reach(&mut self, key: &Key, space: &Space) -> Result<usize> {
        let place = self.place(key)?;
        if self.cold.is_some() {
            self.warm(place, key, space)?;
        }
        if self.ttl.is_some() {
            self.expire(place, key, space)?;
        }
        Ok(place)
    }

    fn place(&self, key: &Key) -> Result<usize> {
        let group = key.group(self.groups);
        if !self.owned.contains(&group.0) {
            return Err(self.error(Kind::Internal, "a row went to the wrong subtask").with("key_group", group.0));
        }
        Ok(usize::from(group.0 - self.owned.start))
    }

    fn error(&self, kind: Kind, reason: &'static str) -> Error {
        Error::new(kind, "use state").with("operator", &self.operator).with("state", self.spec.name).source(reason)
    }
}

impl<V> Slot<V> {
    /// A value that was never written to disk and has no time yet.
    fn new(value: V, mark: Mark) -> Self {
        Self { value, written: i64::MIN, size: 0, mark, referenced: true, spilled: Spilled::No }
    }

    /// Notes a write at `now`.
    fn touch(&mut self, now: i64) {
        self.written = self.written.max(now);
        self.referenced = true;
        if self.spilled == Spilled::Same {
            self.spilled = Spilled::Stale;
        }
    }
}
