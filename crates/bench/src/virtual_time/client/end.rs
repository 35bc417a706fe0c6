//! What becomes of a call: its answer, its timeout, its retries.

use forebay_gate::limiter::{Attempt, Class};

use super::super::calls::{Call, CallId};
use super::super::world::World;
use super::{Client, Later};

impl Client {
    /// An answer came.
    pub fn answered(&mut self, id: CallId, world: &mut World) {
        if world.calls.get(id).is_some_and(|call| !call.client_done) {
            self.end(id, world);
            self.dispatch(world);
        }
    }

    /// The patience with a call is over.
    pub fn timed_out(&mut self, id: CallId, world: &mut World) {
        if let Some(call) = world.calls.get_mut(id).filter(|call| !call.client_done) {
            (call.class, call.retry_after) = (Class::Timeout, 0.0);
            self.end(id, world);
            self.dispatch(world);
        }
    }

    /// The client stops waiting for a call: gives the permit back, tells the limiter, decides each row's fate.
    fn end(&mut self, id: CallId, world: &mut World) {
        let now = world.now();
        self.flow(now);
        let Some(call) = world.calls.get_mut(id) else { return };
        call.client_done = true;
        let twin = call.twin;
        let class = call.class;
        self.release(call, now);
        let other_copy = twin.filter(|twin| world.calls.get(*twin).is_some_and(|call| !call.client_done));
        match class {
            Class::Answered => {
                self.count_answered(id, world);
                if let Some(loser) = other_copy {
                    self.cancel(loser, world);
                }
            }
            Class::Cancelled => {}
            // While the other copy is under way the rows are in its hands.
            _ => self.fail(id, other_copy.is_none(), world),
        }
        world.calls.free_if_done(id);
    }

    fn release(&mut self, call: &Call, now: f64) {
        let rows = call.rows.len();
        let route = &mut self.routes[call.limiter as usize];
        route.in_flight -= rows as f64;
        route.calls -= 1;
        let (sent, class, in_flight) = (call.sent, call.class, call.in_flight);
        route.limiter.on_end(&Attempt { sent, ended: now, class, rows, in_flight });
        if class != Class::Cancelled {
            self.note_latency(now - sent);
        }
    }

    fn cancel(&mut self, id: CallId, world: &mut World) {
        if let Some(call) = world.calls.get_mut(id) {
            (call.class, call.retry_after) = (Class::Cancelled, 0.0);
            self.end(id, world);
        }
    }

    fn count_answered(&mut self, id: CallId, world: &World) {
        let Some(call) = world.calls.get(id) else { return };
        let latency = world.now() - call.sent;
        for row in &call.rows {
            self.record.answered(world.now(), latency + row.lingered, self.settings.objective);
        }
    }

    fn fail(&mut self, id: CallId, settle: bool, world: &mut World) {
        let now = world.now();
        let Some(call) = world.calls.get(id) else { return };
        self.record.failed(now, call.rows.len());
        if !settle {
            return;
        }
        let (count, retry_after) = (call.rows.len(), call.retry_after);
        let mut wake = f64::INFINITY;
        for index in 0..count {
            let Some(mut row) = world.calls.get(id).and_then(|call| call.rows.get(index)).copied() else { continue };
            row.failures += 1;
            row.lingered = 0.0;
            if (row.failures as usize) < self.settings.retry.attempts_max && self.retry_budget >= 1.0 {
                self.retry_budget -= 1.0;
                self.record.retries += 1;
                let at = now + self.pause(row.failures, retry_after);
                wake = wake.min(at);
                self.retries.push(Later { at, row });
            } else {
                self.record.given_up += 1;
            }
        }
        if wake.is_finite() {
            self.wake(wake, world);
        }
    }

    /// Full jitter; a hint is honoured and spread, so that clients do not come back together.
    fn pause(&mut self, failures: u32, retry_after: f64) -> f64 {
        if retry_after > 0.0 {
            return retry_after * (1.0 + 0.1 * self.choices.unit());
        }
        let retry = &self.settings.retry;
        let longest = (retry.backoff.0 * f64::from(1u32 << failures.min(16))).min(retry.backoff_max.0);
        longest * self.choices.unit()
    }
}
