//! What a model takes and gives: named tensors with their value types and shapes.
//!
//! Pure data. Hosts read it out of a model file; the planner checks the columns of a job against it before anything
//! runs.

use std::fmt;

use arrow::datatypes::DataType;

/// The value type of an input that takes a column of every type, and looks at it when rows come.
pub const ANY: DataType = DataType::Null;

/// One named input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelField {
    /// Its name in the model file.
    pub name: String,
    /// Type of its values: a primitive Arrow type, `Utf8` for text, or `Binary` for bytes; of an
    /// input also [`ANY`].
    pub value: DataType,
    /// Its axes, outermost first. The first is the row axis and is `None`; another `None` is an axis that may have any
    /// length.
    pub shape: Vec<Option<usize>>,
}

/// The inputs and outputs of a model, in the model's order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ModelSignature {
    /// Everything that must be given.
    pub inputs: Vec<ModelField>,
    /// Everything that can be taken.
    pub outputs: Vec<ModelField>,
}

// === impl ModelField ===

impl ModelField {
    /// A field whose first axis is the rows and whose other axes are `row_shape`.
    pub fn new(name: impl Into<String>, value: DataType, row_shape: &[Option<usize>]) -> Self {
        let shape = std::iter::once(None).chain(row_shape.iter().copied()).collect();
        Self { name: name.into(), value, shape }
    }

    /// The axes of one row: the shape without the row axis.
    pub fn row_shape(&self) -> &[Option<usize>] {
        self.shape.get(1..).unwrap_or_default()
    }

    /// True if the first axis is there and takes any number of rows.
    pub fn has_row_axis(&self) -> bool {
        self.shape.first() == Some(&None)
    }
}

impl fmt::Display for ModelField {
    /// `Float32 [rows, 64]`; axes of any length show as `?`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes: Vec<String> = self.shape.iter().enumerate().map(|(place, axis)| axis_text(place, *axis)).collect();
        if self.value == ANY {
            return f.write_str("any");
        }
        write!(f, "{} [{}]", self.value, axes.join(", "))
    }
}

fn axis_text(place: usize, axis: Option<usize>) -> String {
    match (place, axis) {
        (_, Some(length)) => length.to_string(),
        (0, None) => "rows".to_string(),
        (_, None) => "?".to_string(),
    }
}

// === impl ModelSignature ===

impl ModelSignature {
    /// The input called `name`.
    pub fn input(&self, name: &str) -> Option<&ModelField> {
        self.inputs.iter().find(|field| field.name == name)
    }

    /// The output called `name`.
    pub fn output(&self, name: &str) -> Option<&ModelField> {
        self.outputs.iter().find(|field| field.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_row_axis_and_free_axes_by_name() {
        let field = ModelField::new("pixels", DataType::Float32, &[Some(8), None]);
        assert_eq!(field.to_string(), "Float32 [rows, 8, ?]");
        assert_eq!(field.row_shape(), [Some(8), None]);
        assert!(field.has_row_axis());
    }
}
