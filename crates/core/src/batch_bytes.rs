//! A batch as bytes: how rows that wait inside an operator or on an edge are kept in a checkpoint.
//!
//! ```text
//! batch = count:u32  (id:16 bytes  kind:u8)*count  Arrow IPC stream of one record batch        all numbers little-endian
//! ```
//!
//! The caller frames it with a format number of its own and knows its length.

use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::{Buf, BufMut, Bytes};

use crate::batch::Batch;
use crate::error::{Error, Kind, Result};
use crate::row::RowId;
use crate::row_kind::RowKind;

/// Id and kind of one row.
const ROW_BYTES: usize = 17;

/// The bytes of `batch`.
///
/// # Errors
/// `Internal` only.
pub fn encode(batch: &Batch) -> Result<Bytes> {
    let wrong = |source| Error::new(Kind::Internal, "write rows as Arrow IPC").source(source);
    let mut out = Vec::with_capacity(4 + batch.len() * ROW_BYTES + batch.size_bytes() + 1024);
    out.put_u32_le(batch.len() as u32);
    for (place, id) in batch.ids().iter().enumerate() {
        out.put_slice(&id.to_bytes());
        out.put_u8(batch.kind(place).to_byte());
    }
    let mut writer = StreamWriter::try_new(&mut out, &batch.schema()).map_err(wrong)?;
    writer.write(batch.rows()).and_then(|()| writer.finish()).map_err(wrong)?;
    drop(writer);
    Ok(out.into())
}

/// The inverse of [`encode`]; everything is checked before it is used.
///
/// # Errors
/// `Corrupt`.
pub fn decode(mut bytes: Bytes) -> Result<Batch> {
    let wrong = || Error::new(Kind::Corrupt, "read rows of a checkpoint");
    let count = bytes.try_get_u32_le().map_err(|_| wrong())? as usize;
    if bytes.len() / ROW_BYTES < count {
        return Err(wrong().with("rows", count).with("bytes", bytes.len()));
    }
    let (mut ids, mut kinds) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for _ in 0..count {
        let mut id = [0; 16];
        bytes.copy_to_slice(&mut id);
        ids.push(RowId::from_bytes(id));
        kinds.push(RowKind::from_byte(bytes.get_u8())?);
    }
    let mut reader = StreamReader::try_new(bytes.reader(), None).map_err(|source| wrong().source(source))?;
    let rows = reader.next().ok_or_else(wrong)?.map_err(|source| wrong().source(source))?;
    if rows.num_rows() != count {
        return Err(wrong().with("rows", count).with("found", rows.num_rows()));
    }
    Batch::new(rows, ids)?.with_kinds(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::SplitId;
    use arrow::array::{ArrayRef, RecordBatch, StringArray};
    use std::sync::Arc;

    #[test]
    fn rows_ids_and_kinds_read_back_and_no_cut_is_taken_for_whole() {
        let column: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("")]));
        let rows = RecordBatch::try_from_iter_with_nullable([("t", column, true)]).unwrap();
        let ids: Vec<RowId> = (0..3).map(|n| RowId::new(SplitId(9), n)).collect();
        let kinds = vec![RowKind::Insert, RowKind::UpdateBefore, RowKind::Delete];
        let batch = Batch::new(rows, ids).unwrap().with_kinds(kinds).unwrap();
        let bytes = encode(&batch).unwrap();
        let back = decode(bytes.clone()).unwrap();
        assert_eq!((back.rows(), back.ids(), back.kinds()), (batch.rows(), batch.ids(), batch.kinds()));
        for length in [0, 3, 4, 20, 54, 55, 80, bytes.len() / 2] {
            assert!(decode(bytes.slice(..length)).is_err(), "{length} bytes");
        }
        assert!(decode(Bytes::from_static(&[255; 64])).is_err());
    }
}
