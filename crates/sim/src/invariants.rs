//! What must hold at every moment, and at the end. Numbers as in the design of the test plan.
//!
//! - I1 committed output = what the oracle says · I19 output + dead letters = input.
//! - I4 a request has one value: in the journal, in the output, and for ever.
//! - I5 nothing runs once its result is durable · I6 nothing runs twice unless its first run was lost (both are checked
//!   where the model starts to run a row).
//! - I9 output appears only with its published epoch, is named by it, and never goes away.
//! - I13 an epoch record never changes; epochs are dense · I14 attempts only grow with the epochs.
//! - I25 a row that climbed the ladder of its other answers does not come back, and takes the last one only if the models
//!   failed it (the first is checked where the model starts to run a row).
//! - I22 what was committed is still there after power loss, and so is the answer behind it.
//!
//! Each has a partner that counts how often it could have failed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use forebay_core::testing::MemoryDisk;
use forebay_inference::request::RequestId;

use crate::model::{Answered, Books, parse_value};
use crate::oracle::Expected;
use crate::scenario::{CONSTANT, Job};
use crate::shape::PLAIN;
use crate::view::{Record, View, epoch_of, journal, oldest_kept};

/// What was seen so far and must stay true.
#[derive(Default)]
pub(crate) struct Invariants {
    records: BTreeMap<u64, Record>,
    files: BTreeMap<String, Bytes>,
    markers: BTreeSet<u64>,
    /// Epochs that the user gave up by going back to an older checkpoint: after the first, up to the second.
    given_up: Vec<(u64, u64)>,
    /// Values that nothing can change any more.
    values: BTreeMap<RequestId, String>,
    /// Values in the journal that power loss may still take.
    written: BTreeMap<RequestId, String>,
}

// === impl Invariants ===

impl Invariants {
    /// Looks at the disk while processes run.
    ///
    /// # Errors
    /// What is broken.
    pub fn look(&mut self, disk: &MemoryDisk, books: &Books) -> Result<View, String> {
        let view = View::look(disk);
        self.check_records(&view, books)?;
        self.check_files(&view, disk, books)?;
        self.markers.extend(&view.markers);
        Ok(view)
    }

    /// A process ended without a word; `power` if the disk forgot what was not durable.
    ///
    /// # Errors
    /// What is broken.
    pub fn after_crash(&mut self, disk: &MemoryDisk, folder: &str, power: bool, books: &Books) -> Result<(), String> {
        let view = View::look(disk);
        if power {
            self.forget_unsure(&view)?;
        }
        let view = { self.look(disk, books).map(|_| view)? };
        if view.staged > 0 {
            books.count("I9: crash with staged files");
        }
        if view.records.len() > 2 {
            books.count("I13: crash with several epochs");
        }
        self.check_values(&view, disk, folder, power, books)
    }

    /// The user goes back to a checkpoint whose state is that of `state_of`: what came later may be taken back.
    pub fn roll_back(&mut self, state_of: u64, disk: &MemoryDisk) {
        let newest = View::look(disk).records.keys().next_back().copied();
        self.given_up.push((state_of, newest.unwrap_or(0)));
    }

    /// Another journal takes over: only values that were committed still bind.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn forget_journal(&mut self, disk: &MemoryDisk) -> Result<(), String> {
        let rows = View::look(disk).rows()?;
        let committed: BTreeSet<RequestId> = rows.iter().filter_map(|row| Some(parse_value(&row.answer)?.0)).collect();
        self.values.retain(|request, _| committed.contains(request));
        self.written.clear();
        Ok(())
    }

    /// Whether the file may be taken back.
    fn is_given_up(&self, name: &str) -> bool {
        self.gave_up(epoch_of(name).unwrap_or(0))
    }

    /// Whether the user gave up the state of this epoch.
    pub fn gave_up(&self, epoch: u64) -> bool {
        self.given_up.iter().any(|(after, until)| *after < epoch && epoch <= *until)
    }

    /// Records and files whose making was not finished may be gone after power loss; others may not.
    fn forget_unsure(&mut self, view: &View) -> Result<(), String> {
        self.records.retain(|epoch, _| view.records.contains_key(epoch));
        let committed =
            |name: &str| epoch_of(name).is_some_and(|epoch| self.markers.contains(&epoch)) && !self.is_given_up(name);
        if let Some(name) = self.files.keys().find(|name| !view.files.contains_key(*name) && committed(name)) {
            return Err(format!("I22: committed file {name} is gone after power loss"));
        }
        self.files.retain(|name, _| view.files.contains_key(name));
        self.markers.retain(|epoch| view.markers.contains(epoch));
        Ok(())
    }

    fn check_records(&mut self, view: &View, books: &Books) -> Result<(), String> {
        for (epoch, seen) in &self.records {
            match view.records.get(epoch) {
                Some(now) if now == seen => {}
                Some(now) => {
                    return Err(format!(
                        "I13: the record of epoch {epoch} changed: attempt {} became {}",
                        seen.attempt, now.attempt
                    ));
                }
                None => return Err(format!("I13: the record of epoch {epoch} is gone")),
            }
        }
        let mut last = (0, 0);
        for (epoch, record) in &view.records {
            if *epoch != last.0 + 1 {
                return Err(format!("I13: epoch {epoch} follows epoch {}", last.0));
            }
            // A stale restart may still win a claim, which changes no state; a stale attempt never publishes.
            if record.is_checkpoint && record.attempt < last.1 {
                return Err(format!(
                    "I14: attempt {} published epoch {epoch} after attempt {}",
                    record.attempt, last.1
                ));
            }
            last = (*epoch, record.attempt.max(last.1));
        }
        if view.records.len() > self.records.len() {
            books.count("I14: epochs published");
        }
        self.records = view.records.clone();
        Ok(())
    }

    fn check_files(&mut self, view: &View, disk: &MemoryDisk, books: &Books) -> Result<(), String> {
        for (name, seen) in &self.files {
            let taken_back = self.is_given_up(name) && !view.files.contains_key(name);
            if view.files.get(name) != Some(seen) && !taken_back {
                return Err(format!("I9: committed file {name} changed or went away"));
            }
        }
        for name in view.files.keys().filter(|name| !self.files.contains_key(*name)) {
            let epoch = epoch_of(name).ok_or_else(|| format!("I9: output file {name} has no epoch in its name"))?;
            if !view.records.get(&epoch).is_some_and(|record| record.is_checkpoint) {
                return Err(format!("I9: output file {name} is visible, but epoch {epoch} is not published"));
            }
            if view.owed(disk, epoch).is_some_and(|owed| !owed.contains(name)) {
                return Err(format!("I9: output file {name} is visible, but epoch {epoch} does not name it"));
            }
            books.count("I9: output files seen to appear");
        }
        self.files.clone_from(&view.files);
        Ok(())
    }

    fn check_values(
        &mut self,
        view: &View,
        disk: &MemoryDisk,
        folder: &str,
        power: bool,
        books: &Books,
    ) -> Result<(), String> {
        if power {
            self.written.clear();
            books.lock().written.clear();
        }
        let one_journal = books.lock().one_journal;
        let mut held = if one_journal { journal(disk, folder)? } else { BTreeMap::new() };
        // Of another model, a row that was taken back may come again and is then another request of that name.
        held.retain(|request, _| books.lock().was_asked(*request));
        for (request, value) in &held {
            let known = self.values.get(request).or_else(|| self.written.get(request));
            if known.is_some_and(|known| known != value) {
                return Err(format!("I4: {request} had the value {known:?} and now has {value}"));
            }
        }
        let oldest = oldest_kept(disk);
        for row in view.rows()? {
            if row.answer == CONSTANT {
                continue;
            }
            let (request, _) = parse_value(&row.answer).ok_or_else(|| format!("row {} has no answer", row.id))?;
            match held.get(&request) {
                Some(value) if *value != row.answer => {
                    return Err(format!("I4: row {} has {}, the journal says {value}", row.id, row.answer));
                }
                None if one_journal && row.epoch > oldest => {
                    return Err(format!(
                        "I22: row {} is committed in epoch {}, and the journal lost its answer",
                        row.id, row.epoch
                    ));
                }
                _ => books.count("I4: committed values held against the journal"),
            }
            if self.values.get(&request).is_some_and(|known| *known != row.answer) {
                return Err(format!("I4: row {} was seen with another answer than {}", row.id, row.answer));
            }
            self.values.insert(request, row.answer);
        }
        let inner = &mut *books.lock();
        inner.counts.add("I5: durable results at crashes", held.len() as u64);
        let (values, requests) =
            if power { (&mut self.values, &mut inner.durable) } else { (&mut self.written, &mut inner.written) };
        requests.extend(held.keys().copied());
        values.extend(held);
        Ok(())
    }
}

/// Holds the output of a job that is over against the oracle.
///
/// # Errors
/// What is broken.
pub(crate) fn check_end(view: &View, expected: &Expected, job: &Job, books: &Books) -> Result<(), String> {
    let mut left: BTreeMap<u64, &serde_json::Value> = expected.rows.iter().map(|(id, row)| (*id, row)).collect();
    let rows = view.rows()?;
    for row in &rows {
        let wanted =
            left.remove(&row.id).ok_or_else(|| format!("I1: row {} came out twice, or never went in", row.id))?;
        let constant = row.answer == CONSTANT;
        if *wanted != row.rest || (expected.poisonous.contains(&row.id) && !constant) {
            return Err(format!("I1: row {} came out as {}", row.id, row.rest));
        }
        if !constant {
            check_answer(row.id, &row.answer, books)?;
        } else if job.fallback.has_constant() {
            books.count("I25: rows that took the last answer");
        } else {
            return Err(format!("I25: row {} has an answer that nobody declared", row.id));
        }
    }
    let letters = view.letters()?;
    let bad_lines = letters.iter().filter(|letter| letter.id.is_none()).count() as u64;
    if bad_lines != expected.bad_lines {
        return Err(format!("I19: {bad_lines} bad lines are dead letters, not {}", expected.bad_lines));
    }
    for letter in &letters {
        let Some(id) = letter.id else { continue };
        if left.remove(&id).is_none() {
            return Err(format!("I19: row {id} is a dead letter and came out as well, or twice, or never went in"));
        }
        let refused = expected.poisonous.contains(&id) || books.lock().miscounted.contains(&id);
        let given_up = letter.kind != "data" && letter.attempts >= u64::from(job.attempts);
        if given_up && letter.kind == "unavailable" && expected.toxic.contains(&id) {
            books.count("I19: toxic rows that were given up");
        }
        let late = letter.kind == "timeout" && job.deadline_ms.is_some();
        let reason = letter.kind == "data" && refused || given_up || late;
        if !reason || job.fallback.has_constant() {
            return Err(format!("I19: row {id} is a dead letter without reason: {letter:?}"));
        }
    }
    if let Some(id) = left.keys().next() {
        return Err(format!("I1: {} rows are lost, row {id} first", left.len()));
    }
    let inner = &mut *books.lock();
    inner.counts.add("I1: rows compared with the oracle", rows.len() as u64);
    inner.counts.add("I19: dead letters compared with the oracle", letters.len() as u64);
    Ok(())
}

/// Holds the output of the second sink, if the job has one, against the oracle: each row once, as it went in.
///
/// # Errors
/// What is broken.
pub(crate) fn check_plain(view: &View, expected: &Expected, books: &Books) -> Result<(), String> {
    let mut left = expected.rows.clone();
    for row in view.lines_of(PLAIN)? {
        let wanted = row["id"].as_u64().and_then(|id| left.remove(&id));
        if wanted.as_ref() != Some(&row) {
            return Err(format!("I1: the second sink has {row}, which came out twice, or never went in so"));
        }
        books.count("I1: rows of a second sink compared with the oracle");
    }
    match left.keys().next() {
        Some(id) => Err(format!("I1: the second sink lost {} rows, row {id} first", left.len())),
        None => Ok(()),
    }
}

/// The answer must be one that the model gave, to this row.
fn check_answer(id: u64, answer: &str, books: &Books) -> Result<(), String> {
    let inner = books.lock();
    let execution = parse_value(answer).and_then(|(request, number)| {
        inner.executions.get(number).filter(|execution| execution.request == request && execution.row == id)
    });
    match execution.map(|execution| execution.outcome) {
        Some(Some(Answered::Value)) => Ok(()),
        other => Err(format!("I4: row {id} has the answer {answer}, which the model never gave ({other:?})")),
    }
}
