//! A process function as an operator: gives it the rows of a batch, then the timers of a watermark, in bounded turns.
//!
//! Timers are fired before the watermark is handed on, so what they give is in time for the steps behind. It has room when everything that
//! it got has come out.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use forebay_core::dead_letter::{DeadLetter, describe_row};
use forebay_core::element::Epoch;
use forebay_core::keys::{Key, KeyColumns, columns_of};
use forebay_core::operator::{Context as Host, Drained, Frozen, Operator, Out, Restored, Room};
use forebay_core::process::ProcessSite;
use forebay_core::time::{EventTime, event_time_place};
use forebay_core::{Batch, Error, Kind, Result, RowId};
use forebay_state::keyed::{KeyedState, StatePart, StateSettings, Timers};

use super::outputs::{Outputs, ROWS_MAX};
use super::row::Row;
use super::shape::Declared;
use super::state::Table;
use super::work::Work;
use super::{Context, ProcessFunction, Timer};
use crate::clock::Clock;

/// Names of the engine's own parts of the state.
const TIMERS: &str = ".timers";
const CLOCK: &str = ".clock";

/// How a process function is run.
#[derive(Debug, Clone)]
pub struct ProcessSettings {
    /// The rows that come in, their key, and what the function is told.
    pub site: ProcessSite,
    /// Names of the side outputs that are read, that of port 1 first.
    pub sides: Vec<String>,
    /// How state is kept.
    pub state: StateSettings,
    /// A planted bug.
    #[doc(hidden)]
    pub bug: Option<ProcessBug>,
}

/// Mistakes that tests plant to see that their checks find them. Never set in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessBug {
    /// Timers fire up to a second before the watermark has reached them.
    FireEarly,
    /// A restore brings no timers back.
    ForgetTimers,
    /// A restore does not bring the watermark back.
    ForgetClock,
    /// What a call gave before it failed goes out.
    KeepFailed,
}

/// See the module.
pub(super) struct ProcessOperator<F> {
    name: String,
    function: F,
    keys: KeyColumns,
    time: Option<usize>,
    declared: Declared,
    settings: ProcessSettings,
    state: Option<State>,
    outputs: Outputs,
    queue: VecDeque<Given>,
    letters: Vec<DeadLetter>,
    outs: VecDeque<Out>,
    uid: String,
}

struct State {
    keyed: KeyedState,
    tables: Vec<Box<dyn Table>>,
    timers: Timers,
    clock: Clock,
}

/// What came in and is not worked off.
enum Given {
    Rows(Box<Work>),
    Watermark(EventTime),
}

/// What is left of it after a turn.
enum Rest {
    Of(Given),
    /// All timers have fired: the watermark goes on.
    Watermark(EventTime),
    Nothing,
}

// === impl ProcessOperator ===

impl<F: ProcessFunction> ProcessOperator<F> {
    /// `function`, called `name`, over what it `declared`.
    pub fn new(name: &str, function: F, declared: Declared, settings: &ProcessSettings) -> Result<Self> {
        let ProcessSite { input, keys, .. } = &settings.site;
        Ok(Self {
            name: name.to_string(),
            function,
            keys: KeyColumns::new(keys.clone(), input)?,
            time: event_time_place(input),
            outputs: Outputs::new(&declared, (keys.len(), input.fields().len()), &settings.sides)?,
            declared,
            settings: settings.clone(),
            state: None,
            queue: VecDeque::new(),
            letters: Vec::new(),
            outs: VecDeque::new(),
            uid: String::new(),
        })
    }

    /// Works off what came first, until there is enough to give or it is done.
    fn turn(&mut self) -> Result<()> {
        let Some(given) = self.queue.pop_front() else { return Ok(()) };
        let rest = match given {
            Given::Rows(work) => self.rows(work)?,
            Given::Watermark(watermark) => self.timers(watermark)?,
        };
        if !self.letters.is_empty() {
            self.outs.push_back(Out::DeadLetters(std::mem::take(&mut self.letters)));
        }
        self.outs.extend(self.outputs.finish()?);
        match rest {
            Rest::Of(given) => self.queue.push_front(given),
            Rest::Watermark(watermark) => self.outs.push_back(Out::Watermark(watermark)),
            Rest::Nothing => {}
        }
        Ok(())
    }

    fn rows(&mut self, mut work: Box<Work>) -> Result<Rest> {
        while work.next < work.batch.len() {
            if self.outputs.rows() >= ROWS_MAX {
                return Ok(Rest::Of(Given::Rows(work)));
            }
            self.row(&work, work.next)?;
            work.next += 1;
        }
        Ok(Rest::Nothing)
    }

    fn row(&mut self, work: &Work, place: usize) -> Result<()> {
        let State { tables, timers, clock, .. } = self.state.as_mut().expect("open comes first");
        let (key, row) = (&work.keys[place], Row { work, place });
        self.outputs.begin(&row);
        let (watermark, now) = (clock.of(key), row.time());
        let mut context = Context { key, watermark, now, tables, timers, outputs: &mut self.outputs };
        let done = self.function.on_row(&row, &mut context);
        let (id, ended) = (row.id(), self.ended(key, done));
        let fails = |error: Error| {
            Error::new(error.kind(), "process row").with("function", &self.name).with("row", id).source(error)
        };
        match ended.map_err(fails)? {
            None => Ok(()),
            Some(error) => {
                self.letters.push(self.letter(id, &error, describe_row(&work.batch, place)));
                Ok(())
            }
        }
    }

    /// Fires the timers that are due at `watermark`.
    fn timers(&mut self, watermark: EventTime) -> Result<Rest> {
        let state = self.state.as_mut().expect("open comes first");
        state.clock.advance(watermark);
        let due = match self.settings.bug {
            Some(ProcessBug::FireEarly) => watermark.plus(std::time::Duration::from_secs(1)),
            _ => watermark,
        };
        // A thousand timers that give nothing are a turn as well.
        for _ in 0..ROWS_MAX {
            let state = self.state.as_mut().expect("open comes first");
            let Some(timer) = state.timers.due(due) else {
                state.tables.iter_mut().try_for_each(|table| table.advance(watermark))?;
                return Ok(Rest::Watermark(watermark));
            };
            self.timer(&timer.key, &Timer::of(&timer))?;
            if self.outputs.rows() >= ROWS_MAX {
                break;
            }
        }
        Ok(Rest::Of(Given::Watermark(watermark)))
    }

    fn timer(&mut self, key: &Key, timer: &Timer) -> Result<()> {
        let State { tables, timers, clock, .. } = self.state.as_mut().expect("open comes first");
        // State expires by the timers' own times, whatever steps the watermark makes; the end of the input is no time.
        let now = (timer.time < EventTime::MAX).then_some(timer.time);
        if let Some(now) = now {
            tables.iter_mut().try_for_each(|table| table.advance(now))?;
        }
        self.outputs.begin_timer(timer);
        let watermark = clock.of(key);
        let mut context = Context { key, watermark, now, tables, timers, outputs: &mut self.outputs };
        let done = self.function.on_timer(timer, &mut context);
        let ended = self.ended(key, done);
        let fails = |error: Error| {
            let attempted = Error::new(error.kind(), "fire timer").with("function", &self.name);
            attempted.with("timer", &timer.name).source(error)
        };
        match ended.map_err(fails)? {
            None => Ok(()),
            Some(error) => {
                let (id, input) = (self.outputs.id_of_cause(key), self.described(key, timer)?);
                self.letters.push(self.letter(id, &error, input));
                Ok(())
            }
        }
    }

    /// Ends a call: what it gave goes out, or it is bad and nothing does.
    fn ended(&mut self, key: &Key, done: Result<()>) -> Result<Option<Error>> {
        match done {
            Ok(()) => self.outputs.commit(key).map(|()| None),
            Err(error) if error.kind() == Kind::Data => {
                if self.settings.bug == Some(ProcessBug::KeepFailed) {
                    self.outputs.commit(key)?;
                }
                self.outputs.forget_staged();
                Ok(Some(error))
            }
            Err(error) => Err(error),
        }
    }

    fn letter(&self, row: RowId, error: &Error, input: String) -> DeadLetter {
        let (operator, kind) = (self.uid.clone(), error.kind());
        let reason = format!("process function {}: {}", self.name, error.chain());
        DeadLetter { row, operator, kind, reason, attempts: 1, input }
    }

    /// A timer as a row: its key, its name, its time.
    fn described(&self, key: &Key, timer: &Timer) -> Result<String> {
        let input = &self.settings.site.input;
        let mut fields: Vec<Field> = self.keys.places().iter().map(|place| input.field(*place).clone()).collect();
        let kinds: Vec<DataType> = fields.iter().map(|field| field.data_type().clone()).collect();
        let mut columns = columns_of(std::slice::from_ref(key), &kinds)?;
        let name: ArrayRef = Arc::new(StringArray::from(vec![timer.name.as_str()]));
        let time: ArrayRef = Arc::new(Int64Array::from(vec![timer.time.0]));
        for (called, column) in [("timer", name), ("timer_time", time)] {
            fields.push(Field::new(called, column.data_type().clone(), false));
            columns.push(column);
        }
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|source| Error::new(Kind::Internal, "describe timer").source(source))?;
        Ok(describe_row(&Batch::new(rows, vec![self.outputs.id_of_cause(key)])?, 0))
    }
}

impl<F: ProcessFunction> Operator for ProcessOperator<F> {
    fn open(&mut self, context: Host, restored: Restored) -> Result<()> {
        let identity = &context.identity;
        self.uid.clone_from(&identity.uid);
        self.outputs.name(&identity.uid);
        let mut keyed = KeyedState::open(identity, self.settings.state.clone(), restored)?;
        let tables = std::mem::take(&mut self.declared.tables);
        let tables = tables.into_iter().map(|open| open(&mut keyed)).collect::<Result<_>>()?;
        let mut timers = keyed.timers(TIMERS)?;
        let forgets = self.settings.bug == Some(ProcessBug::ForgetClock);
        let clock = Clock::open(&mut keyed, CLOCK, identity, forgets)?;
        self.declared.forgotten.iter().for_each(|name| keyed.forget(name));
        keyed.opened()?;
        if self.settings.bug == Some(ProcessBug::ForgetTimers) {
            while timers.due(EventTime::MAX).is_some() {}
        }
        self.state = Some(State { keyed, tables, timers, clock });
        Ok(())
    }

    fn room(&self) -> Room {
        if self.queue.is_empty() && self.outs.is_empty() { Room::Room } else { Room::Full }
    }

    fn on_batch(&mut self, batch: Batch) -> Result<()> {
        let work = Work::new(batch, &self.keys, &self.declared.columns, self.time)?;
        self.queue.push_back(Given::Rows(Box::new(work)));
        Ok(())
    }

    fn on_watermark(&mut self, watermark: EventTime) -> Result<()> {
        self.queue.push_back(Given::Watermark(watermark));
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Out>> {
        while self.outs.is_empty() && !self.queue.is_empty() {
            self.turn()?;
        }
        Ok(self.outs.pop_front())
    }

    fn holds_rows(&self) -> bool {
        self.room() == Room::Full
    }

    fn snapshot(&mut self, epoch: Epoch) -> Result<Frozen> {
        let State { keyed, tables, timers, clock } = self.state.as_mut().expect("open comes first");
        let mut parts: Vec<&mut dyn StatePart> = tables.iter_mut().map(|table| table.part()).collect();
        parts.push(timers);
        parts.push(clock.part()?);
        let snapshot = keyed.snapshot(epoch, &mut parts)?;
        Ok(Box::pin(async { Ok(snapshot) }))
    }

    fn on_checkpoint_complete(&mut self, epoch: Epoch) {
        if let Some(state) = &mut self.state {
            state.keyed.on_checkpoint_complete(epoch);
        }
    }

    fn drain(&mut self) -> Result<Drained> {
        Ok(if self.room() == Room::Room { Drained::Done } else { Drained::Pending })
    }
}
