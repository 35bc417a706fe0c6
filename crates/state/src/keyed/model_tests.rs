//! Random work on tables and timers beside a plain map, with snapshots, late and lost notices, restores of older checkpoints at
//! other parallelisms, expiry and spilling; and the proof that each planted bug is noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ::bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::hash::hash64;
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::{Identity, Restored};
use forebay_core::time::EventTime;

use super::*;

const GROUPS: u16 = 8;
const TTL: i64 = 40;
const SEEDS: u64 = 400;
const STEPS: usize = 250;

/// A check that failed, in words.
type Check = Result<(), String>;

/// What the state should be.
#[derive(Debug, Clone, Default)]
struct Model {
    /// Value and time of the last write.
    entries: BTreeMap<(Key, Space), (u64, Option<i64>)>,
    timers: BTreeSet<(EventTime, Key, Space)>,
    watermark: Option<i64>,
}

struct Subtask {
    state: KeyedState,
    table: StateTable<u64>,
    timers: Timers,
    /// Published checkpoints that it has not heard of.
    notices: Vec<Epoch>,
}

/// Bytes of each group of a published checkpoint, oldest first, and what they stand for.
type Published = BTreeMap<Epoch, (BTreeMap<KeyGroup, Vec<Bytes>>, Model)>;

struct World {
    random: u64,
    settings: StateSettings,
    ttl: bool,
    subtasks: Vec<Subtask>,
    model: Model,
    published: Published,
    epoch: Epoch,
    /// What was reached, so that a run which sees nothing cannot pass.
    reached: BTreeSet<&'static str>,
}

// === impl Model ===

impl Model {
    fn is_alive(&self, written: Option<i64>, ttl: bool) -> bool {
        let expired = |(written, now): (i64, i64)| now > written + TTL;
        !(ttl && written.zip(self.watermark).is_some_and(expired))
    }

    fn alive(&self, ttl: bool) -> BTreeMap<(Key, Space), u64> {
        let alive = self.entries.iter().filter(|(_, (_, written))| self.is_alive(*written, ttl));
        alive.map(|(address, (value, _))| (address.clone(), *value)).collect()
    }

    fn write(&mut self, address: (Key, Space), value: u64, time: Option<i64>, ttl: bool) {
        let old = self.entries.get(&address).filter(|(_, written)| self.is_alive(*written, ttl));
        let before = old.and_then(|(_, written)| *written);
        self.entries.insert(address, (value, before.max(time.or(self.watermark))));
    }

    fn advance(&mut self, watermark: i64) {
        self.watermark = Some(watermark);
        self.entries.values_mut().for_each(|(_, written)| *written = written.or(Some(watermark)));
    }
}

// === impl World ===

impl World {
    fn new(seed: u64, settings: StateSettings, ttl: bool) -> Self {
        let mut world = Self {
            random: seed,
            settings,
            ttl,
            subtasks: Vec::new(),
            model: Model::default(),
            published: Published::new(),
            epoch: Epoch(0),
            reached: BTreeSet::new(),
        };
        world.open(Restored::default());
        world
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random = hash64(&self.random.to_le_bytes());
        self.random % limit
    }

    fn open(&mut self, restored: Restored) {
        let parallelism = 1 + self.below(4) as u16;
        self.subtasks.clear();
        for subtask in 0..parallelism {
            let identity = Identity { uid: "op".into(), subtask, parallelism, groups: GROUPS, attempt: 1 };
            let mut own = restored.clone();
            own.groups.retain(|(group, _)| identity.key_groups().contains(&group.0));
            let mut state = KeyedState::open(&identity, self.settings.clone(), own).unwrap();
            let spec = TableSpec::new("t", 1);
            let spec = if self.ttl { spec.ttl(Duration::from_micros(TTL as u64)) } else { spec };
            let (table, timers) = (state.table(spec).unwrap(), state.timers("timers").unwrap());
            state.opened().unwrap();
            self.subtasks.push(Subtask { state, table, timers, notices: Vec::new() });
        }
    }

    fn address(&mut self) -> (Key, Space) {
        // Keys with zeros, and one with many spaces.
        let number = self.below(40);
        let key = if number < 10 { 0 } else { number };
        (Key::new(key.to_be_bytes()), Space::of_number(self.below(6)))
    }

    fn of(&mut self, key: &Key) -> &mut Subtask {
        let parallelism = self.subtasks.len() as u16;
        &mut self.subtasks[usize::from(key.group(GROUPS).subtask(parallelism, GROUPS))]
    }

    fn step(&mut self) -> Check {
        let (key, space) = self.address();
        let address = (key.clone(), space.clone());
        let (value, ttl) = (self.below(1000), self.ttl);
        match self.below(20) {
            0..=4 => {
                self.of(&key).table.insert(&key, &space, value).unwrap();
                self.model.write(address, value, None, ttl);
            }
            5 => {
                let time = self.model.watermark.unwrap_or(0) + self.below(30) as i64 - 10;
                self.of(&key).table.insert_at(&key, &space, value, EventTime(time)).unwrap();
                self.model.write(address, value, Some(time), ttl);
            }
            6..=8 => {
                let counted = self.of(&key).table.get_or_insert_with(&key, &space, || 0).unwrap();
                *counted += 1;
                let counted = *counted;
                let before = self.model.alive(ttl).get(&address).copied().unwrap_or(0);
                same("counter", &counted, &(before + 1))?;
                self.model.write(address, counted, None, ttl);
            }
            9 | 10 => {
                let removed = self.of(&key).table.remove(&key, &space).unwrap();
                same("removed", &removed, &self.model.alive(ttl).get(&address).copied())?;
                self.model.entries.remove(&address);
            }
            11 => {
                let removed = self.of(&key).table.remove_range(&key, ..space.clone()).unwrap();
                let range = (key.clone(), Space::EMPTY)..address;
                let expected: Vec<_> = self.model.alive(ttl).range(range).map(|((_, s), v)| (s.clone(), *v)).collect();
                same("removed range", &removed, &expected)?;
                for (space, _) in expected {
                    self.model.entries.remove(&(key.clone(), space));
                }
            }
            12 => {
                let found = self.of(&key).table.get(&key, &space).unwrap().copied();
                same("value", &found, &self.model.alive(ttl).get(&address).copied())?;
            }
            13 => self.check_scan(&key)?,
            14 | 15 => {
                let time = EventTime(self.model.watermark.unwrap_or(0) + self.below(20) as i64);
                let set = self.of(&key).timers.set(time, &key, &space).unwrap();
                same("set", &set, &self.model.timers.insert((time, key, space)))?;
            }
            16 | 17 => self.advance()?,
            18 => self.checkpoint(),
            _ => {
                if self.below(4) == 0 {
                    self.restore()?;
                }
            }
        }
        Ok(())
    }

    fn check_scan(&mut self, key: &Key) -> Check {
        let found: Vec<_> = self.of(key).table.scan(key).unwrap().map(|(s, v)| (s.clone(), *v)).collect();
        let expected = self.model.alive(self.ttl).into_iter().filter(|((k, _), _)| k == key);
        let expected: Vec<_> = expected.map(|((_, space), value)| (space, value)).collect();
        same("scan", &found, &expected)
    }

    fn advance(&mut self) -> Check {
        let watermark = self.model.watermark.unwrap_or(100) + self.below(9) as i64;
        self.advance_to(watermark)
    }

    fn advance_to(&mut self, watermark: i64) -> Check {
        self.model.advance(watermark);
        let mut fired = Vec::new();
        for subtask in &mut self.subtasks {
            subtask.table.advance(EventTime(watermark)).unwrap();
            let start = fired.len();
            while let Some(Timer { time, key, space }) = subtask.timers.due(EventTime(watermark)) {
                fired.push((time, key, space));
            }
            same("order of timers", &fired[start..].is_sorted(), &true)?;
        }
        fired.sort();
        let later = self.model.timers.split_off(&(EventTime(watermark + 1), Key::new([]), Space::EMPTY));
        let due = std::mem::replace(&mut self.model.timers, later);
        same("timers", &fired, &due.into_iter().collect())
    }

    /// A barrier; mostly published; subtasks hear of it now, later or never.
    fn checkpoint(&mut self) {
        self.epoch = self.epoch.next();
        let epoch = self.epoch;
        let mut groups = BTreeMap::new();
        for subtask in &mut self.subtasks {
            let snapshot = subtask.state.snapshot(epoch, &mut [&mut subtask.table, &mut subtask.timers]).unwrap();
            let lineage = snapshot.lineage.unwrap();
            for group in &lineage.deltas {
                self.reached.insert("a delta");
                let (base, _) = &self.published[&lineage.completed.unwrap()];
                groups.insert(*group, base[group].clone());
            }
            for (group, bytes) in snapshot.groups {
                groups.entry(group).or_insert_with(Vec::new).push(bytes);
            }
        }
        if self.below(4) == 0 {
            return;
        }
        self.published.insert(epoch, (groups, self.model.clone()));
        for number in 0..self.subtasks.len() {
            self.subtasks[number].notices.push(epoch);
            if self.below(3) > 0 {
                let subtask = &mut self.subtasks[number];
                // Late ones, this one, and one of them again.
                let notices = std::mem::take(&mut subtask.notices);
                notices.iter().chain(notices.first()).for_each(|epoch| subtask.state.on_checkpoint_complete(*epoch));
            }
        }
    }

    /// Back to one of the last checkpoints, at another parallelism; later ones are given up.
    fn restore(&mut self) -> Check {
        let back = self.below(3) as usize;
        let Some(epoch) = self.published.keys().rev().nth(back).copied() else { return Ok(()) };
        self.published.retain(|published, _| *published <= epoch);
        let (groups, model) = self.published[&epoch].clone();
        self.reached.extend(groups.values().any(|entries| entries.len() > 2).then_some("a chain of deltas"));
        let flat = groups.into_iter().flat_map(|(group, all)| all.into_iter().map(move |bytes| (group, bytes)));
        self.model = model;
        self.open(Restored { epoch: Some(epoch), groups: flat.collect() });
        self.check_all()?;
        // The watermark after a restart may be behind; the host tells one before rows come.
        if let Some(watermark) = self.model.watermark {
            self.advance_to(watermark)?;
        }
        Ok(())
    }

    fn check_all(&mut self) -> Check {
        let mut found = Vec::new();
        for subtask in &mut self.subtasks {
            for group in subtask.table.key_groups() {
                let start = found.len();
                let visit = |key: &Key, space: &Space, value: &u64| {
                    found.push(((key.clone(), space.clone()), *value));
                    Ok(())
                };
                subtask.table.visit_group(group, visit).unwrap();
                same("order in a group", &found[start..].is_sorted(), &true)?;
            }
            self.reached.extend((!subtask.timers.is_empty()).then_some("timers in a restore"));
        }
        found.sort();
        same("all entries", &found, &self.model.alive(self.ttl).into_iter().collect())?;
        let timers: usize = self.subtasks.iter().map(|subtask| subtask.timers.len()).sum();
        same("number of timers", &timers, &self.model.timers.len())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Check {
    if found == expected { Ok(()) } else { Err(format!("{what}: found {found:?}, expected {expected:?}")) }
}

/// One run; the settings follow from the seed.
fn run(seed: u64, bug: Option<StateBug>, reached: &mut BTreeSet<&'static str>) -> Check {
    let spill: Option<Arc<dyn SpillStore>> = if seed.is_multiple_of(2) { Some(Arc::new(MemorySpill)) } else { None };
    let full_after = [0, 1, 3, 10][(seed / 2 % 4) as usize];
    run_with(seed, StateSettings { memory_bytes_max: 1500, spill, full_after, bug }, reached)
}

fn run_with(seed: u64, settings: StateSettings, reached: &mut BTreeSet<&'static str>) -> Check {
    let mut world = World::new(seed, settings, (seed / 8).is_multiple_of(2));
    for _ in 0..STEPS {
        world.step()?;
    }
    world.check_all()?;
    reached.append(&mut world.reached);
    Ok(())
}

#[test]
fn tables_and_timers_do_what_a_plain_map_does() {
    let mut reached = BTreeSet::new();
    for seed in 0..SEEDS {
        run(seed, None, &mut reached).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
    assert_eq!(reached.into_iter().collect::<Vec<_>>(), ["a chain of deltas", "a delta", "timers in a restore"]);
}

#[test]
fn a_store_on_disk_does_what_one_in_memory_does() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn SpillStore> = Arc::new(FjallSpill::open(folder.path()).unwrap());
    for seed in 0..6 {
        let spill = Some(Arc::clone(&store));
        let settings = StateSettings { memory_bytes_max: 1500, spill, full_after: 3, bug: None };
        run_with(seed, settings, &mut BTreeSet::new()).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
}

#[test]
fn each_planted_bug_is_noticed() {
    for bug in [
        StateBug::ForgetRemovals,
        StateBug::ClearBeforeCompletion,
        StateBug::ExpireEarly,
        StateBug::SkipSpilled,
        StateBug::KeepStaleCopy,
        StateBug::ForgetDiskCopy,
        StateBug::NewestEntryOnly,
    ] {
        let caught = (0..SEEDS).find_map(|seed| Some((seed, run(seed, Some(bug), &mut BTreeSet::new()).err()?)));
        let (seed, what) = caught.unwrap_or_else(|| panic!("{bug:?} was not noticed"));
        println!("{bug:?}: seed {seed}: {}", &what[..what.len().min(100)]);
    }
}
