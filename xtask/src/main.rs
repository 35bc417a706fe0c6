//! Every chore of the repository, run as `cargo xtask CHORE`.
//!
//! A chore is Rust rather than shell so that it can be tested like the rest, and so that what a continuous integration
//! machine runs is what a person runs. `make` targets and `.ci/run` are one-liners over this program. It never installs
//! anything itself: `scripts/setup.sh` and `scripts/tools.sh` do, and `ci` and `lint` call them.

use std::path::PathBuf;
use std::process::ExitCode;

mod chores;
mod python;
mod rust;
mod site;
mod steps;
mod tidy;

const USAGE: &str = "usage: cargo xtask CHORE

  tidy    check what the house style says can be checked, without building anything
  lint    tidy, formats, types, licences, unused dependencies, clippy
  ci      all that CI runs: setup, lint, build, tests, docs; ends with a table of seconds
  python  put the built native library into the Python package's folder
  docs    build the site and the API pages, and check every link
  bench   run every benchmarks/*/run.py
";

fn main() -> ExitCode {
    let root = &root();
    let chore = std::env::args().nth(1);
    let good = match chore.as_deref() {
        Some("tidy") => tidy::run(root),
        Some("lint") => steps::run(root, chores::lint(root)),
        Some("ci") => steps::run(root, chores::ci(root)),
        Some("python") => python::place(root),
        Some("docs") => steps::run(root, chores::docs(root)),
        Some("bench") => steps::run(root, chores::bench(root)),
        Some("help" | "--help" | "-h") => {
            print!("{USAGE}");
            true
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The repository's root folder: the parent of this package, as cargo says now, or else as it said when this was built.
fn root() -> PathBuf {
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    package.parent().expect("xtask is a folder of the repository").to_path_buf()
}

/// Where downloads and build products live: `FOREBAY_CACHE`, or `.cache/forebay` in the home folder, as in
/// `scripts/env.sh`.
fn cache() -> PathBuf {
    match std::env::var_os("FOREBAY_CACHE").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/forebay"),
    }
}
