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

const ROWS: u128 = 24;
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
}

fn settings(planted: Option<PlantedBug>) -> JournalSettings {
    JournalSettings { segment_bytes_max: 1200, planted, ..JournalSettings::default() }
}

fn draw(seed: u64, life: u64, what: u64) -> u64 {
    hash64_parts(&[&seed.to_le_bytes(), &life.to_le_bytes(), &what.to_le_bytes()])
}

/// Starts appends of what is not finished and, some time later, closings and a trim.
fn work(env: &ManualEnv, journal: &Journal, seed: u64, life: u64, told: &Arc<Mutex<Told>>) {
    for lane in 0..4 {
        let (journal, told, sleeper) = (journal.clone(), Arc::clone(told), env.clone());
        env.spawn(Box::pin(async move {
            for turn in 0..6 {
                let drawn = draw(seed, life, lane * 100 + turn);
                let ids = [u128::from(drawn % ROWS as u64), u128::from((drawn >> 32) % ROWS as u64)];
                let factor = (life * 1000 + lane * 10 + turn) as i64;
                let Ok(appended) = journal.append_answers(requests(&ids), rows(&ids, factor)).await else { return };
                let fresh = (0..2).filter(|place| !appended.duplicates.contains(place)).map(|place| ids[place]);
                fresh.for_each(|id| {
                    told.lock().unwrap().answers.insert(id, id as i64 * factor);
                });
                sleeper.sleep(Duration::from_micros(drawn % 3000)).await;
            }
            let epoch = life * 4 + lane;
            let mine: Vec<u128> = (0..ROWS).filter(|id| draw(seed, life, *id as u64).is_multiple_of(3)).collect();
            mine.iter().for_each(|id| {
                told.lock().unwrap().closed.insert(*id, epoch);
            });
            if journal.close_rows(Epoch(epoch), requests(&mine)).await.is_ok() {
                told.lock().unwrap().retained = epoch.saturating_sub(6);
                let _ = journal.trim(Epoch(epoch.saturating_sub(6))).await;
            }
        }));
    }
}

/// The first promise that `seed` finds broken.
fn search(seed: u64, planted: Option<PlantedBug>) -> Result<(), String> {
    let disk = MemoryDisk::new();
    let told: Arc<Mutex<Told>> = Arc::default();
    for life in 1..=LIVES {
        let env = ManualEnv::with_disk(draw(seed, life, 7), Arc::new(disk.clone()));
        let opening = Journal::open(Arc::new(env.clone()), FOLDER, life, settings(planted));
        let (journal, report) = env.block_on(opening).map_err(|error| error.chain())?;
        if !report.corrupt.is_empty() {
            return Err(format!("damage without any: {:?}", report.corrupt));
        }
        let process = Process { env, journal, report };
        verify(&process, &told)?;
        work(&process.env, &process.journal, seed, life, &told);
        for _ in 0..draw(seed, life, 9) % 120 {
            if !process.env.step()
                && let Some(next) = process.env.next_wake()
            {
                process.env.advance_to(next);
            }
        }
        process.env.kill();
        disk.crash(draw(seed, life, 8));
    }
    Ok(())
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
            (Some(before), Some(found)) if before != found => return Err(format!("{id}: told {before}, now {found}")),
            (Some(before), None) if !trimmable => return Err(format!("{id}: told {before}, now lost")),
            (Some(_), None) => {
                told.answers.remove(&id);
            }
            (None, Some(found)) => {
                told.answers.insert(id, found);
            }
            _ => {}
        }
    }
    Ok(())
}

#[test]
fn told_answers_survive_a_crash_at_any_moment() {
    for seed in 0..SEEDS {
        search(seed, None).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
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
