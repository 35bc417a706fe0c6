//! From outcomes to what becomes of rows, and out of the operator.

use std::time::Duration;

use forebay_core::Result;
use forebay_core::operator::Out;
use forebay_core::time::Instant;
use forebay_gate::batcher::Entry as Queued;
use forebay_gate::blame::{Blame, Company};
use forebay_inference::request::Outcome;

use super::retry::{self, Refused, Verdict};
use super::table::Emission;
use super::{Done, Inference, Site};

// === impl Inference ===

impl Inference {
    pub(super) fn take_answers(&mut self) -> Result<()> {
        for done in self.completions.take() {
            self.running -= 1;
            match done {
                Done::Answered { rung, rows, sent, outcomes } => self.take_call(rung, rows, sent, outcomes?)?,
                Done::GivenUp { rows, outcomes } => {
                    rows.into_iter().zip(outcomes?).for_each(|(row, outcome)| self.given_up(row, outcome));
                }
            }
        }
        Ok(())
    }

    fn take_call(&mut self, rung: usize, rows: Vec<Queued<u64>>, sent: Instant, outcomes: Vec<Outcome>) -> Result<()> {
        let (alone, site) = (rows.len() == 1, self.lane(rung).site);
        let company = Company { alone, last: site == Site::Server && self.is_last(rung, &rows) };
        if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Answered { .. })) {
            let took = self.now().since(sent);
            self.lane_mut(rung).took(took);
        }
        let (mut refused, mut halve, mut ended) = (Refused::default(), Vec::new(), Vec::new());
        for (row, outcome) in rows.into_iter().zip(outcomes) {
            let asked = self.table.is_asked(row.item, rung);
            if !asked {
                self.came_back(rung, &row);
            }
            match retry::verdict(&outcome, site, alone) {
                Verdict::Refused { retry_after } if !asked => refused.add(None, retry_after, Blame::Server),
                Verdict::Refused { retry_after } => match self.blame(rung, &row, &outcome, company) {
                    Blame::Row => ended.push(self.at_fault(&row, outcome)),
                    blame => refused.add(Some(row), retry_after, blame),
                },
                Verdict::Stop => return Err(retry::wrong_settings(&outcome)),
                _ if !asked => {}
                Verdict::Final => ended.push((row.item, outcome)),
                Verdict::Halve => halve.push(row),
                Verdict::Failed => ended.extend(self.take_failure(rung, row, outcome)),
            }
        }
        self.end(ended);
        self.wait_for_room(rung, refused);
        self.halve(rung, halve);
        Ok(())
    }

    /// A call that the model refused without work: its rows come back together, or in two parts if one of them may be at
    /// fault, and no try is counted.
    fn wait_for_room(&mut self, rung: usize, refused: Refused) {
        let now = self.now();
        let lane = self.lane_mut(rung);
        if !refused.any {
            lane.later.room_again();
            return;
        }
        let at = lane.gate.retry_at(lane.later.count_refusal(), refused.retry_after);
        lane.later.refused(now, at);
        if self.is_hopeless(rung) {
            self.refuse_all(rung, refused.rows);
            return;
        }
        for rows in refused.parts() {
            self.lane_mut(rung).later.push(at, rows, false);
        }
    }

    /// Splitting a call is no try of its rows.
    fn halve(&mut self, rung: usize, mut rows: Vec<Queued<u64>>) {
        let (now, second) = (self.since_start(), rows.split_off(rows.len() / 2));
        for half in [rows, second] {
            if !half.is_empty() {
                self.lane_mut(rung).batcher.retry(half, now);
            }
        }
    }

    /// Queues the row again, alone, for only one of those that failed together need be at fault; or gives it back with its
    /// outcome, if it was tried as often as it may be.
    fn take_failure(&mut self, rung: usize, row: Queued<u64>, outcome: Outcome) -> Option<(u64, Outcome)> {
        let (attempts, now) = (self.table.count_failure(row.item), self.since_start());
        if attempts >= self.settings.attempts_max {
            return Some((row.item, outcome));
        }
        let lane = self.lane_mut(rung);
        let later = |pause| lane.gate.retry_at(attempts, pause);
        match lane.site {
            Site::Here => lane.batcher.retry(vec![row], now),
            Site::Server => lane.later.push(later(None), vec![row], true),
            Site::ManyServers => lane.later.push(later(pause_of(&outcome)), vec![row], false),
        }
        None
    }

    pub(super) fn emit(&mut self) -> Result<Option<Out>> {
        while let Some(emission) = self.table.emit() {
            let entries = match emission {
                Emission::Watermark(watermark) => {
                    self.forget(watermark)?;
                    return Ok(Some(Out::Watermark(watermark)));
                }
                Emission::Rows(entries) => entries,
            };
            let groups = self.context().identity.groups;
            for entry in &entries {
                if entry.takes_back || self.is_wanted(entry) {
                    continue;
                }
                let emitted = self.emitted.entry(entry.group(groups)).or_default();
                emitted.push(entry.request);
                emitted.extend(&entry.earlier);
            }
            let assembled = self.give(entries)?;
            self.outs.extend(assembled.batch.map(Out::Batch));
            if !assembled.dead_letters.is_empty() {
                self.outs.push_back(Out::DeadLetters(assembled.dead_letters));
            }
            // Rows that take back dead letters leave without a trace.
            if !self.outs.is_empty() {
                break;
            }
        }
        Ok(self.outs.pop_front())
    }
}

/// How long whoever failed the row asked for.
fn pause_of(outcome: &Outcome) -> Option<Duration> {
    if let Outcome::Failed { retry_after, .. } = outcome { *retry_after } else { None }
}
