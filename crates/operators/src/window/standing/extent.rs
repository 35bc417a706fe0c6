//! Where sessions begin and end, and what becomes of them when a row comes or goes: pure functions over times.

use forebay_core::time::EventTime;

use super::super::shape::Span;

/// The times of the first and the last row of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Extent {
    pub first: EventTime,
    pub last: EventTime,
}

// === impl Extent ===

impl Extent {
    /// That of one row.
    pub fn at(time: EventTime) -> Self {
        Self { first: time, last: time }
    }

    /// The window of the session.
    pub fn span(self, gap: i64) -> Span {
        Span { start: self.first, end: EventTime(self.last.0.saturating_add(gap)) }
    }

    /// With a row at `time`, or with the rows of another session beside it.
    pub fn with(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    /// What is left when the last row at `time` goes, where `before` and `behind` are those nearest to it: nothing, one session or
    /// two.
    pub fn without(
        self,
        (before, behind): (Option<EventTime>, Option<EventTime>),
        gap: i64,
    ) -> impl Iterator<Item = Self> {
        let parts = match (before, behind) {
            (Some(before), Some(behind)) if behind.0.saturating_sub(before.0) <= gap => [Some(self), None],
            (before, behind) => [
                before.map(|last| Self { first: self.first, last }),
                behind.map(|first| Self { first, last: self.last }),
            ],
        };
        parts.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_loses_a_row_is_none_one_or_two() {
        let case = |times: &[i64], gone: usize, expected: &[(i64, i64)]| {
            let extent = Extent { first: EventTime(times[0]), last: EventTime(times[times.len() - 1]) };
            let time = |place: usize| times.get(place).map(|time| EventTime(*time));
            let beside = (gone.checked_sub(1).and_then(time), time(gone + 1));
            let parts: Vec<_> = extent.without(beside, 5).map(|part| (part.first.0, part.last.0)).collect();
            assert_eq!(parts, expected, "{times:?} without {gone}");
        };
        case(&[3], 0, &[]);
        case(&[3, 8], 0, &[(8, 8)]);
        case(&[3, 8], 1, &[(3, 3)]);
        case(&[3, 5, 8, 12], 1, &[(3, 12)]);
        case(&[3, 5, 8, 12], 2, &[(3, 5), (12, 12)]);
    }
}
