//! What a job does before it runs, as a pure state machine.
//!
//! ```text
//! Begin -> ListEpochs -> ReadGeneration -> ClaimGeneration --lost--> ReadGeneration
//!       -> ListEpochs -> ReadEpoch(newest) -> [LookForCommitted -> Commit -> WriteCommitted] -> [ReadEpoch(asked for)]
//!       -> WriteManifest -> CreateEpoch(newest + 1, the same state) --lost--> ReadGeneration -> ListEpochs ...
//!       -> AbortStaged -> Run
//! ```
//!
//! A start without any epoch claims epoch 1 with the empty state. A start from an older epoch claims the next free number
//! with that epoch's state: numbers only grow. Nothing is aborted before the claim is won, and nothing runs before everything
//! published is committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::element::Epoch;
use forebay_core::{Error, Kind, Result};

use super::layout::Layout;
use super::manifest::{EpochKind, EpochRecord, FORMAT, Manifest};
use super::protocol::{Action, Ending, Event, PlantedBug};
use super::publish::fenced;

/// Where a start begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// From the newest epoch; from nothing if there is none.
    Latest,
    /// From this epoch. Transactional sinks take back what later epochs committed; rows after it are processed again.
    Epoch(Epoch),
    /// From nothing; refused where any epoch exists.
    Fresh,
}

/// What an attempt starts with.
#[derive(Debug, Clone, PartialEq)]
pub struct Started {
    /// The claimed generation. Starts of one region: each claims one, so it equals `attempt` today.
    pub generation: u64,
    /// The attempt, greater than every earlier one.
    pub attempt: u64,
    /// The epoch whose state to load, `None` to start empty. Its `state_of` names the checkpoint.
    pub restored: Option<Arc<Manifest>>,
    /// The number of the next checkpoint.
    pub next_epoch: Epoch,
}

/// Restarts one region.
#[derive(Debug, Clone)]
pub struct Restart {
    layout: Layout,
    resume: Resume,
    wall_micros: i64,
    bug: Option<PlantedBug>,
    /// The generation asked for or claimed, and whether it is ours.
    generation: u64,
    generation_claimed: bool,
    newest: Option<Epoch>,
    newest_manifest: Option<Arc<Manifest>>,
    newest_settled: bool,
    base: Option<Arc<Manifest>>,
    claim: Option<EpochRecord>,
    claim_won: bool,
}

// === impl Restart ===

impl Restart {
    /// A restart of the job of `layout`; `wall_micros` goes into the claim, for people. Begins with [`Event::Begin`].
    pub fn new(layout: Layout, resume: Resume, wall_micros: i64, bug: Option<PlantedBug>) -> Self {
        Self {
            layout,
            resume,
            wall_micros,
            bug,
            generation: 0,
            generation_claimed: false,
            newest: None,
            newest_manifest: None,
            newest_settled: false,
            base: None,
            claim: None,
            claim_won: false,
        }
    }

    /// What to do after `event`.
    ///
    /// # Errors
    /// `Internal` for an event that no action of this machine has as its answer.
    pub fn step(&mut self, event: Event) -> Result<Action> {
        match event {
            Event::Begin => Ok(Action::ListEpochs),
            Event::NewestEpoch(newest) => self.on_newest_epoch(newest),
            Event::Generation(newest) => Ok(self.on_generation(newest)),
            Event::GenerationClaimed(won) => Ok(self.on_generation_claimed(won)),
            Event::EpochRead(manifest) => self.on_epoch_read(manifest),
            Event::NewestUnreadable | Event::CommitMarker(true) | Event::CommitMarked => self.choose_base(),
            Event::CommitMarker(false) => self.commit_newest(),
            Event::Committed => Ok(Action::WriteCommitted(self.newest.unwrap_or(Epoch(0)))),
            Event::ManifestWritten => self.create_claim(),
            Event::EpochCreated => Ok(self.on_claim_won()),
            Event::EpochTaken(record) if self.claim.as_ref() == Some(&record) => Ok(self.on_claim_won()),
            Event::EpochTaken(_) => Ok(Action::ReadGeneration),
            Event::StagedAborted if self.claim_won || self.bug == Some(PlantedBug::NoClaim) => Ok(self.run()),
            Event::StagedAborted => self.write_claim(),
        }
    }

    fn on_newest_epoch(&mut self, newest: Option<Epoch>) -> Result<Action> {
        if !self.generation_claimed {
            let refused = self.resume == Resume::Fresh && newest.is_some();
            return Ok(if refused { Action::End(Box::new(Ending::NotFresh)) } else { Action::ReadGeneration });
        }
        (self.newest, self.newest_manifest, self.newest_settled) = (newest, None, false);
        match newest {
            Some(epoch) => Ok(Action::ReadEpoch(epoch)),
            None => self.choose_base(),
        }
    }

    fn on_generation(&mut self, newest: u64) -> Action {
        if !self.generation_claimed {
            self.generation = newest + 1;
            return Action::ClaimGeneration(self.generation);
        }
        if newest > self.generation {
            return fenced(format!("generation {newest} was claimed; this is generation {}", self.generation));
        }
        Action::ListEpochs
    }

    fn on_generation_claimed(&mut self, won: bool) -> Action {
        self.generation_claimed = won;
        if won { Action::ListEpochs } else { Action::ReadGeneration }
    }

    fn on_epoch_read(&mut self, manifest: Arc<Manifest>) -> Result<Action> {
        if self.newest_settled {
            self.base = Some(manifest);
            return self.claim_next();
        }
        let owes = manifest.needs_commit() && self.bug != Some(PlantedBug::NoReplayCommit);
        self.newest_manifest = Some(Arc::clone(&manifest));
        if owes { Ok(Action::LookForCommitted(manifest.epoch)) } else { self.choose_base() }
    }

    fn commit_newest(&self) -> Result<Action> {
        let manifest = self.newest_manifest.as_ref().ok_or_else(|| unexpected("commit before read"))?;
        Ok(Action::Commit(Arc::clone(manifest)))
    }

    /// The newest epoch is committed, unreadable, or there is none: from which state does the job go on?
    fn choose_base(&mut self) -> Result<Action> {
        self.newest_settled = true;
        match self.resume {
            Resume::Epoch(epoch) if self.newest != Some(epoch) || self.newest_manifest.is_none() => {
                Ok(Action::ReadEpoch(epoch))
            }
            _ => {
                self.base.clone_from(&self.newest_manifest);
                self.claim_next()
            }
        }
    }

    fn claim_next(&mut self) -> Result<Action> {
        match self.bug {
            Some(PlantedBug::NoClaim | PlantedBug::AbortBeforeClaim) => {
                Ok(Action::AbortStaged { before: self.generation })
            }
            _ => self.write_claim(),
        }
    }

    fn write_claim(&mut self) -> Result<Action> {
        let encoded = self.claim_manifest().encode(&self.layout)?;
        self.claim = Some(encoded.record.clone());
        Ok(Action::WriteManifest(Arc::new(encoded)))
    }

    fn create_claim(&self) -> Result<Action> {
        let record = self.claim.clone().ok_or_else(|| unexpected("claim before manifest"))?;
        Ok(Action::CreateEpoch { record, overwrite: false })
    }

    fn on_claim_won(&mut self) -> Action {
        self.claim_won = true;
        match self.bug {
            Some(PlantedBug::AbortBeforeClaim) => self.run(),
            _ => Action::AbortStaged { before: self.generation },
        }
    }

    fn run(&self) -> Action {
        let claimed = self.next_epoch();
        let next_epoch = if self.claim_won { claimed.next() } else { claimed };
        let restored = self.base.clone().filter(|manifest| manifest.state_of.is_some());
        let started = Started { generation: self.generation, attempt: self.generation, restored, next_epoch };
        Action::End(Box::new(Ending::Run(started)))
    }

    fn next_epoch(&self) -> Epoch {
        self.newest.map_or(Epoch(1), Epoch::next)
    }

    /// The base's state under the next number, owing nothing to sinks.
    fn claim_manifest(&self) -> Manifest {
        let base = self.base.as_deref().cloned().unwrap_or_else(|| self.empty_manifest());
        Manifest {
            format: FORMAT,
            epoch: self.next_epoch(),
            parent: self.newest,
            kind: EpochKind::Claim,
            generation: self.generation,
            attempt: self.generation,
            created_wall_micros: self.wall_micros,
            committables: Vec::new(),
            ..base
        }
    }

    fn empty_manifest(&self) -> Manifest {
        Manifest {
            format: FORMAT,
            job: self.layout.job().to_string(),
            region: self.layout.number(),
            epoch: Epoch(0),
            parent: None,
            kind: EpochKind::Claim,
            state_of: None,
            generation: 0,
            attempt: 0,
            created_wall_micros: 0,
            parallelism: BTreeMap::new(),
            key_groups: 0,
            regions: 0,
            plan_hash: String::new(),
            files: Vec::new(),
            earlier: Vec::new(),
            committables: Vec::new(),
            ended: false,
            extra: serde_json::Map::new(),
        }
    }
}

fn unexpected(what: &'static str) -> Error {
    Error::new(Kind::Internal, "restart job").with("unexpected", what)
}
