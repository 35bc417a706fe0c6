//! Hill climbing: ten per cent more or less, as long as the useful rate rises.
//!
//! Useful are rows answered within the objective, less nine for each that was late or failed, so that one in ten late is
//! worth nothing. A step lasts three latencies, at least half a second; when the rate fell the direction turns. This is
//! what tuners of thread pools do (.NET's hill climbing without its wave; search over TCP windows by utility as in PCC,
//! Dong et al. 2015), with the objective in the utility, which neither has.

use forebay_gate::limiter::{Attempt, Class, Knobs, Limiter, Load, Seconds};

use super::{LIMIT_MAX, LIMIT_START, RivalSettings, knobs};

/// How much a step changes the limit.
const STEP: f64 = 0.1;
/// What a late or failed row costs, in useful ones.
const PENALTY: f64 = 9.0;

/// Tries the neighbours of the present limit for ever.
#[derive(Debug, Clone)]
pub struct Hill {
    settings: RivalSettings,
    limit: f64,
    useful: f64,
    since: Seconds,
    useful_rate: f64,
    direction: f64,
    latency: Seconds,
}

// === impl Hill ===

impl Hill {
    /// With 20 rows to begin with, going up.
    pub fn new(settings: &RivalSettings) -> Self {
        Self {
            settings: *settings,
            limit: LIMIT_START,
            useful: 0.0,
            since: 0.0,
            useful_rate: 0.0,
            direction: 1.0,
            latency: 0.1,
        }
    }

    fn step(&mut self, now: Seconds) {
        let rate = self.useful / (now - self.since);
        if rate < self.useful_rate {
            self.direction = -self.direction;
        }
        self.useful_rate = rate;
        self.useful = 0.0;
        self.since = now;
        self.limit = (self.limit * (1.0 + STEP * self.direction)).clamp(1.0, LIMIT_MAX);
    }
}

impl Limiter for Hill {
    fn knobs(&self) -> Knobs {
        knobs(self.limit, &self.settings)
    }

    fn on_end(&mut self, attempt: &Attempt) {
        let rows = attempt.rows as f64;
        match attempt.class {
            Class::Cancelled => return,
            Class::Answered => {
                self.latency += (attempt.latency() - self.latency) * 0.05;
                let in_time = attempt.latency() <= self.settings.objective;
                self.useful += if in_time { rows } else { -PENALTY * rows };
            }
            _ => self.useful -= PENALTY * rows,
        }
        if attempt.ended - self.since > (3.0 * self.latency).max(0.5) {
            self.step(attempt.ended);
        }
    }

    fn on_tick(&mut self, _now: Seconds, _load: Load) {}

    fn why(&self) -> String {
        format!("limit {:.1} rows, useful {:.1} rows/s, direction {:+}", self.limit, self.useful_rate, self.direction)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Loop;
    use super::*;

    const SETTINGS: RivalSettings = RivalSettings { objective: 0.2, rows_per_call: 1, linger: 0.0 };

    #[test]
    fn turns_when_the_useful_rate_fell() {
        let table = [(90.0, 110.0, 22.0), (110.0, 90.0, 18.0), (0.0, 0.0, 22.0), (10.0, -900.0, 18.0)];
        for (before, now, expected) in table {
            let mut hill = Hill { useful_rate: before, useful: now, ..Hill::new(&SETTINGS) };
            hill.step(1.0);
            assert!((hill.limit - expected).abs() < 1e-9, "{before} -> {now}: {}", hill.limit);
        }
    }

    #[test]
    fn climbs_to_the_capacity_and_no_further_than_the_objective() {
        let mut hill = Hill::new(&SETTINGS);
        let limit = Loop::new(64.0, 0.05).run(&mut hill, 60.0);
        // 256 rows in flight take 0.2 s.
        assert!((50.0..=300.0).contains(&limit), "{limit}");
    }
}
