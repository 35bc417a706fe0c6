//! `from_json`, a row a line: text, type, what comes out as JSON or the reason why nothing does.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field};
use arrow::util::display::array_value_to_string;
use forebay_core::Kind;
use forebay_core::function::{Argument, Evaluated, RowFunction};
use forebay_functions::json::FromJson;

fn column() -> Argument {
    Argument::Column(Arc::new(Field::new("answer", DataType::Utf8, true)))
}

fn evaluate(texts: &[Option<&str>], kind: &str) -> Evaluated {
    let bound = FromJson.bind(&[column(), Argument::Text(kind.to_string())]).unwrap();
    let column: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    bound.evaluate(&[column], texts.len()).unwrap()
}

fn case(text: &str, kind: &str, expected: &str) {
    let found = evaluate(&[Some(text)], kind);
    assert_eq!((found.column.len(), found.errors.is_empty()), (1, true), "{text} as {kind}: {:?}", found.errors);
    let shown = array_value_to_string(&found.column, 0).unwrap();
    let shown = if found.column.is_null(0) { "null".to_string() } else { shown };
    assert_eq!(shown, expected, "{text} as {kind}");
}

#[test]
fn json_becomes_values_of_the_type() {
    case("1", "Int64", "1");
    case("-0.5", "Float64", "-0.5");
    case("\"NaN\"", "Float64", "NaN");
    case("\"-Infinity\"", "Float32", "-inf");
    case("18446744073709551615", "UInt64", "18446744073709551615");
    case("null", "Int64", "null");
    case("\"a\\u00e9\\n\"", "Utf8", "aé\n");
    case("true", "Boolean", "true");
    case("\"00ff\"", "Binary", "00ff");
    case("[]", "List(Int64)", "[]");
    case("[1, null, 3]", "List(Int64)", "[1, , 3]");
    case("{}", "Struct(\"a\": Int64)", "{a: }");
    case("{\"b\": \"x\", \"a\": 1, \"c\": [2]}", "Struct(\"a\": Int64, \"b\": Utf8)", "{a: 1, b: x}");
    case("[{\"a\": 1}, {\"a\": 2}]", "List(Struct(\"a\": Int64))", "[{a: 1}, {a: 2}]");
}

#[test]
fn a_fraction_does_not_fit_whole_numbers() {
    case("2.0", "Int64", "2");
    case("2e3", "Int32", "2000");
    case("{\"a\": 2, \"b\": 0.5}", "Struct(\"a\": Int64, \"b\": Float64)", "{a: 2, b: 0.5}");
    for (text, kind) in [("2.5", "Int64"), ("[1, 2.5]", "List(UInt8)"), ("{\"a\": 25e-1}", "Struct(\"a\": Int64)")] {
        let found = evaluate(&[Some("1"), Some(text), None], kind);
        let (place, error) = found.errors.iter().find(|(place, _)| *place == 1).unwrap();
        assert_eq!((*place, error.kind()), (1, Kind::Data), "{text} as {kind}");
        assert!(error.chain().contains("has a fraction"), "{}", error.chain());
    }
}

#[test]
fn a_bad_row_is_its_own_error_and_leaves_its_neighbours_alone() {
    let bad = [
        "",
        "{",
        "[1,",
        "nul",
        "1 2",
        "1}\n{\"from_json\": 2",
        "1, \"from_json\": 2",
        "NaN",
        "\"text\"",
        "{}",
        "[1]",
        "1e400x",
    ];
    for bad in bad {
        let found = evaluate(&[Some("1"), Some(bad), None, Some("3")], "Int64");
        let shown: Vec<String> = (0..4).map(|row| array_value_to_string(&found.column, row).unwrap()).collect();
        assert_eq!(shown, ["1", "", "", "3"], "{bad}");
        let [(place, error)] = found.errors.as_slice() else { panic!("{bad}: {:?}", found.errors) };
        assert_eq!((*place, error.kind()), (1, Kind::Data));
        assert!(error.chain().contains("read JSON"), "{}", error.chain());
    }
}

#[test]
fn rows_of_any_count_come_back() {
    assert!(evaluate(&[], "List(Int64)").column.is_empty());
    let many: Vec<String> = (0..5000).map(|row| format!("[{row}]")).collect();
    let many: Vec<Option<&str>> = many.iter().map(|text| Some(text.as_str())).collect();
    let found = evaluate(&many, "List(Int64)");
    assert_eq!((found.column.len(), found.errors.len()), (5000, 0));
    assert_eq!(array_value_to_string(&found.column, 4999).unwrap(), "[4999]");
    assert_eq!(evaluate(&[None, None], "Int64").column.null_count(), 2);
}

#[test]
fn arguments_are_checked_when_the_query_is_planned() {
    let refused = |arguments: &[Argument]| FromJson.bind(arguments).unwrap_err();
    let number = Argument::Column(Arc::new(Field::new("n", DataType::Int64, true)));
    let text = |kind: &str| Argument::Text(kind.to_string());
    for arguments in [
        vec![column()],
        vec![number, text("Int64")],
        vec![column(), column()],
        vec![column(), text("bigint")],
        vec![column(), text("Union(Sparse, 0: (\"a\": Int32))")],
    ] {
        assert_eq!(refused(&arguments).kind(), Kind::Invalid, "{arguments:?}");
    }
    let story = refused(&[column(), text("bigint")]).chain();
    assert!(story.contains("from_json(text, type)") && story.contains("List(Utf8)"), "{story}");
}
