//! Dependencies between our crates point left, as drawn in `ARCHITECTURE.md`.
//!
//! The manifests are read, not cargo's resolution: the finding then names the line to delete, and dev-dependencies, which
//! may form circles that cargo accepts, are held to the same drawing.

use toml::de::{DeTable, DeValue};

use super::{Finding, Tree};
use crate::rust::line_of;

/// What each crate may depend on. A new crate is a new row here and in `ARCHITECTURE.md`.
const ARROWS: [(&str, &[&str]); 17] = [
    ("core", &[]),
    ("modelcheck", &[]),
    ("gate", &[]),
    ("bench", &["gate"]),
    ("plan", &["core"]),
    ("state", &["core"]),
    ("functions", &["core"]),
    ("connectors", &["core"]),
    ("inference", &["core", "gate"]),
    ("operators", &["core", "gate", "state", "inference"]),
    ("runtime", &["core", "plan", "state"]),
    ("engine", BELOW_ENGINE),
    ("server", AND_ENGINE),
    (
        "cli",
        &[
            "core",
            "gate",
            "bench",
            "plan",
            "state",
            "functions",
            "connectors",
            "inference",
            "operators",
            "runtime",
            "engine",
            "server",
        ],
    ),
    ("python", AND_ENGINE),
    ("flink", AND_ENGINE),
    ("sim", AND_ENGINE),
];

const BELOW_ENGINE: &[&str] =
    &["core", "gate", "plan", "state", "functions", "connectors", "inference", "operators", "runtime"];
const AND_ENGINE: &[&str] =
    &["core", "gate", "plan", "state", "functions", "connectors", "inference", "operators", "runtime", "engine"];

/// Crates whose tests may also use `sim`.
const MAY_SIMULATE: [&str; 5] = ["engine", "server", "cli", "python", "flink"];

/// Fails on a dependency that the drawing does not allow, and on a crate that it does not show.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let manifests = tree.texts("Cargo.toml").filter_map(|(path, text)| {
        let name = path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")?;
        (!name.contains('/')).then_some((name, path, text))
    });
    manifests.flat_map(|(name, path, text)| check_manifest(name, path, text)).collect()
}

fn check_manifest(name: &str, path: &str, text: &str) -> Vec<Finding> {
    let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
        return vec![Finding::new(path, 1, format!("crate `{name}` has no row in xtask/src/tidy/arrows.rs"))];
    };
    let manifest = match DeTable::parse(text) {
        Ok(manifest) => manifest,
        Err(error) => return vec![Finding::new(path, 1, format!("not TOML: {}", error.message()))],
    };
    let mut findings = Vec::new();
    for (dependency, at, dev) in dependencies(manifest.get_ref()) {
        let simulates = dependency == "sim" && MAY_SIMULATE.contains(&name);
        let for_tests = dev && (simulates || dependency == "modelcheck");
        if !allowed.contains(&dependency.as_str()) && !for_tests {
            let may = if allowed.is_empty() { "none of our crates".to_string() } else { allowed.join(", ") };
            let what = format!("`{name}` must not depend on `{dependency}`; it may depend on {may}");
            findings.push(Finding::new(path, line_of(text, at), what));
        }
    }
    findings
}

/// Our crates among the dependencies of a manifest: folder name, byte in the text, whether for tests only.
fn dependencies(manifest: &DeTable<'_>) -> Vec<(String, usize, bool)> {
    let mut found = Vec::new();
    let mut tables = vec![manifest];
    if let Some(DeValue::Table(targets)) = manifest.get("target").map(|value| value.get_ref()) {
        tables.extend(targets.iter().filter_map(|(_, target)| target.get_ref().as_table()));
    }
    for table in tables {
        for section in ["dependencies", "build-dependencies", "dev-dependencies"] {
            let Some(DeValue::Table(entries)) = table.get(section).map(|value| value.get_ref()) else { continue };
            for (key, value) in entries {
                let renamed = value.get_ref().as_table().and_then(|table| table.get("package"));
                let package = renamed.and_then(|name| name.get_ref().as_str()).unwrap_or(key.get_ref());
                if let Some(folder) = folder_of(package) {
                    found.push((folder.to_string(), key.span().start, section == "dev-dependencies"));
                }
            }
        }
    }
    found
}

/// The folder of one of our packages: the name without `forebay-`, except that the binary's package is plain `forebay`.
fn folder_of(package: &str) -> Option<&str> {
    if package == "forebay" { Some("cli") } else { package.strip_prefix("forebay-") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::shown;

    fn case(name: &str, manifest: &str, expected: &str) {
        let path = format!("crates/{name}/Cargo.toml");
        assert_eq!(shown(check(&Tree::of(&[(&path, manifest)]))), expected);
    }

    #[test]
    fn arrows_to_the_left_are_fine() {
        case("plan", "[dependencies]\nforebay-core.workspace = true\narrow = \"1\"\n", "");
        case("operators", "[dependencies]\nforebay-state = { path = \"../state\" }\n", "");
        case("sim", "[dependencies]\nforebay-engine.workspace = true\n", "");
        case("cli", "[dependencies]\nforebay-server.workspace = true\n", "");
    }

    #[test]
    fn other_arrows_name_their_line() {
        case(
            "core",
            "[package]\nname = \"forebay-core\"\n[dependencies]\nforebay-plan.workspace = true\n",
            "crates/core/Cargo.toml:4: `core` must not depend on `plan`; it may depend on none of our crates\n",
        );
        case(
            "state",
            "[dependencies]\n\n[dev-dependencies]\nforebay-plan.workspace = true\n",
            "crates/state/Cargo.toml:4: `state` must not depend on `plan`; it may depend on core\n",
        );
    }

    #[test]
    fn renamed_and_target_dependencies_are_seen() {
        case(
            "plan",
            "[target.'cfg(unix)'.dependencies]\nx = { package = \"forebay-state\", path = \"../state\" }\n",
            "crates/plan/Cargo.toml:2: `plan` must not depend on `state`; it may depend on core\n",
        );
    }

    #[test]
    fn only_tests_at_engine_level_may_simulate() {
        case("cli", "[dev-dependencies]\nforebay-sim.workspace = true\n", "");
        assert!(
            !check(&Tree::of(&[("crates/cli/Cargo.toml", "[dependencies]\nforebay-sim.workspace = true\n")]))
                .is_empty()
        );
        assert!(
            !check(&Tree::of(&[("crates/state/Cargo.toml", "[dev-dependencies]\nforebay-sim.workspace = true\n")]))
                .is_empty()
        );
    }

    #[test]
    fn an_unknown_crate_asks_for_its_row() {
        case(
            "sql",
            "[dependencies]\n",
            "crates/sql/Cargo.toml:1: crate `sql` has no row in xtask/src/tidy/arrows.rs\n",
        );
    }
}
