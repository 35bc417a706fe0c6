//! Event-time timers of one operator: "call me for this key when the watermark reaches this time".
//!
//! A timer is unique by (time, key, space): setting it twice sets it once. Timers lie in memory, ordered by time, whatever
//! the budget of tables; in snapshots they are cut by key group like everything else.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::time::EventTime;
use forebay_core::{Error, Kind, Result};

use super::bytes::{Read, put_bytes, put_time, take_byte, take_bytes, take_time};
use super::changes::{Changes, Mark};
use super::part::{Change, Changed, Head, Part, PartKind};
use super::space::Space;
use forebay_core::keys::Key;

const VERSION: u16 = 1;
const REMOVED: u8 = 0;
const SET: u8 = 1;

/// A timer that is due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer {
    /// When it was set to fire.
    pub time: EventTime,
    /// For whom.
    pub key: Key,
    /// For which of the key's values.
    pub space: Space,
}

/// Event-time timers of one operator in one subtask.
#[derive(Debug)]
pub struct Timers {
    operator: String,
    name: &'static str,
    groups: u16,
    owned: Range<u16>,
    by_time: BTreeMap<EventTime, BTreeMap<(Key, Space), Mark>>,
    changed: Changes<Change>,
    count: usize,
}

// === impl Timers ===

impl Timers {
    pub(super) fn new(operator: &str, name: &'static str, groups: u16, owned: Range<u16>) -> Self {
        Self {
            operator: operator.to_string(),
            name,
            groups,
            owned,
            by_time: BTreeMap::new(),
            changed: Changes::default(),
            count: 0,
        }
    }

    /// Sets a timer; false if it was set already. A time at or before the watermark is due at the next [`Timers::due`].
    ///
    /// # Errors
    /// `Internal` for a key that is not of this subtask.
    pub fn set(&mut self, time: EventTime, key: &Key, space: &Space) -> Result<bool> {
        if !self.owned.contains(&key.group(self.groups).0) {
            return Err(Error::new(Kind::Internal, "set timer")
                .with("operator", &self.operator)
                .with("state", self.name)
                .source("a row went to the wrong subtask"));
        }
        match self.by_time.entry(time).or_default().entry((key.clone(), space.clone())) {
            Entry::Occupied(_) => Ok(false),
            Entry::Vacant(place) => {
                place.insert(self.changed.made(|| (time, key.clone(), space.clone())));
                self.count += 1;
                Ok(true)
            }
        }
    }

    /// Takes a timer back; false if it was not set.
    pub fn remove(&mut self, time: EventTime, key: &Key, space: &Space) -> bool {
        let Some(timers) = self.by_time.get_mut(&time) else { return false };
        let address = (key.clone(), space.clone());
        let Some(mark) = timers.remove(&address) else { return false };
        if timers.is_empty() {
            self.by_time.remove(&time);
        }
        self.count -= 1;
        self.changed.ended(mark, || (time, address.0, address.1));
        true
    }

    /// Takes the first timer that is due: set for a time at or before `watermark`. In order of time, then key, then space.
    /// Call until `None`; a timer set meanwhile comes in its place.
    pub fn due(&mut self, watermark: EventTime) -> Option<Timer> {
        let mut first = self.by_time.first_entry().filter(|first| *first.key() <= watermark)?;
        let time = *first.key();
        let ((key, space), mark) = first.get_mut().pop_first()?;
        if first.get().is_empty() {
            first.remove();
        }
        self.count -= 1;
        self.changed.ended(mark, || (time, key.clone(), space.clone()));
        Some(Timer { time, key, space })
    }

    /// The time of the first timer.
    pub fn next_time(&self) -> Option<EventTime> {
        self.by_time.first_key_value().map(|(time, _)| *time)
    }

    /// How many are set.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn is_set(&self, (time, key, space): &Change) -> bool {
        self.by_time.get(time).is_some_and(|timers| timers.contains_key(&(key.clone(), space.clone())))
    }

    /// Takes back what `put_all` or `put_changed` appended, in the order of epochs.
    pub(super) fn read_records(&mut self, group: KeyGroup, mut rest: &[u8]) -> Result<Read<()>> {
        while !rest.is_empty() {
            let (kind, (time, key, space)) = match read_record(&mut rest) {
                Ok(record) => record,
                Err(reason) => return Ok(Err(reason)),
            };
            if key.group(self.groups) != group {
                return Ok(Err("a timer's key is not of this key group".to_string()));
            }
            match kind {
                REMOVED => drop(self.remove(time, &key, &space)),
                SET => drop(self.set(time, &key, &space)?),
                other => return Ok(Err(format!("there is no kind of timer record {other}"))),
            }
        }
        Ok(Ok(()))
    }

    /// Ends a restore: nothing counts as changed. Unless there is a checkpoint to build on, changes are noted from the next
    /// barrier on.
    pub(super) fn restored(&mut self, builds_on: Option<Epoch>) {
        self.changed.take();
        if builds_on.is_none() {
            self.changed.pause();
        }
    }
}

fn read_record(rest: &mut &[u8]) -> Read<(u8, Change)> {
    let kind = take_byte(rest)?;
    let time = take_time(rest)?.unwrap_or(EventTime(i64::MIN));
    let (key, space) = (Key::new(take_bytes(rest)?), Space::new(take_bytes(rest)?));
    Ok((kind, (time, key, space)))
}

fn put_record(out: &mut Vec<u8>, kind: u8, time: EventTime, key: &Key, space: &Space) {
    out.push(kind);
    put_time(out, Some(time));
    put_bytes(out, key.as_bytes());
    put_bytes(out, space.as_bytes());
}

impl Part for Timers {
    fn head(&self) -> Head {
        Head { kind: PartKind::Timers, name: self.name, version: VERSION, codec: "timers" }
    }

    fn take_changed(&mut self) -> Changed {
        let mut changed = Changed::new();
        // In order, so that the sections of a group are.
        for change in self.changed.take() {
            changed.entry(change.1.group(self.groups)).or_default().push(change);
        }
        changed
    }

    fn watermark(&self, _group: KeyGroup) -> Option<EventTime> {
        None
    }

    fn keeps_time(&self, _group: KeyGroup) -> bool {
        false
    }

    fn put_all(&mut self, groups: &BTreeSet<KeyGroup>) -> Result<BTreeMap<KeyGroup, Vec<u8>>> {
        let mut records: BTreeMap<KeyGroup, Vec<u8>> = BTreeMap::new();
        for (time, timers) in &self.by_time {
            for (key, space) in timers.keys() {
                let group = key.group(self.groups);
                if groups.contains(&group) {
                    put_record(records.entry(group).or_default(), SET, *time, key, space);
                }
            }
        }
        Ok(records)
    }

    fn put_changed(&mut self, _group: KeyGroup, changed: &[Change], out: &mut Vec<u8>) -> Result<()> {
        for change in changed {
            let kind = if self.is_set(change) { SET } else { REMOVED };
            put_record(out, kind, change.0, &change.1, &change.2);
        }
        Ok(())
    }
}
