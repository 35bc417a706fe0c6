//! What a writer hands over in its snapshot for each staged file, as JSON: stored in checkpoints and commit records.

use bytes::Bytes;
use forebay_core::{Error, Kind, Result};

/// A staged file and the name it will have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Committable {
    /// Final name, from the output folder.
    pub name: String,
    /// Where it lies until the commit, from the output folder.
    pub staged: String,
    /// Rows in it.
    pub rows: u64,
    /// Its length.
    pub size_bytes: u64,
    /// XXH3 (64 bit) of its bytes, in hexadecimal.
    pub xxh3: String,
}

// === impl Committable ===

impl Committable {
    /// The stored form.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn encode(&self) -> Result<Bytes> {
        serde_json::to_vec(self)
            .map(Bytes::from)
            .map_err(|source| Error::new(Kind::Internal, "encode committable").source(source))
    }

    /// The inverse of [`Committable::encode`].
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn decode(stored: &[u8]) -> Result<Self> {
        serde_json::from_slice(stored).map_err(|source| Error::new(Kind::Corrupt, "decode committable").source(source))
    }
}
