//! The operator's state of one key group as bytes: rows not yet given out, and the inferences given out since the last
//! barrier (whose journal entries may go once no kept checkpoint needs them).
//!
//! Layout, little-endian: format `u8`; emitted count `u32`, emitted ids of 16 bytes; row count `u32`; per row its id of 16
//! bytes, its place among all rows of its subtask `u64`, its rung `u32`, its attempts there and below `u32` each, and the
//! microseconds left of its deadline `u64` (all ones: it has none); then the rows as one Arrow IPC stream, absent without
//! rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::Restored;
use forebay_core::{Batch, Error, Kind, Result, RowId};
use forebay_inference::request::RequestId;

use super::gather::Gather;
use super::table::Entry;

const FORMAT: u8 = 2;
/// A row without deadline.
const NEVER: u64 = u64::MAX;
/// Longest list accepted before anything is allocated for it.
const COUNT_MAX: u32 = 1 << 26;

/// State of one key group.
#[derive(Debug, Default)]
pub struct GroupState {
    /// Inferences given out since the barrier before.
    pub emitted: Vec<RequestId>,
    /// Rows not yet given out, in order of arrival.
    pub rows: Vec<Waiting>,
}

/// A row not yet given out.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The batch that holds it.
    pub batch: Arc<Batch>,
    /// Its place there.
    pub place: usize,
    /// Its place among all rows of the subtask that took it.
    pub number: u64,
    /// Who is asked about it.
    pub rung: u32,
    /// How often it was tried on that rung.
    pub attempts: u32,
    /// How often on the rungs below.
    pub attempts_before: u32,
    /// What is left until its deadline.
    pub left: Option<Duration>,
}

// === impl Waiting ===

impl Waiting {
    /// A row that just came.
    pub fn new(batch: Arc<Batch>, place: usize) -> Self {
        Self { batch, place, number: 0, rung: 0, attempts: 0, attempts_before: 0, left: None }
    }

    /// Row `number`, kept at `now`.
    pub fn of(number: u64, entry: &Entry, now: Duration) -> Self {
        Self {
            batch: Arc::clone(&entry.batch),
            place: entry.place,
            number,
            rung: entry.rung as u32,
            attempts: entry.attempts,
            attempts_before: entry.attempts_before,
            left: entry.deadline.map(|deadline| deadline.saturating_sub(now)),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        let Self { number, rung, attempts, attempts_before, .. } = self;
        let left = self.left.map_or(NEVER, |left| u64::try_from(left.as_micros()).unwrap_or(NEVER));
        out.extend_from_slice(&self.batch.ids()[self.place].to_bytes());
        out.extend_from_slice(&number.to_le_bytes());
        [rung, attempts, attempts_before].iter().for_each(|count| out.extend_from_slice(&count.to_le_bytes()));
        out.extend_from_slice(&left.to_le_bytes());
    }
}

/// What is kept of a row beside its columns.
struct Head {
    id: RowId,
    number: u64,
    rung: u32,
    attempts: u32,
    attempts_before: u32,
    left: u64,
}

// === impl Head ===

impl Head {
    fn take(rest: &mut &[u8]) -> Result<Self, String> {
        Ok(Self {
            id: RowId::from_bytes(take(rest)?),
            number: u64::from_le_bytes(take(rest)?),
            rung: u32::from_le_bytes(take(rest)?),
            attempts: u32::from_le_bytes(take(rest)?),
            attempts_before: u32::from_le_bytes(take(rest)?),
            left: u64::from_le_bytes(take(rest)?),
        })
    }

    fn waiting(&self, batch: &Arc<Batch>, place: usize) -> Waiting {
        let Self { number, rung, attempts, attempts_before, left, .. } = *self;
        let left = (left != NEVER).then(|| Duration::from_micros(left));
        Waiting { batch: Arc::clone(batch), place, number, rung, attempts, attempts_before, left }
    }
}

/// Encodes every group.
///
/// # Errors
/// `Internal` only.
pub fn encode(groups: BTreeMap<KeyGroup, GroupState>) -> Result<BTreeMap<KeyGroup, Bytes>> {
    groups.into_iter().map(|(group, state)| Ok((group, encode_group(&state)?))).collect()
}

pub(super) fn encode_group(state: &GroupState) -> Result<Bytes> {
    let mut out = vec![FORMAT];
    out.extend_from_slice(&(state.emitted.len() as u32).to_le_bytes());
    state.emitted.iter().for_each(|id| out.extend_from_slice(&id.0.to_le_bytes()));
    out.extend_from_slice(&(state.rows.len() as u32).to_le_bytes());
    let mut gather = Gather::default();
    for row in &state.rows {
        row.put(&mut out);
        gather.add(row.batch.rows(), row.place);
    }
    if let Some(first) = state.rows.first() {
        let rows = gather.finish(&first.batch.schema())?;
        let wrong = |source| Error::new(Kind::Internal, "encode waiting rows").source(source);
        let mut writer = StreamWriter::try_new(&mut out, &rows.schema()).map_err(wrong)?;
        writer.write(&rows).map_err(wrong)?;
        writer.finish().map_err(wrong)?;
    }
    Ok(out.into())
}

/// Decodes every group, in order.
///
/// # Errors
/// `Corrupt`, naming the key group.
pub fn decode(restored: &Restored) -> Result<Vec<GroupState>> {
    let decode = |(group, bytes): &(KeyGroup, Bytes)| decode_group(bytes).map_err(|reason| corrupt(*group, reason));
    restored.groups.iter().map(decode).collect()
}

/// The error of a group whose bytes cannot be read.
pub(super) fn corrupt(group: KeyGroup, reason: String) -> Error {
    Error::new(Kind::Corrupt, "read state of inference operator").with("key_group", group.0).source(reason)
}

pub(super) fn decode_group(bytes: &Bytes) -> Result<GroupState, String> {
    let mut rest = &bytes[..];
    match take::<1>(&mut rest)? {
        [FORMAT] => {}
        [other] => return Err(format!("format {other} is not known to this release")),
    }
    let emitted = (0..count(&mut rest)?).map(|_| Ok(RequestId(u128::from_le_bytes(take(&mut rest)?))));
    let emitted = emitted.collect::<Result<Vec<_>, String>>()?;
    let mut heads = Vec::new();
    for _ in 0..count(&mut rest)? {
        heads.push(Head::take(&mut rest)?);
    }
    if heads.is_empty() {
        return Ok(GroupState { emitted, rows: Vec::new() });
    }
    let batch = Arc::new(decode_rows(rest, heads.iter().map(|head| head.id).collect())?);
    let rows = heads.iter().enumerate().map(|(place, head)| head.waiting(&batch, place));
    Ok(GroupState { emitted, rows: rows.collect() })
}

fn decode_rows(bytes: &[u8], ids: Vec<RowId>) -> Result<Batch, String> {
    let mut reader = StreamReader::try_new(bytes, None).map_err(|error| error.to_string())?;
    let rows = reader.next().ok_or("rows are missing")?.map_err(|error| error.to_string())?;
    Batch::new(rows, ids).map_err(|error| error.chain())
}

fn count(rest: &mut &[u8]) -> Result<u32, String> {
    let count = u32::from_le_bytes(take(rest)?);
    if count > COUNT_MAX { Err(format!("a list of {count} is longer than any written")) } else { Ok(count) }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or("the state ends early")?;
    *rest = tail;
    Ok(*head)
}
