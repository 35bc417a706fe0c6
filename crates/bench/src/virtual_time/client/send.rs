//! What leaves when: the choice of a replica, a permit, the linger, the pace.

use super::super::agenda::{Delay, Occasion};
use super::super::calls::CallId;
use super::super::world::World;
use super::{ATTEMPTS_PER_SECOND_MAX, Client};
use forebay_gate::limiter::Knobs;

/// Most hedges that are saved up.
const HEDGE_BUDGET_MAX: f64 = 20.0;

/// A client that starts after a pause may send this many seconds' worth of its pace at once.
const PACE_BURST_SECONDS: f64 = 0.02;

impl Client {
    /// Sends all that may be sent now.
    pub fn dispatch(&mut self, world: &mut World) {
        while self.is_open(world.now()) {
            let route = self.choose_route();
            let knobs = self.routes[route].limiter.knobs();
            let rows = if self.has_permit(route, &knobs, world) { self.rows_to_send(&knobs, world) } else { 0 };
            if rows == 0 || !self.take_pace(&knobs, world) {
                return;
            }
            self.send_new(route, rows, world);
        }
    }

    /// Power of two choices on the free share of the limit; any route that has a free permit before one that has none.
    fn choose_route(&mut self) -> usize {
        let count = self.routes.len();
        if count == 1 {
            return 0;
        }
        let (one, other) = (self.choices.below(count), self.choices.below(count));
        let best = |one: usize, other: usize| {
            if self.routes[other].free_share() > self.routes[one].free_share() { other } else { one }
        };
        let chosen = best(one, other);
        if self.routes[chosen].free_share() > 0.0 { chosen } else { (0..count).fold(chosen, best) }
    }

    fn has_permit(&mut self, route: usize, knobs: &Knobs, world: &World) -> bool {
        let free = self.routes[route].calls < knobs.calls_max;
        if !free {
            self.permit_since = f64::INFINITY;
        } else if self.permit_since.is_infinite() {
            self.permit_since = world.now();
        }
        free
    }

    /// Rows that the next call takes; 0 while it must wait for rows or for its linger to be over.
    fn rows_to_send(&mut self, knobs: &Knobs, world: &mut World) -> usize {
        let now = world.now();
        while self.retries.peek().is_some_and(|later| later.at <= now)
            && let Some(later) = self.retries.pop()
        {
            self.due.push_back(later.row);
        }
        let most = knobs.rows_max.clamp(1, self.rows_max);
        if world.conditions.demand.is_infinite() {
            return most;
        }
        let ready = self.queue.len() + self.due.len();
        if let Some(at) = self.retries.peek().map(|later| later.at).filter(|_| self.due.is_empty()) {
            self.wake(at, world);
        }
        if ready == 0 {
            return 0;
        }
        // A retry waited long enough; only fresh rows linger, from the moment a permit was there for them.
        if ready < most
            && self.due.is_empty()
            && let Some(first) = self.queue.front()
        {
            let until = first.entered.max(self.permit_since) + knobs.linger;
            if now < until - 1e-9 {
                self.wake(until, world);
                return 0;
            }
        }
        most.min(ready)
    }

    /// Takes one attempt from the pace, or asks to be woken when there is one.
    fn take_pace(&mut self, knobs: &Knobs, world: &mut World) -> bool {
        let now = world.now();
        let pace = knobs.pace.min(ATTEMPTS_PER_SECOND_MAX / self.routes.len() as f64).max(1e-9);
        let filled = self.pace_tokens + (now - self.pace_at) * pace;
        self.pace_tokens = filled.min((pace * PACE_BURST_SECONDS).max(1.0));
        self.pace_at = now;
        if self.pace_tokens < 1.0 - 1e-9 {
            self.wake(now + ((1.0 - self.pace_tokens) / pace).clamp(1e-4, 1.0), world);
            return false;
        }
        self.pace_tokens -= 1.0;
        true
    }

    fn send_new(&mut self, route: usize, count: usize, world: &mut World) {
        let now = world.now();
        let id = world.calls.begin(self.index, route as u32, now);
        let backlogged = world.conditions.demand.is_infinite();
        for _ in 0..count {
            let row = match self.due.pop_front() {
                Some(row) => row,
                None => match self.queue.pop_front() {
                    Some(mut row) => {
                        row.lingered = (now - row.entered.max(self.permit_since)).max(0.0);
                        row
                    }
                    None if backlogged => self.new_row(world),
                    None => break,
                },
            };
            if let Some(call) = world.calls.get_mut(id) {
                call.rows.push(row);
            }
        }
        self.earn_budgets(id, world);
        self.send(id, world);
        self.plan_hedge(id, world);
    }

    fn earn_budgets(&mut self, id: CallId, world: &World) {
        let Some(call) = world.calls.get(id) else { return };
        let fresh = call.rows.iter().filter(|row| row.failures == 0).count() as f64;
        let retry = &self.settings.retry;
        self.retry_budget = (self.retry_budget + retry.budget_ratio * fresh).min(retry.budget_max);
        if let Some(hedge) = &self.settings.hedge {
            self.hedge_budget = (self.hedge_budget + hedge.budget_ratio * fresh).min(HEDGE_BUDGET_MAX);
        }
    }

    /// Puts a call on the link.
    pub(super) fn send(&mut self, id: CallId, world: &mut World) {
        let now = world.now();
        self.flow(now);
        let Some(call) = world.calls.get_mut(id) else { return };
        let route = &mut self.routes[call.limiter as usize];
        route.in_flight += call.rows.len() as f64;
        route.calls += 1;
        call.in_flight = route.in_flight;
        self.record.sent(now, call.rows.len());
        world.agenda.after(Delay::Timeout, Occasion::Timeout(id));
        world.agenda.after(Delay::Link, Occasion::Entry(id));
    }
}
