//! Numbers in JSON text that a type would change: whole numbers with a fraction, decimals with too many digits, floats beyond all.
//!
//! Arrow's JSON reader (58) reads `2.5` as the whole number 2, `1e30` microseconds as the last of all times. What it is given is looked
//! at here first: one pass over the bytes, nothing is built, and no deeper than the type is.

mod fit;

use arrow::datatypes::DataType;

pub use self::fit::why_changed;

/// Whether values of `kind` hold numbers, or times, which are counted.
pub fn has_numbers(kind: &DataType) -> bool {
    use DataType as D;
    match kind {
        D::List(field) | D::LargeList(field) | D::FixedSizeList(field, _) | D::Map(field, _) => {
            has_numbers(field.data_type())
        }
        D::Struct(fields) => fields.iter().any(|field| has_numbers(field.data_type())),
        kind => fit::has_limits(kind),
    }
}

/// Why the first number in `json`, one value of `kind`, that `kind` does not keep is not kept as it is written. Text that is no JSON is
/// for its reader to refuse.
///
/// ```
/// use arrow::datatypes::DataType;
/// use forebay_core::types::numbers::misfit;
///
/// assert_eq!(misfit(b"2.5", &DataType::Int64).as_deref(), Some("2.5 has a fraction, where whole numbers belong"));
/// assert_eq!(misfit(b"2.0", &DataType::Int64), None);
/// assert_eq!(misfit(b"2.5", &DataType::Float64), None);
/// ```
pub fn misfit(json: &[u8], kind: &DataType) -> Option<String> {
    let mut scan = Scan { json, place: 0, found: None };
    scan.value(Some(kind));
    scan.found
}

/// A walk over JSON text; it ends early where the text is none.
struct Scan<'a> {
    json: &'a [u8],
    place: usize,
    found: Option<String>,
}

// === impl Scan ===

impl<'a> Scan<'a> {
    /// Goes past one value, which is of `kind` if that is known; `None` ends the walk.
    fn value(&mut self, kind: Option<&DataType>) -> Option<()> {
        match (self.next()?, kind.filter(|kind| has_numbers(kind))) {
            (b'{', Some(DataType::Struct(fields))) => self.members(|key| {
                let field = fields.iter().find(|field| field.name().as_bytes() == key);
                field.map(|field| field.data_type())
            }),
            (b'{', Some(DataType::Map(entries, _))) => match entries.data_type() {
                DataType::Struct(fields) => self.members(|_| fields.get(1).map(|field| field.data_type())),
                _ => self.skip(),
            },
            (b'[', Some(DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _))) => {
                self.elements(item.data_type())
            }
            (b'-' | b'0'..=b'9', Some(kind)) => self.number(kind),
            (b'"', Some(kind)) if kind.is_decimal() => self.spelled(kind),
            _ => self.skip(),
        }
    }

    fn number(&mut self, kind: &DataType) -> Option<()> {
        let rest = &self.json[self.place..];
        let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.iter().take_while(|byte| is_part(byte)).count();
        self.place += length;
        self.keeps(&rest[..length], kind)
    }

    /// A number in a text, which Arrow reads as well.
    fn spelled(&mut self, kind: &DataType) -> Option<()> {
        let start = self.place + 1;
        self.text()?;
        self.keeps(&self.json[start..self.place - 1], kind)
    }

    fn keeps(&mut self, number: &'a [u8], kind: &DataType) -> Option<()> {
        self.found = why_changed(std::str::from_utf8(number).ok()?, kind);
        self.found.is_none().then_some(())
    }

    /// The members of an object; `kind_of` a key, as it is written. One that is written with escapes matches none.
    fn members<'k>(&mut self, kind_of: impl Fn(&[u8]) -> Option<&'k DataType>) -> Option<()> {
        self.place += 1;
        loop {
            match self.next()? {
                b'}' => break,
                b',' => self.place += 1,
                b'"' => {
                    let start = self.place + 1;
                    self.text()?;
                    let kind = kind_of(&self.json[start..self.place - 1]);
                    if self.next()? != b':' {
                        return None;
                    }
                    self.place += 1;
                    self.value(kind)?;
                }
                _ => return None,
            }
        }
        self.place += 1;
        Some(())
    }

    fn elements(&mut self, item: &DataType) -> Option<()> {
        self.place += 1;
        loop {
            match self.next()? {
                b']' => break,
                b',' => self.place += 1,
                _ => self.value(Some(item))?,
            }
        }
        self.place += 1;
        Some(())
    }

    /// Goes past one value, however deep it is.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.next()? {
                b'"' => self.text()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.place += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.place += 1;
                }
                b',' | b':' => self.place += 1,
                _ => {
                    let is_part = |byte: &&u8| !matches!(byte, b',' | b':' | b'}' | b']' | b'{' | b'[' | b'"');
                    let word =
                        self.json[self.place..].iter().take_while(|byte| is_part(byte) && !byte.is_ascii_whitespace());
                    self.place += word.count();
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Goes past a text, which begins here.
    fn text(&mut self) -> Option<()> {
        self.place += 1;
        loop {
            match self.json.get(self.place)? {
                b'"' => break,
                b'\\' => self.place += 2,
                _ => self.place += 1,
            }
        }
        self.place += 1;
        Some(())
    }

    /// The byte that comes next, white space left out.
    fn next(&mut self) -> Option<u8> {
        while self.json.get(self.place)?.is_ascii_whitespace() {
            self.place += 1;
        }
        self.json.get(self.place).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, TimeUnit};
    use proptest::prelude::*;

    use super::*;

    fn row() -> DataType {
        let list = |kind| DataType::List(Arc::new(Field::new("item", kind, true)));
        let fields = vec![
            Field::new("n", DataType::Int32, true),
            Field::new("x", DataType::Float64, true),
            Field::new("d", DataType::Decimal128(5, 2), true),
            Field::new("all", list(DataType::UInt8), true),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
            Field::new("in", DataType::Struct(vec![Field::new("n", DataType::Int64, true)].into()), true),
        ];
        DataType::Struct(fields.into())
    }

    #[test]
    fn numbers_are_looked_at_by_the_type_of_their_place() {
        let cases: [(&str, Option<&str>); 19] = [
            (r#"{"n": 2.5}"#, Some("2.5")),
            (r#"{"n": 2, "x": 2.5, "other": 0.1}"#, None),
            (r#"{"x": {"n": 1.5}, "n": -1e-1}"#, Some("-1e-1")),
            (r#"{"n": 1e3, "all": [1, 2.0, 3.25]}"#, Some("3.25")),
            (r#"{"in": {"n": 0.5}}"#, Some("0.5")),
            (r#"{"other": {"n": 0.5, "deep": [[{"n": 0.5}]]}, "n": 1}"#, None),
            (r#"{"at": 1.5}"#, Some("1.5")),
            (r#"{"a \"n\": 2.5": "}", "n": 7.5}"#, Some("7.5")),
            (r#"{"n": "2.5"}"#, None),
            (r#"{"n": null, "all": [null, true], "in": []}"#, None),
            (r#"{"n": 1"#, None),
            (r#"{"n" 1.5}"#, None),
            (r#"{"n": 2.5.5}"#, None),
            ("", None),
            ("[]", None),
            (r#"{"n": 12345678901234567890.5}"#, Some("12345678901234567890.5")),
            (r#"{"x": 1e400}"#, Some("1e400")),
            (r#"{"d": "1.239"}"#, Some("1.239")),
            (r#"{"d": 1.23}"#, None),
        ];
        for (json, found) in cases {
            let why = misfit(json.as_bytes(), &row());
            assert_eq!(why.as_deref().and_then(|why| why.split(' ').next()), found, "{json}");
        }
    }

    #[test]
    fn only_types_with_numbers_are_looked_at() {
        assert!(has_numbers(&row()));
        for kind in [DataType::Utf8, DataType::Binary, DataType::Boolean] {
            assert!(!has_numbers(&kind), "{kind}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            misfit(&bytes, &row());
        }

        #[test]
        fn any_brackets_come_to_an_end(text in r#"[\[\]\{\}",:n0-9.eE\\ -]{0,200}"#) {
            misfit(text.as_bytes(), &row());
        }
    }
}
