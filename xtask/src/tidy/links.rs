//! Every relative link of a Markdown page leads to a file or folder of the repository, and to a heading where it names one.

use std::collections::BTreeSet;

use super::{Finding, Tree};

/// Fails on a link whose target does not exist. Links with a scheme are somebody else's to keep.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts(".md") {
        for (line, target) in links(text) {
            if let Some(what) = broken(tree, path, text, &target) {
                findings.push(Finding::new(path, line, what));
            }
        }
    }
    findings
}

/// What is wrong with a link to `target` on the page `path`.
fn broken(tree: &Tree, path: &str, text: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let (place, page) = if file.is_empty() {
        (path.to_string(), Some(text))
    } else {
        let Some(place) = resolve(path, file).filter(|place| place.is_empty() || tree.has(place)) else {
            return Some(format!("link to `{target}`: no such file"));
        };
        let page = tree.files.get(&place).and_then(|text| text.as_deref());
        (place, page)
    };
    match (heading, page) {
        (Some(heading), Some(page)) if place.ends_with(".md") && !headings(page).contains(heading) => {
            Some(format!("link to `{target}`: `{place}` has no such heading"))
        }
        _ => None,
    }
}

/// Targets of inline links and of link definitions, with their lines; fenced code and code spans are left out.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let line = without_spans(line);
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split([')', ' ']).next().unwrap_or_default();
            found.push((number, target.to_string()));
        }
        if let Some((_, target)) = line.split_once("]: ").filter(|_| line.starts_with('[')) {
            found.push((number, target.split(' ').next().unwrap_or_default().to_string()));
        }
    }
    found
}

/// Lines outside fenced code, counted from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((index + 1, line))
    })
}

fn without_spans(line: &str) -> String {
    line.split('`')
        .enumerate()
        .filter(|(index, _)| index % 2 == 0)
        .map(|(_, part)| part)
        .collect::<Vec<_>>()
        .join("` `")
}

/// The headings of a page, as links name them: lower case, words joined by `-`, all else dropped.
fn headings(page: &str) -> BTreeSet<String> {
    let titles =
        prose(page).filter(|(_, line)| line.starts_with('#')).map(|(_, line)| line.trim_start_matches('#').trim());
    let slug = |title: &str| {
        title
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .collect::<String>()
            .replace(' ', "-")
    };
    titles.map(slug).collect()
}

/// `target` as seen from the page `from`, as a path from the root; `None` if it leaves the repository.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::shown;

    fn case(page: &str, expected: &str) {
        let tree = Tree::of(&[
            ("docs/guide/a.md", page),
            ("docs/b.md", "# First `Job`: it runs\n```\n# no heading\n```\n"),
            ("README.md", ""),
        ]);
        assert_eq!(shown(check(&tree)), expected);
    }

    #[test]
    fn links_that_lead_somewhere_are_fine() {
        case("[b](../b.md) [r](../../README.md) [folder](..) [web](https://example.org/x)\n", "");
        case("[b](../b.md#first-job-it-runs)\n\n# Here\n[self](#here)\n", "");
        case("[b](../b.md \"a title\")\n[x]: ../b.md\n", "");
        case("```\n[x](none.md)\n```\nand `[x](none.md)` too\n", "");
    }

    #[test]
    fn links_that_lead_nowhere_are_named() {
        case("\n[x](none.md)\n", "docs/guide/a.md:2: link to `none.md`: no such file\n");
        case("[x](../../../README.md)\n", "docs/guide/a.md:1: link to `../../../README.md`: no such file\n");
        case("[x]: none.md\n", "docs/guide/a.md:1: link to `none.md`: no such file\n");
        case(
            "[x](../b.md#no-heading)\n",
            "docs/guide/a.md:1: link to `../b.md#no-heading`: `docs/b.md` has no such heading\n",
        );
        case("[x](#none)\n", "docs/guide/a.md:1: link to `#none`: `docs/guide/a.md` has no such heading\n");
    }
}
