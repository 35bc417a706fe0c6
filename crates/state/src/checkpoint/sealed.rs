//! Small JSON documents that notice a changed byte: the document, then one line with its crc32c.
//!
//! People can read them with any tool that shows text; the last line is a comment in their eyes.

use bytes::Bytes;
use forebay_core::{Error, Kind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

const SEAL: &str = "\n#crc32c ";
/// The seal and eight hex digits and a line end.
const SEAL_BYTES: usize = SEAL.len() + 9;

/// The document as bytes, sealed.
///
/// # Errors
/// `Internal` if `value` has a form that JSON has not, such as a map with keys that are no text.
pub(super) fn seal<T: Serialize>(value: &T) -> Result<Bytes> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::new(Kind::Internal, "encode checkpoint document").source(e))?;
    Ok(seal_bytes(&text))
}

/// Any bytes, sealed.
pub(super) fn seal_bytes(content: &[u8]) -> Bytes {
    let seal = format!("{SEAL}{:08x}\n", crc32c::crc32c(content));
    [content, seal.as_bytes()].concat().into()
}

/// The document in `bytes`, which were read from `path`.
///
/// # Errors
/// `Corrupt`, naming the file, if the seal is broken or the document is not a `T`.
pub(super) fn unseal<T: DeserializeOwned>(path: &str, bytes: &Bytes) -> Result<T> {
    serde_json::from_slice(&unseal_bytes(path, bytes)?)
        .map_err(|e| Error::new(Kind::Corrupt, "read checkpoint document").with("file", path).source(e))
}

/// The content that [`seal_bytes`] sealed.
///
/// # Errors
/// `Corrupt`, naming the file, if the seal is broken.
pub(super) fn unseal_bytes(path: &str, bytes: &Bytes) -> Result<Bytes> {
    let corrupt = || Error::new(Kind::Corrupt, "read checkpoint document").with("file", path);
    let cut = |found: usize| corrupt().with("bytes", found).source("the file is cut short or has no seal");
    let place = bytes.len().checked_sub(SEAL_BYTES).ok_or_else(|| cut(bytes.len()))?;
    let (text, seal) = bytes.split_at(place);
    let stored = std::str::from_utf8(seal).ok().and_then(|seal| seal.strip_prefix(SEAL)?.strip_suffix('\n'));
    let stored = stored.and_then(|hex| u32::from_str_radix(hex, 16).ok()).ok_or_else(|| cut(bytes.len()))?;
    let found = crc32c::crc32c(text);
    if stored != found {
        let detail = format!("checksum is {found:08x}, the seal at byte {place} says {stored:08x}");
        return Err(corrupt().source(detail));
    }
    Ok(bytes.slice(..place))
}

/// Adds to the error about a file that every epoch needs what the user can do.
pub(super) fn without_a_way_out(error: Error) -> Error {
    error.with(
        "to do",
        "every checkpoint needs this file: put it back from a copy of the folder, or begin with an empty folder and new outputs",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let sealed = seal(&vec!["a", "b"]).unwrap();
        assert_eq!(unseal::<Vec<String>>("f", &sealed).unwrap(), ["a", "b"]);
        for place in 0..sealed.len() {
            let mut broken = sealed.to_vec();
            broken[place] ^= 0x40;
            let error = unseal::<Vec<String>>("the/file", &broken.into()).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "byte {place}");
            assert!(error.to_string().contains("the/file"));
            assert!(unseal::<Vec<String>>("f", &sealed.slice(..place)).is_err(), "cut at {place}");
        }
    }
}
