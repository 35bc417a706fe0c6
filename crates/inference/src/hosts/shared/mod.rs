//! Rows in memory that a host and its child processes both see, so that large values never cross the socket.
//!
//! A [`Slab`] is a sealed memfd, mapped once by each side and never again. Requests lie in a slab of the host that its
//! children cannot write to; answers lie in a slab of each replica that its child writes and the host reads. An [`Arena`]
//! lends spans of a slab; a [`Lease`] is such a span, and it is lent again only when the last buffer over it is gone *and*
//! the child has said that nothing of it looks there any more. What crosses the socket is a [`Table`]: types, lengths and
//! places of the buffers (`layout.rs`).
//!
//! A child may be hostile, or broken. It cannot shrink a slab under its reader. What it answers is checked against the spans of
//! its own call before anything is read. Only fixed-width values, of which every bit pattern is a value, stay where the child
//! wrote them: by writing there later it can change its own answers and nothing else. All that says where something is
//! (offsets, validity, lengths of text) is copied first and checked then.
//!
//! Small request batches stay on the socket, and so does everything where there is no memfd, or no room.

mod arena;
mod inherit;
pub(super) mod layout;
mod loans;
mod read;
mod schemas;
mod slab;
mod spans;
mod table;

pub use arena::{Arena, Draft, Lease};
pub(super) use inherit::inherit;
pub(super) use loans::{Lent, Loans};
pub use slab::Slab;
pub use table::{AnswerTable, CallTable, Held, Table};

/// Rows of fewer bytes stay on the socket: below, a system call that copies costs less than keeping count of spans.
pub(super) const SHARED_BYTES_MIN: usize = 32 << 10;
/// Size of a slab, and so the most that can be lent of it at once. It is what a frame may have; pages that were never lent
/// take no memory.
pub(super) const SLAB_BYTES: usize = super::protocol::FRAME_BYTES_MAX;
