//! Sources and sinks, one folder per system.
//!
//! Here: files as a source ([`files`]: images, JSON lines, CSV, Parquet) and as a transactional sink ([`sinks::files`]:
//! Parquet, JSON lines); made-up auctions ([`nexmark`]) and a sink that drops rows ([`sinks::blackhole`]), for benchmarks. All I/O goes through [`Store`](forebay_core::store::Store) and all background work through
//! [`Env`](forebay_core::env::Env), so that one code runs on a laptop's folder, on an object store and in the simulator.
//!
//! This crate never opens a file or a socket itself, never reads a clock, and names no runtime.

pub mod files;
pub mod nexmark;
pub mod sinks;
#[cfg(test)]
mod testing_store;

/// Names of the formats that a file source reads, sorted, for error messages.
pub fn formats() -> Vec<&'static str> {
    let mut names: Vec<_> = files::FileFormat::ALL.iter().map(|format| format.name()).collect();
    names.sort_unstable();
    names
}

/// Names of the formats that a file sink writes, sorted, for error messages.
pub fn sinks() -> Vec<&'static str> {
    let mut names: Vec<_> = sinks::files::SinkFormat::ALL.iter().map(|format| format.name()).collect();
    names.sort_unstable();
    names
}
