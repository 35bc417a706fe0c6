//! Steps that take rows one by one: lists into rows, a sample, the first that come.

use std::collections::BTreeSet;

use crate::model::Books;
use crate::random::Random;
use crate::view::View;

use super::Timed;
use super::part::{FEW, PARTS, SOME, Sink, TWIN};
use super::text::number;

/// A drawn step over the clicks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RowsStep {
    /// As many rows as the rest of its number by [`PARTS_MAX`], counted from 0.
    Parts { ignores_empty: bool },
    /// Two samples, of all rows and of the even ones.
    Some { ratio: f64, seed: u64 },
    /// The first rows of a source of its own, which then stops.
    Few { rows: u64 },
}

/// See [`RowsStep::Parts`].
const PARTS_MAX: u64 = 4;

// === impl RowsStep ===

impl RowsStep {
    pub fn draw(random: &mut Random) -> Self {
        let (ignores_empty, ratio) = (random.chance(500), random.pick(&[0.1, 0.5, 0.9]));
        match random.below(3) {
            0 => Self::Parts { ignores_empty },
            1 => Self::Some { ratio, seed: random.below(100) },
            _ => Self::Few { rows: random.within(1, 40) },
        }
    }

    /// The sections of the steps.
    pub fn text(&self) -> String {
        let step =
            |uid: &str, from: &str, what: String| format!("[[step]]\nuid = \"{uid}\"\nfrom = \"{from}\"\n{what}\n\n");
        match self {
            Self::Parts { ignores_empty } => {
                let explode = format!("explode = {{ columns = [\"part\"], ignore_empty_and_null = {ignores_empty} }}");
                let list = format!("with = [\"range(0, n % {PARTS_MAX}) AS part\"]");
                step("listed", "clicks", list) + &step("parts", "listed", explode)
            }
            Self::Some { ratio, seed } => {
                let sample = format!("sample = {{ ratio = {ratio}, seed = {seed} }}");
                let even = step("even_clicks", "clicks", "filter = \"n % 2 = 0\"".to_string());
                step("some", "clicks", sample.clone()) + &even + &step("twin", "even_clicks", sample)
            }
            Self::Few { rows } => step("few", "few_rows", format!("limit = {rows}")),
        }
    }

    /// Its sinks.
    pub fn sinks(&self) -> Vec<Sink> {
        match self {
            Self::Parts { .. } => vec![PARTS],
            Self::Some { .. } => vec![SOME, TWIN],
            Self::Few { .. } => vec![FEW],
        }
    }

    /// Holds what the step gave against all clicks.
    ///
    /// # Errors
    /// What is broken.
    pub fn check(&self, view: &View, timed: &Timed, books: &Books) -> Result<(), String> {
        match self {
            Self::Parts { ignores_empty } => check_parts(*ignores_empty, view, timed, books),
            Self::Some { .. } => {
                let (mut some, again) = (ids(view, SOME.1, timed)?, ids(view, TWIN.1, timed)?);
                let is_even = |id: &u64| timed.clicks.iter().any(|click| click.id == *id && click.n.is_multiple_of(2));
                some.retain(is_even);
                (0..some.len()).for_each(|_| books.count("I1: sampled rows compared with another sample"));
                match some.symmetric_difference(&again).next() {
                    Some(id) => Err(format!("I1: row {id} is in one of two samples and not in the other")),
                    None => Ok(()),
                }
            }
            Self::Few { rows } => {
                let (found, wanted) = (ids(view, FEW.1, timed)?.len(), timed.clicks.len().min(*rows as usize));
                books.count("I1: limits compared with the oracle");
                if found == wanted { Ok(()) } else { Err(format!("I1: a limit gave {found} rows, not {wanted}")) }
            }
        }
    }
}

/// The ids of the clicks in `folder`, each there once.
fn ids(view: &View, folder: &str, timed: &Timed) -> Result<BTreeSet<u64>, String> {
    let mut found = BTreeSet::new();
    for row in view.lines_of(folder)? {
        let id = number(&row, "id").filter(|id| timed.clicks.iter().any(|click| click.id == *id));
        if !id.is_some_and(|id| found.insert(id)) {
            return Err(format!("I1: {row} is there twice, or never went in"));
        }
    }
    Ok(found)
}

fn check_parts(ignores_empty: bool, view: &View, timed: &Timed, books: &Books) -> Result<(), String> {
    let mut expected = BTreeSet::new();
    for click in &timed.clicks {
        let count = click.n % PARTS_MAX;
        expected.extend((0..count).map(|part| (click.id, Some(part))));
        expected.extend((count == 0 && !ignores_empty).then_some((click.id, None)));
    }
    for row in view.lines_of(PARTS.1)? {
        let part = (number(&row, "id").unwrap_or(u64::MAX), number(&row, "part"));
        if !expected.remove(&part) {
            return Err(format!("I1: the part {row} is there twice, or never was"));
        }
        books.count("I1: rows of lists compared with the oracle");
    }
    match expected.first() {
        Some(part) => Err(format!("I1: the part {part:?} is lost")),
        None => Ok(()),
    }
}
