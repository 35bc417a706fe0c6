//! User paths with wildcards: split into the folder to open and the pattern below it.
//!
//! `data/digits/*.{png,jpg}` is the folder `data/digits` and the pattern `*.{png,jpg}`. Wildcards are `*` and `?` (never
//! across `/`), `[a-z]`, `**` (any depth), and brace sets. Names that start with `_` or `.` are skipped unless the pattern
//! spells that start, as other readers of output folders do; so `out/**/*.parquet` never sees what a sink has staged.

use forebay_core::{Error, Kind, Result};
use glob::{MatchOptions, Pattern};

/// Most patterns that brace sets may stand for; more is surely a mistake.
const EXPANSIONS_MAX: usize = 1000;

const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// Which files to read: a folder or URL, and a pattern over the paths below it.
#[derive(Debug, Clone)]
pub struct FilePattern {
    root: String,
    pattern: String,
    matchers: Vec<Matcher>,
}

/// One pattern without braces, whole and by component.
#[derive(Debug, Clone)]
struct Matcher {
    whole: Pattern,
    hidden: Vec<Pattern>,
}

// === impl FilePattern ===

impl FilePattern {
    /// Splits a path or URL. The root is the deepest folder without wildcards; a path that ends in `/` stands for every
    /// file below it. `file.csv` alone is that file in the folder `.`.
    ///
    /// # Errors
    /// `Invalid` for an empty path, a malformed pattern, wildcards in a URL's host, or `..` after a wildcard.
    pub fn parse(location: &str) -> Result<Self> {
        let wrong = |why: &str| Error::new(Kind::Invalid, "read file pattern").with("pattern", location).source(why);
        if location.trim().is_empty() {
            return Err(wrong("the path is empty"));
        }
        let (start, rest) = split_host(location);
        if is_wild(start) {
            return Err(wrong("wildcards are not possible in the host or bucket of a URL"));
        }
        let (folder, pattern) = split_folder(rest);
        let pattern = if pattern.is_empty() { "**/*" } else { pattern };
        if pattern.split('/').any(|part| part == "..") {
            return Err(wrong("`..` cannot follow a wildcard"));
        }
        let folder = if folder == "/" && !start.is_empty() && !start.ends_with('/') { "" } else { folder };
        let root = match format!("{start}{folder}") {
            root if root.is_empty() => ".".to_string(),
            root => root,
        };
        let mut matchers = Vec::new();
        for text in expand(pattern).map_err(wrong)? {
            matchers.push(Matcher::new(&text).map_err(|error| wrong(&error.to_string()))?);
        }
        Ok(Self { root, pattern: pattern.to_string(), matchers })
    }

    /// The folder or URL whose store the files are in.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The pattern below the root, as written.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// How many names below the root files are at most; `None` for any number (`**`).
    pub fn levels(&self) -> Option<usize> {
        if self.pattern.contains("**") { None } else { Some(self.pattern.split('/').count()) }
    }

    /// Whether the file at `path`, relative to the root, is meant.
    pub fn matches(&self, path: &str) -> bool {
        self.matchers.iter().any(|matcher| matcher.matches(path))
    }
}

// === impl Matcher ===

impl Matcher {
    fn new(text: &str) -> Result<Self, glob::PatternError> {
        let hidden = text.split('/').filter(|part| is_hidden(part)).map(Pattern::new).collect::<Result<_, _>>()?;
        Ok(Self { whole: Pattern::new(text)?, hidden })
    }

    fn matches(&self, path: &str) -> bool {
        let spelled = |part: &str| self.hidden.iter().any(|hidden| hidden.matches_with(part, OPTIONS));
        self.whole.matches_with(path, OPTIONS) && path.split('/').filter(|part| is_hidden(part)).all(spelled)
    }
}

fn is_hidden(part: &str) -> bool {
    part.starts_with(['_', '.'])
}

fn is_wild(part: &str) -> bool {
    part.contains(['*', '?', '[', ']', '{', '}'])
}

/// Scheme and host or bucket (empty for a local path), and the path after it, with its leading `/`.
fn split_host(location: &str) -> (&str, &str) {
    let Some(scheme) = location.find("://") else { return ("", location) };
    let host = scheme + "://".len();
    let end = location[host..].find('/').map_or(location.len(), |slash| host + slash);
    location.split_at(end)
}

/// The deepest folder without wildcards, and what follows it without the separating `/`.
fn split_folder(path: &str) -> (&str, &str) {
    let wild = path.find(['*', '?', '[', ']', '{', '}']).unwrap_or(path.len());
    match path[..wild].rfind('/') {
        Some(0) if !path[1..].is_empty() => ("/", &path[1..]),
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => ("", path),
    }
}

/// Every pattern that the brace sets of `text` stand for.
fn expand(text: &str) -> Result<Vec<String>, &'static str> {
    let (mut done, mut open) = (Vec::new(), vec![text.to_string()]);
    while let Some(next) = open.pop() {
        let Some(start) = next.find('{') else {
            if next.contains('}') {
                return Err("`}` without `{`");
            }
            done.push(next);
            continue;
        };
        let (end, commas) = brace_set(&next, start).ok_or("`{` without `}`")?;
        let mut from = start + 1;
        for to in commas.into_iter().chain([end]) {
            open.push(format!("{}{}{}", &next[..start], &next[from..to], &next[end + 1..]));
            from = to + 1;
        }
        if open.len() + done.len() > EXPANSIONS_MAX {
            return Err("brace sets stand for more than 1,000 patterns");
        }
    }
    done.sort_unstable();
    Ok(done)
}

/// End and top-level commas of the brace set that starts at `start`.
fn brace_set(text: &str, start: usize) -> Option<(usize, Vec<usize>)> {
    let (mut depth, mut commas) = (0, Vec::new());
    for (place, character) in text.char_indices().skip_while(|(place, _)| *place < start) {
        match character {
            '{' => depth += 1,
            '}' if depth == 1 => return Some((place, commas)),
            '}' => depth -= 1,
            ',' if depth == 1 => commas.push(place),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(location: &str, root: &str, pattern: &str, yes: &[&str], no: &[&str]) {
        let parsed = FilePattern::parse(location).unwrap();
        assert_eq!((parsed.root(), parsed.pattern()), (root, pattern), "{location}");
        for path in yes {
            assert!(parsed.matches(path), "{location} should match {path}");
        }
        for path in no {
            assert!(!parsed.matches(path), "{location} should not match {path}");
        }
    }

    #[test]
    fn paths_split_at_the_first_wildcard() {
        case("data/digits/*.png", "data/digits", "*.png", &["a.png"], &["a.jpg", "b/a.png", "_a.png", ".a.png"]);
        case("*.{png,jp{,e}g}", ".", "*.{png,jp{,e}g}", &["a.png", "a.jpg", "a.jpeg"], &["a.gif", "a.PNG"]);
        case("/data/**/*.csv", "/data", "**/*.csv", &["a.csv", "x/y/a.csv"], &["x/_staging/a.csv", ".git/a.csv"]);
        case("/*.csv", "/", "*.csv", &["a.csv"], &["x/a.csv"]);
        case("labels.csv", ".", "labels.csv", &["labels.csv"], &["xlabels.csv"]);
        case("out/", "out", "**/*", &["a", "b/c"], &["_commits/1.json"]);
        case("out/_staging/*/x?[0-9]", "out/_staging", "*/x?[0-9]", &["1/xy3"], &["1/xyz"]);
        case("out/*/_part*", "out", "*/_part*", &["a/_part1"], &["_a/_part1"]);
        case("s3://bucket/a/b*/c.jsonl", "s3://bucket/a", "b*/c.jsonl", &["b1/c.jsonl"], &["b1/d/c.jsonl"]);
        case("s3://bucket/*.csv", "s3://bucket", "*.csv", &["a.csv"], &[]);
        case("file:///*.csv", "file:///", "*.csv", &["a.csv"], &[]);
        case("file:///a/b.csv", "file:///a", "b.csv", &["b.csv"], &[]);
    }

    #[test]
    fn only_two_asterisks_look_at_all_that_is_below() {
        let levels = |location: &str| FilePattern::parse(location).unwrap().levels();
        assert_eq!(levels("labels.csv"), Some(1));
        assert_eq!(levels("/data/*/{a,b/c}.csv"), Some(3));
        assert_eq!(levels("/data/**/*.csv"), None);
        assert_eq!(levels("out/"), None);
    }

    #[test]
    fn malformed_patterns_are_refused_by_name() {
        for (location, why) in [
            ("", "empty"),
            ("a/{b,c", "without `}`"),
            ("a/b}*", "without `{`"),
            ("a/[z", "error"),
            ("a/*/../b", "`..`"),
            ("s3://b*/x", "bucket"),
            (&"{a,b}".repeat(12), "1,000"),
        ] {
            let error = FilePattern::parse(location).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid);
            assert!(error.chain().contains(why), "{}", error.chain());
        }
    }
}
