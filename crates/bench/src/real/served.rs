//! The backend of a scenario as a state machine that is told the time: calls in, answers out, nothing waits in here.
//!
//! It is the virtual backend with its gateway, phases and other tenants, without clients. Whoever drives it calls
//! [`Served::advance`] no later than [`Served::due`]; being late delays answers but costs no capacity, because work begins and
//! ends at planned moments.

use forebay_gate::limiter::{Class, Fixed};

use super::message::{Call, Outcome, Report};
use crate::scenario::{Client, Scenario, Span};
use crate::virtual_time::Simulation;
use crate::virtual_time::agenda::{Delay, Occasion};
use crate::virtual_time::calls::{CallId, Row};

/// What loopback, both processes and timers with a grain of 1 ms add to a call: 1.0 to 1.3 ms over HTTP/1.1 with 1 to 32 calls of
/// 40 ms at once, 1.2 to 2.9 ms over gRPC, measured unoptimised on two busy cores. It counts towards the round trip of the
/// file; the rest of that is waited for.
pub const LOOPBACK_SECONDS: f64 = 0.001_2;

/// A backend without clients.
pub struct Served<'a> {
    simulation: Simulation<'a>,
    replicas: usize,
}

/// The backend's part of `scenario`: its clients live in other processes, the only one here never begins.
pub fn backend_of(scenario: &Scenario) -> Scenario {
    let never = Client { start: Span(f64::INFINITY), stop: None };
    let round_trip = Span((scenario.round_trip.0 - LOOPBACK_SECONDS).max(0.0));
    Scenario { clients: vec![never], hedge: None, round_trip, ..scenario.clone() }
}

// === impl Served ===

impl<'a> Served<'a> {
    /// At second 0. `scenario` comes from [`backend_of`].
    pub fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let simulation = Simulation::new(scenario, seed, &|_| Box::new(Fixed::new(1, 1, 0.0)));
        Self { simulation, replicas: scenario.backend.visible_replicas() }
    }

    /// When something is to be done next; infinite when nothing is.
    pub fn due(&self) -> f64 {
        self.simulation.world.agenda.due().unwrap_or(f64::INFINITY)
    }

    /// Does what is due by `now` and hands out the answers that are to leave.
    pub fn advance(&mut self, now: f64) -> Vec<(CallId, Outcome)> {
        let mut answers = Vec::new();
        while let Some(occasion) = self.simulation.world.agenda.next(now) {
            match occasion {
                Occasion::Answer(id) => answers.extend(self.answer(id)),
                other => self.simulation.on(other),
            }
        }
        self.simulation.world.agenda.catch_up(now);
        answers
    }

    fn answer(&mut self, id: CallId) -> Option<(CallId, Outcome)> {
        let calls = &mut self.simulation.world.calls;
        let call = calls.get_mut(id)?;
        call.client_done = true;
        let outcome = match call.class {
            Class::Answered => Outcome::answered(call.rows.len() as u64),
            class => Outcome::failed(class, call.retry_after),
        };
        calls.free_if_done(id);
        Some((id, outcome))
    }

    /// A call came off the wire, at the moment of the last `advance`; half a round trip later the backend has it.
    pub fn receive(&mut self, call: &Call) -> CallId {
        let replica = call.replica.min(self.replicas.saturating_sub(1) as u32);
        let world = &mut self.simulation.world;
        let now = world.now();
        let id = world.calls.begin(0, replica, now);
        if let Some(begun) = world.calls.get_mut(id) {
            let row = |(size, output): &(f64, f64)| {
                let (size, output) = (at_least_zero(*size), at_least_zero(*output));
                Row { entered: now, size, output, failures: 0, lingered: 0.0 }
            };
            begun.rows.extend(call.rows.iter().map(row));
        }
        world.agenda.after(Delay::Link, Occasion::Entry(id));
        id
    }

    /// Nobody waits for `id` any more. Whether work on it stops is the scenario's.
    pub fn abandon(&mut self, id: CallId) {
        let calls = &mut self.simulation.world.calls;
        if let Some(call) = calls.get_mut(id) {
            (call.client_done, call.class) = (true, Class::Timeout);
            calls.free_if_done(id);
        }
    }

    /// What it says of itself.
    pub fn report(&self) -> Report {
        let gauges = (0..self.replicas).map(|replica| {
            let gauges = self.simulation.backend.gauges(replica);
            (gauges.waiting, gauges.running, gauges.preempted_total)
        });
        Report { gauges: gauges.collect(), idle_ratio: self.simulation.world.meter.idle_ratio() }
    }

    /// Calls that it or somebody else is not done with.
    #[cfg(test)]
    pub fn calls_under_way(&self) -> usize {
        self.simulation.world.calls.count()
    }
}

/// What a stranger sent, made harmless.
fn at_least_zero(number: f64) -> f64 {
    if number.is_finite() { number.max(0.0) } else { 0.0 }
}
