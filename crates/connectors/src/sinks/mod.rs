//! Sinks, one folder per system.
//!
//! Each is a writer (an operator that emits nothing) and a committer that publishes what writers staged once a
//! checkpoint names it.

pub mod blackhole;
pub mod files;
