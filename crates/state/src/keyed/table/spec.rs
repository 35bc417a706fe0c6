//! How a table is named and kept.

use std::time::Duration;

use forebay_core::Result;

/// Reads a value that an older release wrote.
type Decode<V> = fn(&[u8]) -> Result<V>;

/// How a table is named and kept.
#[derive(Debug, Clone)]
pub struct TableSpec<V> {
    pub(in super::super) name: &'static str,
    pub(in super::super) version: u16,
    pub(in super::super) ttl: Option<Duration>,
    pub(in super::super) older: Vec<(u16, Decode<V>)>,
}

// === impl TableSpec ===

impl<V> TableSpec<V> {
    /// A table `name`, unique in its operator, whose values have schema `version`. A new version says that older bytes need
    /// [`TableSpec::reads`], also where the codec kept its name.
    pub fn new(name: &'static str, version: u16) -> Self {
        Self { name, version, ttl: None, older: Vec::new() }
    }

    /// The table's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Entries expire: one whose last write is at event time `t` is gone once the watermark is **after** `t + ttl`. See
    /// `StateTable::insert_at` for what counts as the time of a write.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Reads values that an older release wrote under schema `version`; they are written back as the present one.
    #[must_use]
    pub fn reads(mut self, version: u16, decode: fn(&[u8]) -> Result<V>) -> Self {
        self.older.push((version, decode));
        self
    }
}
