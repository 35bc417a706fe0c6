//! The state of one subtask at one epoch: a file of entries by operator and key group.
//!
//! ```text
//! file    = "FBSNAP" version:u16  task:text subtask:u16 epoch:u64 entries:u32  entry*  crc32c:u32
//! entry   = operator:text key_group:u16 length:u32 bytes  crc32c:u32        crc over the entry before it
//! text    = length:u16 utf-8                                                 all numbers little-endian
//! ```
//!
//! The last crc covers the whole file before it. Lengths are checked against what is left before anything is allocated, and
//! decoded entries share the file's memory. A change of this layout takes a new version.

use bytes::{BufMut, Bytes, BytesMut};
use forebay_core::element::Epoch;
use forebay_core::hash::hash128;
use forebay_core::key_group::KeyGroup;
use forebay_core::{Error, Kind, Result};

const MAGIC: &[u8; 6] = b"FBSNAP";
const VERSION: u16 = 1;
/// The least an entry takes: empty operator and bytes.
const ENTRY_BYTES_MIN: usize = 2 + 2 + 4 + 4;

/// State of one operator for one key group, as the operator wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateEntry {
    /// Uid of the operator.
    pub operator: String,
    /// The key group it belongs to.
    pub key_group: KeyGroup,
    /// What the operator wrote, not interpreted here.
    pub bytes: Bytes,
}

/// The state of one subtask at one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubtaskSnapshot {
    /// The task, as the plan calls it.
    pub task: String,
    /// Which parallel copy.
    pub subtask: u16,
    /// The epoch whose barrier it was taken at.
    pub epoch: Epoch,
    /// The state, in the order written.
    pub entries: Vec<StateEntry>,
}

/// Hash of a file's content as manifests hold it: XXH3-128, 32 hex digits.
pub fn content_hash(bytes: &[u8]) -> String {
    format!("{:032x}", hash128(bytes))
}

// === impl SubtaskSnapshot ===

impl SubtaskSnapshot {
    /// The file's bytes.
    ///
    /// # Errors
    /// `Invalid` if a name is longer than 65,535 bytes or an entry reaches 4 GiB.
    pub fn encode(&self) -> Result<Bytes> {
        let size: usize = self.entries.iter().map(|e| ENTRY_BYTES_MIN + e.operator.len() + e.bytes.len()).sum();
        let mut out = BytesMut::with_capacity(size + self.task.len() + 32);
        out.put_slice(MAGIC);
        out.put_u16_le(VERSION);
        put_text(&mut out, &self.task)?;
        out.put_u16_le(self.subtask);
        out.put_u64_le(self.epoch.0);
        out.put_u32_le(fits(self.entries.len(), "entries")?);
        for entry in &self.entries {
            let start = out.len();
            put_text(&mut out, &entry.operator)?;
            out.put_u16_le(entry.key_group.0);
            out.put_u32_le(fits(entry.bytes.len(), "bytes of an entry")?);
            out.put_slice(&entry.bytes);
            let crc = crc32c::crc32c(&out[start..]);
            out.put_u32_le(crc);
        }
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        Ok(out.freeze())
    }

    /// Reads what [`SubtaskSnapshot::encode`] wrote; `path` is where it was read from.
    ///
    /// # Errors
    /// `Corrupt`, naming the file and the byte where reading failed.
    pub fn decode(path: &str, bytes: &Bytes) -> Result<Self> {
        let mut reader = Reader { path, bytes, place: 0 };
        if reader.take(MAGIC.len())? != MAGIC[..] {
            return Err(reader.corrupt(0, "this is not a snapshot file"));
        }
        let version = reader.u16()?;
        if version != VERSION {
            return Err(reader.corrupt(MAGIC.len(), &format!("format version {version}; this program reads {VERSION}")));
        }
        let (task, subtask, epoch) = (reader.text()?, reader.u16()?, Epoch(reader.u64()?));
        let count_place = reader.place;
        let count = reader.u32()? as usize;
        if count > reader.left() / ENTRY_BYTES_MIN {
            return Err(reader.corrupt(count_place, &format!("{count} entries do not fit into the file")));
        }
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            entries.push(reader.entry()?);
        }
        reader.end()?;
        Ok(Self { task, subtask, epoch, entries })
    }
}

fn fits(length: usize, what: &str) -> Result<u32> {
    u32::try_from(length).map_err(|_| too_long(what, length))
}

fn put_text(out: &mut BytesMut, text: &str) -> Result<()> {
    out.put_u16_le(u16::try_from(text.len()).map_err(|_| too_long("bytes of a name", text.len()))?);
    out.put_slice(text.as_bytes());
    Ok(())
}

fn too_long(what: &str, length: usize) -> Error {
    Error::new(Kind::Invalid, "encode snapshot").with("what", what).with("length", length).source("too long")
}

/// Reads numbers and slices, knowing where it is.
struct Reader<'a> {
    path: &'a str,
    bytes: &'a Bytes,
    place: usize,
}

// === impl Reader ===

impl Reader<'_> {
    fn corrupt(&self, place: usize, reason: &str) -> Error {
        Error::new(Kind::Corrupt, "read snapshot file")
            .with("file", self.path)
            .with("byte", place)
            .source(reason.to_string())
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.place
    }

    fn take(&mut self, length: usize) -> Result<Bytes> {
        if length > self.left() {
            let reason = format!("{length} bytes expected, {} left", self.left());
            return Err(self.corrupt(self.place, &reason));
        }
        let taken = self.bytes.slice(self.place..self.place + length);
        self.place += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(&self.take(N)?);
        Ok(array)
    }

    fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String> {
        let place = self.place;
        let length = self.u16()?;
        let bytes = self.take(length.into())?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.corrupt(place, "a name is not UTF-8"))
    }

    fn entry(&mut self) -> Result<StateEntry> {
        let start = self.place;
        let operator = self.text()?;
        let key_group = KeyGroup(self.u16()?);
        let length = self.u32()?;
        let bytes = self.take(length as usize)?;
        self.check_crc(start, "an entry's checksum is wrong")?;
        Ok(StateEntry { operator, key_group, bytes })
    }

    /// Reads a crc and compares it with that of the bytes since `start`.
    fn check_crc(&mut self, start: usize, reason: &str) -> Result<()> {
        let found = crc32c::crc32c(&self.bytes[start..self.place]);
        if self.u32()? == found { Ok(()) } else { Err(self.corrupt(start, reason)) }
    }

    fn end(&mut self) -> Result<()> {
        self.check_crc(0, "the file's checksum is wrong")?;
        if self.left() > 0 {
            return Err(self.corrupt(self.place, "bytes follow the end"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn snapshot(entries: Vec<(&str, u16, &[u8])>) -> SubtaskSnapshot {
        let entries = entries.into_iter().map(|(operator, group, bytes)| StateEntry {
            operator: operator.to_string(),
            key_group: KeyGroup(group),
            bytes: Bytes::copy_from_slice(bytes),
        });
        SubtaskSnapshot { task: "classify".into(), subtask: 3, epoch: Epoch(7), entries: entries.collect() }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for entries in [vec![], vec![("", 0, &b""[..])], vec![("count", 5, b"abc"), ("count", 65535, b"")]] {
            let written = snapshot(entries);
            assert_eq!(SubtaskSnapshot::decode("f", &written.encode().unwrap()).unwrap(), written);
        }
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed_and_named() {
        let bytes = snapshot(vec![("count", 5, b"abc"), ("sum", 6, b"0123456789")]).encode().unwrap();
        for place in 0..bytes.len() {
            for flip in [0x01, 0x80] {
                let mut broken = bytes.to_vec();
                broken[place] ^= flip;
                let error = SubtaskSnapshot::decode("state/x.snap", &broken.into()).unwrap_err();
                assert_eq!(error.kind(), Kind::Corrupt);
                assert!(error.to_string().contains("file=state/x.snap, byte="), "{error}");
            }
            assert!(SubtaskSnapshot::decode("f", &bytes.slice(..place)).is_err());
        }
        let longer = Bytes::from([&bytes[..], b"x"].concat());
        assert!(SubtaskSnapshot::decode("f", &longer).is_err());
    }

    #[test]
    fn an_entry_that_claims_more_than_the_file_holds_is_refused_before_it_is_allocated() {
        let mut bytes = snapshot(vec![]).encode().unwrap().to_vec();
        let count_place = bytes.len() - 8;
        bytes[count_place..count_place + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let error = SubtaskSnapshot::decode("f", &bytes.into()).unwrap_err();
        assert!(error.chain().contains("4294967295 entries do not fit"), "{}", error.chain());
    }

    proptest! {
        #[test]
        fn decoding_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let with_magic = [&b"FBSNAP\x01\x00"[..], &bytes].concat();
            prop_assert!(SubtaskSnapshot::decode("f", &bytes.into()).is_err());
            let _ = SubtaskSnapshot::decode("f", &with_magic.into());
        }
    }
}
