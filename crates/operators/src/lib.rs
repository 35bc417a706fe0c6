//! The built-in operators, one file each, behind the contract of `forebay_core::operator`.
//!
//! - [`filter`], [`project`], [`call`], [`lookup_join`]: stateless, a batch in and at most a batch out, on the common frame
//!   [`stateless`].
//! - [`inference`]: rows to a model and back, without ever blocking its subtask.
//!
//! Nothing here does I/O, reads a clock or knows a host.

pub mod call;
pub mod filter;
pub mod inference;
pub mod lookup_join;
pub mod project;
pub mod stateless;

mod expression;
#[cfg(test)]
mod tests;
