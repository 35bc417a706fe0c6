//! What survives a process, and the story of one seed: processes one after the other, faults, healing, the end.

mod going_back;
mod shelf;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use forebay_core::Kind;
use forebay_core::hash::hash64;
use forebay_core::testing::{ManualEnv, MemoryDisk};
use forebay_core::time::Instant;
use forebay_engine::{Report, ResumeJob, RunOptions, Stop, prepare_with};
use forebay_plan::Plan;

use crate::counts::Counts;
use crate::disk::{Gate, Weather};
use crate::drops::Arrivals;
use crate::invariants::{Invariants, check_end, check_plain};
use crate::model::Books;
use crate::mutants::Mutant;
use crate::outside::SimOutside;
use crate::process::{Process, Step};
use crate::random::{Random, Trace};
use crate::scenario::{Layout, Scenario, Trigger, Trouble, TroubleKind};
use crate::timed::{check_timed, components};
use crate::view::{CHECKPOINTS, View, write};

use shelf::Shelf;

/// Steps in which a process must end. The longest seen, in which a model of up to a second is asked row by row, takes 406,000.
const STEPS_MAX: u64 = 1_000_000;
/// Processes after the troubles that may still fail, before all faults end.
const FAILING_PROCESSES_MAX: u32 = 2;
/// Processes after the troubles within which the job must end.
const PROCESSES_MAX: u32 = FAILING_PROCESSES_MAX + 2;
/// Steps between two looks at the disk, on average.
const LOOK_EVERY: u64 = 150;
/// After so many steps a process is looked at a tenth as often: what is on its disk has grown, and little happens that is new.
const OLD_STEPS: u64 = 50_000;
/// How a job runs to its end that had no trouble.
const LAST_LAYOUT: Layout = Layout { job: 2, sink: 1 };

/// What a seed came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Processes that were killed, by the machine or alone.
    pub crashes: u64,
    /// Pieces of work done.
    pub steps: u64,
    /// Virtual time of all processes.
    pub simulated: Duration,
    /// Hash of every choice and every write.
    pub trace: u64,
    /// Faults that fired and states that were reached.
    pub counts: Counts,
}

/// Runs `seed` against the engine with the bug of `mutant`.
///
/// # Errors
/// The invariant that broke and how.
pub fn run(seed: u64, mutant: &Mutant) -> Result<Outcome, String> {
    let mut world = World::new(seed, mutant.clone());
    let result = world.live();
    let violations = std::mem::take(&mut world.books.lock().violations);
    let broken = violations.into_iter().next().map_or(result, Err);
    broken.map(|()| world.outcome()).map_err(|broken| format!("{broken}\n{}", world.story.join("\n")))
}

struct World {
    seed: u64,
    mutant: Mutant,
    scenario: Scenario,
    random: Random,
    trace: Trace,
    disk: MemoryDisk,
    books: Books,
    /// What the model remembers that is asked about updates: a row that comes again may be asked about again.
    opinions: Books,
    invariants: Invariants,
    plans: BTreeMap<Layout, Plan>,
    processes: u32,
    journals: u32,
    arrivals: Arrivals,
    stalled: Option<Stalled>,
    shelf: Shelf,
    crashes: u64,
    steps: u64,
    simulated: Duration,
    healed: bool,
    /// What happened so far, for whoever has to understand a failure.
    story: Vec<String>,
}

/// A process that was replaced and will wake up.
struct Stalled {
    process: Process,
    sleeps: u64,
    lives: u64,
}

/// How a process ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Completed,
    Stopped,
    Failed(Kind, String),
    Crashed,
}

// === impl World ===

impl World {
    fn new(seed: u64, mutant: Mutant) -> Self {
        let (scenario, disk) = (Scenario::draw(seed), MemoryDisk::new());
        for (path, text) in &scenario.files {
            write(&disk, path, Bytes::from(text.clone()));
        }
        Self {
            mutant,
            random: Random::new(seed, "world"),
            trace: Trace::default(),
            books: Books::new(Random::new(seed, "model"), scenario.moods.clone()),
            opinions: Books::new(Random::new(seed, "opinions"), scenario.moods.clone()),
            scenario,
            disk,
            invariants: Invariants::default(),
            plans: BTreeMap::new(),
            processes: 0,
            journals: 0,
            stalled: None,
            arrivals: Arrivals::default(),
            shelf: Shelf::default(),
            crashes: 0,
            steps: 0,
            simulated: Duration::ZERO,
            healed: false,
            story: Vec::new(),
            seed,
        }
    }

    fn outcome(&self) -> Outcome {
        let mut counts = self.books.lock().counts.clone();
        counts.add("crashes", self.crashes);
        let (crashes, steps, simulated) = (self.crashes, self.steps, self.simulated);
        Outcome { crashes, steps, simulated, trace: self.trace.hash(), counts }
    }

    /// From the first process to the last look.
    fn live(&mut self) -> Result<(), String> {
        let mut completed = false;
        for trouble in self.scenario.troubles.clone() {
            let resume = self.resume(trouble.back)?;
            let process = self.start(trouble.layout, resume.clone(), false)?;
            self.disk.fill_after(trouble.full_after);
            let end = self.drive(process, Some(&trouble))?;
            self.disk.fill_after(None);
            self.check_failure(&end, &resume)?;
            if end == End::Completed {
                completed = true;
                break;
            }
        }
        if !completed {
            self.finish()?;
        }
        self.end_stalled()?;
        self.finish_savepoint()?;
        self.last_look()
    }

    /// Runs the job to its end, without faults from some moment on.
    fn finish(&mut self) -> Result<(), String> {
        for number in 0..PROCESSES_MAX {
            if number == FAILING_PROCESSES_MAX {
                self.heal();
            }
            let healed_before = self.healed;
            let layout = self.scenario.troubles.last().map_or(LAST_LAYOUT, |last| last.layout);
            let process = self.start(layout, ResumeJob::Latest, healed_before)?;
            match self.drive(process, None)? {
                End::Completed => return Ok(()),
                End::Failed(kind, chain) if healed_before => {
                    return Err(format!("I24: nothing fails any more, but the job does: {kind:?} {chain}"));
                }
                end => self.check_failure(&end, &ResumeJob::Latest)?,
            }
        }
        Err("I24: nothing fails any more, but the job does not end".to_string())
    }

    /// After power loss the output is what the oracle says, and a further start finds nothing to do.
    fn last_look(&mut self) -> Result<(), String> {
        let mut before = self.invariants.look(&self.disk, &self.books)?;
        self.disk.crash(self.random.next());
        let folder = self.journal_folder();
        self.invariants.after_crash(&self.disk, &folder, true, &self.books)?;
        self.check_savepoints()?;
        self.check_output()?;
        if self.scenario.back_after_end && self.go_back_after_end()? {
            before = self.invariants.look(&self.disk, &self.books)?;
            self.check_output()?;
        }
        self.heal();
        let process = self.start(Layout { job: 1, sink: 1 }, ResumeJob::Latest, true)?;
        let end = self.drive(process, None)?;
        let after = View::look(&self.disk);
        if end != End::Completed || after.files != before.files {
            return Err(format!("I1: a start after the end came to {end:?} and changed the output"));
        }
        after.files.iter().for_each(|(name, bytes)| self.trace.note(name, &hash64(bytes).to_le_bytes()));
        Ok(())
    }

    /// The output of a job that is over is what the oracle says.
    fn check_output(&self) -> Result<(), String> {
        let expected = &self.scenario.expected;
        let view = View::look(&self.disk);
        check_end(&view, expected, &self.scenario.job, &self.books)?;
        if self.scenario.shape.plain {
            check_plain(&view, expected, &self.books)?;
        }
        if let Some(drops) = &self.scenario.drops {
            drops.check(&view, &self.books)?;
        }
        match &self.scenario.timed {
            Some(timed) => check_timed(&view, timed, &self.books, &self.opinions),
            None => Ok(()),
        }
    }

    fn start(&mut self, layout: Layout, resume: ResumeJob, healed: bool) -> Result<Process, String> {
        self.processes += 1;
        self.story.push(format!("  process {} with {layout:?}, from {resume:?}, healed: {healed}", self.processes));
        if let Some(drops) = &self.scenario.drops {
            drops.begin(&mut self.arrivals, &self.disk);
        }
        let plan = self.plan(layout)?;
        let weather = if healed { Weather::default() } else { self.scenario.weather.clone() };
        let outside = self.outside(weather);
        let mut random = Random::new(self.seed, &format!("process {}", self.processes));
        // Where barriers never overtake, a full edge holds up those that would have made room in it.
        let never = if self.scenario.is_cut() { Some(700) } else { None };
        let overtake_after = random.pick(&[never, Some(0), Some(3), Some(100)]);
        let options = RunOptions {
            checkpoints: CHECKPOINTS.to_string(),
            journal: self.journal_folder(),
            resume,
            keep: self.scenario.keep,
            overtake_after: overtake_after.map(Duration::from_millis),
        };
        Ok(Process::new(Arc::new(outside), plan, options, random, self.trace.clone()))
    }

    fn outside(&mut self, weather: Weather) -> SimOutside {
        let env = ManualEnv::with_disk(self.random.next(), Arc::new(self.disk.clone()));
        let random = Random::new(self.seed, &format!("disk {}", self.processes));
        SimOutside {
            gate: Arc::new(Gate::new(env.clone(), self.trace.clone(), random, weather)),
            env,
            disk: self.disk.clone(),
            books: self.books.clone(),
            opinions: self.opinions.clone(),
            process: self.processes,
            timeout: Duration::from_millis(self.scenario.job.timeout_ms),
            bounds: self.scenario.shape.bounds,
            mutant: self.mutant.clone(),
            hosts: Mutex::default(),
        }
    }

    fn journal_folder(&self) -> String {
        format!("machine-{}", self.journals)
    }

    /// The plan of one layout, made once.
    fn plan(&mut self, layout: Layout) -> Result<Plan, String> {
        if let Some(plan) = self.plans.get(&layout) {
            return Ok(plan.clone());
        }
        let text = self.scenario.job_text(layout);
        let job = forebay_plan::parse(&text, "sim.toml", |_| None).map_err(|error| format!("job file: {error:?}"))?;
        let outside = self.outside(Weather::default());
        let env = outside.env.clone();
        let prepared = env.block_on(async move { prepare_with(&job, &outside, &components()).await });
        let plan = prepared.map_err(|error| format!("plan: {error:?}"))?.plan;
        self.plans.insert(layout, plan.clone());
        Ok(plan)
    }

    /// Steps `process` until it ends, or until its trouble comes.
    fn drive(&mut self, mut process: Process, trouble: Option<&Trouble>) -> Result<End, String> {
        let mut trigger = trouble.map(|trouble| trouble.trigger.clone());
        if let Some(Trigger::Caught(trap)) = &trigger {
            process.gate().set_trap(trap.clone());
        }
        loop {
            self.step_stalled()?;
            if let Some(drops) = &self.scenario.drops {
                let in_pieces = trouble.is_none_or(|trouble| trouble.full_after.is_none());
                drops.arrive(&mut self.arrivals, &self.disk, process.now(), in_pieces, &self.books);
            }
            let struck = self.step_keeper(process.steps, trouble.and_then(|trouble| trouble.keeping.as_ref()))?;
            if let Some(ended) = self.step(&mut process)? {
                self.simulated += process.now().since(Instant(0));
                self.books.count("process ended by itself");
                self.story.push(format!("    step {}: {ended:?}", process.steps));
                process.kill();
                return Ok(ended);
            }
            let due = match &trigger {
                Some(Trigger::Steps(steps)) => struck || process.steps >= *steps,
                Some(Trigger::Caught(_)) => struck || process.gate().take_sprung(),
                None => false,
            };
            if let (true, Some(trouble)) = (due, trouble) {
                trigger = None;
                match self.strike(process, trouble.kind)? {
                    Some(same) => process = same,
                    None => return Ok(End::Crashed),
                }
            }
            if trouble.is_none() && process.steps == self.scenario.heal_after {
                process.gate().heal();
                self.heal();
            }
            if process.steps > STEPS_MAX {
                return Err(format!("I24: a process did not end within {STEPS_MAX} steps"));
            }
        }
    }

    /// One step of `process`, time included; how it ended, if it did.
    fn step(&mut self, process: &mut Process) -> Result<Option<End>, String> {
        self.steps += 1;
        match process.step() {
            Step::Moved => {}
            Step::Idle(Some(moment)) => process.advance_to(moment),
            Step::Idle(None) => return Err(format!("I24: process {} waits for nothing", process.number())),
            Step::Ended(result) => {
                if let [first, second] = result.as_ref().map_or(&[][..], |report| &report.regions) {
                    self.books.count("regions: two ran to their end");
                    if (first.restarts > 0) != (second.restarts > 0) {
                        self.books.count("regions: one restarted alone");
                    }
                }
                return Ok(Some(end_of(result)));
            }
        }
        let is_due = self.random.below(LOOK_EVERY) == 0;
        if is_due && (process.steps < OLD_STEPS || process.steps.is_multiple_of(10)) {
            let view = self.invariants.look(&self.disk, &self.books)?;
            if let Some(drops) = &self.scenario.drops {
                drops.check_letters(&view)?;
            }
        }
        if !self.books.lock().violations.is_empty() {
            return Err("see violations".to_string());
        }
        Ok(None)
    }

    /// The trouble of a process comes; gives it back if it goes on.
    fn strike(&mut self, mut process: Process, kind: TroubleKind) -> Result<Option<Process>, String> {
        self.trace.note("trouble", format!("{kind:?}").as_bytes());
        self.story.push(format!("    step {}: {kind:?}", process.steps));
        match kind {
            TroubleKind::Stop(stop) => {
                let name = if stop == Stop::Drain { "fault: drain asked for" } else { "fault: suspension asked for" };
                self.books.count(name);
                process.stop(stop);
                return Ok(Some(process));
            }
            TroubleKind::Stall { after, lives } => {
                self.books.count("fault: process stalls");
                self.books.lock().one_journal = false;
                self.journals += 1;
                self.invariants.forget_journal(&self.disk)?;
                self.stalled = Some(Stalled { process, sleeps: after, lives });
                return Ok(None);
            }
            TroubleKind::Kill => self.books.count("fault: process killed"),
            TroubleKind::PowerLoss => {
                self.books.count("fault: power lost");
                self.end_keeper();
                // The stalled process stands on the same machine as the disk.
                if let Some(stalled) = self.stalled.take() {
                    stalled.process.kill();
                }
            }
        }
        self.crashes += 1;
        self.simulated += process.now().since(Instant(0));
        process.kill();
        let power = kind == TroubleKind::PowerLoss;
        if power {
            self.disk.crash(self.random.next());
        }
        self.invariants.after_crash(&self.disk, &self.journal_folder(), power, &self.books)?;
        self.check_savepoints()?;
        Ok(None)
    }

    /// Now and then a step of the process that was replaced.
    fn step_stalled(&mut self) -> Result<(), String> {
        let Some(mut stalled) = self.stalled.take() else { return Ok(()) };
        if stalled.sleeps > 0 {
            stalled.sleeps -= 1;
        } else if self.random.chance(500) {
            if stalled.lives == 0 {
                stalled.process.kill();
                return Ok(());
            }
            stalled.lives -= 1;
            self.books.count("I14: steps of a stale process");
            if let Some(end) = self.step(&mut stalled.process)? {
                if matches!(end, End::Failed(Kind::Fenced, _)) {
                    self.books.count("I14: a stale process was fenced");
                }
                self.story.push(format!("    the stalled process: {end:?}"));
                stalled.process.kill();
                return Ok(());
            }
        }
        self.stalled = Some(stalled);
        Ok(())
    }

    /// Lets the process that was replaced live out its time.
    fn end_stalled(&mut self) -> Result<(), String> {
        while let Some(stalled) = &mut self.stalled {
            stalled.sleeps = 0;
            self.step_stalled()?;
        }
        Ok(())
    }

    fn heal(&mut self) {
        self.healed = true;
        self.books.heal();
        self.opinions.heal();
        if let Some(stalled) = self.stalled.take() {
            stalled.process.kill();
        }
    }

    /// Faults may end a process, but only as the kinds of error that they are.
    fn check_failure(&self, end: &End, asked: &ResumeJob) -> Result<(), String> {
        let End::Failed(kind, chain) = end else { return Ok(()) };
        if self.may_be_refused(asked, *kind, chain) {
            return Ok(());
        }
        self.books.count(match kind {
            Kind::Fenced => "process ended: fenced",
            Kind::Exhausted => "process ended: disk full",
            _ => "process ended: unavailable",
        });
        match kind {
            Kind::Unavailable | Kind::Overload | Kind::Timeout | Kind::Exhausted => Ok(()),
            Kind::Fenced if self.scenario.stalls() => Ok(()),
            _ => Err(format!("a process ended with {kind:?}: {chain}")),
        }
    }
}

fn end_of(result: forebay_core::Result<Report>) -> End {
    match result {
        Ok(report) if report.outcome == "completed" => End::Completed,
        Ok(_) => End::Stopped,
        Err(error) => End::Failed(error.kind(), error.chain()),
    }
}
