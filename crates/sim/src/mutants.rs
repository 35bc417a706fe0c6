//! Planted bugs: each breaks one promise of one part; the simulation has to find it.
//!
//! The other planted bugs are found by the tests of their own part: those of publishing and of the local store in
//! `forebay-state`, `last_writer_wins` and `cancel_on_drop` in `forebay-inference`.

use forebay_connectors::sinks::files::FileSinkBug;
use forebay_engine::Planted;
use forebay_engine::splits::MonitorBug;
use forebay_inference::journal::PlantedBug as JournalBug;
use forebay_operators::deduplicate::DeduplicateBug;
use forebay_operators::feedback::FeedbackBug;
use forebay_operators::limit::LimitBug;
use forebay_operators::metrics::MetricsBug;
use forebay_operators::process::ProcessBug;
use forebay_operators::sample::SampleBug;
use forebay_operators::stream_join::as_of::AsOfBug;
use forebay_operators::stream_join::regular::RegularBug;
use forebay_operators::stream_join::timed::TimedJoinBug;
use forebay_operators::top::TopBug;
use forebay_operators::window::WindowBug;
use forebay_runtime::planted::RuntimeBug;
use forebay_state::checkpoint::PlantedBug as CheckpointBug;
use forebay_state::edge::PlantedBug as EdgeBug;
use forebay_state::keyed::StateBug;
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
            Self::planted("retraction_is_asked", |planted| planted.inference.asked_again = true),
            Self::planted("retraction_overtakes", |planted| planted.inference.retraction_overtakes = true),
            Self::planted("answers_forgotten", |planted| planted.inference.answers_forgotten = true),
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
        let checkpoint = [
            ("no_claim", CheckpointBug::NoClaim),
            ("abort_before_claim", CheckpointBug::AbortBeforeClaim),
            ("skip_generation_check", CheckpointBug::SkipGenerationCheck),
            ("overwrite_epoch_record", CheckpointBug::OverwriteEpochRecord),
            ("no_replay_commit", CheckpointBug::NoReplayCommit),
            ("trim_built_on", CheckpointBug::TrimBuiltOn),
            ("trim_may_build_on", CheckpointBug::TrimMayBuildOn),
            ("trim_savepoints", CheckpointBug::TrimSavepoints),
            ("trim_while_copied", CheckpointBug::TrimWhileCopied),
            ("remove_savepoint_at_once", CheckpointBug::RemoveSavepointAtOnce),
            ("go_back_undecided", CheckpointBug::GoBackUndecided),
            ("logs_stay", CheckpointBug::LogsStay),
        ];
        mutants.extend(journal.map(|(name, bug)| Self::planted(name, |planted| planted.journal = Some(bug))));
        mutants.extend(sink.map(|(name, bug)| Self::planted(name, |planted| planted.sink = Some(bug))));
        mutants.extend(checkpoint.map(|(name, bug)| Self::planted(name, |planted| planted.checkpoint = Some(bug))));
        mutants.extend(Self::of_store());
        mutants.extend(Self::of_event_time());
        mutants.extend(Self::of_rows());
        mutants.extend(Self::of_runtime());
        mutants.extend(Self::of_edges());
        mutants
    }

    fn of_store() -> [Self; 2] {
        [("skip_folder_sync_of_store", StoreBug::SkipFolderSync), ("skip_file_sync_of_store", StoreBug::SkipFileSync)]
            .map(|(name, bug)| Self { name, store: Some(bug), ..Self::default() })
    }

    /// Bugs of windows, joins, process functions and keyed state.
    fn of_event_time() -> Vec<Self> {
        vec![
            Self::planted("window_fires_early", |planted| planted.window = Some(WindowBug::FireEarly)),
            Self::planted("window_forgets_clock", |planted| planted.window = Some(WindowBug::ForgetClock)),
            Self::planted("window_merges_one_slice", |planted| planted.window = Some(WindowBug::OneSlice)),
            Self::planted("slices_go_early", |planted| planted.window = Some(WindowBug::DropSlices)),
            Self::planted("session_merges_one", |planted| planted.window = Some(WindowBug::MergeOne)),
            Self::planted("old_result_stays", |planted| planted.window = Some(WindowBug::KeepOld)),
            Self::planted("retraction_is_added", |planted| planted.window = Some(WindowBug::AddRetractions)),
            Self::planted("empty_window_stays", |planted| planted.window = Some(WindowBug::KeepEmpty)),
            Self::planted("session_stays_whole", |planted| planted.window = Some(WindowBug::NeverSplit)),
            Self::planted("join_drops_early", |planted| planted.timed_join = Some(TimedJoinBug::DropEarly)),
            Self::planted("join_forgets_partner", |planted| planted.timed_join = Some(TimedJoinBug::ForgetPartner)),
            Self::planted("version_does_not_wait", |planted| planted.as_of_join = Some(AsOfBug::DoNotWait)),
            Self::planted("latest_version_dropped", |planted| planted.as_of_join = Some(AsOfBug::DropTheLatest)),
            Self::planted("found_not_written", |planted| planted.monitor = Some(MonitorBug::NotWritten)),
            Self::planted("file_taken_at_once", |planted| planted.monitor = Some(MonitorBug::TakeAtOnce)),
            Self::planted("update_ends_version", |planted| planted.as_of_join = Some(AsOfBug::UpdatesEnd)),
            Self::planted("timer_fires_early", |planted| planted.process = Some(ProcessBug::FireEarly)),
            Self::planted("timers_forgotten", |planted| planted.process = Some(ProcessBug::ForgetTimers)),
            Self::planted("process_forgets_clock", |planted| planted.process = Some(ProcessBug::ForgetClock)),
            Self::planted("nulls_stay", |planted| planted.regular_join = Some(RegularBug::KeepNulls)),
            Self::planted("removals_forgotten", |planted| planted.state = Some(StateBug::ForgetRemovals)),
            Self::planted("join_forgets_clock", |planted| planted.timed_join = Some(TimedJoinBug::ForgetClock)),
            Self::planted("newest_entry_only", |planted| planted.state = Some(StateBug::NewestEntryOnly)),
            Self::planted("spilled_not_saved", |planted| planted.state = Some(StateBug::SkipSpilled)),
            Self::planted("stale_copy_kept", |planted| planted.state = Some(StateBug::KeepStaleCopy)),
            Self::planted("disk_copy_stays", |planted| planted.state = Some(StateBug::ForgetDiskCopy)),
        ]
    }

    /// Bugs of steps that keep rows of keys, of the feedback loop, and of steps that take rows one by one.
    fn of_rows() -> Vec<Self> {
        use {DeduplicateBug as Once, FeedbackBug as Feedback, MetricsBug as Metrics, TopBug as Top};
        vec![
            Self::planted("earliest_does_not_wait", |planted| planted.deduplicate = Some(Once::DoNotWait)),
            Self::planted("latest_by_arrival", |planted| planted.deduplicate = Some(Once::IgnoreTime)),
            Self::planted("replaced_row_stays", |planted| planted.deduplicate = Some(Once::KeepOld)),
            Self::planted("deduplicate_forgets_clock", |planted| planted.deduplicate = Some(Once::ForgetClock)),
            Self::planted("pushed_out_stays", |planted| planted.top = Some(Top::KeepPushedOut)),
            Self::planted("next_forgotten", |planted| planted.top = Some(Top::ForgetNext)),
            Self::planted("rest_dropped", |planted| planted.top = Some(Top::DropRest)),
            Self::planted("old_label_stays", |planted| planted.feedback = Some(Feedback::KeepOld)),
            Self::planted("missing_forgotten", |planted| planted.feedback = Some(Feedback::ForgetMissing)),
            Self::planted("labels_dropped", |planted| planted.feedback = Some(Feedback::DropLabels)),
            Self::planted("last_label_counts", |planted| planted.feedback = Some(Feedback::IgnoreTime)),
            Self::planted("retraction_is_counted", |planted| planted.metrics = Some(Metrics::CountRetractions)),
            Self::planted("old_metrics_stay", |planted| planted.metrics = Some(Metrics::KeepOld)),
            Self::planted("late_metrics_forgotten", |planted| planted.metrics = Some(Metrics::ForgetLate)),
            Self::planted("metrics_forget_clock", |planted| planted.metrics = Some(Metrics::ForgetClock)),
            Self::planted("limit_forgets_count", |planted| planted.limit = Some(LimitBug::ForgetCount)),
            Self::planted("sampled_by_place", |planted| planted.sample = Some(SampleBug::ByPlace)),
        ]
    }

    /// Bugs of durable edges. Others need a crash between two calls of a restart: the model checks of `forebay-state` find them.
    fn of_edges() -> impl Iterator<Item = Self> {
        let bugs = [
            ("edge_shows_unpublished", EdgeBug::ShowUnpublished),
            ("edge_keeps_unpublished_tail", EdgeBug::KeepUnpublishedTail),
            ("edge_shows_before_sync", EdgeBug::ShowBeforeSync),
            ("edge_dedupes_by_count", EdgeBug::DedupeByCount),
            ("edge_flushes_before_sync", EdgeBug::FlushBeforeSync),
            ("edge_skips_folder_sync", EdgeBug::SkipFolderSync),
        ];
        bugs.into_iter().map(|(name, bug)| Self::planted(name, |planted| planted.edge = Some(bug)))
    }

    /// Bugs of barriers, channels, watermarks and the coordinator.
    fn of_runtime() -> impl Iterator<Item = Self> {
        let bugs = [
            ("no_alignment", RuntimeBug::NoAlignment),
            ("overtaken_forgotten", RuntimeBug::OvertakenForgotten),
            ("recorded_forgotten", RuntimeBug::RecordedForgotten),
            ("restored_forgotten", RuntimeBug::RestoredForgotten),
            ("kept_by_row", RuntimeBug::KeptByRow),
            ("overtakes_updates", RuntimeBug::OvertakesUpdates),
            ("greatest_watermark", RuntimeBug::GreatestWatermark),
            ("routed_by_row", RuntimeBug::RoutedByRow),
            ("time_does_not_end", RuntimeBug::TimeDoesNotEnd),
            ("side_into_main", RuntimeBug::SideIntoMain),
            ("published_early", RuntimeBug::PublishedEarly),
            ("not_out_of_order", RuntimeBug::NotOutOfOrder),
        ];
        bugs.into_iter().map(|(name, bug)| Self::planted(name, |planted| planted.runtime = Some(bug)))
    }

    /// Bugs of time and order, which the harness of the inference operator alone finds.
    pub fn of_operator() -> Vec<Self> {
        vec![
            Self::planted("stale_timer", |planted| planted.batcher.stale_timer = true),
            Self::planted("watermark_overtakes", |planted| planted.inference.watermark_overtakes = true),
            Self::planted("keys_overtake", |planted| planted.batcher.keys_overtake = true),
            Self::planted("key_order_forgotten", |planted| planted.inference.key_order_forgotten = true),
            Self::planted("deadline_forgotten", |planted| planted.inference.deadline_forgotten = true),
            Self::planted("outage_is_blamed", |planted| planted.inference.outage_is_blamed = true),
            Self::planted("fault_forgotten", |planted| planted.inference.fault_forgotten = true),
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
