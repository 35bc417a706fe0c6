//! Holds the output of the timed part against its oracle, once the job is over.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::Books;
use crate::view::View;

use super::join::{JoinKind, JoinStep, Pair};
use super::sessions::SessionsStep;
use super::text::{micros, number};
use super::window::{Results, Shape, WindowStep};
use super::{Behind, Click, Order, SINKS, Timed};

/// Fails unless windows and joins gave what nested loops give, and a model asked about their updates what `opinions` say.
///
/// # Errors
/// What is broken.
pub(crate) fn check_timed(view: &View, timed: &Timed, books: &Books, opinions: &Books) -> Result<(), String> {
    if let Some(window) = &timed.window {
        check_window(view, timed, window, books)?;
    }
    if let Some(join) = &timed.join {
        check_join(view, timed, join, books)?;
    }
    if let Some(sessions) = &timed.sessions {
        check_sessions(view, timed, sessions, books)?;
    }
    if let Some(opinion) = &timed.opinion {
        opinion.check(view, books, opinions)?;
    }
    timed.part.map_or(Ok(()), |part| part.check(view, timed, books))
}

fn check_window(view: &View, timed: &Timed, step: &WindowStep, books: &Books) -> Result<(), String> {
    let mut found = Results::new();
    for row in standing(view.lines_of(SINKS[0].1)?)? {
        let key = if step.keyed { number(&row, "k").unwrap_or(u64::MAX) } else { 0 };
        let place = match step.shape {
            Shape::Running => (key, 0, 0),
            _ => (key, micros(&row, "window_start")?, micros(&row, "window_end")?),
        };
        let cells = (number(&row, "c").unwrap_or(0), number(&row, "s").unwrap_or(0));
        if found.insert(place, cells).is_some() {
            return Err(format!("I1: the window {place:?} has two results"));
        }
        books.count("I1: window results compared with the oracle");
        if matches!(timed.cut, Some((Behind::Window, _))) {
            books.count("I1: window results of a second region compared with the oracle");
        }
    }
    if step.first.is_some() {
        books.count("I1: windows over updates compared with the oracle");
        if matches!(step.shape, Shape::Session { .. }) {
            books.count("I1: sessions over updates compared with the oracle");
        }
    }
    let (in_time, late) = without_late(view, timed, &timed.clicks, SINKS[1].1, books)?;
    match (timed.order, step.shape) {
        // Their windows outlast the job.
        _ if step.first.is_some() => same(&found, &step.results(&timed.clicks)),
        (_, Shape::Running) => same(&found, &step.results(&timed.clicks)),
        (Order::InTurn | Order::Whole, _) => same(&found, &step.results(&timed.clicks)),
        (Order::Loose, Shape::Tumble { .. }) => {
            // A window takes a row or the row is late.
            for (place, (count, sum)) in step.results(&late) {
                let cells = found.entry(place).or_default();
                *cells = (cells.0 + count, cells.1 + sum);
            }
            same(&found, &step.results(&timed.clicks))
        }
        (Order::Loose, Shape::Slide { .. }) => {
            // A row may be late for some of its windows.
            let most = step.results(&in_time);
            let fits = |cells: &(u64, u64), most: &(u64, u64)| cells.0 <= most.0 && cells.1 <= most.1;
            match found.iter().find(|(place, cells)| !most.get(place).is_some_and(|most| fits(cells, most))) {
                Some(over) => Err(format!("I1: the window {over:?} holds more than its rows")),
                None => Ok(()),
            }
        }
        (Order::Loose, Shape::Session { .. }) => same(&totals(&found), &totals(&step.results(&in_time))),
    }
}

/// A session is given once, of all its rows that were not late.
fn check_sessions(view: &View, timed: &Timed, step: &SessionsStep, books: &Books) -> Result<(), String> {
    let mut found = Results::new();
    for row in view.lines_of(SINKS[5].1)? {
        let key = number(&row, "k").unwrap_or(u64::MAX);
        let place = (key, micros(&row, "window_start")?, micros(&row, "window_end")?);
        let cells = (number(&row, "c").unwrap_or(0), number(&row, "s").unwrap_or(0));
        if found.insert(place, cells).is_some() {
            return Err(format!("I1: the session {place:?} is there twice"));
        }
        books.count("I1: sessions of a process function compared with the oracle");
    }
    let (in_time, _) = without_late(view, timed, &timed.clicks, SINKS[6].1, books)?;
    same(&found, &step.results(&in_time))
}

/// Count and sum by key.
fn totals(results: &Results) -> Results {
    let mut totals = Results::new();
    for ((key, _, _), (count, sum)) in results {
        let cells = totals.entry((*key, 0, 0)).or_default();
        *cells = (cells.0 + count, cells.1 + sum);
    }
    totals
}

fn same(found: &Results, expected: &Results) -> Result<(), String> {
    let differs = |place: &&(u64, i64, i64)| found.get(place) != expected.get(place);
    match expected.keys().chain(found.keys()).find(differs) {
        Some(place) => {
            Err(format!("I1: the window {place:?} has {:?}, not {:?}", found.get(place), expected.get(place)))
        }
        None => Ok(()),
    }
}

fn check_join(view: &View, timed: &Timed, step: &JoinStep, books: &Books) -> Result<(), String> {
    let rows = standing(view.lines_of(SINKS[2].1)?)?;
    let (clicks, _) = without_late(view, timed, &timed.clicks, SINKS[3].1, books)?;
    let (views, _) = without_late(view, timed, &timed.views, SINKS[4].1, books)?;
    let mut found = BTreeSet::new();
    for row in &rows {
        let pair = (number(row, "id"), number(row, "v_id"));
        check_values(row, pair, timed)?;
        if !found.insert(pair) {
            return Err(format!("I1: the pair {pair:?} is there twice"));
        }
        books.count("I1: joined rows compared with the oracle");
    }
    if step.is_table {
        books.count("I1: joins with a table's changes compared with the oracle");
    }
    if step.kind == JoinKind::AsOf {
        return check_versions(&found, &clicks, &views, step.keeps.0, timed.order == Order::Loose);
    }
    let expected = step.pairs(&clicks, &views);
    if let Some(pair) = found.symmetric_difference(&expected).next() {
        let what = if found.contains(pair) { "is there and should not be" } else { "is lost" };
        return Err(format!("I1: the pair {pair:?} {what}"));
    }
    Ok(())
}

/// A pair shows the columns of its two rows.
fn check_values(row: &Value, (click, view): Pair, timed: &Timed) -> Result<(), String> {
    let of = |rows: &[Click], id: Option<u64>| id.and_then(|id| rows.iter().find(|row| row.id == id).copied());
    let (click, view) = (of(&timed.clicks, click), of(&timed.views, view));
    let key = click.or(view).map(|row| row.key);
    let right = number(row, "k") == key
        && number(row, "n") == click.map(|row| row.n)
        && number(row, "v_n") == view.map(|row| row.n);
    if right { Ok(()) } else { Err(format!("I1: no two rows make {row}")) }
}

/// Each click is there once, with a version of its key that was the latest at its time. Where rows may be late, a version
/// may have come after the click that it was for.
fn check_versions(
    found: &BTreeSet<Pair>,
    clicks: &[Click],
    views: &[Click],
    keeps: bool,
    loose: bool,
) -> Result<(), String> {
    let mut of_click: BTreeMap<u64, Option<u64>> = BTreeMap::new();
    for (click, version) in found {
        if click.is_none_or(|click| of_click.insert(click, *version).is_some()) {
            return Err(format!("I1: {click:?} is there with two versions, or never was"));
        }
    }
    for click in clicks {
        let before = || views.iter().filter(|view| view.key == click.key && view.at <= click.at);
        let latest = before().map(|view| view.at).max();
        let version = of_click.remove(&click.id);
        let time = version.flatten().and_then(|id| before().find(|view| view.id == id)).map(|view| view.at);
        let is_right = match version {
            None => !keeps && (loose || latest.is_none()),
            Some(None) => keeps && (loose || latest.is_none()),
            Some(Some(_)) => time.is_some() && (loose || time == latest),
        };
        if !is_right {
            return Err(format!("I1: the click {click:?} has the version {version:?}, the latest is of {latest:?}"));
        }
    }
    match of_click.keys().next() {
        Some(click) => Err(format!("I1: the click {click} was late, and is there")),
        None => Ok(()),
    }
}

/// The rows that did not leave by the side output in `folder`, and those that did.
pub(super) fn without_late(
    view: &View,
    timed: &Timed,
    rows: &[Click],
    folder: &str,
    books: &Books,
) -> Result<(Vec<Click>, Vec<Click>), String> {
    let mut late = BTreeSet::new();
    for row in view.lines_of(folder)? {
        let id = number(&row, "id").unwrap_or(u64::MAX);
        if !late.insert(id) {
            return Err(format!("I1: row {id} is late twice"));
        }
        if timed.order != Order::Loose {
            return Err(format!("I1: row {id} is late, and the promise of its watermark holds"));
        }
        books.count("I1: rows that were late");
    }
    Ok(rows.iter().copied().partition(|row| !late.contains(&row.id)))
}

/// The rows that are left when every change is applied. No row is there twice: each names a window or a pair.
pub(super) fn standing(rows: Vec<Value>) -> Result<Vec<Value>, String> {
    let mut counts: BTreeMap<String, (i64, Value)> = BTreeMap::new();
    for mut row in rows {
        let change = row.as_object_mut().and_then(|row| row.remove("change"));
        let step = match change.as_ref().and_then(Value::as_str) {
            None | Some("+I" | "+U") => 1,
            Some(_) => -1,
        };
        counts.entry(row.to_string()).or_insert((0, row)).0 += step;
    }
    if let Some((row, (count, _))) = counts.iter().find(|(_, (count, _))| !(0..=1).contains(count)) {
        return Err(format!("I1: {row} is there {count} times"));
    }
    Ok(counts.into_values().filter(|(count, _)| *count == 1).map(|(_, row)| row).collect())
}
