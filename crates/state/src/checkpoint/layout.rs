//! Where each file of a job lies in its store, and how names are read back. See the [module header](super).

use forebay_core::element::Epoch;
use forebay_core::{Error, Kind, Result};

use crate::store::STAGING;

/// The first region, the only one of most jobs.
pub const REGION: u32 = 0;

/// Longest part of a file name taken from a task's name; the hash keeps names apart.
const TASK_CHARS_MAX: usize = 60;

/// Longest name of a savepoint.
const SAVEPOINT_CHARS_MAX: usize = 64;

/// Paths of one region of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    job: String,
    region: u32,
}

// === impl Layout ===

impl Layout {
    /// The paths of `job`, those of its first region.
    ///
    /// # Errors
    /// `Invalid` if the name cannot be a folder's.
    pub fn new(job: &str) -> Result<Self> {
        crate::path::check_path(job)?;
        if job.contains('/') || job == STAGING {
            return Err(Error::new(Kind::Invalid, "name job folder").with("job", job).source("not usable as a folder"));
        }
        Ok(Self { job: job.to_string(), region: REGION })
    }

    /// The paths of another region of the same job: its epochs and generations are its own, what is written once is not.
    #[must_use]
    pub fn of_region(self, region: u32) -> Self {
        Self { region, ..self }
    }

    /// Which region, from 0.
    pub fn number(&self) -> u32 {
        self.region
    }

    /// The job's name.
    pub fn job(&self) -> &str {
        &self.job
    }

    /// Folder of claimed generations.
    pub fn generations(&self) -> String {
        if self.region == REGION { format!("{}/generation", self.job) } else { self.region("generation") }
    }

    /// Claim of one generation.
    pub fn generation(&self, generation: u64) -> String {
        format!("{}/{generation:010}", self.generations())
    }

    /// Folder `name` of the region.
    fn region(&self, name: &str) -> String {
        format!("{}/region-{}/{name}", self.job, self.region)
    }

    /// Folder of epoch records.
    pub fn epochs(&self) -> String {
        self.region("epoch")
    }

    /// One epoch record.
    pub fn epoch(&self, epoch: Epoch) -> String {
        format!("{}/{:010}.json", self.epochs(), epoch.0)
    }

    /// Folder of manifests.
    pub fn manifests(&self) -> String {
        self.region("manifest")
    }

    /// One manifest; its hash keeps the manifests of rivals for one epoch apart.
    pub fn manifest(&self, epoch: Epoch, generation: u64, hash: &str) -> String {
        format!("{}/{:010}-{generation}-{hash}.json", self.manifests(), epoch.0)
    }

    /// Folder of markers of committed epochs.
    pub fn committed_markers(&self) -> String {
        self.region("committed")
    }

    /// Marker of a committed epoch.
    pub fn committed(&self, epoch: Epoch) -> String {
        format!("{}/{:010}", self.committed_markers(), epoch.0)
    }

    /// Folder of state files.
    pub fn states(&self) -> String {
        self.region("state")
    }

    /// One state file; its hash keeps the files of rivals apart.
    pub fn state(&self, epoch: Epoch, attempt: u64, task: &str, subtask: u16, hash: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let task: String = task.chars().take(TASK_CHARS_MAX).map(plain).collect();
        format!("{}/{:010}-{attempt}/{task}-{subtask}-{hash}.snap", self.states(), epoch.0)
    }

    /// What [`CheckpointFolder::retain`](super::CheckpointFolder::retain) last decided.
    pub fn retained(&self) -> String {
        self.region("retained.json")
    }

    /// Folder of the job's decisions to go back.
    pub fn restore_decisions(&self) -> String {
        format!("{}/restore", self.job)
    }

    /// One decision; its regions share it.
    pub fn restore_decision(&self, number: u64) -> String {
        format!("{}/{number:010}.json", self.restore_decisions())
    }

    /// Folder of the job's savepoints.
    pub fn savepoints(&self) -> String {
        format!("{}/savepoint", self.job)
    }

    /// One savepoint; its regions share it.
    ///
    /// # Errors
    /// `Invalid` if `name` cannot be a file's.
    pub fn savepoint(&self, name: &str) -> Result<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > SAVEPOINT_CHARS_MAX || name.starts_with('.') || !name.chars().all(plain) {
            return Err(Error::new(Kind::Invalid, "name savepoint").with("name", name).source(format!(
                "expected 1 to {SAVEPOINT_CHARS_MAX} letters, digits, `-`, `_` and `.`, no `.` in front"
            )));
        }
        Ok(format!("{}/{name}.json", self.savepoints()))
    }

    /// Folder of what the savepoint `name` keeps of the durable edge `edge`; without an edge, of all.
    pub(super) fn savepoint_logs(&self, name: &str, edge: Option<&str>) -> String {
        let all = format!("{}/savepoint-edges/{name}", self.job);
        edge.map_or_else(|| all.clone(), |edge| format!("{all}/{edge}"))
    }

    /// Which region's folder `path` is in.
    pub(super) fn region_of(job: &str, path: &str) -> Option<u32> {
        let (number, _) = path.strip_prefix(job)?.strip_prefix("/region-")?.split_once('/')?;
        number.parse().ok()
    }

    /// Folder of values written once per job.
    pub fn values(&self) -> String {
        format!("{}/once", self.job)
    }

    /// A value written once per job.
    ///
    /// # Errors
    /// `Invalid` if `name` cannot be a path.
    pub fn once(&self, name: &str) -> Result<String> {
        crate::path::check_path(name)?;
        Ok(format!("{}/{name}", self.values()))
    }
}

/// The number that the first name below `folder` in `path` starts with.
pub(super) fn number_in(path: &str, folder: &str) -> Option<u64> {
    let name = path.strip_prefix(folder)?.strip_prefix('/')?;
    let digits = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
    name[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_sort_by_number() {
        let layout = Layout::new("job").unwrap();
        let number = |path: String, folder: String| number_in(&path, &folder);
        assert_eq!(number(layout.epoch(Epoch(12)), layout.epochs()), Some(12));
        assert_eq!(number(layout.generation(3), layout.generations()), Some(3));
        assert_eq!(number(layout.manifest(Epoch(9), 2, "ab"), layout.manifests()), Some(9));
        assert_eq!(number(layout.state(Epoch(9), 2, "a/../b", 0, "ab"), layout.states()), Some(9));
        assert!(layout.epoch(Epoch(9)) < layout.epoch(Epoch(10)));
        assert_eq!(number_in("job/other", "job/epoch"), None);
    }

    #[test]
    fn regions_share_what_is_written_once_and_nothing_else() {
        let first = Layout::new("job").unwrap();
        let second = first.clone().of_region(1);
        assert_eq!(first.once("splits").unwrap(), second.once("splits").unwrap());
        assert_eq!(second.epoch(Epoch(1)), "job/region-1/epoch/0000000001.json");
        for path in [Layout::generations, Layout::epochs, Layout::states, Layout::retained] {
            assert_ne!(path(&first), path(&second));
        }
    }

    #[test]
    fn names_that_leave_the_job_are_refused() {
        for bad in ["", "..", "a/b", STAGING] {
            assert!(Layout::new(bad).is_err(), "{bad}");
        }
        assert!(Layout::new("job").unwrap().once("../x").is_err());
        let path = Layout::new("job").unwrap().state(Epoch(1), 1, "../../x", 0, "ab");
        assert!(crate::path::check_path(&path).is_ok() && path.starts_with("job/region-0/state/"));
        for bad in ["", "..", ".x", "a/b", "a b", &"n".repeat(65)] {
            assert!(Layout::new("job").unwrap().savepoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_tells_its_region() {
        assert_eq!(Layout::region_of("job", "job/region-12/epoch/1.json"), Some(12));
        assert_eq!(Layout::region_of("job", "job/once/region-1/x"), None);
    }
}
