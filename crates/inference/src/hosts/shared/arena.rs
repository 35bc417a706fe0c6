//! Lends spans of a slab, and takes each back when the last who looks at it is gone.
//!
//! A [`Draft`] is a span that one writer fills; frozen, it is a [`Lease`] that any number of Arrow buffers share. Nothing is
//! ever waited for: where there is no room, the caller goes another way.

#![allow(unsafe_code, reason = "memory of two processes is reached by address")]

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arrow::buffer::{Buffer, MutableBuffer};

use super::slab::Slab;
use super::spans::{GRAIN_BYTES, Spans};

/// A slab whose spans are lent.
#[derive(Debug)]
pub struct Arena {
    slab: Slab,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    spans: Spans,
    /// Bytes at the front that the system has set aside. They stay: to be used again is what they are for.
    committed: usize,
    /// Frozen leases by their start.
    frozen: BTreeMap<usize, Weak<Lease>>,
}

/// A lent span; it is given back when the last clone of its `Arc` is dropped.
#[derive(Debug)]
pub struct Lease {
    arena: Arc<Arena>,
    start: usize,
    bytes: usize,
}

/// A lent span that only its owner knows of, to be filled.
#[derive(Debug)]
pub struct Draft(Lease);

// === impl Arena ===

impl Arena {
    /// Lends spans of `slab`.
    pub fn new(slab: Slab) -> Arc<Self> {
        let state = State { spans: Spans::new(slab.len()), committed: 0, frozen: BTreeMap::new() };
        Arc::new(Self { slab, state: Mutex::new(state) })
    }

    /// At least `bytes` to write to; `None` if this process does not write here, or if there is no room now.
    pub fn draft(self: &Arc<Self>, bytes: usize) -> Option<Draft> {
        if self.slab.is_writable() { self.lease(bytes).map(Draft) } else { None }
    }

    /// At least `bytes`, with whatever was in them before, for a child to write to; `None` if there is no room now.
    pub(super) fn offer(self: &Arc<Self>, bytes: usize) -> Option<Arc<Lease>> {
        self.lease(bytes).map(Arc::new)
    }

    fn lease(self: &Arc<Self>, bytes: usize) -> Option<Lease> {
        let bytes = whole_pages(bytes)?;
        let mut state = self.lock();
        let start = state.spans.take(bytes)?;
        let end = start + bytes;
        if end > state.committed {
            if let Err(error) = self.slab.commit(state.committed, end) {
                tracing::debug!(bytes = end, %error, "no room for shared memory");
                state.spans.give(start, bytes);
                return None;
            }
            state.committed = end;
        }
        Some(Lease { arena: Arc::clone(self), start, bytes })
    }

    /// The lease that `buffer` lies in, and where it begins in the slab; `None` for memory of any other kind.
    pub(super) fn find(&self, buffer: &Buffer) -> Option<(Arc<Lease>, usize)> {
        let at = (buffer.as_ptr() as usize).checked_sub(self.slab.start() as usize)?;
        if at >= self.slab.len() {
            return None;
        }
        // Not under the lock: this clone may turn out to be the last.
        let lease = self.lock().frozen.range(..=at).next_back()?.1.upgrade()?;
        lease.holds(at, buffer.len()).then_some((lease, at))
    }

    /// Bytes that the system has set aside for it so far.
    pub fn committed_bytes(&self) -> usize {
        self.lock().committed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Arena {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.slab.as_fd()
    }
}

// === impl Draft ===

impl Draft {
    /// Its bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let Lease { arena, start, bytes } = &self.0;
        // SAFETY: the span lies in the mapping, which the lease keeps; a draft is no other's, so nobody here reads or
        // writes it meanwhile, and `Arena::draft` made it of memory that only this process can write.
        unsafe { std::slice::from_raw_parts_mut(arena.slab.start().add(*start), *bytes) }
    }

    /// Where it begins in the slab.
    pub(super) fn start(&self) -> usize {
        self.0.start
    }

    /// The span as it is now: nobody writes to it again until it is given back.
    pub fn freeze(self) -> Arc<Lease> {
        let lease = Arc::new(self.0);
        lease.arena.lock().frozen.insert(lease.start, Arc::downgrade(&lease));
        lease
    }
}

// === impl Lease ===

impl Lease {
    /// Where it begins in the slab.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// True if the `bytes` from `at` of the slab on are all its own.
    pub(super) fn holds(&self, at: usize, bytes: usize) -> bool {
        at >= self.start && at.checked_add(bytes).is_some_and(|end| end <= self.start + self.bytes)
    }

    /// Its first `bytes`; `None` if it has fewer.
    pub fn buffer(self: &Arc<Self>, bytes: usize) -> Option<Buffer> {
        self.view(self.start, bytes)
    }

    /// The `bytes` from `at` of the slab on, where they are; `None` if they are not all its own. A child may still change them
    /// where it is the writer: only what may have any value at any time may be read so.
    pub(super) fn view(self: &Arc<Self>, at: usize, bytes: usize) -> Option<Buffer> {
        let pointer = self.pointer(at, bytes)?;
        // SAFETY: the bytes lie in the mapping, which the buffer keeps by its clone of the lease; the size of the slab is
        // sealed and its pages were set aside, so they can be read. Whoever is given such a buffer reads plain numbers.
        Some(unsafe { Buffer::from_custom_allocation(pointer, bytes, Arc::<Self>::clone(self)) })
    }

    /// A copy of the `bytes` from `at` of the slab on, which nobody else can change; `None` if they are not all its own.
    pub(super) fn copied(&self, at: usize, bytes: usize) -> Option<Buffer> {
        let pointer = self.pointer(at, bytes)?;
        let mut copy = MutableBuffer::with_capacity(bytes);
        // SAFETY: the bytes can be read, see `view`; the copy has room for them, and is set to their number once they are
        // there. If a child writes meanwhile the copy has some mixture, which is checked like any other.
        unsafe {
            std::ptr::copy_nonoverlapping(pointer.as_ptr(), copy.as_mut_ptr(), bytes);
            copy.set_len(bytes);
        }
        Some(copy.into())
    }

    /// Gives back all but its first `bytes`.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let kept = whole_pages(bytes).unwrap_or(self.bytes);
        if kept < self.bytes {
            self.arena.lock().spans.give(self.start + kept, self.bytes - kept);
            self.bytes = kept;
        }
    }

    fn pointer(&self, at: usize, bytes: usize) -> Option<NonNull<u8>> {
        // SAFETY: an address inside the mapping.
        let inside = self.holds(at, bytes).then(|| unsafe { self.arena.slab.start().add(at) })?;
        NonNull::new(inside)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.arena.lock();
        state.frozen.remove(&self.start);
        state.spans.give(self.start, self.bytes);
    }
}

fn whole_pages(bytes: usize) -> Option<usize> {
    bytes.max(1).checked_next_multiple_of(GRAIN_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 16 * GRAIN_BYTES;

    fn arena() -> Arc<Arena> {
        Arena::new(Slab::written_here(BYTES).unwrap())
    }

    #[test]
    fn a_span_is_lent_again_when_its_last_buffer_is_gone() {
        let arena = arena();
        let mut draft = arena.draft(BYTES).unwrap();
        draft.bytes_mut()[..3].copy_from_slice(b"abc");
        let lease = draft.freeze();
        let buffer = lease.view(0, 3).unwrap();
        drop(lease);
        assert!(arena.draft(1).is_none(), "lent twice");
        assert_eq!(buffer.as_slice(), b"abc");
        let (found, at) = arena.find(&buffer.slice(1)).unwrap();
        assert_eq!((found.start(), at), (0, 1));
        drop((buffer, found));
        assert_eq!(arena.draft(1).unwrap().freeze().start(), 0);
        assert_eq!(arena.committed_bytes(), BYTES);
        assert!(arena.find(&Buffer::from_vec(vec![1u8])).is_none());
    }

    #[test]
    fn the_end_of_a_span_can_be_given_back() {
        let arena = arena();
        let mut lease = arena.offer(BYTES).unwrap();
        Arc::get_mut(&mut lease).unwrap().shrink(GRAIN_BYTES + 1);
        assert_eq!(lease.len(), 2 * GRAIN_BYTES);
        assert_eq!(arena.offer(BYTES - 2 * GRAIN_BYTES).unwrap().start(), 2 * GRAIN_BYTES);
    }

    #[test]
    fn bytes_outside_of_a_span_are_refused() {
        let lease = arena().offer(GRAIN_BYTES).unwrap();
        for (at, bytes) in [(0, GRAIN_BYTES + 1), (GRAIN_BYTES, 1), (1, usize::MAX), (usize::MAX, 1)] {
            assert!(lease.view(at, bytes).is_none() && lease.copied(at, bytes).is_none(), "{at} {bytes}");
        }
        assert!(Arena::new(Slab::written_by_child(BYTES).unwrap()).draft(1).is_none(), "only the child writes there");
    }
}
