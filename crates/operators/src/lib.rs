//! The built-in operators, one file each, behind the contract of `forebay_core::operator`.
//!
//! - [`filter`], [`project`], [`call`], [`lookup_join`], [`kinds`], [`sample`]: stateless, a batch in and at most a batch out, on the
//!   common frame [`stateless`].
//! - [`union`]: several streams as one. [`explode`]: a row of each element of a list. [`limit`]: the first rows to come.
//! - [`window`]: aggregates of a key's rows by event time, with keyed state.
//! - [`stream_join`]: joins of two streams. [`deduplicate`]: one row of each key. [`top`]: the first rows of each key.
//! - [`feedback`]: predictions with their labels. [`metrics`]: how good they were.
//! - [`process`]: functions that users write, with keyed state and timers.
//! - [`inference`]: rows to a model and back, without ever blocking its subtask.
//!
//! Nothing here does I/O, reads a clock or knows a host.

pub mod call;
pub mod deduplicate;
pub mod explode;
pub mod feedback;
pub mod filter;
pub mod inference;
pub mod kinds;
pub mod limit;
pub mod lookup_join;
pub mod metrics;
pub mod process;
pub mod project;
pub mod sample;
pub mod stateless;
pub mod stored_rows;
pub mod stream_join;
pub mod top;
pub mod union;
pub mod window;

mod clock;
mod expression;
mod keyed_rows;
mod row_errors;
#[cfg(test)]
mod tests;
