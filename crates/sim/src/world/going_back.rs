//! Going back: how a process asks to begin from older checkpoints and from savepoints, and what may be refused.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::Kind;
use forebay_core::element::Epoch;
use forebay_engine::ResumeJob;
use forebay_state::checkpoint::{CheckpointInfo, Savepoint};

use crate::random::Random;
use crate::scenario::Back;

use super::{End, World};

// === impl World ===

impl World {
    /// How a process asks to begin that goes `back`.
    pub(super) fn resume(&mut self, back: Back) -> Result<ResumeJob, String> {
        match (back, self.scenario.is_cut()) {
            (Back::Latest, _) => Ok(ResumeJob::Latest),
            (Back::Older, false) => self.older_checkpoint(),
            (Back::Older, true) => self.older_of_regions(),
            (Back::Savepoint, _) => self.some_savepoint(),
        }
    }

    /// Whether the engine may refuse to begin so.
    pub(super) fn may_be_refused(&self, asked: &ResumeJob, kind: Kind, chain: &str) -> bool {
        let name = match (asked, kind) {
            (ResumeJob::Savepoint(_), Kind::Invalid) if chain.contains("begun and not completed") => {
                "fault: an incomplete savepoint was refused"
            }
            (ResumeJob::Savepoint(_) | ResumeJob::Regions(_), Kind::Invalid) if chain.contains("given up by") => {
                "fault: what was given up was refused"
            }
            (ResumeJob::Savepoint(_), Kind::Invalid) if chain.contains("durable steps were added") => {
                "fault: a savepoint of one region was refused"
            }
            (ResumeJob::Regions(_), Kind::Invalid) if chain.contains("on its way back to this savepoint") => {
                "fault: an older checkpoint was refused on the way back to a savepoint"
            }
            (ResumeJob::Regions(_), Kind::Corrupt) if chain.contains("choose checkpoints that fit together") => {
                "fault: older checkpoints did not fit together"
            }
            (ResumeJob::Epoch(_) | ResumeJob::Regions(_), Kind::Invalid) if chain.contains("no longer kept") => {
                return self.has_lost(asked);
            }
            (ResumeJob::Savepoint(name), Kind::Invalid) if chain.contains("find savepoint") => {
                if !self.savepoints().is_ok_and(|left| left.iter().all(|savepoint| savepoint.name != *name)) {
                    return false;
                }
                "fault: a savepoint was removed before a process began from it"
            }
            _ => return false,
        };
        self.books.count(name);
        true
    }

    /// Whether an epoch that was asked for is kept no more: only a savepoint named it, and that was removed meanwhile.
    fn has_lost(&self, asked: &ResumeJob) -> bool {
        let asked = match asked {
            ResumeJob::Epoch(epoch) => vec![(0, *epoch)],
            ResumeJob::Regions(regions) => regions.iter().map(|(region, epoch)| (*region as u32, *epoch)).collect(),
            _ => Vec::new(),
        };
        let is_lost = |(region, epoch): &(u32, Epoch)| {
            self.kept_checkpoints(*region).is_ok_and(|kept| kept.iter().all(|(kept, _)| *kept != epoch.0))
        };
        let lost = asked.iter().any(is_lost);
        self.books.lock().counts.add("fault: an epoch was let go before a process began from it", u64::from(lost));
        lost
    }

    /// An epoch before the newest that is kept and was not given up, if there is one.
    fn older_checkpoint(&mut self) -> Result<ResumeJob, String> {
        let (mut kept, unsure) = (self.kept_checkpoints(0)?, self.unsure(0)?);
        kept.pop();
        kept.retain(|(epoch, state_of)| !unsure.contains(epoch) && !self.invariants.gave_up(*state_of));
        if kept.is_empty() {
            return Ok(ResumeJob::Latest);
        }
        let (epoch, state_of) = self.random.pick(&kept);
        self.books.count("fault: back to an older checkpoint");
        self.invariants.roll_back(state_of, &self.disk);
        Ok(ResumeJob::Epoch(Epoch(epoch)))
    }

    /// An older epoch of one of two regions, or of both.
    fn older_of_regions(&mut self) -> Result<ResumeJob, String> {
        let mut random = Random::new(self.seed, &format!("back {}", self.processes));
        let (first, second) = random.pick(&[(true, false), (false, true), (true, true)]);
        let mut asked = BTreeMap::new();
        for region in [0, 1].into_iter().filter(|region| if *region == 0 { first } else { second }) {
            let (mut kept, unsure) = (self.kept_checkpoints(region)?, self.unsure(region)?);
            kept.pop();
            kept.retain(|(epoch, _)| !unsure.contains(epoch));
            kept.retain(|(_, state_of)| *state_of > 0 && (region == 1 || !self.invariants.gave_up(*state_of)));
            if kept.is_empty() {
                continue;
            }
            let (epoch, state_of) = random.pick(&kept);
            if region == 0 {
                self.invariants.roll_back(state_of, &self.disk);
            }
            asked.insert(region as usize, Epoch(epoch));
        }
        if asked.is_empty() {
            return Ok(ResumeJob::Latest);
        }
        self.books.count("fault: a region back to an older checkpoint");
        Ok(ResumeJob::Regions(asked))
    }

    /// One of the savepoints, if there are any: also one that was begun and left.
    fn some_savepoint(&mut self) -> Result<ResumeJob, String> {
        let mut all = self.savepoints()?;
        let keeper = self.shelf.keeper.as_ref().map(|keeper| keeper.name.clone());
        all.retain(|savepoint| ![&keeper, &self.shelf.removing].contains(&&Some(savepoint.name.clone())));
        if all.is_empty() {
            return Ok(ResumeJob::Latest);
        }
        let mut random = Random::new(self.seed, &format!("back {}", self.processes));
        let chosen = all.swap_remove(random.below(all.len() as u64) as usize);
        self.go_back_to(&chosen)?;
        Ok(ResumeJob::Savepoint(chosen.name))
    }

    fn go_back_to(&mut self, savepoint: &Savepoint) -> Result<(), String> {
        if savepoint.complete {
            self.books.count("fault: back to a savepoint");
            self.shelf.going_back = Some(savepoint.name.clone());
            let state_of = self.state_of(savepoint)?;
            self.invariants.roll_back(state_of, &self.disk);
        }
        Ok(())
    }

    /// Whose state the first region has in `savepoint`.
    fn state_of(&self, savepoint: &Savepoint) -> Result<u64, String> {
        let epoch = savepoint.regions.get(&0).map_or(0, |epoch| epoch.0);
        let kept = self.kept_checkpoints(0)?;
        let found = kept.into_iter().find(|(kept, _)| *kept == epoch).map(|(_, state_of)| state_of);
        found.ok_or_else(|| format!("I10: savepoint {} has epoch {epoch}, which is not kept", savepoint.name))
    }

    /// A job that has ended goes back to a savepoint, if there is one that fits, and ends again; whether it did.
    pub(super) fn go_back_after_end(&mut self) -> Result<bool, String> {
        let regions = if self.scenario.is_cut() { 2 } else { 1 };
        for savepoint in self.savepoints()?.into_iter().rev() {
            let fits = savepoint.complete && savepoint.regions.len() == regions;
            if !fits || self.invariants.gave_up(self.state_of(&savepoint)?) {
                continue;
            }
            self.go_back_to(&savepoint)?;
            self.heal();
            let layout = self.scenario.troubles.first().map_or(super::LAST_LAYOUT, |first| first.layout);
            let process = self.start(layout, ResumeJob::Savepoint(savepoint.name), true)?;
            return match self.drive(process, None)? {
                End::Completed => {
                    self.books.count("fault: back to a savepoint after the end");
                    Ok(true)
                }
                End::Failed(Kind::Invalid, chain) if regions == 2 && chain.contains("given up by") => Ok(false),
                end => Err(format!("I10: a start from a savepoint came to {end:?}")),
            };
        }
        Ok(false)
    }

    /// The kept epochs of a region, each with that whose state it holds, 0 if it is empty.
    fn kept_checkpoints(&self, region: u32) -> Result<Vec<(u64, u64)>, String> {
        let (env, folder) = self.healthy_folder()?;
        let folder = folder.of_region(region);
        let listed = env.block_on(async move { folder.list().await });
        let listed = listed.map_err(|error| format!("I10: checkpoints cannot be listed: {}", error.chain()))?;
        let unsure = self.unsure(region)?;
        let state_of = |info: CheckpointInfo| match info.summary {
            Ok(summary) => Some(Ok((info.epoch.0, summary.state_of.map_or(0, |epoch| epoch.0)))),
            Err(_) if unsure.contains(&info.epoch.0) => None,
            Err(why) => Some(Err(format!("I10: kept epoch {} is broken: {why}", info.epoch))),
        };
        listed.into_iter().filter_map(state_of).collect()
    }

    /// Epochs that somebody is only about to keep: all or some of one may be gone, its maker sees that and takes a newer one.
    fn unsure(&self, region: u32) -> Result<BTreeSet<u64>, String> {
        let begun = self.savepoints()?.into_iter().filter(|savepoint| !savepoint.complete);
        Ok(begun.filter_map(|savepoint| savepoint.regions.get(&region).map(|epoch| epoch.0)).collect())
    }
}
