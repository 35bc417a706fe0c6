//! Which rows of the table add and which take back, by content; and when one that takes back may leave.
//!
//! Pure book-keeping over numbers of rows. A row that takes back waits for an answer: for one that is kept and not promised to
//! another, else for an addition before it in the table. Without either it need not wait, it takes back nothing. It never waits
//! for a row that came after it, so waiting comes to an end in every order of leaving.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use forebay_core::keys::Key;
use forebay_state::keyed::Space;

use super::contents::Content;

/// Rows of the table by content.
#[derive(Debug, Default)]
pub(super) struct Pending {
    contents: BTreeMap<(Key, Space), Rows>,
}

/// Rows of one content.
#[derive(Debug, Default)]
struct Rows {
    additions: BTreeSet<u64>,
    /// Those that take back and may not leave, in order of arrival.
    waiting: VecDeque<u64>,
    /// How many that take back may leave and have not left.
    promised: u64,
}

// === impl Pending ===

impl Pending {
    /// An addition came.
    pub fn add(&mut self, content: &Content, number: u64) {
        self.rows(content).additions.insert(number);
    }

    /// A row came that takes one back.
    pub fn take_back(&mut self, content: &Content, number: u64) {
        self.rows(content).waiting.push_back(number);
    }

    /// Whether a row of this content waits to take one back.
    pub fn is_waiting(&self, content: &Content) -> bool {
        self.contents.get(&content.parts).is_some_and(|rows| !rows.waiting.is_empty())
    }

    /// A row that may leave now because `kept` answers of its content are kept; each is named once.
    pub fn next_ready(&mut self, content: &Content, kept: u64) -> Option<u64> {
        let rows = self.contents.get_mut(&content.parts)?;
        let first = *rows.waiting.front()?;
        let has_addition = rows.additions.first().is_some_and(|addition| *addition < first);
        if kept <= rows.promised && has_addition {
            return None;
        }
        rows.promised += 1;
        rows.waiting.pop_front()
    }

    /// A row has left the table: the addition `number`, or one that took back.
    pub fn left(&mut self, content: &Content, addition: Option<u64>) {
        let Some(rows) = self.contents.get_mut(&content.parts) else { return };
        match addition {
            Some(number) => drop(rows.additions.remove(&number)),
            None => rows.promised = rows.promised.saturating_sub(1),
        }
        if rows.additions.is_empty() && rows.waiting.is_empty() && rows.promised == 0 {
            self.contents.remove(&content.parts);
        }
    }

    /// The additions of this content.
    pub fn additions(&self, content: &Content) -> impl Iterator<Item = u64> {
        self.contents.get(&content.parts).into_iter().flat_map(|rows| rows.additions.iter().copied())
    }

    fn rows(&mut self, content: &Content) -> &mut Rows {
        self.contents.entry(content.parts.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_core::time::EventTime;

    fn content() -> Content {
        Content { parts: (Key::new(b"a"), Space::EMPTY), time: EventTime::MIN }
    }

    #[test]
    fn a_row_that_takes_back_waits_for_an_addition_before_it_and_for_no_other() {
        let (mut pending, a) = (Pending::default(), content());
        pending.add(&a, 1);
        pending.take_back(&a, 2);
        pending.take_back(&a, 3);
        pending.add(&a, 4);
        assert_eq!(pending.next_ready(&a, 0), None, "1 is in the table");
        pending.left(&a, Some(1));
        assert_eq!(pending.next_ready(&a, 1), Some(2));
        assert_eq!(pending.next_ready(&a, 1), Some(3), "4 came after it");
        assert!(!pending.is_waiting(&a));
    }

    #[test]
    fn an_answer_is_promised_once() {
        let (mut pending, a) = (Pending::default(), content());
        pending.add(&a, 1);
        pending.take_back(&a, 2);
        pending.take_back(&a, 3);
        assert_eq!((pending.next_ready(&a, 1), pending.next_ready(&a, 1)), (Some(2), None));
        pending.left(&a, None);
        pending.left(&a, Some(1));
        assert_eq!(pending.next_ready(&a, 1), Some(3));
        pending.left(&a, None);
        assert!(pending.contents.is_empty(), "nothing is remembered of rows that have left");
    }
}
