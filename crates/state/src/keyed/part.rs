//! What tables and timers have in common for a snapshot. Sealed: only this crate has parts.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::Result;
use forebay_core::key_group::KeyGroup;
use forebay_core::time::EventTime;

use super::space::Space;
use forebay_core::keys::Key;

/// A table or the timers of an operator, as [`KeyedState::snapshot`](super::KeyedState::snapshot) takes them.
#[expect(private_bounds, reason = "sealed: a part's bytes and changes are this module's own")]
pub trait StatePart: Part {}

impl<P: Part> StatePart for P {}

/// What changed: time (of timers, 0 in tables), key, space.
pub(super) type Change = (EventTime, Key, Space);

/// The changes of one part since a barrier, by key group, each once and in order.
pub(super) type Changed = BTreeMap<KeyGroup, Vec<Change>>;

/// Which kind of part, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartKind {
    Table,
    Timers,
}

/// What a part's bytes begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub kind: PartKind,
    pub name: &'static str,
    pub version: u16,
    pub codec: &'static str,
}

pub(super) trait Part: Send {
    fn head(&self) -> Head;

    /// What changed since this was last called.
    fn take_changed(&mut self) -> Changed;

    /// The watermark that expiry in this group goes by, if any.
    fn watermark(&self, group: KeyGroup) -> Option<EventTime>;

    /// Whether the watermark of this group belongs into each snapshot, also where no entry changed.
    fn keeps_time(&self, group: KeyGroup) -> bool;

    /// All of these groups, as records; a group without any may be left out.
    fn put_all(&mut self, groups: &BTreeSet<KeyGroup>) -> Result<BTreeMap<KeyGroup, Vec<u8>>>;

    /// Appends what `changed` names, as it is now.
    fn put_changed(&mut self, group: KeyGroup, changed: &[Change], out: &mut Vec<u8>) -> Result<()>;
}

// === impl PartKind ===

impl PartKind {
    /// The number stored.
    pub fn code(self) -> u8 {
        match self {
            PartKind::Table => 0,
            PartKind::Timers => 1,
        }
    }
}
