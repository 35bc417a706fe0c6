//! A world around a gate that may be as unkind as it likes, and writes down every promise that the gate breaks.
//!
//! It answers calls late, twice, wrongly or never, forgets wakes, moves limits and cancels rows. It keeps books of its own:
//! nothing here trusts the gate's counters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::*;
use crate::fallback::{Ladder, Rung};
use crate::hedge::HedgeSettings;
use crate::limiter::{Attempt, Knobs, Load, Seconds};
use crate::retry::{BudgetSettings, Failure, Fault, Spent};
use crate::shed::BacklogSettings;

pub const OBJECTIVE: Duration = Duration::from_millis(100);
pub const BYTES_MAX: usize = 60;

/// How a world is made.
#[derive(Debug, Clone)]
pub struct Make {
    pub order: Order,
    pub idempotent: bool,
    pub cancel_frees: bool,
    pub breakers: bool,
    pub shed: bool,
    pub wait_for_budget: bool,
    pub ladder: bool,
    pub hedge: bool,
    pub replicas: usize,
    pub calls_max: usize,
    pub rows_max: usize,
    pub linger_millis: u64,
    pub planted: Option<Bug>,
}

/// How a call is answered.
#[derive(Debug, Clone, Copy)]
pub enum How {
    Well,
    /// The call fails as a whole.
    Whole(Fault),
    /// Every second row fails.
    Rows(Fault),
    /// Fewer answers than rows.
    Short,
}

/// A limiter that is moved by hand.
#[derive(Clone)]
pub struct Hand(pub Arc<Mutex<Knobs>>);

pub struct World {
    pub make: Make,
    pub gate: Gate<u32, u64>,
    pub now: Duration,
    pub knobs: Vec<Arc<Mutex<Knobs>>>,
    pub rows: Vec<RowBook>,
    pub calls: BTreeMap<CallId, CallBook>,
    pub sent: Vec<CallId>,
    wake: Option<Duration>,
    full: bool,
    first: u32,
    /// Failed calls whose rows were sent again at the budget's cost.
    retried: BTreeSet<CallId>,
    last_settled: BTreeMap<u64, u32>,
    last_sent: BTreeMap<u64, u32>,
    actions: Vec<Action<u32, u64>>,
}

#[derive(Debug, Clone, Default)]
pub struct RowBook {
    pub id: Option<RowId>,
    key: Option<u64>,
    deadline: Option<Duration>,
    bytes: usize,
    pub poison: bool,
    pub outcome: Option<Outcome<u64>>,
    /// It may have been worked on by a call that told nothing.
    touched: bool,
    failures: u32,
    failed_by: Option<CallId>,
    sent: u32,
}

#[derive(Debug, Clone)]
pub struct CallBook {
    pub rows: Vec<u32>,
    pub replica: ReplicaId,
    pub cancelled: bool,
    pub ended: bool,
}

type Broken = Result<(), String>;

pub fn check(holds: bool, what: &str) -> Broken {
    if holds { Ok(()) } else { Err(what.to_string()) }
}

impl Limiter for Hand {
    fn knobs(&self) -> Knobs {
        *self.0.lock().unwrap()
    }
    fn on_end(&mut self, _attempt: &Attempt) {}
    fn on_tick(&mut self, _now: Seconds, _load: Load) {}
}

impl Default for Make {
    fn default() -> Self {
        Self {
            order: Order::Unordered,
            idempotent: true,
            cancel_frees: false,
            breakers: false,
            shed: false,
            wait_for_budget: false,
            ladder: false,
            hedge: false,
            replicas: 1,
            calls_max: 2,
            rows_max: 4,
            linger_millis: 5,
            planted: None,
        }
    }
}

impl Make {
    pub fn settings(&self) -> GateSettings {
        let mut settings = GateSettings::objective(OBJECTIVE);
        settings.batcher.bytes_max = BYTES_MAX;
        settings.batcher.rows_max = usize::MAX;
        settings.order = self.order;
        settings.cancel_frees = self.cancel_frees;
        settings.breakers = self.breakers;
        settings.retry.idempotent = self.idempotent;
        if self.wait_for_budget {
            settings.retry.spent = Spent::Wait;
            settings.retry.budget = BudgetSettings { per_second: 20.0, ..settings.retry.budget };
        }
        if self.ladder {
            settings.ladder = Ladder::new([Rung::Constant("zero".into()), Rung::DeadLetter]);
        }
        if self.hedge {
            settings.hedge = HedgeSettings::ON;
        }
        settings.backlog = BacklogSettings { rows_max: 12, bytes_max: 400, held_max: 64, shed: self.shed };
        settings.planted = self.planted;
        settings
    }

    pub fn world(self) -> Result<World, String> {
        self.clone().world_with(self.settings())
    }

    pub fn world_with(self, settings: GateSettings) -> Result<World, String> {
        let linger = self.linger_millis as f64 / 1e3;
        let knobs = Knobs { calls_max: self.calls_max, rows_max: self.rows_max, linger, pace: f64::INFINITY };
        let knobs: Vec<_> = (0..self.replicas).map(|_| Arc::new(Mutex::new(knobs))).collect();
        let limiters = knobs.iter().map(|knobs| Box::new(Hand(Arc::clone(knobs))) as Box<dyn Limiter>);
        let gate = Gate::new(settings, limiters.collect());
        let mut world = World {
            gate,
            now: Duration::ZERO,
            knobs,
            rows: Vec::new(),
            calls: BTreeMap::new(),
            sent: Vec::new(),
            wake: None,
            full: false,
            first: 0,
            retried: BTreeSet::new(),
            last_settled: BTreeMap::new(),
            last_sent: BTreeMap::new(),
            actions: Vec::new(),
            make: self,
        };
        // Hedges need a percentile, and that needs answers.
        for n in 0..if world.make.hedge { 120 } else { 0 } {
            world.offer(Row::new(0))?;
            // From the hundredth on what takes 10 ms would be hedged.
            world.advance(if n < 90 { 10 } else { 5 })?;
            let call = world.sent.last().copied().unwrap_or(CallId(0));
            world.answer(call, How::Well)?;
        }
        Ok(world)
    }
}

impl World {
    pub fn offer(&mut self, row: Row<u32>) -> Result<u32, String> {
        let number = self.rows.len() as u32;
        self.offer_as(row, number % 13 == 12)?;
        Ok(number)
    }

    pub fn offer_as(&mut self, row: Row<u32>, poison: bool) -> Broken {
        let (number, key, bytes, deadline) = (self.rows.len() as u32, row.key, row.bytes, row.deadline);
        let id = self.gate.offer(Row { item: number, ..row }, self.now);
        self.rows.push(RowBook { id: Some(id), key, bytes, deadline, poison, ..RowBook::default() });
        self.step(Event::Timer)
    }

    pub fn answer(&mut self, call: CallId, how: How) -> Broken {
        let Some(book) = self.calls.get(&call).cloned() else { return Ok(()) };
        let poisoned = book.rows.iter().any(|row| self.rows[*row as usize].poison);
        let live = !book.cancelled && !book.ended;
        let failure = |fault| Failure::new(fault, "said the world");
        let value = |row: &u32| u64::from(*row) * 10;
        let event = match how {
            How::Whole(Fault::Data) | How::Well if poisoned => Event::Failed { call, failure: failure(Fault::Data) },
            How::Whole(Fault::Data) | How::Well => {
                Event::Answered { call, outcomes: book.rows.iter().map(|row| Ok(value(row))).collect() }
            }
            How::Whole(fault) => {
                self.note(call, &book.rows, fault, live);
                Event::Failed { call, failure: failure(fault) }
            }
            How::Rows(fault) => {
                let fails = |row: &u32| row % 2 == 1 || poisoned && self.rows[*row as usize].poison;
                let failing: Vec<u32> = book.rows.iter().copied().filter(|row| fails(row)).collect();
                let fault_of = |row: u32| if self.rows[row as usize].poison { Fault::Data } else { fault };
                let outcome = |row: &u32| match failing.contains(row) {
                    true => Err(failure(fault_of(*row))),
                    false => Ok(value(row)),
                };
                let outcomes = book.rows.iter().map(outcome).collect();
                let failing: Vec<u32> =
                    failing.iter().copied().filter(|row| !self.rows[*row as usize].poison).collect();
                self.note(call, &failing, fault, live);
                Event::Answered { call, outcomes }
            }
            How::Short => {
                // Whoever was alone with that call cannot be told from a bad row.
                if let (true, [row]) = (live, &book.rows[..]) {
                    self.rows[*row as usize].poison = true;
                }
                Event::Answered { call, outcomes: Vec::new() }
            }
        };
        if let Some(book) = self.calls.get_mut(&call) {
            book.ended = true;
        }
        self.step(event)
    }

    /// Time passes; the wake is kept if it falls into it.
    pub fn advance(&mut self, millis: u64) -> Broken {
        let until = self.now + Duration::from_millis(millis);
        while let Some(wake) = self.wake.filter(|wake| *wake <= until) {
            self.now = self.now.max(wake);
            self.wake = None;
            self.step(Event::Timer)?;
        }
        self.now = until;
        Ok(())
    }

    /// Time passes and nobody notices.
    pub fn oversleep(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    pub fn cancel(&mut self, row: u32) -> Broken {
        let id = self.rows[row as usize].id.expect("every row has an id");
        self.step(Event::Cancel(id))
    }

    pub fn step(&mut self, event: Event<u32, u64>) -> Broken {
        let mut actions = std::mem::take(&mut self.actions);
        self.gate.step(event, self.now, &mut actions);
        for action in actions.drain(..) {
            self.act(action)?;
        }
        self.actions = actions;
        for call in self.calls.values().filter(|call| !call.cancelled && !call.ended) {
            let wanted = call.rows.iter().any(|row| self.rows[*row as usize].outcome.is_none());
            check(wanted || self.make.order != Order::Unordered, "a call goes on that nobody waits for")?;
        }
        Ok(())
    }

    /// Everything is answered well from now on; every row must get its outcome and every permit come back.
    pub fn finish(&mut self) -> Broken {
        self.step(Event::End)?;
        for _ in 0..3_000 {
            let open = self.calls.iter().find(|(_, call)| !call.cancelled && !call.ended).map(|(id, _)| *id);
            match (open, self.wake) {
                (Some(call), _) => self.answer(call, How::Well)?,
                (None, Some(wake)) => {
                    self.now = self.now.max(wake);
                    self.wake = None;
                    self.step(Event::Timer)?;
                }
                (None, None) => break,
            }
        }
        check(self.rows.iter().all(|row| row.outcome.is_some()), "a row is stuck")?;
        check(self.gate.held() == 0 && self.gate.queued() == 0, "rows are miscounted")?;
        check(self.gate.in_flight() == 0, "a permit is lost")?;
        check(!self.full, "full without rows")
    }

    fn act(&mut self, action: Action<u32, u64>) -> Broken {
        match action {
            Action::Send { call, replica, rows, .. } => self.on_send(call, replica, rows),
            Action::Cancel { call } => {
                let book = self.calls.get_mut(&call).ok_or("a call is cancelled that was never sent")?;
                check(!book.ended, "a call is cancelled that has ended")?;
                book.cancelled = true;
                let rows = book.rows.clone();
                // Out of time, if the rows are still wanted: settled ones are told apart when they are sent again.
                self.note(call, &rows, Fault::Timeout, true);
                Ok(())
            }
            Action::Settle { row, item, outcome } => self.on_settle(row, item, outcome),
            Action::Wake(at) => {
                self.wake = Some(at);
                Ok(())
            }
            Action::Full => check(!std::mem::replace(&mut self.full, true), "full twice"),
            Action::Room => check(std::mem::replace(&mut self.full, false), "room twice"),
        }
    }

    fn on_send(&mut self, call: CallId, replica: ReplicaId, rows: Vec<u32>) -> Broken {
        let knobs = *self.knobs[replica.0].lock().unwrap();
        let live = |book: &&CallBook| !book.cancelled && !book.ended;
        let in_flight = self.calls.values().filter(live).filter(|book| book.replica == replica).count();
        check(in_flight < knobs.calls_max, "more calls than the limit")?;
        check(!rows.is_empty() && rows.len() <= knobs.rows_max, "more rows than the limit")?;
        let bytes: usize = rows.iter().map(|row| self.rows[*row as usize].bytes).sum();
        check(bytes <= BYTES_MAX || rows.len() == 1, "more bytes than the limit")?;
        let mut twins = self.calls.values().filter(live).filter(|book| book.rows == rows && book.replica != replica);
        let hedged = self.make.hedge && twins.next().is_some();
        let keys: BTreeSet<u64> = rows.iter().filter_map(|row| self.rows[*row as usize].key).collect();
        for other in self.calls.values().filter(live).flat_map(|book| &book.rows).filter(|_| !hedged) {
            check(!rows.contains(other), "a row is in two calls")?;
            let key = self.rows[*other as usize].key;
            check(key.is_none_or(|key| !keys.contains(&key)), "two calls of one key in flight")?;
        }
        self.first += u32::from(rows.iter().all(|row| self.rows[*row as usize].sent == 0));
        for number in rows.iter().filter(|_| !hedged) {
            let row = &mut self.rows[*number as usize];
            check(row.outcome.is_none(), "a settled row is sent")?;
            check(row.deadline.is_none_or(|deadline| deadline > self.now), "an expired row is sent")?;
            check(!row.touched || self.make.idempotent, "a row is sent again that may have been worked on")?;
            check(row.failures < 3 || self.make.breakers, "a row has more attempts than allowed")?;
            self.retried.extend(row.failed_by.take().filter(|_| !self.make.breakers));
            row.sent += 1;
            if let Some(key) = row.key.filter(|_| row.sent == 1) {
                let last = self.last_sent.insert(key, *number);
                check(last.is_none_or(|last| last < *number), "rows of one key are sent out of order")?;
            }
        }
        let trickle = if self.make.wait_for_budget { 20.0 * self.now.as_secs_f64() } else { 0.0 };
        let budget = 5.0 + 0.1 * f64::from(self.first) + trickle + 1e-6;
        check(self.retried.len() as f64 <= budget, "more retries than the budget")?;
        let fresh = self.calls.insert(call, CallBook { rows, replica, cancelled: false, ended: false });
        check(fresh.is_none(), "a call's name is used twice")?;
        self.sent.push(call);
        Ok(())
    }

    fn on_settle(&mut self, id: RowId, item: u32, outcome: Outcome<u64>) -> Broken {
        let row = self.rows.get_mut(item as usize).ok_or("a row is settled that was never offered")?;
        check(row.id.is_none_or(|own| own == id), "a row is settled under another name")?;
        check(row.outcome.is_none(), "a row is settled twice")?;
        match &outcome {
            Outcome::Answered(value) => check(*value == u64::from(item) * 10, "a row got another row's answer")?,
            Outcome::Failed { fault: Fault::Data, .. } => check(row.poison, "a good row pays for a bad one")?,
            Outcome::Shed => check(self.make.shed, "a row is shed where that is not allowed")?,
            _ => {}
        }
        row.outcome = Some(outcome);
        let queue = match (self.make.order, row.key) {
            (Order::Ordered, _) => u64::MAX,
            (Order::PerKey, Some(key)) => key,
            _ => return Ok(()),
        };
        let last = self.last_settled.insert(queue, item);
        check(last.is_none_or(|last| last < item), "outcomes are out of order")
    }

    /// Writes down that an attempt of `rows` failed.
    fn note(&mut self, call: CallId, rows: &[u32], fault: Fault, live: bool) {
        let other = |(id, book): (&CallId, &CallBook), row| {
            *id != call && !book.cancelled && !book.ended && book.rows.contains(row)
        };
        for row in rows.iter().filter(|_| live) {
            // The other copy of a hedged call goes on: the attempt is not over.
            let hedged = self.calls.iter().any(|entry| other(entry, row));
            let row = &mut self.rows[*row as usize];
            if row.outcome.is_some() {
                continue;
            }
            row.touched |= matches!(fault, Fault::Timeout | Fault::Died);
            // Cut calls are free, unless they ran out of time.
            if !hedged && !matches!(fault, Fault::Data | Fault::TooLarge | Fault::Died) {
                row.failures += 1;
                row.failed_by = Some(call);
            }
        }
    }
}
