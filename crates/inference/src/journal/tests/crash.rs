//! Lives that end at a random moment: over many seeds, what was told is found again, and stays what it was.
//!
//! The same search must find each planted bug; a search that cannot is worth nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_core::element::Epoch;
use forebay_core::env::Env;
use forebay_core::hash::hash64_parts;
use forebay_core::testing::{ManualEnv, MemoryDisk};

use super::{FOLDER, Process, requests, rows};
use crate::journal::{Journal, JournalSettings, PlantedBug};

const ROWS: u128 = 120;
const LIVES: u64 = 5;
const SEEDS: u64 = 300;

/// What the outside was told: rows by id.
#[derive(Default)]
struct Told {
    /// Each row's answer, from an append that was told or a lookup.
    answers: BTreeMap<u128, i64>,
    /// The latest epoch in which closing the row was asked for.
    closed: BTreeMap<u128, u64>,
    /// The oldest epoch still kept.
    retained: u64,
    /// How often the interesting happened: answers told, rows dropped as duplicates, segments trimmed, tails torn.
    seen: [u64; 4],
}

impl Told {
    fn add(&mut self, fresh: Vec<(u128, i64)>, duplicates: usize) {
        self.answers.extend(fresh);
        self.seen[0] += 1;
        self.seen[1] += duplicates as u64;
    }

    /// Most of what was told and not yet emitted is emitted in `epoch`.
    fn emit(&mut self, epoch: u64, drawn: u64) -> Vec<u128> {
        let emitted = |id: &u128| !self.closed.contains_key(id) && !draw(drawn, epoch, *id as u64).is_multiple_of(8);
        let emitted: Vec<u128> = self.answers.keys().copied().filter(emitted).collect();
        self.closed.extend(emitted.iter().map(|id| (*id, epoch)));
        emitted
    }

    fn retain(&mut self, oldest: u64) -> u64 {
        self.retained = self.retained.max(oldest);
        self.retained
    }
}

fn settings(planted: Option<PlantedBug>) -> JournalSettings {
    JournalSettings { segment_bytes_max: 1200, planted, ..JournalSettings::default() }
}

fn draw(seed: u64, life: u64, what: u64) -> u64 {
    hash64_parts(&[&seed.to_le_bytes(), &life.to_le_bytes(), &what.to_le_bytes()])
}

/// Starts four lanes that append rows, and now and then close what was told and trim.
fn work(env: &ManualEnv, journal: &Journal, seed: u64, life: u64, told: &Arc<Mutex<Told>>) {
    for lane in 0..4 {
        let (journal, told, sleeper) = (journal.clone(), Arc::clone(told), env.clone());
        env.spawn(Box::pin(async move {
            for turn in 0..12 {
                let drawn = draw(seed, life, lane * 100 + turn);
                let ids = [u128::from(drawn % ROWS as u64), u128::from((drawn >> 32) % ROWS as u64)];
                let factor = (life * 1000 + lane * 20 + turn) as i64;
                let Ok(appended) = journal.append_answers(requests(&ids), rows(&ids, factor)).await else { return };
                let fresh = (0..2).filter(|place| !appended.duplicates.contains(place)).map(|place| ids[place]);
                let fresh = fresh.map(|id| (id, id as i64 * factor)).collect();
                told.lock().unwrap().add(fresh, appended.duplicates.len());
                if drawn.is_multiple_of(4) {
                    close_and_trim(&journal, life * 20 + turn, drawn, &told).await;
                }
                sleeper.sleep(Duration::from_micros(drawn % 3000)).await;
            }
        }));
    }
}

async fn close_and_trim(journal: &Journal, epoch: u64, drawn: u64, told: &Mutex<Told>) {
    let emitted = told.lock().unwrap().emit(epoch, drawn);
    if journal.close_rows(Epoch(epoch), requests(&emitted)).await.is_ok() {
        let retained = told.lock().unwrap().retain(epoch.saturating_sub(3));
        let trimmed = journal.trim(Epoch(retained)).await.map_or(0, |report| report.segments);
        told.lock().unwrap().seen[2] += trimmed;
    }
}

/// The first promise that `seed` finds broken.
fn search(seed: u64, planted: Option<PlantedBug>) -> Result<[u64; 4], String> {
    let disk = MemoryDisk::new();
    let told: Arc<Mutex<Told>> = Arc::default();
    for life in 1..=LIVES {
        let env = ManualEnv::with_disk(draw(seed, life, 7), Arc::new(disk.clone()));
        let opening = Journal::open(Arc::new(env.clone()), FOLDER, life, settings(planted));
        let (journal, report) = env.block_on(opening).map_err(|error| error.chain())?;
        if !report.corrupt.is_empty() {
            return Err(format!("damage without any: {:?}", report.corrupt));
        }
        told.lock().unwrap().seen[3] += u64::from(report.torn.is_some());
        let process = Process { env, journal, report };
        verify(&process, &told)?;
        work(&process.env, &process.journal, seed, life, &told);
        for _ in 0..draw(seed, life, 9) % 160 {
            if !process.env.step()
                && let Some(next) = process.env.next_wake()
            {
                process.env.advance_to(next);
            }
        }
        process.env.kill();
        disk.crash(draw(seed, life, 8));
    }
    Ok(told.lock().unwrap().seen)
}

/// Every told answer is found unless it may be trimmed, and every answer found is the one told before.
fn verify(process: &Process, told: &Mutex<Told>) -> Result<(), String> {
    let ids: Vec<u128> = (0..ROWS).collect();
    let found = process.wait(process.journal.lookup(&requests(&ids))).map_err(|error| error.chain())?;
    let mut told = told.lock().unwrap();
    for (id, outcome) in ids.into_iter().zip(&found) {
        let (found, before) = (outcome.as_ref().map(super::value), told.answers.get(&id).copied());
        let trimmable = told.closed.get(&id).is_some_and(|epoch| *epoch <= told.retained);
        match (before, found) {
            (Some(before), Some(found)) if before == found => {}
            (Some(before), found) if !trimmable => return Err(format!("{id}: told {before}, now {found:?}")),
            // Trimmed, and perhaps answered anew without anyone being told.
            (_, Some(found)) => {
                told.answers.insert(id, found);
            }
            (_, None) => {
                told.answers.remove(&id);
            }
        }
    }
    Ok(())
}

#[test]
fn told_answers_survive_a_crash_at_any_moment() {
    let mut seen = [0; 4];
    for seed in 0..SEEDS {
        let here = search(seed, None).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        seen.iter_mut().zip(here).for_each(|(sum, count)| *sum += count);
    }
    println!("told, duplicates, trimmed segments, torn tails: {seen:?}");
    assert!(seen.iter().all(|count| *count > SEEDS / 10), "the search is blind to something: {seen:?}");
}

#[test]
fn every_planted_bug_is_found() {
    let planted = [
        PlantedBug::TellBeforeSync,
        PlantedBug::SkipFolderSync,
        PlantedBug::LastWriterWins,
        PlantedBug::TrimAtEmit,
        PlantedBug::AcceptTornTail,
    ];
    for bug in planted {
        let found = (0..SEEDS).find_map(|seed| search(seed, Some(bug)).err().map(|broken| (seed, broken)));
        println!("{bug:?}: {found:?}");
        assert!(found.is_some(), "{bug:?} is not found in {SEEDS} seeds");
    }
}
