//! From rows that wait to calls: who goes next, in which batch, to which replica.

use std::time::Duration;

use super::timers::What;
use super::{Action, Bug, Call, CallId, Gate, Place, ReplicaId, RowId};
use crate::batcher::{Cause, Formed};
use crate::deadline::is_expired;
use crate::fallback::Why;
use crate::permits::{Permit, Refused, Size};
use crate::replicas::Choice;

impl<T: Clone, V> Gate<T, V> {
    /// Sends calls while there are batches and permits.
    pub(super) fn pump(&mut self, actions: &mut Vec<Action<T, V>>) {
        self.blocked = None;
        let all = self.replicas.iter().map(|replica| replica.permits.knobs());
        if let Some((rows_max, linger)) =
            all.map(|knobs| (knobs.rows_max, knobs.linger)).reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)))
        {
            self.batcher.set_knobs(rows_max.min(self.settings.batcher.rows_max), seconds(linger));
        }
        loop {
            self.fill();
            if !self.batcher.is_ready(self.now) {
                return;
            }
            let replica = match self.replicas.choose(self.now, &mut self.chance) {
                Choice::Replica(replica) => replica,
                Choice::None(at) => {
                    self.blocked = at;
                    return;
                }
            };
            self.follow(replica);
            // Its linger may be longer than that of others.
            let Some(formed) = self.batcher.take(self.now) else { return };
            if !self.send(formed, replica, actions) {
                return;
            }
        }
    }

    /// Moves rows from the callers' queues into request batches until one is complete: the others keep their place in
    /// the fair share until there is a permit for them.
    pub(super) fn fill(&mut self) {
        while !self.batcher.has_formed() {
            let Some(id) = self.share.pop() else { return };
            if let Some(held) = self.rows.get(id.0).filter(|held| held.place == Place::Queued) {
                self.batcher.push(held.entry(id), held.offered);
            }
        }
    }

    /// The batcher forms batches for `replica` from now on.
    fn follow(&mut self, replica: ReplicaId) {
        let permits = &self.replicas.get(replica).permits;
        let knobs = permits.knobs();
        self.batcher.set_knobs(knobs.rows_max.min(self.settings.batcher.rows_max), seconds(knobs.linger));
        self.batcher.set_latency(permits.latency_mean().unwrap_or(Duration::ZERO));
    }

    /// Sends what of `formed` is worth it; false, and the batch kept, if there is no permit for it.
    fn send(&mut self, mut formed: Formed<RowId>, replica: ReplicaId, actions: &mut Vec<Action<T, V>>) -> bool {
        self.drop_pointless(&mut formed, replica, actions);
        if formed.rows.is_empty() {
            return true;
        }
        let permit = match self.acquire(formed.size(), replica) {
            Ok(permit) => permit,
            Err(refused) => {
                self.blocked = if let Refused::Until(at) = refused { Some(at) } else { None };
                self.batcher.put_back(formed);
                return false;
            }
        };
        let Some(asks) = self.replicas.admit(replica, self.now) else {
            self.quota.give_back(permit.size(), false);
            self.replicas.get_mut(replica).permits.release(permit, self.now);
            self.blocked = self.replicas.asks_at().filter(|at| *at > self.now);
            self.batcher.put_back(formed);
            return false;
        };
        let call = self.dispatch(&formed, replica, permit, asks, actions);
        if formed.cause != Cause::Retry {
            self.counts.first += 1;
            self.budget.earn();
            if let Some(wait) = self.hedge.on_first() {
                self.timers.set(self.now.saturating_add(wait), What::Hedge(call));
            }
        }
        true
    }

    /// A permit of `replica`, within what all replicas together may be asked for.
    fn acquire(&mut self, size: Size, replica: ReplicaId) -> Result<Permit, Refused> {
        self.quota.try_take(size, self.now)?;
        let permit = self.replicas.get_mut(replica).permits.try_acquire(size, self.now);
        if permit.is_err() {
            self.quota.give_back(size, false);
        }
        permit
    }

    /// Takes rows out of `formed` that have their outcome already or can no longer be answered in time.
    fn drop_pointless(&mut self, formed: &mut Formed<RowId>, replica: ReplicaId, actions: &mut Vec<Action<T, V>>) {
        // With nothing in flight a row is sent however slow the last call was: nobody would ever learn otherwise.
        let permits = &self.replicas.get(replica).permits;
        let idle = permits.calls() == 0;
        let latency = permits.latency_mean().filter(|_| !idle).unwrap_or(Duration::ZERO);
        let (mut gone, mut expired) = (Vec::new(), Vec::new());
        formed.rows.retain(|row| {
            let held = self.rows.get(row.item.0).filter(|held| held.place == Place::Queued);
            let late = is_expired(row.deadline, latency, self.now) && !self.settings.has(Bug::ExpiredSent);
            match held {
                Some(_) if !late => return true,
                Some(_) => expired.push(row.item),
                None => gone.extend(row.key.map(|key| (key, row.seq))),
            }
            false
        });
        for (key, seq) in gone {
            self.batcher.done(key, seq);
        }
        for row in expired {
            self.refuse(row, Why::Expired, actions);
        }
    }

    fn dispatch(
        &mut self,
        formed: &Formed<RowId>,
        replica: ReplicaId,
        permit: Permit,
        asks: bool,
        actions: &mut Vec<Action<T, V>>,
    ) -> CallId {
        let rows: Vec<RowId> = formed.rows.iter().map(|row| row.item).collect();
        let live = rows.len();
        let call = Call { rows, live, left: Vec::new(), replica, permit, twin: None, abandoned: false, asks };
        let call = CallId(self.calls.insert(call));
        let mut items = Vec::with_capacity(formed.rows.len());
        // The last deadline, not the first: a row that runs out of time leaves the call alone to the others.
        let mut latest = Some(Duration::ZERO);
        for row in &formed.rows {
            let Some(held) = self.rows.get_mut(row.item.0) else { continue };
            held.place = Place::Sent(call);
            held.sent += 1;
            items.push(held.row.item.clone());
            latest = latest.zip(row.deadline).map(|(latest, deadline)| latest.max(deadline));
            self.backlog.dequeue(row.item, row.bytes, held.row.priority, row.deadline);
        }
        let timeout = self.settings.deadlines.timeout(latest, self.now);
        self.timers.set(self.now.saturating_add(timeout), What::Timeout(call));
        actions.push(Action::Send { call, replica, rows: items, timeout });
        call
    }

    /// Sends a second copy of a slow call, if there is one saved and a replica with room.
    pub(super) fn hedge(&mut self, first: CallId, actions: &mut Vec<Action<T, V>>) {
        let Some(call) = self.calls.get(first.0).filter(|call| !call.abandoned && call.twin.is_none() && !call.asks)
        else {
            return;
        };
        let but = call.replica;
        if !self.hedge.may() || call.live < call.rows.len() {
            return;
        }
        let size = call.permit.size();
        let Some(replica) = self.replicas.idlest(but, size.rows, self.now) else { return };
        let Ok(permit) = self.acquire(size, replica) else { return };
        self.hedge.spend();
        self.counts.hedged += 1;
        let Some(call) = self.calls.get(first.0) else { return };
        let rows = call.rows.clone();
        let items = rows.iter().filter_map(|row| Some(self.rows.get(row.0)?.row.item.clone())).collect();
        let (live, left, twin) = (rows.len(), Vec::new(), Some(first));
        let twin = Call { rows, live, left, replica, permit, twin, abandoned: false, asks: false };
        let twin = CallId(self.calls.insert(twin));
        if let Some(call) = self.calls.get_mut(first.0) {
            call.twin = Some(twin);
        }
        let timeout = self.settings.deadlines.attempt_max();
        self.timers.set(self.now.saturating_add(timeout), What::Timeout(twin));
        actions.push(Action::Send { call: twin, replica, rows: items, timeout });
    }
}

/// What a limiter says, as a duration; nonsense is none.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}
