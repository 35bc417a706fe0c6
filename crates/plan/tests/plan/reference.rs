//! The written reference and the generated schema keep up with the code.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

fn reference(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(file)
}

#[test]
fn generated_schema_is_up_to_date() {
    let path = reference("job.schema.json");
    let text = format!("{:#}\n", forebay_plan::json_schema());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text, "run the tests once with UPDATE=1");
}

#[test]
fn reference_mentions_every_key() {
    let pages = ["job-file.md", "connectors/nexmark.md"].map(|page| std::fs::read_to_string(reference(page)).unwrap());
    let text = pages.concat();
    let mut keys = BTreeSet::new();
    collect(&forebay_plan::json_schema(), &mut keys);
    assert!(keys.contains("batch_rows") && keys.len() > 30, "{keys:?}");
    let missing: Vec<&String> = keys.iter().filter(|key| !text.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "not in docs/reference/job-file.md or the page of its source: {missing:?}");
}

#[test]
fn jobs_in_the_reference_parse() {
    let text = std::fs::read_to_string(reference("job-file.md")).unwrap();
    let blocks: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        forebay_plan::parse(block, "job-file.md", |_| Some("value".to_string())).unwrap();
    }
}

/// Names of properties and of accepted words, at any depth.
fn collect(schema: &Value, keys: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Object(properties)) = object.get("properties") {
                keys.extend(properties.keys().cloned());
            }
            if let Some(Value::String(word)) = object.get("const") {
                keys.insert(word.clone());
            }
            object.values().for_each(|value| collect(value, keys));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, keys)),
        _ => {}
    }
}
