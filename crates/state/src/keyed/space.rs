//! The second half of a state's address: what tells apart the values that one key has.
//!
//! Kept inside the struct where it is short, because the usual space is a window's end or a sequence number and a heap
//! block for each would cost more than the value.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use forebay_core::time::EventTime;

/// Longest space that needs no heap block: the struct is 32 bytes.
const INLINE_BYTES_MAX: usize = 30;

/// A small ordered byte string that tells apart the values of one key. Ordered as bytes; empty where a key has one value.
#[derive(Clone)]
pub struct Space(Form);

#[derive(Clone)]
enum Form {
    Inline { length: u8, bytes: [u8; INLINE_BYTES_MAX] },
    Heap(Box<[u8]>),
}

// === impl Space ===

impl Space {
    /// The space of a key that has one value.
    pub const EMPTY: Space = Space(Form::Inline { length: 0, bytes: [0; INLINE_BYTES_MAX] });

    /// These bytes.
    pub fn new(bytes: &[u8]) -> Self {
        if bytes.len() > INLINE_BYTES_MAX {
            return Self(Form::Heap(bytes.into()));
        }
        let mut inline = [0; INLINE_BYTES_MAX];
        inline[..bytes.len()].copy_from_slice(bytes);
        Self(Form::Inline { length: bytes.len() as u8, bytes: inline })
    }

    /// A number, in the order of numbers: places of a list, counters.
    pub fn of_number(number: u64) -> Self {
        Self::new(&number.to_be_bytes())
    }

    /// An event time, in the order of time: a window's end, a row's time.
    pub fn of_time(time: EventTime) -> Self {
        Self::new(&order_bytes(time))
    }

    /// An event time and more bytes, in the order of time, then of the bytes: rows by time with their ids.
    pub fn of_time_and(time: EventTime, more: &[u8]) -> Self {
        if more.len() + 8 > INLINE_BYTES_MAX {
            return Self(Form::Heap([&order_bytes(time)[..], more].concat().into()));
        }
        let mut inline = [0; INLINE_BYTES_MAX];
        inline[..8].copy_from_slice(&order_bytes(time));
        inline[8..8 + more.len()].copy_from_slice(more);
        Self(Form::Inline { length: 8 + more.len() as u8, bytes: inline })
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Form::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Form::Heap(bytes) => bytes,
        }
    }

    /// The number of [`Space::of_number`]; `None` for a space of another length.
    pub fn number(&self) -> Option<u64> {
        self.as_bytes().try_into().ok().map(u64::from_be_bytes)
    }

    /// The event time that [`Space::of_time`] or [`Space::of_time_and`] put first; `None` for a shorter space.
    pub fn time(&self) -> Option<EventTime> {
        let (head, _) = self.as_bytes().split_first_chunk::<8>()?;
        Some(EventTime((u64::from_be_bytes(*head) ^ (1 << 63)) as i64))
    }

    /// Heap bytes, for accounts.
    pub(super) fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Inline { .. } => 0,
            Form::Heap(bytes) => bytes.len(),
        }
    }
}

/// Eight bytes whose order is that of times.
fn order_bytes(time: EventTime) -> [u8; 8] {
    (time.0 as u64 ^ (1 << 63)).to_be_bytes()
}

impl PartialEq for Space {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Space {}

impl PartialOrd for Space {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Space {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Space {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Space({})", self.as_bytes().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_that_of_times_numbers_and_bytes() {
        let times = [i64::MIN, -1, 0, 1, i64::MAX].map(|micros| Space::of_time(EventTime(micros)));
        assert!(times.is_sorted());
        assert_eq!(times[1].time(), Some(EventTime(-1)));
        assert!(Space::of_number(255) < Space::of_number(256));
        assert_eq!(Space::of_number(7).number(), Some(7));
        let long = Space::new(&[7; 100]);
        assert!(Space::new(&[7; 30]) < long && long < Space::new(&[8]));
        for length in [0, 22, 23, 40] {
            let space = Space::of_time_and(EventTime(-9), &vec![1; length]);
            assert_eq!((space.time(), space.as_bytes().len()), (Some(EventTime(-9)), 8 + length));
        }
        assert_eq!((Space::EMPTY.time(), Space::EMPTY.number()), (None, None));
        assert_eq!(size_of::<Space>(), 32);
    }
}
