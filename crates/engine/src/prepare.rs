//! Looks at what a job needs from the outside (schemas, tables, model signatures) and plans it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use forebay_connectors::files::{FileFormat, FilePattern, infer_schema};
use forebay_core::env::Env;
use forebay_core::model::{ModelField, ModelSignature};
use forebay_core::store::Store;
use forebay_core::{Error, Kind, Result};
use forebay_inference::hosts::{Host, Signature, Slot};
use forebay_plan::spec::{self, SourceFormat, TableFormat};
use forebay_plan::{Facts, JobFile, JobFileError, Needs, Plan, build, needs};

use crate::components::Components;
use crate::nexmark;
use crate::outside::{Outside, hosts};

/// How often a remote model is asked for its signature before a start is given up.
const LOOKS_MAX: u32 = 4;
/// The pause before the second time; it doubles.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// A job planned against what is really there.
pub struct Prepared {
    /// The plan.
    pub plan: Plan,
    /// The models, by name, not started.
    pub hosts: BTreeMap<String, Arc<dyn Host>>,
    /// What the program that runs it adds.
    pub components: Components,
}

/// What a job needs to know of the outside, found out once: the job is planned from it as often as its parallelism changes.
pub struct Outlook {
    facts: Facts,
    hosts: BTreeMap<String, Arc<dyn Host>>,
    components: Components,
}

/// Why a job cannot be planned: its file is wrong, or something it names cannot be looked at.
#[derive(Debug)]
pub enum PrepareError {
    /// The job file, at a place.
    File(JobFileError),
    /// The outside.
    Outside(Error),
}

// === impl PrepareError ===

impl From<Error> for PrepareError {
    fn from(error: Error) -> Self {
        Self::Outside(error)
    }
}

impl From<JobFileError> for PrepareError {
    fn from(error: JobFileError) -> Self {
        Self::File(error)
    }
}

impl From<PrepareError> for Error {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::File(error) => error.into(),
            PrepareError::Outside(error) => error,
        }
    }
}

/// Looks at sources, tables and models, and plans `job`. Loads each model once to read its signature.
///
/// # Errors
/// [`PrepareError::File`] for what the user must change in the file, else what the outside answered.
pub async fn prepare(job: &JobFile, outside: &dyn Outside) -> Result<Prepared, PrepareError> {
    prepare_with(job, outside, &Components::default()).await
}

/// [`prepare`], for a job that may also name `components`.
///
/// # Errors
/// Those of [`prepare`].
pub async fn prepare_with(
    job: &JobFile,
    outside: &dyn Outside,
    components: &Components,
) -> Result<Prepared, PrepareError> {
    Outlook::of(job, outside, components).await?.plan(job)
}

// === impl Outlook ===

impl Outlook {
    /// Looks at sources, tables and models of `job`. Loads each model once to read its signature.
    ///
    /// # Errors
    /// Those of [`prepare`].
    pub async fn of(job: &JobFile, outside: &dyn Outside, components: &Components) -> Result<Self, PrepareError> {
        let needs = needs(job);
        let hosts = hosts(outside, &needs.models)?;
        let facts = facts(&needs, &hosts, outside).await?;
        Ok(Self { facts, hosts, components: components.clone() })
    }

    /// Plans `job`, which may differ in its parallelism from the one that this was made for. All such plans share their
    /// models' hosts.
    ///
    /// # Errors
    /// [`PrepareError::File`] for what the user must change.
    pub fn plan(&self, job: &JobFile) -> Result<Prepared, PrepareError> {
        let plan = build(job, &self.facts, &forebay_functions::functions(), &self.components.known())?;
        Ok(Prepared { plan, hosts: self.hosts.clone(), components: self.components.clone() })
    }
}

async fn facts(needs: &Needs, hosts: &BTreeMap<String, Arc<dyn Host>>, outside: &dyn Outside) -> Result<Facts> {
    let mut sources = BTreeMap::new();
    for (uid, source) in &needs.sources {
        let schema = match (&source.nexmark, &source.schema) {
            (Some(made), _) => nexmark::settings(made).stream.schema(),
            (None, Some(said)) => Arc::clone(said),
            (None, None) => schema(outside, source_format(source.format)?, &source.path).await?,
        };
        sources.insert(uid.clone(), schema);
    }
    let mut tables = BTreeMap::new();
    for (step, table) in &needs.tables {
        tables.insert(*step, schema(outside, table_format(table.format), &table.path).await?);
    }
    let mut signatures = BTreeMap::new();
    for (name, host) in hosts {
        let is_remote = matches!(needs.models.get(name).map(|model| &model.host), Some(spec::Host::Remote(_)));
        let found =
            if is_remote { signature_of_remote(name, &**host, &*outside.env()).await } else { host.signature().await };
        let signature = found
            .map_err(|error| Error::new(error.kind(), "read signature of model").with("model", name).source(error))?;
        signatures.insert(name.clone(), planned(&signature));
    }
    Ok(Facts { sources, tables, signatures })
}

/// The signature of a remote model, asked for again where the server is full or not there for a moment.
async fn signature_of_remote(name: &str, host: &dyn Host, env: &dyn Env) -> Result<Signature> {
    let mut pause = LOOK_PAUSE;
    for _ in 1..LOOKS_MAX {
        match host.signature().await {
            Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::Overload) => {
                tracing::warn!("model {name} is looked at again in {} s: {}", pause.as_secs(), error.chain());
                env.sleep(pause).await;
                pause *= 2;
            }
            other => return other,
        }
    }
    host.signature().await
}

async fn schema(outside: &dyn Outside, format: FileFormat, path: &str) -> Result<SchemaRef> {
    let (store, pattern) = files(outside, path)?;
    infer_schema(store, format, pattern).await.map_err(|error| {
        let kind = if error.kind() == Kind::Data { Kind::Invalid } else { error.kind() };
        Error::new(kind, "look at input").with("path", path).source(error)
    })
}

/// The store and pattern that a path with wildcards means.
///
/// # Errors
/// `Invalid` for a path that cannot be understood; those of the store.
pub fn files(outside: &dyn Outside, path: &str) -> Result<(Arc<dyn Store>, FilePattern)> {
    let pattern = FilePattern::parse(path)?;
    Ok((outside.store(pattern.root())?, pattern))
}

/// The connectors' name of the format of a source that reads files.
///
/// # Errors
/// `Internal` for a source that does not.
pub fn source_format(format: SourceFormat) -> Result<FileFormat> {
    Ok(match format {
        SourceFormat::Images => FileFormat::Images,
        SourceFormat::Parquet => FileFormat::Parquet,
        SourceFormat::Jsonl => FileFormat::JsonLines,
        SourceFormat::Csv => FileFormat::Csv,
        SourceFormat::Nexmark => return Err(Error::new(Kind::Internal, "read files").with("format", format)),
    })
}

/// The connectors' name of a table's format.
pub fn table_format(format: TableFormat) -> FileFormat {
    match format {
        TableFormat::Parquet => FileFormat::Parquet,
        TableFormat::Jsonl => FileFormat::JsonLines,
        TableFormat::Csv => FileFormat::Csv,
    }
}

/// A host's signature as the planner reads it, with the row axis in front.
fn planned(signature: &Signature) -> ModelSignature {
    let field = |slot: &Slot| ModelField::new(slot.name.clone(), slot.value.clone(), &slot.shape);
    ModelSignature {
        inputs: signature.inputs.iter().map(field).collect(),
        outputs: signature.outputs.iter().map(field).collect(),
    }
}
