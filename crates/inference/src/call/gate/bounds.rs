//! How many calls each of those who ask may have in flight, whatever all share.

/// The bound of one of those who ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// This many.
    Own(usize),
    /// `each` for every replica of the model, shared out among `parts` who ask, but no fewer than `least`.
    Share {
        /// However few replicas there are.
        least: usize,
        /// For one replica.
        each: usize,
        /// Who ask on behalf of one step.
        parts: usize,
    },
}

// === impl Bound ===

impl Bound {
    /// The bound while the model has so many replicas, at least 1.
    pub fn calls_max(self, replicas: u16) -> usize {
        let calls = match self {
            Self::Own(calls) => calls,
            Self::Share { least, each, parts } => (each * usize::from(replicas)).div_ceil(parts.max(1)).max(least),
        };
        calls.max(1)
    }

    /// Whether it follows the replicas.
    pub(super) fn is_share(self) -> bool {
        matches!(self, Self::Share { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_follows_the_replicas_and_is_never_less_than_the_least() {
        let share = |parts| Bound::Share { least: 4, each: 2, parts };
        let of = |replicas| [1, 3, 16].map(|parts| share(parts).calls_max(replicas));
        assert_eq!([of(1), of(8), of(u16::MAX)], [[4; 3], [16, 6, 4], [131_070, 43_690, 8_192]]);
        assert_eq!([Bound::Own(0), Bound::Own(3)].map(|own| own.calls_max(8)), [1, 3]);
    }
}
