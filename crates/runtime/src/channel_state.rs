//! Rows that a barrier overtook: they belong to the checkpoint as state of the edge they were on.
//!
//! They are kept by key group, never by the channel they were in: the group of a row is what the edge routes by, so a restore
//! at any parallelism gives each row to the subtask that its edge would have sent it to. Rows of one key stay in order, and so
//! do rows of one split; no other order is promised.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::{Frozen, Snapshot};
use forebay_core::{Batch, Error, Kind, Result, batch_bytes};

use crate::outlet::Way;

/// The first byte; another layout takes another.
const VERSION: u8 = 1;

/// The name under which a checkpoint holds what was on an edge. No uid of a step can be the same.
pub fn name(from: &str, from_port: u8, to: &str, to_port: u8) -> String {
    format!("~{from}.{from_port}>{to}.{to_port}")
}

/// `batches`, in order, as state of their edge.
pub fn freeze(batches: Vec<Batch>, way: Way, groups: u16) -> Frozen {
    Box::pin(async move { Ok(Snapshot { groups: encode(&batches, &way, groups)?, ..Snapshot::default() }) })
}

fn encode(batches: &[Batch], way: &Way, groups: u16) -> Result<BTreeMap<KeyGroup, Bytes>> {
    let mut by_group: BTreeMap<KeyGroup, Vec<Batch>> = BTreeMap::new();
    for batch in batches {
        let mut places: BTreeMap<KeyGroup, Vec<usize>> = BTreeMap::new();
        for (place, group) in groups_of(batch, way, groups)?.into_iter().enumerate() {
            places.entry(group).or_default().push(place);
        }
        for (group, places) in places {
            by_group.entry(group).or_default().push(batch.take(&places)?);
        }
    }
    let encode = |(group, parts): (KeyGroup, Vec<Batch>)| {
        let rows = batch_bytes::encode(&Batch::concat(&parts[0].schema(), &parts)?)?;
        let mut out = BytesMut::with_capacity(1 + rows.len());
        out.put_u8(VERSION);
        out.put_slice(&rows);
        Ok((group, out.freeze()))
    };
    by_group.into_iter().map(encode).collect()
}

fn groups_of(batch: &Batch, way: &Way, groups: u16) -> Result<Vec<KeyGroup>> {
    match way {
        Way::ByKey(columns) => columns.groups(batch.rows(), groups),
        Way::Forward | Way::ByRow => Ok(batch.ids().iter().map(|id| id.key_group(groups)).collect()),
    }
}

/// What [`freeze`] kept for one key group.
///
/// # Errors
/// `Corrupt`, naming the edge and the key group.
pub fn thaw(edge: &str, group: KeyGroup, bytes: &Bytes) -> Result<Batch> {
    let corrupt = || Error::new(Kind::Corrupt, "read rows on an edge").with("edge", edge).with("key_group", group.0);
    match bytes.first() {
        Some(&VERSION) => batch_bytes::decode(bytes.slice(1..)).map_err(|error| corrupt().source(error)),
        _ => Err(corrupt()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::batch;
    use forebay_core::keys::KeyColumns;

    #[test]
    fn rows_are_kept_by_the_group_their_edge_routes_by_and_in_order() {
        let columns = KeyColumns::new(vec![0], &batch(0..1).schema()).unwrap();
        let way = Way::ByKey(columns.clone());
        let frozen = encode(&[batch(0..50), batch(20..30)], &way, 16).unwrap();
        let mut rows = 0;
        for (group, bytes) in &frozen {
            let back = thaw("e", *group, bytes).unwrap();
            assert!(columns.groups(back.rows(), 16).unwrap().iter().all(|found| found == group));
            rows += back.len();
        }
        assert_eq!(rows, 60);
        assert_eq!(thaw("e", KeyGroup(1), &Bytes::new()).unwrap_err().kind(), Kind::Corrupt);
    }
}
