//! Which columns of a source its readers use, so that a source that makes columns one by one makes no others.
//!
//! A column is used up to the first step that chooses columns; steps before it are looked into where they name the columns
//! they read, and any other step counts as using all. So the answer may hold a column too many, never one too few.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;

use super::{EdgeKind, Head, JobGraph, StepAction, Task};
use crate::facts::Facts;
use crate::spec::{SourceFormat, SourceSpec};

/// `facts` without the columns that `graph`, which was made of them, does not use; `None` if it uses all.
pub(crate) fn narrowed(graph: &JobGraph, facts: &Facts) -> Option<Facts> {
    let heads = graph.tasks.iter().filter_map(|task| match &task.head {
        Head::Source(source, schema) if source.format == SourceFormat::Nexmark => Some((task, source, schema)),
        _ => None,
    });
    let narrower: BTreeMap<String, SchemaRef> = heads
        .filter_map(|(task, source, schema)| {
            let kept = kept(graph, task, source, schema)?;
            let found = facts.sources.get(&source.uid)?;
            Some((source.uid.clone(), Arc::new(found.project(&kept).ok()?)))
        })
        .collect();
    if narrower.is_empty() {
        return None;
    }
    let mut sources = facts.sources.clone();
    sources.extend(narrower);
    Some(Facts { sources, ..facts.clone() })
}

/// Places of the columns that the source's rows need; `None` if all. A row has one column at least, and its event time.
fn kept(graph: &JobGraph, task: &Task, source: &SourceSpec, schema: &SchemaRef) -> Option<Vec<usize>> {
    let mut used = used(graph, task)?;
    if let Some(watermark) = &source.watermark {
        used.insert(schema.index_of(&watermark.time).ok()?);
    }
    if used.is_empty() {
        used.insert(0);
    }
    (used.len() < schema.fields().len()).then(|| used.into_iter().collect())
}

/// Columns of the rows that enter `task` which it or those behind it use; `None` if all.
fn used(graph: &JobGraph, task: &Task) -> Option<BTreeSet<usize>> {
    let width = task.inputs().first()?.fields().len();
    let mut used = BTreeSet::new();
    let mut read = |expression: &Arc<dyn PhysicalExpr>| {
        used.extend(
            collect_columns(expression).into_iter().map(|column| column.index()).filter(|place| *place < width),
        );
    };
    for step in &task.steps {
        match &step.action {
            StepAction::Filter { predicate, .. } => read(predicate),
            // Its result is appended, so the places of the columns before it stay.
            StepAction::Call(call) => call.arguments.iter().for_each(&mut read),
            StepAction::Project { columns, .. } => {
                columns.iter().for_each(|column| read(&column.expr));
                return Some(used);
            }
            _ => return None,
        }
    }
    let mut leaving = graph.edges.iter().filter(|edge| edge.from == task.id && edge.kind.is_pipelined()).peekable();
    leaving.peek()?;
    for edge in leaving {
        let next = graph.task(&edge.to).filter(|next| edge.from_port == 0 && next.inputs().len() == 1)?;
        used.extend(self::used(graph, next)?.into_iter().filter(|place| *place < width));
        if let EdgeKind::Keyed(columns) = &edge.kind {
            used.extend(columns.iter().copied().filter(|place| *place < width));
        }
    }
    Some(used)
}
