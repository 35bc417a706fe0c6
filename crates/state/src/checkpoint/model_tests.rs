//! Every order in which several attempts can go on, each stalled anywhere for any time, over a store in memory.
//!
//! Attempts run the real cores, one action at a time; an attempt that never goes on again is a crash. In each state reached:
//!
//! - an epoch record never changes, and what a published epoch owes its sinks is staged or final (I13);
//! - no row is final twice, and an attempt runs only when every row before its state is final (I1);
//! - an attempt that was stale when it began to publish publishes nothing (I14).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::hash::hash128;

use super::layout::Layout;
use super::manifest::{EpochKind, EpochRecord, FORMAT, Manifest, SinkCommittables};
use super::protocol::{Action, Ending, Event, PlantedBug};
use super::publish::Publish;
use super::restart::{Restart, Resume};
use super::sealed::unseal;
use forebay_modelcheck::bound;

/// The store and the sink, as all attempts see them.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    generation: u64,
    epochs: BTreeMap<Epoch, EpochRecord>,
    manifests: BTreeMap<String, Arc<Manifest>>,
    committed: BTreeSet<Epoch>,
    /// Staged output by attempt: the row that it holds.
    staged: BTreeSet<(u64, u64)>,
    /// Output that readers see, by attempt and row.
    final_output: BTreeSet<(u64, u64)>,
    violation: Option<&'static str>,
}

/// One attempt of the job: restart, then stage a row and publish it, a few times.
#[derive(Debug, Clone)]
struct Attempt {
    phase: Phase,
    bug: Option<PlantedBug>,
    epochs_left: u32,
    generation: u64,
    /// Rows in its state.
    position: u64,
    next_epoch: Epoch,
    /// Whether a newer generation existed when the publish in progress began.
    stale: bool,
}

/// The core at work and the action it asked for.
#[derive(Debug, Clone)]
enum Phase {
    Restarting(Box<Restart>, Action),
    Running,
    Publishing(Box<Publish>, Action),
    Stopped,
}

/// What a search found.
#[derive(Debug, Default)]
struct Search {
    generated: u64,
    seen: HashSet<u128>,
    violations: BTreeSet<&'static str>,
    /// What was reached at least once, so that a search which sees nothing cannot pass.
    reached: BTreeSet<&'static str>,
}

pub(crate) fn layout() -> Layout {
    Layout::new("job").unwrap()
}

// === impl World ===

impl World {
    /// Carries out one action of `attempt`, atomically, as the store and the committers do.
    pub(crate) fn carry_out(&mut self, action: &Action) -> Event {
        match action {
            Action::ListEpochs => Event::NewestEpoch(self.epochs.keys().last().copied()),
            Action::ReadGeneration => Event::Generation(self.generation),
            Action::ClaimGeneration(generation) => {
                let won = *generation > self.generation;
                self.generation = self.generation.max(*generation);
                Event::GenerationClaimed(won)
            }
            Action::ReadEpoch(epoch) => Event::EpochRead(Arc::clone(&self.manifests[&self.epochs[epoch].manifest])),
            Action::LookForCommitted(epoch) => Event::CommitMarker(self.committed.contains(epoch)),
            Action::Commit(manifest) => self.commit(manifest),
            Action::WriteCommitted(epoch) => {
                self.committed.insert(*epoch);
                Event::CommitMarked
            }
            Action::WriteManifest(encoded) => {
                let path = &encoded.record.manifest;
                self.manifests.insert(path.clone(), Arc::new(unseal(path, &encoded.bytes).unwrap()));
                Event::ManifestWritten
            }
            Action::CreateEpoch { record, overwrite } => self.create(record, *overwrite),
            Action::AbortStaged { before } => {
                self.staged.retain(|(attempt, _)| attempt >= before);
                Event::StagedAborted
            }
            Action::End(_) => unreachable!("an ending is no action of the store"),
        }
    }

    /// The manifest of the newest epoch.
    pub(crate) fn newest(&self) -> Option<Arc<Manifest>> {
        self.epochs.values().next_back().map(|record| Arc::clone(&self.manifests[&record.manifest]))
    }

    /// The first promise of the store that was broken.
    pub(crate) fn violation(&self) -> Option<&'static str> {
        self.violation
    }

    fn create(&mut self, record: &EpochRecord, overwrite: bool) -> Event {
        match self.epochs.get(&record.epoch) {
            Some(there) if !overwrite => Event::EpochTaken(there.clone()),
            there => {
                if there.is_some_and(|there| there != record) {
                    self.violation = Some("an epoch record changed");
                }
                self.epochs.insert(record.epoch, record.clone());
                Event::EpochCreated
            }
        }
    }

    fn commit(&mut self, manifest: &Manifest) -> Event {
        for output in owed(manifest) {
            if self.staged.remove(&output) {
                self.final_output.insert(output);
            }
        }
        Event::Committed
    }

    /// The first promise that does not hold in this state.
    fn broken_promise(&self) -> Option<&'static str> {
        let there = |output: &(u64, u64)| self.staged.contains(output) || self.final_output.contains(output);
        let mut owed_by_all = self.epochs.values().flat_map(|record| owed(&self.manifests[&record.manifest]));
        if !owed_by_all.all(|output| there(&output)) {
            return Some("a published epoch names aborted output");
        }
        let rows: BTreeSet<u64> = self.final_output.iter().map(|(_, row)| *row).collect();
        if rows.len() != self.final_output.len() {
            return Some("a row is doubled");
        }
        self.violation
    }
}

/// Attempt and row of each committable.
fn owed(manifest: &Manifest) -> Vec<(u64, u64)> {
    let items = manifest.committables.iter().flat_map(|sink| &sink.items);
    items.map(|item| (u64::from(item[0]), u64::from(item[1]))).collect()
}

pub(crate) fn manifest(generation: u64, row: u64, epoch: Epoch) -> Manifest {
    let item = Bytes::from(vec![generation as u8, row as u8]);
    let extra = serde_json::json!({ "position": row + 1 });
    Manifest {
        format: FORMAT,
        job: "job".into(),
        region: 0,
        epoch,
        parent: None,
        kind: EpochKind::Checkpoint,
        state_of: Some(epoch),
        generation,
        attempt: generation,
        created_wall_micros: 0,
        parallelism: BTreeMap::new(),
        key_groups: 1,
        regions: 0,
        plan_hash: String::new(),
        files: Vec::new(),
        earlier: Vec::new(),
        committables: vec![SinkCommittables { sink: "sink".into(), items: vec![item] }],
        ended: false,
        extra: extra.as_object().unwrap().clone(),
    }
}

// === impl Attempt ===

impl Attempt {
    fn new(epochs: u32, bug: Option<PlantedBug>) -> Self {
        let mut restart = Restart::new(layout(), Resume::Latest, 0, bug);
        let action = restart.step(Event::Begin).unwrap();
        Self {
            phase: Phase::Restarting(Box::new(restart), action),
            bug,
            epochs_left: epochs,
            generation: 0,
            position: 0,
            next_epoch: Epoch(0),
            stale: false,
        }
    }

    /// Goes on by one action; false if it has stopped.
    fn go_on(&mut self, world: &mut World, search: &mut Search) -> bool {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Stopped) {
            Phase::Stopped => return false,
            Phase::Running => self.stage_a_row(world),
            Phase::Restarting(mut restart, action) => {
                let event = world.carry_out(&action);
                note(&event, search);
                match restart.step(event).unwrap() {
                    Action::End(ending) => self.end(*ending, world, search),
                    action => Phase::Restarting(restart, action),
                }
            }
            Phase::Publishing(mut publish, action) => {
                let event = world.carry_out(&action);
                if event == Event::EpochCreated && self.stale {
                    world.violation = Some("a stale attempt published");
                }
                match publish.step(event).unwrap() {
                    Action::End(ending) => self.end(*ending, world, search),
                    action => Phase::Publishing(publish, action),
                }
            }
        };
        true
    }

    fn stage_a_row(&mut self, world: &mut World) -> Phase {
        world.staged.insert((self.generation, self.position));
        let manifest = manifest(self.generation, self.position, self.next_epoch);
        self.stale = world.generation > self.generation;
        self.epochs_left -= 1;
        self.position += 1;
        let mut publish = Publish::new(manifest, &layout(), self.bug).unwrap();
        let action = publish.step(Event::Begin).unwrap();
        Phase::Publishing(Box::new(publish), action)
    }

    fn end(&mut self, ending: Ending, world: &mut World, search: &mut Search) -> Phase {
        match ending {
            Ending::Run(started) => {
                (self.generation, self.next_epoch) = (started.generation, started.next_epoch);
                self.position = started.restored.map_or(0, |manifest| manifest.extra["position"].as_u64().unwrap());
                let is_final = |row: u64| world.final_output.iter().any(|(_, there)| *there == row);
                if !(0..self.position).all(is_final) {
                    world.violation = Some("an attempt runs though rows before its state are not committed");
                }
                Phase::Running
            }
            Ending::Published(epoch) => {
                self.next_epoch = epoch.next();
                search.reached.extend((self.generation > 1).then_some("a later attempt published"));
                if self.epochs_left > 0 { Phase::Running } else { Phase::Stopped }
            }
            Ending::Fenced { .. } => {
                search.reached.insert("an attempt was fenced");
                Phase::Stopped
            }
            Ending::NotFresh => unreachable!("attempts resume from the latest epoch"),
        }
    }
}

fn note(event: &Event, search: &mut Search) {
    match event {
        Event::EpochTaken(_) => search.reached.insert("a claim was lost"),
        Event::Committed => search.reached.insert("a commit was repeated by a restart"),
        Event::GenerationClaimed(false) => search.reached.insert("a generation was lost"),
        _ => false,
    };
}

/// Visits every state that `attempts` attempts of `epochs` epochs each can reach.
fn search(attempts: usize, epochs: u32, bug: Option<PlantedBug>) -> Search {
    let mut search = Search::default();
    let mut waiting = vec![(World::default(), vec![Attempt::new(epochs, bug); attempts])];
    while let Some((world, attempts)) = waiting.pop() {
        for number in 0..attempts.len() {
            let (mut world, mut attempts) = (world.clone(), attempts.clone());
            if !attempts[number].go_on(&mut world, &mut search) {
                continue;
            }
            search.generated += 1;
            if let Some(violation) = world.broken_promise() {
                search.violations.insert(violation);
                continue;
            }
            // Attempts are alike: which of them is where does not matter.
            let mut parts: Vec<String> = attempts.iter().map(|attempt| format!("{attempt:?}")).collect();
            parts.sort();
            if search.seen.insert(hash128(format!("{world:?}{parts:?}").as_bytes())) {
                waiting.push((world, attempts));
            }
        }
    }
    search
}

#[test]
fn no_order_of_attempts_breaks_a_promise() {
    for (attempts, epochs) in bound([(2, 2), (3, 1)], [(2, 3), (3, 2)]) {
        let search = search(attempts, epochs, None);
        println!(
            "model publish/restart, {attempts} attempts, {epochs} epochs: {} generated, {} unique states",
            search.generated,
            search.seen.len()
        );
        assert!(search.violations.is_empty(), "{:?}", search.violations);
        let expected = [
            "a claim was lost",
            "a commit was repeated by a restart",
            "a generation was lost",
            "a later attempt published",
            "an attempt was fenced",
        ];
        assert!(search.reached.iter().eq(expected.iter()), "{:?}", search.reached);
        assert!(search.seen.len() > 1000, "{}", search.seen.len());
    }
}

#[test]
fn each_planted_bug_breaks_its_promise() {
    for (bug, broken) in [
        (PlantedBug::NoClaim, "a published epoch names aborted output"),
        (PlantedBug::AbortBeforeClaim, "a published epoch names aborted output"),
        (PlantedBug::SkipGenerationCheck, "a stale attempt published"),
        (PlantedBug::OverwriteEpochRecord, "an epoch record changed"),
        (PlantedBug::NoReplayCommit, "an attempt runs though rows before its state are not committed"),
    ] {
        let found = search(2, 2, Some(bug)).violations;
        println!("{bug:?}: {found:?}");
        assert!(found.contains(broken), "{bug:?}: {found:?}");
    }
}
