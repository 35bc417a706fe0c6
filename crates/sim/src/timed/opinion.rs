//! A model asked about a stream whose rows are also taken back.
//!
//! It says something else each time that it runs, and a drawn part of its calls fails. So a row that is taken back with another
//! answer than it was given with stays in the output for ever. What is left once every change is applied must be the rows that are
//! left of the stream before it, each with one answer that the model gave; but for those that became dead letters.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::model::{Books, parse_value};
use crate::random::Random;
use crate::scenario::{CONSTANT, Job};
use crate::shape::Cut;
use crate::view::View;

use super::check::standing;
use super::logged;
use super::part::Sink;

pub(super) const OPINION: Sink = ("opinion_out", "_opinion/");

/// The step and its model.
pub(crate) const NAME: &str = "opinion";

/// Where updates come from: a step, the folder of its sink, and one of its columns.
pub(super) type Before = (&'static str, &'static str, &'static str);

/// A drawn inference over updates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpinionStep {
    before: Before,
    order: &'static str,
    otherwise: Otherwise,
    batch_rows: u64,
    in_flight: u64,
    attempts: u64,
}

/// What becomes of rows that the model does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Otherwise {
    Letter,
    Null,
    Constant,
}

// === impl OpinionStep ===

impl OpinionStep {
    /// What `seed` draws, apart from the rest, if a step of its job gives updates.
    pub fn draw(seed: u64, before: &[Before]) -> Option<Self> {
        let mut random = Random::new(seed, NAME);
        if before.is_empty() || !random.chance(700) {
            return None;
        }
        Some(Self {
            before: random.pick(before),
            order: random.pick(&["unordered", "unordered", "ordered", "per_key"]),
            otherwise: random.pick(&[Otherwise::Letter, Otherwise::Letter, Otherwise::Null, Otherwise::Constant]),
            batch_rows: random.within(1, 8),
            in_flight: random.within(1, 4),
            attempts: random.pick(&[1, 3, 60]),
        })
    }

    /// Whether it is asked about what `step` gives.
    pub fn reads(&self, step: &str) -> bool {
        self.before.0 == step
    }

    /// The sections of the steps, the first of them the durable one of a `cut`, and of the model, for which calls last at most
    /// as in `job`.
    pub fn text(&self, cut: Option<Cut>, job: &Job) -> String {
        let Self { before: (from, _, column), order, batch_rows, in_flight, attempts, .. } = self;
        let timeout_ms = job.timeout_ms;
        let (logged, from) = logged(cut, from);
        let key = if *order == "per_key" { "key = [\"part\"]\n" } else { "" };
        let otherwise = match self.otherwise {
            Otherwise::Letter => String::new(),
            Otherwise::Null => "on_error = \"null\"\n".to_string(),
            Otherwise::Constant => {
                format!("fallback = [{{ constant = {{ answer = \"{CONSTANT}\" }} }}]\nfallback_column = \"by\"\n")
            }
        };
        format!(
            "{logged}[[step]]\nuid = \"parted\"\nfrom = \"{from}\"\nwith = [\"'some' AS text\", \"{column} % 3 AS part\"]\n\n\
             [[step]]\nfrom = \"parted\"\n[step.infer]\nuid = \"{NAME}\"\nmodel = \"{NAME}\"\n\
             inputs = {{ text = \"text\" }}\noutputs = {{ answer = \"answer\" }}\nbatch_rows = {batch_rows}\n\
             in_flight = {in_flight}\norder = \"{order}\"\n{key}{otherwise}attempts = {attempts}\n\
             timeout = \"{timeout_ms}ms\"\n\n[model.{NAME}]\nhost = \"fake\"\n\n"
        )
    }

    /// Holds what the step gave against what the step before it gave.
    ///
    /// # Errors
    /// What is broken.
    pub fn check(&self, view: &View, books: &Books, opinions: &Books) -> Result<(), String> {
        let before = standing(view.lines_of(self.before.1)?)?;
        let mut left: BTreeSet<String> = before.iter().map(Value::to_string).collect();
        for mut row in standing(view.lines_of(OPINION.1)?)? {
            self.check_answer(&row, opinions)?;
            let columns = row.as_object_mut().ok_or("a row that is none")?;
            ["text", "part", "answer", "by"].iter().for_each(|column| drop(columns.remove(*column)));
            if !left.remove(&row.to_string()) {
                return Err(format!("I26: {row} has two answers, or was taken back and its answer was not"));
            }
            books.count("I26: rows of updates that have an answer");
        }
        let letters = view.letters_of(NAME)?;
        if letters.iter().any(|letter| letter.reason.contains("takes back")) {
            return Err("I26: a row takes back what was never given".to_string());
        }
        if left.len() > letters.len() || (self.otherwise != Otherwise::Letter && !letters.is_empty()) {
            return Err(format!("I26: {} rows have no answer, and {} are dead letters", left.len(), letters.len()));
        }
        letters.iter().for_each(|_| books.count("I26: dead letters of updates"));
        Ok(())
    }

    /// The answer is one that the model gave.
    fn check_answer(&self, row: &Value, opinions: &Books) -> Result<(), String> {
        let wrong = || format!("I26: nobody gave the answer of {row}");
        match row["answer"].as_str() {
            None if self.otherwise == Otherwise::Null => Ok(()),
            Some(CONSTANT) if self.otherwise == Otherwise::Constant && row["by"] == "constant" => Ok(()),
            Some(text) if self.otherwise != Otherwise::Constant || row["by"] == NAME => {
                let (request, number) = parse_value(text).ok_or_else(wrong)?;
                let inner = opinions.lock();
                let known = inner.executions.get(number).is_some_and(|execution| execution.request == request);
                if known { Ok(()) } else { Err(wrong()) }
            }
            _ => Err(wrong()),
        }
    }
}
