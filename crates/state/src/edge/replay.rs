//! Reading the log back: segments in order, nothing written, nothing guessed.
//!
//! In the last segment, what does not continue with a sound record is the torn end of the last write, of which nobody was
//! told. Anywhere else it is damage, and `Corrupt` names file and byte: rows of a published epoch may be lost with it. Damage
//! that looks like a torn end is found when the producer takes the edge over, because its checkpoint says how far it wrote.

use std::collections::BTreeMap;

use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::{Error, Kind, Result};

use super::core::{Place, Record, Segment};
use super::position::RowKey;
use super::protocol::{CoreSettings, EdgeMode, PlantedBug};
use super::record::{self, Head};
use super::segment::{Header, parse_name};

/// What a folder holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Found {
    /// The newest attempt that took over, 0 for none.
    pub(super) attempt: u64,
    /// Records that count, in order.
    pub(super) records: Vec<Record>,
    /// Where each key group ends.
    pub(super) ends: BTreeMap<KeyGroup, u64>,
    /// Rows by key, under id-dedupe.
    pub(super) keys: Vec<(RowKey, KeyGroup, u64)>,
    /// Segments, oldest first.
    pub(super) segments: Vec<Segment>,
    /// The highest segment number used.
    pub(super) number_max: u32,
    /// The last write was torn: the file and how many of its bytes are sound. It is left as it is: the next segment's header
    /// says how much of it counts.
    pub torn: Option<(String, u64)>,
    /// Files that nothing refers to, such as those of fenced attempts.
    pub stale: Vec<String>,
}

/// Reads segments one after the other.
pub struct Replay<'a> {
    settings: &'a CoreSettings,
    found: Found,
    /// Names still to be read, the next one last.
    files: Vec<(u32, u64, String)>,
    /// The segment read last, which the next one's header may cut.
    held: Option<(Header, String, Bytes, usize)>,
    /// One whose header is damaged: of no account if the next does not refer to it.
    skipped: Option<(u32, String)>,
    /// Where the first record of each key group stands, or would stand.
    starts: BTreeMap<KeyGroup, u64>,
}

// === impl Replay ===

impl<'a> Replay<'a> {
    /// A reading of the folder that holds files called `names`.
    pub fn new(settings: &'a CoreSettings, names: impl IntoIterator<Item = String>) -> Self {
        let (mut files, stale, number_max) = in_order(names);
        files.reverse();
        let found = Found { number_max, stale, ..Found::default() };
        Self { settings, found, files, held: None, skipped: None, starts: BTreeMap::new() }
    }

    /// The file to read next; `None` when all are.
    pub fn next_file(&self) -> Option<&str> {
        self.files.last().map(|(_, _, name)| name.as_str())
    }

    /// Takes the content of [`Replay::next_file`].
    ///
    /// # Errors
    /// `Corrupt`, naming file and byte; `Invalid` if a newer Forebay wrote it.
    pub fn take(&mut self, bytes: Bytes) -> Result<()> {
        let Some((number, attempt, file)) = self.files.pop() else { return Ok(()) };
        let header = Header::parse(&bytes)?.filter(|(header, _)| (header.number, header.attempt) == (number, attempt));
        let Some((header, length)) = header else {
            self.found.stale.extend(self.skipped.replace((number, file)).map(|(_, file)| file));
            return Ok(());
        };
        self.check_previous(&header, &file)?;
        self.finish(true)?;
        self.begin(&header, &file)?;
        self.held = Some((header, file, bytes, length));
        Ok(())
    }

    /// What was found.
    ///
    /// # Errors
    /// As [`Replay::take`].
    pub fn end(mut self) -> Result<Found> {
        // Also if one with a torn header follows: that header was to say how much of the one before counts.
        self.finish(false)?;
        if let Some((_, file)) = self.skipped.take() {
            self.found.torn = Some((file, 0));
        }
        Ok(self.found)
    }

    /// Cuts the segment before to what `header` saw of it.
    fn check_previous(&mut self, header: &Header, file: &str) -> Result<()> {
        let (number, length) = header.previous;
        if let Some((skipped, skipped_file)) = self.skipped.take() {
            if skipped == number {
                return Err(corrupt(&skipped_file, 0, "the segment's header is damaged"));
            }
            self.found.stale.push(skipped_file);
        }
        let Some((before, before_file, bytes, _)) = &mut self.held else { return Ok(()) };
        if number != before.number {
            let reason = format!("segment {number} before it is missing");
            return Err(corrupt(file, 0, &reason));
        }
        if (bytes.len() as u64) < length {
            return Err(corrupt(before_file, bytes.len() as u64, "the end of the segment is missing"));
        }
        bytes.truncate(length as usize);
        Ok(())
    }

    /// Opens a segment: under commit-read one that begins an attempt cuts off what its base does not cover.
    fn begin(&mut self, header: &Header, file: &str) -> Result<()> {
        let found = &mut self.found;
        found.attempt = header.attempt;
        if found.segments.is_empty() {
            found.ends.clone_from(&header.ends);
            self.starts.clone_from(&header.ends);
        }
        let cuts =
            self.settings.mode == EdgeMode::CommitRead && self.settings.bug != Some(PlantedBug::KeepUnpublishedTail);
        if let Some(base) = header.begins.filter(|_| cuts) {
            found.cut(base);
            self.cut_before_start(header);
        }
        let (found, end) = (&self.found, |ends: &BTreeMap<KeyGroup, u64>, group| ends.get(group).copied().unwrap_or(0));
        let mut groups = found.ends.keys().chain(header.ends.keys());
        match groups.find(|group| end(&found.ends, group) != end(&header.ends, group)) {
            Some(group) => {
                let reason = format!(
                    "key group {} ends at {} before this segment, its header says {}",
                    group.0,
                    end(&found.ends, group),
                    end(&header.ends, group)
                );
                Err(corrupt(file, 0, &reason))
            }
            None => Ok(()),
        }
    }

    /// What a header cuts off may have begun in segments that are trimmed since, because nobody needs what is cut off: of a
    /// key group that has no record left, the header alone knows how far it went back.
    fn cut_before_start(&mut self, header: &Header) {
        for (group, said) in &header.ends {
            let start = self.starts.get(group).copied().unwrap_or(0);
            if *said < start && self.found.ends.get(group) == Some(&start) {
                self.found.ends.insert(*group, *said);
                self.starts.insert(*group, *said);
            }
        }
    }

    /// Takes in the records of the held segment; `complete` unless it is the last.
    fn finish(&mut self, complete: bool) -> Result<()> {
        let Some((header, file, bytes, mut at)) = self.held.take() else { return Ok(()) };
        while at < bytes.len() {
            match record::parse(&bytes[at..], self.settings.record_bytes_max) {
                Ok((head, _, total)) => {
                    let place =
                        Place { segment: (header.number, header.attempt), start: at as u64, length: total as u32 };
                    self.record(head, place, &file)?;
                    at += total;
                }
                Err(unsound) if complete => return Err(corrupt(&file, at as u64, unsound.reason())),
                Err(_) => {
                    self.found.torn = Some((file, at as u64));
                    break;
                }
            }
        }
        self.found.segments.push(Segment { number: header.number, attempt: header.attempt, bytes: at as u64 });
        Ok(())
    }

    fn record(&mut self, head: Head, place: Place, file: &str) -> Result<()> {
        let found = &mut self.found;
        for span in &head.spans {
            let end = found.ends.insert(span.group, span.end()).unwrap_or(0);
            if end != span.start {
                let reason = format!("key group {} goes on at {}, not {end}", span.group.0, span.start);
                return Err(corrupt(file, place.start, &reason));
            }
        }
        if self.settings.mode == EdgeMode::IdDedupe {
            let numbers =
                head.spans.iter().flat_map(|span| (span.start..span.end()).map(|number| (span.group, number)));
            found.keys.extend(head.keys.iter().zip(numbers).map(|(key, (group, number))| (*key, group, number)));
        }
        let sequence = found.records.last().map_or(0, |last| last.sequence + 1);
        found.records.push(Record { sequence, epoch: head.epoch, spans: head.spans, mark: head.mark, place });
        Ok(())
    }
}

// === impl Found ===

impl Found {
    fn cut(&mut self, base: Option<Epoch>) {
        for record in self.records.iter().rev().filter(|record| Some(record.epoch) > base) {
            self.ends.extend(record.spans.iter().map(|span| (span.group, span.start)));
        }
        self.records.retain(|record| Some(record.epoch) <= base);
    }
}

/// The files of a log, oldest first, those of fenced attempts, and the highest number of any.
pub(super) fn in_order(names: impl IntoIterator<Item = String>) -> (Vec<(u32, u64, String)>, Vec<String>, u32) {
    let numbered = |name: String| parse_name(&name).map(|(number, attempt)| (number, attempt, name));
    let mut files: Vec<_> = names.into_iter().filter_map(numbered).collect();
    files.sort_by_key(|(number, attempt, _)| (*number, std::cmp::Reverse(*attempt)));
    let number_max = files.last().map_or(0, |(number, ..)| *number);
    let (mut stale, mut last) = (Vec::new(), (0, 0));
    // A fenced attempt may have gone on writing: such a segment repeats a number or comes after a newer attempt's.
    files.retain(|(number, attempt, name)| {
        let is_stale = *number == last.0 || *attempt < last.1;
        if is_stale {
            stale.push(name.clone());
        } else {
            last = (*number, *attempt);
        }
        !is_stale
    });
    (files, stale, number_max)
}

pub(super) fn corrupt(file: &str, place: u64, reason: &str) -> Error {
    Error::new(Kind::Corrupt, "read edge log").with("file", file).with("byte", place).source(reason)
}
