//! A backend in one line for table tests of control laws: latency grows in proportion beyond its capacity.

use forebay_gate::limiter::{Attempt, Class, Limiter, Load, Seconds};

/// A backlogged client and a backend that serves `capacity` rows at once in `service` seconds, and more of them slower.
#[derive(Debug, Clone, Copy)]
pub struct Loop {
    pub now: Seconds,
    pub capacity: f64,
    pub service: Seconds,
    /// What becomes of every attempt.
    pub class: Class,
    /// The share of the limit that is used.
    pub used: f64,
}

impl Loop {
    pub fn new(capacity: f64, service: Seconds) -> Self {
        Self { now: 0.0, capacity, service, class: Class::Answered, used: 1.0 }
    }

    /// Runs for `seconds` and answers the limit in rows.
    pub fn run(&mut self, limiter: &mut dyn Limiter, seconds: Seconds) -> f64 {
        let until = self.now + seconds;
        while self.now < until {
            let knobs = limiter.knobs();
            let calls = ((knobs.calls_max as f64 * self.used) as usize).max(1);
            let in_flight = (calls * knobs.rows_max) as f64;
            let latency = self.service * (in_flight / self.capacity).max(1.0);
            for call in 0..calls {
                let ended = self.now + latency * (call + 1) as f64 / calls as f64;
                let attempt =
                    Attempt { sent: ended - latency, ended, class: self.class, rows: knobs.rows_max, in_flight };
                limiter.on_end(&attempt);
                limiter.on_tick(ended, Load { row_seconds: in_flight * ended, in_flight, waiting: true });
            }
            self.now += latency;
        }
        let knobs = limiter.knobs();
        (knobs.calls_max * knobs.rows_max) as f64
    }
}
