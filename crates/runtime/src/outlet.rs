//! The ways out of a subtask: channels to the next task, by forward edge or by exchange.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use forebay_core::element::{Barrier, Element};
use forebay_core::time::EventTime;
use forebay_core::{Batch, Result};

use crate::channel::Channel;

/// How a subtask's rows reach the next task.
#[derive(Debug, Clone)]
pub enum Route {
    /// No next task: the chain ends in a sink.
    None,
    /// To the subtask of the same number.
    Forward(Arc<Channel>),
    /// To the subtask that owns the row's key group.
    Exchange {
        /// One channel per subtask of the next task.
        channels: Vec<Arc<Channel>>,
        /// How many key groups the job has.
        groups: u16,
    },
}

/// A route and the elements that still wait for credit, in order per channel.
#[derive(Debug)]
pub struct Outlet {
    route: Route,
    waiting: VecDeque<(usize, Element)>,
    waker: Waker,
}

// === impl Outlet ===

impl Outlet {
    /// An outlet; `waker` is called when credit returns.
    pub fn new(route: Route, waker: Waker) -> Self {
        Self { route, waiting: VecDeque::new(), waker }
    }

    /// True when everything given so far is in a channel. Only then may more batches be given.
    pub fn is_clear(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Routes a batch and sends as much as credit allows.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn send_batch(&mut self, batch: Batch) -> Result<()> {
        match &self.route {
            Route::None => {}
            Route::Forward(_) => self.waiting.push_back((0, Element::Batch(batch))),
            Route::Exchange { channels, groups } => {
                for (target, part) in split_by_target(&batch, channels.len() as u16, *groups)? {
                    self.waiting.push_back((target, Element::Batch(part)));
                }
            }
        }
        self.flush();
        Ok(())
    }

    /// Sends a watermark on every channel.
    pub fn send_watermark(&mut self, watermark: EventTime) {
        self.broadcast(&Element::Watermark(watermark));
    }

    /// Sends a barrier on every channel. The outlet must be clear.
    pub fn send_barrier(&mut self, barrier: Barrier) {
        self.broadcast(&Element::Barrier(barrier));
    }

    /// Sends the end on every channel.
    pub fn send_end(&mut self) {
        self.broadcast(&Element::End);
    }

    /// Sends what waits, as far as credit allows; true if something moved.
    pub fn flush(&mut self) -> bool {
        let mut moved = false;
        let mut blocked = vec![false; self.channel_count()];
        for _ in 0..self.waiting.len() {
            let Some((target, element)) = self.waiting.pop_front() else { break };
            if blocked[target] {
                self.waiting.push_back((target, element));
                continue;
            }
            match self.channel(target).map(|channel| channel.send(element, &self.waker)) {
                Some(Err(element)) => {
                    blocked[target] = true;
                    self.waiting.push_back((target, element));
                }
                _ => moved = true,
            }
        }
        moved
    }

    /// Sends everything that waits, credit or not, so that a barrier can follow at once. What waits is at most the parts
    /// of one batch.
    pub fn flush_beyond_credit(&mut self) {
        for (target, element) in std::mem::take(&mut self.waiting) {
            if let Some(channel) = self.channel(target) {
                channel.send_beyond_credit(element);
            }
        }
    }

    fn broadcast(&mut self, element: &Element) {
        for target in 0..self.channel_count() {
            self.waiting.push_back((target, element.clone()));
        }
        self.flush();
    }

    fn channel_count(&self) -> usize {
        match &self.route {
            Route::None => 0,
            Route::Forward(_) => 1,
            Route::Exchange { channels, .. } => channels.len(),
        }
    }

    fn channel(&self, target: usize) -> Option<&Arc<Channel>> {
        match &self.route {
            Route::None => None,
            Route::Forward(channel) => Some(channel),
            Route::Exchange { channels, .. } => channels.get(target),
        }
    }
}

/// The rows of `batch` by the subtask that owns their key group, in order.
fn split_by_target(batch: &Batch, parallelism: u16, groups: u16) -> Result<Vec<(usize, Batch)>> {
    let mut places: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (place, id) in batch.ids().iter().enumerate() {
        let target = id.key_group(groups).subtask(parallelism, groups);
        places.entry(usize::from(target)).or_default().push(place);
    }
    if places.len() == 1 {
        return Ok(places.into_keys().map(|target| (target, batch.clone())).collect());
    }
    places.into_iter().map(|(target, places)| Ok((target, batch.take(&places)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Window;
    use crate::testing::batch;
    use futures::task::noop_waker;

    #[test]
    fn exchange_sends_each_row_to_the_owner_of_its_key_group_in_order() {
        let rows = {
            let one = batch(0..3);
            let ids: Vec<_> = (0..3).map(|n| forebay_core::RowId::new(forebay_core::row::SplitId(n * 40), 0)).collect();
            Batch::new(one.rows().clone(), ids).unwrap()
        };
        let channels: Vec<_> = (0..2).map(|_| Arc::new(Channel::new(Window::default()))).collect();
        let mut outlet = Outlet::new(Route::Exchange { channels: channels.clone(), groups: 128 }, noop_waker());
        outlet.send_batch(rows).unwrap();
        outlet.send_end();
        let received = |channel: &Channel| -> usize {
            std::iter::from_fn(|| channel.receive(&noop_waker()))
                .map(|element| if let Element::Batch(batch) = element { batch.len() } else { 0 })
                .sum()
        };
        assert_eq!((received(&channels[0]), received(&channels[1])), (2, 1));
    }

    #[test]
    fn a_full_channel_keeps_the_order_of_what_waits() {
        let channel = Arc::new(Channel::new(Window { bytes: usize::MAX, rows: 4 }));
        let mut outlet = Outlet::new(Route::Forward(Arc::clone(&channel)), noop_waker());
        outlet.send_batch(batch(0..4)).unwrap();
        outlet.send_batch(batch(4..8)).unwrap();
        outlet.send_end();
        assert!(!outlet.is_clear());
        let mut seen = Vec::new();
        for _ in 0..3 {
            if let Some(Element::Batch(batch)) = channel.receive(&noop_waker()) {
                seen.push(batch.ids()[0].ordinal);
            }
            outlet.flush();
        }
        assert_eq!(seen, [0, 4]);
        assert!(outlet.is_clear());
    }
}
