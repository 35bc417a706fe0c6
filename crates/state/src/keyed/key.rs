//! The key of a row's state.
use forebay_core::hash::hash64;
use forebay_core::key_group::KeyGroup;

/// Encoded key columns of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<[u8]>);

// === impl Key ===

impl Key {
    /// A key of these bytes.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The key group of this key in a job of `groups` key groups.
    pub fn group(&self, groups: u16) -> KeyGroup {
        KeyGroup::of_hash(hash64(&self.0), groups)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
