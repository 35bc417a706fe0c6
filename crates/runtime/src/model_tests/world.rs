//! Four real subtasks over real channels: a reader gives every row to a slow model and to an operator that hands on, and a sink
//! takes what both give. Whoever is woken may be next; the model chooses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use forebay_core::element::{Barrier, Epoch};
use forebay_core::operator::{Context, Identity, Operator, Restored};
use forebay_core::testing::ManualEnv;
use forebay_core::time::Instant;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::executor::block_on;

use super::flow::{Action, Flow};
use super::operators::{Pass, Seen, Sink, Slow, Source, look};
use crate::chain::{Chain, Stage};
use crate::channel::{Channel, Window};
use crate::channel_state;
use crate::inputs::{InputChannel, Inputs};
use crate::outlet::{Outlet, Route, Way};
use crate::subtask::{Command, CommandQueue, Head, Report, Subtask, SubtaskId, SubtaskParts, Turn};

/// The subtasks, by their numbers.
pub const NAMES: [&str; 4] = ["source", "slow", "pass", "sink"];
pub const SOURCE: usize = 0;
pub const SLOW: usize = 1;
pub const PASS: usize = 2;
pub const SINK: usize = 3;

/// The channels: from, to, and the input there.
pub const CHANNELS: [(usize, usize, u8); 4] = [(SOURCE, SLOW, 0), (SOURCE, PASS, 0), (SLOW, SINK, 0), (PASS, SINK, 1)];

/// How long a barrier waits for alignment.
const OVERTAKE_AFTER: Duration = Duration::from_secs(1);

/// Turns after which a subtask that always has something to do is stuck in a circle.
const TURNS_MAX: usize = 1000;

/// Everything, built anew for each state of the model.
pub struct World {
    pub channels: Vec<Arc<Channel>>,
    pub seen: Vec<Seen>,
    subtasks: Vec<Subtask>,
    woken: Vec<Arc<Flag>>,
    timers: [Option<Instant>; 4],
    commands: CommandQueue,
    reports: UnboundedReceiver<Report>,
    now: Instant,
    /// What each checkpoint holds so far: of how many subtasks, by uid.
    pub frozen: BTreeMap<Epoch, (usize, BTreeMap<String, Vec<Bytes>>)>,
    pub ended: usize,
    pub barriers: u64,
    /// A subtask that never comes to rest, or that is called again and again for nothing.
    pub spins: bool,
    pub overtaken: bool,
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

// === impl World ===

impl World {
    pub fn new(flow: &Flow) -> Self {
        let window = Window { bytes: usize::MAX, rows: flow.window };
        let channel = |_| Arc::new(Channel::new(window).with_bug(flow.bug));
        let channels: Vec<Arc<Channel>> = (0..CHANNELS.len()).map(channel).collect();
        let woken: Vec<Arc<Flag>> = (0..NAMES.len()).map(|_| Arc::new(Flag(AtomicBool::new(true)))).collect();
        let seen: Vec<Seen> = (0..NAMES.len()).map(|_| Seen::default()).collect();
        look(&seen[SINK], |shown| shown.stalled = flow.stalled);
        let (sender, reports) = unbounded();
        let commands = CommandQueue::new(Waker::from(Arc::clone(&woken[SOURCE])));
        let subtask = |place: usize| {
            let waker = Waker::from(Arc::clone(&woken[place]));
            let commands = if place == SOURCE { commands.clone() } else { CommandQueue::new(waker.clone()) };
            let mut subtask = Subtask::new(parts(flow, place, &channels, &seen[place], commands, &sender, waker));
            subtask.open().unwrap();
            subtask
        };
        let subtasks = (0..NAMES.len()).map(subtask).collect();
        Self {
            subtasks,
            channels,
            seen,
            woken,
            timers: [None; 4],
            commands,
            reports,
            now: Instant(0),
            frozen: BTreeMap::new(),
            ended: 0,
            barriers: 0,
            spins: false,
            overtaken: false,
        }
    }

    pub fn actions(&self, flow: &Flow) -> Vec<Action> {
        let woken = (0..NAMES.len()).filter(|place| self.woken[*place].0.load(Ordering::SeqCst));
        let mut actions: Vec<Action> = woken.map(|place| Action::Turn(place as u8)).collect();
        if self.timers.iter().flatten().next().is_some() {
            actions.push(Action::Tick);
        }
        if look(&self.seen[SLOW], |shown| shown.answered < shown.held.len()) {
            actions.push(Action::Answer);
        }
        if look(&self.seen[SINK], |shown| shown.stalled) {
            actions.push(Action::Resume);
        }
        // One checkpoint at a time, as the coordinator has it.
        if self.barriers < flow.barriers && self.complete().count() as u64 == self.barriers {
            actions.push(Action::Barrier);
        }
        actions
    }

    pub fn carry_out(&mut self, action: Action, fine: bool) {
        match action {
            Action::Turn(place) => self.turn(usize::from(place), fine),
            Action::Tick => self.tick(),
            Action::Answer => {
                look(&self.seen[SLOW], |shown| shown.answered += 1);
                self.wake(SLOW);
            }
            Action::Resume => {
                look(&self.seen[SINK], |shown| shown.stalled = false);
                self.wake(SINK);
            }
            Action::Barrier => {
                self.barriers += 1;
                let barrier = Barrier { epoch: Epoch(self.barriers), drain: false, overtakes: false };
                self.commands.send(Command::Barrier(barrier));
            }
        }
        self.take_reports();
        let overtakes = |channel: &Arc<Channel>| channel.queued_barrier().is_some_and(|barrier| barrier.overtakes);
        self.overtaken |= self.channels.iter().any(overtakes);
    }

    /// The epochs of which every subtask gave its part.
    pub fn complete(&self) -> impl Iterator<Item = (Epoch, &BTreeMap<String, Vec<Bytes>>)> {
        let whole = self.frozen.iter().filter(|(_, (subtasks, _))| *subtasks == NAMES.len());
        whole.map(|(epoch, (_, parts))| (*epoch, parts))
    }

    /// Everything that what happens next follows from.
    pub fn shape(&self) -> String {
        let subtasks: Vec<String> = self.subtasks.iter().map(|subtask| subtask.shape(self.now)).collect();
        let channels: Vec<_> = self.channels.iter().map(|channel| channel.shape()).collect();
        let woken: Vec<bool> = self.woken.iter().map(|flag| flag.0.load(Ordering::SeqCst)).collect();
        let timers: Vec<_> = self.timers.iter().map(|timer| timer.map(|at| at.0.saturating_sub(self.now.0))).collect();
        let seen: Vec<_> = self.seen.iter().map(|seen| look(seen, |shown| format!("{shown:?}"))).collect();
        let (frozen, ended, spins) = (&self.frozen, self.ended, self.spins);
        format!("{subtasks:?} {channels:?} {woken:?} {timers:?} {seen:?} {frozen:?} {ended} {spins} {}", self.overtaken)
    }

    fn wake(&self, place: usize) {
        self.woken[place].0.store(true, Ordering::SeqCst);
    }

    /// Calls a subtask until there is nothing to do, or once if `fine`, as a host does.
    fn turn(&mut self, place: usize, fine: bool) {
        self.woken[place].0.store(false, Ordering::SeqCst);
        for _ in 0..TURNS_MAX {
            let before = self.subtasks[place].shape(self.now);
            match self.subtasks[place].turn(self.now).unwrap() {
                Turn::Moved if fine => return self.wake(place),
                Turn::Moved => {}
                Turn::Idle(timer) => {
                    self.timers[place] = timer.filter(|at| *at > self.now);
                    if timer.is_some() && self.timers[place].is_none() {
                        self.spins |= self.subtasks[place].shape(self.now) == before;
                        self.wake(place);
                    }
                    return;
                }
            }
        }
        self.spins = true;
    }

    /// Time passes up to the next timer.
    fn tick(&mut self) {
        self.now = self.timers.iter().flatten().copied().min().unwrap_or(self.now);
        for place in 0..NAMES.len() {
            if self.timers[place].is_some_and(|at| at <= self.now) {
                self.timers[place] = None;
                self.wake(place);
            }
        }
    }

    fn take_reports(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            match report {
                Report::Frozen(_, epoch, parts) => {
                    let (subtasks, by_uid) = self.frozen.entry(epoch).or_default();
                    *subtasks += 1;
                    for (uid, part) in parts {
                        let groups = block_on(part).unwrap().groups;
                        let texts = groups.into_iter().map(|(group, bytes)| match uid.starts_with('~') {
                            true => numbers(&channel_state::thaw(&uid, group, &bytes).unwrap()),
                            false => bytes,
                        });
                        by_uid.entry(uid.clone()).or_default().extend(texts);
                    }
                }
                Report::Ended(_) => self.ended += 1,
                Report::Failed(id, error) => panic!("{id:?} failed: {error:?}"),
            }
        }
    }
}

fn numbers(batch: &forebay_core::Batch) -> Bytes {
    batch.ids().iter().map(|id| id.ordinal.to_string()).collect::<Vec<_>>().join(" ").into()
}

/// The name of an edge in checkpoints.
pub fn edge(from: &str, to: &str, port: u8) -> String {
    channel_state::name(from, 0, to, port)
}

fn parts(
    flow: &Flow,
    place: usize,
    channels: &[Arc<Channel>],
    seen: &Seen,
    commands: CommandQueue,
    reports: &UnboundedSender<Report>,
    waker: Waker,
) -> SubtaskParts {
    let identity = Identity { uid: NAMES[place].into(), subtask: 0, parallelism: 1, groups: 1, attempt: 1 };
    let context = Context { identity, env: Arc::new(ManualEnv::new(1)), waker: waker.clone() };
    let operator: Option<Box<dyn Operator>> = match place {
        SLOW => Some(Box::new(Slow(Arc::clone(seen)))),
        PASS => Some(Box::new(Pass(Arc::clone(seen)))),
        SINK => Some(Box::new(Sink(Arc::clone(seen)))),
        _ => None,
    };
    let stage = |operator| Stage { operator, context: context.clone(), restored: Restored::default() };
    let into = CHANNELS.iter().zip(channels).filter(|((_, to, _), _)| *to == place);
    let inputs = into.map(|((from, to, port), channel)| InputChannel {
        port: *port,
        channel: Arc::clone(channel),
        edge: edge(NAMES[*from], NAMES[*to], *port),
        way: Way::Forward,
        restored: Vec::new(),
    });
    let out_of = CHANNELS.iter().zip(channels).filter(|((from, _, _), _)| *from == place);
    let routes = out_of.map(|(_, channel)| Route { port: 0, way: Way::Forward, channels: vec![Arc::clone(channel)] });
    let source = Source { batches: flow.batches.clone(), seen: Arc::clone(seen) };
    let (splits, restored) = (Vec::new(), Restored::default());
    let reader = Head::Reader { reader: Box::new(source), context: context.clone(), splits, restored, is_input: true };
    SubtaskParts {
        id: SubtaskId { task: place as u16, subtask: 0 },
        head: if place == SOURCE { reader } else { Head::Inputs },
        inputs: Inputs::new(inputs.collect(), 1).with_bug(flow.bug),
        // Never into a sink.
        overtake_after: (flow.overtakes && place != SINK).then_some(OVERTAKE_AFTER),
        chain: Chain::new(operator.map(stage).into_iter().collect(), None, place == SINK, Arc::default()),
        outlet: Outlet::new(routes.collect(), 1, waker.clone()),
        commands,
        reports: reports.clone(),
        counters: Arc::default(),
        waker,
        bug: flow.bug,
    }
}
