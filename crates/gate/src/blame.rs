//! Whose fault it is when a call fails as calls of a server that is down do: the server's, or that of a row in it.
//!
//! A broken connection or a 500 says nothing by itself: rows wait until the server is up again, for hours if need be. But a
//! row of which the server makes one each time would wait for ever. The two differ in what becomes of other calls: while a
//! server is down nobody is answered. So each failure of a row is weighed by what became of the calls since its last failure.
//! If `answered` of them were answered and `down` failed, a row at random would have failed with probability
//! `down / (answered + down)`; the logarithms are added up, as in Wald's sequential test, and a row is at fault when
//! chance would explain it once in a million. A server of which half is broken needs 20 failures of a row for that, one that
//! answers everybody else three.

/// A row is at fault when chance explains its failures once in so many.
const ENOUGH: f64 = 1e6;
/// No single failure weighs more than that a hundredth of the others failed: it may be the first of many.
const FAILURE_MAX: f64 = 100.0;
/// From here on a row is suspicious: its failures weigh something although nobody was answered since the last, if nobody is left
/// to be. That one call of five was answered between two failures of a row makes so much.
const SUSPICIOUS: f64 = 1.25;

/// What a failure of such a row weighs then: that a server that answered others would answer three of four.
const UNKNOWN: f64 = 4.0;
/// A call fails more often than this before it is cut although nobody was answered: an outage is over by then, or a long one.
const UNSEEN: u32 = 5;

/// How the calls of a model ended so far, as far as it says whether the model was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Calls answered, with rows or with errors of rows.
    pub answered: u64,
    /// Calls that ended as those of a server that is down.
    pub down: u64,
}

/// What the failures of one row add up to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Suspicion {
    failures: u32,
    /// Calls when it failed last.
    last: Tally,
    /// The natural logarithm of one over the probability that all this is chance.
    weight: f64,
}

/// Who was in the call that failed, and who else could tell of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Company {
    /// The row was asked about with no other.
    pub alone: bool,
    /// Nobody is left of whom the server would show that it is up: no other call is in flight or about to be. For a row alone,
    /// all others that failed are [suspicious](Suspicion::is_suspicious); for several, it is their turn to be cut.
    pub last: bool,
}

/// What a failure comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// As far as one can tell the server is down.
    Server,
    /// One of the rows of the call may be at fault: ask about fewer of them at a time.
    Call,
    /// The row: the server answers others and not this one.
    Row,
}

// === impl Suspicion ===

impl Suspicion {
    /// The row failed once more, in `company`; `now` has the calls up to this one, itself included.
    ///
    /// A row in a call with others is never at fault: the fault may be theirs.
    pub fn on_failure(&mut self, now: Tally, company: Company) -> Blame {
        let last = std::mem::replace(&mut self.last, now);
        self.failures += 1;
        if self.failures == 1 {
            return Blame::Server;
        }
        let (answered, down) = (now.answered.saturating_sub(last.answered), now.down.saturating_sub(last.down));
        let weight = (answered as f64 / down.max(1) as f64).ln_1p();
        if !company.alone {
            // One of them is likely at fault: enough to be suspicious, and no more.
            self.weight = self.weight.max(weight.min(SUSPICIOUS.ln()));
            let unseen = company.last && self.failures > UNSEEN;
            return if answered > 0 || unseen { Blame::Call } else { Blame::Server };
        }
        self.weight += match answered {
            0 if company.last && self.is_suspicious() => UNKNOWN.ln(),
            _ => weight.min(FAILURE_MAX.ln()),
        };
        if self.weight >= ENOUGH.ln() { Blame::Row } else { Blame::Server }
    }

    /// Whether others were answered while it failed, as far as one can tell.
    pub fn is_suspicious(&self) -> bool {
        self.weight >= SUSPICIOUS.ln()
    }

    /// How often it failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: Company = Company { alone: true, last: false };
    const LAST: Company = Company { alone: true, last: true };
    const TOGETHER: Company = Company { alone: false, last: false };

    /// Failures of a row until it is at fault, if between two of them `answered` calls are answered and `down` fail; 1,000 at
    /// most.
    fn failures(answered: u64, down: u64, company: Company) -> u32 {
        let (mut suspicion, mut now) = (Suspicion::default(), Tally::default());
        for _ in 0..1000 {
            now = Tally { answered: now.answered + answered, down: now.down + down + 1 };
            if suspicion.on_failure(now, company) == Blame::Row {
                break;
            }
        }
        suspicion.failures()
    }

    #[test]
    fn a_row_is_at_fault_the_sooner_the_more_others_are_answered() {
        assert_eq!(failures(500, 0, ALONE), 4, "the first failure weighs nothing");
        assert_eq!(failures(10, 0, ALONE), 7);
        assert_eq!(failures(1, 0, ALONE), 21, "every other call fails");
        assert_eq!(failures(1, 9, ALONE), 146, "nine of ten fail");
    }

    #[test]
    fn while_nobody_is_answered_it_is_the_server() {
        assert_eq!(failures(0, 0, ALONE), 1000);
        assert_eq!(
            failures(0, 0, LAST),
            1000,
            "a row that is alone from the beginning may stand before a server that is down"
        );
        assert_eq!(failures(0, 20, ALONE), 1000);
    }

    #[test]
    fn the_last_rows_of_many_that_were_answered_do_not_wait_for_ever() {
        let (mut suspicion, mut now) = (Suspicion::default(), Tally { answered: 0, down: 1 });
        suspicion.on_failure(now, LAST);
        now = Tally { answered: 200, down: 2 };
        assert_eq!(suspicion.on_failure(now, LAST), Blame::Server);
        while suspicion.on_failure(Tally { down: now.down + 1, ..now }, LAST) == Blame::Server {
            now.down += 1;
        }
        assert_eq!(suspicion.failures(), 9);
    }

    #[test]
    fn an_outage_after_a_failure_by_chance_is_no_rows_fault() {
        let mut suspicion = Suspicion::default();
        suspicion.on_failure(Tally { answered: 10, down: 1 }, ALONE);
        let blames = (0..1000).map(|down| suspicion.on_failure(Tally { answered: 1000, down: 64 * (down + 1) }, ALONE));
        assert!(blames.into_iter().all(|blame| blame == Blame::Server));
    }

    #[test]
    fn a_call_is_cut_once_others_were_answered_and_its_rows_are_not_at_fault() {
        let mut suspicion = Suspicion::default();
        let mut on = |answered, down, company| suspicion.on_failure(Tally { answered, down }, company);
        assert_eq!(on(0, 1, TOGETHER), Blame::Server);
        assert_eq!(on(0, 2, TOGETHER), Blame::Server, "nobody was answered");
        assert_eq!(on(900, 3, TOGETHER), Blame::Call);
        let mut last = || on(900, 4, Company { last: true, ..TOGETHER });
        assert_eq!([last(), last()], [Blame::Server; 2]);
        assert_eq!(last(), Blame::Call, "nobody else is left to be answered");
        assert_eq!(suspicion.weight, SUSPICIOUS.ln());
    }
}
