//! The guide shows this example: its blocks of Rust and TOML are in the source, word for word.

use std::path::PathBuf;

fn read(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn blocks_of_the_guide_are_in_the_example() {
    let page = read("../../docs/guide/process-functions.md");
    for (language, files) in [("rust", &["src/main.rs", "src/sessions.rs"][..]), ("toml", &["job.toml"][..])] {
        let source: String = files.iter().map(|file| read(file)).collect();
        let fence = format!("```{language}\n");
        let blocks: Vec<&str> = page.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!blocks.is_empty(), "{language}");
        for block in blocks {
            assert!(source.contains(block), "not in {files:?}:\n{block}");
        }
    }
}
