//! Checks of the house style that need no compiler: what the tree holds, and how its parts point at each other.
//!
//! Each check is a function from a [`Tree`] in memory to findings, so that its tests are small made-up trees. A check
//! reads only; it never mends. What the compiler or clippy can hold (`unwrap`, clocks, missing docs) is left to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::process::Command;

mod arrows;
mod changelog;
mod files;
mod hosts;
mod links;
mod reference;
mod words;

/// The files of the repository.
#[derive(Debug, Default)]
pub struct Tree {
    /// Every file by its path from the root, with `/`; the content is `None` if it is not UTF-8.
    files: BTreeMap<String, Option<String>>,
}

/// Something that breaks a house rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Path from the root.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub what: String,
}

/// A check, by name.
type Check = (&'static str, fn(&Tree) -> Vec<Finding>);

const CHECKS: [Check; 7] = [
    ("dependency arrows", arrows::check),
    ("headers and sizes", files::check),
    ("operators know no host", hosts::check),
    ("glossary words", words::check),
    ("reference pages", reference::check),
    ("links", links::check),
    ("changelog names", changelog::check),
];

/// Runs every check over the repository at `root`, prints the findings, and answers whether there are none.
pub fn run(root: &Path) -> bool {
    check(root, |_| true)
}

/// Runs only the check of links.
pub fn run_links(root: &Path) -> bool {
    check(root, |name| name == "links")
}

fn check(root: &Path, wanted: fn(&str) -> bool) -> bool {
    let tree = match Tree::read(root) {
        Ok(tree) => tree,
        Err(error) => {
            eprintln!("tidy: {error}");
            return false;
        }
    };
    let mut findings: Vec<Finding> =
        CHECKS.iter().filter(|(name, _)| wanted(name)).flat_map(|(_, check)| check(&tree)).collect();
    findings.sort();
    for finding in &findings {
        eprintln!("{finding}");
    }
    println!("tidy: {} files, {} findings", tree.files.len(), findings.len());
    findings.is_empty()
}

// === impl Tree ===

impl Tree {
    /// Reads the files that git tracks or would track; ignored ones are nobody's business.
    fn read(root: &Path) -> Result<Tree, String> {
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .map_err(|error| format!("list files: git: {error}"))?;
        if !output.status.success() {
            return Err(format!("list files: git: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let names = String::from_utf8(output.stdout).map_err(|_| "list files: a name is not UTF-8".to_string())?;
        let mut tree = Tree::default();
        for name in names.split_terminator('\0') {
            let path = root.join(name);
            if path.is_file() {
                let bytes = std::fs::read(&path).map_err(|error| format!("read {name}: {error}"))?;
                tree.files.insert(name.to_string(), String::from_utf8(bytes).ok());
            }
        }
        Ok(tree)
    }

    /// Files whose name ends in `suffix`, as path and text.
    fn texts<'a>(&'a self, suffix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files
            .iter()
            .filter(move |(path, _)| path.ends_with(suffix))
            .filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    /// Whether a file or folder of that path exists.
    fn has(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        self.files.contains_key(path)
            || self.files.range(folder.clone()..).next().is_some_and(|(p, _)| p.starts_with(&folder))
    }

    /// Names of the folders directly inside `folder`.
    fn folders(&self, folder: &str) -> BTreeSet<&str> {
        let inside =
            |path: &'_ str| path.strip_prefix(folder)?.strip_prefix('/')?.split_once('/').map(|(name, _)| name.len());
        self.files
            .keys()
            .filter_map(|path| {
                let begin = folder.len() + 1;
                inside(path).map(|length| &path[begin..begin + length])
            })
            .collect()
    }

    /// A tree of made-up files.
    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Tree {
        Tree { files: files.iter().map(|(path, text)| (path.to_string(), Some(text.to_string()))).collect() }
    }
}

// === impl Finding ===

impl Finding {
    fn new(file: &str, line: usize, what: impl Into<String>) -> Finding {
        Finding { file: file.to_string(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Findings as text, one a line, for tests.
#[cfg(test)]
fn shown(findings: Vec<Finding>) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_knows_its_files_and_folders() {
        let tree = Tree::of(&[("a/b/c.rs", ""), ("a/d.rs", ""), ("a-b/e.rs", "")]);
        assert!(tree.has("a") && tree.has("a/b") && tree.has("a/d.rs"));
        assert!(!tree.has("a/b/c") && !tree.has("e"));
        assert_eq!(tree.folders("a"), BTreeSet::from(["b"]));
        assert_eq!(tree.texts(".rs").count(), 3);
    }

    #[test]
    fn the_repository_itself_can_be_read() {
        let tree = Tree::read(&crate::root()).unwrap();
        assert!(tree.has("xtask/src/tidy/mod.rs"));
        assert!(!tree.has("target"));
    }
}
