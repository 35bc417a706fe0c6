//! A table as bytes: the records of a snapshot, and the values of spilled entries.
//!
//! ```text
//! records = record*                     to the end; in order of key and space
//! record  = 0 key space                 removed since the checkpoint that a delta builds on
//!         | 1 key space value           put, without a time
//!         | 2 key space time value      put, last written at this event time
//! key, space, value = length bytes      length in LEB128; time: i64 little-endian microseconds
//!
//! spilled = time value                                                    time: the least number for none
//! ```

use std::collections::BTreeMap;

use forebay_core::Result;
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::time::EventTime;

use super::super::bytes::{Read, put_bytes, put_sized, put_time, take_byte, take_bytes, take_time};
use super::super::changes::Mark;
use super::super::part::Change;
use super::super::settings::StateBug;
use super::super::slots::{Slot, Spilled};
use super::super::space::Space;
use super::super::value::StateValue;
use super::StateTable;
use super::address::{group_range, read_address};
use forebay_core::keys::Key;

const REMOVED: u8 = 0;
const PUT: u8 = 1;
const PUT_AT: u8 = 2;

/// An entry wherever it lies.
pub(super) enum Entry<'a, V> {
    Live(&'a Slot<V>),
    Cold { written: i64, value: &'a [u8] },
}

impl<V> Entry<'_, V> {
    /// When it was last written; the least number if that is not known.
    pub fn written(&self) -> i64 {
        match self {
            Entry::Live(slot) => slot.written,
            Entry::Cold { written, .. } => *written,
        }
    }
}

/// Time and value of a spilled entry.
pub(super) fn read_cold(mut bytes: &[u8]) -> Read<(i64, &[u8])> {
    let written = take_time(&mut bytes)?.map_or(i64::MIN, |time| time.0);
    Ok((written, bytes))
}

// === impl StateTable ===

impl<V: StateValue> StateTable<V> {
    /// Shows every entry of a group that has not expired, in order, wherever it lies.
    pub(super) fn walk(
        &mut self,
        group: KeyGroup,
        mut visit: impl FnMut(&Key, &Space, Entry<'_, V>) -> Result<()>,
    ) -> Result<()> {
        let Some(place) = self.place_of(group) else { return Ok(()) };
        let (now, lifetime, bug) = (self.clock(place), self.lifetime(), self.bug);
        self.walk_all(group, |key, space, entry| {
            let is_skipped = bug == Some(StateBug::SkipSpilled) && matches!(entry, Entry::Cold { .. });
            if is_skipped || lifetime.is_some_and(|lifetime| lifetime.is_over(entry.written(), now)) {
                return Ok(());
            }
            visit(key, space, entry)
        })
    }

    /// Shows every entry of a group, in order, wherever it lies.
    pub(super) fn walk_all(
        &mut self,
        group: KeyGroup,
        mut visit: impl FnMut(&Key, &Space, Entry<'_, V>) -> Result<()>,
    ) -> Result<()> {
        let Some(place) = self.place_of(group) else { return Ok(()) };
        let on_disk = match &mut self.cold {
            Some(cold) if self.slots[place].disk > 0 => {
                let (from, until) = group_range(group);
                cold.scan(&from, &until)?
            }
            _ => Vec::new(),
        };
        let mut live = self.slots[place].sorted().into_iter().peekable();
        for (address, bytes) in on_disk {
            let (key, space) = read_address(&address).map_err(|reason| self.lost(reason))?;
            while let Some((live_key, live_space, slot)) = live.next_if(|(k, s, _)| (*k, *s) < (&key, &space)) {
                visit(live_key, live_space, Entry::Live(slot))?;
            }
            // What lies in memory too is newer there.
            if live.peek().is_some_and(|(k, s, _)| (*k, *s) == (&key, &space)) {
                continue;
            }
            let (written, value) = read_cold(&bytes).map_err(|reason| self.lost(reason))?;
            visit(&key, &space, Entry::Cold { written, value })?;
        }
        live.try_for_each(|(key, space, slot)| visit(key, space, Entry::Live(slot)))
    }

    pub(super) fn place_of(&self, group: KeyGroup) -> Option<usize> {
        self.owned.contains(&group.0).then(|| usize::from(group.0 - self.owned.start))
    }

    /// Appends records of every entry of a group that has not expired.
    pub(super) fn put_all_records(&mut self, group: KeyGroup, out: &mut Vec<u8>) -> Result<()> {
        let mut scratch = Vec::new();
        self.walk(group, |key, space, entry| {
            put_entry(out, &mut scratch, key, space, &entry);
            Ok(())
        })
    }

    /// Appends records of what `changed` names, as it is now.
    pub(super) fn put_changed_records(&mut self, group: KeyGroup, changed: &[Change], out: &mut Vec<u8>) -> Result<()> {
        let Some(place) = self.place_of(group) else { return Ok(()) };
        let mut scratch = Vec::new();
        for (_, key, space) in changed {
            if let Some(slot) = self.slots[place].get(key, space) {
                put_entry(out, &mut scratch, key, space, &Entry::Live(slot));
                continue;
            }
            let cold = match &mut self.cold {
                Some(cold) if self.slots[place].disk > 0 => cold.get(group, key, space)?,
                _ => None,
            };
            match cold {
                Some(bytes) => {
                    let (written, value) = read_cold(&bytes).map_err(|reason| self.lost(reason))?;
                    put_entry::<V>(out, &mut scratch, key, space, &Entry::Cold { written, value });
                }
                None if self.bug == Some(StateBug::ForgetRemovals) => {}
                None => put_head(out, REMOVED, key, space),
            }
        }
        Ok(())
    }

    /// Takes back records: what `put_all_records` or `put_changed_records` appended, in the order of epochs.
    pub(in super::super) fn read_records(
        &mut self,
        group: KeyGroup,
        version: u16,
        mut rest: &[u8],
    ) -> Result<Read<()>> {
        let older = self.spec.older.iter().find(|(older, _)| *older == version).map(|(_, decode)| *decode);
        let decode = if version == self.spec.version { V::decode } else { older.unwrap_or(V::decode) };
        while !rest.is_empty() {
            let record = match read_record(&mut rest) {
                Ok(record) => record,
                Err(reason) => return Ok(Err(reason)),
            };
            let (key, space) = (Key::new(record.key), Space::new(record.space));
            if key.group(self.groups) != group {
                return Ok(Err("a key is not of this key group".to_string()));
            }
            match record.value {
                Some(value) => self.put_back(&key, &space, decode(value)?, record.written)?,
                None => {
                    self.remove(&key, &space)?;
                }
            }
        }
        Ok(Ok(()))
    }

    /// Ends a restore: nothing counts as changed, and what had expired for this group has. Unless there is a checkpoint to build on,
    /// changes are noted from the next barrier on.
    pub(in super::super) fn restored(&mut self, watermarks: &BTreeMap<KeyGroup, EventTime>, builds_on: Option<Epoch>) {
        for (group, watermark) in watermarks {
            if let Some(place) = self.place_of(*group) {
                self.slots[place].restored_watermark = watermark.0;
            }
        }
        for group in &mut self.slots {
            group.changed.take();
            if builds_on.is_none() {
                group.changed.pause();
            }
        }
    }

    fn put_back(&mut self, key: &Key, space: &Space, value: V, written: Option<EventTime>) -> Result<()> {
        let place = self.place(key)?;
        self.warm(place, key, space)?;
        let old = self.slots[place].get(key, space).map_or((0, Spilled::No), |slot| (slot.size, slot.spilled));
        let spilled = if old.1 == Spilled::No { Spilled::No } else { Spilled::Stale };
        let stamp = written.map_or(i64::MIN, |time| time.0);
        let mut slot = Slot { value, written: stamp, size: old.0, mark: Mark::default(), referenced: false, spilled };
        if let Some(cold) = &mut self.cold {
            cold.account(&mut slot, key, space);
        }
        self.slots[place].insert(key, space, slot);
        if let (None, Some(ttl)) = (written, &mut self.ttl) {
            ttl.undated.push((key.clone(), space.clone()));
        }
        Ok(())
    }
}

struct Record<'a> {
    key: &'a [u8],
    space: &'a [u8],
    written: Option<EventTime>,
    value: Option<&'a [u8]>,
}

fn read_record<'a>(rest: &mut &'a [u8]) -> Read<Record<'a>> {
    let kind = take_byte(rest)?;
    let (key, space) = (take_bytes(rest)?, take_bytes(rest)?);
    let written = if kind == PUT_AT { take_time(rest)? } else { None };
    match kind {
        REMOVED => Ok(Record { key, space, written, value: None }),
        PUT | PUT_AT => Ok(Record { key, space, written, value: Some(take_bytes(rest)?) }),
        other => Err(format!("there is no kind of record {other}")),
    }
}

fn put_head(out: &mut Vec<u8>, kind: u8, key: &Key, space: &Space) {
    out.push(kind);
    put_bytes(out, key.as_bytes());
    put_bytes(out, space.as_bytes());
}

fn put_entry<V: StateValue>(out: &mut Vec<u8>, scratch: &mut Vec<u8>, key: &Key, space: &Space, entry: &Entry<'_, V>) {
    let written = entry.written();
    if written == i64::MIN {
        put_head(out, PUT, key, space);
    } else {
        put_head(out, PUT_AT, key, space);
        put_time(out, Some(EventTime(written)));
    }
    match entry {
        Entry::Live(slot) => put_sized(out, scratch, |out| slot.value.encode(out)),
        Entry::Cold { value, .. } => put_bytes(out, value),
    }
}
