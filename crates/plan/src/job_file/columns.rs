//! Columns that a job file declares: a list of `NAME TYPE`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use toml::Spanned;

use super::JobFileError;
use super::check::Checker;
use crate::spec::SourceFormat;

type Result<T> = std::result::Result<T, JobFileError>;

/// The columns of the source `uid`, in the order in which they are written; every one may be null.
pub(super) fn schema(
    checker: &Checker,
    format: SourceFormat,
    uid: &Spanned<String>,
    columns: &[Spanned<String>],
) -> Result<SchemaRef> {
    let Some(first) = columns.first() else {
        return Err(checker
            .error(uid.span(), "schema has no columns")
            .with_help("for example [\"id Int64\", \"text Utf8\"]"));
    };
    if matches!(format, SourceFormat::Images | SourceFormat::Nexmark) {
        return Err(checker.error(first.span(), format!("a source of format {format} has columns of its own")));
    }
    let mut fields: Vec<Field> = Vec::new();
    for column in columns {
        let field = field(checker, column)?;
        if fields.iter().any(|other| other.name() == field.name()) {
            return Err(checker.error(column.span(), format!("there are two columns \"{}\"", field.name())));
        }
        fields.push(field);
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// A name, in double quotes if it has a space or such a quote, which is doubled then, and a type.
fn field(checker: &Checker, column: &Spanned<String>) -> Result<Field> {
    let text = column.get_ref().trim();
    let parts = match text.strip_prefix('"') {
        Some(rest) => quoted(rest),
        None => text.split_once(char::is_whitespace).map(|(name, kind)| (name.to_string(), kind)),
    };
    let Some((name, kind)) = parts.filter(|(name, kind)| !name.is_empty() && !kind.trim().is_empty()) else {
        let error = checker.error(column.span(), format!("\"{text}\" is no column"));
        return Err(
            error.with_help("a name and a type, for example \"id Int64\"; a name with a space stands in double quotes")
        );
    };
    let kind: DataType = kind.trim().parse().map_err(|_| {
        let error = checker.error(column.span(), format!("\"{}\" is no type", kind.trim()));
        error.with_help(
            "for example Int64, Float64, Utf8, Boolean, Binary, Date32, Timestamp(Microsecond, None), List(Utf8), \
             Struct(\"a\": Int64)",
        )
    })?;
    Ok(Field::new(name, kind, true))
}

/// The name up to the quote that ends it, and what is behind that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut from = 0;
    loop {
        let end = from + text[from..].find('"')?;
        match text[end + 1..].strip_prefix('"') {
            Some(_) => from = end + 2,
            None => return Some((text[..end].replace("\"\"", "\""), &text[end + 1..])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_name_ends_at_the_first_single_quote() {
        for (text, expected) in [
            ("a b\" Utf8", Some(("a b", " Utf8"))),
            ("a \"\"b\"\"\" Utf8", Some(("a \"b\"", " Utf8"))),
            ("\"\"\" Utf8", Some(("\"", " Utf8"))),
            ("a\"\" Utf8", None),
            ("a", None),
        ] {
            let expected = expected.map(|(name, rest): (&str, &str)| (name.to_string(), rest));
            assert_eq!(quoted(text), expected, "{text}");
        }
    }
}
