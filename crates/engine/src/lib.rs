//! Assembles the parts of Forebay and runs a pipeline in one process.
//!
//! - [`mod@outside`]: what a job touches beyond this process, as one trait; production and simulation each implement it.
//! - [`mod@components`]: what the program that runs it adds.
//! - [`mod@prepare`]: looks at sources, tables and models, and plans the job.
//! - `lower`: turns the job graph into operators, readers, writers and committers.
//! - [`mod@resume`]: where a job begins.
//! - [`mod@run`]: starts, restores and restarts attempts until the job is done.
//! - [`mod@checkpoints`]: what a published checkpoint involves: state, sinks, journal.
//! - [`mod@env`]: clock, randomness and background work of this process; [`mod@clock`]: a clock for tests.
//! - [`mod@watch`], [`mod@progress`] and [`mod@metrics`]: what a running job shows; `parts`: over stops in
//!   between; [`mod@scale`]: how many replicas it has.
//!
//! This is the one crate that names every built-in. It decides nothing about data: protocols and policies are in the
//! crates it assembles.

pub mod checkpoints;
pub mod clock;
pub mod components;
mod edges;
pub mod env;
mod feedback;
mod gates;
mod infer;
pub mod keyed;
mod limits;
mod lower;
pub mod metrics;
pub mod model;
pub mod models;
mod nexmark;
pub mod outside;
mod parts;
pub mod prepare;
mod process;
pub mod progress;
mod region;
pub mod remote;
pub mod resume;
pub mod run;
pub mod scale;
mod sink;
mod spill;
pub mod splits;
mod stream_join;
mod tables;
pub mod watch;
mod window;

pub use components::Components;
pub use edges::edge_logs;
pub use forebay_runtime::coordinator::Stop;
pub use outside::{Bounds, Local, Outside, Planted};
pub use prepare::{Outlook, Prepared, prepare, prepare_with};
pub use resume::ResumeJob;
pub use run::{OVERTAKE_AFTER, RunOptions, journal_folder, run};
pub use watch::{Report, Watch};
