//! Planted bugs: each breaks one promise of one part; the simulation has to find it.
//!
//! The other planted bugs are found by the tests of their own part: those of publishing and of the local store in
//! `forebay-state`, `last_writer_wins` and `cancel_on_drop` in `forebay-inference`.

use forebay_connectors::sinks::files::FileSinkBug;
use forebay_engine::Planted;
use forebay_inference::journal::PlantedBug as JournalBug;
use forebay_state::checkpoint::PlantedBug as CheckpointBug;
use forebay_state::store::PlantedStoreBug as StoreBug;

/// A version of the engine with at most one bug.
#[derive(Debug, Clone, Default)]
pub struct Mutant {
    /// Its name.
    pub name: &'static str,
    pub(crate) planted: Planted,
    pub(crate) store: Option<StoreBug>,
}

// === impl Mutant ===

impl Mutant {
    /// The engine as it is.
    pub fn none() -> Self {
        Self { name: "none", ..Self::default() }
    }

    /// Every bug that whole-engine seeds are expected to find.
    pub fn of_engine() -> Vec<Self> {
        let mut mutants = vec![
            Self::planted("tell_before_durable", |planted| planted.service.tell_before_durable = true),
            Self::planted("no_lookup", |planted| planted.service.no_lookup = true),
            Self::planted("in_flight_forgotten", |planted| planted.inference.in_flight_forgotten = true),
            Self::planted("given_up_forgotten", |planted| planted.inference.given_up_forgotten = true),
        ];
        let journal = [
            ("tell_before_sync", JournalBug::TellBeforeSync),
            ("skip_folder_sync", JournalBug::SkipFolderSync),
            ("trim_at_emit", JournalBug::TrimAtEmit),
            ("accept_torn_tail", JournalBug::AcceptTornTail),
        ];
        let sink = [
            ("commit_at_write", FileSinkBug::CommitAtWrite),
            ("committable_forgotten", FileSinkBug::CommittableForgotten),
            ("non_idempotent_commit", FileSinkBug::NonIdempotentCommit),
        ];
        let checkpoint = [("no_claim", CheckpointBug::NoClaim)];
        mutants.extend(journal.map(|(name, bug)| Self::planted(name, |planted| planted.journal = Some(bug))));
        mutants.extend(sink.map(|(name, bug)| Self::planted(name, |planted| planted.sink = Some(bug))));
        mutants.extend(checkpoint.map(|(name, bug)| Self::planted(name, |planted| planted.checkpoint = Some(bug))));
        mutants
    }

    /// Bugs of time and order, which the harness of the inference operator alone finds.
    pub fn of_operator() -> Vec<Self> {
        vec![
            Self::planted("stale_timer", |planted| planted.batcher.stale_timer = true),
            Self::planted("watermark_overtakes", |planted| planted.inference.watermark_overtakes = true),
            Self::planted("keys_overtake", |planted| planted.batcher.keys_overtake = true),
            Self::planted("key_order_forgotten", |planted| planted.inference.key_order_forgotten = true),
            Self::planted("deadline_forgotten", |planted| planted.inference.deadline_forgotten = true),
        ]
    }

    fn planted(name: &'static str, plant: impl FnOnce(&mut Planted)) -> Self {
        let mut mutant = Self { name, ..Self::default() };
        plant(&mut mutant.planted);
        mutant
    }
}

/// The first of `seeds` that `check` fails on, counted from 1, with what it says; `None` if all pass.
pub fn seeds_to_kill(
    seeds: impl IntoIterator<Item = u64>,
    check: impl Fn(u64) -> Result<(), String>,
) -> Option<(u64, String)> {
    let mut tried = 0;
    for seed in seeds {
        tried += 1;
        if let Err(broken) = check(seed) {
            return Some((tried, format!("seed {seed}: {broken}")));
        }
    }
    None
}
