//! Every Rust file says what it is in its first line, and every source file can be read in one sitting.

use super::{Finding, Tree};

/// Lines a source file may have. The median file has 90 to 250; beyond 600 a reader has lost the top.
const LINES_MAX: usize = 600;

/// Fails on a Rust file whose first line is no module header, and on a source file that is too long.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts(".rs") {
        let first = text.lines().position(|line| !line.trim().is_empty());
        let headed = first.and_then(|n| text.lines().nth(n)).is_some_and(|line| line.starts_with("//! "));
        if !headed {
            let what = "no module header; begin with `//!`: what it does, why this way, what it never does";
            findings.push(Finding::new(path, first.map_or(1, |n| n + 1), what));
        }
    }
    for (path, text) in [".rs", ".py", ".java"].into_iter().flat_map(|suffix| tree.texts(suffix)) {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            let what = format!("{lines} lines, more than {LINES_MAX}; split it by what each part promises");
            findings.push(Finding::new(path, LINES_MAX + 1, what));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::shown;

    #[test]
    fn a_header_comes_first() {
        let tree = Tree::of(&[
            ("a.rs", "//! Says what it is.\nfn a() {}\n"),
            ("b.rs", "\nuse a;\n//! Too late.\n"),
            ("c.rs", ""),
            ("d.py", "import os\n"),
        ]);
        let what = "no module header; begin with `//!`: what it does, why this way, what it never does";
        assert_eq!(shown(check(&tree)), format!("b.rs:2: {what}\nc.rs:1: {what}\n"));
    }

    #[test]
    fn six_hundred_lines_are_the_most() {
        let (most, more) = ("\n".repeat(600), "\n".repeat(601));
        let tree = Tree::of(&[("a.py", &most), ("b.py", &more), ("c.md", &more)]);
        let expected = "b.py:601: 601 lines, more than 600; split it by what each part promises\n";
        assert_eq!(shown(check(&tree)), expected);
    }
}
