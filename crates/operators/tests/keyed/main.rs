//! Steps that keep rows by key against naive oracles: random rows, watermarks, restores at other parallelisms, planted bugs.

#![allow(clippy::unwrap_used, reason = "a test may stop at anything odd")]

mod deduplicate;
mod feedback;
mod harness;
mod metrics;
mod process;
mod process_calls;
mod top;
