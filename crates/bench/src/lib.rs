//! Measures limiters: backends whose behaviour is written down, rivals from papers, an oracle, and tables of who did how well.
//!
//! Runs in virtual time, seconds for minutes, or in real time against a backend process of our own on loopback.
//! It depends on the gate alone: what is measured is what production runs.
//!
//! - [`scenario`]: what happens, as data; [`virtual_time`]: lets it happen; [`oracle`]: the best that fixed settings reach.
//! - [`limiters`]: ours, fixed ones and the [`rivals`], by name; [`metrics`] and [`report`]: how well each did.
//! - [`gate`]: all of it behind one command; [`plot`]: what happened over time; [`real`]: the same over sockets, in real time.

mod error;
pub mod gate;
pub mod limiters;
pub mod metrics;
pub mod oracle;
mod parallel;
pub mod plot;
mod plots;
pub mod real;
pub mod report;
pub mod rivals;
pub mod scenario;
pub mod virtual_time;

pub use self::error::Error;
