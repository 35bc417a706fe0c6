//! Tables, timers and their snapshots, by example.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::{Identity, Lineage, Restored, Snapshot};
use forebay_core::time::EventTime;
use forebay_core::{Kind, Result};

use super::*;

const GROUPS: u16 = 16;

fn identity(subtask: u16, parallelism: u16) -> Identity {
    Identity { uid: "op".into(), subtask, parallelism, groups: GROUPS, attempt: 1 }
}

fn key(number: u64) -> Key {
    Key::new(number.to_le_bytes())
}

fn at(seconds: i64) -> EventTime {
    EventTime(seconds * 1_000_000)
}

fn restored(epoch: u64, snapshots: &[&Snapshot]) -> Restored {
    let mut groups: Vec<_> = snapshots.iter().flat_map(|s| s.groups.clone()).collect();
    groups.sort_by_key(|(group, _)| *group);
    Restored { epoch: Some(Epoch(epoch)), groups }
}

fn of_subtask(restored: &Restored, identity: &Identity) -> Restored {
    let mut own = restored.clone();
    own.groups.retain(|(group, _)| identity.key_groups().contains(&group.0));
    own
}

/// Spills nearly everything.
fn tight() -> StateSettings {
    StateSettings { memory_bytes_max: 500, spill: Some(Arc::new(MemorySpill)), ..StateSettings::default() }
}

fn open(settings: StateSettings, spec: TableSpec<u64>, restored: Restored) -> Result<(KeyedState, StateTable<u64>)> {
    let mut state = KeyedState::open(&identity(0, 1), settings, restored)?;
    let table = state.table(spec)?;
    state.opened()?;
    Ok((state, table))
}

fn fresh(settings: StateSettings) -> (KeyedState, StateTable<u64>) {
    open(settings, TableSpec::new("t", 1), Restored::default()).unwrap()
}

#[test]
fn values_lists_and_maps_are_kept_by_key_and_space() {
    for settings in [StateSettings::default(), tight()] {
        let (_state, mut table) = fresh(settings);
        for number in 0..100 {
            table.insert(&key(number), &Space::EMPTY, number).unwrap();
        }
        for value in [10, 11, 12] {
            table.append(&key(200), value).unwrap();
        }
        for name in ["b", "a", "c"] {
            *table.get_or_insert_with(&key(300), &Space::new(name.as_bytes()), || 5).unwrap() += 1;
        }
        for number in 0..100 {
            assert_eq!(table.get(&key(number), &Space::EMPTY).unwrap(), Some(&number));
        }
        let list: Vec<u64> = table.scan(&key(200)).unwrap().map(|(_, value)| *value).collect();
        assert_eq!(list, [10, 11, 12]);
        let names: Vec<_> = table.scan(&key(300)).unwrap().map(|(space, value)| (space.clone(), *value)).collect();
        assert_eq!(names, ["a", "b", "c"].map(|name| (Space::new(name.as_bytes()), 6)));
        let from_b = table.scan_range(&key(300), Space::new(b"b")..).unwrap().count();
        assert_eq!(from_b, 2);
        let backward = Space::new(b"c")..Space::new(b"a");
        assert_eq!(table.scan_range(&key(300), backward).unwrap().count(), 0);
        *table.get_mut(&key(7), &Space::EMPTY).unwrap().unwrap() = 70;
        assert_eq!(table.remove(&key(7), &Space::EMPTY).unwrap(), Some(70));
        assert_eq!(table.get(&key(7), &Space::EMPTY).unwrap(), None);
        let removed = table.remove_range(&key(200), Space::of_number(1)..).unwrap();
        assert_eq!(removed, [(Space::of_number(1), 11), (Space::of_number(2), 12)]);
        assert_eq!(table.append(&key(200), 99).unwrap(), 1);
        assert_eq!(table.len(), 99 + 2 + 3);
    }
}

#[test]
fn a_group_is_walked_in_order_and_a_key_of_another_subtask_is_refused() {
    for settings in [StateSettings::default(), tight()] {
        let mut state = KeyedState::open(&identity(1, 4), settings, Restored::default()).unwrap();
        let mut table = state.table::<u64>(TableSpec::new("t", 1)).unwrap();
        let (mut own, mut foreign) = (0, 0);
        for number in (0..400).rev() {
            match table.insert(&key(number), &Space::of_number(number), number) {
                Ok(()) => own += 1,
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Internal);
                    foreign += 1;
                }
            }
        }
        assert!(own > 50 && foreign > 200, "{own} {foreign}");
        let mut seen = Vec::new();
        for group in table.key_groups() {
            let start = seen.len();
            let visit = |key: &Key, _: &Space, value: &u64| {
                assert_eq!(key.group(GROUPS), group);
                seen.push((key.clone(), *value));
                Ok(())
            };
            table.visit_group(group, visit).unwrap();
            assert!(seen[start..].is_sorted());
        }
        assert_eq!(seen.len(), own);
    }
}

#[test]
fn timers_fire_once_in_order_of_time_then_key() {
    let mut state = KeyedState::open(&identity(0, 1), StateSettings::default(), Restored::default()).unwrap();
    let mut timers = state.timers("timers").unwrap();
    for (time, number) in [(5, 2), (3, 1), (5, 1), (9, 1), (5, 2)] {
        timers.set(at(time), &key(number), &Space::EMPTY).unwrap();
    }
    assert!(!timers.set(at(5), &key(2), &Space::EMPTY).unwrap(), "set twice is set once");
    assert!(timers.remove(at(9), &key(1), &Space::EMPTY) && !timers.remove(at(9), &key(1), &Space::EMPTY));
    assert_eq!((timers.len(), timers.next_time()), (3, Some(at(3))));
    let mut due = || timers.due(at(5)).map(|timer| (timer.time, timer.key));
    assert_eq!(due(), Some((at(3), key(1))));
    assert_eq!(due(), Some((at(5), key(1))));
    assert_eq!(due(), Some((at(5), key(2))));
    assert_eq!(due(), None);
    assert!(timers.is_empty());
}

#[test]
fn a_snapshot_is_restored_at_any_parallelism() {
    let mut snapshots = Vec::new();
    for subtask in 0..3 {
        let mut state = KeyedState::open(&identity(subtask, 3), tight(), Restored::default()).unwrap();
        let mut table = state.table::<u64>(TableSpec::new("t", 1)).unwrap();
        let mut timers = state.timers("timers").unwrap();
        let owned = identity(subtask, 3).key_groups();
        for number in (0..200).filter(|number| owned.contains(&key(*number).group(GROUPS).0)) {
            table.insert(&key(number), &Space::of_number(number), number).unwrap();
            timers.set(at(number as i64), &key(number), &Space::EMPTY).unwrap();
        }
        snapshots.push(state.snapshot(Epoch(3), &mut [&mut table, &mut timers]).unwrap());
    }
    let all = restored(3, &snapshots.iter().collect::<Vec<_>>());
    for parallelism in [1, 2, 5] {
        let mut found = 0;
        for subtask in 0..parallelism {
            let identity = identity(subtask, parallelism);
            let mut state = KeyedState::open(&identity, StateSettings::default(), of_subtask(&all, &identity)).unwrap();
            let mut table = state.table::<u64>(TableSpec::new("t", 1)).unwrap();
            let mut timers = state.timers("timers").unwrap();
            state.opened().unwrap();
            while let Some(timer) = timers.due(EventTime::MAX) {
                let number = (timer.time.0 / 1_000_000) as u64;
                assert_eq!(table.remove(&timer.key, &Space::of_number(number)).unwrap(), Some(number));
                found += 1;
            }
            assert!(table.is_empty());
        }
        assert_eq!(found, 200);
    }
}

#[test]
fn a_delta_holds_what_changed_since_the_last_published_checkpoint() {
    let (mut state, mut table) = fresh(StateSettings::default());
    for number in 0..1000 {
        table.insert(&key(number), &Space::EMPTY, number).unwrap();
    }
    let full = state.snapshot(Epoch(1), &mut [&mut table]).unwrap();
    assert!(full.lineage == Some(Lineage::default()));
    // Not published: the next one is whole again.
    let again = state.snapshot(Epoch(2), &mut [&mut table]).unwrap();
    assert_eq!(again.groups, full.groups);
    state.on_checkpoint_complete(Epoch(2));
    *table.get_mut(&key(5), &Space::EMPTY).unwrap().unwrap() = 50;
    let third = state.snapshot(Epoch(3), &mut [&mut table]).unwrap();
    // Epoch 3 is skipped, its change is in 4 too.
    table.remove(&key(6), &Space::EMPTY).unwrap();
    let fourth = state.snapshot(Epoch(4), &mut [&mut table]).unwrap();
    let lineage = fourth.lineage.clone().unwrap();
    assert_eq!(lineage.completed, Some(Epoch(2)));
    assert_eq!((third.groups.len(), lineage.deltas.len()), (1, usize::from(GROUPS)));
    let size: usize = fourth.groups.values().map(|bytes| bytes.len()).sum();
    assert!(size < 120, "{size}");
    for complete in [4, 4, 2, 3] {
        state.on_checkpoint_complete(Epoch(complete));
    }
    assert!(state.snapshot(Epoch(5), &mut [&mut table]).unwrap().groups.is_empty(), "nothing changed since 4");

    let (_state, mut table) =
        open(StateSettings::default(), TableSpec::new("t", 1), restored(4, &[&again, &fourth])).unwrap();
    assert_eq!(table.get(&key(5), &Space::EMPTY).unwrap(), Some(&50));
    assert_eq!(table.get(&key(6), &Space::EMPTY).unwrap(), None);
    assert_eq!(table.len(), 999);
}

#[test]
fn deltas_that_outgrow_their_base_or_are_many_are_followed_by_a_whole_one() {
    let (mut state, mut table) = fresh(StateSettings { full_after: 4, ..StateSettings::default() });
    for number in 0..100 {
        table.insert(&key(number), &Space::EMPTY, number).unwrap();
    }
    let mut take = |table: &mut StateTable<u64>, epoch| {
        let snapshot = state.snapshot(Epoch(epoch), &mut [table]).unwrap();
        state.on_checkpoint_complete(Epoch(epoch));
        usize::from(GROUPS) - snapshot.lineage.unwrap().deltas.len()
    };
    let few: Vec<usize> = (1..=9)
        .map(|epoch| {
            *table.get_mut(&key(1), &Space::EMPTY).unwrap().unwrap() += 1;
            take(&mut table, epoch)
        })
        .collect();
    assert_eq!(few[..2], [16, 0]);
    assert!(few[2..].iter().all(|full| *full < 16), "blocks take turns: {few:?}");
    assert!(few.iter().sum::<usize>() >= 32, "{few:?}");
    // Every delta is now as big as what it builds on: at the latest two barriers later each group is whole.
    let mut whole = 0;
    for epoch in 10..13 {
        for number in 0..100 {
            *table.get_mut(&key(number), &Space::EMPTY).unwrap().unwrap() += 1;
        }
        whole += take(&mut table, epoch);
    }
    assert!(whole >= 16, "{whole}");
}

#[test]
fn an_entry_expires_when_the_watermark_is_after_its_last_write_and_ttl() {
    for settings in [StateSettings::default(), tight()] {
        let spec = || TableSpec::<u64>::new("t", 1).ttl(Duration::from_secs(10));
        let (mut state, mut table) = open(settings.clone(), spec(), Restored::default()).unwrap();
        table.insert(&key(0), &Space::EMPTY, 0).unwrap();
        table.insert_at(&key(1), &Space::EMPTY, 1, at(100)).unwrap();
        table.advance(at(95)).unwrap();
        table.insert_at(&key(1), &Space::EMPTY, 1, at(90)).unwrap();
        table.insert(&key(2), &Space::EMPTY, 2).unwrap();
        table.advance(at(105)).unwrap();
        for number in 0..3 {
            assert_eq!(table.get(&key(number), &Space::EMPTY).unwrap(), Some(&number), "not yet");
        }
        table.advance(EventTime(at(105).0 + 1)).unwrap();
        assert_eq!(table.get(&key(0), &Space::EMPTY).unwrap(), None, "counts as written at the first watermark");
        assert_eq!(table.get(&key(1), &Space::EMPTY).unwrap(), Some(&1));
        assert_eq!(table.scan(&key(2)).unwrap().count(), 0);
        *table.get_mut_at(&key(1), &Space::EMPTY, Some(at(104))).unwrap().unwrap() = 1;
        table.advance(at(114)).unwrap();
        assert_eq!(table.get(&key(1), &Space::EMPTY).unwrap(), Some(&1), "changed in place at 104");

        // After a restore, before any watermark, what had expired stays gone.
        let snapshot = state.snapshot(Epoch(1), &mut [&mut table]).unwrap();
        let (_, mut again) = open(settings, spec(), restored(1, &[&snapshot])).unwrap();
        assert_eq!(again.get(&key(2), &Space::EMPTY).unwrap(), None);
        assert_eq!(again.get(&key(1), &Space::EMPTY).unwrap(), Some(&1));
        // What nobody asks for goes too.
        for second in 106..130 {
            again.advance(at(second)).unwrap();
        }
        assert!(again.is_empty());
    }
}

#[test]
fn what_a_release_cannot_read_is_refused_with_its_name() {
    let (mut state, mut table) = fresh(StateSettings::default());
    table.insert(&key(1), &Space::EMPTY, 1).unwrap();
    let stored = restored(1, &[&state.snapshot(Epoch(1), &mut [&mut table]).unwrap()]);
    let reopen = || KeyedState::open(&identity(0, 1), StateSettings::default(), stored.clone()).unwrap();

    let error = reopen().table(TableSpec::<u64>::new("t", 2)).err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid);
    let text = error.chain();
    assert!(text.contains("state=t, operator=op, stored=version 1 as u64, expected=version 2 as u64"), "{text}");
    assert_eq!(reopen().table(TableSpec::<i64>::new("t", 1)).err().unwrap().kind(), Kind::Invalid);
    assert_eq!(reopen().timers("t").err().unwrap().kind(), Kind::Invalid);

    let mut renamed = reopen();
    renamed.table(TableSpec::<u64>::new("other", 1)).unwrap();
    let error = renamed.opened().unwrap_err();
    assert!(error.chain().contains("restore state (state=t, operator=op, known=other)"), "{}", error.chain());
    renamed.forget("t");
    renamed.opened().unwrap();

    let older = |bytes: &[u8]| Ok(u64::decode(bytes)? as f64);
    let mut table = reopen().table(TableSpec::<f64>::new("t", 2).reads(1, older)).unwrap();
    assert_eq!(table.get(&key(1), &Space::EMPTY).unwrap(), Some(&1.0));
}

#[test]
fn broken_bytes_are_corrupt_and_never_a_panic() {
    let (mut state, mut table) = fresh(StateSettings::default());
    table.insert(&key(1), &Space::of_time(at(4)), 1).unwrap();
    let mut timers = state.timers("timers").unwrap();
    timers.set(at(1), &key(1), &Space::EMPTY).unwrap();
    let snapshot = state.snapshot(Epoch(1), &mut [&mut table, &mut timers]).unwrap();
    let (group, bytes) = snapshot.groups.iter().next().unwrap();
    let read = |bytes: Vec<u8>, group: KeyGroup| {
        let restored = Restored { epoch: Some(Epoch(1)), groups: vec![(group, bytes.into())] };
        let mut state = KeyedState::open(&identity(0, 1), StateSettings::default(), restored)?;
        state.table::<u64>(TableSpec::new("t", 1))?;
        state.timers("timers")?;
        state.opened()
    };
    read(bytes.to_vec(), *group).unwrap();
    for place in 0..bytes.len() {
        let cut_at_section = read(bytes[..place].to_vec(), *group);
        assert!(cut_at_section.is_err() || place >= 6, "cut at {place}");
        for flip in [1, 0x80] {
            let mut broken = bytes.to_vec();
            broken[place] ^= flip;
            let _ = read(broken, *group);
        }
    }
    assert_eq!(read(bytes.to_vec(), KeyGroup((group.0 + 1) % GROUPS)).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn parts_that_were_left_out_of_a_snapshot_are_a_bug() {
    let (mut state, mut table) = fresh(StateSettings::default());
    let mut timers = state.timers("timers").unwrap();
    let error = state.snapshot(Epoch(1), &mut [&mut table]).unwrap_err();
    assert_eq!(error.kind(), Kind::Internal);
    assert_eq!(state.snapshot(Epoch(1), &mut [&mut timers, &mut table]).unwrap_err().kind(), Kind::Internal);
    state.snapshot(Epoch(1), &mut [&mut table, &mut timers]).unwrap();
}
