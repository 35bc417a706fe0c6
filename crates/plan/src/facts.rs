//! What the planner must know about the outside, asked for and brought as data.
//!
//! [`needs`] lists it, the engine looks (lists sources, opens a table, loads a model's signature) and brings
//! [`Facts`]. The planner itself never looks.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;

use crate::job_file::{Action, JobFile};
use crate::spec::{ModelSpec, Signatures, SourceSpec, TableSpec};

/// What the engine must find out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// The sources whose schemas are needed, by uid.
    pub sources: BTreeMap<String, SourceSpec>,
    /// The tables whose schemas are needed, by step number.
    pub tables: BTreeMap<usize, TableSpec>,
    /// The models whose signatures are needed, by name.
    pub models: BTreeMap<String, ModelSpec>,
}

/// What the engine found out; the same keys as [`Needs`].
#[derive(Debug, Clone)]
pub struct Facts {
    /// Schemas of the sources' rows, by uid, extension metadata included.
    pub sources: BTreeMap<String, SchemaRef>,
    /// Schemas of lookup tables, by step number.
    pub tables: BTreeMap<usize, SchemaRef>,
    /// Signatures of models, by name.
    pub signatures: Signatures,
}

/// What must be found out before `job` can be planned.
pub fn needs(job: &JobFile) -> Needs {
    let table = |action: &Action| match action {
        Action::Join(join) => Some(join.table.clone()),
        _ => None,
    };
    Needs {
        sources: job.sources.iter().map(|source| (source.spec.uid.clone(), source.spec.clone())).collect(),
        tables: job.steps.iter().filter_map(|step| Some((step.number, table(&step.action)?))).collect(),
        models: job.models.clone(),
    }
}
