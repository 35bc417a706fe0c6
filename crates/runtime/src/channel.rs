//! An edge at run time: a queue between two subtasks with a window of bytes and rows.
//!
//! A batch may be sent when it fits what is left of both, **or when nothing is in flight** (the one-oversize rule), so a
//! single row larger than the window cannot stop the pipeline. Each channel owns its window; there is no shared pool, so a
//! channel that waits at a barrier cannot starve its sibling. Watermarks, barriers and the end always fit: they are few
//! and must not wait behind credit.
//!
//! Credit returns when an element is taken, unless the receiver has no room and takes it only because a barrier stands behind
//! it: then the credit is withheld until the receiver has room. So a receiver that stands still never holds more than a window
//! of each channel, however many checkpoints pass.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use forebay_core::Batch;
use forebay_core::element::{Barrier, Element};

use crate::planted::RuntimeBug;

/// What may be in flight on one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Bytes in flight, at most.
    pub bytes: usize,
    /// Rows in flight, at most.
    pub rows: usize,
}

/// 16 MiB and 8,192 rows: half a second of a channel that moves 32 MiB/s, and one request batch of large tensors. To be
/// replaced by a window sized in time when channels are measured while they run.
impl Default for Window {
    fn default() -> Self {
        Self { bytes: 16 << 20, rows: 8192 }
    }
}

/// How much of a window is used; pure book-keeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ledger {
    /// Bytes in flight.
    pub bytes: usize,
    /// Rows in flight.
    pub rows: usize,
}

/// A queue with credit between one sending and one receiving subtask.
#[derive(Debug)]
pub struct Channel {
    window: Window,
    state: Mutex<State>,
    bug: Option<RuntimeBug>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<(Element, Ledger)>,
    /// In the queue or withheld.
    used: Ledger,
    used_max: Ledger,
    /// Of elements taken by a receiver without room.
    withheld: Ledger,
    /// What the last element cost that was sent beyond credit, until it would have fitted.
    beyond: Option<Ledger>,
    barriers: VecDeque<Barrier>,
    sender: Option<Waker>,
    receiver: Option<Waker>,
    on_barrier: Option<Waker>,
}

// === impl Ledger ===

impl Ledger {
    /// What `element` costs.
    pub fn cost(element: &Element) -> Self {
        match element {
            Element::Batch(batch) => Self { bytes: batch.size_bytes(), rows: batch.len() },
            Element::Watermark(_) | Element::Barrier(_) | Element::Idle | Element::End => Self::default(),
        }
    }

    /// Whether `cost` may be added: it fits, or it is free, or nothing is in flight.
    pub fn admits(self, cost: Ledger, window: Window) -> bool {
        let free = cost == Ledger::default();
        let alone = self == Ledger::default();
        let fits = self.bytes + cost.bytes <= window.bytes && self.rows + cost.rows <= window.rows;
        free || alone || fits
    }

    fn add(&mut self, cost: Ledger) {
        self.bytes += cost.bytes;
        self.rows += cost.rows;
    }

    fn remove(&mut self, cost: Ledger) {
        debug_assert!(self.bytes >= cost.bytes && self.rows >= cost.rows, "credit is given back once");
        self.reduce(cost);
    }

    /// Less by `cost`, or nothing where that is more.
    fn reduce(&mut self, cost: Ledger) {
        self.bytes = self.bytes.saturating_sub(cost.bytes);
        self.rows = self.rows.saturating_sub(cost.rows);
    }
}

// === impl State ===

impl State {
    fn push(&mut self, element: Element, cost: Ledger) {
        self.used.add(cost);
        self.used_max.bytes = self.used_max.bytes.max(self.used.bytes);
        self.used_max.rows = self.used_max.rows.max(self.used.rows);
        if let Element::Barrier(barrier) = &element {
            self.barriers.push_back(*barrier);
        }
        self.queue.push_back((element, cost));
    }

    fn pop(&mut self, receiver: &Waker) -> Option<(Element, Ledger)> {
        let popped = self.queue.pop_front();
        match &popped {
            Some((Element::Barrier(_), _)) => drop(self.barriers.pop_front()),
            Some(_) => {}
            None => self.receiver = Some(receiver.clone()),
        }
        popped
    }

    /// Credit came back.
    fn settle(&mut self, window: Window) {
        let fits = |cost: &Ledger| {
            let mut before = self.used;
            before.reduce(*cost);
            before.admits(*cost, window)
        };
        self.beyond = self.beyond.filter(|cost| !fits(cost));
    }

    /// Who waits for `element`, which was just pushed.
    fn waiting(&mut self, barrier: bool) -> [Option<Waker>; 2] {
        [self.receiver.take(), self.on_barrier.clone().filter(|_| barrier)]
    }
}

// === impl Channel ===

impl Channel {
    /// An empty channel.
    pub fn new(window: Window) -> Self {
        Self { window, state: Mutex::default(), bug: None }
    }

    /// The same channel with a planted bug.
    #[doc(hidden)]
    #[must_use]
    pub fn with_bug(mut self, bug: Option<RuntimeBug>) -> Self {
        self.bug = bug;
        self
    }

    /// Sends `element`, or gives it back when there is no credit; then `sender` is woken as soon as some returns.
    ///
    /// # Errors
    /// The element itself, to be sent again later.
    pub fn send(&self, element: Element, sender: &Waker) -> Result<(), Element> {
        let (cost, barrier) = (Ledger::cost(&element), matches!(element, Element::Barrier(_)));
        let waiting = {
            let mut state = self.lock();
            if !self.admits(&state, cost) {
                state.sender = Some(sender.clone());
                return Err(element);
            }
            state.push(element, cost);
            state.waiting(barrier)
        };
        waiting.into_iter().flatten().for_each(Waker::wake);
        Ok(())
    }

    /// Sends `element` whatever is in flight. Only for what waits in front of a barrier; nothing new may then be begun for this
    /// channel while [`is_beyond_credit`](Self::is_beyond_credit).
    pub fn send_beyond_credit(&self, element: Element) {
        let (cost, barrier) = (Ledger::cost(&element), matches!(element, Element::Barrier(_)));
        let waiting = {
            let mut state = self.lock();
            if !state.used.admits(cost, self.window) {
                state.beyond = Some(cost);
            }
            state.push(element, cost);
            state.waiting(barrier)
        };
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    /// Whether what was sent beyond credit would still not fit; then `sender` is woken as soon as credit returns.
    pub fn is_beyond_credit(&self, sender: &Waker) -> bool {
        let mut state = self.lock();
        if state.beyond.is_some() {
            state.sender = Some(sender.clone());
        }
        state.beyond.is_some()
    }

    /// Has `waker` called, besides the receiver's, whenever a barrier is sent.
    pub fn wake_on_barrier(&self, waker: &Waker) {
        self.lock().on_barrier = Some(waker.clone());
    }

    /// The first barrier that is queued, however far behind.
    pub fn queued_barrier(&self) -> Option<Barrier> {
        self.lock().barriers.front().copied()
    }

    /// Takes the first queued barrier out of its place; the answer is the rows in front of it, which stay queued. `None` if
    /// there is no barrier.
    pub fn take_barrier(&self) -> Option<Vec<Batch>> {
        let mut state = self.lock();
        state.barriers.pop_front()?;
        let place = state.queue.iter().position(|(element, _)| matches!(element, Element::Barrier(_)))?;
        state.queue.remove(place);
        let in_front = state.queue.iter().take(place);
        Some(
            in_front
                .filter_map(|(element, _)| if let Element::Batch(batch) = element { Some(batch.clone()) } else { None })
                .collect(),
        )
    }

    /// Takes the next element and returns its credit; on an empty channel `receiver` is woken by the next send.
    pub fn receive(&self, receiver: &Waker) -> Option<Element> {
        let (element, sender) = {
            let mut state = self.lock();
            let (element, cost) = state.pop(receiver)?;
            state.used.remove(cost);
            state.settle(self.window);
            let forgotten = self.bug == Some(RuntimeBug::SenderNotWoken);
            (element, state.sender.take().filter(|_| !forgotten))
        };
        if let Some(waker) = sender {
            waker.wake();
        }
        Some(element)
    }

    /// Takes the next element and withholds its credit until [`release`](Self::release).
    pub fn receive_withheld(&self, receiver: &Waker) -> Option<Element> {
        let mut state = self.lock();
        let (element, cost) = state.pop(receiver)?;
        state.withheld.add(cost);
        Some(element)
    }

    /// Takes the next element if it is no batch, and so costs nothing.
    pub fn receive_free(&self, receiver: &Waker) -> Option<Element> {
        let mut state = self.lock();
        if state.queue.front().is_some_and(|(_, cost)| *cost != Ledger::default()) {
            return None;
        }
        state.pop(receiver).map(|(element, _)| element)
    }

    /// Returns the credit that is withheld.
    pub fn release(&self) {
        let sender = {
            let mut state = self.lock();
            let withheld = std::mem::take(&mut state.withheld);
            if withheld == Ledger::default() {
                return;
            }
            state.used.remove(withheld);
            state.settle(self.window);
            state.sender.take()
        };
        if let Some(waker) = sender {
            waker.wake();
        }
    }

    /// The most that was ever in flight, for metrics and invariants.
    pub fn used_max(&self) -> Ledger {
        self.lock().used_max
    }

    /// The window given at the start.
    pub fn window(&self) -> Window {
        self.window
    }

    fn admits(&self, state: &State, cost: Ledger) -> bool {
        let fits =
            |used: Ledger| used.bytes + cost.bytes <= self.window.bytes && used.rows + cost.rows <= self.window.rows;
        match self.bug {
            Some(RuntimeBug::OversizeRefused) => cost == Ledger::default() || fits(state.used),
            _ => state.used.admits(cost, self.window),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a model check sees of a channel.
#[cfg(test)]
#[derive(Debug, PartialEq, Eq)]
pub struct Shape {
    /// Elements, in order; rows by their numbers.
    pub queue: Vec<String>,
    /// In the queue or withheld.
    pub used: Ledger,
    /// What the elements in the queue cost.
    pub queued: Ledger,
    /// Taken by a receiver without room.
    pub withheld: Ledger,
    /// See [`Channel::is_beyond_credit`].
    pub beyond: Option<Ledger>,
    /// Whether sender and receiver wait to be woken.
    pub waiting: [bool; 2],
}

#[cfg(test)]
impl Channel {
    /// Everything that what the channel does next follows from.
    pub fn shape(&self) -> Shape {
        let state = self.lock();
        let mut queued = Ledger::default();
        state.queue.iter().for_each(|(_, cost)| queued.add(*cost));
        let queue = state.queue.iter().map(|(element, _)| crate::testing::shown(element)).collect();
        let waiting = [state.sender.is_some(), state.receiver.is_some()];
        let State { used, withheld, beyond, .. } = *state;
        Shape { queue, used, queued, withheld, beyond, waiting }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::batch;
    use futures::task::noop_waker;

    const WINDOW: Window = Window { bytes: 1 << 20, rows: 10 };

    #[test]
    fn full_channel_gives_the_element_back_and_takes_it_after_a_receive() {
        let (channel, waker) = (Channel::new(WINDOW), noop_waker());
        channel.send(Element::Batch(batch(0..8)), &waker).unwrap();
        let refused = channel.send(Element::Batch(batch(8..12)), &waker).unwrap_err();
        assert!(channel.receive(&waker).is_some());
        channel.send(refused, &waker).unwrap();
    }

    #[test]
    fn withheld_credit_keeps_the_sender_waiting_until_it_is_released() {
        let (channel, waker) = (Channel::new(WINDOW), noop_waker());
        channel.send(Element::Batch(batch(0..8)), &waker).unwrap();
        assert!(channel.receive_withheld(&waker).is_some());
        assert!(channel.send(Element::Batch(batch(8..12)), &waker).is_err());
        channel.send(Element::Watermark(forebay_core::time::EventTime(1)), &waker).unwrap();
        channel.release();
        channel.send(Element::Batch(batch(8..12)), &waker).unwrap();
        channel.release();
        assert_eq!(channel.used_max().rows, 8, "released once");
    }

    #[test]
    fn what_was_sent_beyond_credit_counts_until_it_would_fit() {
        let (channel, waker) = (Channel::new(WINDOW), noop_waker());
        channel.send_beyond_credit(Element::Batch(batch(0..4)));
        assert!(!channel.is_beyond_credit(&waker), "it fitted");
        channel.send(Element::Batch(batch(4..8)), &waker).unwrap();
        channel.send_beyond_credit(Element::Batch(batch(8..14)));
        assert!(channel.is_beyond_credit(&waker));
        assert!(channel.receive_withheld(&waker).is_some());
        assert!(channel.is_beyond_credit(&waker));
        channel.release();
        assert!(!channel.is_beyond_credit(&waker));
    }

    #[test]
    fn one_oversize_batch_passes_an_empty_channel() {
        let (channel, waker) = (Channel::new(WINDOW), noop_waker());
        channel.send(Element::Batch(batch(0..100)), &waker).unwrap();
        assert!(channel.send(Element::Batch(batch(0..1)), &waker).is_err());
        assert_eq!(channel.used_max().rows, 100);
    }

    #[test]
    fn a_barrier_taken_out_leaves_the_rows_in_front_of_it_queued() {
        let (channel, waker) = (Channel::new(WINDOW), noop_waker());
        let barrier = Barrier { epoch: forebay_core::element::Epoch(3), drain: false, overtakes: false };
        assert!(channel.take_barrier().is_none());
        channel.send(Element::Batch(batch(0..4)), &waker).unwrap();
        channel.send(Element::Barrier(barrier), &waker).unwrap();
        channel.send(Element::Batch(batch(4..8)), &waker).unwrap();
        assert_eq!(channel.queued_barrier(), Some(barrier));
        let rows = |batches: Vec<Batch>| batches.iter().map(Batch::len).collect::<Vec<_>>();
        assert_eq!(channel.take_barrier().map(rows), Some(vec![4]));
        assert_eq!(channel.queued_barrier(), None);
        let left: Vec<Element> = std::iter::from_fn(|| channel.receive(&waker)).collect();
        assert!(left.len() == 2 && left.iter().all(|element| matches!(element, Element::Batch(_))));
    }

    #[test]
    fn control_elements_never_wait_for_credit_and_keep_their_place() {
        let (channel, waker) = (Channel::new(WINDOW), noop_waker());
        channel.send(Element::Batch(batch(0..10)), &waker).unwrap();
        channel.send(Element::End, &waker).unwrap();
        assert!(matches!(channel.receive(&waker), Some(Element::Batch(_))));
        assert!(matches!(channel.receive(&waker), Some(Element::End)));
    }
}
