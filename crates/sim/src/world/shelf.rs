//! The savepoints of a job: made beside it, kept or removed, and held against what their makers were told.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::Kind;
use forebay_core::store::Store;
use forebay_core::testing::{ManualEnv, MemoryDisk};
use forebay_state::checkpoint::{CheckpointFolder, Logs, Savepoint};
use forebay_state::store::LocalStore;

use crate::disk::{Gate, SimDisk, Weather};
use crate::random::{Random, Trace};
use crate::savepoints::{Keeper, Keeping, Kept};
use crate::view::CHECKPOINTS;

use super::World;

/// Steps until somebody removes a savepoint that was left incomplete, at most. Until then durable edges are not trimmed.
const SWEPT_WITHIN: u64 = 1_500;

/// The folder of logs below that of the journal.
const EDGES: &str = "edges";

/// Savepoints, and who makes one.
#[derive(Default)]
pub(super) struct Shelf {
    pub keeper: Option<Keeper>,
    /// Those that were made and not removed, with what their maker was told.
    made: BTreeMap<String, Savepoint>,
    begun: u32,
    /// The one that a process last went back to: it stays.
    pub going_back: Option<String>,
    /// The one that is being removed.
    pub removing: Option<String>,
    /// Steps until what is incomplete is removed.
    sweep_in: Option<u64>,
}

// === impl World ===

impl World {
    /// Now and then a step of whoever makes a savepoint; whether the trouble of the job's process comes with it.
    pub(super) fn step_keeper(&mut self, steps: u64, keeping: Option<&Keeping>) -> Result<bool, String> {
        if let Some(keeping) = keeping.filter(|keeping| keeping.after == steps && self.shelf.keeper.is_none()) {
            self.begin_savepoint(keeping)?;
        }
        self.shelf.sweep_in = self.shelf.sweep_in.map(|left| left.saturating_sub(1));
        if self.shelf.sweep_in == Some(0) {
            self.sweep()?;
        }
        let Some(keeper) = &mut self.shelf.keeper else { return Ok(false) };
        match keeper.step() {
            Kept::Nothing => return Ok(false),
            Kept::Struck => return Ok(true),
            Kept::Killed => self.books.count("fault: the maker of a savepoint was killed"),
            Kept::Ended(made) => self.savepoint_ended(made)?,
        }
        self.end_keeper();
        Ok(false)
    }

    fn begin_savepoint(&mut self, keeping: &Keeping) -> Result<(), String> {
        self.shelf.begun += 1;
        let name = format!("s{}", self.shelf.begun);
        let mut unused = self.shelf.made.keys().filter(|name| Some(*name) != self.shelf.going_back.as_ref());
        let old = unused.next().filter(|_| keeping.removes).cloned();
        if let Some(old) = &old {
            self.shelf.made.remove(old);
        }
        self.shelf.removing.clone_from(&old);
        let random = |what: &str| Random::new(self.seed, &format!("{what} {name}"));
        let env = ManualEnv::with_disk(random("env").next(), Arc::new(self.disk.clone()));
        let weather = if self.healed { Weather::default() } else { self.scenario.weather.clone() };
        let gate = Arc::new(Gate::new(env.clone(), self.trace.clone(), random("disk"), weather));
        let disk = SimDisk { disk: self.disk.clone(), prefix: self.journal_folder(), gate: Arc::clone(&gate) };
        let logs = Logs { disk: Arc::new(disk), folder: EDGES.to_string() };
        let folder = self.folder(&env, gate)?;
        let drawn = (keeping.clone(), random("keeper"));
        self.story.push(format!("    savepoint {name} begins, without {old:?}: {keeping:?}"));
        self.shelf.keeper = Some(Keeper::new((name, old), folder, logs, env, drawn));
        Ok(())
    }

    /// Notes what the maker of a savepoint was told.
    fn savepoint_ended(&mut self, made: forebay_core::Result<Savepoint>) -> Result<(), String> {
        match made {
            Ok(savepoint) => {
                self.story.push(format!("    savepoint {} is made: {:?}", savepoint.name, savepoint.regions));
                self.books.count("I10: savepoints made");
                self.shelf.made.insert(savepoint.name.clone(), savepoint);
            }
            Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::Internal | Kind::Fenced) => {
                return Err(format!("I10: a savepoint cannot be made: {}", error.chain()));
            }
            Err(error) => self.story.push(format!("    no savepoint: {}", error.chain())),
        }
        Ok(())
    }

    /// Whoever makes a savepoint is gone; what it left will be removed.
    pub(super) fn end_keeper(&mut self) {
        if let Some(keeper) = self.shelf.keeper.take() {
            let mut random = Random::new(self.seed, &format!("sweep {}", keeper.name));
            self.shelf.sweep_in = Some(random.within(1, SWEPT_WITHIN));
            self.shelf.removing = None;
            keeper.kill();
        }
    }

    /// Lets the savepoint be made that is in the making.
    pub(super) fn finish_savepoint(&mut self) -> Result<(), String> {
        while let Some(keeper) = &mut self.shelf.keeper {
            keeper.heal();
            self.step_keeper(0, None)?;
        }
        Ok(())
    }

    /// Removes savepoints that were left incomplete.
    fn sweep(&mut self) -> Result<(), String> {
        self.shelf.sweep_in = None;
        let keeper = self.shelf.keeper.as_ref().map(|keeper| keeper.name.clone());
        for savepoint in self.savepoints()?.into_iter().filter(|savepoint| !savepoint.complete) {
            if Some(&savepoint.name) == keeper.as_ref() {
                continue;
            }
            self.books.count("fault: an incomplete savepoint was removed");
            self.story.push(format!("    incomplete savepoint {} is removed", savepoint.name));
            let (env, folder) = self.healthy_folder()?;
            let removed = env.block_on(async move { folder.remove_savepoint(&savepoint.name).await });
            removed.map_err(|error| format!("I10: a savepoint cannot be removed: {}", error.chain()))?;
        }
        Ok(())
    }

    /// Fails unless every savepoint that somebody was told of is there, and whole.
    pub(super) fn check_savepoints(&self) -> Result<(), String> {
        if self.shelf.made.is_empty() {
            return Ok(());
        }
        let found = self.savepoints()?;
        for (name, made) in &self.shelf.made {
            if !found.contains(made) {
                return Err(format!("I22: savepoint {name} was made, and is gone"));
            }
            let (env, folder) = self.healthy_folder()?;
            let made = made.clone();
            let whole = env.block_on(async move { problem_of(&folder, &made).await });
            match whole {
                Ok(None) => self.books.count("I10: savepoints found whole"),
                Ok(Some(what)) => return Err(format!("I10: savepoint {name} is not whole: {what}")),
                Err(error) => return Err(format!("I10: savepoint {name} cannot be read: {}", error.chain())),
            }
        }
        Ok(())
    }

    /// Savepoints as listed, incomplete ones too.
    pub(super) fn savepoints(&self) -> Result<Vec<Savepoint>, String> {
        let (env, folder) = self.healthy_folder()?;
        let found = env.block_on(async move { folder.savepoints().await });
        found.map_err(|error| format!("I10: savepoints cannot be listed: {}", error.chain()))
    }

    /// The checkpoints as somebody reads them to whom nothing happens.
    pub(super) fn healthy_folder(&self) -> Result<(ManualEnv, CheckpointFolder), String> {
        let env = ManualEnv::with_disk(1, Arc::new(self.disk.clone()));
        let gate = Gate::new(env.clone(), Trace::default(), Random::new(1, "look"), Weather::default());
        let folder = self.folder(&env, Arc::new(gate))?;
        Ok((env, folder))
    }

    fn folder(&self, env: &ManualEnv, gate: Arc<Gate>) -> Result<CheckpointFolder, String> {
        let disk = SimDisk { disk: self.disk.clone(), prefix: CHECKPOINTS.to_string(), gate };
        let store: Arc<dyn Store> = Arc::new(LocalStore::new(Arc::new(env.clone()), Arc::new(disk), CHECKPOINTS));
        let folder = CheckpointFolder::new(Arc::new(env.clone()), store, "sim");
        let folder = folder.map_err(|error| format!("I10: no checkpoints: {}", error.chain()))?;
        Ok(folder.with_bug(self.mutant.planted.checkpoint))
    }
}

/// What is missing or damaged of `savepoint`.
async fn problem_of(folder: &CheckpointFolder, savepoint: &Savepoint) -> forebay_core::Result<Option<String>> {
    for (region, epoch) in &savepoint.regions {
        if let Some(problem) = folder.clone().of_region(*region).verify(Some(*epoch)).await?.into_iter().next() {
            return Ok(Some(problem.what));
        }
    }
    let logs = Logs { disk: Arc::new(MemoryDisk::new()), folder: EDGES.to_string() };
    for edge in savepoint.edges.keys() {
        folder.put_back_log(savepoint, edge, &logs).await?;
    }
    Ok(None)
}
