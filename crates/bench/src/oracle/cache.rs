//! Plans kept on disk, because a search takes longer than all runs it is the yardstick for.
//!
//! The key is a hash of everything that a search reads, so that no plan is ever out of date; what cannot be read is searched again.

use std::path::PathBuf;

use xxhash_rust::xxh3::xxh3_128;

use super::Plan;
use crate::scenario::{Accept, Scenario};

/// To be raised whenever backends, clients or the search change what they do: old plans are then no longer found.
const VERSION: u32 = 2;

/// The plan for `scenario`, if one was kept.
pub fn read(scenario: &Scenario) -> Option<Plan> {
    let text = std::fs::read_to_string(path(scenario)?).ok()?;
    serde_json::from_str(&text).ok()
}

/// Keeps a plan. Written aside and renamed, so that a reader beside us never sees half of one.
pub fn write(scenario: &Scenario, plan: &Plan) {
    let Some(path) = path(scenario) else { return };
    let aside = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = path
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&aside, serde_json::to_string_pretty(plan)?))
        .and_then(|()| std::fs::rename(&aside, &path));
    // Only time is lost when a plan cannot be kept.
    drop(written);
}

/// `$FOREBAY_CACHE`, else `$HOME/.cache/forebay`; below it, a file for each hash.
fn path(scenario: &Scenario) -> Option<PathBuf> {
    let folder = match std::env::var_os("FOREBAY_CACHE") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache").join("forebay"),
    };
    Some(folder.join("gate-oracle").join(format!("{:032x}.json", hash(scenario))))
}

/// Of everything but names and what is accepted.
fn hash(scenario: &Scenario) -> u128 {
    let bare = Scenario { name: String::new(), title: String::new(), accept: Accept::default(), ..scenario.clone() };
    xxh3_128(format!("{VERSION} {bare:?}").as_bytes())
}
