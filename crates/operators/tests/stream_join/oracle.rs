//! What a run must have given: nested loops over all rows, and rules that hold for every output.

use std::collections::BTreeMap;

use super::harness::{In, Pair, Run, Which};
use forebay_core::RowKind;
use forebay_operators::stream_join::timed::Meeting;
use forebay_operators::stream_join::{Keeps, Side};

/// What is wrong with a run.
pub fn check(run: &Run) -> Result<(), String> {
    if let Some(wrong) = &run.wrong {
        return Err(wrong.clone());
    }
    if run.late != run.late_out {
        return Err(format!("{} rows were late, {} came out as such", run.late, run.late_out));
    }
    let mut ids: BTreeMap<_, (i64, &Pair)> = BTreeMap::new();
    let mut found: BTreeMap<Pair, i64> = BTreeMap::new();
    for (kind, id, pair) in &run.out {
        let one = if kind.is_retraction() { -1 } else { 1 };
        let (count, first) = ids.entry(*id).or_insert((0, pair));
        *count += one;
        if !(0..=1).contains(count) || *first != pair {
            return Err(format!("the id {id} of {pair:?} counts {count}, first {first:?}"));
        }
        *found.entry(pair.clone()).or_default() += one;
    }
    found.retain(|_, count| *count != 0);
    let expected = expected(run);
    if found == expected {
        return Ok(());
    }
    let more: Vec<_> = found.iter().filter(|(pair, count)| expected.get(*pair) != Some(*count)).collect();
    let less: Vec<_> = expected.iter().filter(|(pair, count)| found.get(*pair) != Some(*count)).collect();
    Err(format!("found {more:?}\nexpected {less:?}"))
}

fn expected(run: &Run) -> BTreeMap<Pair, i64> {
    let of = |port| run.rows.iter().filter(move |row| row.port == port);
    let mut pairs = BTreeMap::new();
    let mut put = |left: Option<&In>, right: Option<&In>| {
        let key = left.and_then(|row| row.key).or_else(|| right.and_then(|row| row.key));
        let content = |row: Option<&In>| row.map(|row| (row.time, row.value));
        let pair = Pair { key: key.map(|key| key.to_string()), left: content(left), right: content(right) };
        *pairs.entry(pair).or_default() += 1;
    };
    for left in of(0) {
        let mut partners: Vec<&In> = of(1).filter(|right| meets(run.which, left, right)).collect();
        if matches!(run.which, Which::AsOf(_)) {
            partners.sort_by_key(|right| (right.time, right.id));
            partners = partners.pop().into_iter().collect();
        }
        if matches!(run.which, Which::Table(_)) {
            partners = version(run, left).into_iter().collect();
        }
        partners.iter().for_each(|right| put(Some(left), Some(right)));
        if partners.is_empty() && run.keeps.keeps(Side::Left) {
            put(Some(left), None);
        }
    }
    for right in of(1) {
        if matches!(run.keeps, Keeps::Right | Keeps::Full) && !of(0).any(|left| meets(run.which, left, right)) {
            put(None, Some(right));
        }
    }
    pairs
}

/// What the table has of the row's key at its time, as far as it was told when the watermark reached the row.
fn version<'a>(run: &'a Run, left: &In) -> Option<&'a In> {
    let came = left.value as usize;
    let reached = run.watermarks.iter().find(|(act, watermark)| *act > came && *watermark >= left.time);
    let until = reached.map_or(usize::MAX, |(act, _)| *act);
    let mut versions: Vec<(i64, bool, &In)> = Vec::new();
    for (_, kind, row) in run.changes.iter().filter(|(act, _, row)| *act < until && row.key == left.key) {
        let is_end = *kind == RowKind::Delete;
        versions.retain(|(time, was_end, _)| *time != row.time || (*kind == RowKind::Insert && !was_end));
        versions.push((row.time, is_end, row));
    }
    let known = versions.into_iter().filter(|(time, ..)| left.key.is_some() && *time <= left.time);
    known
        .max_by_key(|(time, is_end, row)| (*time, *is_end, row.id))
        .filter(|(_, is_end, _)| !is_end)
        .map(|found| found.2)
}

fn meets(which: Which, left: &In, right: &In) -> bool {
    let near = match which {
        Which::Timed(Meeting::Interval { before, after }, _) => {
            let apart = right.time - left.time;
            -(before.as_micros() as i64) <= apart && apart <= after.as_micros() as i64
        }
        Which::Timed(Meeting::Window(size), _) => {
            let window = |row: &In| row.time.div_euclid(size.as_micros() as i64);
            window(left) == window(right)
        }
        Which::AsOf(_) | Which::Table(_) => right.time <= left.time,
        Which::Regular(..) => true,
    };
    near && left.key.is_some() && left.key == right.key
}
