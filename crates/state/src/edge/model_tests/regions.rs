//! Two regions over one edge: a producer that numbers its input and gives each a value, a consumer that collects them.
//!
//! Either region crashes and goes on from its newest checkpoint; the host crashes with both and loses what was not synced.
//! The log is the real core over real bytes. A value that is computed again differs unless the producer is journalled.

use std::collections::BTreeSet;

use bytes::Bytes;
use forebay_core::Kind;
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::row::{RowId, SplitId};
use stateright::{Model, Property};

use super::super::record;
use super::super::{
    Action, Claim, Content, CoreSettings, EdgeCore, EdgeMode, Fact, Failure, PlantedBug, Positions, Published, Record,
    RowKey, Told, WriterState,
};
use super::disk::{ModelDisk, Survives};

const GROUP: KeyGroup = KeyGroup(0);

/// What is modelled, and up to where.
#[derive(Debug, Clone)]
pub(super) struct Regions {
    pub mode: EdgeMode,
    pub bug: Option<PlantedBug>,
    /// Whether the producer gives an input the same value again.
    pub journalled: bool,
    /// How many inputs may be finished out of order; 1 for none.
    pub open: u8,
    pub inputs: u8,
    pub producer_crashes: u8,
    pub consumer_crashes: u8,
    pub host_crashes: u8,
    /// How often a file cannot be removed.
    pub failed_removals: u8,
    /// Checkpoints of the producer and of the consumer.
    pub checkpoints: u8,
    /// Whether the consumer may take a checkpoint where it took the last one.
    pub idle_checkpoints: bool,
}

/// An input and its value.
type Row = (u8, u64);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    core: EdgeCore,
    /// Disk work that the core has asked for.
    io: Vec<Action>,
    disk: ModelDisk,
    epochs: Vec<EpochRecord>,
    producer: Option<Producer>,
    consumer: Option<Consumer>,
    consumer_checkpoints: Vec<Consumer>,
    crashes: [u8; 3],
    checkpoints: [u8; 2],
    failed_removals: u8,
    attempts: u64,
    broken: Option<&'static str>,
    reached: BTreeSet<&'static str>,
}

/// An epoch record of the producer and the state that it names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct EpochRecord {
    published: Published,
    state: ProducerState,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct ProducerState {
    /// What it has emitted, in order.
    history: Vec<Row>,
    writer: WriterState,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Producer {
    attempt: u64,
    epoch: Epoch,
    base: Option<Epoch>,
    claimed: bool,
    ready: bool,
    state: ProducerState,
    /// The state at a barrier, and whether it is durable.
    barrier: Option<(ProducerState, bool)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Consumer {
    seen: Vec<Row>,
    position: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// A new attempt claims its restart epoch.
    Claim,
    /// And then takes the edge over.
    TakeOver,
    Emit(u8),
    Barrier,
    Publish,
    /// Someone reads the producer's newest epoch record.
    ReadRecord,
    Disk(usize),
    /// Nothing of what this action names can be removed.
    RemovalFails(usize),
    StartConsumer,
    Read,
    Checkpoint,
    CrashProducer,
    CrashConsumer,
    CrashHost(Survives),
}

// === impl Regions ===

impl Regions {
    fn settings(&self) -> CoreSettings {
        CoreSettings {
            mode: self.mode,
            consumers: ["consumer".to_string(), "slow".to_string()].into(),
            quota_bytes: u64::MAX,
            segment_bytes_max: 1,
            unsynced_bytes_max: u64::MAX,
            record_bytes_max: 1 << 16,
            bug: self.bug,
        }
    }

    fn key(input: u8) -> RowKey {
        RowKey { id: RowId::new(SplitId(0), u64::from(input)), kind: 0 }
    }
}

impl Model for Regions {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let disk = ModelDisk::default();
        vec![World {
            core: disk.open(&self.settings()).unwrap(),
            io: Vec::new(),
            disk,
            epochs: Vec::new(),
            producer: None,
            consumer: None,
            consumer_checkpoints: vec![Consumer::default()],
            crashes: [self.producer_crashes, self.consumer_crashes, self.host_crashes],
            checkpoints: [self.checkpoints; 2],
            failed_removals: self.failed_removals,
            attempts: 0,
            broken: None,
            reached: BTreeSet::new(),
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.broken.is_some() {
            return;
        }
        steps.extend((0..world.io.len()).map(Step::Disk));
        let removals = (0..world.io.len()).filter(|place| matches!(world.io[*place], Action::Remove { .. }));
        steps.extend(removals.filter(|_| world.failed_removals > 0).map(Step::RemovalFails));
        match &world.producer {
            None => steps.push(Step::Claim),
            Some(producer) if producer.claimed => steps.push(Step::TakeOver),
            Some(producer) if producer.ready => {
                match &producer.barrier {
                    // One barrier at a time, and nothing is emitted meanwhile: it would belong to the next epoch.
                    Some((_, durable)) => steps.extend(durable.then_some(Step::Publish)),
                    None => {
                        let done = |input: &u8| producer.state.history.iter().any(|(id, _)| id == input);
                        let open = (0..self.inputs).filter(|input| !done(input)).take(usize::from(self.open));
                        steps.extend(open.map(Step::Emit));
                        steps.extend((world.checkpoints[0] > 0).then_some(Step::Barrier));
                    }
                }
                steps.extend((world.crashes[0] > 0).then_some(Step::CrashProducer));
            }
            Some(_) => steps.extend((world.crashes[0] > 0).then_some(Step::CrashProducer)),
        }
        if world.epochs.last().is_some_and(|record| Some(record.published) != world.core.published()) {
            steps.push(Step::ReadRecord);
        }
        match &world.consumer {
            None => steps.push(Step::StartConsumer),
            Some(consumer) => {
                steps.extend(world.next(consumer).is_some().then_some(Step::Read));
                let new = self.idle_checkpoints || world.consumer_checkpoints.last() != Some(consumer);
                steps.extend((new && world.checkpoints[1] > 0).then_some(Step::Checkpoint));
                steps.extend((world.crashes[1] > 0).then_some(Step::CrashConsumer));
            }
        }
        if world.crashes[2] > 0 {
            steps.extend([Survives::Nothing, Survives::Everything, Survives::Half].map(Step::CrashHost));
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut world = world.clone();
        match step {
            Step::Claim => world.claim(),
            Step::TakeOver => world.take_over(),
            Step::Emit(input) => world.emit(input, self.journalled),
            Step::Barrier => world.barrier(),
            Step::Publish => world.publish(),
            Step::ReadRecord => {
                let published = world.epochs.last()?.published;
                world.feed(Fact::Published(published));
            }
            Step::Disk(place) => {
                let action = world.io.remove(place);
                let fact = world.disk.carry_out(&action)?;
                world.feed(fact);
            }
            Step::RemovalFails(place) => {
                world.io.remove(place);
                world.failed_removals -= 1;
                let failure = Failure { kind: Kind::Unavailable, chain: "remove".to_string() };
                world.feed(Fact::Removed(Err(failure)));
            }
            Step::StartConsumer => world.start_consumer(),
            Step::Read => world.read(),
            Step::Checkpoint => world.checkpoint(),
            Step::CrashProducer => {
                world.crashes[0] -= 1;
                world.producer = None;
            }
            Step::CrashConsumer => {
                world.crashes[1] -= 1;
                world.consumer = None;
            }
            Step::CrashHost(survives) => world.crash_host(survives, &self.settings()),
        }
        if world.broken.is_none() {
            world.broken = world.broken_promise(self);
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("no row is seen twice", |_, world: &World| world.broken != Some("a row is seen twice")),
            Property::always("what is seen is what its producer says", |_, world: &World| {
                world.broken != Some("what is seen contradicts the producer")
            }),
            Property::always("nothing is lost", |_, world: &World| world.broken != Some("a row is lost")),
            Property::always("every restart finds what it needs", |_, world: &World| {
                world.broken != Some("a restart does not find what it needs")
            }),
            Property::always("what is retained is there", |_, world: &World| {
                world.broken != Some("what a checkpoint retains is trimmed")
            }),
        ];
        if self.bug.is_none() && self.journalled | (self.mode == EdgeMode::CommitRead) {
            properties.push(Property::sometimes("everything is seen after crashes", |model: &Self, world: &World| {
                world.crashes == [0, 0, 0]
                    && world.consumer.as_ref().is_some_and(|consumer| consumer.seen.len() == usize::from(model.inputs))
            }));
            properties
                .push(Property::sometimes("a log is trimmed", |_, world: &World| world.reached.contains("trimmed")));
            if self.mode == EdgeMode::IdDedupe {
                properties.push(Property::sometimes("a row written again is dropped", |_, world: &World| {
                    world.reached.contains("dropped")
                }));
            }
        }
        properties
    }
}

// === impl World ===

impl World {
    /// Hands the core a fact, keeps the disk work it asks for, and takes what it tells.
    fn feed(&mut self, fact: Fact) {
        for action in self.core.step(fact) {
            match action {
                Action::Tell { ticket, result } => self.told(ticket, result.is_ok(), result.ok()),
                Action::WakeReaders | Action::WakeWriters => {}
                Action::Remove { .. } => {
                    self.reached.insert("trimmed");
                    self.io.push(action);
                }
                action => self.io.push(action),
            }
        }
    }

    /// Tickets are the attempt that waits; an answer to one that is gone says nothing.
    fn told(&mut self, ticket: u64, good: bool, told: Option<Told>) {
        let Some(producer) = self.producer.as_mut().filter(|producer| producer.attempt == ticket) else { return };
        if !good {
            self.broken = Some("a restart does not find what it needs");
        } else if told == Some(Told::Done) {
            match &mut producer.barrier {
                Some((_, durable)) => *durable = true,
                None => producer.ready = true,
            }
        }
    }

    fn claim(&mut self) {
        self.attempts += 1;
        let newest = self.epochs.last().cloned();
        let (number, base, state) = match newest {
            Some(newest) => (newest.published.epoch.next(), newest.published.state_of, newest.state),
            None => (Epoch(1), None, ProducerState::default()),
        };
        self.epochs.push(EpochRecord { published: Published { epoch: number, state_of: base }, state: state.clone() });
        let (attempt, epoch) = (self.attempts, number.next());
        self.producer = Some(Producer { attempt, epoch, base, claimed: true, ready: false, state, barrier: None });
    }

    fn take_over(&mut self) {
        let Some(producer) = &mut self.producer else { return };
        producer.claimed = false;
        let (attempt, base, next_epoch) = (producer.attempt, producer.base, producer.epoch);
        let writers = base.map(|_| (GROUP, producer.state.writer.clone())).into_iter().collect();
        self.feed(Fact::TakeOver { ticket: attempt, claim: Claim { attempt, base, next_epoch, writers } });
    }

    fn emit(&mut self, input: u8, journalled: bool) {
        let Some(producer) = &mut self.producer else { return };
        let (attempt, epoch) = (producer.attempt, producer.epoch);
        let value = if journalled { 0 } else { attempt };
        producer.state.history.push((input, value));
        let key = Regions::key(input);
        if self.core.admit(attempt, &[(GROUP, key)]).is_empty() {
            self.reached.insert("dropped");
            return;
        }
        let content = Content::Rows { groups: vec![(GROUP, 1)], keys: vec![key] };
        self.feed(Fact::Append { ticket: attempt, attempt, epoch, content, body: Bytes::from(vec![value as u8]) });
    }

    fn barrier(&mut self) {
        self.checkpoints[0] -= 1;
        let Some(producer) = &mut self.producer else { return };
        let mut state = producer.state.clone();
        state.writer = self.core.writer_states(0..1).remove(&GROUP).unwrap_or_default();
        producer.barrier = Some((state, false));
        let attempt = producer.attempt;
        self.feed(Fact::Flush { ticket: attempt, attempt });
    }

    fn publish(&mut self) {
        let Some(producer) = &mut self.producer else { return };
        let Some((state, _)) = producer.barrier.take() else { return };
        let epoch = producer.epoch;
        producer.epoch = epoch.next();
        producer.state.writer = state.writer.clone();
        let retained = Positions([(GROUP, state.writer.end)].into());
        self.epochs.push(EpochRecord { published: Published { epoch, state_of: Some(epoch) }, state });
        self.feed(Fact::ProducerRetained(retained));
    }

    fn next(&self, consumer: &Consumer) -> Option<&Record> {
        let wanted = |record: &Record| record.spans.iter().any(|span| span.end() > consumer.position);
        self.core.next_visible(0, wanted).map(|record| &**record)
    }

    fn start_consumer(&mut self) {
        let consumer = self.consumer_checkpoints.last().cloned().unwrap_or_default();
        let extent = self.core.extent(GROUP);
        if consumer.position < extent.start || consumer.position > extent.end {
            self.broken = Some("a restart does not find what it needs");
        }
        self.consumer = Some(consumer);
    }

    fn read(&mut self) {
        let Some(mut consumer) = self.consumer.take() else { return };
        let Some(record) = self.next(&consumer) else { return };
        let bytes = self.disk.read(&record.place.file(), record.place.start);
        match record::parse(bytes, 1 << 16) {
            Ok((head, body, _)) if head.spans == record.spans && record.spans[0].start == consumer.position => {
                let input = head.keys[0].id.ordinal as u8;
                consumer.seen.push((input, u64::from(bytes[body])));
                consumer.position = record.spans[0].end();
            }
            _ => self.broken = Some("a restart does not find what it needs"),
        }
        self.consumer = Some(consumer);
    }

    /// The consumer keeps two checkpoints; another consumer, which is slower, keeps the one before.
    fn checkpoint(&mut self) {
        self.checkpoints[1] -= 1;
        let Some(consumer) = self.consumer.clone() else { return };
        self.consumer_checkpoints.push(consumer);
        let at = |back: usize| {
            let place = self.consumer_checkpoints.len().saturating_sub(back);
            Positions([(GROUP, self.consumer_checkpoints[place].position)].into())
        };
        let (consumer, slow) = (at(1), at(2));
        self.feed(Fact::ConsumerRetained { consumer: "slow".into(), positions: slow });
        self.feed(Fact::ConsumerRetained { consumer: "consumer".into(), positions: consumer });
    }

    fn crash_host(&mut self, survives: Survives, settings: &CoreSettings) {
        self.crashes[2] -= 1;
        self.disk.crash(survives);
        (self.producer, self.consumer) = (None, None);
        self.io.clear();
        match self.disk.open(settings) {
            Ok(core) => self.core = core,
            Err(_) => self.broken = Some("a restart does not find what it needs"),
        }
    }

    /// The first promise that does not hold.
    fn broken_promise(&self, model: &Regions) -> Option<&'static str> {
        let oldest = self.consumer_checkpoints.len().saturating_sub(2);
        if self.core.extent(GROUP).start > self.consumer_checkpoints[oldest].position {
            return Some("what a checkpoint retains is trimmed");
        }
        let consumer = self.consumer.as_ref()?;
        let ids: BTreeSet<u8> = consumer.seen.iter().map(|(input, _)| *input).collect();
        if ids.len() != consumer.seen.len() {
            return Some("a row is seen twice");
        }
        let published = self.epochs.last().map(|record| record.state.history.as_slice()).unwrap_or_default();
        let agrees = match model.mode {
            EdgeMode::CommitRead => published.starts_with(&consumer.seen),
            EdgeMode::IdDedupe => {
                let running =
                    self.producer.as_ref().map(|producer| producer.state.history.as_slice()).unwrap_or_default();
                let all = published.iter().chain(running);
                consumer.seen.iter().all(|row| all.clone().all(|said| said.0 != row.0 || said.1 == row.1))
            }
        };
        if !agrees {
            return Some("what is seen contradicts the producer");
        }
        let told = self.epochs.last().is_some_and(|record| Some(record.published) == self.core.published());
        let read_all = told && self.io.is_empty() && self.next(consumer).is_none();
        let lost = read_all && published.iter().any(|(input, _)| !ids.contains(input));
        lost.then_some("a row is lost")
    }
}
