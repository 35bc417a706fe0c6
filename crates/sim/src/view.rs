//! What anyone who looks at the disk sees: epoch records, committed output, dead letters, the journal.
//!
//! Reads the files themselves and not through the engine, so that a bug of the engine's readers hides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::AsArray;
use bytes::Bytes;
use forebay_core::disk::Disk;
use forebay_core::testing::{ManualEnv, MemoryDisk};
use forebay_engine::run::JOURNAL_FOLDER;
use forebay_inference::journal::{Journal, JournalSettings};
use forebay_inference::request::{Outcome, RequestId};
use futures::FutureExt;
use serde_json::Value;

use crate::drops::DROPS;
use crate::shape::PLAIN;
use crate::timed::{self, BEHIND, OPINION_MODEL};

/// Folder of the checkpoints.
pub(crate) const CHECKPOINTS: &str = "checkpoints";
const REGION: &str = "checkpoints/sim/region-0";
const SECOND_REGION: &str = "checkpoints/sim/region-1/";
const LETTERS: &str = "_dead_letters/";
/// Those of the second region.
const SECOND_LETTERS: &str = "_dead_letters/r2/";

/// An epoch record as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub bytes: Bytes,
    pub attempt: u64,
    pub is_checkpoint: bool,
    manifest: String,
}

/// The disk at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub records: BTreeMap<u64, Record>,
    /// Output files that a reader of the folder takes for real, dead letters included, by path below `out`.
    pub files: BTreeMap<String, Bytes>,
    /// Those that a second region writes, which numbers its epochs apart.
    pub apart: BTreeMap<String, Bytes>,
    /// Epochs marked as committed.
    pub markers: BTreeSet<u64>,
    /// Files staged and not committed.
    pub staged: usize,
}

/// A committed row.
#[derive(Debug, Clone)]
pub(crate) struct OutRow {
    pub epoch: u64,
    pub id: u64,
    pub answer: String,
    /// The row without the answer.
    pub rest: Value,
}

/// A committed dead letter.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    /// The row, `None` if it never was one.
    pub id: Option<u64>,
    pub kind: String,
    pub reason: String,
    pub attempts: u64,
    operator: String,
}

/// The content of `path`.
pub(crate) fn read(disk: &MemoryDisk, path: &str) -> Option<Bytes> {
    disk.read(path).now_or_never()?.ok()?
}

/// Adds to a file for good; false if there is no room.
pub(crate) fn write(disk: &MemoryDisk, path: &str, bytes: Bytes) -> bool {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let added = disk.append(path, bytes).now_or_never().is_some_and(|added| added.is_ok());
    let _ = disk.sync(path).now_or_never();
    let _ = disk.sync_folder(folder).now_or_never();
    added
}

// === impl View ===

impl View {
    /// The disk now.
    pub fn look(disk: &MemoryDisk) -> Self {
        let mut view = Self::default();
        let (epochs, markers) = (format!("{REGION}/epoch/"), format!("{REGION}/committed/"));
        let paths = disk.paths();
        let apart = paths.iter().any(|path| path.starts_with(SECOND_REGION));
        for path in paths {
            if let Some(name) = path.strip_prefix(&epochs) {
                let record = read(disk, &path).and_then(|bytes| record(&bytes));
                view.records.extend(name.strip_suffix(".json").and_then(|name| name.parse().ok()).zip(record));
            } else if let Some(name) = path.strip_prefix(&markers) {
                view.markers.extend(name.parse::<u64>());
            } else if let Some(name) = path.strip_prefix("out/") {
                let inner = below_sink(name);
                view.staged += usize::from(inner.starts_with("_staging"));
                if !inner.starts_with('_') {
                    let second = [PLAIN, BEHIND, SECOND_LETTERS].iter().any(|folder| name.starts_with(folder));
                    let files = if apart && second { &mut view.apart } else { &mut view.files };
                    files.extend(read(disk, &path).map(|bytes| (name.to_string(), bytes)));
                }
            }
        }
        view
    }

    /// Names that the manifest of `epoch` tells its sinks to publish; `None` if the manifest is gone.
    pub fn owed(&self, disk: &MemoryDisk, epoch: u64) -> Option<BTreeSet<String>> {
        let manifest = json(&read(disk, &format!("{CHECKPOINTS}/{}", self.records.get(&epoch)?.manifest))?)?;
        let mut names = BTreeSet::new();
        for sink in manifest["committables"].as_array().into_iter().flatten() {
            let folder = sink["sink"].as_str().map_or(LETTERS, folder_of);
            for item in sink["items"].as_array().into_iter().flatten() {
                let item: Value = serde_json::from_slice(&unhex(item.as_str()?)).ok()?;
                names.insert(format!("{folder}{}", item["name"].as_str()?));
            }
        }
        Some(names)
    }

    /// Every committed row, or what cannot be read.
    pub fn rows(&self) -> Result<Vec<OutRow>, String> {
        let mut rows = Vec::new();
        for (epoch, mut rest) in self.lines("")? {
            let answer = rest["answer"].as_str().unwrap_or_default().to_string();
            let id = rest["id"].as_u64().ok_or_else(|| format!("a row without id: {rest}"))?;
            rest.as_object_mut().map(|row| row.remove("answer"));
            rows.push(OutRow { epoch, id, answer, rest });
        }
        Ok(rows)
    }

    /// Every committed dead letter but those of the model that is asked about updates, or what cannot be read.
    pub fn letters(&self) -> Result<Vec<Letter>, String> {
        Ok(self.all_letters()?.into_iter().filter(|letter| letter.operator != OPINION_MODEL).collect())
    }

    /// Every committed dead letter of the step `operator`, or what cannot be read.
    pub fn letters_of(&self, operator: &str) -> Result<Vec<Letter>, String> {
        Ok(self.all_letters()?.into_iter().filter(|letter| letter.operator == operator).collect())
    }

    fn all_letters(&self) -> Result<Vec<Letter>, String> {
        let letter = |(_, line): (u64, Value)| {
            let input: Value = serde_json::from_str(line["input"].as_str()?).unwrap_or_default();
            let kind = line["kind"].as_str()?.to_string();
            let (reason, operator) = (line["reason"].as_str()?.to_string(), line["operator"].as_str()?.to_string());
            Some(Letter { id: input["id"].as_u64(), kind, reason, attempts: line["attempts"].as_u64()?, operator })
        };
        self.lines(LETTERS)?
            .into_iter()
            .map(|line| letter(line).ok_or_else(|| "a dead letter lacks a column".into()))
            .collect()
    }

    /// Every committed row of the sink whose folder is `folder`, or what cannot be read.
    pub fn lines_of(&self, folder: &str) -> Result<Vec<Value>, String> {
        Ok(self.lines(folder)?.into_iter().map(|(_, row)| row).collect())
    }

    /// The lines of the sink whose folder is `folder`, with their epochs.
    fn lines(&self, folder: &str) -> Result<Vec<(u64, Value)>, String> {
        let mut lines = Vec::new();
        let of_sink = |name: &str| {
            let found = name.strip_suffix(below_sink(name)).map(|found| found.strip_prefix(BEHIND).unwrap_or(found));
            found == Some(folder) || (folder == LETTERS && found == Some(SECOND_LETTERS))
        };
        for (name, bytes) in self.files.iter().chain(&self.apart).filter(|(name, _)| of_sink(name)) {
            let epoch = epoch_of(name).ok_or_else(|| format!("output file {name} has no epoch in its name"))?;
            let text = std::str::from_utf8(bytes).map_err(|error| format!("{name}: {error}"))?;
            for line in text.lines() {
                lines.push((epoch, serde_json::from_str(line).map_err(|error| format!("{name}: {error}"))?));
            }
        }
        Ok(lines)
    }
}

/// The name below the folder of its sink.
fn below_sink(name: &str) -> &str {
    let name = name.strip_prefix(BEHIND).unwrap_or(name);
    let folders = timed::SINKS.iter().map(|(_, folder)| *folder).chain([SECOND_LETTERS, LETTERS, PLAIN, DROPS.1]);
    folders.into_iter().find_map(|folder| name.strip_prefix(folder)).unwrap_or(name)
}

/// The folder of the sink `uid`.
fn folder_of(uid: &str) -> &'static str {
    match uid {
        "sink" => "",
        "plain" => PLAIN,
        uid if uid == DROPS.0 => DROPS.1,
        uid => timed::SINKS.iter().find(|(known, _)| *known == uid).map_or(LETTERS, |(_, folder)| folder),
    }
}

/// The epoch in the name of a committed file.
pub(crate) fn epoch_of(name: &str) -> Option<u64> {
    below_sink(name).strip_prefix("part-")?.split('-').next()?.parse().ok()
}

/// The oldest epoch that is still kept.
pub(crate) fn oldest_kept(disk: &MemoryDisk) -> u64 {
    let retained = read(disk, &format!("{REGION}/retained.json")).and_then(|bytes| json(&bytes));
    retained.and_then(|retained| retained["oldest"].as_u64()).unwrap_or(0)
}

/// What the journal below `folder` holds: the answer, or the kind of the failure.
pub(crate) fn journal(disk: &MemoryDisk, folder: &str) -> Result<BTreeMap<RequestId, String>, String> {
    let copy = MemoryDisk::new();
    let wanted = format!("{folder}/{JOURNAL_FOLDER}/");
    for path in disk.paths() {
        if let Some(name) = path.strip_prefix(&wanted) {
            write(&copy, &format!("{JOURNAL_FOLDER}/{name}"), read(disk, &path).unwrap_or_default());
        }
    }
    let env = ManualEnv::with_disk(1, Arc::new(copy.clone()));
    let shown = |error: forebay_core::Error| format!("the journal cannot be opened: {}", error.chain());
    let ids = env.block_on(Journal::finished(Arc::new(copy), JOURNAL_FOLDER)).map_err(shown)?;
    let opening = Journal::open(Arc::new(env.clone()), JOURNAL_FOLDER, u64::MAX, JournalSettings::default());
    let (journal, _) = env.block_on(opening).map_err(shown)?;
    let outcomes = env.block_on(journal.lookup(&ids)).map_err(shown)?;
    Ok(ids.into_iter().zip(outcomes).filter_map(|(id, outcome)| Some((id, text_of(&outcome?)))).collect())
}

fn text_of(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered { rows, place } => rows.column(0).as_string::<i32>().value(*place).to_string(),
        Outcome::Failed { kind, .. } | Outcome::GivenUp { kind, .. } => kind.name().to_string(),
    }
}

fn record(bytes: &Bytes) -> Option<Record> {
    let value = json(bytes)?;
    Some(Record {
        bytes: bytes.clone(),
        attempt: value["attempt"].as_u64()?,
        is_checkpoint: value["kind"] == "checkpoint",
        manifest: value["manifest"].as_str()?.to_string(),
    })
}

/// A document before its seal.
fn json(bytes: &Bytes) -> Option<Value> {
    let text = std::str::from_utf8(bytes).ok()?;
    serde_json::from_str(text.split("\n#crc32c ").next()?).ok()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
