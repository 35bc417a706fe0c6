//! Cuts the line of steps into tasks and draws the edges.
//!
//! A new task starts before an inference step and before the sink, so that reading and decoding, waiting for a model, and
//! writing overlap. Where two neighbours have another parallelism the edge is an exchange by key group of the row's id:
//! rows of one split stay together and in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::sink::Guarantee;

use super::{Committer, Edge, EdgeKind, Head, ModelService, Step, StepAction, Task};
use crate::facts::Facts;
use crate::job_file::{JobFile, JobFileError};
use crate::logical::internal;

/// The tasks of `job`, the source's first.
pub(super) fn tasks(job: &JobFile, facts: &Facts, steps: Vec<Step>) -> Vec<Task> {
    let schema = Arc::clone(&facts.source_schema);
    let first = Task {
        id: task_id(1, &job.source.uid),
        name: job.source.uid.clone(),
        parallelism: job.source.parallelism,
        head: Head::Source(job.source.clone(), schema),
        steps: Vec::new(),
    };
    let mut tasks = Vec::new();
    let mut task = first;
    for step in steps {
        let parallelism = match &step.action {
            StepAction::Infer(infer) => Some(infer.parallelism),
            StepAction::Sink(_) => Some(job.sink_parallelism),
            _ => None,
        };
        if let Some(parallelism) = parallelism {
            let next = Task {
                id: task_id(tasks.len() + 2, &step.uid),
                name: step.uid.clone(),
                parallelism,
                head: Head::Edge(Arc::clone(&step.input)),
                steps: Vec::new(),
            };
            tasks.push(std::mem::replace(&mut task, next));
        }
        task.steps.push(step);
    }
    tasks.push(task);
    tasks
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

/// The committers of `job`: the sink's, then that of the dead letters.
pub(super) fn committers(job: &JobFile) -> Vec<Committer> {
    let committer = |sink: &crate::spec::SinkSpec| Committer {
        id: format!("committer-{}", sink.uid),
        sink: sink.clone(),
        guarantee: Guarantee::Transactional,
    };
    vec![committer(&job.sink), committer(&job.dead_letters)]
}

/// Every edge: along the tasks, to the models, to the committers.
pub(super) fn edges(tasks: &[Task], models: &BTreeMap<String, ModelService>, committers: &[Committer]) -> Vec<Edge> {
    let edge = |from: &Task, to: &str, kind| Edge { from: from.id.clone(), to: to.to_string(), kind };
    let along = tasks.windows(2).map(|pair| {
        let same = pair[0].parallelism == pair[1].parallelism;
        edge(&pair[0], &pair[1].id, if same { EdgeKind::Forward } else { EdgeKind::Exchange })
    });
    let mut edges: Vec<Edge> = along.collect();
    for task in tasks {
        for step in &task.steps {
            match &step.action {
                StepAction::Infer(infer) => {
                    let service = models.get(&infer.model);
                    edges.extend(service.map(|service| edge(task, &service.id, EdgeKind::Call)));
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

fn task_id(number: usize, name: &str) -> String {
    format!("t{number}-{name}")
}
