//! Which variants of two regions over an edge are safe, and which planted bugs break them.

use super::super::{EdgeMode, PlantedBug};
use super::regions::Regions;
use forebay_modelcheck::{bound, breaks, holds};

fn regions(mode: EdgeMode) -> Regions {
    let journalled = mode == EdgeMode::IdDedupe;
    Regions {
        mode,
        bug: None,
        journalled,
        open: 1,
        inputs: 2,
        producer_crashes: 1,
        consumer_crashes: 1,
        host_crashes: 0,
        failed_removals: 0,
        checkpoints: 2,
        idle_checkpoints: false,
    }
}

#[test]
fn commit_read_keeps_two_regions_consistent() {
    let model = Regions { inputs: bound(2, 3), checkpoints: bound(2, 3), ..regions(EdgeMode::CommitRead) };
    holds("A commit-read, regions crash", Regions { producer_crashes: bound(1, 2), ..model.clone() });
    let removal_fails =
        Regions { failed_removals: 1, host_crashes: 1, producer_crashes: 0, consumer_crashes: 0, ..model.clone() };
    holds("A commit-read, a file cannot be removed", removal_fails);
    holds(
        "A commit-read, host crashes",
        Regions { host_crashes: 1, producer_crashes: 0, consumer_crashes: 0, ..model },
    );
}

#[test]
fn id_dedupe_keeps_two_regions_consistent() {
    let model = Regions { open: 2, ..regions(EdgeMode::IdDedupe) };
    let larger = Regions { inputs: bound(2, 3), producer_crashes: bound(1, 2), ..model.clone() };
    holds("A2 id-dedupe, regions crash", larger);
    holds("A2 id-dedupe, host crashes", Regions { host_crashes: 1, producer_crashes: 0, consumer_crashes: 0, ..model });
}

#[test]
fn each_wrong_commit_read_is_refuted() {
    let contradicts = &["what is seen is what its producer says", "no row is seen twice"][..];
    let unfound = &["every restart finds what it needs"][..];
    for (bug, host_crashes, expected) in [
        (PlantedBug::ShowUnpublished, 0, contradicts),
        (PlantedBug::ShowUpToClaim, 0, contradicts),
        (PlantedBug::KeepUnpublishedTail, 0, contradicts),
        (PlantedBug::TrimToFurthest, 0, &["what is retained is there"]),
        (PlantedBug::FlushBeforeSync, 1, unfound),
        (PlantedBug::SkipFolderSync, 1, unfound),
    ] {
        let model = Regions { bug: Some(bug), host_crashes, ..regions(EdgeMode::CommitRead) };
        breaks(&format!("A commit-read, {bug:?}"), model, expected);
    }
}

#[test]
fn a_log_of_which_nothing_is_durable_is_refuted() {
    let model = Regions {
        idle_checkpoints: true,
        host_crashes: 1,
        producer_crashes: 0,
        consumer_crashes: 0,
        ..regions(EdgeMode::CommitRead)
    };
    holds("A commit-read, host crashes behind an idle consumer", model.clone());
    let model = Regions { bug: Some(PlantedBug::TrimBeforeSync), ..model };
    let unfound = &["what is retained is there", "every restart finds what it needs"];
    breaks("A commit-read, TrimBeforeSync", model, unfound);
}

#[test]
fn a_log_with_a_gap_is_refuted() {
    let model = Regions {
        bug: Some(PlantedBug::TrimPastFailure),
        failed_removals: 1,
        host_crashes: 1,
        producer_crashes: 0,
        consumer_crashes: 0,
        inputs: 3,
        checkpoints: 3,
        ..regions(EdgeMode::CommitRead)
    };
    breaks("A commit-read, TrimPastFailure", model, &["every restart finds what it needs"]);
}

#[test]
fn each_wrong_id_dedupe_is_refuted() {
    let twice = &["no row is seen twice", "nothing is lost"][..];
    let model = Regions { open: 2, ..regions(EdgeMode::IdDedupe) };
    let contradicts = &["what is seen is what its producer says"];
    breaks("A2 id-dedupe without a journal", Regions { journalled: false, ..model.clone() }, contradicts);
    breaks("A2 dedupe by count", Regions { bug: Some(PlantedBug::DedupeByCount), ..model.clone() }, twice);
    let unsynced = Regions { bug: Some(PlantedBug::ShowBeforeSync), host_crashes: 1, ..model.clone() };
    breaks("A2 shown before synced", unsynced, &["every restart finds what it needs", "no row is seen twice"]);
    let forgetful =
        Regions { bug: Some(PlantedBug::ForgetUnconfirmed), producer_crashes: 2, consumer_crashes: 0, ..model };
    breaks("A2 unconfirmed rows forgotten", forgetful, twice);
}
