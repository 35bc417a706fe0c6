//! Every file of `changelog.d/` has a name from which the change log can be put together.

use super::{Finding, Tree};

const KINDS: [&str; 4] = ["added", "changed", "fixed", "removed"];

/// Fails on a name other than `<name>.<added|changed|fixed|removed>.md`; `README.md` says how to write one.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let names = tree.files.keys().filter_map(|path| Some((path, path.strip_prefix("changelog.d/")?)));
    names
        .filter(|(_, name)| *name != "README.md" && !is_well_named(name))
        .map(|(path, _)| Finding::new(path, 1, format!("not named <name>.<{}>.md, lower case", KINDS.join("|"))))
        .collect()
}

fn is_well_named(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    let [name, kind, "md"] = parts[..] else { return false };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.chars().all(plain) && KINDS.contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_kind_of_change_it_is() {
        for good in ["limiter.added.md", "exactly-once-2.fixed.md"] {
            assert!(is_well_named(good), "{good}");
        }
        for bad in ["limiter.md", "limiter.new.md", ".added.md", "Limiter.added.md", "a.b.added.md", "old/a.added.md"] {
            assert!(!is_well_named(bad), "{bad}");
        }
    }

    #[test]
    fn only_the_folder_is_checked_and_its_readme_is_free() {
        let tree = Tree::of(&[("changelog.d/README.md", ""), ("notes/x.md", ""), ("changelog.d/x.md", "")]);
        let findings = check(&tree);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].file, "changelog.d/x.md");
    }
}
