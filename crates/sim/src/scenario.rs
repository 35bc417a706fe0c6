//! What a seed draws: a job, its input, and which faults happen when.
//!
//! Swarm testing: every seed has its own subset of the faults, each at its own rate, because faults that are always on
//! hide each other.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use forebay_engine::Stop;

use crate::disk::{Trap, Weather};
use crate::drops::Drops;
use crate::oracle::{Expected, Row};
use crate::random::Random;
use crate::savepoints::{self, Keeping};
use crate::shape::Shape;
use crate::timed::Timed;

/// Paths in which a process may be caught: the narrow places of the protocols.
const NARROW: [&str; 9] =
    ["/epoch/", "/manifest/", "_commits", "/committed/", "/generation/", "_staging", "part-", "journal/", "/state/"];
/// How many of [`NARROW`] are places where a stall is dangerous: between looking and publishing.
const STALLING: usize = 3;

/// The answer of the last rung.
pub(crate) const CONSTANT: &str = "nobody knows";

/// Most checkpoints that begin while one call of the model runs.
const CHECKPOINTS_PER_CALL_MAX: u64 = 8;

/// How long rows wait for each other where many have to be sent again, about: one a second may be.
const RETRIES_LAST_MS: u64 = 8_000;

/// Everything that a seed draws before it starts.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The input files, name and content.
    pub(crate) files: Vec<(String, String)>,
    /// What must come out.
    pub(crate) expected: Expected,
    /// The job.
    pub(crate) job: Job,
    /// How its streams run.
    pub(crate) shape: Shape,
    /// What of it has event time.
    pub(crate) timed: Option<Timed>,
    /// Files that come while it runs.
    pub(crate) drops: Option<Drops>,
    /// What happens to the first processes, one each.
    pub(crate) troubles: Vec<Trouble>,
    /// Steps after which the last process has no more faults.
    pub(crate) heal_after: u64,
    /// What the model does beside answering.
    pub(crate) moods: Moods,
    /// What the disk does.
    pub(crate) weather: Weather,
    /// How many checkpoints are kept.
    pub(crate) keep: usize,
    /// Whether the job goes back to a savepoint once more after its end.
    pub(crate) back_after_end: bool,
}

/// The settings of the job file.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub filter: bool,
    pub doubled: bool,
    pub interval_ms: u64,
    pub read_rows: u64,
    pub batch_rows: u64,
    pub linger_ms: u64,
    pub in_flight: u64,
    pub order: &'static str,
    pub fallback: Fallback,
    /// Rows have to be answered within this.
    pub deadline_ms: Option<u64>,
    pub attempts: u32,
    pub timeout_ms: u64,
    pub replicas: u64,
    /// The objective that the model's limit follows.
    pub latency_ms: Option<u64>,
    pub file_bytes: u64,
}

/// Other answers for rows that the model does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallback {
    None,
    Constant,
    Second,
    SecondThenConstant,
}

/// Faults of the model, per mille of its calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moods {
    pub die: u64,
    pub wrong_count: u64,
    pub lost: u64,
    pub late: u64,
    pub exhausted: u64,
    pub start_fails: u64,
    /// Calls refused because the model is full.
    pub refused: u64,
    /// The model is elsewhere and takes many calls at a time.
    pub remote: bool,
    /// Rows, per mille, of which a model elsewhere makes a failure as if it were down; not of calls.
    pub toxic: u64,
    /// Replicas of a local model take calls ahead.
    pub ahead: bool,
    pub latency_max: Duration,
}

/// What ends a process before its time.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    pub kind: TroubleKind,
    pub trigger: Trigger,
    pub layout: Layout,
    /// From where the process goes on.
    pub back: Back,
    /// The savepoint that somebody makes while it runs.
    pub keeping: Option<Keeping>,
    /// The disk is full after so many bytes, for a while.
    pub full_after: Option<u64>,
}

/// From where a process goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Back {
    Latest,
    /// An older checkpoint, if there is one.
    Older,
    /// A savepoint, if there is one.
    Savepoint,
}

/// How many subtasks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Layout {
    pub job: u16,
    pub sink: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TroubleKind {
    /// The process ends; the machine does not.
    Kill,
    /// The machine loses power.
    PowerLoss,
    /// The user asks to stop.
    Stop(Stop),
    /// The process stalls; another takes its place; it wakes up after so many steps, for so many steps.
    Stall { after: u64, lives: u64 },
}

#[derive(Debug, Clone)]
pub(crate) enum Trigger {
    Steps(u64),
    Caught(Trap),
}

// === impl Scenario ===

impl Scenario {
    /// What `seed` draws.
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed, "scenario");
        let moods = Moods::draw(&mut random);
        let toxic = if moods.remote { Moods::draw_toxic(seed) } else { 0 };
        let moods = Moods { ahead: Random::new(seed, "ahead").chance(500), toxic, ..moods };
        let job = Job::draw(&mut random, &moods);
        let (mut files, expected) = input(&mut random, &mut Random::new(seed, "toxic rows"), &job, toxic);
        let mut timed = Timed::draw(seed);
        let far_max = timed.as_ref().map(|timed| timed.far_max).unwrap_or_default();
        files.extend(timed.iter().flat_map(Timed::files));
        let stalls = random.chance(150);
        let drops = Drops::draw(seed, stalls);
        files.extend(drops.iter().map(Drops::first));
        let mut shape = Shape::draw(seed);
        let mut troubles = troubles(&mut random, stalls);
        // Two processes may not share the log of an edge.
        shape.cut = shape.cut.filter(|_| !stalls);
        let back_after_end = savepoints::draw(seed, &mut troubles, &mut shape, stalls);
        // Two regions are enough.
        timed.iter_mut().for_each(|timed| timed.cut = timed.cut.filter(|_| shape.cut.is_none() && !stalls));
        Self {
            files,
            expected,
            job,
            shape,
            timed,
            drops,
            troubles,
            heal_after: random.below(3000),
            moods,
            weather: Weather { far_max, ..weather(&mut random) },
            keep: random.within(1, 3) as usize,
            back_after_end,
        }
    }

    /// The job file for one layout.
    pub(crate) fn job_text(&self, layout: Layout) -> String {
        let Job { interval_ms, read_rows, batch_rows, linger_ms, in_flight, attempts, timeout_ms, .. } = &self.job;
        let Job { replicas, file_bytes, filter, doubled, .. } = &self.job;
        let latency = self.job.latency_ms.map(|ms| format!("latency = \"{ms}ms\"")).unwrap_or_default();
        let order = self.job.order;
        let key = if order == "per_key" { "key = [\"k\"]" } else { "" };
        let deadline = self.job.deadline_ms.map(|ms| format!("deadline = \"{ms}ms\"")).unwrap_or_default();
        let fallback = self.job.fallback.text();
        let second = if self.job.fallback.has_second() { "[model.second]\nhost = \"fake\"" } else { "" };
        let (sources, (steps, last)) = (self.shape.sources(*read_rows), self.shape.steps(*filter, *doubled));
        let sinks = self.shape.sinks(&last, self.timed.is_some() || self.drops.is_some(), *file_bytes, layout.sink);
        let drops = self.drops.as_ref().map(|drops| drops.text(*read_rows, layout.sink)).unwrap_or_default();
        let timed = self.timed.as_ref();
        let timed_head = timed.map(Timed::head).unwrap_or_default();
        let timed_ends = timed.map(|timed| timed.sources(*read_rows) + &timed.steps(&self.job)).unwrap_or_default();
        let timed_sinks = timed.map(|timed| timed.sinks(*file_bytes, layout.sink)).unwrap_or_default();
        format!(
            r#"name = "sim"
parallelism = {}
key_groups = 16
checkpoint_interval = "{interval_ms}ms"
{timed_head}
{sources}{steps}{timed_ends}{drops}[[step]]
from = "{last}"
[step.infer]
uid = "ask"
model = "m"
inputs = {{ text = "text" }}
outputs = {{ answer = "answer" }}
batch_rows = {batch_rows}
linger = "{linger_ms}ms"
in_flight = {in_flight}
order = "{order}"
{key}
{deadline}
{fallback}
attempts = {attempts}
timeout = "{timeout_ms}ms"

[model.m]
host = "fake"
replicas = {replicas}
{latency}

{second}

{sinks}{timed_sinks}"#,
            layout.job
        )
    }

    /// Whether the job has a second region.
    pub(crate) fn is_cut(&self) -> bool {
        self.shape.cut.is_some() || self.timed.as_ref().is_some_and(|timed| timed.cut.is_some())
    }

    /// Whether a stalled process wakes up beside its successor.
    pub(crate) fn stalls(&self) -> bool {
        self.troubles.iter().any(|trouble| matches!(trouble.kind, TroubleKind::Stall { .. }))
    }
}

// === impl Fallback ===

impl Fallback {
    pub fn has_second(self) -> bool {
        matches!(self, Self::Second | Self::SecondThenConstant)
    }

    pub fn has_constant(self) -> bool {
        matches!(self, Self::Constant | Self::SecondThenConstant)
    }

    fn text(self) -> String {
        let second = self.has_second().then(|| "{ model = \"second\" }".to_string());
        let constant = self.has_constant().then(|| format!("{{ constant = {{ answer = \"{CONSTANT}\" }} }}"));
        let rungs: Vec<String> = second.into_iter().chain(constant).collect();
        if rungs.is_empty() { String::new() } else { format!("fallback = [{}]", rungs.join(", ")) }
    }
}

// === impl Job ===

impl Job {
    fn draw(random: &mut Random, moods: &Moods) -> Self {
        let timeout_ms = random.pick(&[500, 5_000, 30_000]);
        let waits = moods.lost + moods.late > 0;
        let latency_ms = moods.latency_max.as_millis() as u64;
        let longest_ms = match () {
            // Most calls run out of time, and rows wait for their turn to be sent again.
            () if latency_ms > timeout_ms || moods.toxic > 0 => RETRIES_LAST_MS,
            () if waits => timeout_ms,
            () => latency_ms,
        };
        Self {
            filter: random.chance(500),
            doubled: random.chance(500),
            // Many checkpoints within one call of the model, but not thousands: that would only take long.
            interval_ms: random.pick(&[40, 150, 600, 2000]).max(longest_ms / CHECKPOINTS_PER_CALL_MAX),
            read_rows: random.within(1, 12),
            batch_rows: random.within(1, 8),
            linger_ms: random.pick(&[1, 5, 50]),
            in_flight: random.within(1, 4),
            order: random.pick(&["ordered", "unordered", "per_key"]),
            fallback: random.pick(&[
                Fallback::None,
                Fallback::None,
                Fallback::Constant,
                Fallback::Second,
                Fallback::SecondThenConstant,
            ]),
            deadline_ms: random.chance(250).then(|| random.pick(&[30, 300, 3_000])),
            attempts: if random.chance(250) { random.within(1, 3) as u32 } else { 60 },
            timeout_ms,
            replicas: random.within(1, 3),
            latency_ms: random.chance(400).then(|| random.pick(&[20, 200, 2_000])),
            file_bytes: random.pick(&[200, 1_000, 1_000_000]),
        }
    }
}

// === impl Moods ===

impl Moods {
    fn draw(random: &mut Random) -> Self {
        let mut maybe = |most: u64| if random.chance(350) { random.within(1, most) } else { 0 };
        let (die, wrong_count, lost) = (maybe(150), maybe(100), maybe(80));
        let (late, exhausted, start_fails) = (maybe(80), maybe(100), maybe(300));
        let latency_max = Duration::from_millis(random.pick(&[2, 20, 100, 1_000]));
        let remote = random.chance(350);
        let refused = if remote && random.chance(500) { random.within(1, 300) } else { 0 };
        Self { die, wrong_count, lost, late, exhausted, start_fails, refused, remote, latency_max, ..Self::default() }
    }

    /// How many rows are toxic.
    fn draw_toxic(seed: u64) -> u64 {
        let mut random = Random::new(seed, "toxic");
        if random.chance(500) { random.within(8, 25) } else { 0 }
    }
}

fn input(random: &mut Random, toxic_random: &mut Random, job: &Job, toxic: u64) -> (Vec<(String, String)>, Expected) {
    let (mut files, mut expected) = (Vec::new(), Expected::new(job.filter, job.doubled));
    let poison = if random.chance(600) { random.within(10, 120) } else { 0 };
    let bad = if random.chance(300) { 40 } else { 0 };
    let rows = random.within(24, 96);
    let count = random.within(3, 9);
    for file in 0..count {
        let mut text = String::new();
        for id in (0..rows).filter(|id| id % count == file) {
            let (n, poisonous) = (random.below(1000), random.chance(poison));
            let row = Row { id, n, poisonous, toxic: toxic_random.chance(toxic) };
            text.push_str(&row.line());
            expected.take(row);
            // Not in the first file: the schema is taken from it.
            if file > 0 && random.chance(bad) {
                text.push_str("{ this is no row\n");
                expected.bad_lines += 1;
            }
        }
        files.push((format!("in/{file:02}.jsonl"), text));
    }
    (files, expected)
}

fn troubles(random: &mut Random, stalls: bool) -> Vec<Trouble> {
    let count = if random.chance(60) { random.below(2) } else { random.within(4, 9) };
    let (stops, older, full) = (random.chance(300), !stalls && random.chance(300), random.chance(150));
    let power_only = random.chance(400);
    let rescales = random.chance(500);
    let mut layout = Layout { job: random.within(1, 3) as u16, sink: random.within(1, 3) as u16 };
    let stalled = if stalls { random.below(count) } else { u64::MAX };
    let draw = |place| {
        if rescales && random.chance(500) {
            layout = Layout { job: random.within(1, 3) as u16, sink: random.within(1, 3) as u16 };
        }
        let kind = match () {
            () if place == stalled => TroubleKind::Stall { after: random.below(1500), lives: random.within(1, 3000) },
            () if stops && random.chance(250) => {
                TroubleKind::Stop(if place % 2 == 0 { Stop::Drain } else { Stop::Suspend })
            }
            () if power_only || random.chance(500) => TroubleKind::PowerLoss,
            () => TroubleKind::Kill,
        };
        let stall = matches!(kind, TroubleKind::Stall { .. });
        let trigger = if random.chance(if stall { 800 } else { 500 }) {
            let part = if stall { random.pick(&NARROW[..STALLING]) } else { random.pick(&NARROW) };
            Trigger::Caught(Trap { part, nth: random.within(1, 8) as u32 })
        } else {
            let most = 1 << random.within(4, 10);
            Trigger::Steps(random.within(8, most))
        };
        let full_after = (full && random.chance(500)).then(|| random.below(20_000));
        let back = if older && random.chance(400) { Back::Older } else { Back::Latest };
        Trouble { kind, trigger, layout, back, keeping: None, full_after }
    };
    (0..count).map(draw).collect()
}

fn weather(random: &mut Random) -> Weather {
    let fails = random.chance(250);
    let slow = random.chance(500);
    Weather {
        slow_per_mille: if slow { random.within(1, 400) } else { 0 },
        slow_max: Duration::from_millis(random.pick(&[1, 20, 300])),
        fail_per_mille: if fails { random.within(1, 8) } else { 0 },
        fail_sync_per_mille: if random.chance(200) { random.within(1, 30) } else { 0 },
        failures_left: Arc::new(AtomicU32::new(random.within(1, 12) as u32)),
        far_max: Duration::ZERO,
    }
}
