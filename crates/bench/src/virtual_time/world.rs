//! What clients and backend share: clock, calls, conditions, the gateway between them, and the way answers take.

use forebay_gate::limiter::Class;

use super::agenda::{Agenda, Delay, Occasion};
use super::calls::{CallId, Calls, Row, TENANT};
use super::dice::{Dice, LogNormal};
use crate::scenario::{Backend, Conditions, Gateway, Outage, Refusal, Scenario, Tokens};

/// How long a refusal takes the backend.
pub const REFUSAL_SECONDS: f64 = 0.002;

/// What clients and backend share.
pub struct World {
    /// Clock and plan.
    pub agenda: Agenda,
    /// Calls under way.
    pub calls: Calls,
    /// What holds now.
    pub conditions: Conditions,
    /// How much of the backend is in use.
    pub meter: Meter,
    /// Service times.
    pub dice: Dice,
    /// Sizes of rows.
    pub shape: RowShape,
    /// Rows of other tenants that were answered.
    pub tenant_answered: u64,
    gateway: Option<GatewayState>,
    cancel: bool,
}

/// Draws rows.
#[derive(Debug, Clone)]
pub struct RowShape {
    size: LogNormal,
    tokens: Option<[(Tokens, LogNormal); 2]>,
}

/// Use and capacity of the backend, integrated over time.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    since: f64,
    busy: f64,
    capacity: f64,
    busy_seconds: f64,
    capacity_seconds: f64,
}

struct GatewayState {
    settings: Gateway,
    tokens: f64,
    filled_at: f64,
    calls: usize,
}

// === impl World ===

impl World {
    /// The world of `scenario` at second 0.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let link = scenario.round_trip.0 / 2.0;
        let gateway = scenario.gateway.clone().map(|settings| GatewayState {
            tokens: settings.burst,
            filled_at: 0.0,
            calls: 0,
            settings,
        });
        Self {
            agenda: Agenda::new([link, REFUSAL_SECONDS + link, scenario.timeout_seconds(), super::TICK_SECONDS]),
            calls: Calls::default(),
            conditions: scenario.conditions(0.0).0,
            meter: Meter::default(),
            dice: Dice::new(seed, 0),
            shape: RowShape::new(scenario),
            tenant_answered: 0,
            gateway,
            cancel: scenario.cancel,
        }
    }

    /// Seconds since the start.
    pub fn now(&self) -> f64 {
        self.agenda.now()
    }

    /// Lets a call through the gateway and the outage, or answers it; whether the backend gets it.
    pub fn admit(&mut self, id: CallId) -> bool {
        if let Some((class, retry_after)) = self.gateway_refusal() {
            self.refuse(id, class, retry_after);
            return false;
        }
        if self.gateway.is_some()
            && let Some(call) = self.calls.get_mut(id)
        {
            call.at_gateway = true;
        }
        !self.fails(id, self.conditions.outage)
    }

    /// Treats a call as `outage` says; whether that was the end of it.
    pub fn fails(&mut self, id: CallId, outage: Outage) -> bool {
        match outage {
            Outage::None => return false,
            Outage::Refuse => self.refuse(id, Class::Overloaded, 0.0),
            Outage::Down => self.refuse(id, Class::Down, 0.0),
            Outage::Silent => self.end(id),
        }
        true
    }

    fn gateway_refusal(&mut self) -> Option<(Class, f64)> {
        let now = self.agenda.now();
        let rate = self.conditions.rate_limit;
        let gateway = self.gateway.as_mut()?;
        let retry_after = gateway.settings.retry_after.map_or(0.0, |span| span.0);
        if rate.is_finite() {
            let filled = gateway.tokens + (now - gateway.filled_at) * rate;
            gateway.tokens = filled.min(gateway.settings.burst);
            gateway.filled_at = now;
            if gateway.tokens < 1.0 {
                return Some((Class::Throttled, retry_after));
            }
            gateway.tokens -= 1.0;
        }
        if gateway.settings.concurrent_max.is_some_and(|most| gateway.calls >= most) {
            let class = match gateway.settings.refusal {
                Refusal::Unavailable => Class::Overloaded,
                Refusal::TooMany => Class::Throttled,
            };
            return Some((class, retry_after));
        }
        gateway.calls += 1;
        None
    }

    /// Answers a call that the backend worked on; the answer is on the link from now.
    pub fn answer(&mut self, id: CallId, class: Class) {
        self.send_back(id, class, 0.0, Delay::Link);
    }

    /// Answers a call without working on it.
    pub fn refuse(&mut self, id: CallId, class: Class, retry_after: f64) {
        self.send_back(id, class, retry_after, Delay::Refusal);
    }

    pub fn send_back(&mut self, id: CallId, class: Class, retry_after: f64, delay: Delay) {
        let Some(call) = self.calls.get_mut(id) else { return };
        if call.client == TENANT && class == Class::Answered {
            self.tenant_answered += call.rows.len() as u64;
        }
        if !call.client_done {
            (call.class, call.retry_after) = (class, retry_after);
            self.agenda.after(delay, Occasion::Answer(id));
        }
        self.end(id);
    }

    /// Ends the backend's side of a call.
    pub fn end(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(id) else { return };
        call.server_done = true;
        if std::mem::take(&mut call.at_gateway)
            && let Some(gateway) = &mut self.gateway
        {
            gateway.calls = gateway.calls.saturating_sub(1);
        }
        self.calls.free_if_done(id);
    }

    /// Whether the backend may drop a call, because nobody waits for it and it learned of that, or because it is over.
    pub fn is_abandoned(&self, id: CallId) -> bool {
        self.calls.get(id).is_none_or(|call| {
            call.client_done && call.client != TENANT && (self.cancel || call.class == Class::Cancelled)
        })
    }

    /// Calls that the gateway counts as under way.
    #[cfg(test)]
    pub fn calls_at_gateway(&self) -> usize {
        self.gateway.as_ref().map_or(0, |gateway| gateway.calls)
    }
}

// === impl RowShape ===

impl RowShape {
    fn new(scenario: &Scenario) -> Self {
        let tokens = match &scenario.backend {
            Backend::Llm(llm) => {
                Some([&llm.prompt, &llm.output].map(|tokens| (tokens.clone(), LogNormal::new(tokens.cv))))
            }
            _ => None,
        };
        Self { size: LogNormal::new(scenario.size_cv), tokens }
    }

    /// A row that enters at `now`, `size` times as large as usual.
    pub fn draw(&self, dice: &mut Dice, size: f64, now: f64) -> Row {
        let (size, output) = match &self.tokens {
            None => (size * self.size.draw(dice), 0.0),
            Some([(prompt, prompts), (output, outputs)]) => {
                let prompt = (prompt.mean * size * prompts.draw(dice)).max(prompt.min).min(prompt.max);
                let output = (output.mean * outputs.draw(dice)).max(output.min).min(output.max);
                (prompt, output.round().max(1.0))
            }
        };
        Row { entered: now, size, output, failures: 0, lingered: 0.0 }
    }
}

// === impl Meter ===

impl Meter {
    /// From `now` on, `busy` of `capacity` is in use.
    pub fn set(&mut self, now: f64, busy: f64, capacity: f64) {
        let passed = now - self.since;
        self.busy_seconds += self.busy.min(self.capacity) * passed;
        self.capacity_seconds += self.capacity * passed;
        (self.since, self.busy, self.capacity) = (now, busy, capacity);
    }

    /// Share of the capacity that was unused until the last change.
    pub fn idle_ratio(&self) -> f64 {
        if self.capacity_seconds <= 0.0 { 0.0 } else { 1.0 - self.busy_seconds / self.capacity_seconds }
    }
}
