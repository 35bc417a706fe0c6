//! Measures limiters: backends whose behaviour is written down, rivals from papers, an oracle, and tables of who did how well.
//!
//! Runs in virtual time, seconds for minutes, or in real time against a backend process of our own on loopback.
//! It depends on the gate alone: what is measured is what production runs.
//!
//! - [`scenario`]: what happens, as data; [`virtual_time`]: lets it happen.
//! - [`rivals`]: other people's limiters; [`plot`]: what happened, as pictures.
//! - [`real`]: the same scenarios over sockets, in real time.

mod error;
pub mod plot;
pub mod real;
pub mod rivals;
pub mod scenario;
pub mod virtual_time;

pub use self::error::Error;
