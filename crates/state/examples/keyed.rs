//! What keyed state costs on one core: `cargo run -p forebay-state --example keyed`.
//!
//! 200,000 `u64` counters by (key, window), keys of 8 bytes in random order. In memory; then with room for a tenth of them, the
//! rest in fjall in a temporary folder, where one access in ten goes to a random key and the others to a hundredth of the keys.
//! Snapshots whole, and after one entry in a hundred changed. Each figure is CPU time of the thread, so that what else the machine
//! does stays out (fjall's own threads too), and the median of five passes where a pass can be repeated.

use std::sync::Arc;

use forebay_core::Result;
use forebay_core::element::Epoch;
use forebay_core::hash::hash64;
use forebay_core::keys::Key;
use forebay_core::operator::{Identity, Restored};
use forebay_core::time::EventTime;
use forebay_state::keyed::{FjallSpill, KeyedState, Space, StateSettings, StateTable, TableSpec};

const ENTRIES: u64 = 200_000;
const ROUNDS: usize = 5;

fn main() -> Result<()> {
    println!("{ENTRIES} entries");
    let (mut state, mut table) = open(StateSettings::default())?;
    in_memory(&mut table)?;
    snapshots(&mut state, &mut table)?;
    drop((state, table));
    spilled()
}

fn open(settings: StateSettings) -> Result<(KeyedState, StateTable<u64>)> {
    let identity = Identity { uid: "bench".into(), subtask: 0, parallelism: 1, groups: 128, attempt: 1 };
    let mut state = KeyedState::open(&identity, settings, Restored::default())?;
    let table = state.table(TableSpec::new("counts", 1))?;
    Ok((state, table))
}

fn keys(count: u64) -> Vec<Key> {
    (0..count).map(|number| Key::new(hash64(&number.to_le_bytes()).to_le_bytes())).collect()
}

fn window() -> Space {
    Space::of_time(EventTime(60_000_000))
}

/// Milliseconds that the CPU worked for this thread.
fn millis(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = cpu_nanos();
    work()?;
    Ok((cpu_nanos() - start) as f64 / 1e6)
}

fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells how long a thread ran");
    text.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("the first number is nanoseconds")
}

/// Prints nanoseconds an operation, median of the rounds.
fn per_operation(name: &str, operations: u64, mut round: impl FnMut() -> Result<()>) -> Result<()> {
    let mut rounds = (0..ROUNDS).map(|_| millis(&mut round)).collect::<Result<Vec<f64>>>()?;
    rounds.sort_by(f64::total_cmp);
    println!("{name:<44} {:>8.0} ns", rounds[ROUNDS / 2] * 1e6 / operations as f64);
    Ok(())
}

fn in_memory(table: &mut StateTable<u64>) -> Result<()> {
    let (keys, window) = (keys(ENTRIES), window());
    let insert = millis(|| keys.iter().try_for_each(|key| table.insert(key, &window, 1)))?;
    println!("{:<44} {:>8.0} ns", "insert of a new entry", insert * 1e6 / ENTRIES as f64);
    per_operation("insert over an entry", ENTRIES, || keys.iter().try_for_each(|key| table.insert(key, &window, 1)))?;
    per_operation("get", ENTRIES, || keys.iter().try_for_each(|key| table.get(key, &window).map(drop)))?;
    per_operation("get_mut", ENTRIES, || {
        keys.iter().try_for_each(|key| table.get_mut(key, &window)?.into_iter().try_for_each(add))
    })?;
    per_operation("get_or_insert_with, there", ENTRIES, || {
        keys.iter().try_for_each(|key| add(table.get_or_insert_with(key, &window, || 0)?))
    })?;
    let few = &keys[..1000];
    per_operation("get_or_insert_with, there, 1000 keys", 1000, || {
        few.iter().try_for_each(|key| add(table.get_or_insert_with(key, &window, || 0)?))
    })
}

fn add(count: &mut u64) -> Result<()> {
    *count += 1;
    Ok(())
}

fn snapshots(state: &mut KeyedState, table: &mut StateTable<u64>) -> Result<()> {
    let mut bytes = 0;
    let mut epoch = Epoch(1);
    let mut take = |state: &mut KeyedState, table: &mut StateTable<u64>, name: &str| {
        let taken = millis(|| {
            let snapshot = state.snapshot(epoch, &mut [table])?;
            bytes = snapshot.groups.values().map(|group| group.len()).sum();
            Ok(())
        })?;
        println!("{name:<44} {taken:>8.1} ms  {bytes:>10} bytes");
        state.on_checkpoint_complete(epoch);
        epoch = epoch.next();
        Ok::<(), forebay_core::Error>(())
    };
    take(state, table, "snapshot, whole")?;
    take(state, table, "snapshot, nothing changed")?;
    for _ in 0..3 {
        for key in keys(ENTRIES).iter().step_by(100) {
            table.get_mut(key, &window())?.into_iter().try_for_each(add)?;
        }
        take(state, table, "snapshot, one in a hundred changed")?;
    }
    Ok(())
}

fn spilled() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let spill = Some(Arc::new(FjallSpill::open(folder.path())?) as _);
    let settings = StateSettings { memory_bytes_max: ENTRIES as usize * 11, spill, ..StateSettings::default() };
    let (mut state, mut table) = open(settings)?;
    let (keys, window) = (keys(ENTRIES), window());
    let insert = millis(|| keys.iter().try_for_each(|key| table.insert(key, &window, 1)))?;
    println!("{:<44} {:>8.0} ns", "spilling: insert of a new entry", insert * 1e6 / ENTRIES as f64);
    let operations = ENTRIES / 10;
    let mut seed = 0;
    per_operation("spilling: get_mut, 90 % hot", operations, || {
        for _ in 0..operations {
            seed = hash64(&u64::to_le_bytes(seed));
            let range = if seed % 10 == 0 { ENTRIES } else { ENTRIES / 100 };
            let key = &keys[((seed >> 8) % range) as usize];
            table.get_mut(key, &window)?.into_iter().try_for_each(add)?;
        }
        Ok(())
    })?;
    per_operation("spilling: get_mut, all cold", operations, || {
        for _ in 0..operations {
            seed = hash64(&u64::to_le_bytes(seed));
            table.get_mut(&keys[((seed >> 8) % ENTRIES) as usize], &window)?.into_iter().try_for_each(add)?;
        }
        Ok(())
    })?;
    let whole = millis(|| state.snapshot(Epoch(1), &mut [&mut table]).map(drop))?;
    println!("{:<44} {whole:>8.1} ms", "spilling: snapshot, whole");
    Ok(())
}
