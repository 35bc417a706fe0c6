//! What follows from a row's outcome, and the rows that wait to be sent again.
//!
//! Two ways to fail: a remote model that is down or full did no work, so its rows come back as often as it takes and no try
//! is counted; everything else counts as a try of each row, and is paid for where the model may have worked on it. Where each
//! row has a server of its own, nothing is paid for: one server's trouble must not spend what all rows share. A row that fails
//! each time while others are answered is at fault although the model seems to be down: see [`blaming`](super::blaming).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use forebay_core::time::Instant;
use forebay_core::{Error, Kind};
use forebay_gate::batcher::Entry as Queued;
use forebay_gate::blame::Blame;
use forebay_inference::request::Outcome;

use super::Site;

/// Doublings of the pause after refusals in a row.
const REFUSALS_MAX: u32 = 16;

/// Rows that are sent again together, and whether that has to be paid for.
type Group = (Vec<Queued<u64>>, bool);

/// What to do with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This outcome is the row's last.
    Final,
    /// The model did nothing: send it again when there is room.
    Refused {
        /// What the model asked for.
        retry_after: Option<Duration>,
    },
    /// One of those that were asked together is at fault, or they were too many: ask each half, until the one is alone.
    Halve,
    /// A try that failed.
    Failed,
    /// No row would be answered, because what is declared of the model is wrong: the job stops, and the row stays.
    Stop,
}

/// Rows of one call that the model refused.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// Whether there was any, even one that nobody waits for any more.
    pub any: bool,
    pub rows: Vec<Queued<u64>>,
    pub retry_after: Option<Duration>,
    /// As far as one can tell of one of the rows, none is at fault.
    whole: bool,
}

/// Rows that wait before they are sent again, by when their pause ends.
#[derive(Debug, Default)]
pub(super) struct Later {
    waiting: BTreeMap<Instant, VecDeque<Group>>,
    refusals: u32,
    /// Since when the model refuses every call, and when it may be tried again.
    down: Option<(Instant, Instant)>,
}

/// What follows from `outcome` of a row; `alone` if it was asked for with no other row.
pub(super) fn verdict(outcome: &Outcome, site: Site, alone: bool) -> Verdict {
    let Outcome::Failed { kind, retry_after, final_, together, .. } = outcome else { return Verdict::Final };
    // Who asks for one row may be told what became of the call of somebody else, who asked for it with others.
    let (remote, together) = (site != Site::Here, *together || !alone);
    match kind {
        // Asked to be left alone with these rows for good. A call that can be cut is cut all the same: smaller is another.
        kind if *final_ && kind.is_retryable() && *kind != Kind::Exhausted => Verdict::Final,
        Kind::Overload | Kind::Unavailable if site == Site::Server => Verdict::Refused { retry_after: *retry_after },
        Kind::Data | Kind::Exhausted if remote && together => Verdict::Halve,
        // A wrong address or credential, or a model that cannot be loaded, is nobody's row: as dead letters they would all be
        // lost.
        Kind::Invalid => Verdict::Stop,
        // A single row does not get smaller.
        Kind::Exhausted if remote => Verdict::Final,
        // The model said it of this row, not of those that it was asked with.
        Kind::Data if *final_ => Verdict::Final,
        Kind::Data if !alone => Verdict::Failed,
        kind if kind.is_retryable() => Verdict::Failed,
        _ => Verdict::Final,
    }
}

/// The error that stops a job whose model refuses everybody.
pub(super) fn wrong_settings(outcome: &Outcome) -> Error {
    let reason = if let Outcome::Failed { reason, .. } = outcome { reason.as_str() } else { "" };
    let advice =
        "mend the model, or the url, name or credential that the job gives of it, and go on with --resume latest";
    Error::new(Kind::Invalid, "ask model").with("to do", advice).source(reason.to_string())
}

// === impl Refused ===

impl Refused {
    pub fn add(&mut self, row: Option<Queued<u64>>, retry_after: Option<Duration>, blame: Blame) {
        self.any = true;
        self.whole |= row.is_some() && blame == Blame::Server;
        self.rows.extend(row);
        self.retry_after = self.retry_after.max(retry_after);
    }

    /// The rows that are sent again together; none is empty.
    pub fn parts(mut self) -> impl Iterator<Item = Vec<Queued<u64>>> {
        let first = if self.whole { self.rows.len() } else { self.rows.len() / 2 };
        let second = self.rows.split_off(first);
        [self.rows, second].into_iter().filter(|rows| !rows.is_empty())
    }
}

// === impl Later ===

impl Later {
    /// Keeps rows until `at`; `worked` if sending them again has to be paid for.
    pub fn push(&mut self, at: Instant, rows: Vec<Queued<u64>>, worked: bool) {
        self.waiting.entry(at).or_default().push_back((rows, worked));
    }

    /// Rows whose pause is over at `now`, those that wait longest first.
    pub fn take(&mut self, now: Instant) -> Option<Group> {
        let mut first = self.waiting.first_entry().filter(|first| *first.key() <= now)?;
        let rows = first.get_mut().pop_front();
        if first.get().is_empty() {
            first.remove();
        }
        rows
    }

    /// When the first pause ends.
    pub fn next(&self) -> Option<Instant> {
        self.waiting.keys().next().copied()
    }

    /// The rows that wait, those together that are sent again together.
    pub fn groups(&self) -> impl Iterator<Item = &[Queued<u64>]> {
        self.waiting.values().flatten().map(|(rows, _)| rows.as_slice())
    }

    /// The rows that wait.
    pub fn items(&self) -> impl Iterator<Item = u64> {
        self.waiting.values().flatten().flat_map(|(rows, _)| rows.iter().map(|row| row.item))
    }

    /// One more call was refused; answers how many since one was not.
    pub fn count_refusal(&mut self) -> u32 {
        self.refusals = (self.refusals + 1).min(REFUSALS_MAX);
        self.refusals
    }

    /// A call was refused at `now`; the next should not be made before `probe`.
    pub fn refused(&mut self, now: Instant, probe: Instant) {
        self.down = Some((self.down.map_or(now, |(since, _)| since), probe));
    }

    /// Since when the model refuses every call.
    pub fn down_since(&self) -> Option<Instant> {
        self.down.map(|(since, _)| since)
    }

    /// Whether the model has refused every call for `patience`, and is not to be tried again yet.
    pub fn is_hopeless(&self, now: Instant, patience: Duration) -> bool {
        self.down.is_some_and(|(since, probe)| now.since(since) >= patience && now < probe)
    }

    /// All rows that wait because the model refused them.
    pub fn take_refused(&mut self) -> Vec<Queued<u64>> {
        let mut taken = Vec::new();
        for groups in self.waiting.values_mut() {
            let (refused, others) = std::mem::take(groups).into_iter().partition(|(_, worked): &Group| !*worked);
            *groups = others;
            let refused: VecDeque<Group> = refused;
            taken.extend(refused.into_iter().flat_map(|(rows, _)| rows));
        }
        self.waiting.retain(|_, groups| !groups.is_empty());
        taken
    }

    /// Whether rows wait because the model refused them.
    pub fn has_refused(&self) -> bool {
        self.waiting.values().flatten().any(|(_, worked)| !worked)
    }

    /// A call was not refused.
    pub fn room_again(&mut self) {
        self.refusals = 0;
        self.down = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: Kind) -> Outcome {
        Outcome::Failed { kind, reason: String::new(), retry_after: None, final_: false, together: false }
    }

    #[test]
    fn a_server_that_forbids_another_try_is_heeded() {
        for (kind, expected) in [
            (Kind::Unavailable, Verdict::Final),
            (Kind::Overload, Verdict::Final),
            (Kind::Timeout, Verdict::Final),
            (Kind::Exhausted, Verdict::Halve),
            (Kind::Data, Verdict::Halve),
            (Kind::Invalid, Verdict::Stop),
        ] {
            let outcome =
                Outcome::Failed { kind, reason: String::new(), retry_after: None, final_: true, together: false };
            assert_eq!(verdict(&outcome, Site::Server, false), expected, "{kind:?}");
        }
    }

    #[test]
    fn what_was_said_of_a_call_with_others_is_not_said_of_this_row() {
        for kind in [Kind::Data, Kind::Exhausted] {
            let reason = String::new();
            let outcome = Outcome::Failed { kind, reason, retry_after: None, final_: true, together: true };
            assert_eq!(verdict(&outcome, Site::Server, true), Verdict::Halve, "{kind:?}");
        }
    }

    #[test]
    fn a_row_that_a_local_model_refused_by_itself_is_not_asked_again() {
        let reason = String::new();
        let outcome = Outcome::Failed { kind: Kind::Data, reason, retry_after: None, final_: true, together: false };
        assert_eq!(verdict(&outcome, Site::Here, false), Verdict::Final);
    }

    #[test]
    fn verdicts() {
        let refused = Verdict::Refused { retry_after: None };
        for (kind, site, alone, expected) in [
            (Kind::Overload, Site::Server, false, refused),
            (Kind::Unavailable, Site::Server, true, refused),
            (Kind::Unavailable, Site::Here, true, Verdict::Failed),
            (Kind::Timeout, Site::Server, true, Verdict::Failed),
            (Kind::Data, Site::Server, false, Verdict::Halve),
            (Kind::Data, Site::Here, false, Verdict::Failed),
            (Kind::Data, Site::Server, true, Verdict::Final),
            (Kind::Exhausted, Site::Server, false, Verdict::Halve),
            (Kind::Exhausted, Site::Server, true, Verdict::Final),
            (Kind::Exhausted, Site::Here, true, Verdict::Failed),
            (Kind::Invalid, Site::Server, false, Verdict::Stop),
            (Kind::Invalid, Site::Here, false, Verdict::Stop),
            (Kind::Overload, Site::ManyServers, true, Verdict::Failed),
            (Kind::Unavailable, Site::ManyServers, true, Verdict::Failed),
            (Kind::Timeout, Site::ManyServers, true, Verdict::Failed),
            (Kind::Data, Site::ManyServers, true, Verdict::Final),
            (Kind::Internal, Site::Here, false, Verdict::Final),
        ] {
            assert_eq!(verdict(&failed(kind), site, alone), expected, "{kind:?} {site:?} alone {alone}");
        }
    }

    #[test]
    fn rows_come_back_when_their_pause_is_over_in_order() {
        let mut later = Later::default();
        let rows = |number| vec![Queued::new(number, number, 1)];
        later.push(Instant(20), rows(1), true);
        later.push(Instant(10), rows(2), false);
        later.push(Instant(20), rows(3), false);
        assert_eq!(later.next(), Some(Instant(10)));
        assert_eq!(later.items().collect::<Vec<_>>(), [2, 1, 3]);
        let mut take = |now| later.take(Instant(now)).map(|(rows, worked)| (rows[0].item, worked));
        assert_eq!([take(9), take(10), take(19)], [None, Some((2, false)), None]);
        assert_eq!([take(25), take(25), take(25)], [Some((1, true)), Some((3, false)), None]);
    }

    #[test]
    fn a_model_that_refuses_everything_for_long_is_hopeless_until_it_is_tried_again() {
        let mut later = Later::default();
        let rows = |number| vec![Queued::new(number, number, 1)];
        let patience = Duration::from_micros(10);
        later.refused(Instant(5), Instant(9));
        later.push(Instant(9), rows(1), false);
        later.push(Instant(9), rows(2), true);
        later.refused(Instant(12), Instant(20));
        assert_eq!(later.down_since(), Some(Instant(5)));
        assert!(!later.is_hopeless(Instant(14), patience));
        assert!(later.is_hopeless(Instant(15), patience));
        assert!(!later.is_hopeless(Instant(20), patience), "one call may find out");
        assert_eq!(later.take_refused().iter().map(|row| row.item).collect::<Vec<_>>(), [1]);
        assert!(!later.has_refused());
        assert_eq!(later.items().collect::<Vec<_>>(), [2], "what failed after work stays");
        later.room_again();
        assert_eq!(later.down_since(), None);
    }
}
