//! One edge's log as others hold it: carries out what the core asks for, through [`Env`] and its disk, and reports back.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use forebay_core::disk::Disk;
use forebay_core::env::Env;
use forebay_core::key_group::KeyGroup;
use forebay_core::{Error, Kind, Result};
use futures::channel::oneshot;
use futures::future::BoxFuture;

use super::core::EdgeCore;
use super::position::{Claim, Positions, Published};
use super::protocol::{Action, CoreSettings, Fact, Failure, Ticket, Told};
use super::replay::Replay;
use super::settings::EdgeSettings;

/// What opening found that people should know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The last write was torn: file and sound bytes. Nobody was told of it.
    pub torn: Option<(String, u64)>,
    /// Files of fenced attempts, removed.
    pub stale: Vec<String>,
}

/// What an edge holds, as of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeStats {
    /// Bytes, those not yet written included.
    pub bytes: u64,
    /// Records.
    pub records: usize,
    /// Segment files.
    pub segments: usize,
    /// False while writers wait for the quota.
    pub room: bool,
}

/// The log of one edge; clones share it.
///
/// # Order of calls
/// `open`. At every start of the producer's region, once its restart epoch is claimed and before its writers open,
/// `take_over`. Whenever an epoch record of the producer was read, `published`; after every change of what checkpoints are
/// kept, `consumer_retained` and (for id-dedupe) `producer_retained`. Readers need nothing but `open`.
///
/// # Errors
/// After a failed write or sync every call fails with the kind of that failure, because what the disk holds is unknown until
/// the log is opened again.
#[derive(Clone)]
pub struct EdgeLog {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub env: Arc<dyn Env>,
    pub disk: Arc<dyn Disk>,
    pub folder: String,
    pub settings: CoreSettings,
    state: Mutex<State>,
}

/// The core and who waits for it.
pub(super) struct State {
    pub core: EdgeCore,
    next_ticket: Ticket,
    waiting: BTreeMap<Ticket, oneshot::Sender<Result<Told, Failure>>>,
    readers: Vec<Waker>,
    writers: Vec<Waker>,
}

// === impl EdgeLog ===

impl EdgeLog {
    /// Opens the log in `folder` of the environment's disk, reading back all segments.
    ///
    /// # Errors
    /// `Corrupt`, naming file and byte; `Invalid` for a folder without a name or a format of a newer Forebay; otherwise those
    /// of the disk.
    pub fn open(
        env: Arc<dyn Env>,
        folder: &str,
        settings: EdgeSettings,
    ) -> BoxFuture<'static, Result<(EdgeLog, OpenReport)>> {
        let (folder, settings) = (folder.trim_matches('/').to_string(), settings.of_core());
        Box::pin(async move {
            if folder.is_empty() {
                return Err(Error::new(Kind::Invalid, "open edge: its folder has no name"));
            }
            let disk = env.disk();
            let (core, report) = open(&disk, &folder, &settings).await?;
            let state =
                State { core, next_ticket: 0, waiting: BTreeMap::new(), readers: Vec::new(), writers: Vec::new() };
            let inner = Inner { env, disk, folder, settings, state: Mutex::new(state) };
            Ok((EdgeLog { inner: Arc::new(inner) }, report))
        })
    }

    /// Fences the producer's earlier attempts and cuts off what they did not publish; resolves when that is durable.
    ///
    /// # Errors
    /// `Fenced` if a newer attempt took over; `Corrupt` if the log does not hold what the restored checkpoint says was written.
    pub fn take_over(&self, claim: Claim) -> BoxFuture<'static, Result<()>> {
        let answer = self.inner.ask(|ticket| Fact::TakeOver { ticket, claim });
        self.inner.told("take over edge", answer)
    }

    /// Takes note of an epoch record that was read: readers see what it covers. May be repeated and may be skipped, as long
    /// as a later record is told.
    pub fn published(&self, published: Published) {
        self.inner.feed(Fact::Published(published));
    }

    /// Takes note of the positions that a consumer's retained checkpoints need: [`Positions::least`] of them. Savepoints count.
    pub fn consumer_retained(&self, consumer: &str, positions: Positions) {
        self.inner.feed(Fact::ConsumerRetained { consumer: consumer.to_string(), positions });
    }

    /// Takes note of the writers' positions in the producer's oldest retained checkpoint. Needed for id-dedupe alone.
    pub fn producer_retained(&self, positions: Positions) {
        self.inner.feed(Fact::ProducerRetained(positions));
    }

    /// True once a write or sync has failed: the log has to be opened again.
    pub fn has_failed(&self) -> bool {
        self.inner.lock().core.failure().is_some()
    }

    /// Where in each of `groups` the log begins: nothing before it can be read any more.
    pub fn begins(&self, groups: Range<u16>) -> Positions {
        let state = self.inner.lock();
        Positions(groups.map(KeyGroup).map(|group| (group, state.core.extent(group).start)).collect())
    }

    /// What the log holds.
    pub fn stats(&self) -> EdgeStats {
        let state = self.inner.lock();
        let (records, segments) = state.core.counts();
        EdgeStats { bytes: state.core.held_bytes(), records, segments, room: state.core.has_room() }
    }
}

// === impl Inner ===

impl Inner {
    /// The core, between two steps. Never held across an await.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the core a fact that will be answered.
    pub fn ask(self: &Arc<Self>, fact: impl FnOnce(Ticket) -> Fact) -> oneshot::Receiver<Result<Told, Failure>> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        state.next_ticket += 1;
        let ticket = state.next_ticket;
        state.waiting.insert(ticket, sender);
        let actions = state.core.step(fact(ticket));
        drop(state);
        self.carry_out(actions);
        receiver
    }

    /// Waits for an answer; `attempted` begins the error.
    pub fn told(
        self: &Arc<Self>,
        attempted: &'static str,
        answer: oneshot::Receiver<Result<Told, Failure>>,
    ) -> BoxFuture<'static, Result<()>> {
        let inner = Arc::clone(self);
        Box::pin(async move {
            match answer.await {
                Ok(result) => result.map(|_| ()).map_err(|failure| failure.to_error(attempted, &inner.folder)),
                Err(_) => Err(Error::new(Kind::Cancelled, attempted).with("edge", &inner.folder)),
            }
        })
    }

    /// The answer of a fact that is answered at once.
    pub fn told_now(
        &self,
        attempted: &'static str,
        mut answer: oneshot::Receiver<Result<Told, Failure>>,
    ) -> Result<()> {
        match answer.try_recv() {
            Ok(Some(result)) => result.map(|_| ()).map_err(|failure| failure.to_error(attempted, &self.folder)),
            _ => Err(Error::new(Kind::Internal, attempted).with("edge", &self.folder).source("not answered at once")),
        }
    }

    pub fn feed(self: &Arc<Self>, fact: Fact) {
        let actions = self.lock().core.step(fact);
        self.carry_out(actions);
    }

    fn carry_out(self: &Arc<Self>, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Tell { ticket, result } => {
                    let sender = self.lock().waiting.remove(&ticket);
                    // The receiver may be gone: whoever asked was dropped, and the work stands.
                    let _ = sender.map(|sender| sender.send(result));
                }
                Action::WakeReaders => {
                    let wakers = std::mem::take(&mut self.lock().readers);
                    wakers.into_iter().for_each(Waker::wake);
                }
                Action::WakeWriters => {
                    let wakers = std::mem::take(&mut self.lock().writers);
                    wakers.into_iter().for_each(Waker::wake);
                }
                action => {
                    let inner = Arc::clone(self);
                    self.env.spawn(Box::pin(async move { inner.do_io(action).await }));
                }
            }
        }
    }

    async fn do_io(self: Arc<Self>, action: Action) {
        let failure = |result: Result<()>| result.map_err(|error| Failure::of(&error));
        let fact = match action {
            Action::Write { file, bytes } => Fact::Wrote(failure(self.disk.append(&self.path(&file), bytes).await)),
            Action::Sync { file } => Fact::Synced(failure(self.disk.sync(&self.path(&file)).await)),
            Action::SyncFolder => Fact::FolderSynced(failure(sync_folders(&self.disk, &self.folder).await)),
            Action::Remove { files } => Fact::Removed(failure(self.remove(files).await)),
            Action::Tell { .. } | Action::WakeReaders | Action::WakeWriters => return,
        };
        self.feed(fact);
    }

    /// Removes `files` one by one, so that a crash never leaves an older one without a newer one.
    async fn remove(&self, files: Vec<String>) -> Result<()> {
        for file in files {
            self.disk.remove(&self.path(&file)).await?;
            self.disk.sync_folder(&self.folder).await?;
        }
        Ok(())
    }

    pub fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.folder)
    }
}

// === impl State ===

impl State {
    /// Has `waker` woken when readers may see more than now.
    pub fn wake_reader(&mut self, waker: &Waker) {
        add(&mut self.readers, waker);
    }

    /// Has `waker` woken when writers may have room.
    pub fn wake_writer(&mut self, waker: &Waker) {
        add(&mut self.writers, waker);
    }
}

fn add(wakers: &mut Vec<Waker>, waker: &Waker) {
    if !wakers.iter().any(|known| known.will_wake(waker)) {
        wakers.push(waker.clone());
    }
}

/// Reads the folder back. What was read is synced first: after a killed process it may lie in memory only, and nobody may be
/// shown what a power cut can still take back.
async fn open(disk: &Arc<dyn Disk>, folder: &str, settings: &CoreSettings) -> Result<(EdgeCore, OpenReport)> {
    let names = disk.list(folder).await?.into_iter().filter(|entry| !entry.is_folder).map(|entry| entry.name);
    let mut replay = Replay::new(settings, names);
    let mut last = None;
    while let Some(file) = replay.next_file().map(|file| format!("{folder}/{file}")) {
        let bytes = disk.read(&file).await?.unwrap_or_else(Bytes::new);
        replay.take(bytes).map_err(|error| located(error, folder))?;
        last = Some(file);
    }
    let found = replay.end().map_err(|error| located(error, folder))?;
    if let Some(last) = last {
        disk.sync(&last).await?;
        sync_folders(disk, folder).await?;
    }
    for file in &found.stale {
        disk.remove(&format!("{folder}/{file}")).await?;
    }
    let report = OpenReport { torn: found.torn.clone(), stale: found.stale.clone() };
    Ok((EdgeCore::open(settings.clone(), found), report))
}

fn located(error: Error, folder: &str) -> Error {
    error.with("edge", folder)
}

/// Makes the folder, the names in it, and the folders above it durable.
async fn sync_folders(disk: &Arc<dyn Disk>, folder: &str) -> Result<()> {
    let mut path = folder;
    while !path.is_empty() {
        disk.sync_folder(path).await?;
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    disk.sync_folder("").await
}
