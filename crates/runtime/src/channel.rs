//! An edge at run time: a queue between two subtasks with a window of bytes and rows.
//!
//! A batch may be sent when it fits what is left of both, **or when nothing is in flight** (the one-oversize rule), so a
//! single row larger than the window cannot stop the pipeline. Each channel owns its window; there is no shared pool, so a
//! channel that waits at a barrier cannot starve its sibling. Watermarks, barriers and the end always fit: they are few
//! and must not wait behind credit.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use forebay_core::element::Element;

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
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<(Element, Ledger)>,
    used: Ledger,
    used_max: Ledger,
    barriers: usize,
    sender: Option<Waker>,
    receiver: Option<Waker>,
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
        self.barriers += usize::from(matches!(element, Element::Barrier(_)));
        self.queue.push_back((element, cost));
    }
}

// === impl Channel ===

impl Channel {
    /// An empty channel.
    pub fn new(window: Window) -> Self {
        Self { window, state: Mutex::default() }
    }

    /// Sends `element`, or gives it back when there is no credit; then `sender` is woken as soon as some returns.
    ///
    /// # Errors
    /// The element itself, to be sent again later.
    pub fn send(&self, element: Element, sender: &Waker) -> Result<(), Element> {
        let cost = Ledger::cost(&element);
        let receiver = {
            let mut state = self.lock();
            if !state.used.admits(cost, self.window) {
                state.sender = Some(sender.clone());
                return Err(element);
            }
            state.push(element, cost);
            state.receiver.take()
        };
        if let Some(waker) = receiver {
            waker.wake();
        }
        Ok(())
    }

    /// Sends `element` whatever is in flight. Only for what waits in front of a barrier: at most one batch per barrier.
    pub fn send_beyond_credit(&self, element: Element) {
        let cost = Ledger::cost(&element);
        let receiver = {
            let mut state = self.lock();
            state.push(element, cost);
            state.receiver.take()
        };
        if let Some(waker) = receiver {
            waker.wake();
        }
    }

    /// Whether a barrier is queued, however far behind.
    pub fn holds_barrier(&self) -> bool {
        self.lock().barriers > 0
    }

    /// Takes the next element and returns its credit; on an empty channel `receiver` is woken by the next send.
    pub fn receive(&self, receiver: &Waker) -> Option<Element> {
        let (element, sender) = {
            let mut state = self.lock();
            let Some((element, cost)) = state.queue.pop_front() else {
                state.receiver = Some(receiver.clone());
                return None;
            };
            state.used.remove(cost);
            state.barriers -= usize::from(matches!(element, Element::Barrier(_)));
            (element, state.sender.take())
        };
        if let Some(waker) = sender {
            waker.wake();
        }
        Some(element)
    }

    /// The most that was ever in flight, for metrics and invariants.
    pub fn used_max(&self) -> Ledger {
        self.lock().used_max
    }

    /// The window given at the start.
    pub fn window(&self) -> Window {
        self.window
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn one_oversize_batch_passes_an_empty_channel() {
        let (channel, waker) = (Channel::new(WINDOW), noop_waker());
        channel.send(Element::Batch(batch(0..100)), &waker).unwrap();
        assert!(channel.send(Element::Batch(batch(0..1)), &waker).is_err());
        assert_eq!(channel.used_max().rows, 100);
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
