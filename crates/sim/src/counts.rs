//! What was reached: every invariant has a partner that says how often the state was seen in which it could have failed.

use std::collections::BTreeMap;
use std::fmt;

/// Counts by name, of one seed or of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    by_name: BTreeMap<&'static str, u64>,
}

// === impl Counts ===

impl Counts {
    /// Counts `name` once.
    pub fn count(&mut self, name: &'static str) {
        self.add(name, 1);
    }

    /// Counts `name` `more` times.
    pub fn add(&mut self, name: &'static str, more: u64) {
        *self.by_name.entry(name).or_default() += more;
    }

    /// How often `name` was counted.
    pub fn get(&self, name: &str) -> u64 {
        self.by_name.get(name).copied().unwrap_or(0)
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Counts) {
        other.by_name.iter().for_each(|(name, count)| self.add(name, *count));
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.by_name.iter().try_for_each(|(name, count)| writeln!(f, "{count:>9}  {name}"))
    }
}
