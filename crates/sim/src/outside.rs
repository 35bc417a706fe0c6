//! The engine's way out, into the simulated world.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use forebay_core::Result;
use forebay_core::env::Env;
use forebay_core::store::Store;
use forebay_core::testing::{ManualEnv, MemoryDisk};
use forebay_engine::{Bounds, Outside, Planted};
use forebay_inference::hosts::Host;
use forebay_plan::spec::ModelSpec;
use forebay_runtime::threads::SubtaskHost;
use forebay_state::disk::LockGuard;
use forebay_state::keyed::{MemorySpill, SpillStore};
use forebay_state::store::LocalStore;

use crate::disk::{Gate, SimDisk};
use crate::env::SimEnv;
use crate::host::SimHost;
use crate::model::{Books, Scripted};
use crate::mutants::Mutant;
use crate::timed::OPINION_MODEL;

/// What one process reaches.
pub(crate) struct SimOutside {
    pub env: ManualEnv,
    pub disk: MemoryDisk,
    pub gate: Arc<Gate>,
    pub books: Books,
    /// Those of the model that is asked about updates.
    pub opinions: Books,
    pub process: u32,
    pub timeout: Duration,
    pub mutant: Mutant,
    pub bounds: Bounds,
    /// The hosts of the attempts of all regions, stopped ones too until the next attempt starts.
    pub hosts: Mutex<Vec<SimHost>>,
}

// === impl SimOutside ===

impl SimOutside {
    fn folder(&self, location: &str) -> SimDisk {
        let prefix = location.trim_start_matches("./").trim_matches('/').to_string();
        SimDisk { disk: self.disk.clone(), prefix, gate: Arc::clone(&self.gate) }
    }

    fn env_over(&self, location: &str) -> Arc<dyn Env> {
        Arc::new(SimEnv { inner: self.env.clone(), disk: Arc::new(self.folder(location)) })
    }

    /// The models under their names in the job file.
    pub fn models(&self) -> BTreeMap<String, Arc<dyn Host>> {
        ["m", "second", OPINION_MODEL].into_iter().map(|name| (name.to_string(), self.scripted(name))).collect()
    }

    fn scripted(&self, name: &str) -> Arc<dyn Host> {
        let second = name == "second";
        let books = if name == OPINION_MODEL { &self.opinions } else { &self.books };
        let (books, process, timeout) = (books.clone(), self.process, self.timeout);
        let gate = Arc::clone(&self.gate);
        Arc::new(Scripted { second, books, env: Arc::new(self.env.clone()), process, timeout, gate })
    }

    pub fn hosts(&self) -> MutexGuard<'_, Vec<SimHost>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outside for SimOutside {
    fn bounds(&self) -> Bounds {
        self.bounds
    }

    fn env(&self) -> Arc<dyn Env> {
        self.env_over("")
    }

    fn store(&self, location: &str) -> Result<Arc<dyn Store>> {
        let store = LocalStore::new(self.env_over(""), Arc::new(self.folder(location)), location);
        Ok(Arc::new(store.with_bug(self.mutant.store)))
    }

    fn journal_env(&self, folder: &str) -> Result<Arc<dyn Env>> {
        Ok(self.env_over(folder))
    }

    fn spill(&self, _folder: &str) -> Result<Option<Arc<dyn SpillStore>>> {
        Ok(Some(Arc::new(MemorySpill)))
    }

    fn lock(&self, _folder: &str) -> Result<Option<LockGuard>> {
        Ok(None)
    }

    fn host(&self, model: &ModelSpec) -> Result<Arc<dyn Host>> {
        Ok(self.scripted(&model.name))
    }

    fn subtasks(&self) -> Arc<dyn SubtaskHost> {
        let host = SimHost::default();
        let mut hosts = self.hosts();
        hosts.retain(|host| !host.is_stopped());
        hosts.push(host.clone());
        Arc::new(host)
    }

    fn planted(&self) -> Planted {
        self.mutant.planted.clone()
    }
}
