//! Reading a journal back: segments in order, damage named and stepped over, nothing written.
//!
//! In the last segment, what does not continue with a sound record is the torn end of the last write, of which nobody
//! was told. Anywhere else it is damage: a record whose length leads to another sound record (or the end) is skipped
//! alone, otherwise the rest of its segment is lost. Lost rows are executed again.

use std::sync::Arc;

use bytes::Bytes;
use forebay_core::Result;
use forebay_core::disk::Disk;

use super::index::{Entry, Index, RecordPlace};
use super::record::{self, Record, Unsound};
use super::segment::{HEADER_BYTES, Header, parse_name};
use super::{Damage, JournalSettings, JournalStats, OpenReport, PlantedBug};

/// What a folder holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Every finished row that could be read back.
    pub index: Index,
    /// What to tell the user.
    pub report: OpenReport,
    /// Rows dropped because an earlier record finished them.
    pub duplicates: u64,
    /// The highest attempt that wrote here.
    pub attempt_max: u64,
    /// The highest number used, 0 without segments.
    pub number_max: u32,
    /// The last segment: its number, path, and the end of what is sound in it.
    pub last: Option<(u32, String, u64)>,
}

/// A segment file as listed.
#[derive(Debug, Clone)]
struct Listed {
    number: u32,
    attempt: u64,
    file: String,
}

/// One segment being read back.
struct Scan<'a> {
    settings: &'a JournalSettings,
    found: &'a mut Found,
    number: u32,
    file: &'a str,
    bytes: Bytes,
    is_last: bool,
}

/// Reads `folder` back.
///
/// # Errors
/// Those of the disk; `Invalid` if a newer Forebay wrote it.
pub(super) async fn read_folder(disk: &Arc<dyn Disk>, folder: &str, settings: &JournalSettings) -> Result<Found> {
    let mut found = Found::default();
    let listed = list(disk, folder, &mut found).await?;
    let mut headers = Vec::new();
    for segment in &listed {
        let start = disk.read_at(&segment.file, 0, HEADER_BYTES).await?.unwrap_or_default();
        let named = |header: &Header| (header.number, header.attempt) == (segment.number, segment.attempt);
        headers.push(Header::parse(&start)?.filter(named));
    }
    for (place, segment) in listed.iter().enumerate() {
        let mut bytes = disk.read(&segment.file).await?.unwrap_or_default();
        let known = headers.get(place + 1).copied().flatten().map(|next| next.previous);
        let known = known.filter(|(number, _)| *number == segment.number).map_or(bytes.len(), |(_, end)| end as usize);
        bytes.truncate(known);
        let is_last = place + 1 == listed.len();
        found.index.add_segment(segment.number, segment.file.clone(), bytes.len() as u64);
        let file = &segment.file;
        let mut scan = Scan { settings, found: &mut found, number: segment.number, file, bytes, is_last };
        let end = scan.run(headers[place]) as u64;
        scan.missing(known);
        if is_last {
            found.last = Some((segment.number, segment.file.clone(), end));
        }
    }
    Ok(found)
}

/// Segments in order, without those that a fenced attempt began after a newer one took over.
async fn list(disk: &Arc<dyn Disk>, folder: &str, found: &mut Found) -> Result<Vec<Listed>> {
    let entries = disk.list(folder).await?;
    let mut listed: Vec<Listed> = entries
        .iter()
        .filter(|entry| !entry.is_folder)
        .filter_map(|entry| {
            let (number, attempt) = parse_name(&entry.name)?;
            Some(Listed { number, attempt, file: format!("{folder}/{}", entry.name) })
        })
        .collect();
    listed.sort_by_key(|segment| (segment.number, std::cmp::Reverse(segment.attempt)));
    found.number_max = listed.last().map_or(0, |segment| segment.number);
    let mut last = (0, 0);
    listed.retain(|segment| {
        let stale = segment.number == last.0 || segment.attempt < last.1;
        if stale {
            found.report.stale.push(segment.file.clone());
        } else {
            last = (segment.number, segment.attempt);
        }
        !stale
    });
    found.attempt_max = last.1;
    Ok(listed)
}

// === impl Found ===

impl Found {
    /// Counts for people.
    pub fn stats(&self) -> JournalStats {
        let mut stats = JournalStats {
            duplicates_dropped: self.duplicates,
            corrupt_records: self.report.corrupt.len() as u64,
            ..JournalStats::default()
        };
        self.index.count(&mut stats);
        stats
    }
}

// === impl Scan ===

impl Scan<'_> {
    /// Reads all records; answers where the sound part ends.
    fn run(&mut self, header: Option<Header>) -> usize {
        match header {
            Some(Header { restored: Some(epoch), .. }) => self.found.index.void_after(epoch),
            Some(_) => {}
            None if self.is_last && !self.begins_soundly() => {
                self.torn(0, "the write that began this segment was torn");
                return 0;
            }
            None => self.damaged(0, self.bytes.len().min(HEADER_BYTES), "the segment's header is damaged"),
        }
        let mut at = HEADER_BYTES.min(self.bytes.len());
        while at < self.bytes.len() {
            match self.check(at) {
                Ok(total) => {
                    self.take(at, total);
                    at += total;
                }
                Err(unsound) => match self.resume(at) {
                    Some(next) => {
                        self.damaged(at, next - at, "checksum of the record does not match");
                        at = next;
                    }
                    None if self.is_last => {
                        self.torn(at, "the last write was torn");
                        return at;
                    }
                    None => {
                        self.damaged(at, self.bytes.len() - at, unsound.reason());
                        return self.bytes.len();
                    }
                },
            }
        }
        at
    }

    fn begins_soundly(&self) -> bool {
        self.bytes.len() > HEADER_BYTES && self.check(HEADER_BYTES).is_ok()
    }

    fn check(&self, at: usize) -> Result<usize, Unsound> {
        let rest = &self.bytes[at..];
        let believed = self.settings.planted == Some(PlantedBug::AcceptTornTail);
        match record::check(rest, self.settings.record_bytes_max) {
            Err(Unsound::Mismatch(total)) if believed => Ok(total),
            Err(Unsound::Cut) if believed && rest.len() >= record::FRAME_BYTES => Ok(rest.len()),
            result => result,
        }
    }

    /// Where the next sound record begins after damage at `at`, following the lengths of damaged ones.
    fn resume(&self, at: usize) -> Option<usize> {
        let mut next = at;
        while let Err(Unsound::Mismatch(total)) = self.check(next) {
            next += total;
        }
        let at_end = next == self.bytes.len() && !self.is_last;
        (next > at && (at_end || self.check(next).is_ok())).then_some(next)
    }

    fn take(&mut self, at: usize, total: usize) {
        let place = RecordPlace { segment: self.number, start: at as u64, length: total as u32 };
        match record::parse(&self.bytes.slice(at..at + total)) {
            Ok(Record::Closed { epoch, ids }) => ids.into_iter().for_each(|id| self.found.index.close(id, epoch)),
            Ok(Record::Answer { ids, .. }) => self.insert(place, ids, false),
            Ok(Record::Failure { ids, .. }) => self.insert(place, ids, true),
            Err(error) => return self.damaged(at, total, error.attempted()),
        }
        self.found.report.records += 1;
    }

    fn insert(&mut self, place: RecordPlace, ids: Vec<crate::request::RequestId>, failed: bool) {
        let replace = self.settings.planted == Some(PlantedBug::LastWriterWins);
        for (row, id) in ids.into_iter().enumerate() {
            let entry = Entry { place, row: row as u32, failed, closed: None };
            self.found.duplicates += u64::from(!self.found.index.insert(id, entry, replace));
        }
    }

    /// Names what the end lacks of the bytes that the next segment's writer saw, unless its last record told already.
    fn missing(&mut self, known: usize) {
        let length = self.bytes.len();
        let told = |damage: &Damage| damage.file == self.file && damage.place + damage.bytes >= length as u64;
        if length < known && !self.found.report.corrupt.last().is_some_and(told) {
            self.damaged(length, known - length, "the end of the segment is missing");
        }
    }

    fn damaged(&mut self, at: usize, bytes: usize, reason: &str) {
        let damage = self.damage(at, bytes, reason);
        self.found.report.corrupt.push(damage);
    }

    fn torn(&mut self, at: usize, reason: &str) {
        self.found.report.torn = Some(self.damage(at, self.bytes.len() - at, reason));
    }

    fn damage(&self, at: usize, bytes: usize, reason: &str) -> Damage {
        Damage { file: self.file.to_string(), place: at as u64, bytes: bytes as u64, reason: reason.to_string() }
    }
}
