//! A source whose files come while the job runs, some of them in two pieces, and a limit that ends it when all have come.
//!
//! Drawn apart from the rest of the scenario. Files come as time goes on in whatever process runs; one that was begun when a
//! process ended is whole before the next one starts, as whoever writes it does not crash with the engine.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use forebay_core::testing::MemoryDisk;
use forebay_core::time::Instant;

use crate::model::Books;
use crate::random::Random;
use crate::view::{View, write};

/// Uid and folder of its sink.
pub(crate) const DROPS: (&str, &str) = ("drops_out", "_drops/");

/// Its uid, by which dead letters name it.
const SOURCE: &str = "drops";

/// The files that a seed draws.
#[derive(Debug, Clone)]
pub(crate) struct Drops {
    interval_ms: u64,
    files: Vec<DropFile>,
    rows: u64,
}

/// A file, in the order in which they come.
#[derive(Debug, Clone)]
struct DropFile {
    path: String,
    text: String,
    /// After the one before, or after the process began.
    after_ms: u64,
    /// Bytes of it that come first; the rest comes before the folder can have been looked at twice.
    first_bytes: Option<usize>,
}

/// What has come, over all processes.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    come: usize,
    /// Whether the last file that has come lacks its rest.
    is_cut: bool,
    since: Instant,
}

// === impl Drops ===

impl Drops {
    /// What `seed` draws, if it draws any; in pieces only if no process stalls, because the looks of one whose clock stood still
    /// may fall between them.
    pub fn draw(seed: u64, stalls: bool) -> Option<Self> {
        let mut random = Random::new(seed, "drops");
        if !random.chance(250) {
            return None;
        }
        let interval_ms = random.pick(&[20, 100, 400]);
        let (count, mut rows) = (random.within(1, 6), 0);
        let mut file = |_| {
            let lines = random.within(1, 6);
            let text: String = (rows..rows + lines).map(|id| format!("{{\"id\": {id}}}\n")).collect();
            rows += lines;
            DropFile {
                // Not in the order of their names.
                path: format!("drops/{:02}-{:02}.jsonl", random.below(100), rows),
                after_ms: random.below(300),
                first_bytes: Some(random.within(1, text.len() as u64 - 1) as usize)
                    .filter(|_| random.chance(400) && !stalls),
                text,
            }
        };
        let files = (0..=count).map(&mut file).collect();
        Some(Self { interval_ms, files, rows })
    }

    /// The file that is there from the beginning.
    pub fn first(&self) -> (String, String) {
        let first = &self.files[0];
        (first.path.clone(), first.text.clone())
    }

    /// The sections of the source, the step and the sink.
    pub fn text(&self, batch_rows: u64, parallelism: u16) -> String {
        let (Self { interval_ms, rows, .. }, (uid, folder)) = (self, DROPS);
        let folder = folder.trim_end_matches('/');
        format!(
            "[source.{SOURCE}]\nformat = \"jsonl\"\npath = \"drops/*.jsonl\"\nmonitor_interval = \"{interval_ms}ms\"\n\
             batch_rows = {batch_rows}\n\n[[step]]\nuid = \"all_drops\"\nfrom = \"{SOURCE}\"\nlimit = {rows}\n\n\
             [sink.{uid}]\nfrom = \"all_drops\"\nformat = \"jsonl\"\npath = \"out/{folder}\"\nparallelism = {parallelism}\n\n"
        )
    }

    /// A process begins: what was cut is whole.
    pub fn begin(&self, arrivals: &mut Arrivals, disk: &MemoryDisk) {
        arrivals.since = Instant(0);
        if std::mem::take(&mut arrivals.is_cut) {
            self.files[arrivals.come].write_rest(disk);
        }
    }

    /// Puts down what has come by `now`, in pieces only if nothing stops the second one: a file that nobody goes on with looks whole.
    pub fn arrive(&self, arrivals: &mut Arrivals, disk: &MemoryDisk, now: Instant, in_pieces: bool, books: &Books) {
        let waited = now.since(arrivals.since);
        if arrivals.is_cut && waited >= Duration::from_millis(self.interval_ms / 2) {
            (arrivals.is_cut, arrivals.since) = (false, now);
            self.files[arrivals.come].write_rest(disk);
            return;
        }
        let next = arrivals.come + 1;
        let Some(file) = self.files.get(next).filter(|_| !arrivals.is_cut) else { return };
        if waited < Duration::from_millis(file.after_ms) {
            return;
        }
        let first = if in_pieces { file.first() } else { file.text.as_bytes() };
        // A full disk has no room for it yet.
        if write(disk, &file.path, Bytes::copy_from_slice(first)) {
            (arrivals.come, arrivals.is_cut, arrivals.since) = (next, first.len() < file.text.len(), now);
            books.count("files that came while the job ran");
        }
    }

    /// Fails if a part of a file was read.
    ///
    /// # Errors
    /// What is broken.
    pub fn check_letters(&self, view: &View) -> Result<(), String> {
        match view.letters_of(SOURCE)?.first() {
            Some(letter) => Err(format!("I19: a row of a file that came later is a dead letter: {letter:?}")),
            None => Ok(()),
        }
    }

    /// Fails unless every row is there once.
    ///
    /// # Errors
    /// What is broken.
    pub fn check(&self, view: &View, books: &Books) -> Result<(), String> {
        let mut found = BTreeSet::new();
        for row in view.lines_of(DROPS.1)? {
            let id = row["id"].as_u64().unwrap_or(u64::MAX);
            if id >= self.rows || !found.insert(id) {
                return Err(format!("I1: row {id} of a file that came later is there twice, or never was"));
            }
            books.count("I1: rows of files that came later compared with the oracle");
        }
        match (0..self.rows).find(|id| !found.contains(id)) {
            Some(id) => Err(format!("I1: row {id} of a file that came later is lost")),
            None => Ok(()),
        }
    }
}

// === impl DropFile ===

impl DropFile {
    fn first(&self) -> &[u8] {
        &self.text.as_bytes()[..self.first_bytes.unwrap_or(self.text.len())]
    }

    fn write_rest(&self, disk: &MemoryDisk) {
        write(disk, &self.path, Bytes::copy_from_slice(&self.text.as_bytes()[self.first().len()..]));
    }
}
