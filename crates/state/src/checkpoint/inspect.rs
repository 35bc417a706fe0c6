//! Looking at checkpoints without changing anything: list, show, verify, and the way out of a broken one.

use forebay_core::element::Epoch;
use forebay_core::{Error, Kind, Result};

use super::folder::CheckpointFolder;
use super::lineage::ways;
use super::manifest::{EpochKind, Manifest};
use super::savepoint::Savepoint;

/// One epoch, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// Its number.
    pub epoch: Epoch,
    /// What the manifest says, or why it cannot be read.
    pub summary: Result<Summary, String>,
}

/// What a manifest says, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Why the epoch exists.
    pub kind: EpochKind,
    /// The checkpoint whose state it holds.
    pub state_of: Option<Epoch>,
    /// The attempt that published it.
    pub attempt: u64,
    /// When, microseconds since 1970.
    pub created_wall_micros: i64,
    /// Number of state files that a restore reads.
    pub files: usize,
    /// Bytes of state that a restore reads.
    pub state_bytes: u64,
    /// Bytes of state that were written for this epoch.
    pub written_bytes: u64,
    /// False while its sinks have still to commit.
    pub committed: bool,
    /// True for the last epoch of a job that has read all its input.
    pub ended: bool,
}

/// Something wrong with an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The epoch that needs the file.
    pub epoch: Epoch,
    /// The file, from the store's root.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
    /// What the user can do.
    pub to_do: String,
}

// === impl CheckpointFolder ===

impl CheckpointFolder {
    /// Epochs that are kept, oldest first; one that cannot be read is shown with the reason.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn list(&self) -> Result<Vec<CheckpointInfo>> {
        let mut found = Vec::new();
        for epoch in self.records.kept_epochs().await? {
            let summary = match self.records.epoch(epoch).await {
                Ok(manifest) => Ok(self.summary(&manifest).await?),
                Err(error) if error.kind() == Kind::Corrupt => Err(error.chain()),
                Err(error) => return Err(error),
            };
            found.push(CheckpointInfo { epoch, summary });
        }
        Ok(found)
    }

    async fn summary(&self, manifest: &Manifest) -> Result<Summary> {
        let marker = self.records.layout.committed(manifest.epoch);
        let committed = !manifest.needs_commit() || self.records.store.read(&marker).await?.is_some();
        Ok(Summary {
            kind: manifest.kind,
            state_of: manifest.state_of,
            attempt: manifest.attempt,
            created_wall_micros: manifest.created_wall_micros,
            files: manifest.all_files().count(),
            state_bytes: manifest.state_bytes(),
            written_bytes: if manifest.kind == EpochKind::Claim { 0 } else { manifest.written_bytes() },
            committed,
            ended: manifest.ended,
        })
    }

    /// The manifest of an epoch.
    ///
    /// # Errors
    /// `Invalid` if there is no such epoch or it is no longer kept; `Corrupt` if it cannot be read.
    pub async fn show(&self, epoch: Epoch) -> Result<Manifest> {
        self.records.epoch(epoch).await
    }

    /// Reads every file of `epoch`, or of all kept epochs, and says what is wrong. Empty means restorable.
    ///
    /// # Errors
    /// `Invalid` if there is no such epoch; whatever the store fails with. A broken file is no error but a problem.
    pub async fn verify(&self, epoch: Option<Epoch>) -> Result<Vec<Problem>> {
        let epochs = match epoch {
            Some(epoch) => vec![epoch],
            None => self.records.kept_epochs().await?,
        };
        let mut problems = Vec::new();
        for epoch in epochs {
            problems.extend(self.verify_epoch(epoch).await?);
        }
        if !problems.is_empty() {
            let readable = self.newest_readable(None).await?;
            problems.iter_mut().for_each(|problem| problem.to_do = self.to_do(problem.epoch, readable));
        }
        Ok(problems)
    }

    async fn verify_epoch(&self, epoch: Epoch) -> Result<Vec<Problem>> {
        let manifest = match self.records.epoch(epoch).await {
            Ok(manifest) => manifest,
            Err(error) => return Ok(vec![problem(epoch, error)?]),
        };
        let mut problems = Vec::new();
        for file in manifest.all_files() {
            if let Err(error) = self.records.snapshot(file).await {
                problems.push(problem(epoch, error)?);
            }
        }
        if let Err(error) = ways(&manifest) {
            problems.push(problem(epoch, error)?);
        }
        Ok(problems)
    }

    /// Refuses an epoch that the job went back behind since: its sinks took back what it committed, so its state no longer
    /// fits the output.
    ///
    /// # Errors
    /// `Invalid` if it did; whatever the store fails with.
    pub async fn refuse_given_up(&self, asked: Epoch) -> Result<()> {
        // What cannot be read is reported where it is needed.
        let Ok(manifest) = self.records.epoch(asked).await else { return Ok(()) };
        let later = self.given_up_by(&manifest).await?;
        if later.is_none() && !self.records.retained().await?.given_up.contains(&asked) {
            return Ok(());
        }
        let later = later.map_or_else(|| "an epoch that is no longer kept".to_string(), |epoch| epoch.to_string());
        Err(Error::new(Kind::Invalid, "resume job")
            .with("epoch", asked)
            .with("given up by", later)
            .with("to do", "resume without naming an epoch or savepoint, or from an older one")
            .source("the job went back to an older checkpoint since, and took back the output of this one"))
    }

    /// Whether the job went back behind `savepoint` since, so that no start can go back to it.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn has_given_up(&self, savepoint: &Savepoint) -> Result<bool> {
        for (region, epoch) in &savepoint.regions {
            match self.clone().of_region(*region).refuse_given_up(*epoch).await {
                Err(error) if error.kind() == Kind::Invalid => return Ok(true),
                other => other?,
            }
        }
        Ok(false)
    }

    /// The first epoch after that of `asked` with an older state, of those that are kept.
    pub(super) async fn given_up_by(&self, asked: &Manifest) -> Result<Option<Epoch>> {
        let state_of = |manifest: &Manifest| manifest.state_of.unwrap_or(Epoch(0));
        for later in self.records.kept_epochs().await?.into_iter().filter(|epoch| *epoch > asked.epoch) {
            let Ok(manifest) = self.records.epoch(later).await else { continue };
            if state_of(&manifest) < state_of(asked) {
                return Ok(Some(later));
            }
        }
        Ok(None)
    }

    /// Adds to a `Corrupt` error which epoch the user can resume from instead of `broken`.
    pub(super) async fn with_way_out(&self, error: Error, broken: Epoch) -> Error {
        if error.kind() != Kind::Corrupt {
            return error;
        }
        match self.newest_readable(Some(broken)).await {
            Ok(readable) => error.with("to do", self.to_do(broken, readable)),
            // The store fails as well; the first error is the one to act on.
            Err(_) => error,
        }
    }

    /// The newest checkpoint, before `broken` if given, all of whose files verify.
    async fn newest_readable(&self, broken: Option<Epoch>) -> Result<Option<Epoch>> {
        let mut epochs = self.records.kept_epochs().await?;
        epochs.retain(|epoch| broken.is_none_or(|broken| *epoch < broken));
        while let Some(epoch) = epochs.pop() {
            let is_checkpoint = self.records.epoch(epoch).await.is_ok_and(|found| found.kind == EpochKind::Checkpoint);
            if is_checkpoint && self.verify_epoch(epoch).await?.is_empty() {
                return Ok(Some(epoch));
            }
        }
        Ok(None)
    }

    fn to_do(&self, broken: Epoch, readable: Option<Epoch>) -> String {
        let asked = |epoch: Epoch| match &self.name {
            Some(region) => format!("{region}={epoch}"),
            None => epoch.to_string(),
        };
        match readable {
            Some(newer) if newer > broken => format!("nothing for `--resume latest`; epoch {broken} itself is lost"),
            Some(older) => format!(
                "pass `--resume {}`, the newest checkpoint that can be read; transactional sinks take back what later \
                 epochs committed, and those rows are processed again",
                asked(older)
            ),
            None => "no checkpoint can be read: restore the file from a backup, or start in another folder".to_string(),
        }
    }
}

/// A `Corrupt` error as a problem; other errors stay errors.
fn problem(epoch: Epoch, error: Error) -> Result<Problem> {
    if error.kind() != Kind::Corrupt {
        return Err(error);
    }
    let path = error.context().iter().find(|(key, _)| *key == "file").map_or("", |(_, value)| value.as_str());
    Ok(Problem { epoch, path: path.to_string(), what: error.chain(), to_do: String::new() })
}
