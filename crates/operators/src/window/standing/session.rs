//! The sessions that there are, by key and first row: where each ends, when it is due, what it gave.
//!
//! A session has one timer, which may ring before it is due: rows that come in order make a session longer each time, and moving
//! the timer each time would cost more than finding, once it rings, that there is more to come.

use forebay_core::Result;
use forebay_core::time::EventTime;
use forebay_state::keyed::StateValue;

use super::super::scalars::{bytes, corrupt, number};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// The time of its last row.
    pub last: EventTime,
    /// When its timer rings, at the latest when it is due.
    pub rings: EventTime,
    /// The result that stands, as [`scalars`](super::super::scalars) writes its values one behind the other; only while rows may
    /// still change it.
    pub given: Option<Vec<u8>>,
}

impl StateValue for Session {
    const CODEC: &'static str = "session-1";

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.last.0.to_le_bytes());
        out.extend_from_slice(&self.rings.0.to_le_bytes());
        out.push(u8::from(self.given.is_some()));
        out.extend_from_slice(self.given.as_deref().unwrap_or_default());
    }

    fn decode(mut stored: &[u8]) -> Result<Self> {
        let rest = &mut stored;
        let (last, rings) = (EventTime(number(rest)? as i64), EventTime(number(rest)? as i64));
        let given = match bytes(rest, 1)? {
            [0] if rest.is_empty() => None,
            [1] => Some(rest.to_vec()),
            _ => return Err(corrupt("bytes behind a session")),
        };
        Ok(Self { last, rings, given })
    }

    fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.given.as_ref().map_or(0, Vec::capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_core::Kind;

    #[test]
    fn sessions_are_read_back_and_broken_bytes_refused() {
        for given in [None, Some(vec![]), Some(vec![1, 2])] {
            let session = Session { last: EventTime(-7), rings: EventTime::MIN, given };
            let mut out = Vec::new();
            session.encode(&mut out);
            assert_eq!(Session::decode(&out).unwrap(), session);
            assert_eq!(Session::decode(&out[..16]).unwrap_err().kind(), Kind::Corrupt);
        }
        assert_eq!(Session::decode(&[0; 18]).unwrap_err().kind(), Kind::Corrupt);
    }
}
