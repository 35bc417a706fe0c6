//! What a row gets when the model does not answer it: a ladder of other answers, and why one was taken.
//!
//! The rungs are tried in order; who holds the row carries a rung out and, if that fails too, asks for the next one with
//! [`Ladder::from`]. A ladder is taken for four reasons only ([`Why`]); that a half-open breaker is asking is not among them.

use std::sync::Arc;

use crate::retry::Fault;

/// One other answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rung {
    /// A fixed answer, or a rule of the caller's, known by its name.
    Constant(Arc<str>),
    /// Another model behind a gate of its own, known by its name.
    Model(Arc<str>),
    /// No answer: put aside with the reason.
    DeadLetter,
}

/// Other answers in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ladder {
    rungs: Vec<Rung>,
}

/// Why a row was not answered by the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The breaker is open and will not be asked again before the row's deadline.
    BreakerOpen,
    /// Its deadline passed, or it could not be answered in time any more.
    Expired,
    /// It was tried as often as allowed, or must not be tried again.
    Failed {
        /// The last failure.
        fault: Fault,
        /// The last failure's reason.
        reason: Arc<str>,
    },
    /// It could be tried again, but the retry budget is spent.
    BudgetSpent {
        /// The last failure.
        fault: Fault,
        /// The last failure's reason.
        reason: Arc<str>,
    },
}

// === impl Ladder ===

impl Ladder {
    /// A ladder of `rungs`. One without rungs means that rows simply fail.
    pub fn new(rungs: impl IntoIterator<Item = Rung>) -> Self {
        Self { rungs: rungs.into_iter().collect() }
    }

    /// The rung at `place`, the first being 0; `None` above the last.
    pub fn from(&self, place: usize) -> Option<&Rung> {
        self.rungs.get(place)
    }

    /// True if some rung answers: then a row need not wait for a deadline that cannot be met.
    pub fn answers(&self) -> bool {
        self.rungs.iter().any(|rung| *rung != Rung::DeadLetter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_are_tried_in_order() {
        let (second, zero) = (Rung::Model("second".into()), Rung::Constant("zero".into()));
        let ladder = Ladder::new([second.clone(), zero.clone(), Rung::DeadLetter]);
        let tried: Vec<Rung> = (0..9).map_while(|place| ladder.from(place).cloned()).collect();
        assert_eq!(tried, [second, zero, Rung::DeadLetter]);
    }

    #[test]
    fn a_dead_letter_is_no_answer() {
        assert!(!Ladder::new([Rung::DeadLetter]).answers());
        assert!(!Ladder::default().answers());
        assert!(Ladder::new([Rung::Constant("zero".into()), Rung::DeadLetter]).answers());
    }
}
