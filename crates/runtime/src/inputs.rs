//! The ways into a subtask: which channel is read next, where each stands with barriers, watermarks and its end.
//!
//! Alignment is first: an input whose barrier came gives nothing until all have theirs. Where that takes too long the barrier
//! overtakes: what was queued in front of it becomes state of the edge ([`channel_state`]), and inputs
//! without a barrier yet are recorded until theirs comes. Rows of such state, given back after a restore, come before anything
//! else, and a checkpoint taken before they are used up holds the rest of them again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use forebay_core::Batch;
use forebay_core::element::{Barrier, Element};
use forebay_core::operator::Frozen;
use forebay_core::time::EventTime;

use crate::channel::Channel;
use crate::channel_state;
use crate::outlet::Way;
use crate::planted::RuntimeBug;

/// A channel, what its rows are for, and what a restore found on its edge.
#[derive(Debug, Clone)]
pub struct InputChannel {
    /// Which input of the first operator.
    pub port: u8,
    /// The channel.
    pub channel: Arc<Channel>,
    /// Name of the edge in checkpoints, see [`channel_state::name`].
    pub edge: String,
    /// How the edge finds the subtask of a row.
    pub way: Way,
    /// Rows that were on the edge and are this subtask's now, in order.
    pub restored: Vec<Batch>,
}

/// What was taken from an input.
#[derive(Debug, Clone)]
pub enum Received {
    /// Rows for this port.
    Rows(u8, Batch),
    /// The least watermark may have grown.
    Time,
    /// No input may give anything for a while.
    AllIdle,
    /// The barrier came on every input.
    Aligned(Barrier),
    /// The last recorded input has its barrier.
    Recorded,
    /// Every input has ended.
    AllEnded,
    /// Noted; nothing follows from it.
    Noted,
}

/// What a subtask takes from its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// Watermarks, barriers and ends that no row stands in front of.
    Control,
    /// Anything; the credit is withheld until [`Inputs::release`].
    WithoutRoom,
    /// Anything; the credit returns at once.
    WithRoom,
}

/// Every input of a subtask.
#[derive(Debug)]
pub struct Inputs {
    inputs: Vec<Input>,
    next: usize,
    restored: VecDeque<(usize, Batch)>,
    groups: u16,
    bug: Option<RuntimeBug>,
    /// The newest barrier that passed; only a planted bug looks at it.
    passed: Option<Barrier>,
}

#[derive(Debug)]
struct Input {
    port: u8,
    channel: Arc<Channel>,
    edge: String,
    way: Way,
    barrier: Option<Barrier>,
    watermark: Option<EventTime>,
    idle: bool,
    ended: bool,
    /// State of the edge for the checkpoint under way.
    kept: Vec<Batch>,
    /// Whether more is kept until the barrier comes.
    recording: bool,
}

// === impl Takes ===

impl Takes {
    fn rows(self) -> bool {
        matches!(self, Self::WithoutRoom | Self::WithRoom)
    }
}

// === impl Inputs ===

impl Inputs {
    /// The inputs of a job with `groups` key groups; none for a subtask that reads a source.
    pub fn new(channels: Vec<InputChannel>, groups: u16) -> Self {
        let (mut inputs, mut restored) = (Vec::new(), VecDeque::new());
        for InputChannel { port, channel, edge, way, restored: rows } in channels {
            restored.extend(rows.into_iter().map(|batch| (inputs.len(), batch)));
            inputs.push(Input {
                port,
                channel,
                edge,
                way,
                barrier: None,
                watermark: None,
                idle: false,
                ended: false,
                kept: Vec::new(),
                recording: false,
            });
        }
        Self { inputs, next: 0, restored, groups, bug: None, passed: None }
    }

    /// The same inputs with a planted bug.
    #[doc(hidden)]
    #[must_use]
    pub fn with_bug(mut self, bug: Option<RuntimeBug>) -> Self {
        self.bug = bug;
        self
    }

    /// Has `waker` called whenever a barrier is queued, however far behind.
    pub fn wake_on_barrier(&self, waker: &Waker) {
        self.inputs.iter().for_each(|input| input.channel.wake_on_barrier(waker));
    }

    /// Takes one element: restored rows first, then from the inputs that no barrier holds, each in its turn. `waker` is called
    /// when more comes.
    pub fn receive(&mut self, takes: Takes, waker: &Waker) -> Option<Received> {
        if !self.restored.is_empty() {
            let (place, batch) = if takes.rows() { self.restored.pop_front()? } else { return None };
            return Some(Received::Rows(self.inputs[place].port, batch));
        }
        let count = self.inputs.len();
        let take = |channel: &Channel| match takes {
            Takes::Nothing => None,
            Takes::Control => channel.receive_free(waker),
            Takes::WithoutRoom => channel.receive_withheld(waker),
            Takes::WithRoom => channel.receive(waker),
        };
        let (place, element) = (0..count)
            .map(|step| (self.next + step) % count)
            .filter(|place| self.inputs[*place].barrier.is_none())
            .find_map(|place| take(&self.inputs[place].channel).map(|element| (place, element)))?;
        self.next = (place + 1) % count;
        Some(self.accept(place, element))
    }

    /// Returns the credit of what was taken without room.
    pub fn release(&self) {
        self.inputs.iter().for_each(|input| input.channel.release());
    }

    fn accept(&mut self, place: usize, element: Element) -> Received {
        let input = &mut self.inputs[place];
        match element {
            Element::Batch(batch) => {
                input.idle = false;
                if input.recording && self.bug != Some(RuntimeBug::RecordedForgotten) {
                    input.kept.push(batch.clone());
                }
                return Received::Rows(input.port, batch);
            }
            Element::Watermark(watermark) => {
                input.idle = false;
                input.watermark = input.watermark.max(Some(watermark));
            }
            Element::Idle => {
                input.idle = true;
                if self.inputs.iter().all(|input| input.idle || input.ended) {
                    return Received::AllIdle;
                }
            }
            Element::Barrier(_) if input.recording => {
                input.recording = false;
                let all = self.inputs.iter().all(|input| !input.recording);
                return if all { Received::Recorded } else { Received::Noted };
            }
            Element::Barrier(barrier) => {
                let eager = self.bug == Some(RuntimeBug::NoAlignment);
                if eager && self.passed.is_some_and(|passed| passed.epoch >= barrier.epoch) {
                    return Received::Noted;
                }
                input.barrier = Some(barrier);
                let aligned = eager || self.inputs.iter().all(|input| input.barrier.is_some());
                return if aligned { Received::Aligned(barrier) } else { Received::Noted };
            }
            Element::End => {
                input.ended = true;
                if self.inputs.iter().all(|input| input.ended) {
                    return Received::AllEnded;
                }
            }
        }
        Received::Time
    }

    /// The least watermark of the inputs that hold it back.
    pub fn least_watermark(&self) -> Option<EventTime> {
        let holding = self.inputs.iter().filter(|input| !input.ended && !input.idle);
        let told = holding.map(|input| input.watermark);
        let counts = if self.bug == Some(RuntimeBug::GreatestWatermark) { told.max() } else { told.min() };
        counts.flatten()
    }

    /// Whether a barrier is queued somewhere.
    pub fn barrier_queued(&self) -> bool {
        self.inputs.iter().any(|input| input.channel.queued_barrier().is_some())
    }

    /// A barrier that came on an input or is queued on one.
    pub fn known_barrier(&self) -> Option<Barrier> {
        let known = |input: &Input| input.barrier.or_else(|| input.channel.queued_barrier());
        self.inputs.iter().filter(|input| !input.recording).find_map(known)
    }

    /// The chain is frozen for a barrier. Restored rows that are left are kept with it; if it `overtakes`, so is what stands in
    /// front of it on each input, and what still comes in front of it. No input is held from here on.
    pub fn pass(&mut self, overtakes: bool) {
        self.passed = self.known_barrier();
        for (place, batch) in self.restored.iter().filter(|_| self.bug != Some(RuntimeBug::RestoredForgotten)) {
            self.inputs[*place].kept.push(batch.clone());
        }
        for input in &mut self.inputs {
            if overtakes && input.barrier.is_none() {
                match input.channel.take_barrier() {
                    Some(_) if self.bug == Some(RuntimeBug::OvertakenForgotten) => {}
                    Some(in_front) => input.kept.extend(in_front),
                    None => input.recording = true,
                }
            }
            input.barrier = None;
        }
    }

    /// Ends recording where the barrier is queued by now: what stands in front of it is kept like what came before. A subtask
    /// that can take nothing would never come to it.
    pub fn end_recording(&mut self) {
        for input in self.inputs.iter_mut().filter(|input| input.recording) {
            if let Some(in_front) = input.channel.take_barrier() {
                if self.bug != Some(RuntimeBug::RecordedForgotten) {
                    input.kept.extend(in_front);
                }
                input.recording = false;
            }
        }
    }

    /// Whether an input is recorded because its barrier has not come.
    pub fn recording(&self) -> bool {
        self.inputs.iter().any(|input| input.recording)
    }

    /// What was kept for the checkpoint, by edge. Nothing is recorded any more.
    pub fn take_kept(&mut self) -> Vec<(String, Frozen)> {
        let (groups, bug) = (self.groups, self.bug);
        let mut kept: Vec<(String, Way, Vec<Batch>)> = Vec::new();
        for input in self.inputs.iter_mut().filter(|input| !input.kept.is_empty()) {
            let rows = std::mem::take(&mut input.kept);
            match kept.iter_mut().find(|(edge, _, _)| *edge == input.edge) {
                Some((_, _, all)) => all.extend(rows),
                None if bug == Some(RuntimeBug::KeptByRow) => kept.push((input.edge.clone(), Way::ByRow, rows)),
                None => kept.push((input.edge.clone(), input.way.clone(), rows)),
            }
        }
        kept.into_iter().map(|(edge, way, rows)| (edge, channel_state::freeze(rows, way, groups))).collect()
    }
}

#[cfg(test)]
impl Inputs {
    /// Everything that what they do next follows from.
    pub fn shape(&self) -> String {
        let rows =
            |kept: &[Batch]| kept.iter().map(|batch| crate::testing::shown(&Element::Batch(batch.clone()))).collect();
        let input = |input: &Input| {
            let Input { barrier, watermark, idle, ended, recording, kept, .. } = input;
            let kept: Vec<String> = rows(kept);
            format!("{barrier:?} {watermark:?} {idle} {ended} {recording} {kept:?}")
        };
        let inputs: Vec<String> = self.inputs.iter().map(input).collect();
        format!("{inputs:?} next {} passed {:?}", self.next, self.passed)
    }
}
