//! What a run leaves behind: counts for each second, and every latency.

/// One second of one client.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Second {
    /// Rows answered within the objective.
    pub good: u32,
    /// Rows answered.
    pub answered: u32,
    /// Rows of attempts that failed.
    pub failed: u32,
    /// Rows of attempts sent.
    pub sent: u32,
    /// Rows that may be in flight, as of its last tick.
    pub limit: f32,
    /// Rows in flight, as of its last tick.
    pub in_flight: f32,
}

/// All of one client.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClientRecord {
    /// One for each second, and one more for what falls on the end.
    pub seconds: Vec<Second>,
    /// Of every answer, in the order of time, in seconds: waiting for company included.
    pub latencies: Vec<f32>,
    /// Rows that entered.
    pub entered: u64,
    /// Rows that no retry was left for.
    pub given_up: u64,
    /// Retries planned.
    pub retries: u64,
    /// Second copies sent.
    pub hedges: u64,
    /// Rows in second copies.
    pub hedged_rows: u64,
}

/// All of one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Run {
    /// One for each client, in the scenario's order.
    pub clients: Vec<ClientRecord>,
    /// Share of the backend's capacity, slots or devices, that nothing used.
    pub idle_ratio: f64,
    /// Occasions that were worked through, for speed.
    pub occasions: u64,
}

// === impl ClientRecord ===

impl ClientRecord {
    /// Room for `length` seconds.
    pub fn new(length: f64) -> Self {
        Self { seconds: vec![Second::default(); length.max(0.0).ceil() as usize + 1], ..Self::default() }
    }

    fn second(&mut self, now: f64) -> &mut Second {
        let last = self.seconds.len() - 1;
        &mut self.seconds[(now as usize).min(last)]
    }

    /// A row was answered at `now`.
    pub fn answered(&mut self, now: f64, latency: f64, objective: f64) {
        let second = self.second(now);
        second.answered += 1;
        if latency <= objective {
            second.good += 1;
        }
        self.latencies.push(latency as f32);
    }

    /// An attempt of `rows` failed at `now`.
    pub fn failed(&mut self, now: f64, rows: usize) {
        self.second(now).failed += rows as u32;
    }

    /// An attempt of `rows` left at `now`.
    pub fn sent(&mut self, now: f64, rows: usize) {
        self.second(now).sent += rows as u32;
    }

    /// Limit and rows in flight at `now`.
    pub fn level(&mut self, now: f64, limit: f64, in_flight: f64) {
        let second = self.second(now);
        (second.limit, second.in_flight) = (limit as f32, in_flight as f32);
    }

    /// Rows answered, over all seconds.
    pub fn answered_total(&self) -> u64 {
        self.latencies.len() as u64
    }
}
