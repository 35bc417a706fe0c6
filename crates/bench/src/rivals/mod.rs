//! The control laws of others, for comparison: written anew from their papers and public descriptions, with their defaults.
//!
//! They get every benefit of the doubt, so that beating them means something. Their limits count rows, may lie anywhere in
//! 1..=1,000 (narrower bounds are a matter of set-up, not of law), refusals never pass for fast answers unless that is how the
//! original reads them, and a window that was cut short keeps its samples. None knows batches but Clipper: those send what the
//! scenario gives as `rows_per_call`. None can pace.

pub mod aimd;
pub mod arc;
pub mod bbr;
pub mod clipper;
pub mod envoy;
pub mod failsafe;
pub mod gradient2;
pub mod hill;
pub mod vegas;

#[cfg(test)]
mod testing;
mod window;

use forebay_gate::limiter::{Class, Knobs, Limiter, Seconds};

pub use self::aimd::Aimd;
pub use self::arc::Arc;
pub use self::bbr::Bbr;
pub use self::clipper::Clipper;
pub use self::envoy::Envoy;
pub use self::failsafe::Failsafe;
pub use self::gradient2::Gradient2;
pub use self::hill::Hill;
pub use self::vegas::Vegas;

/// The limit that Netflix' limiters and failsafe-go begin with.
const LIMIT_START: f64 = 20.0;
/// The highest limit: the default bound of Vegas and Envoy, given to all.
const LIMIT_MAX: f64 = 1_000.0;

/// What a rival is told before a run; everything else is its own default.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RivalSettings {
    /// The latency that the user declared.
    pub objective: Seconds,
    /// Rows of a call, at least 1, for those laws that leave it alone.
    pub rows_per_call: usize,
    /// How long a call waits to be full, likewise.
    pub linger: Seconds,
}

/// Makes one rival.
pub type NewRival = fn(&RivalSettings) -> Box<dyn Limiter>;

/// Every rival under its name, in the order of the tables.
///
/// `clipper` moves the rows of a call and nothing else: it belongs only to scenarios where the client makes the batches.
pub fn rivals() -> Vec<(&'static str, NewRival)> {
    vec![
        ("aimd", |settings| Box::new(Aimd::new(settings))),
        ("vegas", |settings| Box::new(Vegas::new(settings))),
        ("gradient2", |settings| Box::new(Gradient2::new(settings))),
        ("envoy", |settings| Box::new(Envoy::new(settings))),
        ("bbr", |settings| Box::new(Bbr::new(settings))),
        ("hill", |settings| Box::new(Hill::new(settings))),
        ("failsafe", |settings| Box::new(Failsafe::new(settings))),
        ("arc", |settings| Box::new(Arc::new(settings))),
        ("clipper", |settings| Box::new(Clipper::new(settings))),
    ]
}

/// What `rows` in flight are in calls of the size that the settings give: at least one call.
fn knobs(rows: f64, settings: &RivalSettings) -> Knobs {
    let rows_max = settings.rows_per_call.max(1);
    let calls_max = ((rows / rows_max as f64).floor() as usize).max(1);
    Knobs { calls_max, rows_max, linger: settings.linger, pace: f64::INFINITY }
}

/// Whether the end of an attempt speaks against the backend: refused, lost or late beyond its timeout.
fn is_drop(class: Class) -> bool {
    !matches!(class, Class::Answered | Class::Cancelled)
}

/// The decimal logarithm of a limit, rounded down, at least 1: the step of Vegas and of all that came from it.
fn log10_step(limit: f64) -> f64 {
    limit.max(1.0).log10().floor().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: RivalSettings = RivalSettings { objective: 0.2, rows_per_call: 1, linger: 0.0 };

    #[test]
    fn every_rival_survives_nonsense() {
        use forebay_gate::limiter::{Attempt, Load};
        for (name, new) in rivals() {
            let mut rival = new(&SETTINGS);
            for step in 0..2_000 {
                let now = f64::from(step) * 0.003;
                let class = [Class::Answered, Class::Throttled, Class::Timeout, Class::TooLarge, Class::Cancelled]
                    [step as usize % 5];
                let sent = if step % 3 == 0 { now } else { now - 1e-9 };
                rival.on_end(&Attempt { sent, ended: now, class, rows: 1, in_flight: 0.0 });
                rival.on_tick(now, Load::default());
                let knobs = rival.knobs();
                assert!((1..=1_000).contains(&knobs.calls_max), "{name}: {knobs:?}");
                assert!(knobs.rows_max >= 1 && knobs.linger >= 0.0, "{name}: {knobs:?}");
            }
        }
    }

    #[test]
    fn rows_of_a_call_come_from_the_scenario() {
        let settings = RivalSettings { rows_per_call: 16, linger: 0.01, ..SETTINGS };
        for (name, new) in rivals().into_iter().filter(|(name, _)| *name != "clipper") {
            let knobs = new(&settings).knobs();
            assert_eq!((knobs.rows_max, knobs.linger), (16, 0.01), "{name}");
            assert!(knobs.calls_max <= 3, "{name}: {knobs:?}");
        }
    }

    #[test]
    fn the_log_step_is_that_of_vegas() {
        let table = [(0.0, 1.0), (1.0, 1.0), (20.0, 1.0), (99.0, 1.0), (100.0, 2.0), (999.0, 2.0), (1_000.0, 3.0)];
        for (limit, step) in table {
            assert_eq!(log10_step(limit), step, "limit {limit}");
        }
    }
}
