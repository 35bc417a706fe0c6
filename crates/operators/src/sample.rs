//! Keeps a part of the rows, chosen by the hash of their ids: the same rows in every attempt and at every parallelism.
//!
//! A row stays or goes by itself, so a sample has about the asked share of the rows, not exactly. The same file read from
//! another place, or changed, has other ids and so another sample.

use arrow::array::BooleanArray;
use forebay_core::hash::hash64_parts;
use forebay_core::operator::Context;
use forebay_core::{Batch, Result};

use crate::stateless::{Applied, Transform};

/// Keeps the rows whose id hashes to `hash_max` or less.
#[derive(Debug)]
pub struct Sample {
    hash_max: u64,
    seed: u64,
    bug: Option<SampleBug>,
}

/// Mistakes that tests plant to see that their checks find them. Never set in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleBug {
    /// A row is chosen by its place in its batch.
    ByPlace,
}

// === impl Sample ===

impl Sample {
    /// Another `seed` chooses other rows.
    pub fn new(hash_max: u64, seed: u64) -> Self {
        Self { hash_max, seed, bug: None }
    }

    /// The same with a planted bug.
    #[doc(hidden)]
    #[must_use]
    pub fn with_bug(self, bug: Option<SampleBug>) -> Self {
        Self { bug, ..self }
    }
}

impl Transform for Sample {
    fn apply(&mut self, batch: Batch, _context: &Context) -> Result<Applied> {
        let seed = self.seed.to_be_bytes();
        let stays = |id: &forebay_core::RowId| hash64_parts(&[&seed, &id.to_bytes()]) <= self.hash_max;
        let keep: BooleanArray = match self.bug {
            None => batch.ids().iter().map(|id| Some(stays(id))).collect(),
            Some(SampleBug::ByPlace) => {
                let stays = |place: usize| hash64_parts(&[&seed, &place.to_le_bytes()]) <= self.hash_max;
                (0..batch.len()).map(|place| Some(stays(place))).collect()
            }
        };
        Ok(Applied { batch: Some(batch.filter(&keep)?), ..Applied::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use forebay_core::RowId;
    use forebay_core::row::SplitId;
    use forebay_core::testing::ManualEnv;
    use std::sync::Arc;

    fn kept(hash_max: u64, seed: u64, rows: std::ops::Range<u64>) -> Vec<u64> {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| row as i64)));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let ids: Vec<RowId> = rows.map(|row| RowId::new(SplitId(7), row)).collect();
        let context = crate::tests::context(&ManualEnv::new(1));
        let applied = Sample::new(hash_max, seed).apply(Batch::new(batch, ids).unwrap(), &context).unwrap();
        applied.batch.unwrap().ids().iter().map(|id| id.ordinal).collect()
    }

    #[test]
    fn a_row_stays_or_goes_whatever_stands_beside_it() {
        let all = kept(u64::MAX / 10, 1, 0..10_000);
        assert!((900..1100).contains(&all.len()), "about a tenth of 10000: {}", all.len());
        let parts = [0..1, 1..77, 77..10_000].map(|part| kept(u64::MAX / 10, 1, part)).concat();
        assert_eq!(parts, all);
        assert_eq!(kept(u64::MAX, 1, 0..100).len(), 100);
    }

    #[test]
    fn seeds_choose_independently() {
        let (first, second) = (kept(u64::MAX / 2, 1, 0..10_000), kept(u64::MAX / 2, 2, 0..10_000));
        let both = first.iter().filter(|row| second.contains(row)).count();
        assert!((2300..2700).contains(&both), "about a quarter is in both: {both}");
    }
}
