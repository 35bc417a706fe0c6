//! What a user can name in a job has a page: connectors, formats, row functions.
//!
//! The names are taken from the source, so that a new one without a page fails before anybody looks for it.

use super::{Finding, Tree};
use crate::rust::{Kind, code, line_of, pieces};

const CONNECTORS: &str = "crates/connectors/src";

/// Folders of the connectors crate that hold connectors rather than being one.
const SHELVES: [&str; 1] = ["sinks"];

/// Fails on a connector folder, a format or a row function without its page under `docs/reference/`.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let named = connectors(tree).into_iter().chain(formats(tree)).chain(functions(tree));
    named
        .filter(|(page, ..)| !tree.has(page))
        .map(|(page, file, line)| Finding::new(&file, line, format!("no page `{page}`")))
        .collect()
}

/// A page that must exist, and where what it describes is written.
type Named = (String, String, usize);

/// Connectors: folders of the crate, by system; a system that is both read and written has one page.
fn connectors(tree: &Tree) -> Vec<Named> {
    let shelves = SHELVES.map(|shelf| format!("{CONNECTORS}/{shelf}"));
    let places = std::iter::once(CONNECTORS).chain(shelves.iter().map(String::as_str));
    let named = places.flat_map(|place| tree.folders(place).into_iter().map(move |name| (place, name)));
    named
        .filter(|(place, name)| *place != CONNECTORS || !SHELVES.contains(name))
        .map(|(place, name)| (format!("docs/reference/connectors/{name}.md"), format!("{place}/{name}/mod.rs"), 1))
        .collect()
}

/// Formats: the text in each match arm `SomeFormat::Variant => "name"` of the connectors crate, tests left out.
fn formats(tree: &Tree) -> Vec<Named> {
    let mut found = Vec::new();
    let is_test = |path: &str| path.ends_with("tests.rs");
    for (path, text) in tree.texts(".rs").filter(|(path, _)| path.starts_with(CONNECTORS) && !is_test(path)) {
        let mut arm = false;
        for piece in pieces(text) {
            let part = &text[piece.range.clone()];
            if piece.kind == Kind::Text && arm {
                let page = format!("docs/reference/formats/{}.md", part.trim_matches('"'));
                found.push((page, path.to_string(), line_of(text, piece.range.start)));
            }
            arm = piece.kind == Kind::Code && is_format_arm(part);
        }
    }
    found
}

/// Whether code ends in `…Format::Variant =>`.
fn is_format_arm(code: &str) -> bool {
    let Some(before) = code.trim_end().strip_suffix("=>") else { return false };
    let variant = before.trim_end().trim_end_matches(|c: char| c.is_ascii_alphanumeric());
    variant.ends_with("Format::")
}

/// Row functions: the first text after `fn name(`, inside an `impl RowFunction for`.
fn functions(tree: &Tree) -> Vec<Named> {
    let mut found = Vec::new();
    for (path, text) in tree.texts(".rs").filter(|(path, _)| path.starts_with("crates/functions/src/")) {
        let code = code(text);
        let literals: Vec<_> = pieces(text).into_iter().filter(|piece| piece.kind == Kind::Text).collect();
        for (begin, _) in code.match_indices("impl RowFunction for") {
            let Some(method) = code[begin..].find("fn name(").map(|at| begin + at) else { continue };
            let Some(name) = literals.iter().find(|piece| piece.range.start > method) else { continue };
            let page = format!("docs/reference/functions/{}.md", text[name.range.clone()].trim_matches('"'));
            found.push((page, path.to_string(), line_of(text, name.range.start)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::shown;

    #[test]
    fn connectors_need_pages() {
        let mut files = vec![
            ("crates/connectors/src/lib.rs", ""),
            ("crates/connectors/src/files/mod.rs", ""),
            ("crates/connectors/src/sinks/files/mod.rs", ""),
            ("crates/connectors/src/sinks/mod.rs", ""),
        ];
        let expected = "\
crates/connectors/src/files/mod.rs:1: no page `docs/reference/connectors/files.md`
crates/connectors/src/sinks/files/mod.rs:1: no page `docs/reference/connectors/files.md`
";
        assert_eq!(shown(check(&Tree::of(&files))), expected);
        files.push(("docs/reference/connectors/files.md", ""));
        assert_eq!(shown(check(&Tree::of(&files))), "");
    }

    #[test]
    fn formats_need_pages() {
        let text = "match self {\n    FileFormat::Csv => \"csv\",\n    FileFormat::JsonLines => \"jsonl\",\n    Other::X => \"x\",\n}";
        let tree = Tree::of(&[("crates/connectors/src/formats.rs", text), ("docs/reference/formats/csv.md", "")]);
        let expected = "crates/connectors/src/formats.rs:3: no page `docs/reference/formats/jsonl.md`\n";
        assert_eq!(shown(check(&tree)), expected);
    }

    #[test]
    fn row_functions_need_pages() {
        let text = "
impl Other for X { fn name(&self) -> &'static str { \"other\" } }
impl RowFunction for Resize {
    fn name(&self) -> &'static str {
        // \"a comment\"
        \"resize\"
    }
    fn usage(&self) -> &'static str { \"resize(image)\" }
}
impl BoundFunction for X { fn name(&self) -> &'static str { \"bound\" } }
";
        let tree = Tree::of(&[("crates/functions/src/image/resize.rs", text)]);
        let expected = "crates/functions/src/image/resize.rs:6: no page `docs/reference/functions/resize.md`\n";
        assert_eq!(shown(check(&tree)), expected);
    }
}
