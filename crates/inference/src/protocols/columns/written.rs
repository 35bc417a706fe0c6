//! JSON as it was written: what becomes text keeps the digits and the letters that came.
//!
//! A number that is read is one of 64 bits, so its text is not its own any more: `1.10` is 1.1 and an integer of 23 digits
//! loses seven. Here values are found in the text itself, by serde_json's `RawValue`.

use std::collections::HashMap;

use arrow::datatypes::DataType;
use serde_json::value::RawValue;
use serde_json::{Map, Result, Value, from_str};

/// The value of `text` for a column of `wanted` with `axes` axes a row: where that is text, what is no string is its JSON as
/// it came, blanks included; all else is read as usual.
///
/// # Errors
/// `text` is no JSON.
pub fn written(text: &str, wanted: &DataType, axes: usize) -> Result<Value> {
    let text = text.trim_ascii();
    match (wanted, text.as_bytes().first()) {
        _ if !holds_text(wanted) => from_str(text),
        (_, Some(b'[')) if axes > 0 => parts(text)?.into_iter().map(|item| written(item, wanted, axes - 1)).collect(),
        (DataType::List(item), Some(b'[')) => {
            parts(text)?.into_iter().map(|part| written(part, item.data_type(), 0)).collect()
        }
        (DataType::Struct(fields), Some(b'{')) => {
            let mut entries: HashMap<String, &RawValue> = from_str(text)?;
            let mut object = Map::new();
            for field in fields {
                if let Some(value) = entries.remove(field.name()) {
                    object.insert(field.name().clone(), written(value.get(), field.data_type(), 0)?);
                }
            }
            Ok(Value::Object(object))
        }
        (DataType::Utf8, Some(first)) if *first != b'"' && text != "null" => {
            from_str::<&RawValue>(text).map(|whole| whole.get().into())
        }
        _ => from_str(text),
    }
}

/// The text of the value at `pointer` (RFC 6901) in `text`; of two entries with one name the last, as readers take it.
pub fn at<'a>(text: &'a str, pointer: &str) -> Option<&'a str> {
    let mut found = text.trim_ascii();
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        found = match found.as_bytes().first()? {
            b'{' => from_str::<HashMap<String, &RawValue>>(found).ok()?.remove(&token)?.get(),
            b'[' => parts(found).ok()?.into_iter().nth(token.parse().ok()?)?,
            _ => return None,
        };
    }
    Some(found)
}

/// The texts of the items of an array.
///
/// # Errors
/// `text` is no array.
pub fn parts(text: &str) -> Result<Vec<&str>> {
    Ok(from_str::<Vec<&RawValue>>(text)?.into_iter().map(RawValue::get).collect())
}

fn holds_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 => true,
        DataType::List(item) => holds_text(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| holds_text(field.data_type())),
        _ => false,
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
            ["12345678901234567890123", "1.10", "-0", "1E2", "true", "[1, 2.50,{\"a ]\":\n[]}]", "{\"a\":1,\"a\":2}"]
        {
            assert_eq!(text(&format!(" {same}\n")), json!(same));
        }
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
        assert_eq!(written(object, &kind, 0).unwrap(), json!({ "l": ["1.10", "[]"], "n": 1.1 }));
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
    fn text_that_is_no_json_is_an_error() {
        let texts = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
        for broken in ["", "[", "{", "[1", "{\"a", "{\"a\":", "]", "[,", "\"\\", "{1:2}", "[é", "{\"a\" 1}", "1 2"] {
            assert!(written(broken, &DataType::Utf8, 1).is_err(), "{broken}");
            assert!(written(broken, &texts, 0).is_err(), "{broken}");
            assert_eq!(at(broken, "/a/0"), None, "{broken}");
            assert!(parts(broken).is_err(), "{broken}");
        }
    }
}
