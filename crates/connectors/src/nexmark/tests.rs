//! The stream's facts (shares, references, hot keys, order), and reading it as a job does: cut anywhere, at any parallelism.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, TimestampMicrosecondType};
use bytes::Bytes;
use forebay_core::Batch;
use forebay_core::Kind;
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::{Context, Identity, Restored};
use forebay_core::row::RowId;
use forebay_core::source::{Enumerator, Read, Reader, Split};
use forebay_core::testing::ManualEnv;
use proptest::prelude::*;

use super::*;

const GROUPS: u16 = 128;

type State = Vec<(KeyGroup, Bytes)>;

fn splits(settings: &NexmarkSettings) -> Vec<Split> {
    let enumerator = NexmarkEnumerator::new("source", settings.clone(), GROUPS);
    ManualEnv::new(0).block_on(enumerator.splits()).unwrap()
}

fn open(settings: &NexmarkSettings, (subtask, parallelism): (u16, u16), state: &State) -> Result<NexmarkReader> {
    let identity = Identity { uid: "source".into(), subtask, parallelism, groups: GROUPS, attempt: 1 };
    let owned = identity.key_groups();
    let env = Arc::new(ManualEnv::new(0));
    let context = Context { identity, env, waker: std::task::Waker::noop().clone() };
    let mine = |group: KeyGroup| owned.contains(&group.0);
    let splits = splits(settings).into_iter().filter(|split| mine(split.id.key_group(GROUPS))).collect();
    let groups = state.iter().filter(|(group, _)| mine(*group)).cloned().collect();
    let mut reader = NexmarkReader::new(settings.clone(), settings.stream.schema(), 100)?;
    reader.open(context, splits, Restored { epoch: None, groups })?;
    Ok(reader)
}

fn snapshot(reader: &mut NexmarkReader) -> State {
    let frozen = reader.snapshot(Epoch(1)).unwrap();
    ManualEnv::new(0).block_on(frozen).unwrap().groups.into_iter().collect()
}

fn next(reader: &mut NexmarkReader) -> Option<Batch> {
    match reader.poll_next().unwrap() {
        Read::Batch(batch) => Some(batch),
        Read::End => None,
        other => panic!("not an output: {other:?}"),
    }
}

/// All rows of a stream, in reading order.
fn all(settings: &NexmarkSettings) -> RecordBatch {
    let mut reader = open(settings, (0, 1), &Vec::new()).unwrap();
    let batches: Vec<_> = std::iter::from_fn(|| next(&mut reader)).map(|batch| batch.rows().clone()).collect();
    concat_batches(&settings.stream.schema(), &batches).unwrap()
}

fn stream(stream: Stream, rows: u64) -> NexmarkSettings {
    NexmarkSettings::new(stream, rows)
}

fn integers(rows: &RecordBatch, column: &str) -> Vec<i64> {
    rows.column_by_name(column).unwrap().as_primitive::<Int64Type>().values().to_vec()
}

fn micros(rows: &RecordBatch, column: &str) -> Vec<i64> {
    rows.column_by_name(column).unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

fn texts(rows: &RecordBatch, column: &str) -> Vec<String> {
    rows.column_by_name(column).unwrap().as_string::<i32>().iter().map(|text| text.unwrap().to_string()).collect()
}

fn share<T>(values: &[T], what: impl Fn(&T) -> bool) -> f64 {
    values.iter().filter(|value| what(value)).count() as f64 / values.len() as f64
}

// === what the rows are ===

#[test]
fn of_fifty_rows_one_is_a_person_three_are_auctions() {
    let counts = [Stream::Person, Stream::Auction, Stream::Bid].map(|kind| all(&stream(kind, 50_000)).num_rows());
    assert_eq!(counts, [1000, 3000, 46_000]);
}

#[test]
fn people_and_auctions_are_numbered_without_gap() {
    let wanted = |count: i64| (1000..1000 + count).collect::<Vec<i64>>();
    assert_eq!(integers(&all(&stream(Stream::Person, 10_000)), "id"), wanted(200));
    assert_eq!(integers(&all(&stream(Stream::Auction, 10_000)), "id"), wanted(600));
}

#[test]
fn bids_are_for_auctions_in_flight_and_by_active_people() {
    let bids = all(&stream(Stream::Bid, 500_000));
    for (place, (auction, bidder)) in integers(&bids, "auction").iter().zip(integers(&bids, "bidder")).enumerate() {
        // The latest of each when this bid was made, from its place alone.
        let round = place as i64 / 46;
        let (person, latest) = (1000 + round, 1000 + 3 * round + 2);
        assert!(
            (latest - 101..=latest + 10).contains(auction),
            "bid {place} is for auction {auction}, latest {latest}"
        );
        assert!((person - 999..=person + 10).contains(&bidder), "bid {place} is by {bidder}, latest {person}");
    }
}

#[test]
fn sellers_are_active_people_and_auctions_close_after_they_open() {
    let auctions = all(&stream(Stream::Auction, 500_000));
    for (place, seller) in integers(&auctions, "seller").into_iter().enumerate() {
        let person = 1000 + place as i64 / 3;
        assert!((person - 999..=person + 10).contains(&seller));
    }
    let open: Vec<i64> = micros(&auctions, "expires")
        .iter()
        .zip(micros(&auctions, "date_time"))
        .map(|(end, start)| end - start)
        .collect();
    // 100 auctions open in 1,666 rows, which are 166 ms.
    assert!(open.iter().all(|micros| (1_000..=334_000).contains(micros)));
    let mean = open.iter().sum::<i64>() as f64 / open.len() as f64;
    assert!((mean - 166_000.0).abs() < 5_000.0, "{mean}");
    assert!(
        integers(&auctions, "reserve").iter().zip(integers(&auctions, "initial_bid")).all(|(all, first)| *all > first)
    );
}

#[test]
fn hot_keys_have_their_share() {
    let bids = all(&stream(Stream::Bid, 500_000));
    let hot = |every: i64, id: i64| move |key: &i64| key % every == id;
    // Every second bid for the first of a hundred auctions, and every hundredth of the rest.
    let auctions = share(&integers(&bids, "auction"), hot(100, 0));
    assert!((auctions - 0.505).abs() < 0.01, "{auctions}");
    let bidders = share(&integers(&bids, "bidder"), hot(100, 1));
    assert!((bidders - 0.7525).abs() < 0.01, "{bidders}");
    let sellers = share(&integers(&all(&stream(Stream::Auction, 500_000)), "seller"), hot(100, 0));
    assert!((sellers - 0.7525).abs() < 0.01, "{sellers}");
    let channels = share(&texts(&bids, "channel"), |channel| !channel.starts_with("channel-"));
    assert!((channels - 0.5).abs() < 0.01, "{channels}");
}

#[test]
fn rows_have_the_size_asked_for() {
    let mean = |rows: &RecordBatch, columns: &[&str], fixed: usize| {
        let bytes: usize = columns.iter().flat_map(|column| texts(rows, column)).map(|text| text.len()).sum();
        bytes as f64 / rows.num_rows() as f64 + fixed as f64
    };
    let people = mean(
        &all(&stream(Stream::Person, 100_000)),
        &["name", "email_address", "credit_card", "city", "state", "extra"],
        8,
    );
    assert!((people - 200.0).abs() < 2.0, "{people}");
    let auctions = mean(&all(&stream(Stream::Auction, 100_000)), &["item_name", "description", "extra"], 48);
    assert!((auctions - 500.0).abs() < 3.0, "{auctions}");
    let bids = mean(&all(&stream(Stream::Bid, 100_000)), &["extra"], 32);
    assert!((bids - 100.0).abs() < 1.0, "{bids}");
    let none = NexmarkSettings { bid_bytes: 0, ..stream(Stream::Bid, 1000) };
    assert!(texts(&all(&none), "extra").iter().all(String::is_empty));
}

#[test]
fn prices_spread_over_six_orders_of_magnitude_alike() {
    let prices = integers(&all(&stream(Stream::Bid, 500_000)), "price");
    assert!(prices.iter().all(|price| (100..=100_000_000).contains(price)));
    for order in 2..8 {
        let within = share(&prices, |price| (10_i64.pow(order)..10_i64.pow(order + 1)).contains(price));
        assert!((within - 1.0 / 6.0).abs() < 0.01, "10^{order}: {within}");
    }
}

#[test]
fn time_follows_the_rate_and_shuffled_rows_stay_in_their_group() {
    let settings = NexmarkSettings { rate: 1000, ..stream(Stream::Bid, 10_000) };
    let times = micros(&all(&settings), "date_time");
    assert!(times.is_sorted());
    assert_eq!(times.last().unwrap() - times[0], 9_999_000 - 4_000);

    let shuffled = all(&NexmarkSettings { out_of_order: 500, ..settings.clone() });
    let late = micros(&shuffled, "date_time");
    assert!(!late.is_sorted());
    let mut latest = i64::MIN;
    for time in &late {
        assert!(*time > latest.saturating_sub(500_000), "no row is a whole group late");
        latest = latest.max(*time);
    }
    let sorted = |rows: &RecordBatch| {
        let mut keys: Vec<_> = micros(rows, "date_time").into_iter().zip(texts(rows, "extra")).collect();
        keys.sort();
        keys
    };
    assert_eq!(sorted(&shuffled), sorted(&all(&settings)), "the same rows in another order");
}

#[test]
fn another_seed_makes_other_rows_and_other_ids() {
    let one = stream(Stream::Bid, 1000);
    let other = NexmarkSettings { seed: 1, ..one.clone() };
    assert_eq!(all(&one), all(&one));
    assert_ne!(all(&one), all(&other));
    let ids = |settings| splits(settings).into_iter().map(|split| split.id).collect::<BTreeSet<_>>();
    assert!(ids(&one).is_disjoint(&ids(&other)));
}

/// The rows as they are since the first release. Another language that makes them must agree, and stored results too.
#[test]
fn rows_do_not_change_between_releases() {
    let first = |kind| {
        let rows = all(&stream(kind, 50 * 200));
        arrow::util::pretty::pretty_format_batches(&[rows.slice(rows.num_rows() - 2, 2)]).unwrap().to_string()
    };
    insta::assert_snapshot!([Stream::Person, Stream::Auction, Stream::Bid].map(first).join("\n"));
}

// === how they are read ===

#[test]
fn splits_share_the_work_at_any_parallelism() {
    let settings = stream(Stream::Bid, 64 * 5000 * 3);
    for parallelism in [1, 2, 3, 4, 8] {
        let rows = |subtask| {
            let mut reader = open(&settings, (subtask, parallelism), &Vec::new()).unwrap();
            std::iter::from_fn(|| next(&mut reader)).map(|batch| batch.len()).sum::<usize>()
        };
        let shares: Vec<usize> = (0..parallelism).map(rows).collect();
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        assert!(most * 10 <= least * 11, "{shares:?}");
    }
}

#[test]
fn subtasks_advance_side_by_side_in_event_time() {
    let settings = stream(Stream::Bid, 1_000_000);
    let mut readers = [0, 1].map(|subtask| open(&settings, (subtask, 2), &Vec::new()).unwrap());
    for _ in 0..1000 {
        let [one, other] = readers.each_mut().map(|reader| micros(next(reader).unwrap().rows(), "date_time")[0]);
        assert!((one - other).abs() <= 2 * 500_000, "two blocks of 500 ms");
    }
}

#[test]
fn more_rows_continue_a_stream_that_was_at_its_end() {
    let (short, long) = (stream(Stream::Auction, 12_345), stream(Stream::Auction, 54_321));
    let mut reader = open(&short, (0, 1), &Vec::new()).unwrap();
    let mut ids: Vec<RowId> = std::iter::from_fn(|| next(&mut reader)).flat_map(|batch| batch.ids().to_vec()).collect();
    let mut reader = open(&long, (0, 1), &snapshot(&mut reader)).unwrap();
    ids.extend(std::iter::from_fn(|| next(&mut reader)).flat_map(|batch| batch.ids().to_vec()));
    let count = ids.len();
    assert_eq!(count, all(&long).num_rows());
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>().len(), count);
}

#[test]
fn chosen_columns_are_what_they_are_among_all() {
    for kind in [Stream::Person, Stream::Auction, Stream::Bid] {
        let (settings, all) = (stream(kind, 10_000), all(&stream(kind, 10_000)));
        for place in 0..kind.schema().fields().len() {
            let chosen = Arc::new(kind.schema().project(&[place]).unwrap());
            let mut reader = NexmarkReader::new(settings.clone(), Arc::clone(&chosen), 1 << 20).unwrap();
            let identity = Identity { uid: "source".into(), subtask: 0, parallelism: 1, groups: GROUPS, attempt: 1 };
            let context =
                Context { identity, env: Arc::new(ManualEnv::new(0)), waker: std::task::Waker::noop().clone() };
            reader.open(context, splits(&settings), Restored::default()).unwrap();
            assert_eq!(next(&mut reader).unwrap().rows(), &all.project(&[place]).unwrap());
        }
        let other = Arc::new(arrow::datatypes::Schema::new(vec![Field::new("other", DataType::Int64, false)]));
        assert_eq!(NexmarkReader::new(settings, other, 1).err().map(|error| error.kind()), Some(Kind::Invalid));
    }
}

#[test]
fn settings_that_no_row_can_be_made_of_are_refused() {
    let good = stream(Stream::Bid, 1);
    let bad = [
        NexmarkSettings { rate: 0, ..good.clone() },
        NexmarkSettings { splits: 0, ..good.clone() },
        NexmarkSettings { splits: 5000, ..good.clone() },
        NexmarkSettings { out_of_order: 953 * 2, ..good.clone() },
        NexmarkSettings { rows: u64::MAX, ..good.clone() },
        NexmarkSettings { bid_bytes: 1 << 20, ..good.clone() },
        NexmarkSettings { hot_bidders: 0, ..good.clone() },
    ];
    for settings in bad {
        assert_eq!(settings.check().unwrap_err().kind(), Kind::Invalid, "{settings:?}");
    }
}

#[test]
fn state_of_other_settings_or_broken_state_is_refused() {
    let settings = stream(Stream::Bid, 10_000);
    let state = snapshot(&mut open(&settings, (0, 1), &Vec::new()).unwrap());
    let broken = state.iter().map(|(group, bytes)| (*group, bytes.slice(..bytes.len() - 1))).collect();
    assert_eq!(open(&settings, (0, 1), &broken).err().map(|error| error.kind()), Some(Kind::Corrupt));
    let mut reader =
        NexmarkReader::new(NexmarkSettings { seed: 9, ..settings.clone() }, settings.stream.schema(), 10).unwrap();
    let identity = Identity { uid: "source".into(), subtask: 0, parallelism: 1, groups: GROUPS, attempt: 1 };
    let context = Context { identity, env: Arc::new(ManualEnv::new(0)), waker: std::task::Waker::noop().clone() };
    let error = reader.open(context, splits(&settings), Restored::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every row comes once, whole and equal, whatever the cuts and parallelisms.
    #[test]
    fn restores_continue_exactly(
        kind in prop::sample::select(vec![Stream::Person, Stream::Auction, Stream::Bid]),
        rows in 0_u64..60_000,
        splits in prop::sample::select(vec![1_u32, 3, 16, 64]),
        out_of_order in prop::sample::select(vec![1_u32, 7, 100]),
        attempts in prop::collection::vec((1_u16..5, 0_usize..60), 0..4),
    ) {
        let settings = NexmarkSettings { splits, out_of_order, bid_bytes: 40, ..stream(kind, rows) };
        let mut seen: BTreeMap<RowId, RecordBatch> = BTreeMap::new();
        let mut state = State::new();
        for (parallelism, polls) in attempts.into_iter().chain([(1, usize::MAX)]) {
            let mut groups = State::new();
            for subtask in 0..parallelism {
                let mut reader = open(&settings, (subtask, parallelism), &state).unwrap();
                // Each stops at a place of its own.
                for _ in 0..polls.saturating_mul(usize::from(subtask) + 1) {
                    let Some(batch) = next(&mut reader) else { break };
                    for (place, id) in batch.ids().iter().enumerate() {
                        prop_assert!(seen.insert(*id, batch.rows().slice(place, 1)).is_none(), "{id} came twice");
                    }
                }
                groups.extend(snapshot(&mut reader));
            }
            state = groups;
        }
        let mut straight = open(&settings, (0, 1), &State::new()).unwrap();
        let mut count = 0;
        while let Some(batch) = next(&mut straight) {
            count += batch.len();
            for (place, id) in batch.ids().iter().enumerate() {
                prop_assert_eq!(seen.get(id), Some(&batch.rows().slice(place, 1)));
            }
        }
        prop_assert_eq!(count, seen.len());
    }
}
