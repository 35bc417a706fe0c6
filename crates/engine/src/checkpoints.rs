//! What a published checkpoint involves: state files, the epoch record, the commit of every sink, and letting go of what no
//! kept checkpoint needs any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::Result;
use forebay_core::element::Epoch;
use forebay_inference::journal::Journal;
use forebay_runtime::attempt::{Checkpoints, Committables, SavedState, SubtaskState};
use forebay_state::checkpoint::{
    CheckpointFolder, Committers, ManifestDraft, Published, SinkCommittables, StateEntry, StateFile, StillNeeded,
    SubtaskSnapshot,
};
use forebay_state::edge;
use futures::future::BoxFuture;

use crate::edges::RegionEdges;
use crate::model::ServiceModel;
use crate::models::learned;

/// Checkpoints of one attempt.
#[derive(Clone)]
pub struct JobCheckpoints {
    /// Where they are published.
    pub folder: CheckpointFolder,
    /// Who publishes the sinks.
    pub committers: Arc<Committers>,
    /// Committer of each writer; several writers may share one.
    pub committer_of: Arc<BTreeMap<String, String>>,
    /// The parts of the manifest that do not change.
    pub draft: ManifestDraft,
    /// The journal to trim.
    pub journal: Option<Journal>,
    /// The models whose learned limits go into the manifest.
    pub services: BTreeMap<String, ServiceModel>,
    /// How many checkpoints are kept.
    pub keep: usize,
    /// The durable edges that the region reads and writes.
    pub(crate) edges: RegionEdges,
}

// === impl JobCheckpoints ===

impl JobCheckpoints {
    async fn publish_and_let_go(self, draft: ManifestDraft) -> Result<()> {
        let Published { epoch, .. } = self.folder.publish(draft, &self.committers).await?;
        self.edges.publish(edge::Published { epoch, state_of: Some(epoch) }).await?;
        // What cannot be removed now is removed after the next checkpoint; that must not fail the job.
        match self.folder.retain(self.keep).await {
            Ok(Some(needed)) => self.trim(needed).await,
            Ok(None) => {}
            Err(error) => tracing::warn!("old checkpoints stay for now: {}", error.chain()),
        }
        Ok(())
    }

    async fn trim(&self, needed: StillNeeded) {
        if let Err(error) = self.edges.retain(needed.edges).await {
            tracing::warn!("rows of durable edges stay for now: {}", error.chain());
        }
        let Some(journal) = &self.journal else { return };
        if let Err(error) = journal.trim(needed.journal).await {
            tracing::warn!("journal entries stay for now: {}", error.chain());
        }
    }

    fn by_committer(&self, committables: Committables) -> Vec<SinkCommittables> {
        let mut sinks: BTreeMap<String, Vec<Bytes>> = BTreeMap::new();
        for (writer, items) in committables {
            let sink = self.committer_of.get(&writer).cloned().unwrap_or(writer);
            sinks.entry(sink).or_default().extend(items);
        }
        sinks.into_iter().map(|(sink, items)| SinkCommittables { sink, items }).collect()
    }
}

impl Checkpoints for JobCheckpoints {
    fn save(&self, epoch: Epoch, state: SubtaskState) -> BoxFuture<'static, Result<SavedState>> {
        let (folder, edges) = (self.folder.clone(), self.edges.clone());
        Box::pin(async move {
            let SubtaskState { task, subtask, entries, lineages } = state;
            for (operator, key_group, bytes) in &entries {
                edges.note(epoch, operator, *key_group, bytes)?;
            }
            let entry = |(operator, key_group, bytes)| StateEntry { operator, key_group, bytes };
            let entries = entries.into_iter().map(entry).collect();
            let snapshot = SubtaskSnapshot { task, subtask, epoch, entries };
            let file = folder.write_snapshot(&snapshot, &lineages).await?;
            let StateFile { task, subtask, path, size_bytes, hash, completed, parts, .. } = file;
            Ok(SavedState { task, subtask, path, size_bytes, hash, completed, parts })
        })
    }

    fn publish(
        &self,
        epoch: Epoch,
        saved: Vec<SavedState>,
        committables: Committables,
        ended: bool,
    ) -> BoxFuture<'static, Result<()>> {
        let file = |state: SavedState| {
            let SavedState { task, subtask, path, size_bytes, hash, completed, parts } = state;
            StateFile { task, subtask, path, size_bytes, hash, epoch: Some(epoch), completed, parts }
        };
        let draft = ManifestDraft {
            epoch,
            files: saved.into_iter().map(file).collect(),
            committables: self.by_committer(committables),
            ended,
            extra: learned(&self.services),
            ..self.draft.clone()
        };
        Box::pin(self.clone().publish_and_let_go(draft))
    }
}
