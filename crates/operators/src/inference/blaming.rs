//! Rows of calls that failed as if the server were down: who of them waits for it, and who is at fault.

use forebay_core::Kind;
use forebay_gate::batcher::Entry as Queued;
use forebay_gate::blame::{Blame, Company};
use forebay_inference::request::Outcome;

use super::Inference;

// === impl Inference ===

impl Inference {
    /// Whose fault it is that `row` got `outcome` from the server of `rung`, in such `company`.
    pub(super) fn blame(&mut self, rung: usize, row: &Queued<u64>, outcome: &Outcome, company: Company) -> Blame {
        let Outcome::Failed { kind: Kind::Unavailable, together, .. } = outcome else { return Blame::Server };
        let company = Company { alone: company.alone && !together, ..company };
        let (now, planted, attempts_max) =
            (self.lane(rung).gate.tally(), self.settings.planted, self.settings.attempts_max);
        let Some(entry) = self.table.get_mut(row.item) else { return Blame::Server };
        let blame = entry.suspicion.on_failure(now, company);
        let tried = entry.suspicion.failures() >= attempts_max;
        match blame {
            Blame::Row if planted.fault_forgotten || !tried => Blame::Server,
            Blame::Server if planted.outage_is_blamed && tried => Blame::Row,
            blame => blame,
        }
    }

    /// Whether nobody is left who could show that the server of `rung` is up, but for the call of `rows`, which just ended.
    ///
    /// Of several calls that could be cut only that of the oldest row is: in an outage hardly any gets smaller.
    pub(super) fn is_last(&self, rung: usize, rows: &[Queued<u64>]) -> bool {
        let lane = self.lane(rung);
        if self.running > 0 || lane.batcher.is_ready(self.since_start()) {
            return false;
        }
        let suspicious = |row: &Queued<u64>| self.table.get(row.item).is_none_or(|row| row.suspicion.is_suspicious());
        let oldest = |rows: &[Queued<u64>]| rows.iter().map(|row| row.item).min();
        match rows.len() {
            0 | 1 => lane.later.groups().flatten().all(suspicious),
            _ => lane.later.groups().all(|group| group.len() < 2 || oldest(group) > oldest(rows)),
        }
    }

    /// The last outcome of a row that is at fault: its failures were tries of it.
    pub(super) fn at_fault(&mut self, row: &Queued<u64>, mut outcome: Outcome) -> (u64, Outcome) {
        let entry = self.table.get_mut(row.item);
        let failures = entry.map_or(0, |entry| {
            entry.attempts = entry.attempts.saturating_add(entry.suspicion.failures());
            entry.suspicion.failures()
        });
        if let Outcome::Failed { reason, .. } = &mut outcome {
            reason.push_str(&format!(" (so {failures} times, while others were answered)"));
        }
        (row.item, outcome)
    }
}
