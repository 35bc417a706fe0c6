//! Every call between its sending and the moment both sides are done with it, in places that are used again.
//!
//! A place keeps the memory of its rows, so that the steady state allocates nothing. An id names a place and how often it
//! was used: whatever still holds the id of a finished call finds nothing.

use forebay_gate::limiter::Class;

/// The caller of calls that other tenants make.
pub const TENANT: u32 = u32::MAX;

/// Names one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId {
    place: u32,
    use_count: u32,
}

/// One row of work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// When it entered the client.
    pub entered: f64,
    /// Times the usual size; prompt tokens for language models.
    pub size: f64,
    /// Tokens of its answer; 0 elsewhere.
    pub output: f64,
    /// Attempts that failed.
    pub failures: u32,
    /// Seconds that it lingered although it could have been sent.
    pub lingered: f64,
}

/// One attempt of one call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Index of the client, or [`TENANT`].
    pub client: u32,
    /// Index of the client's limiter, which is the replica where replicas are visible.
    pub limiter: u32,
    /// What it carries.
    pub rows: Vec<Row>,
    /// When it was sent.
    pub sent: f64,
    /// Rows in flight through its limiter when it was sent, its own included.
    pub in_flight: f64,
    /// How it ended, as far as known.
    pub class: Class,
    /// Seconds that the answer asks to wait; 0 without such a hint.
    pub retry_after: f64,
    /// The client does not wait for it any more.
    pub client_done: bool,
    /// The backend does not work on it any more.
    pub server_done: bool,
    /// Its other copy.
    pub twin: Option<CallId>,
    /// It counts against the gateway's limit of calls at once.
    pub at_gateway: bool,
}

/// All calls of a run.
#[derive(Debug, Default)]
pub struct Calls {
    places: Vec<(u32, Call)>,
    free: Vec<u32>,
}

// === impl Calls ===

impl Calls {
    /// Takes a place for a call of `client` sent at `now`, without rows.
    pub fn begin(&mut self, client: u32, limiter: u32, now: f64) -> CallId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, Call::empty()));
            (self.places.len() - 1) as u32
        });
        let (use_count, call) = &mut self.places[place as usize];
        let mut rows = std::mem::take(&mut call.rows);
        rows.clear();
        *call = Call { client, limiter, rows, sent: now, client_done: client == TENANT, ..Call::empty() };
        CallId { place, use_count: *use_count }
    }

    /// The call, unless it is over.
    pub fn get(&self, id: CallId) -> Option<&Call> {
        let (use_count, call) = self.places.get(id.place as usize)?;
        (*use_count == id.use_count).then_some(call)
    }

    /// The call, unless it is over.
    pub fn get_mut(&mut self, id: CallId) -> Option<&mut Call> {
        let (use_count, call) = self.places.get_mut(id.place as usize)?;
        (*use_count == id.use_count).then_some(call)
    }

    /// Frees the place if both sides are done with the call.
    pub fn free_if_done(&mut self, id: CallId) {
        if self.get(id).is_some_and(|call| call.client_done && call.server_done) {
            self.places[id.place as usize].0 = id.use_count.wrapping_add(1);
            self.free.push(id.place);
        }
    }

    /// Calls that are not over.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

// === impl Call ===

impl Call {
    fn empty() -> Self {
        Self {
            client: TENANT,
            limiter: 0,
            rows: Vec::new(),
            sent: 0.0,
            in_flight: 0.0,
            class: Class::Answered,
            retry_after: 0.0,
            client_done: false,
            server_done: false,
            twin: None,
            at_gateway: false,
        }
    }

    /// Sum of the sizes of its rows.
    pub fn size(&self) -> f64 {
        self.rows.iter().map(|row| row.size).sum()
    }
}
