//! What dead processes left unfinished in a local folder.
//!
//! A process that is killed while it writes an object leaves a file that no name refers to. Other processes may be writing beside it,
//! of this job or another, so it goes by its age alone; what is removed too early fails the write, which is made again.

use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::STAGING;

/// Nobody writes one object for so long.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Removes unfinished files below `root` that were last written to a day before `now_micros`, since 1970-01-01 UTC. Best effort: where
/// that may not be done nothing depends on it.
pub(super) fn remove_abandoned(root: &Path, now_micros: i64) {
    let Ok(entries) = fs::read_dir(root.join(STAGING)) else { return };
    let now = UNIX_EPOCH + Duration::from_micros(u64::try_from(now_micros).unwrap_or_default());
    for entry in entries.flatten() {
        let written = entry.metadata().and_then(|data| data.modified());
        let age = written.ok().and_then(|written| now.duration_since(written).ok());
        if age.is_some_and(|age| age > ABANDONED_AFTER) {
            // What stays takes room and nothing else; the next start tries again.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_files_go_after_a_day() {
        let folder = tempfile::tempdir().unwrap();
        remove_abandoned(folder.path(), 0);
        let staging = folder.path().join(STAGING);
        fs::create_dir(&staging).unwrap();
        let day = ABANDONED_AFTER.as_micros() as u64;
        for (name, micros) in [("old", 0), ("new", day)] {
            let file = fs::File::create(staging.join(name)).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_micros(micros)).unwrap();
        }
        let left = || {
            let mut names: Vec<_> = fs::read_dir(&staging).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        remove_abandoned(folder.path(), day as i64);
        assert_eq!(left(), ["new", "old"]);
        remove_abandoned(folder.path(), day as i64 + 1);
        assert_eq!(left(), ["new"]);
    }
}
