//! Operators know no host: the crates that hold them, and what they stand on, never name tokio.
//!
//! The embedded host is tokio, the simulation is not, and a JVM will not be: a path to tokio in one of these crates would
//! work in the first and hang in the others. `state` and `inference` may name it, for the parts that only a host calls.

use super::{Finding, Tree};
use crate::rust::{code, is_identifier, line_of};

/// Crates that any host must be able to run.
const HOSTLESS: [&str; 4] = ["core", "plan", "operators", "connectors"];

/// Fails on every path that begins with `tokio`, tests included.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in HOSTLESS {
        let folder = format!("crates/{name}/");
        for (path, text) in tree.texts(".rs").filter(|(path, _)| path.starts_with(&folder)) {
            let code = code(text);
            for (at, _) in code.match_indices("tokio").filter(|(at, _)| is_path_head(&code, *at)) {
                let what = format!("`{name}` must not name tokio; ask `forebay_core::env::Env` or the context");
                findings.push(Finding::new(path, line_of(&code, at), what));
            }
        }
    }
    findings
}

/// Whether the `tokio` at `at` is a word of its own that begins a path, is imported whole, or names an attribute.
fn is_path_head(code: &str, at: usize) -> bool {
    let (before, after) = (&code[..at], &code[at + "tokio".len()..]);
    if before.bytes().next_back().is_some_and(is_identifier) || after.bytes().next().is_some_and(is_identifier) {
        return false;
    }
    let after = after.trim_start();
    after.starts_with("::") || before.trim_end().ends_with("use") || before.trim_end().ends_with("use ::")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::shown;

    #[test]
    fn tokio_is_found_however_it_is_named() {
        let text =
            "//! Not tokio::spawn.\nuse tokio;\nuse tokio::time;\n#[tokio::test]\nfn a() { ::tokio::spawn(b) }\n";
        let tree = Tree::of(&[("crates/operators/src/a.rs", text), ("crates/engine/src/a.rs", text)]);
        let lines: Vec<usize> = check(&tree).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [2, 3, 4, 5]);
    }

    #[test]
    fn other_words_are_not_tokio() {
        let text =
            "//! A.\nfn a(tokio: u8, tokio_like: u8) { b(\"tokio::spawn\", my_tokio::c(), tokio) } // tokio::d\n";
        assert_eq!(shown(check(&Tree::of(&[("crates/plan/src/a.rs", text)]))), "");
    }
}
