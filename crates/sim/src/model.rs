//! The scripted model and what it remembers: every execution, over all processes of a seed.
//!
//! An answer holds the number of its execution, so running a row twice always gives two values. What the model remembers
//! survives crashes, as a bill does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use forebay_core::env::Env;
use forebay_core::{Error, Kind, Result};
use forebay_inference::hosts::{Answers, Host, Replica, Signature, Slot};
use forebay_inference::request::{RequestBatch, RequestId};
use futures::channel::oneshot;
use futures::future::{BoxFuture, pending, ready};

use crate::counts::Counts;
use crate::disk::Gate;
use crate::oracle::{is_poisonous, is_toxic, row_of};
use crate::random::Random;
use crate::scenario::Moods;

/// Calls that a model elsewhere takes at a time.
const REMOTE_CALLS_MAX: usize = 64;

/// After so many failures because of toxic rows they are answered: those that nobody could find are not looked at.
const TOXIC_FAILURES_MAX: u32 = 80;

/// What survives every process: executions, what is known to be durable, violations and counts. Clones share it.
#[derive(Clone)]
pub(crate) struct Books {
    inner: Arc<Mutex<Inner>>,
}

pub(crate) struct Inner {
    pub executions: Vec<Execution>,
    latest: BTreeMap<RequestId, usize>,
    /// Requests whose result cannot be lost any more.
    pub durable: BTreeSet<RequestId>,
    /// Requests whose result is on the disk until power is lost.
    pub written: BTreeSet<RequestId>,
    /// False once a second process with its own journal was there.
    pub one_journal: bool,
    /// Rows that got an answer of wrong length when they were asked alone.
    pub miscounted: BTreeSet<u64>,
    /// Rows that the second model was asked about, and the process that asked first.
    fallen: BTreeMap<u64, u32>,
    /// Calls that failed because of toxic rows.
    toxic_failures: u32,
    pub violations: Vec<String>,
    pub counts: Counts,
    random: Random,
    moods: Moods,
}

/// A row run once.
#[derive(Debug, Clone)]
pub(crate) struct Execution {
    pub request: RequestId,
    pub row: u64,
    pub process: u32,
    pub outcome: Option<Answered>,
}

/// How an execution ended; `None` while it runs, and for ever if its caller went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    Value,
    /// Refused for good: the service keeps that.
    Refused,
    /// Asked again, by the contract.
    Failed,
}

/// The model as one process reaches it.
pub(crate) struct Scripted {
    /// It answers what the first did not.
    pub second: bool,
    pub books: Books,
    pub env: Arc<dyn Env>,
    pub process: u32,
    pub timeout: Duration,
    pub gate: Arc<Gate>,
}

/// Who runs a row: which process, the first or the second model, and whether its journal ever failed.
#[derive(Debug, Clone, Copy)]
struct By {
    process: u32,
    second: bool,
    journal_failed: bool,
}

struct Loaded {
    second: bool,
    books: Books,
    env: Arc<dyn Env>,
    process: u32,
    timeout: Duration,
    gate: Arc<Gate>,
    /// Resolves when its last call has ended and left it alive.
    last: Mutex<Option<oneshot::Receiver<()>>>,
}

/// A call that waits for the one before, to count what becomes of it.
struct Ahead<'a> {
    books: &'a Books,
    begun: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Answer,
    Refuse,
    Die,
    WrongCount,
    Exhausted,
    Lost,
    Late,
    Full,
}

/// The text of the answer that execution `number` gives.
pub(crate) fn value(request: RequestId, number: usize) -> String {
    format!("{request}#{number}")
}

/// Request and execution that an answer names.
pub(crate) fn parse_value(text: &str) -> Option<(RequestId, usize)> {
    let (request, number) = text.split_once('#')?;
    Some((RequestId(u128::from_str_radix(request, 16).ok()?), number.parse().ok()?))
}

// === impl Books ===

impl Books {
    pub fn new(random: Random, moods: Moods) -> Self {
        let inner = Inner {
            executions: Vec::new(),
            latest: BTreeMap::new(),
            durable: BTreeSet::new(),
            written: BTreeSet::new(),
            one_journal: true,
            miscounted: BTreeSet::new(),
            fallen: BTreeMap::new(),
            toxic_failures: 0,
            violations: Vec::new(),
            counts: Counts::default(),
            random,
            moods,
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on every call is answered, quickly.
    pub fn heal(&self) {
        let moods = &mut self.lock().moods;
        let Moods { remote, ahead, .. } = *moods;
        *moods = Moods { latency_max: Duration::from_millis(1), remote, ahead, ..Moods::default() };
    }

    pub fn violate(&self, what: String) {
        self.lock().violations.push(what);
    }

    pub fn count(&self, name: &'static str) {
        self.lock().counts.count(name);
    }
}

// === impl Inner ===

impl Inner {
    /// Whether the model was asked this.
    pub fn was_asked(&self, request: RequestId) -> bool {
        self.latest.contains_key(&request)
    }

    /// Writes down that a call begins; the number of each row's execution.
    fn start_all(&mut self, ids: &[RequestId], texts: &[String], by: By) -> Vec<usize> {
        ids.iter().zip(texts).map(|(id, text)| self.start(*id, row_of(text).unwrap_or(0), by)).collect()
    }

    /// Writes down that a row begins to run, and checks that it may.
    fn start(&mut self, request: RequestId, row: u64, by: By) -> usize {
        let By { process, second, journal_failed } = by;
        self.check_rung(row, process, second);
        if self.one_journal && (self.durable.contains(&request) || self.written.contains(&request)) {
            self.violations.push(format!("I5: row {row} ({request}) runs again although its result is durable"));
        }
        if let Some(before) = self.latest.get(&request) {
            let Execution { process: by, outcome, .. } = &self.executions[*before];
            self.counts.count("I4, I6: a row ran twice");
            if *by == process && !journal_failed && matches!(outcome, Some(Answered::Value | Answered::Refused)) {
                self.violations
                    .push(format!("I6: row {row} ({request}) runs again in the process that has its answer"));
            }
        }
        let number = self.executions.len();
        self.executions.push(Execution { request, row, process, outcome: None });
        self.latest.insert(request, number);
        self.counts.count("executions");
        number
    }

    /// A row that climbed its ladder does not come back in another process. In its own, a call that was made before may
    /// still have to begin.
    fn check_rung(&mut self, row: u64, process: u32, second: bool) {
        if second {
            self.fallen.entry(row).or_insert(process);
            self.counts.count("I25: rows asked of the second model");
        } else if self.one_journal && self.fallen.get(&row).is_some_and(|by| *by != process) {
            self.violations.push(format!("I25: row {row} is asked of the first model after the second"));
        }
    }

    fn mood(&mut self, poisonous: bool, rows: usize) -> (Mood, Duration) {
        let Moods { die, wrong_count, lost, late, exhausted, refused, latency_max, .. } = self.moods;
        let latency = Duration::from_micros(self.random.within(1, latency_max.as_micros().max(1) as u64));
        let mut drawn = self.random.below(1000);
        let rates = [
            (Mood::Die, die),
            (Mood::WrongCount, wrong_count),
            (Mood::Lost, lost),
            (Mood::Late, late),
            (Mood::Full, refused),
            (Mood::Exhausted, if rows > 1 { exhausted } else { 0 }),
        ];
        for (mood, rate) in rates {
            if drawn < rate {
                return (mood, latency);
            }
            drawn -= rate;
        }
        (if poisonous { Mood::Refuse } else { Mood::Answer }, latency)
    }

    /// Whether the model fails because of one of the rows.
    fn is_toxic(&mut self, texts: &[String]) -> bool {
        let fails = self.moods.toxic > 0 && texts.iter().any(|text| is_toxic(text));
        self.toxic_failures += u32::from(fails);
        fails && self.toxic_failures <= TOXIC_FAILURES_MAX
    }

    fn finish(&mut self, numbers: &[usize], outcome: Answered) {
        numbers.iter().for_each(|number| self.executions[*number].outcome = Some(outcome));
    }
}

// === impl Scripted ===

impl Host for Scripted {
    fn signature(&self) -> BoxFuture<'static, Result<Signature>> {
        let slot = |name| vec![Slot::scalar(name, DataType::Utf8)];
        Box::pin(ready(Ok(Signature { inputs: slot("text"), outputs: slot("answer") })))
    }

    fn start(&self, _replica: u16) -> BoxFuture<'static, Result<Arc<dyn Replica>>> {
        let (fails, pause) = {
            let inner = &mut *self.books.lock();
            let fails = inner.random.chance(inner.moods.start_fails);
            (fails, Duration::from_micros(inner.random.within(1, 50_000)))
        };
        let (books, env) = (self.books.clone(), Arc::clone(&self.env));
        let (process, timeout, gate) = (self.process, self.timeout, Arc::clone(&self.gate));
        let second = self.second;
        let last = Mutex::default();
        let copy = Loaded { second, books: books.clone(), env: Arc::clone(&env), process, timeout, gate, last };
        Box::pin(async move {
            env.sleep(pause).await;
            if fails {
                books.count("fault: replica does not start");
                return Err(Error::new(Kind::Unavailable, "start scripted replica"));
            }
            Ok(Arc::new(copy) as Arc<dyn Replica>)
        })
    }

    fn calls_max(&self) -> usize {
        if self.books.lock().moods.remote { REMOTE_CALLS_MAX } else { 1 }
    }

    fn takes_ahead(&self) -> bool {
        self.books.lock().moods.ahead
    }

    fn revision(&self) -> String {
        "scripted-1".to_string()
    }
}

// === impl Ahead ===

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        let name = if self.begun { "model: call sent ahead" } else { "model: call sent ahead of its replica's end" };
        self.books.count(name);
    }
}

// === impl Loaded ===

impl Replica for Loaded {
    fn call(&self, batch: RequestBatch) -> BoxFuture<'static, Result<Answers>> {
        let texts = texts_of(&batch);
        let (books, env, timeout) = (self.books.clone(), Arc::clone(&self.env), self.timeout);
        let (process, second, gate) = (self.process, self.second, Arc::clone(&self.gate));
        let (end, ended) = oneshot::channel();
        let before = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(ended);
        let before = before.filter(|_| !books.lock().moods.remote);
        Box::pin(async move {
            if let Some(mut before) = before
                && !matches!(before.try_recv(), Ok(Some(())))
            {
                let mut ahead = Ahead { books: &books, begun: false };
                let gone = |_| Error::new(Kind::Unavailable, "call scripted replica").source("it is gone");
                before.await.map_err(gone)?;
                ahead.begun = true;
            }
            let by = By { process, second, journal_failed: gate.journal_failed() };
            let numbers = books.lock().start_all(&batch.ids, &texts, by);
            let (mut mood, latency) = books.lock().mood(texts.iter().any(|text| is_poisonous(text)), texts.len());
            if books.lock().is_toxic(&texts) {
                books.count("fault: toxic row");
                mood = Mood::Die;
            }
            match mood {
                Mood::Lost => {
                    books.count("fault: answer lost");
                    return pending().await;
                }
                // The caller gives up first; what is computed after that reaches nobody.
                Mood::Late => {
                    books.count("fault: answer late");
                    env.sleep(timeout + latency).await;
                }
                _ => env.sleep(latency).await,
            }
            if !matches!(mood, Mood::Die | Mood::Lost | Mood::Late) {
                // Without a call behind this one nobody waits for it.
                let _ = end.send(());
            }
            settle(&books, &batch, &texts, &numbers, mood).map(Answers::from)
        })
    }
}

/// Ends a call: what the caller gets, and what the books say about it.
fn settle(books: &Books, batch: &RequestBatch, texts: &[String], numbers: &[usize], mood: Mood) -> Result<RecordBatch> {
    let inner = &mut *books.lock();
    let failed = |kind| Err(Error::new(kind, "call scripted replica").source("drawn by the simulation"));
    let alone = numbers.len() == 1;
    match mood {
        Mood::Answer => {
            inner.finish(numbers, Answered::Value);
            answers(&batch.ids, numbers)
        }
        Mood::Refuse => {
            inner.finish(numbers, if alone { Answered::Refused } else { Answered::Failed });
            failed(Kind::Data)
        }
        Mood::WrongCount => {
            inner.counts.count("fault: wrong number of answers");
            inner.finish(numbers, if alone { Answered::Refused } else { Answered::Failed });
            if alone {
                inner.miscounted.extend(row_of(&texts[0]));
            }
            answers(&batch.ids, numbers).map(|rows| rows.slice(1, rows.num_rows() - 1))
        }
        Mood::Exhausted => {
            inner.counts.count("fault: replica out of memory");
            inner.finish(numbers, Answered::Failed);
            failed(Kind::Exhausted)
        }
        Mood::Full => {
            inner.counts.count("fault: model is full");
            inner.finish(numbers, Answered::Failed);
            failed(Kind::Overload)
        }
        Mood::Die | Mood::Lost | Mood::Late => {
            inner.counts.count("fault: replica dies");
            inner.finish(numbers, Answered::Failed);
            failed(Kind::Unavailable)
        }
    }
}

fn answers(ids: &[RequestId], numbers: &[usize]) -> Result<RecordBatch> {
    let values = ids.iter().zip(numbers).map(|(id, number)| Some(value(*id, *number)));
    let column: ArrayRef = Arc::new(values.collect::<StringArray>());
    RecordBatch::try_from_iter([("answer", column)])
        .map_err(|source| Error::new(Kind::Internal, "build scripted answer").source(source))
}

fn texts_of(batch: &RequestBatch) -> Vec<String> {
    let column = batch.rows.column(0);
    match column.as_string_opt::<i32>() {
        Some(texts) => texts.iter().map(|text| text.unwrap_or_default().to_string()).collect(),
        None => vec![String::new(); column.len()],
    }
}
