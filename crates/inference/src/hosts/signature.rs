//! What a model takes and gives, and the check of columns against it at plan time.
//!
//! Shapes are those of one row: the row axis, first in every batch, is left out. An axis of any length is `None`.

use std::collections::BTreeMap;
use std::fmt;

use arrow::datatypes::{DataType, Field};
use forebay_core::types::tensor::TensorType;
use forebay_core::{Error, Kind, Result};
use serde::{Deserialize, Serialize};

pub use forebay_core::model::ANY;

/// One input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Its name in the model.
    pub name: String,
    /// Type of its values: a primitive, `Utf8` or `Binary`; of an input also [`ANY`].
    #[serde(with = "value_name")]
    pub value: DataType,
    /// Lengths of the axes of one row, outermost first; `None` takes any length. Empty for one value a row.
    pub shape: Vec<Option<usize>>,
}

/// Every input and output of a model, in the model's order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// What it takes.
    pub inputs: Vec<Slot>,
    /// What it gives.
    pub outputs: Vec<Slot>,
}

// === impl Slot ===

impl Slot {
    /// A slot of one `value` a row.
    pub fn scalar(name: &str, value: DataType) -> Self {
        Self { name: name.to_string(), value, shape: Vec::new() }
    }

    /// The column of this slot: a primitive for one value a row, else a fixed-shape tensor.
    ///
    /// # Errors
    /// `Invalid` if an axis has no fixed length, so that no column type can be stated before the model has run.
    pub fn field(&self) -> Result<Field> {
        let shape: Option<Vec<usize>> = self.shape.iter().copied().collect();
        match shape {
            Some(shape) if shape.is_empty() => Ok(Field::new(&self.name, self.value.clone(), false)),
            Some(shape) => Ok(TensorType::new(self.value.clone(), shape).field(&self.name, false)),
            None => Err(Error::new(Kind::Invalid, "type model output")
                .with("output", &self.name)
                .with("shape", self)
                .source("an axis has no fixed length; export the model with fixed axes, apart from the first")),
        }
    }

    /// True if a column typed as `given` fits. One value a row fits a shape of `[1]` as well.
    fn takes(&self, given: &Slot) -> bool {
        if self.value == ANY {
            return true;
        }
        let scalar_as_vector = given.shape.is_empty() && matches!(self.shape[..], [None | Some(1)]);
        let same_axes = self.shape.len() == given.shape.len()
            && self.shape.iter().zip(&given.shape).all(|(own, other)| own.is_none() || own == other);
        self.value == given.value && (same_axes || scalar_as_vector)
    }

    fn of(field: &Field) -> Self {
        match TensorType::of(field) {
            Some(TensorType { value, shape }) => {
                Self { name: field.name().clone(), value, shape: shape.into_iter().map(Some).collect() }
            }
            None => Self::scalar(field.name(), field.data_type().clone()),
        }
    }
}

/// Type and shape as errors and plans show them: `float32[rows, 3, ?]`.
impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match value_name::name_of(&self.value) {
            Some(name) => write!(f, "{name}[rows")?,
            None => write!(f, "{}[rows", self.value)?,
        }
        for axis in &self.shape {
            match axis {
                Some(length) => write!(f, ", {length}")?,
                None => write!(f, ", ?")?,
            }
        }
        f.write_str("]")
    }
}

// === impl Signature ===

impl Signature {
    /// Checks that `inputs`, by name of the model's input, are all that the model takes, in type and shape.
    ///
    /// # Errors
    /// `Invalid`, naming the input, what is expected and what was given.
    pub fn check(&self, inputs: &BTreeMap<String, Field>) -> Result<()> {
        for slot in &self.inputs {
            let error = || {
                Error::new(Kind::Invalid, "match column to model input")
                    .with("input", &slot.name)
                    .with("expected", slot)
            };
            let Some(field) = inputs.get(&slot.name) else {
                return Err(error().with("given", "nothing"));
            };
            let given = Slot::of(field);
            if !slot.takes(&given) {
                return Err(error().with("given", &given).with("column", field.name()));
            }
        }
        match inputs.keys().find(|name| !self.inputs.iter().any(|slot| slot.name == **name)) {
            None => Ok(()),
            Some(unknown) => {
                let names: Vec<&str> = self.inputs.iter().map(|slot| slot.name.as_str()).collect();
                Err(Error::new(Kind::Invalid, "match column to model input")
                    .with("input", unknown)
                    .source(format!("the model has no such input; it takes {}", names.join(", "))))
            }
        }
    }

    /// The columns that the model gives, in its order.
    ///
    /// # Errors
    /// See [`Slot::field`].
    pub fn output_fields(&self) -> Result<Vec<Field>> {
        self.outputs.iter().map(Slot::field).collect()
    }
}

/// Value types by the names that ONNX and NumPy users know; also the wire form.
mod value_name {
    use arrow::datatypes::DataType;
    use forebay_core::types::dtype;
    use serde::{Deserialize, Deserializer, Serializer, de, ser};

    /// What a model takes and gives beside the values of tensors.
    const OTHERS: [(&str, DataType); 3] =
        [("string", DataType::Utf8), ("binary", DataType::Binary), ("any", super::ANY)];

    pub fn name_of(value: &DataType) -> Option<&'static str> {
        let other = || OTHERS.iter().find(|(_, known)| known == value).map(|(name, _)| *name);
        dtype::name_of(value).or_else(other)
    }

    fn named(name: &str) -> Option<DataType> {
        let other = || OTHERS.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        dtype::named(name).or_else(other)
    }

    pub fn serialize<S: Serializer>(value: &DataType, serializer: S) -> Result<S::Ok, S::Error> {
        let name = name_of(value).ok_or_else(|| ser::Error::custom(format!("{value} is no value type of models")))?;
        serializer.serialize_str(name)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DataType, D::Error> {
        let text = String::deserialize(deserializer)?;
        named(&text).ok_or_else(|| de::Error::custom(format!("unknown value type {text}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image_model() -> Signature {
        let input = Slot { name: "pixels".into(), value: DataType::Float32, shape: vec![Some(3), Some(8), None] };
        Signature { inputs: vec![input], outputs: vec![Slot::scalar("label", DataType::Int64)] }
    }

    fn checked(name: &str, field: Field) -> Result<(), String> {
        image_model().check(&BTreeMap::from([(name.to_string(), field)])).map_err(|error| error.chain())
    }

    #[test]
    fn shapes_and_types_are_compared_axis_by_axis() {
        let tensor = |value, shape: &[usize]| TensorType::new(value, shape).field("image", false);
        assert_eq!(checked("pixels", tensor(DataType::Float32, &[3, 8, 8])), Ok(()));
        assert_eq!(
            checked("pixels", tensor(DataType::Float32, &[8, 8, 3])).unwrap_err(),
            "match column to model input (input=pixels, expected=float32[rows, 3, 8, ?], \
             given=float32[rows, 8, 8, 3], column=image)"
        );
        assert_eq!(
            checked("pixels", tensor(DataType::UInt8, &[3, 8, 8])).unwrap_err(),
            "match column to model input (input=pixels, expected=float32[rows, 3, 8, ?], \
             given=uint8[rows, 3, 8, 8], column=image)"
        );
    }

    #[test]
    fn bytes_have_a_name_on_the_wire() {
        let slot = Slot::scalar("image", DataType::Binary);
        let text = serde_json::to_string(&slot).unwrap();
        assert_eq!(text, r#"{"name":"image","value":"binary","shape":[]}"#);
        assert_eq!(serde_json::from_str::<Slot>(&text).unwrap(), slot);
    }

    #[test]
    fn a_missing_or_unknown_input_is_named() {
        assert_eq!(
            image_model().check(&BTreeMap::new()).unwrap_err().to_string(),
            "match column to model input (input=pixels, expected=float32[rows, 3, 8, ?], given=nothing)"
        );
        let good = TensorType::new(DataType::Float32, [3, 8, 8]).field("image", false);
        let inputs = BTreeMap::from([("pixels".to_string(), good.clone()), ("size".to_string(), good)]);
        assert_eq!(
            image_model().check(&inputs).unwrap_err().chain(),
            "match column to model input (input=size): the model has no such input; it takes pixels"
        );
    }

    #[test]
    fn one_value_a_row_fits_a_vector_of_one() {
        let slot = Slot { name: "x".into(), value: DataType::Float32, shape: vec![Some(1)] };
        let signature = Signature { inputs: vec![slot], outputs: Vec::new() };
        let column = Field::new("price", DataType::Float32, true);
        assert!(signature.check(&BTreeMap::from([("x".to_string(), column)])).is_ok());
    }

    #[test]
    fn an_output_without_fixed_shape_has_no_column_type() {
        let slot = Slot { name: "boxes".into(), value: DataType::Float32, shape: vec![None, Some(4)] };
        assert!(slot.field().unwrap_err().chain().contains("shape=float32[rows, ?, 4]"));
    }
}
