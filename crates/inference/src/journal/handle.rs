//! The journal as others hold it: a future for every call, answered by the core.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use forebay_core::disk::Disk;
use forebay_core::element::Epoch;
use forebay_core::env::Env;
use forebay_core::{Error, Kind, Result};
use futures::future::BoxFuture;

use super::event::{Event, Failure, Told};
use super::index::Entry;
use super::inner::Inner;
use super::replay::read_folder;
use super::{Appended, JournalSettings, JournalStats, OpenReport, TrimReport, record};
use crate::request::{Outcome, RequestId};

/// An open journal; clones share it.
///
/// Calls take effect in the order they are made; the futures only wait. Dropping one forgets the answer, not the work.
///
/// # Errors
/// After a failed write or sync every call fails with the kind of that failure (`Exhausted` on a full disk), because
/// what the disk holds is unknown until the journal is opened again. Calls never wait for room: callers bound what they
/// have in flight.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

// === impl Journal ===

impl Journal {
    /// Opens the journal in `folder` (for example `journal/digits`) for `attempt`, reading back all segments.
    ///
    /// One attempt owns the folder: from here on, what a lower attempt still writes is never read. Two processes must
    /// also be kept apart by a lock that ends with the process; the engine holds it. Damage is in the report and fails
    /// nothing: rows lost to it are simply not finished.
    ///
    /// # Errors
    /// `Fenced` if a higher attempt wrote here; `Invalid` for a folder name that is empty, or a format of a newer
    /// Forebay; otherwise those of the disk.
    pub fn open(
        env: Arc<dyn Env>,
        folder: &str,
        attempt: u64,
        settings: JournalSettings,
    ) -> BoxFuture<'static, Result<(Journal, OpenReport)>> {
        let folder = folder.trim_matches('/').to_string();
        Box::pin(async move {
            if folder.is_empty() {
                return Err(Error::new(Kind::Invalid, "open journal: its folder has no name"));
            }
            let disk = env.disk();
            let (core, report) = super::open::open(&disk, &folder, attempt, settings).await?;
            Ok((Journal { inner: Arc::new(Inner::new(env, folder, settings, core)) }, report))
        })
    }

    /// Reads what `folder` holds without writing anything; empty counts if there is no such folder.
    ///
    /// # Errors
    /// `Invalid` for a format of a newer Forebay; otherwise those of the disk.
    pub fn inspect(disk: Arc<dyn Disk>, folder: &str) -> BoxFuture<'static, Result<(JournalStats, OpenReport)>> {
        let folder = folder.trim_matches('/').to_string();
        Box::pin(async move {
            let found = read_folder(&disk, &folder, &JournalSettings::default()).await?;
            Ok((found.stats(), found.report))
        })
    }

    /// Ids of every inference that `folder` holds as finished, sorted. Writes nothing.
    ///
    /// # Errors
    /// As [`Journal::inspect`].
    pub fn finished(disk: Arc<dyn Disk>, folder: &str) -> BoxFuture<'static, Result<Vec<RequestId>>> {
        let folder = folder.trim_matches('/').to_string();
        Box::pin(async move { Ok(read_folder(&disk, &folder, &JournalSettings::default()).await?.index.ids()) })
    }

    /// What became of each of `ids`; `None` if it is not finished, or not yet durably so.
    ///
    /// A record that cannot be read back is reported in the log, forgotten, and counts as not finished.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn lookup(&self, ids: &[RequestId]) -> BoxFuture<'static, Result<Vec<Option<Outcome>>>> {
        let mut files = BTreeMap::new();
        let entries = {
            let state = self.inner.lock();
            let find = |id: &RequestId| {
                state.core.find(*id).map(|found| {
                    found.map(|(entry, file)| {
                        files.entry(entry.place).or_insert_with(|| file.to_string());
                        entry
                    })
                })
            };
            ids.iter().map(find).collect::<Result<Vec<Option<Entry>>, Failure>>()
        };
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let entries = entries.map_err(|failure| failure.to_error("look up in journal", &inner.folder))?;
            let mut records = BTreeMap::new();
            for (place, file) in files {
                if let Some(decoded) = inner.record(place, &file).await? {
                    records.insert(place, decoded);
                }
            }
            let outcome = |entry: Entry| Some(records.get(&entry.place)?.outcome(entry.row));
            Ok(entries.into_iter().map(|entry| entry.and_then(outcome)).collect())
        })
    }

    /// Keeps the answers `rows`, one an id; resolves when they are durable.
    ///
    /// # Errors
    /// `Internal` if ids and rows differ in count, `Exhausted` if the record is beyond the limit (this fails the call
    /// alone), otherwise see [`Journal`].
    pub fn append_answers(&self, ids: Vec<RequestId>, rows: RecordBatch) -> BoxFuture<'static, Result<Appended>> {
        let bytes = record::answer(&ids, &rows, self.inner.settings.record_bytes_max);
        self.append(ids, false, bytes)
    }

    /// Keeps that `ids` failed for good, `reason` cut at 4096 bytes; resolves when that is durable.
    ///
    /// # Errors
    /// As [`Journal::append_answers`].
    pub fn append_failures(
        &self,
        ids: Vec<RequestId>,
        kind: Kind,
        reason: &str,
    ) -> BoxFuture<'static, Result<Appended>> {
        let bytes = record::failure(&ids, false, kind, reason, self.inner.settings.record_bytes_max);
        self.append(ids, true, bytes)
    }

    /// Gives `ids` up for `reason`, unless they are finished; what became of each for good, once that is durable. An answer
    /// that was there first stands.
    ///
    /// # Errors
    /// As [`Journal::append_answers`]; `Unavailable` if an outcome that was there first cannot be read back, and is forgotten.
    pub fn give_up(&self, ids: Vec<RequestId>, kind: Kind, reason: &str) -> BoxFuture<'static, Result<Vec<Outcome>>> {
        // A record that names a row which is finished already would outlive the one that counts, once that is trimmed.
        let (mut known, fresh): (Vec<RequestId>, Vec<RequestId>) = {
            let state = self.inner.lock();
            ids.iter().partition(|id| state.core.holds(**id))
        };
        let append = |ids: Vec<RequestId>| {
            let bytes = record::failure(&ids, true, kind, reason, self.inner.settings.record_bytes_max);
            self.append(ids, true, bytes)
        };
        let fresh = (!fresh.is_empty()).then(|| (append(fresh.clone()), fresh));
        let durable = (!known.is_empty()).then(|| append(known.clone()));
        let (journal, reason) = (self.clone(), reason.to_string());
        Box::pin(async move {
            if let Some((appended, fresh)) = fresh {
                known.extend(appended.await?.duplicates.into_iter().map(|place| fresh[place]));
            }
            if let Some(durable) = durable {
                durable.await?;
            }
            let found = if known.is_empty() { Vec::new() } else { journal.lookup(&known).await? };
            let mut found: BTreeMap<RequestId, Option<Outcome>> = known.into_iter().zip(found).collect();
            let given_up = Outcome::GivenUp { kind, reason };
            let outcome = |id: RequestId| match found.remove(&id) {
                None => Ok(given_up.clone()),
                Some(Some(outcome)) => Ok(outcome),
                Some(None) => Err(Error::new(Kind::Unavailable, "read what became of a row").with("request", id)),
            };
            ids.into_iter().map(outcome).collect()
        })
    }

    /// Keeps that `ids` were emitted in epochs up to `epoch`, which is published; resolves when that is durable.
    ///
    /// Ids without an outcome here are ignored. Rows that are never closed are never trimmed, so after a restore the
    /// caller closes again what the checkpoint lists as emitted.
    ///
    /// # Errors
    /// See [`Journal`].
    pub fn close_rows(&self, epoch: Epoch, ids: Vec<RequestId>) -> BoxFuture<'static, Result<()>> {
        let answer = self.inner.submit(|ticket| Event::Close { ticket, epoch, ids });
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.told("close rows in journal", answer).await.map(|_| ()) })
    }

    /// Removes the oldest segments of which every row is closed in an epoch up to `oldest_retained`, and stops at the
    /// first that is not so.
    ///
    /// # Errors
    /// See [`Journal`]; a file that cannot be removed fails the call alone.
    pub fn trim(&self, oldest_retained: Epoch) -> BoxFuture<'static, Result<TrimReport>> {
        let answer = self.inner.submit(|ticket| Event::Trim { ticket, oldest_retained });
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            match inner.told("trim journal", answer).await? {
                Told::Trimmed(report) => Ok(report),
                Told::Durable(_) => Ok(TrimReport::default()),
            }
        })
    }

    /// Whether a write or sync failed: this journal refuses everything from then on, and has to be opened again.
    pub fn has_failed(&self) -> bool {
        self.inner.lock().core.has_failed()
    }

    /// Counts, as of now.
    pub fn stats(&self) -> JournalStats {
        self.inner.lock().core.stats()
    }

    fn append(&self, ids: Vec<RequestId>, failed: bool, bytes: Result<Bytes>) -> BoxFuture<'static, Result<Appended>> {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => return Box::pin(async { Err(error) }),
        };
        let answer = self.inner.submit(|ticket| Event::Append { ticket, ids, failed, bytes });
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            match inner.told("append to journal", answer).await? {
                Told::Durable(appended) => Ok(appended),
                Told::Trimmed(_) => Ok(Appended::default()),
            }
        })
    }
}
