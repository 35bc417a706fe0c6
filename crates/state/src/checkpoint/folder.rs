//! The checkpoints of one job in a store: carries out what the pure cores ask for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::env::Env;
use forebay_core::key_group::KEY_GROUPS_DEFAULT;
use forebay_core::operator::Lineage;
use forebay_core::sink::Committer;
use forebay_core::store::{Created, Store};
use forebay_core::{Error, Kind, Result};

use super::carry_out::check_committers;
use super::layout::Layout;
use super::lineage;
use super::manifest::{EpochKind, FORMAT, Manifest, SinkCommittables, StateFile};
use super::protocol::{Action, Ending, Event, PlantedBug};
use super::publish::Publish;
use super::records::Records;
use super::restart::{Restart, Resume, Started};
use super::sealed::{seal_bytes, unseal_bytes, without_a_way_out};
use super::snapshot_file::{SubtaskSnapshot, content_hash};

/// The job's committers by sink uid.
pub type Committers = BTreeMap<String, Arc<dyn Committer>>;

/// What the engine puts into a checkpoint; the rest of the manifest is known here.
#[derive(Debug, Clone)]
pub struct ManifestDraft {
    /// The epoch of the barrier; must be the next one.
    pub epoch: Epoch,
    /// Parallelism by task.
    pub parallelism: BTreeMap<String, u16>,
    /// The job's number of key groups.
    pub key_groups: u16,
    /// How many regions the job has, if more than one; else 0.
    pub regions: u32,
    /// Hash of the plan that runs.
    pub plan_hash: String,
    /// What [`CheckpointFolder::write_snapshot`] answered, for all subtasks.
    pub files: Vec<StateFile>,
    /// What the sinks' writers prepared.
    pub committables: Vec<SinkCommittables>,
    /// True for the last epoch of a job that has read all its input.
    pub ended: bool,
    /// Whatever else the engine keeps.
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// A published epoch whose sinks have committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its number.
    pub epoch: Epoch,
    /// The number that the next publish must have.
    pub next_epoch: Epoch,
}

/// The checkpoints of one job, as one attempt after the other uses them; clones share the attempt.
///
/// # Order of calls
/// `restart` first; then `load`, any number of `write_snapshot`, `publish` with dense epochs, `retain`. A `publish` that failed
/// may be repeated with the same draft; the attempt must not go past it. `list`, `show`, `verify` and `write_once` need no restart.
#[derive(Clone)]
pub struct CheckpointFolder {
    pub(super) env: Arc<dyn Env>,
    pub(super) records: Records,
    pub(super) bug: Option<PlantedBug>,
    /// What users call the region; `None` for the only one of a job.
    pub(super) name: Option<String>,
    attempt: Arc<Mutex<Option<Running>>>,
}

/// The attempt that may publish.
#[derive(Debug, Clone)]
struct Running {
    generation: u64,
    attempt: u64,
    next_epoch: Epoch,
    /// When `next_epoch` was first tried, so that a repeated try writes the same manifest.
    tried_wall_micros: Option<i64>,
    /// All state files of each checkpoint that a snapshot of this attempt may still build on.
    known: Arc<BTreeMap<Epoch, Vec<StateFile>>>,
}

// === impl ManifestDraft ===

impl ManifestDraft {
    /// A draft without state, sinks or anything else.
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            parallelism: BTreeMap::new(),
            key_groups: KEY_GROUPS_DEFAULT,
            regions: 0,
            plan_hash: String::new(),
            files: Vec::new(),
            committables: Vec::new(),
            ended: false,
            extra: serde_json::Map::new(),
        }
    }
}

/// Whether a job may start from nothing over these sinks.
async fn check_fresh(committers: &Committers) -> Result<()> {
    for committer in committers.values() {
        committer.check_fresh().await?;
    }
    Ok(())
}

// === impl CheckpointFolder ===

impl CheckpointFolder {
    /// The checkpoints of `job` in `store`. Reads nothing yet.
    ///
    /// # Errors
    /// `Invalid` if the job's name cannot be a folder's.
    pub fn new(env: Arc<dyn Env>, store: Arc<dyn Store>, job: &str) -> Result<Self> {
        let records = Records { store, layout: Layout::new(job)? };
        Ok(Self { env, records, bug: None, name: None, attempt: Arc::default() })
    }

    /// The checkpoints of another region of the job, from 0; attempts and epochs of regions know nothing of each other.
    #[must_use]
    pub fn of_region(mut self, region: u32) -> Self {
        self.records.layout = self.records.layout.of_region(region);
        self.attempt = Arc::default();
        self
    }

    /// The same folder of a region that has a name, because the job has several: advice in errors names it.
    #[must_use]
    pub fn called(mut self, name: String) -> Self {
        self.name = Some(name);
        self
    }

    /// What users call the region; `None` for the only one of a job.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The same folder with a planted bug.
    #[doc(hidden)]
    #[must_use]
    pub fn with_bug(mut self, bug: Option<PlantedBug>) -> Self {
        self.bug = bug;
        self
    }

    /// Starts a new attempt: fences all earlier ones, commits what the newest epoch still owes its sinks, and makes the
    /// committers abort what earlier attempts staged. Dropped half-way, it leaves at most a claim; call it again.
    ///
    /// # Errors
    /// `Fenced` if a still newer attempt started; `Invalid` if `resume` does not fit what is there; `Corrupt` if the epoch
    /// cannot be read, naming the file and the newest epoch that can; whatever the store and the committers fail with.
    pub async fn restart(&self, resume: Resume, committers: &Committers) -> Result<Started> {
        if let Resume::Epoch(epoch) = resume {
            self.refuse_given_up(epoch).await?;
        }
        let mut core = Restart::new(self.records.layout.clone(), resume, self.env.wall_micros(), self.bug);
        let mut action = core.step(Event::Begin)?;
        let mut looked = false;
        loop {
            if let Action::End(ending) = action {
                return self.restarted(*ending);
            }
            let event = self.carry_out(action, resume, committers).await?;
            if let Event::NewestEpoch(newest) = &event
                && !std::mem::replace(&mut looked, true)
                && newest.is_none()
                && resume == Resume::Latest
            {
                check_fresh(committers).await?;
            }
            action = core.step(event)?;
        }
    }

    fn restarted(&self, ending: Ending) -> Result<Started> {
        match ending {
            Ending::Run(started) => {
                let Started { generation, attempt, next_epoch, .. } = started;
                let base = started.restored.as_deref();
                let known = base.and_then(|base| Some((base.state_of?, base.all_files().cloned().collect())));
                let known = Arc::new(known.into_iter().collect());
                *self.attempt.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Running { generation, attempt, next_epoch, tried_wall_micros: None, known });
                Ok(started)
            }
            Ending::NotFresh => Err(Error::new(Kind::Invalid, "start job fresh")
                .with("job", self.records.layout.job())
                .with("checkpoints", self.records.store.location())
                .source("it has checkpoints there: pass `--resume latest`, or use another folder")),
            Ending::Fenced { reason } => Err(self.fenced("restart job", reason)),
            Ending::Published(_) => Err(Error::new(Kind::Internal, "restart job").source("ended as a publish")),
        }
    }

    /// Writes the state of one subtask, durably, before `publish`. `lineages` tells of its operators that write what changed
    /// since a checkpoint; what others wrote is everything. An encoded snapshot is held in memory whole.
    ///
    /// # Errors
    /// `Internal` before `restart`; whatever the store fails with.
    pub async fn write_snapshot(
        &self,
        snapshot: &SubtaskSnapshot,
        lineages: &BTreeMap<String, Lineage>,
    ) -> Result<StateFile> {
        let attempt = self.running("write snapshot")?.attempt;
        let bytes = snapshot.encode()?;
        let (hash, size_bytes) = (content_hash(&bytes), bytes.len() as u64);
        let SubtaskSnapshot { task, subtask, epoch, entries } = snapshot;
        let path = self.records.layout.state(*epoch, attempt, task, *subtask, &hash);
        // The hash is in the name: a file that is already there holds the same state.
        self.records.store.create(&path, bytes).await?;
        Ok(StateFile {
            task: task.clone(),
            subtask: *subtask,
            path,
            size_bytes,
            hash,
            epoch: Some(*epoch),
            completed: lineage::completed(lineages),
            parts: lineage::parts(entries, lineages),
        })
    }

    /// Publishes an epoch and has its sinks commit. Once the epoch record exists the epoch counts, also if the commit then
    /// fails: the next restart repeats it.
    ///
    /// # Errors
    /// `Fenced` if a newer attempt owns the job: stop. `Invalid` if a sink has no committer, `Internal` if epochs are not
    /// dense. Other kinds: repeat with the same draft, or restart.
    pub async fn publish(&self, draft: ManifestDraft, committers: &Committers) -> Result<Published> {
        let running = self.running("publish epoch")?;
        if draft.epoch != running.next_epoch {
            return Err(Error::new(Kind::Internal, "publish epoch")
                .with("epoch", draft.epoch)
                .with("next", running.next_epoch)
                .source("epochs are dense"));
        }
        check_committers(&draft.committables, committers)?;
        let manifest = self.manifest(draft, &running)?;
        let mut core = Publish::new(manifest.clone(), &self.records.layout, self.bug)?;
        let mut action = core.step(Event::Begin)?;
        loop {
            if let Action::End(ending) = action {
                return self.published(*ending, &manifest);
            }
            action = core.step(self.carry_out(action, Resume::Latest, committers).await?)?;
        }
    }

    fn published(&self, ending: Ending, manifest: &Manifest) -> Result<Published> {
        match ending {
            Ending::Published(epoch) => {
                let next_epoch = epoch.next();
                if let Some(running) = self.attempt.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                    (running.next_epoch, running.tried_wall_micros) = (next_epoch, None);
                    let known = Arc::make_mut(&mut running.known);
                    known.insert(epoch, manifest.all_files().cloned().collect());
                    let oldest = manifest.files.iter().filter_map(|file| file.completed).min().unwrap_or(epoch);
                    known.retain(|known, _| *known >= oldest);
                }
                Ok(Published { epoch, next_epoch })
            }
            Ending::Fenced { reason } => Err(self.fenced("publish epoch", reason)),
            other => Err(Error::new(Kind::Internal, "publish epoch").with("unexpected", format!("{other:?}"))),
        }
    }

    /// Writes `bytes` under `name` if nothing was ever written there for this job; answers what is there.
    ///
    /// # Errors
    /// `Corrupt`, naming the file, if what is there cannot be read; `Invalid` for a name that is no path.
    pub async fn write_once(&self, name: &str, bytes: Bytes) -> Result<Bytes> {
        let path = self.records.layout.once(name)?;
        if self.records.store.create(&path, seal_bytes(&bytes)).await? == Created::New {
            return Ok(bytes);
        }
        let stored = self.records.store.read(&path).await?;
        let gone = || Error::new(Kind::Corrupt, "read value").with("file", &path).source("the file vanished");
        unseal_bytes(&path, &stored.ok_or_else(gone)?).map_err(without_a_way_out)
    }

    /// What [`CheckpointFolder::write_once`] wrote under `name`; `None` if nothing was. It survives power loss from then on:
    /// whoever wrote it may have ended before it was durable, and checkpoints hang on what is read here.
    ///
    /// # Errors
    /// As [`CheckpointFolder::write_once`].
    pub async fn read_once(&self, name: &str) -> Result<Option<Bytes>> {
        let path = self.records.layout.once(name)?;
        let Some(stored) = self.records.store.read(&path).await? else { return Ok(None) };
        let value = unseal_bytes(&path, &stored).map_err(without_a_way_out)?;
        self.records.store.create(&path, stored).await?;
        Ok(Some(value))
    }

    /// Names of everything that [`CheckpointFolder::write_once`] wrote.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn once_names(&self) -> Result<Vec<String>> {
        let folder = format!("{}/", self.records.layout.values());
        let entries = self.records.store.list(&folder).await?;
        Ok(entries.iter().filter_map(|entry| entry.path.strip_prefix(&folder).map(ToString::to_string)).collect())
    }

    /// Removes what was written under `name`, which nobody reads any more.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn remove_once(&self, name: &str) -> Result<()> {
        self.records.store.delete(&self.records.layout.once(name)?).await
    }

    fn manifest(&self, draft: ManifestDraft, running: &Running) -> Result<Manifest> {
        let epoch = running.next_epoch;
        Ok(Manifest {
            format: FORMAT,
            job: self.records.layout.job().to_string(),
            region: self.records.layout.number(),
            epoch,
            parent: epoch.0.checked_sub(1).filter(|parent| *parent > 0).map(Epoch),
            kind: EpochKind::Checkpoint,
            state_of: Some(epoch),
            generation: running.generation,
            attempt: running.attempt,
            created_wall_micros: self.tried_wall_micros(),
            parallelism: draft.parallelism,
            key_groups: draft.key_groups,
            regions: draft.regions,
            plan_hash: draft.plan_hash,
            earlier: lineage::earlier(&draft.files, &running.known)?,
            files: draft.files,
            committables: draft.committables,
            ended: draft.ended,
            extra: draft.extra,
        })
    }

    /// Files that the next snapshots of this attempt may build on.
    pub(super) fn may_build_on(&self) -> Vec<StateFile> {
        let running = self.attempt.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().flat_map(|running| running.known.values().flatten().cloned()).collect()
    }

    /// When the publish in progress was first tried.
    fn tried_wall_micros(&self) -> i64 {
        let now = self.env.wall_micros();
        let mut running = self.attempt.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_mut().map_or(now, |running| *running.tried_wall_micros.get_or_insert(now))
    }

    fn running(&self, attempted: &str) -> Result<Running> {
        let running = self.attempt.lock().unwrap_or_else(PoisonError::into_inner).clone();
        running.ok_or_else(|| Error::new(Kind::Internal, attempted).source("no attempt was started"))
    }

    /// The generation of the attempt that this folder started, if it started one.
    pub(super) fn own_generation(&self) -> Option<u64> {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|running| running.generation)
    }

    pub(super) fn fenced(&self, attempted: &str, reason: String) -> Error {
        Error::new(Kind::Fenced, attempted).with("job", self.records.layout.job()).source(reason)
    }
}
