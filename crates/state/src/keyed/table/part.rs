//! A table as a part of a snapshot.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::Result;
use forebay_core::key_group::KeyGroup;
use forebay_core::time::EventTime;

use super::super::part::{Change, Changed, Head, Part, PartKind};
use super::super::value::StateValue;
use super::StateTable;

impl<V: StateValue> Part for StateTable<V> {
    fn head(&self) -> Head {
        Head { kind: PartKind::Table, name: self.spec.name, version: self.spec.version, codec: V::CODEC }
    }

    fn take_changed(&mut self) -> Changed {
        let groups = self.owned.clone().map(KeyGroup).zip(&mut self.slots);
        let changed = groups.map(|(group, slots)| (group, slots.changed.take()));
        let changed = changed.filter(|(_, changed)| !changed.is_empty());
        let at = |(key, space)| (EventTime(0), key, space);
        changed.map(|(group, changed)| (group, changed.into_iter().map(at).collect())).collect()
    }

    fn watermark(&self, group: KeyGroup) -> Option<EventTime> {
        let watermark = self.place_of(group).map(|place| self.clock(place));
        watermark.filter(|micros| *micros != i64::MIN).map(EventTime)
    }

    fn keeps_time(&self, group: KeyGroup) -> bool {
        self.ttl.is_some() && self.place_of(group).is_some_and(|place| !self.slots[place].is_empty())
    }

    fn put_all(&mut self, groups: &BTreeSet<KeyGroup>) -> Result<BTreeMap<KeyGroup, Vec<u8>>> {
        let mut records = BTreeMap::new();
        for group in groups {
            let mut out = Vec::new();
            self.put_all_records(*group, &mut out)?;
            records.insert(*group, out);
        }
        Ok(records)
    }

    fn put_changed(&mut self, group: KeyGroup, changed: &[Change], out: &mut Vec<u8>) -> Result<()> {
        self.put_changed_records(group, changed, out)
    }
}
