//! The keyed state of one operator in one subtask: opens its parts from a checkpoint and freezes them for the next one.
//!
//! A snapshot holds what changed since the newest checkpoint that the operator knows to be published, not since the last
//! snapshot: one that was never published may be missing. The changes of a snapshot are therefore kept until its epoch, or a
//! later one, is complete. A group whose deltas outgrew what they build on is written whole again.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::{Identity, Lineage, Restored, Snapshot};
use forebay_core::time::EventTime;
use forebay_core::{Error, Kind, Result};

use super::chain::{Chains, Written};
use super::part::{Change, Changed, Head, PartKind, StatePart};
use super::sections::{Section, begin, put_section, read_group};
use super::settings::{StateBug, StateSettings};
use super::table::cold::{Budget, Cold};
use super::table::{StateTable, TableSpec};
use super::timers::Timers;
use super::value::StateValue;

/// Names the parts of one operator's state and takes them through checkpoints.
///
/// # Order of calls
/// `open` first. Then `table` and `timers`, once for each name, also for parts that are empty; `forget` for names that the
/// operator no longer has; then `opened`. From there on `snapshot` at each barrier, always with all parts in the same order, and
/// `on_checkpoint_complete` whenever the host calls the operator's.
pub struct KeyedState {
    identity: Identity,
    owned: Range<u16>,
    settings: StateSettings,
    /// Sections not yet asked for, by name, in the order of epochs.
    unclaimed: BTreeMap<String, Vec<Section>>,
    heads: Vec<Head>,
    budget: Arc<Budget>,
    chains: Chains,
    /// The changes of snapshots that are not known to be published, by part.
    pending: BTreeMap<Epoch, Vec<Changed>>,
}

// === impl KeyedState ===

impl KeyedState {
    /// Takes what an operator was given in its `open`: entries of any number of earlier subtasks. Of a key group there may
    /// be several, the one that holds everything first, then deltas in the order of epochs.
    ///
    /// # Errors
    /// `Corrupt` if the bytes cannot be read, `Invalid` if a newer release wrote them.
    pub fn open(identity: &Identity, settings: StateSettings, restored: Restored) -> Result<Self> {
        let owned = identity.key_groups();
        let mut chains = Chains::new(restored.epoch, owned.clone(), settings.full_after);
        let mut unclaimed: BTreeMap<String, Vec<Section>> = BTreeMap::new();
        for (group, bytes) in &restored.groups {
            let (is_delta, sections) = read_group(&identity.uid, *group, bytes)?;
            if !is_delta || settings.bug == Some(StateBug::NewestEntryOnly) {
                unclaimed.values_mut().for_each(|sections| sections.retain(|section| section.group != *group));
            }
            chains.restored(*group, is_delta, bytes.len());
            for section in sections {
                unclaimed.entry(section.name.clone()).or_default().push(section);
            }
        }
        let budget =
            Budget { bytes_max: settings.memory_bytes_max, tables: AtomicUsize::new(0), used: AtomicUsize::new(0) };
        Ok(Self {
            identity: identity.clone(),
            owned,
            settings,
            unclaimed,
            heads: Vec::new(),
            budget: Arc::new(budget),
            chains,
            pending: BTreeMap::new(),
        })
    }

    /// The table of `spec`, with what the checkpoint holds of it.
    ///
    /// # Errors
    /// `Invalid` if the checkpoint holds it under a schema version or codec that `spec` does not read, naming both;
    /// `Corrupt` if its bytes cannot be read; `Internal` if the name was asked for before.
    pub fn table<V: StateValue>(&mut self, spec: TableSpec<V>) -> Result<StateTable<V>> {
        let (name, uid) = (spec.name, &self.identity.uid);
        let cold = match &self.settings.spill {
            Some(store) if self.settings.memory_bytes_max > 0 => {
                let cache = store.table(&format!("{uid}-{}-{name}", self.identity.subtask))?;
                Some(Cold::new(cache, Arc::clone(&self.budget)))
            }
            _ => None,
        };
        let (version, older) = (spec.version, spec.older.iter().map(|(version, _)| *version).collect::<Vec<_>>());
        let mut table = StateTable::new(&self.identity, spec, cold, self.settings.bug);
        let head = super::part::Part::head(&table);
        let mut watermarks: BTreeMap<KeyGroup, EventTime> = BTreeMap::new();
        for section in self.claim(&head)? {
            let is_present = section.version == version && section.codec == V::CODEC;
            if !is_present && !older.contains(&section.version) {
                return Err(self.unreadable(&section, &head));
            }
            let read = table.read_records(section.group, section.version, &section.body)?;
            read.map_err(|reason| self.corrupt(&section, reason))?;
            watermarks.extend(section.watermark.map(|watermark| (section.group, watermark)));
        }
        table.restored(&watermarks, self.chains.completed());
        Ok(table)
    }

    /// The operator's timers `name`, with those that the checkpoint holds.
    ///
    /// # Errors
    /// As [`KeyedState::table`].
    pub fn timers(&mut self, name: &'static str) -> Result<Timers> {
        let mut timers = Timers::new(&self.identity.uid, name, self.identity.groups, self.owned.clone());
        let head = super::part::Part::head(&timers);
        for section in self.claim(&head)? {
            if section.version != head.version {
                return Err(self.unreadable(&section, &head));
            }
            timers.read_records(section.group, &section.body)?.map_err(|reason| self.corrupt(&section, reason))?;
        }
        timers.restored(self.chains.completed());
        Ok(timers)
    }

    /// Gives up what the checkpoint holds under a name that the operator used before.
    pub fn forget(&mut self, name: &str) {
        self.unclaimed.remove(name);
    }

    /// Ends the opening.
    ///
    /// # Errors
    /// `Invalid` if the checkpoint holds a state that nobody asked for: starting without it would lose it silently.
    pub fn opened(&self) -> Result<()> {
        let Some((name, _)) = self.unclaimed.first_key_value() else { return Ok(()) };
        let known: Vec<&str> = self.heads.iter().map(|head| head.name).collect();
        Err(self
            .refusal(name)
            .with("known", known.join(" "))
            .source("this operator has no such state: use the release and job that wrote it, or start without state"))
    }

    /// Freezes all parts for `epoch`. Values are encoded here, before rows flow again: only changed ones, except where a
    /// group's turn has come to be written whole.
    ///
    /// # Errors
    /// `Internal` if `parts` are not all parts in the order they were opened; those of the tables.
    pub fn snapshot(&mut self, epoch: Epoch, parts: &mut [&mut dyn StatePart]) -> Result<Snapshot> {
        if !parts.iter().map(|part| part.head()).eq(self.heads.iter().cloned()) {
            return Err(Error::new(Kind::Internal, "snapshot keyed state")
                .with("operator", &self.identity.uid)
                .source("the parts are not those that were opened, in that order"));
        }
        if self.settings.bug == Some(StateBug::ClearBeforeCompletion) {
            self.pending.clear();
        }
        let changed = self.pending.entry(epoch).or_insert_with(|| vec![Changed::new(); parts.len()]);
        for (known, part) in changed.iter_mut().zip(parts.iter_mut()) {
            for (group, more) in part.take_changed() {
                let list = known.entry(group).or_default();
                *list = if list.is_empty() { more } else { one_list([&*list, &more].into_iter()).into_owned() };
            }
        }
        let full = self.chains.due_in_full();
        let deltas: BTreeSet<KeyGroup> =
            self.owned.clone().map(KeyGroup).filter(|group| !full.contains(group)).collect();
        let mut groups = put_full(parts, &full)?;
        groups.extend(self.put_deltas(parts, &deltas)?);
        let written = self.owned.clone().map(KeyGroup).map(|group| {
            let bytes = groups.get(&group).map_or(0, Vec::len);
            (group, if deltas.contains(&group) { Written::Delta(bytes) } else { Written::Full(bytes) })
        });
        self.chains.taken(epoch, written.collect());
        let groups = groups.into_iter().map(|(group, bytes)| (group, bytes.into())).collect();
        let lineage = Some(Lineage { completed: self.chains.completed(), deltas });
        Ok(Snapshot { groups, lineage, ..Snapshot::default() })
    }

    /// The checkpoint of `epoch` is published: later snapshots hold what changed since. May be skipped and may be repeated.
    pub fn on_checkpoint_complete(&mut self, epoch: Epoch) {
        if self.pending.contains_key(&epoch) {
            self.pending.retain(|pending, _| *pending > epoch);
            self.chains.complete(epoch);
        }
    }

    /// What changed in `deltas` since the newest published checkpoint.
    fn put_deltas(
        &self,
        parts: &mut [&mut dyn StatePart],
        deltas: &BTreeSet<KeyGroup>,
    ) -> Result<BTreeMap<KeyGroup, Vec<u8>>> {
        let mut groups: BTreeMap<KeyGroup, Vec<u8>> = BTreeMap::new();
        for (place, part) in parts.iter_mut().enumerate() {
            let head = part.head();
            for group in deltas {
                let changed = one_list(self.pending.values().filter_map(|parts| parts[place].get(group)));
                if changed.is_empty() && !part.keeps_time(*group) {
                    continue;
                }
                let mut body = Vec::new();
                part.put_changed(*group, &changed, &mut body)?;
                let out = groups.entry(*group).or_insert_with(|| begin(true));
                put_section(out, &head, part.watermark(*group), &body);
            }
        }
        Ok(groups)
    }

    fn claim(&mut self, head: &Head) -> Result<Vec<Section>> {
        if self.heads.iter().any(|known| known.name == head.name) {
            return Err(self.refusal_of(Kind::Internal, head.name).source("two states of one name"));
        }
        self.heads.push(head.clone());
        let sections = self.unclaimed.remove(head.name).unwrap_or_default();
        if sections.iter().any(|section| section.kind != head.kind.code()) {
            let is = if head.kind == PartKind::Table { "a table" } else { "timers" };
            let reason =
                format!("this operator has {is} of that name, the checkpoint something else: give it a new name");
            return Err(self.refusal(head.name).source(reason));
        }
        Ok(sections)
    }

    fn unreadable(&self, section: &Section, head: &Head) -> Error {
        self.refusal(head.name)
            .with("stored", format!("version {} as {}", section.version, section.codec))
            .with("expected", format!("version {} as {}", head.version, head.codec))
            .source("this release cannot read the state: use the one that wrote it, or start without state")
    }

    fn refusal(&self, name: &str) -> Error {
        self.refusal_of(Kind::Invalid, name)
    }

    fn refusal_of(&self, kind: Kind, name: &str) -> Error {
        Error::new(kind, "restore state").with("state", name).with("operator", &self.identity.uid)
    }

    fn corrupt(&self, section: &Section, reason: String) -> Error {
        self.refusal_of(Kind::Corrupt, &section.name).with("key_group", section.group.0).source(reason)
    }
}

/// Each change of `lists` once, in order. Nearly always there is one list, which is both.
fn one_list<'a>(lists: impl Iterator<Item = &'a Vec<Change>>) -> Cow<'a, [Change]> {
    let mut lists: Vec<&Vec<Change>> = lists.collect();
    if let [_, _, ..] = lists[..] {
        let mut all: Vec<Change> = lists.into_iter().flatten().cloned().collect();
        all.sort_unstable();
        all.dedup();
        return Cow::Owned(all);
    }
    lists.pop().map_or_else(Cow::default, |only| Cow::Borrowed(&only[..]))
}

/// All of `full`.
fn put_full(parts: &mut [&mut dyn StatePart], full: &BTreeSet<KeyGroup>) -> Result<BTreeMap<KeyGroup, Vec<u8>>> {
    let mut groups: BTreeMap<KeyGroup, Vec<u8>> = BTreeMap::new();
    for part in parts.iter_mut().filter(|_| !full.is_empty()) {
        let head = part.head();
        for (group, body) in part.put_all(full)? {
            if !body.is_empty() {
                let out = groups.entry(group).or_insert_with(|| begin(false));
                put_section(out, &head, part.watermark(group), &body);
            }
        }
    }
    Ok(groups)
}
