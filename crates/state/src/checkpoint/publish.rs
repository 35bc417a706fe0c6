//! Publishing one epoch, as a pure state machine.
//!
//! ```text
//! Begin -> WriteManifest -> ReadGeneration -> CreateEpoch -> [Commit -> WriteCommitted] -> Published
//!                                |                |
//!                                '--- newer ------'--- another's ---> Fenced
//! ```
//!
//! What has happened decides alone what comes next, so the machine holds no state besides what it publishes, and may be begun
//! again with the same manifest after an error: every action is repeatable. It never publishes for someone else.

use std::sync::Arc;

use forebay_core::{Error, Kind, Result};

use super::layout::Layout;
use super::manifest::{Encoded, Manifest};
use super::protocol::{Action, Ending, Event, PlantedBug};

/// Publishes one epoch of one attempt.
#[derive(Debug, Clone)]
pub struct Publish {
    manifest: Arc<Manifest>,
    encoded: Arc<Encoded>,
    bug: Option<PlantedBug>,
}

// === impl Publish ===

impl Publish {
    /// Publishes `manifest`, all of whose state files are durable. Begins with [`Event::Begin`].
    ///
    /// # Errors
    /// `Internal` if the manifest cannot be encoded.
    pub fn new(manifest: Manifest, layout: &Layout, bug: Option<PlantedBug>) -> Result<Self> {
        let encoded = Arc::new(manifest.encode(layout)?);
        Ok(Self { manifest: Arc::new(manifest), encoded, bug })
    }

    /// What to do after `event`.
    ///
    /// # Errors
    /// `Internal` for an event that no action of this machine has as its answer.
    pub fn step(&mut self, event: Event) -> Result<Action> {
        Ok(match event {
            Event::Begin => Action::WriteManifest(Arc::clone(&self.encoded)),
            Event::ManifestWritten if self.bug == Some(PlantedBug::SkipGenerationCheck) => self.create_epoch(),
            Event::ManifestWritten => Action::ReadGeneration,
            Event::Generation(newest) if newest > self.manifest.generation => {
                fenced(format!("generation {newest} was claimed; this is generation {}", self.manifest.generation))
            }
            Event::Generation(_) => self.create_epoch(),
            Event::EpochCreated => self.after_creation(),
            // An object store's client may repeat a create whose answer was lost, and then find its own record.
            Event::EpochTaken(record) if record == self.encoded.record => self.after_creation(),
            Event::EpochTaken(record) => fenced(format!(
                "epoch {} belongs to attempt {}; this is attempt {}",
                record.epoch, record.attempt, self.manifest.attempt
            )),
            Event::Committed => Action::WriteCommitted(self.manifest.epoch),
            Event::CommitMarked => self.published(),
            other => return Err(Error::new(Kind::Internal, "publish epoch").with("unexpected", format!("{other:?}"))),
        })
    }

    fn create_epoch(&self) -> Action {
        let overwrite = self.bug == Some(PlantedBug::OverwriteEpochRecord);
        Action::CreateEpoch { record: self.encoded.record.clone(), overwrite }
    }

    fn after_creation(&self) -> Action {
        if self.manifest.needs_commit() { Action::Commit(Arc::clone(&self.manifest)) } else { self.published() }
    }

    fn published(&self) -> Action {
        Action::End(Box::new(Ending::Published(self.manifest.epoch)))
    }
}

pub(super) fn fenced(reason: String) -> Action {
    Action::End(Box::new(Ending::Fenced { reason }))
}
