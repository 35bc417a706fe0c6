//! Carries out what the core asks for, through [`Env`] and its disk, and reports back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use forebay_core::disk::Disk;
use forebay_core::env::Env;
use forebay_core::{Error, Kind, Result};
use futures::channel::oneshot;

use super::cache::{Cache, Decoded};
use super::core::Core;
use super::event::{Action, Event, Failure, Ticket, Told};
use super::index::RecordPlace;
use super::{JournalSettings, PlantedBug, record};

/// What all clones of a journal share.
pub(super) struct Inner {
    pub env: Arc<dyn Env>,
    pub disk: Arc<dyn Disk>,
    pub folder: String,
    pub settings: JournalSettings,
    state: Mutex<State>,
}

/// The core and who waits for it.
pub(super) struct State {
    pub core: Core,
    cache: Cache,
    next_ticket: Ticket,
    waiting: BTreeMap<Ticket, oneshot::Sender<Result<Told, Failure>>>,
}

/// The answer to a ticket, once there is one.
pub(super) type Answer = oneshot::Receiver<Result<Told, Failure>>;

// === impl Inner ===

impl Inner {
    /// A journal of `core`, which `disk` holds.
    pub fn new(env: Arc<dyn Env>, folder: String, settings: JournalSettings, core: Core) -> Self {
        let state = State { core, cache: Cache::default(), next_ticket: 0, waiting: BTreeMap::new() };
        Self { disk: env.disk(), env, folder, settings, state: Mutex::new(state) }
    }

    /// The core, between two steps. Never held across an await.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the core an event that will be answered.
    pub fn submit(self: &Arc<Self>, event: impl FnOnce(Ticket) -> Event) -> Answer {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        state.next_ticket += 1;
        let ticket = state.next_ticket;
        state.waiting.insert(ticket, sender);
        let actions = state.core.step(event(ticket), self.env.now());
        drop(state);
        self.carry_out(actions);
        receiver
    }

    /// Waits for an answer; `attempted` begins the error.
    pub async fn told(&self, attempted: &'static str, answer: Answer) -> Result<Told> {
        match answer.await {
            Ok(result) => result.map_err(|failure| failure.to_error(attempted, &self.folder)),
            Err(_) => Err(Error::new(Kind::Cancelled, attempted).with("folder", &self.folder).source("process ends")),
        }
    }

    fn feed(self: &Arc<Self>, event: Event) {
        let actions = self.lock().core.step(event, self.env.now());
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
                action => {
                    let inner = Arc::clone(self);
                    self.env.spawn(Box::pin(async move { inner.do_io(action).await }));
                }
            }
        }
    }

    async fn do_io(self: Arc<Self>, action: Action) {
        let failure = |result: Result<()>| result.map_err(|error| Failure::of(&error));
        let event = match action {
            Action::Write { file, bytes } if self.settings.planted == Some(PlantedBug::TellBeforeSync) => {
                Event::Wrote(failure(self.disk.append(&file, bytes).await))
            }
            Action::Write { file, bytes } => Event::Wrote(failure(self.disk.append_durably(&file, bytes).await)),
            Action::SyncFolder => Event::FolderSynced(failure(self.disk.sync_folder(&self.folder).await)),
            Action::SetTimer { group, after } => {
                self.env.sleep(after).await;
                Event::Timer { group }
            }
            Action::Remove { ticket, files, report } => {
                Event::Removed { ticket, report, result: failure(self.remove(files).await) }
            }
            Action::Tell { .. } => return,
        };
        self.feed(event);
    }

    /// Removes `files` one by one, so that a crash leaves none behind that an older one should have gone before.
    async fn remove(&self, files: Vec<String>) -> Result<()> {
        for file in files {
            self.disk.remove(&file).await?;
            self.disk.sync_folder(&self.folder).await?;
        }
        Ok(())
    }

    /// The record at `place`, from the cache or the disk; `None` if it cannot be read back.
    pub async fn record(self: &Arc<Self>, place: RecordPlace, file: &str) -> Result<Option<Arc<Decoded>>> {
        if let Some(decoded) = self.lock().cache.get(place) {
            return Ok(Some(decoded));
        }
        let bytes = self.disk.read_at(file, place.start, place.length as usize).await?.unwrap_or_default();
        let believed = self.settings.planted == Some(PlantedBug::AcceptTornTail);
        let sound = believed || record::check(&bytes, self.settings.record_bytes_max) == Ok(place.length as usize);
        let decoded = if sound { Decoded::new(&bytes) } else { Ok(None) };
        match decoded {
            Ok(Some(decoded)) => {
                let decoded = Arc::new(decoded);
                self.lock().cache.put(place, Arc::clone(&decoded));
                Ok(Some(decoded))
            }
            Err(error) if believed => Err(error),
            Ok(None) | Err(_) => {
                self.lose(place, file);
                Ok(None)
            }
        }
    }

    /// Forgets a record that cannot be read back, unless it was trimmed meanwhile.
    fn lose(self: &Arc<Self>, place: RecordPlace, file: &str) {
        let before = self.lock().core.stats().corrupt_records;
        self.feed(Event::Lost { place });
        if self.lock().core.stats().corrupt_records > before {
            tracing::warn!(file, place = place.start, bytes = place.length, "journal record cannot be read back");
        }
    }
}
