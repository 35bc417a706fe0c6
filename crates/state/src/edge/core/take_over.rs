//! A new attempt takes the edge over: its predecessors are fenced, and what they did not publish is cut off.
//!
//! The claim of the restart epoch comes first, always: until then a predecessor may still publish an epoch that names what
//! would be cut off. [`Claim`] can therefore only be made from a restart that has claimed.

use forebay_core::Kind;
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;

use super::super::position::Claim;
use super::super::protocol::{Action, EdgeMode, Failure, PlantedBug, Ticket};
use super::{EdgeCore, TakeOver, fenced};

// === impl EdgeCore ===

impl EdgeCore {
    pub(super) fn on_take_over(&mut self, ticket: Ticket, claim: Claim, actions: &mut Vec<Action>) {
        let refused = |failure| Action::Tell { ticket, result: Err(failure) };
        if let Some(failure) = &self.failed {
            return actions.push(refused(failure.clone()));
        }
        if claim.attempt <= self.attempt {
            return actions.push(refused(fenced(claim.attempt, self.attempt)));
        }
        self.fence(claim.attempt, actions);
        (self.attempt, self.next_epoch) = (claim.attempt, claim.next_epoch);
        self.cut(claim.base);
        if let Err(failure) = self.check(&claim) {
            return actions.push(refused(failure));
        }
        self.known.take_over(&claim.writers);
        self.take_over = Some(TakeOver::Waiting { ticket, base: claim.base });
    }

    /// Tells everyone of earlier attempts who waits.
    fn fence(&mut self, attempt: u64, actions: &mut Vec<Action>) {
        let flushes = std::mem::take(&mut self.flushes).into_iter().map(|(_, ticket)| ticket);
        let waiting: Vec<Ticket> = flushes.chain(self.take_over.take().map(TakeOver::ticket)).collect();
        let failure = fenced(self.attempt, attempt);
        actions.extend(waiting.into_iter().map(|ticket| Action::Tell { ticket, result: Err(failure.clone()) }));
    }

    /// Forgets what is not written, and under commit-read what no checkpoint up to `base` covers. The disk follows with
    /// the header of the attempt's first segment, which says the same.
    fn cut(&mut self, base: Option<Epoch>) {
        let unwritten = self.pending.first().map_or(u64::MAX, |(sequence, _)| *sequence);
        self.pending.clear();
        let uncovered =
            self.settings.mode == EdgeMode::CommitRead && self.settings.bug != Some(PlantedBug::KeepUnpublishedTail);
        let gone: Vec<u64> = self
            .records
            .values()
            .filter(|record| record.sequence >= unwritten || (uncovered && Some(record.epoch) > base))
            .map(|record| record.sequence)
            .collect();
        for sequence in gone.into_iter().rev() {
            let Some(record) = self.records.remove(&sequence) else { continue };
            self.ends.extend(record.spans.iter().map(|span| (span.group, span.start)));
            self.known.unwritten(&record.spans);
        }
        self.next = self.next.min(unwritten);
    }

    /// Whether the log holds what the restored checkpoint says was written.
    fn check(&self, claim: &Claim) -> Result<(), Failure> {
        let exact = self.settings.mode == EdgeMode::CommitRead
            && self.settings.bug != Some(PlantedBug::KeepUnpublishedTail)
            && self.settings.bug != Some(PlantedBug::AcceptStaleAttempt);
        let mut groups = self.ends.keys().chain(claim.writers.keys()).copied();
        let expected = |group: KeyGroup| claim.writers.get(&group).map_or(0, |state| state.end);
        let wrong = |group: &KeyGroup| {
            let (found, expected) = (self.end(*group), expected(*group));
            found < expected || (exact && found > expected)
        };
        let Some(group) = groups.find(wrong) else { return Ok(()) };
        let place = self.segments.back().map(|last| format!("{} at byte {}", last.file(), last.bytes));
        let chain = format!(
            "key group {} ends at {} in the log (last file {}), the checkpoint says {}",
            group.0,
            self.end(group),
            place.unwrap_or_else(|| "none".into()),
            expected(group),
        );
        Err(Failure { kind: Kind::Corrupt, chain })
    }
}
