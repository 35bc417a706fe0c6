//! Builds the site of `docs/site/conf.py` from nothing, so that no warning is hidden by what an earlier build kept.
//!
//! It judges nothing itself: Sphinx does, with every warning an error. It never writes into the tree.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use crate::cache;

/// Builds all pages; `true` if there was nothing to complain of. Prints where they are.
pub fn build(root: &Path) -> bool {
    let place = cache().join("site");
    match run(root, &place) {
        Ok(good) => good,
        Err(error) => {
            eprintln!("{}: {error}; run scripts/setup.sh", place.display());
            false
        }
    }
}

fn run(root: &Path, place: &Path) -> std::io::Result<bool> {
    match std::fs::remove_dir_all(place) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let python = cache().join("venv/bin/python");
    let options = ["-m", "sphinx", "--quiet", "--nitpicky", "--fail-on-warning", "--keep-going", "-c", "docs/site"];
    let pages = place.join("pages");
    let mut command = Command::new(python);
    command.args(options).arg("-d").arg(place.join("read")).arg(".").arg(&pages);
    let good = command.current_dir(root).status()?.success();
    if good {
        println!("{}", pages.join("index.html").display());
    }
    Ok(good)
}
