//! A second copy of a slow call, to the replica with most room; the first answer wins.

use super::super::agenda::Occasion;
use super::super::calls::CallId;
use super::super::world::World;
use super::Client;

/// Latencies that are looked at.
const RECENT: usize = 500;

/// Before so many answers nothing counts as slow.
const RECENT_MIN: usize = 100;

/// Answers after which the threshold is computed anew.
const RENEW_EVERY: usize = 25;

/// What counts as slow: a quantile of the last latencies, computed now and then.
pub struct Slow {
    quantile: f64,
    recent: Vec<f64>,
    sorted: Vec<f64>,
    place: usize,
    fresh: usize,
    threshold: Option<f64>,
}

// === impl Slow ===

impl Slow {
    pub fn new(quantile: f64) -> Self {
        Self { quantile, recent: Vec::new(), sorted: Vec::new(), place: 0, fresh: 0, threshold: None }
    }

    pub fn add(&mut self, latency: f64) {
        if self.recent.len() < RECENT {
            self.recent.push(latency);
        } else {
            self.recent[self.place] = latency;
            self.place = (self.place + 1) % RECENT;
        }
        self.fresh += 1;
        if self.fresh >= RENEW_EVERY && self.recent.len() >= RECENT_MIN {
            self.fresh = 0;
            self.sorted.clone_from(&self.recent);
            let place = ((self.sorted.len() as f64 * self.quantile) as usize).min(self.sorted.len() - 1);
            let (_, threshold, _) = self.sorted.select_nth_unstable_by(place, f64::total_cmp);
            self.threshold = Some(*threshold);
        }
    }
}

// === impl Client ===

impl Client {
    /// Remembers how long an attempt took.
    pub(super) fn note_latency(&mut self, latency: f64) {
        if self.settings.hedge.is_some() {
            self.slow.add(latency);
        }
    }

    pub(super) fn plan_hedge(&mut self, id: CallId, world: &mut World) {
        if let (Some(_), Some(threshold)) = (&self.settings.hedge, self.slow.threshold) {
            world.agenda.at(world.now() + threshold, Occasion::Hedge(id));
        }
    }

    /// A call is slow: sends a second copy if budget and another replica's limit allow.
    pub fn hedge(&mut self, id: CallId, world: &mut World) {
        let now = world.now();
        let Some(call) = world.calls.get(id).filter(|call| !call.client_done && call.twin.is_none()) else { return };
        let room = |route: &usize| self.routes[*route].free_share();
        let others = (0..self.routes.len()).filter(|route| *route != call.limiter as usize && room(route) > 0.0);
        let Some(route) = others.max_by(|one, other| room(one).total_cmp(&room(other))) else { return };
        if self.hedge_budget < 1.0 {
            return;
        }
        self.hedge_budget -= 1.0;
        self.record.hedges += 1;
        let (sent, count) = (call.sent, call.rows.len());
        let copy = world.calls.begin(self.index, route as u32, now);
        for index in 0..count {
            let row = world.calls.get(id).and_then(|call| call.rows.get(index)).copied();
            if let (Some(mut row), Some(copy)) = (row, world.calls.get_mut(copy)) {
                row.lingered += now - sent;
                copy.rows.push(row);
            }
        }
        for (one, other) in [(id, copy), (copy, id)] {
            if let Some(call) = world.calls.get_mut(one) {
                call.twin = Some(other);
            }
        }
        self.record.hedged_rows += count as u64;
        self.send(copy, world);
    }
}
