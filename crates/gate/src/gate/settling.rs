//! Outcomes: exactly one a row, in the order asked for.

use super::{Action, Bug, Gate, Outcome, Place, RowId};
use crate::breaker::State;
use crate::fallback::Why;
use crate::limiter::Class;

impl<T: Clone, V> Gate<T, V> {
    /// The row has its outcome; it leaves as soon as the order allows. Nothing happens to a row that has one already.
    pub(super) fn settle(&mut self, id: RowId, outcome: Outcome<V>, actions: &mut Vec<Action<T, V>>) {
        let Some(held) = self.rows.get_mut(id.0).filter(|held| held.place != Place::Settled) else { return };
        let was = std::mem::replace(&mut held.place, Place::Settled);
        let class = if matches!(outcome, Outcome::Cancelled) { Class::Cancelled } else { Class::Timeout };
        let (key, seq, row) = (held.row.key, held.seq, &held.row);
        if was == Place::Queued {
            self.backlog.dequeue(id, row.bytes, row.priority, row.deadline);
        }
        if self.queues.is_free(key) || self.settings.has(Bug::OrderForgotten) {
            self.leave(id, outcome, actions);
        } else {
            held.outcome = Some(outcome);
            let rows = &self.rows;
            let is_settled = |row: RowId| rows.get(row.0).is_none_or(|held| held.outcome.is_some());
            let mut leaving = Vec::new();
            while let Some(row) = self.queues.pop(key, is_settled) {
                leaving.push(row);
            }
            for row in leaving {
                if let Some(outcome) = self.rows.get_mut(row.0).and_then(|held| held.outcome.take()) {
                    self.leave(row, outcome, actions);
                }
            }
        }
        let key = key.map(|key| (key, seq));
        match was {
            Place::Sent(call) => self.row_left(call, key, class, actions),
            _ => self.free_keys(key),
        }
    }

    /// The row does not get the model's answer: its next rung, or a plain failure.
    pub(super) fn refuse(&mut self, id: RowId, why: Why, actions: &mut Vec<Action<T, V>>) {
        let Some(held) = self.rows.get(id.0) else { return };
        let (rung, attempts) = (held.row.rung, held.sent);
        let outcome = match (self.settings.ladder.from(rung), why) {
            (Some(to), why) => Outcome::Fallback { rung, to: to.clone(), why, attempts },
            (None, Why::Expired | Why::BreakerOpen) => Outcome::Expired,
            (None, Why::Failed { fault, reason } | Why::BudgetSpent { fault, reason }) => {
                Outcome::Failed { fault, reason, attempts }
            }
        };
        self.settle(id, outcome, actions);
    }

    pub(super) fn cancel(&mut self, id: RowId, actions: &mut Vec<Action<T, V>>) {
        if self.settings.has(Bug::CancelledAnswered)
            && let Some(held) = self.rows.get(id.0).filter(|held| matches!(held.place, Place::Sent(_)))
        {
            let item = held.row.item.clone();
            return actions.push(Action::Settle { row: id, item, outcome: Outcome::Cancelled });
        }
        self.settle(id, Outcome::Cancelled, actions);
    }

    pub(super) fn deadline_passed(&mut self, id: RowId, actions: &mut Vec<Action<T, V>>) {
        if !self.settings.has(Bug::ExpiredSent) {
            self.refuse(id, Why::Expired, actions);
        }
    }

    /// Refuses rows while too many wait, where that is allowed.
    pub(super) fn shed(&mut self, actions: &mut Vec<Action<T, V>>) {
        while let Some(victim) = self.backlog.victim() {
            self.settle(victim, Outcome::Shed, actions);
        }
    }

    /// While the model's breaker is open: rows that would be late by the time it asks again take their fallback now.
    pub(super) fn look_out_of_reach(&mut self, actions: &mut Vec<Action<T, V>>) {
        if !self.settings.ladder.answers() || self.replicas.state(self.now) != State::Open {
            return;
        }
        let until = self.replicas.asks_at();
        if self.looked == until {
            return;
        }
        self.looked = until;
        let waiting = self.rows.iter().filter(|(_, held)| matches!(held.place, Place::Queued | Place::Pausing));
        let late = waiting.filter(|(_, held)| held.row.deadline.is_some() && held.row.deadline < until);
        let late: Vec<RowId> = late.map(|(id, _)| RowId(id)).collect();
        for row in late {
            self.refuse(row, Why::BreakerOpen, actions);
        }
    }

    fn leave(&mut self, id: RowId, outcome: Outcome<V>, actions: &mut Vec<Action<T, V>>) {
        if let Some(held) = self.rows.remove(id.0) {
            self.backlog.settle();
            self.counts.settled += 1;
            actions.push(Action::Settle { row: id, item: held.row.item, outcome });
        }
    }
}
