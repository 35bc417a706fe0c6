//! What holds at a moment of a scenario: phases and ramps resolved into plain numbers.

use super::{Outage, Phase, Scenario};

/// What holds at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditions {
    /// Multiplies the backend's capacity.
    pub capacity: f64,
    /// Multiplies service times.
    pub service: f64,
    /// Multiplies the size of rows.
    pub size: f64,
    /// Calls in a second of other tenants.
    pub tenants: f64,
    /// Rows that arrive in a second at each client; infinite while a row is always waiting.
    pub demand: f64,
    /// Calls in a second that the gateway lets through; infinite without a rate limit.
    pub rate_limit: f64,
    /// How the whole backend fails.
    pub outage: Outage,
    /// Each replica's own; empty for backends without replicas.
    pub replicas: Vec<ReplicaConditions>,
}

/// What holds for one replica.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReplicaConditions {
    /// Multiplies its service times.
    pub service: f64,
    /// How it fails.
    pub outage: Outage,
}

/// Whether numbers move at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ramping {
    /// They stay until the next phase.
    Steady,
    /// They are on their way to the next phase's.
    Moving,
}

// === impl Scenario ===

impl Scenario {
    /// What holds `at` seconds after the start, and whether it is moving.
    pub fn conditions(&self, at: f64) -> (Conditions, Ramping) {
        // A moment within a nanosecond of a phase belongs to it, so that sums of steps do not miss it.
        let current = self.phases.iter().rposition(|phase| phase.at.0 <= at + 1e-9);
        let first = Phase::new(super::Span(0.0));
        let phase = current.map_or(&first, |index| &self.phases[index]);
        let now = self.resolve(phase);
        let next = current.and_then(|index| self.phases.get(index + 1)).filter(|_| phase.ramp);
        match next {
            None => (now, Ramping::Steady),
            Some(next) => {
                let way = ((at - phase.at.0) / (next.at.0 - phase.at.0).max(1e-9)).clamp(0.0, 1.0);
                (now.towards(&self.resolve(next), way), Ramping::Moving)
            }
        }
    }

    fn resolve(&self, phase: &Phase) -> Conditions {
        let replicas = match &self.backend {
            super::Backend::Slots(slots) => slots.replicas,
            _ => 0,
        };
        let mut conditions = Conditions {
            capacity: phase.capacity,
            service: phase.service,
            size: phase.size,
            tenants: phase.tenants,
            demand: phase.demand.or(self.demand).unwrap_or(f64::INFINITY),
            rate_limit: self
                .gateway
                .as_ref()
                .and_then(|gateway| phase.rate_limit.or(gateway.rate_limit))
                .unwrap_or(f64::INFINITY),
            outage: phase.outage,
            replicas: vec![ReplicaConditions { service: 1.0, outage: Outage::None }; replicas],
        };
        for own in &phase.replicas {
            if let Some(replica) = conditions.replicas.get_mut(own.replica.wrapping_sub(1)) {
                *replica = ReplicaConditions { service: own.service, outage: own.outage };
            }
        }
        conditions
    }
}

// === impl Conditions ===

impl Conditions {
    /// The point at `way` (0 to 1) between these and `goal`. What cannot move in a line stays until the goal begins.
    fn towards(&self, goal: &Self, way: f64) -> Self {
        let between = |from: f64, to: f64| {
            if from.is_finite() && to.is_finite() { from + (to - from) * way } else { from }
        };
        Self {
            capacity: between(self.capacity, goal.capacity),
            service: between(self.service, goal.service),
            size: between(self.size, goal.size),
            tenants: between(self.tenants, goal.tenants),
            demand: between(self.demand, goal.demand),
            rate_limit: between(self.rate_limit, goal.rate_limit),
            outage: self.outage,
            replicas: self.replicas.clone(),
        }
    }

    /// Whether nothing can be answered.
    pub fn is_out(&self) -> bool {
        self.outage != Outage::None
    }
}
