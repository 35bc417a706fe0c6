//! Public names use the words of `GLOSSARY.md`, one word per idea.
//!
//! The list of refused words is the glossary itself: what its column *never* holds in backticks. Only public items, public
//! fields and metric names are looked at: inside a function a library's own word is often the clearest, and prose has
//! sentences in which a word means something else.

use std::collections::BTreeMap;

use super::{Finding, Tree};
use crate::rust::{Kind, code, is_identifier, line_of, pieces};

const GLOSSARY: &str = "GLOSSARY.md";

/// Words of other people's interfaces, where we must use them: folder, word, why.
const ALLOWED: [(&str, &str, &str); 1] = [("crates/plan/", "node", "DataFusion's logical plan is made of nodes")];

/// Fails on a public item, public field or metric whose name holds a refused word.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let Some(Some(glossary)) = tree.files.get(GLOSSARY) else {
        return vec![Finding::new(GLOSSARY, 1, "missing: it says which words public names may use")];
    };
    let refused = refused(glossary);
    let mut findings = Vec::new();
    for (path, text) in tree.texts(".rs").filter(|(path, _)| path.starts_with("crates/")) {
        for (name, at) in public_names(&code(text)).into_iter().chain(metric_names(text)) {
            for word in words(&name).iter().filter(|word| !is_allowed(path, word)) {
                if let Some(instead) = refused.get(word) {
                    let what = format!("`{name}`: the word is `{instead}`, not `{word}` ({GLOSSARY})");
                    findings.push(Finding::new(path, line_of(text, at), what));
                }
            }
        }
    }
    findings
}

fn is_allowed(path: &str, word: &str) -> bool {
    ALLOWED.iter().any(|(folder, allowed, _)| path.starts_with(folder) && *allowed == word)
}

/// Refused word to our word, from the rows of tables whose third column is called *never*.
fn refused(glossary: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut in_table = false;
    for line in glossary.lines() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let is_row = line.starts_with('|') && cells.len() == 3;
        in_table = is_row && (in_table || cells[2] == "never");
        if in_table {
            for word in cells[2].split('`').skip(1).step_by(2) {
                found.insert(word.to_string(), cells[0].replace(['`', '*'], ""));
            }
        }
    }
    found
}

/// Names after `pub`, with their bytes; restricted visibility and re-exports are not public names of ours.
fn public_names(code: &str) -> Vec<(String, usize)> {
    const SKIPPED: [&str; 13] = [
        "async", "const", "enum", "extern", "fn", "mod", "mut", "static", "struct", "trait", "type", "union", "unsafe",
    ];
    let mut found = Vec::new();
    let mut tokens = identifiers(code).into_iter().peekable();
    while let Some((token, at)) = tokens.next() {
        if token != "pub" || code[at + 3..].trim_start().starts_with('(') {
            continue;
        }
        let mut is_item = false;
        while tokens.next_if(|(token, _)| SKIPPED.contains(token)).is_some() {
            is_item = true;
        }
        let Some(&(name, at)) = tokens.peek() else { break };
        let after = code[at + name.len()..].trim_start();
        let is_field = after.starts_with(':') && !after.starts_with("::");
        if is_item || is_field {
            found.push((name.to_string(), at));
        }
    }
    found
}

/// Literals that look like our metric names.
fn metric_names(text: &str) -> Vec<(String, usize)> {
    let literals = pieces(text).into_iter().filter(|piece| piece.kind == Kind::Text);
    literals
        .map(|piece| (text[piece.range.clone()].trim_matches('"').to_string(), piece.range.start))
        .filter(|(name, _)| name.starts_with("forebay_") && name.bytes().all(is_identifier))
        .collect()
}

fn identifiers(code: &str) -> Vec<(&str, usize)> {
    let mut found = Vec::new();
    let mut begin = None;
    for (at, byte) in code.bytes().chain(std::iter::once(b' ')).enumerate() {
        match (is_identifier(byte), begin) {
            (true, None) => begin = Some(at),
            (false, Some(from)) => {
                found.push((&code[from..at], from));
                begin = None;
            }
            _ => {}
        }
    }
    found
}

/// The words of a snake-case or camel-case name, lower case, a plural `s` taken off.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut small = false;
    for c in name.chars() {
        if c == '_' || (c.is_uppercase() && small) {
            words.push(String::new());
        }
        small = c.is_lowercase() || c.is_ascii_digit();
        if c != '_' {
            words.last_mut().expect("begins with one word").extend(c.to_lowercase());
        }
    }
    words
        .iter()
        .map(|word| word.strip_suffix('s').unwrap_or(word).to_string())
        .filter(|word| !word.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::shown;

    const PAGE: &str = "| word | meaning | never |\n|---|---|---|\n| **coordinator** | plans | `master`, driver |\n\
                        | **operator** | logic | `node`, `actor` |\n\n| a | b | c |\n| x | y | `fine` |\n";

    fn case(path: &str, source: &str, expected: &str) {
        assert_eq!(shown(check(&Tree::of(&[("GLOSSARY.md", PAGE), (path, source)]))), expected);
    }

    #[test]
    fn refused_words_in_public_names_are_found() {
        let source = "pub struct ActorPool {\n    pub master_id: u8,\n}\npub async fn of_nodes() {}\npub const MASTER: u8 = 1;\n";
        let expected = "\
crates/core/src/a.rs:1: `ActorPool`: the word is `**operator**`, not `actor` (GLOSSARY.md)
crates/core/src/a.rs:2: `master_id`: the word is `**coordinator**`, not `master` (GLOSSARY.md)
crates/core/src/a.rs:4: `of_nodes`: the word is `**operator**`, not `node` (GLOSSARY.md)
crates/core/src/a.rs:5: `MASTER`: the word is `**coordinator**`, not `master` (GLOSSARY.md)
"
        .replace("**", "");
        case("crates/core/src/a.rs", source, &expected);
    }

    #[test]
    fn metric_names_are_found() {
        let source = "fn a() { b(\"forebay_actor_seconds\"); c(\"forebay actor\"); d(\"actor_seconds\") }\n";
        let expected =
            "crates/core/src/a.rs:1: `forebay_actor_seconds`: the word is `operator`, not `actor` (GLOSSARY.md)\n";
        case("crates/core/src/a.rs", source, expected);
    }

    #[test]
    fn what_is_not_ours_or_not_public_is_left_alone() {
        case("crates/core/src/a.rs", "fn node() {}\npub(crate) fn actor() {}\npub use x::Node;\n", "");
        case("crates/core/src/a.rs", "/// An actor.\npub fn driver(actor: Node) {}\npub struct A(pub Node);\n", "");
        case("crates/core/src/a.rs", "pub fn fine() {}\npub fn factory() {}\npub struct Masterful;\n", "");
        case("crates/plan/src/a.rs", "pub struct SourceNode;\n", "");
        case("xtask/src/a.rs", "pub struct Node;\n", "");
    }

    #[test]
    fn the_glossary_itself_refuses_words() {
        let page = std::fs::read_to_string(crate::root().join(GLOSSARY)).unwrap();
        let refused = refused(&page);
        assert_eq!(refused.get("vnode").map(String::as_str), Some("key group"));
        assert_eq!(refused.get("event"), None);
    }
}
