//! The whole engine in virtual time under one seed, with the code that production runs.
//!
//! A seed draws a job, its input and a set of faults ([`scenario`]); a [`world`] holds what survives a process (disk, the
//! model's memory of what it executed) and runs one process after the other, killing, stopping and pausing them; when the
//! faults are over, the job must come to its end and its output must be what a sequential [`oracle`] says. What must hold at every
//! moment is in [`invariants`]. The inference operator alone, with orders that a pipeline of files never produces, is
//! exercised by [`operator`]. [`mutants`] switches planted bugs on to prove that all this would find them.
//!
//! One thread, one seed, one run: [`run`] called twice gives the same [`Outcome`], trace hash included.
//!
//! ```no_run
//! let outcome = forebay_sim::run(7, &forebay_sim::Mutant::none()).expect("seed 7 breaks no invariant");
//! println!("{} crashes, {} steps", outcome.crashes, outcome.steps);
//! ```

pub mod counts;
mod disk;
mod drops;
mod env;
mod host;
pub mod invariants;
mod model;
pub mod mutants;
pub mod operator;
pub mod oracle;
mod outside;
pub mod parallel;
mod process;
mod random;
mod savepoints;
pub mod scenario;
mod shape;
mod timed;
mod view;
pub mod world;

pub use counts::Counts;
pub use mutants::Mutant;
pub use world::{Outcome, run};
