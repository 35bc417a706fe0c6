//! JSON as it was written: what becomes text keeps the digits and the letters that came.
//!
//! A number that is read is one of 64 bits, so its text is not its own any more: `1.10` is 1.1 and an integer of 23 digits
//! loses seven. Here values are found in the text itself. All of it takes text that a reader found to be JSON; other text
//! gives other values, and no panic.

use std::iter::from_fn;

use arrow::datatypes::DataType;
use serde_json::{Map, Value};

/// What may stand between two values.
const BETWEEN: [char; 6] = [' ', '\t', '\n', '\r', ',', ':'];

/// The value of `text` for a column of `wanted` with `axes` axes a row: where that is text, what is no string is the text of
/// its JSON, without the blanks between its parts; all else is read as usual.
///
/// # Errors
/// `text` is no JSON.
pub fn written(text: &str, wanted: &DataType, axes: usize) -> serde_json::Result<Value> {
    let text = text.trim_matches(BETWEEN);
    match (wanted, axes, text.as_bytes().first()) {
        (_, 1.., Some(b'[')) => parts(text).map(|item| written(item, wanted, axes - 1)).collect(),
        (DataType::List(item), 0, Some(b'[')) => parts(text).map(|part| written(part, item.data_type(), 0)).collect(),
        (DataType::Struct(fields), 0, Some(b'{')) => {
            let mut object = Map::new();
            for (name, value) in entries(text) {
                let kind = fields.find(&name).map_or(&DataType::Null, |(_, field)| field.data_type());
                object.insert(name, written(value, kind, 0)?);
            }
            Ok(Value::Object(object))
        }
        (DataType::Utf8, 0, Some(first)) if *first != b'"' && text != "null" => Ok(Value::String(without_blanks(text))),
        _ => serde_json::from_str(text),
    }
}

/// The text of the value at `pointer` (RFC 6901) in `text`; of two entries with one name the last, as readers take it.
pub fn at<'a>(text: &'a str, pointer: &str) -> Option<&'a str> {
    let mut found = text.trim_matches(BETWEEN);
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        found = match found.as_bytes().first()? {
            b'{' => entries(found).filter(|(name, _)| *name == token).last()?.1,
            b'[' => parts(found).nth(token.parse().ok()?)?,
            _ => return None,
        };
    }
    Some(found)
}

/// The texts of the items of an array; of an object names and values in turn.
pub fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text.get(1..).unwrap_or_default();
    from_fn(move || {
        rest = rest.trim_start_matches(BETWEEN);
        let (part, after) = rest.split_at_checked(length(rest)).filter(|(part, _)| !part.is_empty())?;
        rest = after;
        Some(part)
    })
}

fn entries(text: &str) -> impl Iterator<Item = (String, &str)> {
    let mut parts = parts(text);
    from_fn(move || Some((serde_json::from_str(parts.next()?).ok()?, parts.next()?)))
}

/// Bytes of the value with which `text` begins; none before the end of what holds it.
fn length(text: &str) -> usize {
    let (mut depth, mut strings) = (0_usize, Strings::default());
    for (place, byte) in text.bytes().enumerate() {
        let was_inside = strings.inside;
        if strings.holds(byte) {
            if was_inside && !strings.inside && depth == 0 {
                return place + 1;
            }
            continue;
        }
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return place,
            b'}' | b']' if depth == 1 => return place + 1,
            b'}' | b']' => depth -= 1,
            _ if depth == 0 && BETWEEN.contains(&char::from(byte)) => return place,
            _ => {}
        }
    }
    text.len()
}

fn without_blanks(text: &str) -> String {
    let mut strings = Strings::default();
    let kept = text.chars().filter(|letter| {
        let byte = u8::try_from(*letter).unwrap_or(b'x');
        strings.holds(byte) || !letter.is_ascii_whitespace()
    });
    kept.collect()
}

/// Which bytes of JSON belong to strings.
#[derive(Debug, Default)]
struct Strings {
    inside: bool,
    escaped: bool,
}

// === impl Strings ===

impl Strings {
    /// True if `byte`, the next one, belongs to a string, its quotes included.
    fn holds(&mut self, byte: u8) -> bool {
        let was_inside = self.inside;
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.inside => self.escaped = true,
            b'"' => self.inside = !self.inside,
            _ => {}
        }
        was_inside || self.inside
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Fields};
    use serde_json::json;

    use super::*;

    fn text(of: &str) -> Value {
        written(of, &DataType::Utf8, 0).unwrap()
    }

    #[test]
    fn what_becomes_text_keeps_its_digits_and_letters() {
        for same in
            ["12345678901234567890123", "1.10", "-0", "1E2", "true", "[1,2.50,{\"a b\":[]}]", "{\"a\":1,\"a\":2}"]
        {
            assert_eq!(text(same), json!(same));
        }
        assert_eq!(text(" { \"a, b\" : [ 1.0 ,\n \"x \\\" ] y\" ] } "), json!("{\"a, b\":[1.0,\"x \\\" ] y\"]}"));
        assert_eq!(text("\"a\\u00e9\\n\""), json!("aé\n"));
        assert_eq!(text("null"), Value::Null);
    }

    #[test]
    fn only_text_inside_of_lists_and_structs_is_kept_so() {
        assert_eq!(
            written("[[1.10, \"a\"], [null, {}]]", &DataType::Utf8, 2).unwrap(),
            json!([["1.10", "a"], [null, "{}"]])
        );
        let list = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
        let fields = [Field::new("l", list, true), Field::new("n", DataType::Float64, true)];
        let kind = DataType::Struct(Fields::from(fields.to_vec()));
        let object = "{\"n\": 1.10, \"\\u006c\": [1.10, []], \"more\": 1.10}";
        assert_eq!(written(object, &kind, 0).unwrap(), json!({ "n": 1.1, "l": ["1.10", "[]"], "more": 1.1 }));
        assert_eq!(written("7", &kind, 3).unwrap(), json!(7));
    }

    #[test]
    fn pointers_find_what_readers_find() {
        let whole =
            " {\"a\": [1, [2.0, \"]\"], {}], \"b/c\": {\"~\": 4.0}, \"\": 5.0, \"d\": 1, \"d\": 6.0, \"s\": \"x\"} ";
        let read: Value = serde_json::from_str(whole).unwrap();
        for pointer in
            ["", "/a", "/a/0", "/a/1", "/a/1/1", "/a/2", "/b~1c/~0", "/", "/d", "/s", "/a/9", "/e", "/s/0", "/a/x"]
        {
            let found = at(whole, pointer).map(|found| serde_json::from_str::<Value>(found).unwrap());
            assert_eq!(found.as_ref(), read.pointer(pointer), "{pointer}");
        }
    }

    #[test]
    fn text_that_is_no_json_ends() {
        for broken in ["", "[", "{", "[1", "{\"a", "{\"a\":", "]", "[,", "\"\\", "{1:2}", "[é", "{\"a\" 1}"] {
            let _ = (written(broken, &DataType::Utf8, 1), at(broken, "/a/0"), parts(broken).count());
        }
    }
}
