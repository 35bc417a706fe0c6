//! What a server tells about a model, as a signature.

use forebay_core::{Error, Kind, Result};

use super::datatype::value_of;
use crate::hosts::{Signature, Slot};

/// One tensor as a server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorMetadata {
    pub(super) name: String,
    pub(super) datatype: String,
    pub(super) shape: Vec<i64>,
}

/// What was told of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) inputs: Vec<TensorMetadata>,
    pub(super) outputs: Vec<TensorMetadata>,
}

/// A signature and how many rows a request of it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) signature: Signature,
    pub(super) rows_max: usize,
}

// === impl Metadata ===

impl Metadata {
    /// The signature, with `inputs` and `outputs` of the settings in place of what was told where they are given.
    ///
    /// # Errors
    /// `Invalid` if a tensor's type is not taken, its first axis is no row axis, or nothing is known of inputs or outputs.
    pub(super) fn shape(&self, inputs: &[Slot], outputs: &[Slot]) -> Result<Shape> {
        let told = |own: &[Slot], told: &[TensorMetadata]| {
            if own.is_empty() { told.iter().map(slot_of).collect::<Result<Vec<_>>>() } else { Ok(own.to_vec()) }
        };
        let signature = Signature { inputs: told(inputs, &self.inputs)?, outputs: told(outputs, &self.outputs)? };
        for (what, slots) in [("inputs", &signature.inputs), ("outputs", &signature.outputs)] {
            if slots.is_empty() {
                let error = Error::new(Kind::Invalid, "read metadata of model").with("missing", what);
                return Err(error.source("the server tells none: list them in the model's settings"));
            }
        }
        let one_row = |tensor: &TensorMetadata| tensor.shape.first() == Some(&1);
        let rows_max = if self.inputs.iter().any(one_row) { 1 } else { usize::MAX };
        Ok(Shape { signature, rows_max })
    }
}

fn slot_of(tensor: &TensorMetadata) -> Result<Slot> {
    let error = || {
        Error::new(Kind::Invalid, "read metadata of model")
            .with("tensor", &tensor.name)
            .with("datatype", &tensor.datatype)
            .with("shape", format!("{:?}", tensor.shape))
    };
    let value = value_of(&tensor.datatype).ok_or_else(|| error().source("this value type is not taken"))?;
    match tensor.shape.split_first() {
        Some((-1 | 1, axes)) => {
            let axis = |axis: &i64| match usize::try_from(*axis) {
                Ok(length) => Ok(Some(length)),
                Err(_) if *axis == -1 => Ok(None),
                Err(_) => Err(error().source("an axis is -1 or its length")),
            };
            Ok(Slot { name: tensor.name.clone(), value, shape: axes.iter().map(axis).collect::<Result<_>>()? })
        }
        _ => Err(error().source("the first axis has to be the rows: -1, or 1 for one row a request")),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;

    fn tensor(datatype: &str, shape: &[i64]) -> TensorMetadata {
        TensorMetadata { name: "x".into(), datatype: datatype.into(), shape: shape.to_vec() }
    }

    fn read(datatype: &str, shape: &[i64]) -> Result<Shape> {
        let outputs = vec![tensor("FP32", &[-1])];
        Metadata { inputs: vec![tensor(datatype, shape)], outputs }.shape(&[], &[])
    }

    #[test]
    fn the_first_axis_is_the_rows() {
        let shape = read("UINT8", &[-1, 3, -1]).unwrap();
        let slot = Slot { name: "x".into(), value: DataType::UInt8, shape: vec![Some(3), None] };
        assert_eq!((&shape.signature.inputs[..], shape.rows_max), (&[slot][..], usize::MAX));
        assert_eq!(read("FP32", &[1, 4]).unwrap().rows_max, 1);
    }

    #[test]
    fn what_cannot_be_a_column_is_refused() {
        let why = |datatype: &str, shape: &[i64]| read(datatype, shape).unwrap_err().chain();
        assert!(why("BF16", &[-1]).ends_with("this value type is not taken"));
        assert!(why("FP32", &[]).contains("first axis has to be the rows"));
        assert!(why("FP32", &[4, 4]).contains("first axis has to be the rows"));
        assert!(why("FP32", &[-1, -7]).contains("an axis is -1 or its length"));
        let silent = Metadata::default().shape(&[], &[]).unwrap_err();
        assert!(silent.chain().contains("list them in the model's settings"));
    }
}
