//! Cuts the graph of steps into tasks and draws the edges.
//!
//! A task starts at a source, at a durable edge, at a step with several inputs, at a keyed step, before an inference step and before a sink, so
//! that reading and decoding, waiting for a model, and writing overlap; and at every reader of a stream that has several
//! readers or that is a side output. All else stays fused with the step before it.
//!
//! An edge to a keyed step is an exchange by its key. Where two other neighbours have another parallelism the edge is an
//! exchange by key group of the row's id: rows of one split stay together and in order. Rows that take back others go by their
//! content then.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;

use super::lower::{Part, What};
use super::{Committer, Edge, EdgeKind, Head, ModelService, Step, StepAction, Task};
use crate::facts::Facts;
use crate::job_file::{JobFile, JobFileError};
use crate::logical::{Output, content_keys, internal};
use crate::spec::Changes;

/// The tasks and the edges between them.
pub(super) struct Cut {
    pub tasks: Vec<Task>,
    pub edges: Vec<Edge>,
}

/// Lays `parts` out as tasks.
pub(super) fn tasks(job: &JobFile, parts: Vec<Part>) -> Cut {
    let mut readers: BTreeMap<Output, usize> = BTreeMap::new();
    parts.iter().flat_map(|part| &part.inputs).for_each(|output| *readers.entry(*output).or_default() += 1);
    let mut cutter = Cutter { job, readers, task_of: Vec::new(), cut: Cut { tasks: Vec::new(), edges: Vec::new() } };
    parts.into_iter().for_each(|part| cutter.part(part));
    cutter.cut
}

struct Cutter<'a> {
    job: &'a JobFile,
    /// How many read each output.
    readers: BTreeMap<Output, usize>,
    /// The task of each part so far.
    task_of: Vec<usize>,
    cut: Cut,
}

// === impl Cutter ===

impl Cutter<'_> {
    fn part(&mut self, part: Part) {
        let task = match part.what {
            What::Source(source, schema) => {
                let (uid, parallelism) = (source.uid.clone(), source.parallelism);
                self.start(&uid, parallelism, Head::Source(Box::new(source), schema), Vec::new())
            }
            What::Step(step) => match part.inputs.as_slice() {
                [input] if !self.starts(&step, *input) => {
                    let task = self.task_of[input.node];
                    self.cut.tasks[task].steps.push(step);
                    task
                }
                inputs => self.start_at(step, inputs),
            },
        };
        self.task_of.push(task);
    }

    /// Whether `step`, which reads only `input`, has a task of its own.
    fn starts(&self, step: &Step, input: Output) -> bool {
        let before = &self.cut.tasks[self.task_of[input.node]];
        let two_sides = !step.sides.is_empty() && before.steps.iter().any(|other| !other.sides.is_empty());
        matches!(
            step.action,
            StepAction::Infer(_) | StepAction::Sink(_) | StepAction::Union { .. } | StepAction::Durable(_)
        ) || step.action.keys().is_some()
            || input.port > 0
            || self.readers.get(&input).is_some_and(|readers| *readers > 1)
            || two_sides
    }

    fn start_at(&mut self, step: Step, inputs: &[Output]) -> usize {
        let parallelism = self.parallelism(&step, inputs);
        let (uid, keys) = (step.uid.clone(), step.action.keys());
        let durable = matches!(step.action, StepAction::Durable(_));
        let writes = matches!(step.action, StepAction::Sink(_));
        let step_inputs = step.inputs.clone();
        let head = Head::Edges(step.inputs.clone());
        let task = self.start(&uid, parallelism, head, vec![step]);
        for (to_port, input) in (0..).zip(inputs) {
            let from = &self.cut.tasks[self.task_of[input.node]];
            let kind = match keys.as_ref().and_then(|keys| keys.get(usize::from(to_port))) {
                Some(columns) => EdgeKind::Keyed(columns.clone()),
                None if durable => EdgeKind::Logged,
                None if from.parallelism == parallelism => EdgeKind::Forward,
                None => self.exchange(from, &step_inputs[usize::from(to_port)], writes),
            };
            let (from, to) = (from.id.clone(), self.cut.tasks[task].id.clone());
            self.cut.edges.push(Edge { from, from_port: input.port, to, to_port, kind });
        }
        task
    }

    /// Between tasks of different parallelism: by row, but rows that take back others go the way of those by their content, and
    /// stay behind them. A sink writes them in any order.
    fn exchange(&self, from: &Task, rows: &SchemaRef, writes: bool) -> EdgeKind {
        let gives_updates = from.steps.last().is_some_and(|step| step.changes == Changes::Updates);
        let content = content_keys(rows);
        if gives_updates && !writes && !content.is_empty() { EdgeKind::Keyed(content) } else { EdgeKind::Exchange }
    }

    fn start(&mut self, name: &str, parallelism: u16, head: Head, steps: Vec<Step>) -> usize {
        let place = self.cut.tasks.len();
        let id = format!("t{}-{name}", place + 1);
        self.cut.tasks.push(Task { id, name: name.to_string(), parallelism, head, steps });
        place
    }

    /// What the step says; the job's for keyed steps; else the widest of its inputs'.
    fn parallelism(&self, step: &Step, inputs: &[Output]) -> u16 {
        match &step.action {
            StepAction::Infer(infer) => infer.parallelism,
            StepAction::Sink(spec) => {
                let sink = self.job.sinks.iter().find(|sink| sink.spec.uid == spec.uid);
                sink.map_or(self.job.parallelism, |sink| sink.parallelism)
            }
            action if action.keys().is_some() => self.job.parallelism,
            _ => {
                let of = |input: &Output| self.cut.tasks[self.task_of[input.node]].parallelism;
                inputs.iter().map(of).max().unwrap_or(self.job.parallelism)
            }
        }
    }
}

/// The models of `job` with their signatures.
pub(super) fn models(job: &JobFile, facts: &Facts) -> Result<BTreeMap<String, ModelService>, JobFileError> {
    let service = |(name, spec): (&String, &crate::spec::ModelSpec)| {
        let signature = facts.signatures.get(name).ok_or_else(|| internal(job, &format!("no signature of {name}")))?;
        let id = format!("model-{name}");
        Ok((name.clone(), ModelService { id, spec: spec.clone(), signature: signature.clone() }))
    };
    job.models.iter().map(service).collect()
}

/// The committers of `job`: those of the sinks, then that of the dead letters.
pub(super) fn committers(job: &JobFile) -> Vec<Committer> {
    let committer = |sink: &crate::spec::SinkSpec| Committer {
        id: format!("committer-{}", sink.uid),
        sink: sink.clone(),
        guarantee: sink.format.guarantee(),
    };
    job.sinks.iter().map(|sink| &sink.spec).chain([&job.dead_letters]).map(committer).collect()
}

/// The edges out of the tasks: to the models, to the committers.
pub(super) fn outward(tasks: &[Task], models: &BTreeMap<String, ModelService>, committers: &[Committer]) -> Vec<Edge> {
    let edge = |from: &Task, to: &str, kind| Edge {
        from: from.id.clone(),
        from_port: 0,
        to: to.to_string(),
        to_port: 0,
        kind,
    };
    let mut edges = Vec::new();
    for task in tasks {
        for step in &task.steps {
            match &step.action {
                StepAction::Infer(infer) => {
                    let asked = std::iter::once(infer.model.as_str()).chain(infer.ladder.models());
                    let services = asked.filter_map(|model| models.get(model));
                    edges.extend(services.map(|service| edge(task, &service.id, EdgeKind::Call)));
                }
                StepAction::Sink(sink) => {
                    let committer = committers.iter().find(|committer| committer.sink.uid == sink.uid);
                    edges.extend(committer.map(|committer| edge(task, &committer.id, EdgeKind::Durable)));
                }
                _ => {}
            }
        }
    }
    let dead_letters = committers.last().into_iter();
    edges.extend(dead_letters.flat_map(|last| tasks.iter().map(|task| edge(task, &last.id, EdgeKind::Durable))));
    edges
}
