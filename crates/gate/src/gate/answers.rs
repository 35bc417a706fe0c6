//! From the end of a call to what becomes of its rows: answered, split, tried again, or given up.

use std::time::Duration;

use super::timers::What;
use super::{Action, Bug, CallId, Gate, Outcome, Place, RowId};
use crate::fallback::Why;
use crate::limiter::Class;
use crate::retry::{Failure, Fault, Spent};

/// Rows that wait for the budget ask again after at least this long.
const BUDGET_PAUSE: Duration = Duration::from_millis(10);

/// What is left of a call whose permit is back.
struct Ended {
    rows: Vec<RowId>,
    twin: Option<CallId>,
    asks: bool,
}

impl<T: Clone, V> Gate<T, V> {
    pub(super) fn answered(&mut self, id: CallId, outcomes: Vec<Result<V, Failure>>, actions: &mut Vec<Action<T, V>>) {
        let Some(call) = self.calls.get(id.0) else { return };
        if call.rows.len() != outcomes.len() {
            let reason = format!("{} answers for {} rows", outcomes.len(), call.rows.len());
            return self.failed(id, Failure::new(Fault::Data, reason), actions);
        }
        if call.abandoned {
            return self.release(id);
        }
        let worst = outcomes.iter().all(Result::is_err).then(|| outcomes.first()?.as_ref().err());
        let class = worst.flatten().map_or(Class::Answered, |failure| failure.fault.class());
        let Some(call) = self.end(id, class) else { return };
        self.drop_loser(call.twin, actions);
        let mut again: Vec<(Failure, Vec<RowId>)> = Vec::new();
        for (row, outcome) in call.rows.into_iter().zip(outcomes) {
            match outcome {
                Ok(value) => self.settle(row, Outcome::Answered(value), actions),
                Err(failure) => match again.iter_mut().find(|(other, _)| other.fault == failure.fault) {
                    Some((_, rows)) => rows.push(row),
                    None => again.push((failure, vec![row])),
                },
            }
        }
        for (failure, rows) in again {
            let rows = self.unsettled(rows);
            self.try_again(rows, &failure, call.asks, actions);
        }
    }

    pub(super) fn failed(&mut self, id: CallId, failure: Failure, actions: &mut Vec<Action<T, V>>) {
        match self.calls.get(id.0) {
            None => return,
            Some(call) if call.abandoned => return self.release(id),
            Some(_) => {}
        }
        let Some(call) = self.end(id, failure.fault.class()) else { return };
        if let Some(twin) = call.twin {
            return self.leave_to(twin, call.rows);
        }
        self.cut_or_try_again(call.rows, &failure, call.asks, actions);
    }

    pub(super) fn timed_out(&mut self, id: CallId, actions: &mut Vec<Action<T, V>>) {
        let Some(call) = self.calls.get(id.0).filter(|call| !call.abandoned) else { return };
        let (rows, twin, asks) = (call.rows.clone(), call.twin, call.asks);
        let waited = self.now.saturating_sub(call.permit.sent());
        self.counts.timed_out += 1;
        self.abandon(id, Class::Timeout, actions);
        if let Some(twin) = twin {
            return self.leave_to(twin, rows);
        }
        let failure = Failure::new(Fault::Timeout, format!("no answer within {} ms", waited.as_millis()));
        self.cut_or_try_again(rows, &failure, asks, actions);
    }

    /// Nobody waits for the call any more: its permit is back at once where cancelling frees the backend, and otherwise
    /// when it answers or after two more objectives.
    pub(super) fn abandon(&mut self, id: CallId, class: Class, actions: &mut Vec<Action<T, V>>) {
        actions.push(Action::Cancel { call: id });
        if self.settings.cancel_frees {
            self.end(id, class);
            return;
        }
        let Some(call) = self.calls.get_mut(id.0) else { return };
        call.abandoned = true;
        let (left, twin) = (std::mem::take(&mut call.left), call.twin);
        let (replica, sent) = (call.replica, call.permit.sent());
        self.replicas.get_mut(replica).permits.report(&call.permit, class, self.now);
        self.replicas.on_end(replica, sent, self.now, class);
        if !self.settings.has(Bug::PermitLeaks) {
            let at = self.now.saturating_add(self.settings.deadlines.attempt_max());
            self.timers.set(at, What::Release(id));
        }
        self.hand_over_keys(left, twin);
    }

    /// The permit of an abandoned call is back.
    pub(super) fn release(&mut self, id: CallId) {
        if self.calls.get(id.0).is_some_and(|call| call.abandoned)
            && let Some(call) = self.calls.remove(id.0)
        {
            self.quota.give_back(call.permit.size(), true);
            self.replicas.get_mut(call.replica).permits.release(call.permit, self.now);
        }
    }

    /// Cancels the other copy of a hedged call that is over. Its permit is back at once: a hedge is small change.
    pub(super) fn drop_loser(&mut self, loser: Option<CallId>, actions: &mut Vec<Action<T, V>>) {
        let Some(loser) = loser.filter(|loser| self.calls.get(loser.0).is_some_and(|call| !call.abandoned)) else {
            return;
        };
        if !self.settings.has(Bug::LoserForgotten) {
            actions.push(Action::Cancel { call: loser });
            self.end(loser, Class::Cancelled);
        }
    }

    /// A row with its outcome left the call, if the call is not over; without rows the call is abandoned.
    pub(super) fn row_left(
        &mut self,
        id: CallId,
        key: Option<(u64, u64)>,
        class: Class,
        actions: &mut Vec<Action<T, V>>,
    ) {
        let Some(call) = self.calls.get_mut(id.0).filter(|call| !call.abandoned) else { return self.free_keys(key) };
        call.left.extend(key);
        call.live = call.live.saturating_sub(1);
        if call.live > 0 {
            return;
        }
        let twin = call.twin;
        self.abandon(id, class, actions);
        self.drop_loser(twin, actions);
    }

    /// The call is over and its permit back.
    fn end(&mut self, id: CallId, class: Class) -> Option<Ended> {
        let call = self.calls.remove(id.0)?;
        let sent = call.permit.sent();
        if matches!(class, Class::Answered | Class::Timeout) {
            self.hedge.on_end(self.now.saturating_sub(sent));
        }
        self.quota.give_back(call.permit.size(), class.may_have_worked());
        self.replicas.get_mut(call.replica).permits.give_back(call.permit, class, self.now);
        self.replicas.on_end(call.replica, sent, self.now, class);
        self.hand_over_keys(call.left, call.twin);
        Some(Ended { rows: call.rows, twin: call.twin, asks: call.asks })
    }

    /// A call is over: the keys of rows that left it are free, unless another copy is still out.
    fn hand_over_keys(&mut self, left: Vec<(u64, u64)>, twin: Option<CallId>) {
        match twin.and_then(|twin| self.calls.get_mut(twin.0)).filter(|twin| !twin.abandoned) {
            Some(twin) => twin.left.extend(left),
            None => self.free_keys(left),
        }
    }

    pub(super) fn free_keys(&mut self, rows: impl IntoIterator<Item = (u64, u64)>) {
        rows.into_iter().for_each(|(key, seq)| self.batcher.done(key, seq));
    }

    /// One copy failed, the other is still out: it has the rows now.
    fn leave_to(&mut self, twin: CallId, rows: Vec<RowId>) {
        let mut live = 0;
        for row in rows {
            if let Some(held) = self.rows.get_mut(row.0).filter(|held| matches!(held.place, Place::Sent(_))) {
                held.place = Place::Sent(twin);
                live += 1;
            }
        }
        if let Some(call) = self.calls.get_mut(twin.0) {
            (call.twin, call.live) = (None, live);
        }
    }

    fn unsettled(&self, mut rows: Vec<RowId>) -> Vec<RowId> {
        rows.retain(|row| self.rows.get(row.0).is_some_and(|held| matches!(held.place, Place::Sent(_))));
        rows
    }

    /// A call failed as a whole: halves where one row may be at fault or fewer may do, and the same again otherwise.
    fn cut_or_try_again(
        &mut self,
        mut rows: Vec<RowId>,
        failure: &Failure,
        asks: bool,
        actions: &mut Vec<Action<T, V>>,
    ) {
        // A row that is left alone because others got their outcome meanwhile is not alone at fault.
        let alone = rows.len() < 2;
        rows = self.unsettled(rows);
        if rows.is_empty() {
            return;
        }
        let attempts = 1 + self.failures(&rows);
        if alone || !failure.fault.splits(attempts, self.settings.retry.idempotent) {
            return self.try_again(rows, failure, asks, actions);
        }
        let second = rows.split_off(rows.len().div_ceil(2));
        if failure.fault == Fault::Timeout {
            self.try_again(rows, failure, asks, actions);
            return self.try_again(second, failure, asks, actions);
        }
        self.counts.split += 1;
        for half in [rows, second].into_iter().filter(|half| !half.is_empty()) {
            for row in &half {
                if let Some(held) = self.rows.get_mut(row.0) {
                    (held.split, held.place) = (true, Place::Pausing);
                }
            }
            self.requeue(half);
            if self.settings.has(Bug::HalfLost) {
                return;
            }
        }
    }

    /// Pauses before another attempt, or gives up: the failure is final, attempts are used up, or the budget is spent.
    fn try_again(&mut self, rows: Vec<RowId>, failure: &Failure, asks: bool, actions: &mut Vec<Action<T, V>>) {
        let retry = &self.settings.retry;
        let (attempts_max, backoff, spent) = (retry.attempts_max, retry.backoff, retry.spent);
        let retryable = failure.fault.is_retryable(retry.idempotent) || self.settings.has(Bug::UnsafeRetry);
        let mut again = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(held) = self.rows.get_mut(row.0) else { continue };
            held.failures += u32::from(!asks);
            let at_fault = failure.fault == Fault::Died && held.split;
            let used_up = held.failures >= attempts_max && !self.settings.has(Bug::AttemptsIgnored);
            if retryable && !at_fault && !used_up {
                held.place = Place::Pausing;
                again.push(row);
            } else {
                let why = Why::Failed { fault: failure.fault, reason: failure.reason.clone() };
                self.refuse(row, why, actions);
            }
        }
        if again.is_empty() {
            return;
        }
        // What a half-open breaker asks with is no retry: the breaker itself says how often.
        let paid = asks || self.budget.try_spend(self.now) || self.settings.has(Bug::BudgetIgnored);
        self.counts.retried += u64::from(paid && !asks);
        if !paid && spent == Spent::Fail {
            for row in again {
                let why = Why::BudgetSpent { fault: failure.fault, reason: failure.reason.clone() };
                self.refuse(row, why, actions);
            }
            return;
        }
        self.free_keys_too_early(&again);
        let failures = self.failures(&again);
        let pause = backoff.pause(failures, failure.retry_after, &mut self.chance);
        self.timers.set(self.now.saturating_add(pause), What::Retry { rows: again, paid });
    }

    pub(super) fn pause_over(&mut self, mut rows: Vec<RowId>, paid: bool) {
        rows.retain(|row| self.rows.get(row.0).is_some_and(|held| held.place == Place::Pausing));
        if rows.is_empty() {
            return;
        }
        if !paid {
            if !self.budget.try_spend(self.now) {
                let failures = self.failures(&rows);
                let pause = self.settings.retry.backoff.pause(failures, None, &mut self.chance).max(BUDGET_PAUSE);
                self.timers.set(self.now.saturating_add(pause), What::Retry { rows, paid });
                return;
            }
            self.counts.retried += 1;
        }
        self.requeue(rows);
    }

    fn requeue(&mut self, rows: Vec<RowId>) {
        let mut entries = Vec::with_capacity(rows.len());
        for id in rows {
            let Some(held) = self.rows.get_mut(id.0) else { continue };
            held.place = Place::Queued;
            self.backlog.enqueue(id, held.row.bytes, held.row.priority, held.row.deadline);
            entries.push(held.entry(id));
        }
        self.batcher.retry(entries, self.now);
    }

    /// How often the unluckiest of `rows` failed.
    fn failures(&self, rows: &[RowId]) -> u32 {
        rows.iter().filter_map(|row| self.rows.get(row.0)).map(|held| held.failures).max().unwrap_or(0)
    }

    /// A planted bug: rows of a key go on while an earlier one waits for its retry.
    fn free_keys_too_early(&mut self, rows: &[RowId]) {
        if self.settings.has(Bug::KeyFreedByFailure) {
            for held in rows.iter().filter_map(|row| self.rows.get(row.0)) {
                held.row.key.into_iter().for_each(|key| self.batcher.done(key, held.seq));
            }
        }
    }
}
