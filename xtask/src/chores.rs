//! The chores, as lists of steps: what answers in seconds comes first, what needs a build of the world comes last.
//!
//! Every cargo step names the whole workspace. A build of one package unifies features differently, and DataFusion would
//! be built a second time.

use std::path::{Path, PathBuf};

use crate::steps::{Action, Step};
use crate::{cache, python, site, tidy};

/// Everything that CI runs.
pub fn ci(root: &Path) -> Vec<Step> {
    let mut steps = vec![Step::run("setup", root.join("scripts/setup.sh"), "tests")];
    steps.extend(at_once());
    steps.push(pages());
    steps.extend(supply_chain(root));
    steps.push(Step::run("build", "cargo", "build --workspace --all-targets"));
    steps.push(Step::call("python package", python::place));
    steps.push(Step::run("test", "cargo", "test --workspace"));
    steps.push(pytest(root));
    steps.push(package_tests(root));
    steps.push(wheel());
    steps.push(clippy());
    steps.push(api_pages());
    steps
}

/// All that judges the source without running it.
pub fn lint(root: &Path) -> Vec<Step> {
    let mut steps = vec![Step::run("setup", root.join("scripts/setup.sh"), "")];
    steps.extend(at_once());
    steps.extend(supply_chain(root));
    steps.push(clippy());
    steps
}

/// The links of all pages, the site, and the API pages.
pub fn docs(root: &Path) -> Vec<Step> {
    let setup = Step::run("setup", root.join("scripts/setup.sh"), "");
    vec![setup, Step::call("links", tidy::run_links), pages(), api_pages()]
}

/// Every benchmark, one after another, in the order of their names.
pub fn bench(root: &Path) -> Vec<Step> {
    let mut names: Vec<String> = std::fs::read_dir(root.join("benchmarks"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| root.join("benchmarks").join(name).join("run.py").is_file())
        .collect();
    names.sort();
    let mut steps = vec![Step::run("setup", root.join("scripts/setup.sh"), "")];
    steps.push(Step::run("build", "cargo", "build --workspace --all-targets"));
    steps.push(Step::call("python package", python::place));
    steps.extend(names.iter().map(|name| Step::run(name, tool("python"), &format!("benchmarks/{name}/run.py"))));
    steps
}

fn at_once() -> Vec<Step> {
    vec![
        Step::run("rust format", "cargo", "fmt --all -- --check"),
        Step::call("tidy", tidy::run),
        Step::run("python lint", tool("ruff"), "check ."),
        Step::run("python format", tool("ruff"), "format --check ."),
        Step::run("python types", tool("mypy"), ""),
    ]
}

/// Licences, doubled crates, sources of crates, crates that nobody uses.
fn supply_chain(root: &Path) -> Vec<Step> {
    let program = |name: &str| cache().join("tools/bin").join(name);
    vec![
        Step::run("tools", root.join("scripts/tools.sh"), ""),
        Step::run("licences", program("cargo-deny"), "--log-level error check licenses bans sources"),
        Step::run("unused crates", program("cargo-machete"), "."),
    ]
}

fn clippy() -> Step {
    Step::run("clippy", "cargo", "clippy --workspace --all-targets -- -D warnings")
}

/// The pages of `docs/` as a site.
fn pages() -> Step {
    Step::call("site", site::build)
}

fn api_pages() -> Step {
    Step::run("api pages", "cargo", "doc --workspace --no-deps").with_variable("RUSTDOCFLAGS", "-D warnings")
}

/// Python tests, run against the binary that the build step made. pytest answers 5 when it collected nothing.
fn pytest(root: &Path) -> Step {
    if !root.join("tests").is_dir() {
        return Step::skip("pytest", "there is no tests/");
    }
    let mut step = Step::run("pytest", tool("python"), "-m pytest -q tests");
    if let Action::Run { accepted, .. } = &mut step.action {
        accepted.push(5);
    }
    step
}

/// The Python package's own tests, run from the tree.
fn package_tests(root: &Path) -> Step {
    if !root.join("python/tests").is_dir() {
        return Step::skip("python tests", "there is no python/tests/");
    }
    let step = Step::run("python tests", tool("python"), "-m pytest -q python/tests");
    step.with_variable("PYTHONPATH", "python")
}

/// The package as `pip` builds it, out of what is built already.
fn wheel() -> Step {
    let bin = cache().join("venv/bin");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let wheels = cache().join("wheels");
    let arguments = format!("-m pip wheel -q --no-deps --no-build-isolation --wheel-dir {} ./python", wheels.display());
    let step = Step::run("python wheel", tool("python"), &arguments);
    // Its build backend looks for its own program there.
    step.with_variable("PATH", &path).with_variable("MATURIN_PEP517_ARGS", "--profile dev")
}

/// A program of the virtual environment that `scripts/setup.sh` keeps.
fn tool(name: &str) -> PathBuf {
    cache().join("venv/bin").join(name)
}
