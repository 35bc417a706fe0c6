//! Values in their order, each with how often it is there.
//!
//! In state one value after the other behind their number, each as [`scalars`](super::scalars) writes it, with its order and its
//! count. Taking back a value that is not there does nothing, as everywhere.

use std::collections::BTreeMap;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;
use forebay_core::Result;

use super::aggregate::wrong;
use super::scalars::{corrupt, number, piece, put, take, take_piece};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Values {
    counts: BTreeMap<Vec<u8>, (ScalarValue, u64)>,
}

// === impl Values ===

impl Values {
    /// Adds the value at `row` of `column`, whose bytes are `order`.
    pub fn add(&mut self, column: &ArrayRef, row: usize, order: &[u8]) -> Result<()> {
        if let Some((_, count)) = self.counts.get_mut(order) {
            *count += 1;
            return Ok(());
        }
        let value = ScalarValue::try_from_array(column, row).map_err(|source| wrong("keep value", source))?;
        self.counts.insert(order.to_vec(), (value, 1));
        Ok(())
    }

    /// Takes one of the values with these bytes back.
    pub fn take_back(&mut self, order: &[u8]) {
        let Some((_, count)) = self.counts.get_mut(order) else { return };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(order);
        }
    }

    /// How many different ones.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// The least.
    pub fn first(&self) -> Option<&ScalarValue> {
        self.counts.first_key_value().map(|(_, (value, _))| value)
    }

    /// The greatest.
    pub fn last(&self) -> Option<&ScalarValue> {
        self.counts.last_key_value().map(|(_, (value, _))| value)
    }

    /// As bytes of state.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut out = (self.counts.len() as u64).to_le_bytes().to_vec();
        for (order, (value, count)) in &self.counts {
            piece(order, &mut out);
            put(value, &mut out)?;
            out.extend_from_slice(&count.to_le_bytes());
        }
        Ok(out)
    }

    /// Those of type `kind` that had this state.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are none.
    pub fn decode(mut bytes: &[u8], kind: &DataType) -> Result<Self> {
        let rest = &mut bytes;
        let mut counts = BTreeMap::new();
        for _ in 0..number(rest)? {
            let order = take_piece(rest)?.to_vec();
            let value = take(rest, kind)?;
            counts.insert(order, (value, number(rest)?));
        }
        if rest.is_empty() { Ok(Self { counts }) } else { Err(corrupt("bytes behind the last value")) }
    }

    /// Roughly the bytes they take.
    pub fn size_bytes(&self) -> usize {
        const ENTRY: usize = size_of::<(Vec<u8>, (ScalarValue, u64))>();
        // Scalars of fixed width are inside the entry; the order of others is about as long as they are.
        self.counts.keys().map(|order| ENTRY + 2 * order.len()).sum()
    }
}
