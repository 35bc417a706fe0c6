//! Ends early what is done for limits alone.
//!
//! Once every way from a source to a sink leads through a limit that is full, its readers say that they are at their end, and the
//! job completes as if there were no more rows. Tasks on such ways drop what is still queued in front of them, so that no
//! model is asked for nothing. What a limit counted is in its checkpoint, so a restart before the last one reads on where
//! it has to.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::element::Epoch;
use forebay_core::operator::{Context, Drained, Frozen, Operator, Out, Restored, Room};
use forebay_core::row::SplitId;
use forebay_core::source::{Read, Reader, Split};
use forebay_core::time::{EventTime, Instant};
use forebay_core::{Batch, Result};
use forebay_operators::limit::Full;
use forebay_plan::graph::{EdgeKind, JobGraph, StepAction, Task};
use forebay_runtime::build::{MakeOperator, MakeReader};

/// The limits of a job by uid; of one attempt, because a new one counts anew from its checkpoint.
#[derive(Debug, Default)]
pub struct Limits {
    full: BTreeMap<String, Full>,
}

/// A reader that ends when all the limits that it reads for are full.
struct Ending {
    reader: Box<dyn Reader>,
    limits: Vec<Full>,
}

/// The first operator of a task; it drops rows when all the limits that it works for are full.
struct Dropping {
    operator: Box<dyn Operator>,
    limits: Vec<Full>,
}

// === impl Limits ===

impl Limits {
    /// Those of `graph`, none of them full.
    pub fn of(graph: &JobGraph) -> Self {
        let steps = graph.tasks.iter().flat_map(|task| &task.steps);
        let limits = steps.filter(|step| matches!(step.action, StepAction::Limit(_)));
        Self { full: limits.map(|step| (step.uid.clone(), Full::default())).collect() }
    }

    /// What the limit `uid` sets.
    pub fn full(&self, uid: &str) -> Full {
        self.full.get(uid).cloned().unwrap_or_default()
    }

    /// The readers that `make` makes for the source of `task`, which end early if only limits read it.
    pub fn ending(&self, graph: &JobGraph, task: &Task, make: MakeReader) -> MakeReader {
        let Some(limits) = self.behind(graph, task) else { return make };
        Box::new(move |subtask| Ok(Box::new(Ending { reader: make(subtask)?, limits: limits.clone() })))
    }

    /// The operators that `make` makes as the first ones of `task`, which drop rows that only limits were to get.
    pub fn dropping(&self, graph: &JobGraph, task: &Task, make: MakeOperator) -> MakeOperator {
        let Some(limits) = self.behind(graph, task) else { return make };
        Box::new(move |subtask| Ok(Box::new(Dropping { operator: make(subtask)?, limits: limits.clone() })))
    }

    /// The limits that `task` works for, if it works for nothing else.
    fn behind(&self, graph: &JobGraph, task: &Task) -> Option<Vec<Full>> {
        let limits = limits_behind(graph, task).filter(|limits| !limits.is_empty())?;
        Some(limits.iter().map(|uid| self.full(uid)).collect())
    }
}

/// The first limits on every way from `task`; `None` if a way ends without one, or crosses to another region.
fn limits_behind<'a>(graph: &'a JobGraph, task: &'a Task) -> Option<BTreeSet<&'a str>> {
    let (mut seen, mut next, mut limits) = (BTreeSet::new(), vec![task], BTreeSet::new());
    while let Some(task) = next.pop() {
        if !seen.insert(&task.id) {
            continue;
        }
        if let Some(limit) = task.steps.iter().find(|step| matches!(step.action, StepAction::Limit(_))) {
            limits.insert(limit.uid.as_str());
            continue;
        }
        let leaving = graph.edges.iter().filter(|edge| edge.from == task.id);
        let tasks: Vec<(&EdgeKind, &Task)> =
            leaving.filter_map(|edge| Some((&edge.kind, graph.task(&edge.to)?))).collect();
        if tasks.is_empty() || tasks.iter().any(|(kind, _)| !kind.is_pipelined()) {
            return None;
        }
        next.extend(tasks.into_iter().map(|(_, task)| task));
    }
    Some(limits)
}

impl Reader for Ending {
    fn open(&mut self, context: Context, splits: Vec<Split>, restored: Restored) -> Result<()> {
        self.limits.iter().for_each(|limit| limit.wakes(context.waker.clone()));
        self.reader.open(context, splits, restored)
    }

    fn poll_next(&mut self) -> Result<Read> {
        if self.limits.iter().all(Full::is_set) { Ok(Read::End) } else { self.reader.poll_next() }
    }

    fn snapshot(&mut self, epoch: Epoch) -> Result<Frozen> {
        self.reader.snapshot(epoch)
    }

    fn take_ended(&mut self) -> Vec<SplitId> {
        self.reader.take_ended()
    }

    fn take_found(&mut self) -> Vec<SplitId> {
        self.reader.take_found()
    }

    fn close(&mut self) {
        self.reader.close();
    }
}

impl Dropping {
    fn is_done(&self) -> bool {
        self.limits.iter().all(Full::is_set)
    }
}

impl Operator for Dropping {
    fn open(&mut self, context: Context, restored: Restored) -> Result<()> {
        self.operator.open(context, restored)
    }

    fn room(&self) -> Room {
        if self.is_done() { Room::Room } else { self.operator.room() }
    }

    fn absorbs(&self) -> bool {
        self.operator.absorbs()
    }

    fn on_batch(&mut self, batch: Batch) -> Result<()> {
        if self.is_done() { Ok(()) } else { self.operator.on_batch(batch) }
    }

    fn on_batch_at(&mut self, port: u8, batch: Batch) -> Result<()> {
        if self.is_done() { Ok(()) } else { self.operator.on_batch_at(port, batch) }
    }

    fn on_watermark(&mut self, watermark: EventTime) -> Result<()> {
        self.operator.on_watermark(watermark)
    }

    fn poll(&mut self) -> Result<Option<Out>> {
        self.operator.poll()
    }

    fn holds_rows(&self) -> bool {
        self.operator.holds_rows()
    }

    fn next_timer(&self) -> Option<Instant> {
        self.operator.next_timer()
    }

    fn on_timer(&mut self, now: Instant) -> Result<()> {
        self.operator.on_timer(now)
    }

    fn snapshot(&mut self, epoch: Epoch) -> Result<Frozen> {
        self.operator.snapshot(epoch)
    }

    fn on_checkpoint_complete(&mut self, epoch: Epoch) {
        self.operator.on_checkpoint_complete(epoch);
    }

    /// Rows that the operator took and has not begun are not worth beginning.
    fn drain(&mut self) -> Result<Drained> {
        if self.is_done() { self.operator.suspend() } else { self.operator.drain() }
    }

    fn suspend(&mut self) -> Result<Drained> {
        self.operator.suspend()
    }

    fn close(&mut self) {
        self.operator.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field, Schema};
    use forebay_plan::{Facts, build, parse};
    use std::sync::Arc;

    /// The limits that the source of a job with these steps may end for; sinks read the steps called `out`.
    fn limits(steps: &str, sinks: &[&str]) -> Option<Vec<String>> {
        let sink = |from: &&str| format!("[sink.{from}_out]\nfrom = \"{from}\"\nformat = \"blackhole\"\n");
        let sinks: String = sinks.iter().map(sink).collect();
        let source = "[source.rows]\nformat = \"jsonl\"\npath = \"rows.jsonl\"\n";
        let text = format!("name = \"job\"\n{source}{steps}{sinks}[dead_letters]\npath = \"dead\"\n");
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let sources = [("rows".to_string(), schema)].into();
        let facts = Facts { sources, tables: BTreeMap::new(), signatures: BTreeMap::new() };
        let plan = build(&parse(&text, "job.toml", |_| None).unwrap(), &facts, &[], &[]).unwrap();
        let found = limits_behind(&plan.graph, &plan.graph.tasks[0])?;
        Some(found.into_iter().map(str::to_string).collect())
    }

    fn step(uid: &str, from: &str, what: &str) -> String {
        format!("[[step]]\nuid = \"{uid}\"\nfrom = \"{from}\"\n{what}\n")
    }

    #[test]
    fn a_source_ends_for_limits_only_if_every_way_leads_to_one() {
        let first = step("first", "rows", "limit = 3");
        assert_eq!(limits(&first, &["first"]).unwrap(), ["first"]);
        assert_eq!(limits(&first, &["first", "rows"]), None, "a sink reads the source itself");
        let even = step("even", "rows", "filter = \"n % 2 = 0\"") + &step("second", "even", "limit = 5");
        assert_eq!(limits(&format!("{first}{even}"), &["first", "second"]).unwrap(), ["first", "second"]);
        assert_eq!(limits(&format!("{first}{even}"), &["first", "second", "even"]), None);
        let again = step("again", "first", "limit = 1");
        assert_eq!(limits(&format!("{first}{again}"), &["again"]).unwrap(), ["first"], "the first on the way counts");
        assert_eq!(limits("", &["rows"]), None);
    }

    #[test]
    fn a_source_in_front_of_a_durable_step_is_read_on() {
        let cut = step("cut", "rows", "durable = {}") + &step("first", "cut", "limit = 3");
        assert_eq!(limits(&cut, &["first"]), None);
    }
}
