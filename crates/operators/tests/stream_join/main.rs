//! Joins against naive oracles: random rows on both ports, watermarks, restores at other parallelisms, planted bugs.

#![allow(clippy::unwrap_used, reason = "a test may stop at anything odd")]

mod harness;
mod oracle;

use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use forebay_operators::stream_join::Keeps;
use forebay_operators::stream_join::as_of::AsOfBug;
use forebay_operators::stream_join::regular::RegularBug;
use forebay_operators::stream_join::timed::{Meeting, TimedJoinBug};
use harness::{Act, Run, Which, run};

const MILLI: Duration = Duration::from_millis(1);

fn interval() -> Meeting {
    Meeting::Interval { before: 3 * MILLI, after: 5 * MILLI }
}

/// Which streams take rows back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Back {
    None,
    Right,
    Both,
}

fn act(takes_back: Back) -> impl Strategy<Value = Act> {
    let row = (0..2u8, prop::option::weighted(0.9, 0..4u8), -20..40i64, 0..3u8)
        .prop_map(|(port, key, ahead, value)| Act::Row { port, key, ahead, value });
    let ports = if takes_back == Back::Right { 1..2u8 } else { 0..2u8 };
    let back = (ports, any::<prop::sample::Index>()).prop_map(|(port, which)| Act::TakeBack { port, which });
    prop_oneof![
        12 => row,
        if takes_back == Back::None { 0 } else { 6 } => back,
        3 => (0..15i64).prop_map(Act::Watermark),
        1 => (1..5u16).prop_map(Act::Restore),
        1 => Just(Act::Complete),
    ]
}

fn acts(takes_back: Back) -> impl Strategy<Value = Vec<Act>> {
    prop::collection::vec(act(takes_back), 1..120)
}

fn keeps() -> impl Strategy<Value = Keeps> {
    prop_oneof![Just(Keeps::Inner), Just(Keeps::Left), Just(Keeps::Right), Just(Keeps::Full)]
}

/// Whether any of 300 random runs shows that something is wrong.
fn is_found(takes_back: Back, which: impl Fn(Keeps) -> Which, all: &[Keeps]) -> bool {
    let mut runner = TestRunner::new_with_rng(Config::default(), deterministic());
    (0..300).any(|place| {
        let tree = acts(takes_back).new_tree(&mut runner).unwrap();
        let keeps = all[place % all.len()];
        oracle::check(&run(which(keeps), keeps, &tree.current())).is_err()
    })
}

fn deterministic() -> proptest::test_runner::TestRng {
    proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha)
}

fn check(run: &Run) -> Result<(), TestCaseError> {
    oracle::check(run).map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(Config { cases: 200, failure_persistence: None, ..Config::default() })]

    #[test]
    fn interval_join_pairs_what_the_oracle_pairs(acts in acts(Back::None), keeps in keeps()) {
        check(&run(Which::Timed(interval(), None), keeps, &acts))?;
    }

    #[test]
    fn window_join_pairs_what_the_oracle_pairs(acts in acts(Back::None), keeps in keeps()) {
        check(&run(Which::Timed(Meeting::Window(10 * MILLI), None), keeps, &acts))?;
    }

    #[test]
    fn as_of_join_takes_the_version_that_the_oracle_takes(acts in acts(Back::None), left in any::<bool>()) {
        let keeps = if left { Keeps::Left } else { Keeps::Inner };
        check(&run(Which::AsOf(None), keeps, &acts))?;
    }

    #[test]
    fn as_of_join_takes_what_the_table_has(acts in acts(Back::Right), left in any::<bool>()) {
        let keeps = if left { Keeps::Left } else { Keeps::Inner };
        check(&run(Which::Table(None), keeps, &acts))?;
    }

    #[test]
    fn regular_join_is_at_all_times_what_both_streams_are(acts in acts(Back::Both), keeps in keeps()) {
        check(&run(Which::Regular(None, None), keeps, &acts))?;
    }
}

#[test]
fn planted_bugs_are_found() {
    let every = [Keeps::Inner, Keeps::Left, Keeps::Right, Keeps::Full];
    for bug in [TimedJoinBug::DropEarly, TimedJoinBug::ForgetPartner, TimedJoinBug::NoHold, TimedJoinBug::ForgetClock] {
        assert!(is_found(Back::None, |_| Which::Timed(interval(), Some(bug)), &every), "{bug:?}");
    }
    for bug in [AsOfBug::DoNotWait, AsOfBug::DropTheLatest, AsOfBug::ForgetClock] {
        assert!(is_found(Back::None, |_| Which::AsOf(Some(bug)), &every[..2]), "{bug:?}");
    }
    for bug in [AsOfBug::UpdatesEnd, AsOfBug::EndsAreLost, AsOfBug::DropTheLatest] {
        assert!(is_found(Back::Right, |_| Which::Table(Some(bug)), &every[..2]), "{bug:?}");
    }
    for bug in [RegularBug::KeepNulls, RegularBug::ForgetNulls] {
        assert!(is_found(Back::Both, |_| Which::Regular(None, Some(bug)), &every), "{bug:?}");
    }
}

#[test]
fn state_is_empty_once_nothing_can_meet_any_more() {
    let row = |port, ahead| Act::Row { port, key: Some(1), ahead, value: 0 };
    let acts = [row(0, 1), row(1, 2), row(0, 30), Act::Watermark(10)];
    for which in [Which::Timed(interval(), None), Which::Timed(Meeting::Window(10 * MILLI), None)] {
        for keeps in [Keeps::Inner, Keeps::Full] {
            assert_eq!(run(which, keeps, &acts).stored_bytes, run(which, keeps, &[]).stored_bytes);
        }
    }
    let kept = Which::Regular(None, None);
    assert!(run(kept, Keeps::Inner, &acts).stored_bytes > run(kept, Keeps::Inner, &[]).stored_bytes);
}

#[test]
fn nothing_stays_of_a_key_that_a_table_has_no_more() {
    let row = |port, ahead| Act::Row { port, key: Some(1), ahead, value: 0 };
    let back = Act::TakeBack {
        port: 1,
        which: any::<prop::sample::Index>().new_tree(&mut TestRunner::deterministic()).unwrap().current(),
    };
    let which = Which::Table(None);
    let kept = run(which, Keeps::Inner, &[row(1, 1), row(1, 5), Act::Watermark(10)]).stored_bytes;
    let gone =
        run(which, Keeps::Inner, &[row(1, 1), row(1, 5), Act::Watermark(10), back, Act::Watermark(1)]).stored_bytes;
    assert_eq!(gone, run(which, Keeps::Inner, &[]).stored_bytes);
    assert!(kept > gone);
}

#[test]
fn a_row_older_than_its_time_to_live_meets_nothing_and_what_it_gave_stays() {
    let row = |port, ahead| Act::Row { port, key: Some(1), ahead, value: 0 };
    let which = Which::Regular(Some(10 * MILLI), None);
    let near = run(which, Keeps::Inner, &[row(0, 1), Act::Watermark(5), row(1, 1)]);
    let far = run(which, Keeps::Inner, &[row(0, 1), Act::Watermark(12), row(1, 1)]);
    let stays = run(which, Keeps::Inner, &[row(0, 1), row(1, 1), Act::Watermark(30), Act::Restore(3), row(1, 1)]);
    assert_eq!((near.rows(), far.rows(), stays.rows()), (1, 0, 1));
}
