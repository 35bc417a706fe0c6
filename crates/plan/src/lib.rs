//! What the user asked for, checked and laid out as tasks.
//!
//! Three steps, each pure data:
//!
//! 1. [`parse`] reads a job file (TOML); its errors point at the place in the file ([`JobFileError`]).
//! 2. [`needs`] says which schemas and model signatures the engine must fetch; the engine brings them as [`Facts`].
//! 3. [`build`] checks the job against the facts, builds a DataFusion logical plan with our own nodes, and lays it out as
//!    a [`graph::JobGraph`]: tasks, edges, regions.
//!
//! [`explain::explain`] prints the result. Why this way: everything that can be refused is refused before a file is read
//! or a model is loaded, and the same graph drives the embedded host, the simulation and Flink.
//!
//! This crate never does I/O, reads no environment variable, starts no runtime and evaluates no row.

pub mod asking;
pub mod explain;
pub mod facts;
pub mod graph;
pub mod infer;
pub mod job_file;
pub mod logical;
mod nearest;
pub mod nexmark;
pub mod remote;
pub mod spec;
pub mod sql;
pub mod window;

use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use forebay_core::function::RowFunction;
use forebay_core::process::KnownProcess;

pub use facts::{Facts, Needs, needs};
pub use job_file::{JobFile, JobFileError, Overrides, json_schema, parse, parse_json, parse_json_with, parse_with};

/// A checked job: as the user wrote it and as it will run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The job as DataFusion plans, one for each sink; whatever DataFusion does not know is an extension node.
    pub logical: Vec<LogicalPlan>,
    /// The job as tasks, edges and regions.
    pub graph: graph::JobGraph,
}

/// Checks `job` against `facts` and lays it out. `functions` are the row functions that its expressions may call, `processes`
/// what its `process` steps may name.
///
/// # Errors
/// `Invalid`, pointing at the place in the job file, for whatever the user must change: a column, function, model, type
/// or shape that does not fit. `Internal` if the facts lack something that [`needs`] asked for.
pub fn build(
    job: &JobFile,
    facts: &Facts,
    functions: &[Arc<dyn RowFunction>],
    processes: &[Arc<dyn KnownProcess>],
) -> Result<Plan, JobFileError> {
    let plan = lay(job, facts, functions, processes)?;
    // The second time without columns that nothing uses; errors and their hints name all.
    match graph::narrowed(&plan.graph, facts) {
        Some(narrower) => lay(job, &narrower, functions, processes),
        None => Ok(plan),
    }
}

fn lay(
    job: &JobFile,
    facts: &Facts,
    functions: &[Arc<dyn RowFunction>],
    processes: &[Arc<dyn KnownProcess>],
) -> Result<Plan, JobFileError> {
    let laid = logical::build(job, facts, functions, processes)?;
    let graph = graph::build(job, facts, &laid)?;
    Ok(Plan { logical: laid.plans(), graph })
}
