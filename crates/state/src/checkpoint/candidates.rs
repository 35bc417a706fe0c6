//! The checkpoints that a restore may choose from.

use forebay_core::Result;
use forebay_core::element::Epoch;

use super::folder::CheckpointFolder;
use super::manifest::Manifest;

// === impl CheckpointFolder ===

impl CheckpointFolder {
    /// Kept epochs up to `upto` with a state to go on from, oldest first. Left out are those whose manifest cannot be read, and those
    /// that a later start gave up: sinks took back what these committed. Whether the state files can be read is not
    /// looked at.
    ///
    /// # Errors
    /// `Invalid` if there is no epoch `upto`, it is no longer kept, or it was given up; `Corrupt` if that one cannot be
    /// read; whatever the store fails with.
    pub async fn restorable(&self, upto: Option<Epoch>) -> Result<Vec<Manifest>> {
        if let Some(asked) = upto {
            self.records.epoch(asked).await?;
            self.refuse_given_up(asked).await?;
        }
        let (mut found, mut least) = (Vec::new(), None);
        let known = self.records.retained().await?.given_up;
        for epoch in self.records.kept_epochs().await?.into_iter().rev() {
            let Ok(manifest) = self.records.epoch(epoch).await else { continue };
            let given_up = known.contains(&epoch) || least.is_some_and(|least| manifest.state_of > least);
            if !given_up {
                least = Some(manifest.state_of);
            }
            if !given_up && manifest.state_of.is_some() && upto.is_none_or(|upto| epoch <= upto) {
                found.push(manifest);
            }
        }
        found.reverse();
        Ok(found)
    }
}
