//! One parallel copy of a task: a state machine that its host calls until there is nothing to do, and again after a wake.
//!
//! It never blocks, never waits and never learns which host it runs on. Barriers are aligned first: once a barrier came in on
//! an input, nothing more is taken from that input until the barrier came in on all of them; then the chain is emptied
//! of what it can give now, frozen, and the barrier goes on. Where alignment takes too long the barrier overtakes what is
//! queued in front of it ([`inputs`](crate::inputs)), except into a sink. A request in flight does not delay it, because requests are
//! state of their operator, not of the chain; and rows queued in front of an operator that keeps its rows as state are
//! given to it without waiting for room, so a slow model does not delay a barrier either. Their credit is withheld until there is
//! room, and nothing new is begun for a channel that a barrier has filled beyond its credit: what a job holds stays bounded,
//! however many barriers pass while something stands still.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use forebay_core::element::{Barrier, Epoch};
use forebay_core::operator::{Context, Frozen, Restored};
use forebay_core::source::{Read, Reader, Split};
use forebay_core::time::{EventTime, Instant};
use forebay_core::{Batch, Error, Result};
use futures::channel::mpsc::UnboundedSender;

use crate::chain::{Chain, Progress};
use crate::counters::Counters;
use crate::inputs::{Inputs, Received, Takes};
use crate::outlet::Outlet;
use crate::planted::RuntimeBug;

/// How many elements the head takes in one turn before timers and commands are looked at again.
const ELEMENTS_PER_TURN: usize = 8;

/// Which subtask of which task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubtaskId {
    /// Place of the task in the job graph.
    pub task: u16,
    /// Which parallel copy.
    pub subtask: u16,
}

/// What the coordinator asks of a subtask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Sources only: send this barrier.
    Barrier(Barrier),
    /// The checkpoint is published.
    CheckpointComplete(Epoch),
    /// Read nothing more; what was read goes on, into an operator that absorbs whether it has room or not.
    StopReading,
}

/// What a subtask tells the coordinator.
pub enum Report {
    /// Frozen at a barrier, by operator uid; the futures do the rest.
    Frozen(SubtaskId, Epoch, Vec<(String, Frozen)>),
    /// Its input ended and everything it held has left.
    Ended(SubtaskId),
    /// It failed; the region with it.
    Failed(SubtaskId, Error),
}

/// What a turn found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Something moved; call again.
    Moved,
    /// Nothing to do until a wake or until this moment.
    Idle(Option<Instant>),
}

/// Commands on their way to a subtask; cheap to clone.
#[derive(Clone)]
pub struct CommandQueue {
    queue: Arc<Mutex<VecDeque<Command>>>,
    waker: Waker,
}

/// Where a subtask's rows come from.
pub enum Head {
    /// It reads splits itself.
    Reader {
        /// The reader.
        reader: Box<dyn Reader>,
        /// Who it is.
        context: Context,
        /// The splits whose key groups this subtask owns, in reading order.
        splits: Vec<Split>,
        /// What it goes on from.
        restored: Restored,
        /// Whether its rows are counted as read.
        is_input: bool,
    },
    /// It receives from the tasks before.
    Inputs,
}

/// One parallel copy of a task.
pub struct Subtask {
    id: SubtaskId,
    head: Head,
    inputs: Inputs,
    chain: Chain,
    outlet: Outlet,
    commands: CommandQueue,
    reports: UnboundedSender<Report>,
    counters: Arc<Counters>,
    waker: Waker,
    barrier: Option<Barrier>,
    overtake_after: Option<Duration>,
    /// Since when a barrier is known that has not come on every input.
    known_since: Option<Instant>,
    /// Whether credit may be withheld because the chain took something without room.
    absorbed: bool,
    /// Frozen, while an input is still recorded.
    frozen: Option<(Epoch, Vec<(String, Frozen)>)>,
    watermark: Option<EventTime>,
    idle: Idle,
    reading: bool,
    phase: Phase,
    bug: Option<RuntimeBug>,
}

/// Whether the next tasks know that nothing may come for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Idle {
    No,
    /// The input is idle; the chain may still hold rows.
    Input,
    /// They were told.
    Told,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Ending,
    Ended,
}

/// The parts a subtask is made of.
pub struct SubtaskParts {
    /// Which subtask.
    pub id: SubtaskId,
    /// Where its rows come from.
    pub head: Head,
    /// Its inputs, if it receives them.
    pub inputs: Inputs,
    /// How long a barrier waits for alignment before it overtakes; `None`: for ever.
    pub overtake_after: Option<Duration>,
    /// Its operators.
    pub chain: Chain,
    /// Where its rows go.
    pub outlet: Outlet,
    /// Where commands come from.
    pub commands: CommandQueue,
    /// Where reports go.
    pub reports: UnboundedSender<Report>,
    /// Shared counts.
    pub counters: Arc<Counters>,
    /// Wakes this subtask.
    pub waker: Waker,
    /// A planted bug.
    #[doc(hidden)]
    pub bug: Option<RuntimeBug>,
}

// === impl CommandQueue ===

impl CommandQueue {
    /// An empty queue; `waker` wakes the subtask.
    pub fn new(waker: Waker) -> Self {
        Self { queue: Arc::default(), waker }
    }

    /// Sends a command.
    pub fn send(&self, command: Command) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(command);
        self.waker.wake_by_ref();
    }

    fn take(&self) -> Option<Command> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

// === impl Subtask ===

impl Subtask {
    /// A subtask, not yet opened.
    pub fn new(parts: SubtaskParts) -> Self {
        let SubtaskParts { id, head, inputs, overtake_after, chain, outlet, commands, reports, counters, waker, bug } =
            parts;
        Self {
            id,
            head,
            inputs,
            overtake_after,
            known_since: None,
            frozen: None,
            chain,
            outlet,
            commands,
            reports,
            counters,
            waker,
            barrier: None,
            watermark: None,
            idle: Idle::No,
            absorbed: false,
            reading: true,
            phase: Phase::Running,
            bug,
        }
    }

    /// Which subtask this is.
    pub fn id(&self) -> SubtaskId {
        self.id
    }

    /// Opens reader and operators. Called once, first.
    ///
    /// # Errors
    /// Those of the operators.
    pub fn open(&mut self) -> Result<()> {
        self.chain.open()?;
        let looks_ahead = self.overtake_after.is_some() || self.chain.absorbs();
        if looks_ahead && self.bug != Some(RuntimeBug::NotWokenByBarrier) {
            self.inputs.wake_on_barrier(&self.waker);
        }
        if let Head::Reader { reader, context, splits, restored, .. } = &mut self.head {
            reader.open(context.clone(), std::mem::take(splits), std::mem::take(restored))?;
        }
        Ok(())
    }

    /// Does what can be done now.
    ///
    /// # Errors
    /// Those of reader and operators; the subtask is then finished and must not be called again.
    pub fn turn(&mut self, now: Instant) -> Result<Turn> {
        self.take_commands();
        self.inputs.end_recording();
        self.report_frozen();
        self.overtake(now);
        self.chain.on_timer(now)?;
        if self.barrier.is_some() {
            self.outlet.flush_beyond_credit();
        }
        let progress = self.chain.turn(&mut self.outlet)?;
        let stepped = if self.barrier.is_some() {
            progress == Progress::Quiet && self.pass_barrier()?
        } else {
            self.tell_idle(progress);
            match self.phase {
                Phase::Running | Phase::Ended => self.take_elements()?,
                // Barriers still come, and do not wait until a slow operator has let go of its last row.
                Phase::Ending => self.take_elements()? || (progress == Progress::Quiet && self.end()?),
            }
        };
        let moved = stepped || progress == Progress::Moved;
        Ok(if moved { Turn::Moved } else { Turn::Idle(self.next_timer()) })
    }

    /// Tells the coordinator that this subtask failed.
    pub fn report_failure(&self, error: Error) {
        // The coordinator may be gone already; then nobody needs to know.
        let _ = self.reports.unbounded_send(Report::Failed(self.id, error));
    }

    /// Frees resources.
    pub fn close(&mut self) {
        if let Head::Reader { reader, .. } = &mut self.head {
            reader.close();
        }
        self.chain.close();
    }

    fn take_commands(&mut self) {
        while self.barrier.is_none() {
            match self.commands.take() {
                Some(Command::Barrier(barrier)) => self.barrier = Some(barrier),
                Some(Command::CheckpointComplete(epoch)) => self.chain.on_checkpoint_complete(epoch),
                Some(Command::StopReading) => self.reading = false,
                None => break,
            }
        }
    }

    /// Freezes the quiet chain and sends the barrier on; false while a chain that stops still has something to finish.
    fn pass_barrier(&mut self) -> Result<bool> {
        let Some(barrier) = self.barrier else { return Ok(false) };
        if barrier.drain && !self.chain.suspend()? {
            return Ok(false);
        }
        let mut frozen = self.chain.snapshot(barrier.epoch)?;
        if let Head::Reader { reader, context, .. } = &mut self.head {
            frozen.push((context.identity.uid.clone(), reader.snapshot(barrier.epoch)?));
        }
        self.inputs.pass(barrier.overtakes);
        self.outlet.send_barrier(barrier);
        (self.barrier, self.known_since) = (None, None);
        self.frozen = Some((barrier.epoch, frozen));
        self.report_frozen();
        Ok(true)
    }

    /// Reports what is frozen once nothing is recorded any more.
    fn report_frozen(&mut self) {
        if self.inputs.recording() {
            return;
        }
        if let Some((epoch, mut frozen)) = self.frozen.take() {
            frozen.extend(self.inputs.take_kept());
            let _ = self.reports.unbounded_send(Report::Frozen(self.id, epoch, frozen));
        }
    }

    /// Lets a barrier overtake that has waited for alignment too long, or that has overtaken before.
    fn overtake(&mut self, now: Instant) {
        let Some(after) = self.overtake_after else { return };
        if self.barrier.is_some() || self.frozen.is_some() {
            return;
        }
        let Some(barrier) = self.inputs.known_barrier().filter(|barrier| !barrier.drain) else { return };
        let since = *self.known_since.get_or_insert(now);
        if barrier.overtakes || now.since(since) >= after {
            self.barrier = Some(Barrier { overtakes: true, ..barrier });
        }
    }

    fn next_timer(&self) -> Option<Instant> {
        let overtake = self.known_since.zip(self.overtake_after).map(|(since, after)| since + after);
        overtake.into_iter().chain(self.chain.next_timer()).min()
    }

    /// Empties the chain for good; false while it still holds something.
    fn end(&mut self) -> Result<bool> {
        if !self.chain.drain()? {
            return Ok(false);
        }
        self.outlet.send_end();
        self.phase = Phase::Ended;
        let _ = self.reports.unbounded_send(Report::Ended(self.id));
        Ok(true)
    }

    fn take_elements(&mut self) -> Result<bool> {
        let mut moved = false;
        for _ in 0..ELEMENTS_PER_TURN {
            let took = match self.takes() {
                Takes::Nothing => false,
                takes => match self.head {
                    Head::Reader { .. } => takes == Takes::WithRoom && self.read()?,
                    Head::Inputs => self.receive(takes)?,
                },
            };
            if !took {
                break;
            }
            moved = true;
        }
        Ok(moved)
    }

    /// The chain has room and the channels behind it have credit; or it takes what stands in front of a queued barrier although it
    /// has none, and before a stop whatever comes, because the tasks in front of it cannot empty themselves otherwise.
    ///
    /// What is no row needs no credit: the last barrier comes when all have ended, and an edge may stay full for ever once the
    /// region behind it has.
    fn takes(&mut self) -> Takes {
        if self.barrier.is_some() {
            return Takes::Nothing;
        }
        let (room, absorbs) = (self.chain.has_room(&self.outlet), self.chain.absorbs());
        let goes_on = room && !self.outlet.is_beyond_credit();
        let barrier_queued = !goes_on && self.inputs.barrier_queued();
        let forgets_credit = barrier_queued && self.bug == Some(RuntimeBug::AbsorbedWithCredit);
        if goes_on || absorbs && (!self.reading || forgets_credit) {
            self.release();
            Takes::WithRoom
        } else if absorbs && barrier_queued {
            self.absorbed = true;
            Takes::WithoutRoom
        } else if room || absorbs {
            Takes::Control
        } else {
            Takes::Nothing
        }
    }

    fn release(&mut self) {
        if std::mem::take(&mut self.absorbed) {
            self.inputs.release();
        }
    }

    fn read(&mut self) -> Result<bool> {
        let Head::Reader { reader, .. } = &mut self.head else { return Ok(false) };
        if !self.reading || self.phase != Phase::Running {
            return Ok(false);
        }
        match reader.poll_next()? {
            Read::Batch(batch) => self.push_read(batch)?,
            Read::Partly(batch, letters) => {
                self.count_read(letters.len());
                self.chain.push_dead_letters(&letters)?;
                self.push_read(batch)?;
            }
            Read::DeadLetters(letters) => {
                self.count_read(letters.len());
                self.chain.push_dead_letters(&letters)?;
            }
            Read::Watermark(watermark) => self.push_watermark(watermark)?,
            Read::Idle => self.become_idle(),
            Read::Pending => return Ok(false),
            Read::End => self.begin_end()?,
        }
        Ok(true)
    }

    fn count_read(&self, rows: usize) {
        if let Head::Reader { is_input: true, .. } = &self.head {
            Counters::add(&self.counters.rows_read, rows);
        }
    }

    fn push_read(&mut self, batch: Batch) -> Result<()> {
        self.count_read(batch.len());
        self.idle = Idle::No;
        self.chain.push_batch(0, batch, &mut self.outlet)
    }

    /// Takes one element from an input, if one has any.
    fn receive(&mut self, takes: Takes) -> Result<bool> {
        match self.inputs.receive(takes, &self.waker) {
            None => return Ok(false),
            Some(Received::Rows(port, batch)) => {
                self.idle = Idle::No;
                self.chain.push_batch(port, batch, &mut self.outlet)?;
            }
            Some(Received::Time) => self.advance_watermark()?,
            Some(Received::AllIdle) => self.become_idle(),
            Some(Received::Aligned(barrier)) => self.barrier = Some(barrier),
            Some(Received::Recorded) => self.report_frozen(),
            Some(Received::AllEnded) => self.begin_end()?,
            Some(Received::Noted) => {}
        }
        Ok(true)
    }

    /// Gives the chain the least watermark of the inputs, when it grew.
    fn advance_watermark(&mut self) -> Result<()> {
        match self.inputs.least_watermark() {
            Some(least) => self.push_watermark(least),
            None => Ok(()),
        }
    }

    fn push_watermark(&mut self, watermark: EventTime) -> Result<()> {
        self.idle = Idle::No;
        if self.watermark.is_none_or(|last| last < watermark) {
            self.watermark = Some(watermark);
            self.chain.push_watermark(watermark, &mut self.outlet)?;
        }
        Ok(())
    }

    /// All input was read: event time is over too, so windows and timers still open come to their end.
    fn begin_end(&mut self) -> Result<()> {
        self.phase = Phase::Ending;
        if self.bug == Some(RuntimeBug::TimeDoesNotEnd) {
            return Ok(());
        }
        self.push_watermark(EventTime::MAX)
    }

    fn become_idle(&mut self) {
        if self.idle == Idle::No {
            self.idle = Idle::Input;
        }
    }

    /// Tells the next tasks that this one is idle, once its chain holds nothing that could still come out in front.
    fn tell_idle(&mut self, progress: Progress) {
        if self.idle == Idle::Input && progress == Progress::Quiet && !self.chain.holds_rows() {
            self.outlet.send_idle();
            self.idle = Idle::Told;
        }
    }
}

#[cfg(test)]
impl Subtask {
    /// Everything that what it does next follows from, but for what its operators hold.
    pub fn shape(&self, now: Instant) -> String {
        let Self { barrier, absorbed, watermark, idle, reading, phase, .. } = self;
        let waited = self.known_since.zip(self.overtake_after).map(|(since, after)| now.since(since).min(after));
        let frozen = self.frozen.as_ref().map(|(epoch, _)| epoch);
        let commands = self.commands.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let (inputs, outlet) = (self.inputs.shape(), self.outlet.shape());
        format!(
            "{barrier:?} {absorbed} {watermark:?} {idle:?} {reading} {phase:?} {waited:?} {frozen:?} {commands:?} {inputs} {outlet}"
        )
    }
}

#[cfg(test)]
#[path = "subtask_tests.rs"]
mod tests;
