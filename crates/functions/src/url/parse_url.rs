//! `parse_url`: the parts of a URL, as browsers read it (the WHATWG standard).
//!
//! The password is the one part that is left out: a column of parts is read by more people than the one who needs it.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Builder, StringBuilder, StructArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use forebay_core::function::{Argument, BoundFunction, Evaluated, RowFunction};
use forebay_core::{Error, Kind, Result};
use url::Url;

use crate::arguments::Arguments;

/// `parse_url(text)`; see its reference page.
#[derive(Debug)]
pub struct ParseUrl;

#[derive(Debug)]
struct Bound {
    output: FieldRef,
    parts: Fields,
}

/// The columns of the result while they grow.
#[derive(Default)]
struct Parts {
    scheme: StringBuilder,
    username: StringBuilder,
    host: StringBuilder,
    port: Int32Builder,
    path: StringBuilder,
    query: StringBuilder,
    fragment: StringBuilder,
    valid: Vec<bool>,
}

// === impl ParseUrl ===

impl RowFunction for ParseUrl {
    fn name(&self) -> &'static str {
        "parse_url"
    }

    fn usage(&self) -> &'static str {
        "parse_url(text)"
    }

    fn bind(&self, arguments: &[Argument]) -> Result<Arc<dyn BoundFunction>> {
        let read = Arguments::new(self, arguments, 1..=1)?;
        let is_text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        match arguments.first() {
            Some(Argument::Column(field)) if is_text(field.data_type()) => {}
            _ => return Err(read.refuse(0, "text", "a column of text")),
        }
        let part = |name: &str| match name {
            "port" => Field::new(name, DataType::Int32, true),
            _ => Field::new(name, DataType::Utf8, true),
        };
        let names = ["scheme", "username", "host", "port", "path", "query", "fragment"];
        let parts: Fields = names.map(part).to_vec().into();
        let output = Arc::new(Field::new(self.name(), DataType::Struct(parts.clone()), true));
        Ok(Arc::new(Bound { output, parts }))
    }
}

// === impl Bound ===

impl BoundFunction for Bound {
    fn output(&self) -> FieldRef {
        Arc::clone(&self.output)
    }

    fn evaluate(&self, columns: &[ArrayRef], _rows: usize) -> Result<Evaluated> {
        let [text] = columns else { return Err(internal().with("columns", columns.len())) };
        let text = cast(text, &DataType::LargeUtf8).map_err(|source| internal().source(source))?;
        let (mut parts, mut errors) = (Parts::default(), Vec::new());
        for (place, text) in text.as_string::<i64>().iter().enumerate() {
            match text.map(Url::parse).transpose() {
                Ok(url) => parts.push(url.as_ref()),
                Err(reason) => {
                    parts.push(None);
                    errors.push((place, Error::new(Kind::Data, "parse URL").with("reason", reason)));
                }
            }
        }
        Ok(Evaluated { column: parts.finish(&self.parts)?, errors })
    }
}

// === impl Parts ===

impl Parts {
    fn push(&mut self, url: Option<&Url>) {
        self.valid.push(url.is_some());
        self.scheme.append_option(url.map(Url::scheme));
        self.username.append_option(url.map(Url::username).filter(|name| !name.is_empty()));
        self.host.append_option(url.and_then(Url::host_str));
        self.port.append_option(url.and_then(Url::port_or_known_default).map(i32::from));
        self.path.append_option(url.map(Url::path));
        self.query.append_option(url.and_then(Url::query));
        self.fragment.append_option(url.and_then(Url::fragment));
    }

    fn finish(mut self, fields: &Fields) -> Result<ArrayRef> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.scheme.finish()),
            Arc::new(self.username.finish()),
            Arc::new(self.host.finish()),
            Arc::new(self.port.finish()),
            Arc::new(self.path.finish()),
            Arc::new(self.query.finish()),
            Arc::new(self.fragment.finish()),
        ];
        let parts = StructArray::try_new_with_length(
            fields.clone(),
            columns,
            Some(NullBuffer::from(self.valid.clone())),
            self.valid.len(),
        );
        parts.map(|parts| Arc::new(parts) as ArrayRef).map_err(|source| internal().source(source))
    }
}

fn internal() -> Error {
    Error::new(Kind::Internal, "evaluate parse_url")
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, StringArray, StringViewArray};
    use arrow::util::display::array_value_to_string;

    use super::*;

    fn evaluated(text: ArrayRef) -> Evaluated {
        let field = Arc::new(Field::new("text", text.data_type().clone(), true));
        let rows = text.len();
        ParseUrl.bind(&[Argument::Column(field)]).unwrap().evaluate(&[text], rows).unwrap()
    }

    /// The parts of one URL in order, nulls left empty.
    fn parts(text: &str) -> Option<String> {
        let Evaluated { column, errors } = evaluated(Arc::new(StringArray::from(vec![text])));
        let shown = |part: &ArrayRef| array_value_to_string(part, 0).unwrap();
        let row = column.as_struct().columns().iter().map(shown).collect::<Vec<_>>().join(" | ");
        errors.is_empty().then_some(row)
    }

    #[test]
    fn urls_are_taken_apart_as_browsers_read_them() {
        let case = |text: &str, expected: &str| assert_eq!(parts(text).as_deref(), Some(expected), "{text}");
        case("https://Example.COM/a/../b?q=1&r#top", "https |  | example.com | 443 | /b | q=1&r | top");
        case("http://user:pass@host:8080", "http | user | host | 8080 | / |  | ");
        case("http://[2001:DB8::1]:80/?", "http |  | [2001:db8::1] | 80 | / |  | ");
        case("http://0x7f.1/", "http |  | 127.0.0.1 | 80 | / |  | ");
        case("https://bücher.example/ü", "https |  | xn--bcher-kva.example | 443 | /%C3%BC |  | ");
        case("s3://bucket/key", "s3 |  | bucket |  | /key |  | ");
        case("file:///etc/hosts", "file |  |  |  | /etc/hosts |  | ");
        case("mailto:a@b.example", "mailto |  |  |  | a@b.example |  | ");
    }

    #[test]
    fn what_is_no_url_is_an_error_of_its_row_and_a_null_stays_null() {
        let texts = [Some("http://a/"), None, Some("no url"), Some(""), Some("http://a:99999"), Some("http://b/")];
        for text in [
            Arc::new(StringArray::from(texts.to_vec())) as ArrayRef,
            Arc::new(StringViewArray::from(texts.to_vec())) as ArrayRef,
        ] {
            let Evaluated { column, errors } = evaluated(text);
            let failed: Vec<(usize, Kind)> = errors.iter().map(|(place, error)| (*place, error.kind())).collect();
            assert_eq!(failed, [(2, Kind::Data), (3, Kind::Data), (4, Kind::Data)]);
            let nulls: Vec<bool> = (0..column.len()).map(|place| column.is_null(place)).collect();
            assert_eq!(nulls, [false, true, true, true, true, false]);
        }
        assert_eq!(evaluated(Arc::new(StringArray::from(Vec::<&str>::new()))).column.len(), 0);
    }

    #[test]
    fn other_arguments_are_refused() {
        let number = Argument::Column(Arc::new(Field::new("n", DataType::Int64, true)));
        for arguments in [vec![], vec![number], vec![Argument::Text("http://a".into())]] {
            assert_eq!(ParseUrl.bind(&arguments).unwrap_err().kind(), Kind::Invalid);
        }
    }
}
