//! The one rule for paths below a root: relative, `/`-separated, no way out.
//!
//! Disk, local store and object store share it, so that a path accepted by one is accepted by all.

use forebay_core::{Error, Kind, Result};

/// Longest path accepted, in bytes: what S3 allows for a key.
const PATH_BYTES_MAX: usize = 1024;
/// Longest single name in a path, in bytes: what Linux file systems allow.
const NAME_BYTES_MAX: usize = 255;

/// Checks the path of a file or object: not empty, relative, without empty, `.` or `..` parts, `\` or control characters.
///
/// # Errors
/// `Invalid`, with the path and the reason.
pub fn check_path(path: &str) -> Result<()> {
    match reason_against(path) {
        Some(reason) => Err(Error::new(Kind::Invalid, "check path").with("path", path.escape_debug()).source(reason)),
        None => Ok(()),
    }
}

/// Checks the path of a folder: as [`check_path`], but empty (the root) and one trailing `/` are allowed. Answers it
/// without the trailing `/`.
///
/// # Errors
/// As [`check_path`].
pub fn check_folder(folder: &str) -> Result<&str> {
    let folder = folder.strip_suffix('/').unwrap_or(folder);
    if !folder.is_empty() {
        check_path(folder)?;
    }
    Ok(folder)
}

/// The folder of a checked path, empty for the root.
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn reason_against(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("the path is empty");
    }
    if path.starts_with('/') {
        return Some("the path is absolute");
    }
    if path.len() > PATH_BYTES_MAX {
        return Some("the path is longer than 1024 bytes");
    }
    if path.chars().any(|c| c.is_control() || c == '\\') {
        return Some("the path contains a backslash or a control character");
    }
    path.split('/').find_map(|part| match part {
        "" => Some("a part of the path is empty"),
        "." | ".." => Some("the path leaves its folder"),
        _ if part.len() > NAME_BYTES_MAX => Some("a part of the path is longer than 255 bytes"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relative_paths_that_stay_inside_pass() {
        for good in ["a", "a/b.json", "..a/b..", "ü/ä"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a//b", "a/", "../a", "a/../b", "a/..", "./a", "a\\b", "a\0b", "a\nb"] {
            assert_eq!(check_path(bad).unwrap_err().kind(), Kind::Invalid, "{bad:?}");
        }
        assert!(check_path(&"x".repeat(256)).is_err());
        assert!(check_path(&"x/".repeat(600)).is_err());
        assert_eq!(check_folder("").unwrap(), "");
        assert_eq!(check_folder("a/b/").unwrap(), "a/b");
        assert!(check_folder("a/..").is_err());
    }
}
