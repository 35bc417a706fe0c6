//! What must come out, by reading the input once from first to last row, without batches, tasks, time or faults.
//!
//! The model's answers are the one thing that it cannot know: there the journal decides, and [`invariants`](crate::invariants)
//! hold the output to it.

use std::collections::{BTreeMap, BTreeSet};

/// Text that the model refuses.
const POISON: &str = "poison";

/// Text of which a model elsewhere makes a failure that looks as if it were down.
const TOXIC: &str = "toxic";

/// How many keys the rows have.
const KEYS: u64 = 5;

/// One row of the input.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Unique in the input.
    pub id: u64,
    /// Any number; filters and expressions read it.
    pub n: u64,
    /// Whether the model refuses it.
    pub poisonous: bool,
    /// Whether the model, where it is elsewhere, fails each time that it is asked about it.
    pub toxic: bool,
}

/// What must come out of a job.
#[derive(Debug, Clone)]
pub struct Expected {
    filter: bool,
    doubled: bool,
    /// Rows that reach the model, as JSON without the answer, by id.
    pub rows: BTreeMap<u64, serde_json::Value>,
    /// Those that the model refuses.
    pub poisonous: BTreeSet<u64>,
    /// Those of which it makes a failure.
    pub toxic: BTreeSet<u64>,
    /// Lines that are no rows.
    pub bad_lines: u64,
}

// === impl Row ===

impl Row {
    /// The row as a line of a file.
    pub fn line(&self) -> String {
        format!("{{\"id\": {}, \"n\": {}, \"k\": {}, \"text\": \"{}\"}}\n", self.id, self.n, self.n % KEYS, self.text())
    }

    fn text(&self) -> String {
        let tails = [(self.poisonous, POISON), (self.toxic, TOXIC)];
        let tails: String = tails.iter().filter(|(has, _)| *has).map(|(_, tail)| format!(" {tail}")).collect();
        format!("row {}{tails}", self.id)
    }
}

// === impl Expected ===

impl Expected {
    /// Nothing yet, of a job with or without the filter and the added column.
    pub fn new(filter: bool, doubled: bool) -> Self {
        Self {
            filter,
            doubled,
            rows: BTreeMap::new(),
            poisonous: BTreeSet::new(),
            toxic: BTreeSet::new(),
            bad_lines: 0,
        }
    }

    /// Reads one row.
    pub fn take(&mut self, row: Row) {
        if self.filter && row.n.is_multiple_of(3) {
            return;
        }
        let mut value = serde_json::json!({ "id": row.id, "n": row.n, "k": row.n % KEYS, "text": row.text() });
        if self.doubled {
            value["doubled"] = (row.n * 2).into();
        }
        self.rows.insert(row.id, value);
        if row.poisonous {
            self.poisonous.insert(row.id);
        }
        if row.toxic {
            self.toxic.insert(row.id);
        }
    }
}

/// Whether the model refuses `text`.
pub(crate) fn is_poisonous(text: &str) -> bool {
    text.contains(POISON)
}

/// Whether a model elsewhere fails when it is asked about `text`.
pub(crate) fn is_toxic(text: &str) -> bool {
    text.contains(TOXIC)
}

/// The id of the row that `text` belongs to.
pub(crate) fn row_of(text: &str) -> Option<u64> {
    text.split(' ').nth(1)?.parse().ok()
}
