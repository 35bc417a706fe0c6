//! The bound on rows that wait: full means backpressure and, only where allowed, refusing rows.
//!
//! Counts what is queued (accepted, unsent) and what is held (accepted, not settled) and says full or room, with a gap
//! between the two so that it does not flicker. Where shedding is allowed it also names whom to refuse: lowest priority
//! first, and of those the newest deadline, which has most time to be asked elsewhere. Never refuses a row by itself.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

/// Bounds of the backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BacklogSettings {
    /// Rows that may be queued.
    pub rows_max: usize,
    /// Bytes that may be queued.
    pub bytes_max: usize,
    /// Rows that may be queued, in flight, or finished and waiting for their turn.
    pub held_max: usize,
    /// Rows above the bounds are refused, instead of only being reported as full.
    pub shed: bool,
}

/// What is queued and held.
#[derive(Debug)]
pub struct Backlog<Id> {
    settings: BacklogSettings,
    rows: usize,
    bytes: usize,
    held: usize,
    full: bool,
    /// Queued rows, the first to be shed first; empty unless shedding is allowed.
    victims: BTreeSet<Victim<Id>>,
}

/// Why a row would be refused before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Victim<Id> {
    priority: u8,
    deadline: Reverse<Duration>,
    id: Reverse<Id>,
}

// === impl BacklogSettings ===

impl Default for BacklogSettings {
    fn default() -> Self {
        Self { rows_max: 4096, bytes_max: 64 << 20, held_max: 65_536, shed: false }
    }
}

// === impl Backlog ===

impl<Id: Copy + Ord> Backlog<Id> {
    /// Empty.
    pub fn new(settings: BacklogSettings) -> Self {
        Self { settings, rows: 0, bytes: 0, held: 0, full: false, victims: BTreeSet::new() }
    }

    /// A row was accepted.
    pub fn accept(&mut self) {
        self.held += 1;
    }

    /// A row that is held has its outcome.
    pub fn settle(&mut self) {
        self.held -= 1;
    }

    /// A row that is held waits to be sent.
    pub fn enqueue(&mut self, id: Id, bytes: usize, priority: u8, deadline: Option<Duration>) {
        self.rows += 1;
        self.bytes += bytes;
        if self.settings.shed {
            self.victims.insert(Victim::new(id, priority, deadline));
        }
    }

    /// A row that waited is sent, or has its outcome.
    pub fn dequeue(&mut self, id: Id, bytes: usize, priority: u8, deadline: Option<Duration>) {
        self.rows -= 1;
        self.bytes -= bytes;
        if self.settings.shed {
            self.victims.remove(&Victim::new(id, priority, deadline));
        }
    }

    /// The row to refuse next, while there are too many and shedding is allowed.
    pub fn victim(&self) -> Option<Id> {
        let above = self.rows > self.settings.rows_max || self.bytes > self.settings.bytes_max;
        let victim = self.victims.first().filter(|_| above)?;
        Some(victim.id.0)
    }

    /// Full at the bounds, room again when a quarter is free; `Some` when that changed since it was last asked.
    pub fn changed(&mut self) -> Option<bool> {
        let was = self.full;
        let at = |used: usize, bound: usize| if was { used > bound / 4 * 3 } else { used >= bound.max(1) };
        let bounds = &self.settings;
        let full = at(self.rows, bounds.rows_max) || at(self.bytes, bounds.bytes_max) || at(self.held, bounds.held_max);
        (full != self.full).then(|| {
            self.full = full;
            full
        })
    }

    /// True from full to room.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Rows queued.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes queued.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Rows queued, in flight, or finished and waiting for their turn.
    pub fn held(&self) -> usize {
        self.held
    }
}

// === impl Victim ===

impl<Id> Victim<Id> {
    fn new(id: Id, priority: u8, deadline: Option<Duration>) -> Self {
        Self { priority, deadline: Reverse(deadline.unwrap_or(Duration::MAX)), id: Reverse(id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(shed: bool) -> Backlog<u32> {
        Backlog::new(BacklogSettings { rows_max: 4, bytes_max: 100, held_max: 8, shed })
    }

    fn second(second: u64) -> Option<Duration> {
        Some(Duration::from_secs(second))
    }

    #[test]
    fn full_at_the_bound_and_room_again_with_a_quarter_free() {
        let mut backlog = backlog(false);
        (0..3).for_each(|id| backlog.enqueue(id, 1, 0, None));
        assert_eq!(backlog.changed(), None);
        backlog.enqueue(3, 1, 0, None);
        assert_eq!((backlog.changed(), backlog.is_full()), (Some(true), true));
        assert_eq!(backlog.changed(), None);
        backlog.dequeue(0, 1, 0, None);
        assert_eq!(backlog.changed(), Some(false));
    }

    #[test]
    fn bytes_and_held_rows_are_bounded_too() {
        let mut bytes = backlog(false);
        bytes.enqueue(0, 100, 0, None);
        assert_eq!(bytes.changed(), Some(true));
        let mut held = backlog(false);
        (0..8).for_each(|_| held.accept());
        assert_eq!(held.changed(), Some(true));
        (0..2).for_each(|_| held.settle());
        assert_eq!(held.changed(), Some(false));
    }

    #[test]
    fn the_lowest_priority_goes_first_and_of_those_the_newest_deadline() {
        let mut backlog = backlog(true);
        let rows =
            [(0, 1, second(9)), (1, 0, second(3)), (2, 0, second(7)), (3, 2, None), (4, 1, None), (5, 0, second(7))];
        for (id, priority, deadline) in rows {
            backlog.enqueue(id, 1, priority, deadline);
        }
        let mut refused = Vec::new();
        while let Some(id) = backlog.victim() {
            let (_, priority, deadline) = rows[id as usize];
            backlog.dequeue(id, 1, priority, deadline);
            refused.push(id);
        }
        assert_eq!(refused, [5, 2], "of two alike the younger");
    }

    #[test]
    fn nothing_is_refused_unless_allowed() {
        let mut backlog = backlog(false);
        (0..50).for_each(|id| backlog.enqueue(id, 1, 0, None));
        assert_eq!(backlog.victim(), None);
    }
}
