//! Rows of a record as bytes: one Arrow IPC stream, its rows in the order of the record's spans.

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use forebay_core::key_group::KeyGroup;
use forebay_core::row_kind::RowKind;
use forebay_core::{Batch, Error, Kind, Result};

use super::position::RowKey;
use super::record::Span;

/// Rows of one batch, ordered by key group.
pub(super) struct Grouped {
    pub batch: Batch,
    pub groups: Vec<(KeyGroup, u32)>,
    pub keys: Vec<RowKey>,
}

/// What tells the rows of `batch` apart.
pub(super) fn keys(batch: &Batch) -> Vec<RowKey> {
    (0..batch.len()).map(|place| RowKey { id: batch.ids()[place], kind: batch.kind(place).to_byte() }).collect()
}

/// The rows of `batch` at `places`, those of one key group together and in their order. `groups` and `keys` are of all rows.
pub(super) fn group(batch: &Batch, places: &[usize], groups: &[KeyGroup], keys: &[RowKey]) -> Result<Grouped> {
    let mut order = places.to_vec();
    order.sort_by_key(|place| groups[*place]);
    let whole = order.len() == batch.len() && order.is_sorted();
    let mut counts: Vec<(KeyGroup, u32)> = Vec::new();
    for place in &order {
        match counts.last_mut() {
            Some((group, count)) if *group == groups[*place] => *count += 1,
            _ => counts.push((groups[*place], 1)),
        }
    }
    let keys = order.iter().map(|place| keys[*place]).collect();
    Ok(Grouped { batch: if whole { batch.clone() } else { batch.take(&order)? }, groups: counts, keys })
}

pub(super) fn encode(rows: &RecordBatch) -> Result<Bytes> {
    let wrong = |source| Error::new(Kind::Internal, "write rows of edge as Arrow IPC").source(source);
    let mut bytes = Vec::with_capacity(rows.get_array_memory_size() + 1024);
    let mut writer = StreamWriter::try_new(&mut bytes, &rows.schema()).map_err(wrong)?;
    writer.write(rows).and_then(|()| writer.finish()).map_err(wrong)?;
    drop(writer);
    Ok(bytes.into())
}

/// Decodes and validates the rows of a record.
///
/// # Errors
/// `Corrupt`.
pub(super) fn decode(bytes: &[u8], keys: &[RowKey]) -> Result<Batch> {
    let wrong = || Error::new(Kind::Corrupt, "decode rows of edge").with("rows", keys.len());
    let mut reader =
        StreamReader::try_new(std::io::Cursor::new(bytes), None).map_err(|source| wrong().source(source))?;
    let rows = reader.next().ok_or_else(wrong)?.map_err(|source| wrong().source(source))?;
    if rows.num_rows() != keys.len() {
        return Err(wrong().with("found", rows.num_rows()));
    }
    let ids: Vec<_> = keys.iter().map(|key| key.id).collect();
    let kinds = keys.iter().map(|key| RowKind::from_byte(key.kind)).collect::<Result<Vec<_>>>()?;
    Batch::new(rows, ids)?.with_kinds(kinds)
}

/// The rows of `batch`, which are in the order of `spans`, that `wanted` leaves of each span: the place of the first, counted
/// in the span, or `None` for none. `None` if nothing is left.
pub(super) fn select(batch: &Batch, spans: &[Span], wanted: impl Fn(&Span) -> Option<usize>) -> Result<Option<Batch>> {
    let (mut place, mut places) = (0, Vec::new());
    for span in spans {
        let count = span.count as usize;
        if let Some(skipped) = wanted(span) {
            places.extend(place + skipped.min(count)..place + count);
        }
        place += count;
    }
    match (places.first(), places.last()) {
        (Some(_), _) if places.len() == batch.len() => Ok(Some(batch.clone())),
        (Some(first), Some(last)) if last - first + 1 == places.len() => Ok(Some(batch.slice(*first, places.len()))),
        (Some(_), _) => batch.take(&places).map(Some),
        (None, _) => Ok(None),
    }
}
