//! Steps that keep some rows of each key: one of them, or the first in an order.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::Books;
use crate::random::Random;
use crate::view::View;

use super::check::{standing, without_late};
use super::opinion::Before;
use super::part::{BEST, ONCE, ONCE_LATE, Sink};
use super::text::number;
use super::{Click, Order, Timed};

/// A drawn step over the clicks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum KeyedStep {
    /// One row of each number.
    Once { keep: Keep },
    /// The first rows of each key, of the clicks or of sums of them, which are taken back and given anew.
    Best { rows: usize, sums: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    FirstToCome,
    Earliest,
    LastToCome,
    Latest,
}

/// Groups of a key of which one row is kept each.
const PER_KEY: u64 = 4;
/// Groups of a key that sums are made of.
const SUMS: u64 = 5;

// === impl KeyedStep ===

impl KeyedStep {
    pub fn draw(random: &mut Random) -> Self {
        let keep = random.pick(&[Keep::FirstToCome, Keep::Earliest, Keep::Earliest, Keep::LastToCome, Keep::Latest]);
        let (rows, sums) = (random.within(1, 4) as usize, random.chance(600));
        if random.chance(500) { Self::Once { keep } } else { Self::Best { rows, sums } }
    }

    /// The sections of the step.
    pub fn text(&self) -> String {
        match self {
            Self::Once { keep } => {
                let (keep, order) = match keep {
                    Keep::FirstToCome => ("first", "arrival"),
                    Keep::Earliest => ("first", "event_time"),
                    Keep::LastToCome => ("last", "arrival"),
                    Keep::Latest => ("last", "event_time"),
                };
                format!(
                    "[[step]]\nuid = \"once\"\nfrom = \"clicks\"\n\
                     deduplicate = {{ by = [\"k\", \"n % {PER_KEY} AS m\"], keep = \"{keep}\", order = \"{order}\" }}\n\n"
                )
            }
            Self::Best { rows, sums } => {
                let (before, from, order) = match sums {
                    false => (String::new(), "clicks", "\"n DESC\", \"id\""),
                    true => (sums_text(), "sums", "\"s DESC\", \"m\""),
                };
                format!(
                    "{before}[[step]]\nuid = \"best\"\nfrom = \"{from}\"\n\
                     top = {{ rows = {rows}, by = [\"k\"], order = [{order}], rank = \"place\" }}\n\n"
                )
            }
        }
    }

    /// Its sinks, and whether they take changes.
    pub fn sinks(&self) -> Vec<(Sink, bool)> {
        match self {
            Self::Once { keep: Keep::Earliest } => vec![(ONCE, false), (ONCE_LATE, false)],
            Self::Once { keep } => vec![(ONCE, *keep != Keep::FirstToCome)],
            Self::Best { .. } => vec![(BEST, true)],
        }
    }

    /// The step if it gives updates.
    pub fn updates(&self) -> Option<Before> {
        match self {
            Self::Once { keep: Keep::FirstToCome | Keep::Earliest } => None,
            Self::Once { .. } => Some(("once", ONCE.1, "n")),
            Self::Best { sums, .. } => Some(("best", BEST.1, if *sums { "s" } else { "n" })),
        }
    }

    /// Holds what the step gave against all clicks.
    ///
    /// # Errors
    /// What is broken.
    pub fn check(&self, view: &View, timed: &Timed, books: &Books) -> Result<(), String> {
        match self {
            Self::Once { keep } => check_once(*keep, view, timed, books),
            Self::Best { rows, sums } => check_best(*rows, *sums, view, timed, books),
        }
    }
}

fn sums_text() -> String {
    format!(
        "[[step]]\nuid = \"sums\"\nfrom = \"clicks\"\n\
         group = {{ by = [\"k\", \"id % {SUMS} AS m\"], aggregates = [\"sum(n) AS s\"], emit = \"changes\" }}\n\n"
    )
}

/// Of each key one row is left: that with the least or greatest time, or any.
fn check_once(keep: Keep, view: &View, timed: &Timed, books: &Books) -> Result<(), String> {
    let rows = standing(view.lines_of(ONCE.1)?)?;
    let in_time = match keep {
        Keep::Earliest => without_late(view, timed, &timed.clicks, ONCE_LATE.1, books)?.0,
        _ => timed.clicks.clone(),
    };
    let mut keys: BTreeSet<(u64, u64)> = in_time.iter().map(key_of).collect();
    for row in &rows {
        let found = in_time.iter().find(|click| Some(click.id) == number(row, "id"));
        let click = found.ok_or_else(|| format!("I1: {row} never went in, or was late"))?;
        if !keys.remove(&key_of(click)) {
            return Err(format!("I1: the key of {row} has two rows"));
        }
        if !is_kept(keep, click, &in_time, timed.order) {
            return Err(format!("I1: {row} is not the row of its key that {keep:?} keeps"));
        }
        books.count("I1: rows kept of their keys compared with the oracle");
    }
    match keys.first() {
        Some(key) => Err(format!("I1: the key {key:?} has no row")),
        None => Ok(()),
    }
}

/// The key by which one row is kept.
fn key_of(click: &Click) -> (u64, u64) {
    (click.key, click.n % PER_KEY)
}

/// Whether `click` may be the row of its key that is kept of `all`.
fn is_kept(keep: Keep, click: &Click, all: &[Click], order: Order) -> bool {
    let times = all.iter().filter(|other| key_of(other) == key_of(click)).map(|other| other.at);
    match keep {
        Keep::FirstToCome | Keep::LastToCome => true,
        // Where rows may be late, an earlier one may have come when this one was given.
        Keep::Earliest => order == Order::Loose || times.min() == Some(click.at),
        Keep::Latest => times.max() == Some(click.at),
    }
}

/// Of each key the first rows are left, each with its place.
fn check_best(rows: usize, sums: bool, view: &View, timed: &Timed, books: &Books) -> Result<(), String> {
    /// Key, place, what it goes by, and which row of the key.
    type Ranked = BTreeSet<(u64, u64, u64, u64)>;
    let mut of_key: BTreeMap<u64, BTreeMap<u64, u64>> = BTreeMap::new();
    for click in &timed.clicks {
        let which = if sums { click.id % SUMS } else { click.id };
        *of_key.entry(click.key).or_default().entry(which).or_default() += click.n;
    }
    let mut expected = Ranked::new();
    for (key, values) in of_key {
        let mut values: Vec<(u64, u64)> = values.into_iter().map(|(which, value)| (value, which)).collect();
        values.sort_by_key(|(value, which)| (std::cmp::Reverse(*value), *which));
        let first = values.into_iter().take(rows).enumerate();
        expected.extend(first.map(|(place, (value, which))| (key, place as u64 + 1, value, which)));
    }
    let (value, which) = if sums { ("s", "m") } else { ("n", "id") };
    let column = |row: &Value, name| number(row, name).unwrap_or(u64::MAX);
    let all = standing(view.lines_of(BEST.1)?)?;
    let found: Ranked = all
        .iter()
        .map(|row| (column(row, "k"), column(row, "place"), column(row, value), column(row, which)))
        .collect();
    (0..found.len()).for_each(|_| books.count("I1: ranked rows compared with the oracle"));
    match found.symmetric_difference(&expected).next() {
        Some(row) if expected.contains(row) => Err(format!("I1: the ranked row {row:?} is lost")),
        Some(row) => Err(format!("I1: the ranked row {row:?} is there and should not be")),
        None => Ok(()),
    }
}
