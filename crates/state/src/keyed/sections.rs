//! The bytes of one operator's keyed state in one key group, as a snapshot holds them.
//!
//! ```text
//! group   = "FBKG" version:u8 form:u8  section*           form: 0 everything, 1 changes since an earlier checkpoint
//! section = kind:u8 name:text version:u16 codec:text watermark:i64 body:bytes
//! ```
//!
//! `kind` 0 is a table, 1 timers; `version` and `codec` are those of the values. `text` and `bytes` have their length in
//! LEB128 before them; other numbers are little-endian. Names describe themselves, so that a release which does not know a
//! state says so instead of guessing. Checksums are the snapshot file's. A change of this layout takes a new version.

use bytes::Bytes;
use forebay_core::key_group::KeyGroup;
use forebay_core::time::EventTime;
use forebay_core::{Error, Kind, Result};

use super::bytes::{Read, put_bytes, put_time, take, take_byte, take_bytes, take_text, take_time};
use super::part::Head;

const MAGIC: &[u8; 4] = b"FBKG";
const VERSION: u8 = 1;
/// Everything that the group holds.
const FULL: u8 = 0;
/// What changed since an earlier checkpoint.
const DELTA: u8 = 1;

/// One part's bytes in one group of one checkpoint.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub group: KeyGroup,
    pub kind: u8,
    pub name: String,
    pub version: u16,
    pub codec: String,
    pub watermark: Option<EventTime>,
    pub body: Bytes,
}

/// Begins the bytes of a group.
pub(super) fn begin(is_delta: bool) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&[VERSION, if is_delta { DELTA } else { FULL }]);
    out
}

/// Appends a section.
pub(super) fn put_section(out: &mut Vec<u8>, head: &Head, watermark: Option<EventTime>, body: &[u8]) {
    out.push(head.kind.code());
    put_bytes(out, head.name.as_bytes());
    out.extend_from_slice(&head.version.to_le_bytes());
    put_bytes(out, head.codec.as_bytes());
    put_time(out, watermark);
    put_bytes(out, body);
}

/// Whether the bytes of a group are a delta, and their sections.
///
/// # Errors
/// `Corrupt`, naming operator and key group; `Invalid` if a newer release wrote them.
pub(super) fn read_group(operator: &str, group: KeyGroup, bytes: &Bytes) -> Result<(bool, Vec<Section>)> {
    let error = |kind, reason: String| {
        Error::new(kind, "read keyed state").with("operator", operator).with("key_group", group.0).source(reason)
    };
    let mut rest = &bytes[..];
    let (version, form) = read_head(&mut rest).map_err(|reason| error(Kind::Corrupt, reason))?;
    if version != VERSION {
        let reason =
            format!("written in format {version}; this release reads {VERSION}: use the release that wrote it");
        return Err(error(Kind::Invalid, reason));
    }
    let mut sections = Vec::new();
    while !rest.is_empty() {
        sections.push(read_section(group, bytes, &mut rest).map_err(|reason| error(Kind::Corrupt, reason))?);
    }
    Ok((form == DELTA, sections))
}

fn read_head(rest: &mut &[u8]) -> Read<(u8, u8)> {
    if take(rest)? != *MAGIC {
        return Err("these are not bytes of keyed state".to_string());
    }
    let (version, form) = (take_byte(rest)?, take_byte(rest)?);
    if form > DELTA { Err(format!("there is no form {form}")) } else { Ok((version, form)) }
}

fn read_section(group: KeyGroup, bytes: &Bytes, rest: &mut &[u8]) -> Read<Section> {
    let (kind, name) = (take_byte(rest)?, take_text(rest)?);
    let version = u16::from_le_bytes(take(rest)?);
    let (codec, watermark) = (take_text(rest)?, take_time(rest)?);
    let body = bytes.slice_ref(take_bytes(rest)?);
    Ok(Section { group, kind, name, version, codec, watermark, body })
}
