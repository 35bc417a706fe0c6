//! The ways out of a subtask: for each output of its chain any number of edges, forward or by key group.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use forebay_core::element::{Barrier, Element};
use forebay_core::keys::KeyColumns;
use forebay_core::time::EventTime;
use forebay_core::{Batch, Result, RowId};

use crate::channel::Channel;

/// How the rows of one output find the subtask that takes them.
#[derive(Debug, Clone)]
pub enum Way {
    /// To the subtask of the same number: the route has one channel.
    Forward,
    /// To the subtask that owns the key group of the row's id.
    ByRow,
    /// To the subtask that owns the key group of the row's key.
    ByKey(KeyColumns),
}

/// One edge out of a subtask.
#[derive(Debug, Clone)]
pub struct Route {
    /// Which output of the chain: 0 is the main one, others are side outputs.
    pub port: u8,
    /// How rows find their subtask.
    pub way: Way,
    /// One channel, or one per subtask of the next task.
    pub channels: Vec<Arc<Channel>>,
}

/// Every route of a subtask and the elements that still wait for credit, in order per channel.
#[derive(Debug)]
pub struct Outlet {
    routes: Vec<Route>,
    /// The channels of all routes, one after the other.
    channels: Vec<Arc<Channel>>,
    groups: u16,
    waiting: VecDeque<(usize, Element)>,
    /// The channels that were sent more than they had credit for.
    beyond: Vec<usize>,
    waker: Waker,
}

// === impl Outlet ===

impl Outlet {
    /// An outlet of a job with `groups` key groups; none of `routes` where the chain ends in a sink. `waker` is called when
    /// credit returns.
    pub fn new(routes: Vec<Route>, groups: u16, waker: Waker) -> Self {
        let channels = routes.iter().flat_map(|route| route.channels.iter().cloned()).collect();
        Self { routes, channels, groups, waiting: VecDeque::new(), beyond: Vec::new(), waker }
    }

    /// True when everything given so far is in a channel. Only then may more batches be given.
    pub fn is_clear(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether an edge leaves from a side output.
    pub fn has_sides(&self) -> bool {
        self.routes.iter().any(|route| route.port > 0)
    }

    /// Routes a batch of output `port` along every edge that leaves there, and sends as much as credit allows. Rows of an
    /// output without an edge are dropped.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn send_batch(&mut self, port: u8, batch: Batch) -> Result<()> {
        let mut first = 0;
        for route in &self.routes {
            let count = route.channels.len();
            if route.port == port {
                let parts = match &route.way {
                    Way::Forward => vec![(0, batch.clone())],
                    Way::ByRow => by_row(&batch, count as u16, self.groups)?,
                    Way::ByKey(columns) => by_key(&batch, columns, count as u16, self.groups)?,
                };
                self.waiting.extend(parts.into_iter().map(|(target, part)| (first + target, Element::Batch(part))));
            }
            first += count;
        }
        self.flush();
        Ok(())
    }

    /// Sends a watermark on every channel.
    pub fn send_watermark(&mut self, watermark: EventTime) {
        self.broadcast(&Element::Watermark(watermark));
    }

    /// Says on every channel that nothing may come for a while.
    pub fn send_idle(&mut self) {
        self.broadcast(&Element::Idle);
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
        let mut blocked = vec![false; self.channels.len()];
        for _ in 0..self.waiting.len() {
            let Some((target, element)) = self.waiting.pop_front() else { break };
            if blocked[target] {
                self.waiting.push_back((target, element));
                continue;
            }
            match self.channels[target].send(element, &self.waker) {
                Err(element) => {
                    blocked[target] = true;
                    self.waiting.push_back((target, element));
                }
                Ok(()) => moved = true,
            }
        }
        moved
    }

    /// Sends everything that waits, credit or not, so that a barrier can follow at once. What waits is at most the parts
    /// of one batch for each output.
    pub fn flush_beyond_credit(&mut self) {
        for (target, element) in std::mem::take(&mut self.waiting) {
            self.channels[target].send_beyond_credit(element);
            if !self.beyond.contains(&target) {
                self.beyond.push(target);
            }
        }
    }

    /// Whether a channel still holds more than its credit, because of an earlier barrier. Nothing new may be begun then;
    /// otherwise each barrier would push another batch beyond credit.
    pub fn is_beyond_credit(&mut self) -> bool {
        let Self { beyond, channels, waker, .. } = self;
        beyond.retain(|target| channels[*target].is_beyond_credit(waker));
        !beyond.is_empty()
    }

    fn broadcast(&mut self, element: &Element) {
        for target in 0..self.channels.len() {
            self.waiting.push_back((target, element.clone()));
        }
        self.flush();
    }
}

#[cfg(test)]
impl Outlet {
    /// Everything that what it does next follows from.
    pub fn shape(&self) -> String {
        let waiting: Vec<_> =
            self.waiting.iter().map(|(target, element)| (target, crate::testing::shown(element))).collect();
        format!("{waiting:?} beyond {:?}", self.beyond)
    }
}

fn by_row(batch: &Batch, parallelism: u16, groups: u16) -> Result<Vec<(usize, Batch)>> {
    let target = |id: &RowId| id.key_group(groups).subtask(parallelism, groups);
    split(batch, batch.ids().iter().map(target), parallelism)
}

fn by_key(batch: &Batch, columns: &KeyColumns, parallelism: u16, groups: u16) -> Result<Vec<(usize, Batch)>> {
    if parallelism == 1 {
        return Ok(vec![(0, batch.clone())]);
    }
    let of_rows = columns.groups(batch.rows(), groups)?;
    split(batch, of_rows.into_iter().map(|group| group.subtask(parallelism, groups)), parallelism)
}

/// The rows of `batch` by the subtask that each goes to, in order.
fn split(batch: &Batch, targets: impl Iterator<Item = u16>, parallelism: u16) -> Result<Vec<(usize, Batch)>> {
    let mut places: Vec<Vec<usize>> = vec![Vec::new(); usize::from(parallelism)];
    for (place, target) in targets.enumerate() {
        places[usize::from(target)].push(place);
    }
    let some = places.into_iter().enumerate().filter(|(_, places)| !places.is_empty());
    some.map(|(target, places)| {
        let part = if places.len() == batch.len() { batch.clone() } else { batch.take(&places)? };
        Ok((target, part))
    })
    .collect()
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
        let route = Route { port: 0, way: Way::ByRow, channels: channels.clone() };
        let mut outlet = Outlet::new(vec![route], 128, noop_waker());
        outlet.send_batch(0, rows).unwrap();
        outlet.send_end();
        let received = |channel: &Channel| -> usize {
            std::iter::from_fn(|| channel.receive(&noop_waker()))
                .map(|element| if let Element::Batch(batch) = element { batch.len() } else { 0 })
                .sum()
        };
        assert_eq!((received(&channels[0]), received(&channels[1])), (2, 1));
    }

    fn rows_in(channel: &Channel) -> Vec<u64> {
        std::iter::from_fn(|| channel.receive(&noop_waker()))
            .flat_map(|element| match element {
                Element::Batch(batch) => batch.ids().iter().map(|id| id.ordinal).collect(),
                _ => Vec::new(),
            })
            .collect()
    }

    #[test]
    fn rows_of_one_key_go_to_one_subtask_whoever_sends_them() {
        let columns = KeyColumns::new(vec![0], &batch(0..1).schema()).unwrap();
        let mut owner: std::collections::BTreeMap<u64, usize> = std::collections::BTreeMap::new();
        for range in [0..40, 20..60] {
            let channels: Vec<_> = (0..3).map(|_| Arc::new(Channel::new(Window::default()))).collect();
            let route = Route { port: 0, way: Way::ByKey(columns.clone()), channels: channels.clone() };
            Outlet::new(vec![route], 128, noop_waker()).send_batch(0, batch(range)).unwrap();
            for (subtask, channel) in channels.iter().enumerate() {
                let rows = rows_in(channel);
                assert!(!rows.is_empty() && rows.is_sorted());
                rows.into_iter().for_each(|row| assert_eq!(*owner.entry(row).or_insert(subtask), subtask));
            }
        }
        assert_eq!(owner.len(), 60);
    }

    #[test]
    fn every_edge_of_an_output_gets_its_rows_and_no_others() {
        let channels: Vec<_> = (0..3).map(|_| Arc::new(Channel::new(Window::default()))).collect();
        let route =
            |port, place: usize| Route { port, way: Way::Forward, channels: vec![Arc::clone(&channels[place])] };
        let mut outlet = Outlet::new(vec![route(0, 0), route(0, 1), route(1, 2)], 128, noop_waker());
        outlet.send_batch(0, batch(0..2)).unwrap();
        outlet.send_batch(1, batch(7..8)).unwrap();
        outlet.send_batch(2, batch(9..10)).unwrap();
        assert_eq!(
            channels.iter().map(|channel| rows_in(channel)).collect::<Vec<_>>(),
            [vec![0, 1], vec![0, 1], vec![7]]
        );
    }

    #[test]
    fn a_full_channel_keeps_the_order_of_what_waits() {
        let channel = Arc::new(Channel::new(Window { bytes: usize::MAX, rows: 4 }));
        let route = Route { port: 0, way: Way::Forward, channels: vec![Arc::clone(&channel)] };
        let mut outlet = Outlet::new(vec![route], 128, noop_waker());
        outlet.send_batch(0, batch(0..4)).unwrap();
        outlet.send_batch(0, batch(4..8)).unwrap();
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
