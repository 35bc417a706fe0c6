//! The way from a client to one replica: its limiter, and what is in flight on it.

use forebay_gate::limiter::Limiter;

/// The way to one replica.
pub struct Route {
    /// What bounds it.
    pub limiter: Box<dyn Limiter>,
    /// Rows in flight.
    pub in_flight: f64,
    /// Calls in flight.
    pub calls: usize,
    /// The integral of rows in flight over time.
    pub row_seconds: f64,
}

// === impl Route ===

impl Route {
    /// Nothing is in flight.
    pub fn new(limiter: Box<dyn Limiter>) -> Self {
        Self { limiter, in_flight: 0.0, calls: 0, row_seconds: 0.0 }
    }

    /// Share of its limit that is free; below zero when the limit sank under what is in flight.
    pub fn free_share(&self) -> f64 {
        let limit = self.limiter.knobs().calls_max;
        if limit == 0 { f64::NEG_INFINITY } else { 1.0 - self.calls as f64 / limit as f64 }
    }
}
