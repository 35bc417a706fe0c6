//! BBR for calls instead of packets, measured as Kratos and Sentinel do: highest delivery rate times shortest latency.
//!
//! Rate and latency are taken over rounds of one and a half shortest latencies, at least 0.1 s and 10 answers; the highest of
//! 10 rounds and the shortest mean of 10 s make the limit. Kratos bounds a server that knows its own load; a client does not,
//! so the gain cycle of BBR (1.25, 0.75, then six times 1), its doubling start (left after three rounds that grew by less
//! than a quarter) and its ProbeRTT, at half the limit as in BBRv2, find the two. Source: Cardwell et al. 2016; draft-cardwell-
//! iccrg-bbr; go-kratos/aegis `ratelimit/bbr`. Errors are not looked at.

use std::collections::VecDeque;

use forebay_gate::limiter::{Attempt, Class, Knobs, Limiter, Load, Seconds};

use super::{LIMIT_MAX, RivalSettings, knobs};

/// Rounds whose highest rate counts.
const RATE_ROUNDS: usize = 10;
/// Seconds whose shortest mean latency counts, and from one ProbeRTT to the next.
const LATENCY_SECONDS: Seconds = 10.0;
/// What the limit is multiplied with, round after round.
const GAINS: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
/// Growth that keeps the doubling going.
const START_GROWTH: f64 = 1.25;
/// Fewest rows: BBR's four packets.
const ROWS_MIN: f64 = 4.0;

/// Keeps one bandwidth-delay product in flight.
#[derive(Debug, Clone)]
pub struct Bbr {
    settings: RivalSettings,
    limit: f64,
    rates: VecDeque<f64>,
    latencies: VecDeque<(Seconds, Seconds)>,
    round: Round,
    gain: usize,
    starting: bool,
    flat_rounds: u32,
    probing_until: Option<Seconds>,
    probe_at: Seconds,
}

#[derive(Debug, Clone, Copy, Default)]
struct Round {
    since: Seconds,
    rows: f64,
    answers: f64,
    latency_sum: Seconds,
}

// === impl Bbr ===

impl Bbr {
    /// With 8 rows to begin with.
    pub fn new(settings: &RivalSettings) -> Self {
        Self {
            settings: *settings,
            limit: 8.0,
            rates: VecDeque::new(),
            latencies: VecDeque::new(),
            round: Round::default(),
            gain: 0,
            starting: true,
            flat_rounds: 0,
            probing_until: None,
            probe_at: LATENCY_SECONDS,
        }
    }

    fn shortest(&self) -> Option<Seconds> {
        self.latencies.iter().map(|(_, mean)| *mean).min_by(f64::total_cmp)
    }

    fn rate_max(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }

    fn end_round(&mut self, now: Seconds) {
        let round = std::mem::replace(&mut self.round, Round { since: now, ..Round::default() });
        let mean = round.latency_sum / round.answers.max(1.0);
        let rate = round.rows / (now - round.since).max(1e-6);
        self.latencies.push_back((now, mean));
        while self.latencies.len() > 1 && self.latencies[0].0 < now - LATENCY_SECONDS {
            self.latencies.pop_front();
        }
        let shortest = self.shortest().unwrap_or(mean);
        if let Some(until) = self.probing_until {
            if now > until {
                self.probing_until = None;
                self.probe_at = now + LATENCY_SECONDS;
            }
        } else if now > self.probe_at && !self.starting {
            self.probing_until = Some(now + (2.0 * shortest).max(0.2));
        } else {
            self.follow(rate, shortest);
        }
    }

    fn follow(&mut self, rate: f64, shortest: Seconds) {
        let best = self.rate_max();
        if self.rates.len() >= RATE_ROUNDS {
            self.rates.pop_front();
        }
        self.rates.push_back(rate);
        if self.starting {
            self.flat_rounds = if rate < best * START_GROWTH { self.flat_rounds + 1 } else { 0 };
            self.limit *= 2.0;
            self.starting = self.flat_rounds < 3;
        }
        if !self.starting {
            self.gain = (self.gain + 1) % GAINS.len();
            self.limit = (GAINS[self.gain] * self.rate_max() * shortest + 2.0).max(ROWS_MIN);
        }
        self.limit = self.limit.min(LIMIT_MAX);
    }
}

impl Limiter for Bbr {
    fn knobs(&self) -> Knobs {
        let share = if self.probing_until.is_some() { 0.5 } else { 1.0 };
        knobs(self.limit * share, &self.settings)
    }

    fn on_end(&mut self, attempt: &Attempt) {
        if attempt.class != Class::Answered {
            return;
        }
        self.round.rows += attempt.rows as f64;
        self.round.answers += 1.0;
        self.round.latency_sum += attempt.latency();
        let length = (self.shortest().unwrap_or(5.0).min(5.0) * 1.5).max(0.1);
        if attempt.ended - self.round.since >= length && self.round.answers >= 10.0 {
            self.end_round(attempt.ended);
        }
    }

    fn on_tick(&mut self, _now: Seconds, _load: Load) {}

    fn why(&self) -> String {
        let (rate, shortest) = (self.rate_max(), self.shortest().unwrap_or(0.0));
        format!("limit {:.1} rows = {rate:.1} rows/s x {shortest:.4} s x {}", self.limit, GAINS[self.gain])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Loop;
    use super::*;

    const SETTINGS: RivalSettings = RivalSettings { objective: 0.2, rows_per_call: 1, linger: 0.0 };

    #[test]
    fn the_limit_is_rate_times_shortest_latency_times_gain() {
        let table = [(0, 0.75, 77.0), (7, 1.25, 127.0), (3, 1.0, 102.0)];
        for (gain_before, _gain, expected) in table {
            let mut bbr = Bbr { starting: false, gain: gain_before, ..Bbr::new(&SETTINGS) };
            bbr.follow(1_000.0, 0.1);
            assert!((bbr.limit - expected).abs() < 1e-9, "after gain {gain_before}: {}", bbr.limit);
        }
    }

    #[test]
    fn the_start_doubles_until_the_rate_is_flat() {
        let mut bbr = Bbr::new(&SETTINGS);
        for rate in [100.0, 200.0, 400.0] {
            bbr.follow(rate, 0.05);
        }
        assert_eq!((bbr.limit, bbr.starting), (64.0, true));
        for _ in 0..3 {
            bbr.follow(410.0, 0.05);
        }
        assert!(!bbr.starting);
        assert!(bbr.limit < 30.0, "{}", bbr.limit);
    }

    #[test]
    fn finds_the_product_and_follows_it_down() {
        let mut bbr = Bbr::new(&SETTINGS);
        let mut backend = Loop::new(64.0, 0.05);
        let high = backend.run(&mut bbr, 20.0);
        assert!((40.0..=90.0).contains(&high), "{high}");
        backend.capacity = 16.0;
        let low = backend.run(&mut bbr, 40.0);
        assert!(low < high * 0.8, "{high} -> {low}");
    }
}
