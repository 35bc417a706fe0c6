//! Model check of the real journal (model C of the design): requests, a model that answers differently each time, checkpoints,
//! and crashes of the process, the host and the model, in every order within a bound.
//!
//! In every state: downstream has seen one value a request; no execution starts once a result was told durable; and executions
//! are no more than requests, plus what crashes of the model or the host took along, plus leases that ran out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::Kind;
use forebay_core::disk::Disk;
use forebay_core::element::Epoch;
use forebay_core::testing::MemoryDisk;
use forebay_core::time::Instant;
use forebay_modelcheck::{bound, breaks, holds};
use futures::executor::block_on;
use stateright::{Model, Property};

use super::requests;
use crate::journal::core::Core;
use crate::journal::event::{Action, Event, Told};
use crate::journal::open::open;
use crate::journal::record::{self, Record};
use crate::journal::segment::HEADER_BYTES;
use crate::journal::{JournalSettings, PlantedBug};

const FOLDER: &str = "j";
const LIMIT: u32 = 1 << 16;

const PROMISES: [&str; 4] = [
    "one value a request",
    "a durable result is not computed again",
    "executions are bounded",
    "what is told is there",
];

/// What is modelled, and up to where.
#[derive(Debug, Clone)]
struct Inference {
    requests: u8,
    /// Crashes of the process, the host and the model; leases that run out; checkpoints.
    budgets: [u8; 5],
    bug: Option<Bug>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    Journal(PlantedBug),
    /// The journal is not asked before an execution is started.
    NoLookup,
}

#[derive(Clone)]
struct World {
    /// `None` while the process is down.
    core: Option<Core>,
    io: Vec<Action>,
    files: BTreeMap<String, File>,
    attempt: u64,
    epoch: u64,
    /// Executions under way, by request and number.
    running: BTreeSet<(u8, u8)>,
    started: BTreeMap<u8, u8>,
    /// Answers on their way into the journal.
    storing: BTreeSet<u8>,
    told: BTreeSet<u8>,
    /// What the running attempt knows and what it has emitted.
    known: BTreeMap<u8, u8>,
    emitted: BTreeSet<u8>,
    /// Values that downstream has ever seen.
    seen: BTreeMap<u8, BTreeSet<u8>>,
    /// Retained checkpoints: epoch and what was emitted.
    checkpoints: Vec<(u64, BTreeSet<u8>)>,
    budgets: [u8; 5],
    executions_max: u32,
    broken: Option<&'static str>,
    trimmed: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct File {
    bytes: Vec<u8>,
    synced: usize,
    named: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Submit(u8),
    LeaseExpires(u8),
    Answer(u8, u8),
    Disk(usize),
    Emit(u8),
    Checkpoint,
    CrashProcess,
    /// With everything unsynced lost, kept, or torn in the middle.
    CrashHost(u8),
    CrashModel,
    /// From the newest retained checkpoint but so many.
    Restart(usize),
}

// === impl World ===

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.core)?;
        write!(f, "{:?}{:?}{}{}{:?}", self.io, self.files, self.attempt, self.epoch, self.running)?;
        write!(f, "{:?}{:?}{:?}{:?}{:?}", self.started, self.storing, self.told, self.known, self.emitted)?;
        write!(f, "{:?}{:?}{:?}{:?}", self.seen, self.checkpoints, self.budgets, (self.executions_max, self.broken))?;
        write!(f, "{}", self.trimmed)
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        format!("{self:?}").hash(state);
    }
}

impl World {
    fn feed(&mut self, event: Event) {
        let Some(core) = &mut self.core else { return };
        for action in core.step(event, Instant(1)) {
            match action {
                // Ticket 0 waits for closings and trims.
                Action::Tell { ticket: 0, .. } => {}
                Action::Tell { ticket, result } => {
                    self.told(ticket as u8 - 1, result.is_ok_and(|told| matches!(told, Told::Durable(_))))
                }
                Action::Remove { .. } => {
                    self.trimmed = true;
                    self.io.push(action);
                }
                action => self.io.push(action),
            }
        }
    }

    /// An answer is told durable: whoever waits takes the journal's value, whichever answer came first.
    fn told(&mut self, request: u8, good: bool) {
        self.storing.remove(&request);
        match self.look_up(request).filter(|_| good) {
            Some(value) => {
                self.told.insert(request);
                self.known.insert(request, value);
            }
            None => self.broken = Some("a told result is not there"),
        }
    }

    /// What the journal holds for `request`.
    fn look_up(&self, request: u8) -> Option<u8> {
        let core = self.core.as_ref()?;
        let (entry, file) = core.find(requests(&[u128::from(request)])[0]).ok()??;
        let (start, end) = (entry.place.start as usize, entry.place.start as usize + entry.place.length as usize);
        let bytes = self.files.get(file)?.bytes.get(start..end)?;
        record::check(bytes, LIMIT).ok()?;
        match record::parse(&Bytes::copy_from_slice(bytes)).ok()? {
            Record::Failure { reason, .. } => reason.parse().ok(),
            _ => None,
        }
    }

    /// A request without a result: the journal first, then an execution that is still under way, then a new one.
    fn submit(&mut self, request: u8, bug: Option<Bug>) {
        if let Some(value) = self.look_up(request).filter(|_| bug != Some(Bug::NoLookup)) {
            self.known.insert(request, value);
        } else if !self.running.iter().any(|(running, _)| *running == request) && !self.storing.contains(&request) {
            self.execute(request);
        }
    }

    fn execute(&mut self, request: u8) {
        if self.told.contains(&request) {
            self.broken = Some("an execution starts though its result is durable");
        }
        let number = self.started.entry(request).or_default();
        *number += 1;
        self.running.insert((request, *number));
        if self.started.values().map(|count| u32::from(*count)).sum::<u32>() > self.executions_max {
            self.broken = Some("more executions than crashes account for");
        }
    }

    fn answer(&mut self, request: u8, number: u8) {
        self.running.remove(&(request, number));
        self.storing.insert(request);
        let ids = requests(&[u128::from(request)]);
        let bytes = record::failure(&ids, false, Kind::Data, &number.to_string(), LIMIT).unwrap();
        self.feed(Event::Append { ticket: u64::from(request) + 1, ids, failed: true, bytes });
    }

    fn emit(&mut self, request: u8) {
        self.emitted.insert(request);
        let values = self.seen.entry(request).or_default();
        values.extend(self.known.get(&request));
        if values.len() > 1 {
            self.broken = Some("downstream sees two values of one request");
        }
    }

    /// Publishes an epoch, closes what was emitted in it, and gives up all but two checkpoints.
    fn checkpoint(&mut self) {
        self.budgets[4] -= 1;
        self.epoch += 1;
        let epoch = Epoch(self.epoch);
        self.checkpoints.push((self.epoch, self.emitted.clone()));
        let ids = self.emitted.iter().map(|request| u128::from(*request)).collect::<Vec<_>>();
        self.feed(Event::Close { ticket: 0, epoch, ids: requests(&ids) });
        if self.checkpoints.len() > 2 {
            self.checkpoints.remove(0);
        }
        let oldest_retained = Epoch(self.checkpoints[0].0);
        self.feed(Event::Trim { ticket: 0, oldest_retained });
    }

    /// The process is gone; `survives` says what of the unsynced bytes is left, all if the host lives.
    fn crash(&mut self, survives: u8) {
        self.files.retain(|_, file| file.named || survives > 0);
        for file in self.files.values_mut() {
            let unsynced = file.bytes.len() - file.synced;
            let kept = [0, unsynced, unsynced / 2][usize::from(survives)];
            file.bytes.truncate(file.synced + kept);
        }
        self.executions_max += self.storing.len() as u32;
        self.storing.clear();
        self.known.clear();
        self.emitted.clear();
        self.io.clear();
        self.core = None;
    }

    fn restart(&mut self, back: usize, model: &Inference) {
        self.attempt += 1;
        self.checkpoints.truncate(self.checkpoints.len() - back);
        let restored = self.checkpoints.last().cloned();
        self.epoch += 1;
        let memory = MemoryDisk::new();
        for (path, file) in &self.files {
            block_on(memory.append(path, Bytes::from(file.bytes.clone()))).unwrap();
            block_on(memory.sync(path)).unwrap();
        }
        block_on(memory.sync_folder(FOLDER)).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        let known = restored.as_ref().map_or(0, |(epoch, _)| *epoch);
        let restored_epoch = Some(Epoch(known));
        let settings = model.settings(restored_epoch);
        match block_on(open(&disk, FOLDER, self.attempt, settings)) {
            Ok((core, _)) => self.core = Some(core),
            Err(_) => self.broken = Some("a told result is not there"),
        }
        let names_last = model.bug != Some(Bug::Journal(PlantedBug::SkipFolderSync));
        let before = std::mem::take(&mut self.files);
        let read = |path: String| {
            let bytes = block_on(memory.read(&path)).unwrap().unwrap().to_vec();
            let (synced, named) = (bytes.len(), names_last || before.get(&path).is_some_and(|file| file.named));
            (path, File { bytes, synced, named })
        };
        self.files = memory.paths().into_iter().map(read).collect();
        self.emitted = restored.map(|(_, emitted)| emitted).unwrap_or_default();
    }

    fn carry_out(&mut self, action: Action, bug: Option<Bug>) -> Option<Event> {
        match action {
            // In two steps, so that a crash comes between them: what is left of a write that wrote is its sync.
            Action::Write { file, bytes } if !bytes.is_empty() => {
                self.files.entry(file.clone()).or_default().bytes.extend_from_slice(&bytes);
                if bug == Some(Bug::Journal(PlantedBug::TellBeforeSync)) {
                    return Some(Event::Wrote(Ok(())));
                }
                self.io.push(Action::Write { file, bytes: Bytes::new() });
                None
            }
            Action::Write { file, .. } => {
                let file = self.files.entry(file).or_default();
                file.synced = file.bytes.len();
                Some(Event::Wrote(Ok(())))
            }
            Action::SyncFolder => {
                self.files.values_mut().for_each(|file| file.named = true);
                Some(Event::FolderSynced(Ok(())))
            }
            Action::Remove { ticket, files, report } => {
                files.iter().for_each(|file| drop(self.files.remove(file)));
                Some(Event::Removed { ticket, report, result: Ok(()) })
            }
            Action::SetTimer { .. } | Action::Tell { .. } => None,
        }
    }
}

// === impl Inference ===

impl Inference {
    fn settings(&self, restored: Option<Epoch>) -> JournalSettings {
        let planted = match self.bug {
            Some(Bug::Journal(bug)) => Some(bug),
            _ => None,
        };
        JournalSettings {
            group_linger: std::time::Duration::ZERO,
            segment_bytes_max: HEADER_BYTES as u64 + 1,
            record_bytes_max: LIMIT,
            restored,
            planted,
            ..JournalSettings::default()
        }
    }
}

impl Model for Inference {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            core: None,
            io: Vec::new(),
            files: BTreeMap::new(),
            attempt: 0,
            epoch: 0,
            running: BTreeSet::new(),
            started: BTreeMap::new(),
            storing: BTreeSet::new(),
            told: BTreeSet::new(),
            known: BTreeMap::new(),
            emitted: BTreeSet::new(),
            seen: BTreeMap::new(),
            checkpoints: Vec::new(),
            budgets: self.budgets,
            executions_max: u32::from(self.requests),
            broken: None,
            trimmed: false,
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.broken.is_some() {
            return;
        }
        let [process, host, model, leases, checkpoints] = world.budgets.map(|left| left > 0);
        steps.extend((model && !world.running.is_empty()).then_some(Step::CrashModel));
        if world.core.is_none() {
            steps.extend((0..world.checkpoints.len().clamp(1, 2)).map(Step::Restart));
            return;
        }
        steps.extend((0..world.io.len()).map(Step::Disk));
        for request in 0..self.requests {
            let idle = !world.emitted.contains(&request) && !world.known.contains_key(&request);
            let under_way =
                world.storing.contains(&request) || world.running.iter().any(|(running, _)| *running == request);
            steps.extend((idle && !under_way).then_some(Step::Submit(request)));
            let runs = world.running.iter().any(|(running, _)| *running == request);
            steps.extend((leases && idle && runs).then_some(Step::LeaseExpires(request)));
            let ready = !world.emitted.contains(&request) && world.known.contains_key(&request);
            steps.extend(ready.then_some(Step::Emit(request)));
        }
        steps.extend(world.running.iter().map(|(request, number)| Step::Answer(*request, *number)));
        let new = world.checkpoints.last().is_none_or(|(_, emitted)| *emitted != world.emitted);
        steps.extend((checkpoints && new).then_some(Step::Checkpoint));
        steps.extend(process.then_some(Step::CrashProcess));
        steps.extend((0..3).filter(|_| host).map(Step::CrashHost));
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut world = world.clone();
        match step {
            Step::Submit(request) => world.submit(request, self.bug),
            Step::LeaseExpires(request) => {
                world.budgets[3] -= 1;
                world.executions_max += 1;
                world.execute(request);
            }
            Step::Answer(request, number) => world.answer(request, number),
            Step::Disk(place) => {
                let action = world.io.remove(place);
                if let Some(event) = world.carry_out(action, self.bug) {
                    world.feed(event);
                }
            }
            Step::Emit(request) => world.emit(request),
            Step::Checkpoint => world.checkpoint(),
            Step::CrashProcess => {
                world.budgets[0] -= 1;
                world.crash(1);
            }
            Step::CrashHost(survives) => {
                world.budgets[1] -= 1;
                world.crash(survives);
                world.executions_max += world.running.len() as u32;
                world.running.clear();
            }
            Step::CrashModel => {
                world.budgets[2] -= 1;
                world.executions_max += world.running.len() as u32;
                world.running.clear();
            }
            Step::Restart(back) => world.restart(back, self),
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(PROMISES[0], |_, world: &World| {
                world.broken != Some("downstream sees two values of one request")
            }),
            Property::always(PROMISES[1], |_, world: &World| {
                world.broken != Some("an execution starts though its result is durable")
            }),
            Property::always(PROMISES[2], |_, world: &World| {
                world.broken != Some("more executions than crashes account for")
            }),
            Property::always(PROMISES[3], |_, world: &World| world.broken != Some("a told result is not there")),
        ];
        if self.bug.is_none() {
            properties
                .push(Property::sometimes("everything is emitted after crashes", |model: &Self, world: &World| {
                    world.attempt > 1 && world.emitted.len() == usize::from(model.requests)
                }));
        }
        // One request alone closes no segment that a second one could leave behind.
        if self.bug.is_none() && self.requests > 2 {
            properties.push(Property::sometimes("a segment is trimmed", |_, world: &World| world.trimmed));
        }
        properties
    }
}

// === Tests ===

/// Crashes of process, host and model; leases; checkpoints.
fn inference(budgets: [u8; 5]) -> Inference {
    Inference { requests: 1, budgets, bug: None }
}

#[test]
fn whatever_crashes_a_result_is_computed_and_seen_once() {
    let small = [(1, [1, 1, 1, 1, 2]), (2, [1, 0, 0, 1, 2]), (2, [0, 1, 1, 0, 1])];
    let large = [(2, [2, 1, 1, 1, 2]), (2, [1, 0, 1, 1, 3]), (3, [1, 1, 0, 0, 2])];
    for (requests, budgets) in bound(small, large) {
        holds(&format!("C {requests} requests, budgets {budgets:?}"), Inference { requests, ..inference(budgets) });
    }
}

#[test]
fn each_wrong_journal_is_refuted() {
    let journal = Bug::Journal;
    for (bug, model) in [
        (journal(PlantedBug::TellBeforeSync), inference([0, 1, 0, 0, 0])),
        (journal(PlantedBug::SkipFolderSync), inference([0, 1, 0, 0, 0])),
        (journal(PlantedBug::LastWriterWins), inference([1, 0, 0, 1, 0])),
        // `TrimAtEmit` needs a trim some time after its checkpoint, which this model does not have: the simulation finds it.
        (Bug::NoLookup, inference([1, 0, 0, 0, 0])),
    ] {
        breaks(&format!("C {bug:?}"), Inference { bug: Some(bug), ..model }, &PROMISES);
    }
}
