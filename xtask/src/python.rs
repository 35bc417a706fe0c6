//! Puts the native half of the Python package beside its sources, where an import from the tree finds it.
//!
//! It builds nothing: the library is that of the last `cargo build`, so a build of the whole workspace serves Rust and
//! Python alike.

use std::path::{Path, PathBuf};

/// What cargo makes of `crates/python`.
const BUILT: &str = "debug/libforebay_native.so";
/// What Python imports.
const PLACE: &str = "python/forebay/_native.abi3.so";

/// Copies the library; `true` if that worked.
pub fn place(root: &Path) -> bool {
    let built = target(root).join(BUILT);
    match copy(&built, &root.join(PLACE)) {
        Ok(()) => {
            println!("{PLACE} is {}", built.display());
            true
        }
        Err(error) => {
            eprintln!("{} to {PLACE}: {error}; run cargo build --workspace --all-targets first", built.display());
            false
        }
    }
}

/// A whole file at a time: a process that has the old library in memory goes on with it.
fn copy(built: &Path, place: &Path) -> std::io::Result<()> {
    let staged = place.with_extension("tmp");
    std::fs::copy(built, &staged)?;
    std::fs::rename(&staged, place)
}

/// Where cargo builds.
fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_replaces_the_older_one() {
        let folder = std::env::temp_dir().join(format!("forebay-xtask-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (built, place) = (folder.join("built.so"), folder.join("_native.abi3.so"));
        std::fs::write(&place, "old").unwrap();
        std::fs::write(&built, "new").unwrap();
        copy(&built, &place).unwrap();
        assert_eq!(std::fs::read_to_string(&place).unwrap(), "new");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
