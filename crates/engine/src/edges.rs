//! The durable edges between the regions of a job: opens their logs, hands them over to a region that starts, and tells them
//! what regions have published and still need.
//!
//! The logs outlive the attempts of both sides. One whose write failed is opened again by whichever side restarts first, and
//! is told again what is known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use forebay_core::Result;
use forebay_core::disk::Disk;
use forebay_core::element::Epoch;
use forebay_core::env::Env;
use forebay_core::key_group::KeyGroup;
use forebay_plan::graph::{EdgeKind, JobGraph};
use forebay_plan::spec::{DurableMode, DurableSpec};
use forebay_state::checkpoint::{CheckpointFolder, Logs, Savepoint, Started};
use forebay_state::edge::{
    Claim, EdgeEnds, EdgeLog, EdgeMode, EdgeSettings, PlantedBug, Positions, Published, WriterState,
};

use crate::outside::Outside;
use crate::resume::region_name;
use crate::run::journal_folder;

/// Folder of all logs beside the journal's.
pub const EDGES_FOLDER: &str = "edges";

/// The edges of a job.
pub(crate) struct Edges {
    env: Arc<dyn Env>,
    key_groups: u16,
    ends: Vec<Ends>,
    quota_max: u64,
    bug: Option<PlantedBug>,
    logs: futures::lock::Mutex<BTreeMap<String, EdgeLog>>,
    /// By place of the region.
    published: Mutex<BTreeMap<usize, Published>>,
    /// By uid of the edge.
    retained: Mutex<BTreeMap<String, Retained>>,
}

/// One edge.
#[derive(Debug, Clone)]
struct Ends {
    spec: DurableSpec,
    /// Place of the region that writes.
    producer: usize,
    /// Place of the region that reads.
    consumer: usize,
}

/// What kept checkpoints still need.
#[derive(Debug, Clone, Default)]
struct Retained {
    consumer: Option<Positions>,
    producer: Option<Positions>,
}

/// The edges as one region sees them, in one attempt; clones share what it has seen.
#[derive(Clone)]
pub(crate) struct RegionEdges {
    edges: Arc<Edges>,
    region: usize,
    /// How far its readers and writers were at each checkpoint, by edge, until it is no longer the oldest that is kept.
    seen: Arc<Mutex<BTreeMap<Epoch, BTreeMap<String, Positions>>>>,
}

/// Where the logs of `job` lie, if that is on this machine; arguments as of [`journal_folder`].
///
/// # Errors
/// If the folder cannot be opened.
pub fn edge_logs(outside: &dyn Outside, checkpoints: &str, journal: Option<&Path>, job: &str) -> Result<Option<Logs>> {
    match journal_folder(checkpoints, journal, job) {
        Ok(folder) => Ok(Some(logs(outside.journal_env(&folder)?.disk()))),
        Err(_) => Ok(None),
    }
}

/// The logs on `disk`, the one of the journal's folder.
fn logs(disk: Arc<dyn Disk>) -> Logs {
    Logs { disk, folder: EDGES_FOLDER.to_string() }
}

/// Under which uid the writers of an edge keep their state.
pub(crate) fn writer_uid(edge: &str) -> String {
    format!("{edge}.writer")
}

/// Under which uid the readers of an edge keep their state.
pub(crate) fn reader_uid(edge: &str) -> String {
    format!("{edge}.reader")
}

// === impl Edges ===

impl Edges {
    /// The edges of `graph`, their logs on the disk of `env`, within the bounds of `outside`. Opens nothing yet.
    pub fn new(graph: &JobGraph, env: Arc<dyn Env>, outside: &dyn Outside) -> Self {
        let (quota_max, bug) = (outside.bounds().quota_max, outside.planted().edge);
        let places: BTreeMap<&str, usize> = graph
            .task_regions()
            .enumerate()
            .flat_map(|(place, region)| region.parts.iter().map(move |part| (part.as_str(), place)))
            .collect();
        let ends = |edge: &forebay_plan::graph::Edge| {
            let spec = graph.task(&edge.to)?.durable()?.clone();
            Some(Ends { spec, producer: *places.get(edge.from.as_str())?, consumer: *places.get(edge.to.as_str())? })
        };
        let ends = graph.edges.iter().filter(|edge| edge.kind == EdgeKind::Logged).filter_map(ends).collect();
        let (logs, published, retained) = (futures::lock::Mutex::default(), Mutex::default(), Mutex::default());
        Self { env, key_groups: graph.key_groups, ends, quota_max, bug, logs, published, retained }
    }

    /// Every edge with the regions at its ends, by their ids, and how far its log is trimmed. Opens all logs.
    ///
    /// # Errors
    /// Those of opening a log.
    pub async fn ends(&self) -> Result<Vec<EdgeEnds>> {
        let mut found = Vec::new();
        for ends in &self.ends {
            let log = self.log(ends).await?;
            found.push(EdgeEnds {
                edge: ends.spec.uid.clone(),
                producer: region_name(ends.producer),
                consumer: region_name(ends.consumer),
                mode: mode(ends),
                trimmed: log.begins(0..self.key_groups),
            });
        }
        Ok(found)
    }

    /// Makes the logs what they were when `savepoint` was made, but for those whose writers, by place of their region, are among
    /// `gone_back`: those have been put back and are written already. Before any log is opened.
    ///
    /// # Errors
    /// `Invalid` if the savepoint has other edges than the job; `Corrupt` if a copy is damaged.
    pub async fn put_back(
        &self,
        savepoint: &Savepoint,
        folder: &CheckpointFolder,
        gone_back: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let logs = logs(self.env.disk());
        for ends in self.ends.iter().filter(|ends| !gone_back(ends.producer)) {
            folder.put_back_log(savepoint, &ends.spec.uid, &logs).await?;
        }
        Ok(())
    }

    /// The uids of all edges.
    pub fn uids(&self) -> BTreeSet<&str> {
        self.ends.iter().map(|ends| ends.spec.uid.as_str()).collect()
    }

    /// The log of `ends`, open.
    async fn log(&self, ends: &Ends) -> Result<EdgeLog> {
        let mut logs = self.logs.lock().await;
        let uid = &ends.spec.uid;
        if let Some(log) = logs.get(uid).filter(|log| !log.has_failed()) {
            return Ok(log.clone());
        }
        let mut settings = EdgeSettings::new(mode(ends), [consumer(ends)]);
        settings.quota_bytes = ends.spec.quota.min(self.quota_max);
        settings.bug = self.bug;
        let folder = format!("{EDGES_FOLDER}/{uid}");
        let (log, report) = EdgeLog::open(Arc::clone(&self.env), &folder, settings).await?;
        if let Some((file, byte)) = report.torn {
            tracing::warn!("edge {uid}: the last write to {file} ended at byte {byte}; nobody had been told of more");
        }
        if let Some(published) = lock(&self.published).get(&ends.producer) {
            log.published(*published);
        }
        self.tell(ends, &log);
        logs.insert(uid.clone(), log.clone());
        Ok(log)
    }

    fn tell(&self, ends: &Ends, log: &EdgeLog) {
        let retained = lock(&self.retained).get(&ends.spec.uid).cloned().unwrap_or_default();
        if let Some(positions) = retained.producer {
            log.producer_retained(positions);
        }
        if let Some(positions) = retained.consumer {
            log.consumer_retained(&consumer(ends), positions);
        }
    }
}

// === impl RegionEdges ===

impl RegionEdges {
    /// The edges as an attempt of the region at `region` begins to see them.
    pub fn new(edges: &Arc<Edges>, region: usize) -> Self {
        Self { edges: Arc::clone(edges), region, seen: Arc::default() }
    }

    /// The logs of every edge of the region, those that it writes taken over by the attempt of `started`, whose state is
    /// `restored`; by uid. To be called once the attempt has claimed its epoch, before its writers and readers are made.
    ///
    /// # Errors
    /// `Fenced` if a newer attempt took over; `Corrupt` if a log and the restored state contradict each other; those of the
    /// disk.
    pub async fn start(
        &self,
        started: &Started,
        restored: &BTreeMap<String, Vec<(KeyGroup, Bytes)>>,
    ) -> Result<BTreeMap<String, EdgeLog>> {
        let claimed = Epoch(started.next_epoch.0.saturating_sub(1));
        let state_of = started.restored.as_ref().and_then(|manifest| manifest.state_of);
        let mut logs = BTreeMap::new();
        for ends in self.mine() {
            let log = self.edges.log(ends).await?;
            if ends.producer == self.region {
                let found = restored.get(&writer_uid(&ends.spec.uid)).into_iter().flatten();
                let writers = WriterState::of(found.map(|(group, bytes)| (*group, bytes.as_ref())))?;
                log.take_over(Claim::of(started, writers)).await?;
            }
            logs.insert(ends.spec.uid.clone(), log);
        }
        for (operator, entries) in restored {
            for (group, bytes) in entries {
                self.note(state_of.unwrap_or(Epoch(0)), operator, *group, bytes)?;
                self.note(claimed, operator, *group, bytes)?;
            }
        }
        self.publish(Published { epoch: claimed, state_of }).await?;
        Ok(logs)
    }

    /// The region's last attempt has ended all its output: only what it published is told.
    ///
    /// # Errors
    /// Those of opening a log.
    pub async fn ended(&self, started: &Started) -> Result<()> {
        let epoch = Epoch(started.next_epoch.0.saturating_sub(1));
        let state_of = started.restored.as_ref().and_then(|manifest| manifest.state_of);
        self.publish(Published { epoch, state_of }).await
    }

    /// Takes note of a key group's state in the checkpoint `epoch`, whatever operator it is of.
    ///
    /// # Errors
    /// `Corrupt` if the state of a reader or writer cannot be read.
    pub fn note(&self, epoch: Epoch, operator: &str, group: KeyGroup, bytes: &Bytes) -> Result<()> {
        let reads = self.mine().find(|ends| ends.consumer == self.region && reader_uid(&ends.spec.uid) == operator);
        let writes = self.mine().find(|ends| ends.producer == self.region && writer_uid(&ends.spec.uid) == operator);
        let found = match (reads, writes) {
            (Some(_), _) => Positions::needed([(group, bytes.as_ref())])?,
            (None, Some(_)) => Positions::written(&WriterState::of([(group, bytes.as_ref())])?),
            (None, None) => return Ok(()),
        };
        let mut seen = lock(&self.seen);
        seen.entry(epoch).or_default().entry(operator.to_string()).or_default().0.extend(found.0);
        Ok(())
    }

    /// The region's epoch record `published` exists: whoever reads its edges may see what it covers.
    ///
    /// # Errors
    /// Those of opening a log.
    pub async fn publish(&self, published: Published) -> Result<()> {
        lock(&self.edges.published).insert(self.region, published);
        for ends in self.mine().filter(|ends| ends.producer == self.region) {
            self.edges.log(ends).await?.published(published);
        }
        Ok(())
    }

    /// Nothing before the checkpoint `oldest` of the region will be asked for again.
    ///
    /// # Errors
    /// Those of opening a log.
    pub async fn retain(&self, oldest: Epoch) -> Result<()> {
        let found = {
            let mut seen = lock(&self.seen);
            *seen = seen.split_off(&oldest);
            seen.get(&oldest).cloned().unwrap_or_default()
        };
        for ends in self.mine() {
            let uid = &ends.spec.uid;
            {
                let mut retained = lock(&self.edges.retained);
                let retained = retained.entry(uid.clone()).or_default();
                retained.consumer = found.get(&reader_uid(uid)).cloned().or(retained.consumer.take());
                retained.producer = found.get(&writer_uid(uid)).cloned().or(retained.producer.take());
            }
            self.edges.tell(ends, &self.edges.log(ends).await?);
        }
        Ok(())
    }

    fn mine(&self) -> impl Iterator<Item = &Ends> {
        self.edges.ends.iter().filter(|ends| ends.producer == self.region || ends.consumer == self.region)
    }
}

fn mode(ends: &Ends) -> EdgeMode {
    match ends.spec.mode {
        DurableMode::CommitRead => EdgeMode::CommitRead,
        DurableMode::IdDedupe => EdgeMode::IdDedupe,
    }
}

/// What the reading region is called at the log.
fn consumer(ends: &Ends) -> String {
    region_name(ends.consumer)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
