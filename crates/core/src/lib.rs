//! The vocabulary of Forebay and the traits that others implement.
//!
//! What lives here is shared by every other crate: rows and their ids ([`row`]), batches ([`batch`]), what an edge
//! carries ([`element`]), errors by who must act ([`error`]), time ([`time`]), the only door to the outside ([`mod@env`]),
//! storage ([`store`], [`disk`]), and the contracts of operators ([`operator`]), sources ([`source`]) and sinks
//! ([`sink`]).
//!
//! This crate never does I/O, reads no clock and draws no random number: it defines the traits through which others do.

pub mod batch;
pub mod batch_bytes;
pub mod completions;
pub mod dead_letter;
pub mod disk;
pub mod element;
pub mod env;
pub mod error;
pub mod function;
pub mod hash;
pub mod key_group;
pub mod keys;
pub mod model;
pub mod on_error;
pub mod operator;
pub mod process;
pub mod row;
pub mod row_kind;
pub mod sink;
pub mod source;
pub mod store;
pub mod testing;
pub mod time;
pub mod types;

pub use batch::Batch;
pub use error::{Error, Kind, Result};
pub use row::RowId;
pub use row_kind::RowKind;
