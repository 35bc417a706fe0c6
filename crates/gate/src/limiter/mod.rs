//! Moves the limit: how many calls may be in flight, how many rows each carries, how fast they may start.
//!
//! A [`Limiter`] is told of every answer, of the passing of time and, where there are any, of the backend's own gauges;
//! between those it is asked for its [`Knobs`]. It never sends, queues or waits: whoever drives it does. Times are seconds
//! as `f64` since any moment the caller chose, because control laws multiply and take roots of them; they never go back.

pub mod fixed;
pub mod latch;

pub use self::fixed::Fixed;
pub use self::latch::Latch;

/// Seconds, as a moment since the caller's origin or as a duration.
pub type Seconds = f64;

/// What a limiter allows now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Knobs {
    /// Calls that may be in flight. 0 while the backend is taken to be down: nothing may be sent.
    pub calls_max: usize,
    /// Rows a call should carry, at least 1. A call may leave with fewer once `linger` is over.
    pub rows_max: usize,
    /// Longest wait of a call's first row for others to join it.
    pub linger: Seconds,
    /// Calls that may start in a second; infinite without a rate limit.
    pub pace: f64,
}

/// How one attempt of a call ended, as far as load is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Answered, with rows or with an error that says nothing about load (a bad row).
    Answered,
    /// Refused by a rate limit or quota: HTTP 429 and kin.
    Throttled,
    /// Refused because the backend is full: HTTP 503, 529 and kin.
    Overloaded,
    /// Not there: connection refused or reset, HTTP 502, 504.
    Down,
    /// No answer in time.
    Timeout,
    /// Too much for the backend's memory or for one call; fewer rows may do.
    TooLarge,
    /// Given up by the caller, for example the loser of a hedge: tells nothing.
    Cancelled,
}

/// One attempt of one call, once it ended. Retries and hedges are attempts of their own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attempt {
    /// When it was sent.
    pub sent: Seconds,
    /// When its last byte came, or it was given up.
    pub ended: Seconds,
    /// How it ended.
    pub class: Class,
    /// Rows it carried, at least 1.
    pub rows: usize,
    /// Rows in flight, its own included, when it was sent.
    pub in_flight: f64,
}

/// What is in flight through one limiter.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Load {
    /// The integral of rows in flight over time, in row seconds: Little's law reads the mean off two of them.
    pub row_seconds: f64,
    /// Rows in flight now.
    pub in_flight: f64,
    /// Rows wait to be sent.
    pub waiting: bool,
}

/// What a backend says of its own queue.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Gauges {
    /// Requests it holds and has not begun.
    pub waiting: f64,
    /// Requests it works on.
    pub running: f64,
    /// Requests it began and put back for want of memory, since it started.
    pub preempted_total: f64,
}

/// What a limiter learned of a backend, kept in checkpoints.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hint {
    /// Rows in flight that it settled on.
    pub rows_in_flight: f64,
    /// Calls in flight that it settled on; equals `rows_in_flight` where calls carry one row.
    pub calls: usize,
    /// Most rows of a call that the backend had memory for.
    pub rows_max: usize,
}

/// Moves the limit of one backend.
///
/// # Order of calls
/// `on_end` after every attempt, `on_tick` every 10 ms, `on_gauges` whenever gauges were read (at most once a second
/// is enough), in the order of time; `knobs` at any moment. All are cheap: no allocation in the steady state.
pub trait Limiter: Send {
    /// What may be sent now.
    fn knobs(&self) -> Knobs;

    /// An attempt ended.
    fn on_end(&mut self, attempt: &Attempt);

    /// Time passed.
    fn on_tick(&mut self, now: Seconds, load: Load);

    /// The backend's own gauges were read.
    fn on_gauges(&mut self, _now: Seconds, _gauges: Gauges) {}

    /// The backend said with an answer how much of its capacity it uses; 1 is all.
    fn on_utilization(&mut self, _now: Seconds, _ratio: f64) {}

    /// What it learned, to begin with after a restart.
    fn hint(&self) -> Option<Hint> {
        None
    }

    /// Why the limit is what it is, for people: one line.
    fn why(&self) -> String {
        String::new()
    }
}

// === impl Class ===

impl Class {
    /// False if the backend refused the call without work, or was never reached.
    pub fn may_have_worked(self) -> bool {
        matches!(self, Self::Answered | Self::Timeout | Self::TooLarge)
    }
}

// === impl Attempt ===

impl Attempt {
    /// From sending to the last byte.
    pub fn latency(&self) -> Seconds {
        (self.ended - self.sent).max(0.0)
    }
}
