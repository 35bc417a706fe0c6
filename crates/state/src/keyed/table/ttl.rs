//! Expiry in event time: an entry is gone once the watermark is after its last write plus the table's TTL.
//!
//! An expired entry is never shown. It is removed when it is asked for, and by a hand that goes round all key groups once
//! in a quarter of the TTL, so that what nobody asks for goes too, a few groups at each watermark.

use std::time::Duration;

use forebay_core::Result;
use forebay_core::time::EventTime;

use super::super::settings::StateBug;
use super::super::slots::Address;
use super::super::space::Space;
use super::super::value::StateValue;
use super::StateTable;
use forebay_core::keys::Key;

/// How often the hand goes round within one TTL.
const ROUNDS: i64 = 4;

/// How long an entry lives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetime {
    micros: i64,
    bug: Option<StateBug>,
}

/// Expiry of one table.
#[derive(Debug)]
pub(super) struct Ttl {
    lifetime: Lifetime,
    watermark: Option<EventTime>,
    /// Entries that were written before the first watermark and without a time.
    pub undated: Vec<Address>,
    /// The next group that the hand looks at.
    hand: usize,
    /// Up to where in event time the hand has done its work.
    swept: i64,
}

// === impl Lifetime ===

impl Lifetime {
    /// Whether an entry written at `written` has expired at `now`.
    pub fn is_over(self, written: i64, now: i64) -> bool {
        let now = if self.bug == Some(StateBug::ExpireEarly) { now.saturating_add(1) } else { now };
        written != i64::MIN && now > written.saturating_add(self.micros)
    }
}

// === impl Ttl ===

impl Ttl {
    pub fn new(ttl: Duration, bug: Option<StateBug>) -> Self {
        let micros = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
        Self { lifetime: Lifetime { micros, bug }, watermark: None, undated: Vec::new(), hand: 0, swept: i64::MIN }
    }

    /// How many of `groups` groups the hand must look at for the watermark `now`.
    fn groups_due(&mut self, now: i64, groups: usize) -> usize {
        if self.swept == i64::MIN {
            self.swept = now;
        }
        let step = (self.lifetime.micros / ROUNDS / (groups.max(1) as i64)).max(1);
        let due = now.saturating_sub(self.swept) / step;
        self.swept = self.swept.saturating_add(due.saturating_mul(step));
        (due as usize).min(groups)
    }
}

// === impl StateTable ===

impl<V: StateValue> StateTable<V> {
    /// Tells the table the watermark; call at every watermark in a table with a TTL, harmless in others.
    ///
    /// # Errors
    /// See the type.
    pub fn advance(&mut self, watermark: EventTime) -> Result<()> {
        let Some(ttl) = &mut self.ttl else { return Ok(()) };
        ttl.watermark = ttl.watermark.max(Some(watermark));
        for (key, space) in std::mem::take(&mut ttl.undated) {
            let place = self.reach(&key, &space)?;
            if self.slots[place].get(&key, &space).is_some_and(|slot| slot.written == i64::MIN) {
                self.get_mut(&key, &space)?;
            }
        }
        let groups = self.slots.len();
        let Some(ttl) = &mut self.ttl else { return Ok(()) };
        let due = ttl.groups_due(watermark.0, groups);
        for place in (ttl.hand..ttl.hand + due).map(|place| place % groups).collect::<Vec<_>>() {
            self.sweep(place)?;
        }
        if let Some(ttl) = &mut self.ttl {
            ttl.hand = (ttl.hand + due) % groups.max(1);
        }
        Ok(())
    }

    /// How long entries live, if not for ever.
    pub(super) fn lifetime(&self) -> Option<Lifetime> {
        self.ttl.as_ref().map(|ttl| ttl.lifetime)
    }

    /// The watermark that decides what has expired in a group.
    pub(super) fn clock(&self, place: usize) -> i64 {
        let watermark = self.ttl.as_ref().and_then(|ttl| ttl.watermark).map_or(i64::MIN, |watermark| watermark.0);
        watermark.max(self.slots[place].restored_watermark)
    }

    /// When a write counts that happens now.
    pub(super) fn write_time(&self, time: Option<EventTime>) -> i64 {
        let Some(ttl) = &self.ttl else { return i64::MIN };
        time.or(ttl.watermark).map_or(i64::MIN, |time| time.0)
    }

    /// Removes the entry if it lies in memory and has expired.
    pub(super) fn expire(&mut self, place: usize, key: &Key, space: &Space) -> Result<()> {
        let now = self.clock(place);
        let (Some(slot), Some(lifetime)) = (self.slots[place].get(key, space), self.lifetime()) else { return Ok(()) };
        if lifetime.is_over(slot.written, now) {
            self.take(place, key, space)?;
        }
        Ok(())
    }

    /// Removes what has expired in a group.
    fn sweep(&mut self, place: usize) -> Result<()> {
        let (now, group) = (self.clock(place), self.group_at(place));
        let Some(lifetime) = self.lifetime() else { return Ok(()) };
        let mut expired = Vec::new();
        self.walk_all(group, |key, space, entry| {
            if lifetime.is_over(entry.written(), now) {
                expired.push((key.clone(), space.clone()));
            }
            Ok(())
        })?;
        for (key, space) in expired {
            self.warm(place, &key, &space)?;
            self.take(place, &key, &space)?;
        }
        Ok(())
    }
}
