//! Runs a pipeline: subtasks over channels, barriers through them, checkpoints out of them.
//!
//! - [`channel`]: an edge at run time, with byte and row credits.
//! - [`inputs`]: the ways into a subtask: alignment, and what a barrier overtook ([`channel_state`]).
//! - [`chain`]: operators fused in one subtask, and the ways out of it.
//! - [`subtask`]: one parallel copy of a task, a state machine that a host calls.
//! - [`coordinator`]: when to checkpoint, and what follows; pure.
//! - [`attempt`]: one run of a job from start or restore to its end.
//! - [`threads`]: the embedded host, a thread a subtask.
//! - [`time`]: how watermarks are made from rows read.
//!
//! This crate names no built-in operator, source, sink or model; it knows the traits of `forebay_core`. Nothing here
//! reads a clock or sleeps except through `Env`, so that the simulation drives the same code.

pub mod attempt;
pub mod build;
pub mod chain;
pub mod channel;
pub mod channel_state;
pub mod coordinator;
pub mod counters;
pub mod inputs;
pub mod outlet;
#[doc(hidden)]
pub mod planted;
pub mod subtask;
pub mod threads;
pub mod time;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod testing;
