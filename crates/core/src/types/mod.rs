//! Multimodal column types: Arrow types with an extension name in the field's metadata.
//!
//! | type | Arrow storage | extension name |
//! |---|---|---|
//! | tensor, fixed shape | `FixedSizeList<value>` of the product of the shape, row-major | `arrow.fixed_shape_tensor` (canonical) |
//! | embedding | the same with one dimension | `arrow.fixed_shape_tensor` |
//! | image, encoded | `Binary`: the file's bytes (PNG, JPEG, WebP, GIF, BMP) | `forebay.image` |
//! | object reference | `Struct<location: Utf8, version: Utf8, size_bytes: UInt64>` | `forebay.object_ref` |
//!
//! A decoded image is a tensor of shape `[height, width, channels]`.

pub mod dtype;
pub mod numbers;
pub mod tensor;

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, Fields};

/// Metadata key of the extension name, as the Arrow format defines it.
pub const EXTENSION_NAME: &str = "ARROW:extension:name";
/// Metadata key of the extension's own metadata.
pub const EXTENSION_METADATA: &str = "ARROW:extension:metadata";
/// Extension name of encoded images.
pub const IMAGE: &str = "forebay.image";
/// Extension name of object references.
pub const OBJECT_REF: &str = "forebay.object_ref";

/// A column of encoded images.
pub fn image_field(name: &str, nullable: bool) -> Field {
    named(Field::new(name, DataType::Binary, nullable), IMAGE, "")
}

/// A column of object references: where a payload lies, in which version, and its length in bytes.
pub fn object_ref_field(name: &str, nullable: bool) -> Field {
    let parts = Fields::from(vec![
        Field::new("location", DataType::Utf8, false),
        Field::new("version", DataType::Utf8, false),
        Field::new("size_bytes", DataType::UInt64, false),
    ]);
    named(Field::new(name, DataType::Struct(parts), nullable), OBJECT_REF, "")
}

/// The extension name of `field`, if it has one.
pub fn extension_name(field: &Field) -> Option<&str> {
    field.metadata().get(EXTENSION_NAME).map(String::as_str)
}

fn named(field: Field, name: &str, metadata: &str) -> Field {
    field.with_metadata(HashMap::from([
        (EXTENSION_NAME.to_string(), name.to_string()),
        (EXTENSION_METADATA.to_string(), metadata.to_string()),
    ]))
}
