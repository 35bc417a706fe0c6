//! The job file: a pipeline as TOML, with errors that point at the place.
//!
//! Parsing has five steps: TOML to a table with spans, environment variables put into its strings, the table to typed
//! sections (`tables`, `ends`), the sections to checked settings with every default filled in (`check`), the names that
//! steps and sinks read to streams (`links`). Later checks, which need facts about the outside, keep using the spans, so
//! that a missing column is reported at the expression that names it.
//!
//! Nothing here reads a file or the environment: text and a look-up function come from the caller.

mod asking;
mod check;
mod check_infer;
mod check_model;
mod check_step;
mod columns;
mod defaults;
mod durable;
mod ends;
mod environment;
mod error;
mod feedback;
mod fetch;
mod json;
mod keyed;
mod links;
mod nexmark;
mod process;
mod python;
mod remote;
mod rows;
mod stream_join;
mod tables;
pub(crate) mod units;
mod window;

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU64};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::on_error::OnError;
use toml::Spanned;

pub use tables::ConstantValue;

use crate::spec::{JoinHow, Limit, ModelSpec, Order, SinkSpec, SourceSpec, StreamJoinHow, StreamJoinKind, TableSpec};
use crate::spec::{SampleSpec, deduplicate_sides};
use crate::window::WindowShape;

pub use durable::DurableDecl;
pub use error::{JobFileError, JobText};
pub use feedback::{FeedbackDecl, MetricsDecl};
pub use json::{parse_json, parse_json_with};
pub use keyed::{DeduplicateDecl, TopDecl};
pub use process::ProcessDecl;
pub use rows::ExplodeDecl;
pub use units::DurationText;
pub use window::WindowDecl;

/// A job file that was read and checked on its own, before any fact about the outside is known.
#[derive(Debug, Clone)]
pub struct JobFile {
    /// The text it came from, for errors.
    pub text: Arc<JobText>,
    /// The job's name.
    pub name: String,
    /// Count of key groups, fixed for the job's life.
    pub key_groups: u16,
    /// How many subtasks a task has that no part of it says otherwise about.
    pub parallelism: u16,
    /// Time between the starts of two checkpoints.
    pub checkpoint_interval: Duration,
    /// Most bytes of keyed state that a step keeps in memory in each subtask.
    pub state_memory: u64,
    /// Where rows come from, by name.
    pub sources: Vec<SourceDecl>,
    /// What is done with them, in order; each reads only what stands before it.
    pub steps: Vec<StepDecl>,
    /// The declared models, each used by a step.
    pub models: BTreeMap<String, ModelSpec>,
    /// Where rows go, by name.
    pub sinks: Vec<SinkDecl>,
    /// Where rows go that cannot be processed.
    pub dead_letters: SinkSpec,
}

/// A source as declared.
#[derive(Debug, Clone)]
pub struct SourceDecl {
    /// Its settings.
    pub spec: SourceSpec,
    /// Where in the text it, or its uid, stands.
    pub span: Range<usize>,
    /// Where in the text its event-time column is named; empty without one.
    pub time_span: Range<usize>,
}

/// A sink as declared.
#[derive(Debug, Clone)]
pub struct SinkDecl {
    /// Its settings.
    pub spec: SinkSpec,
    /// Where in the text it, or its uid, stands.
    pub span: Range<usize>,
    /// How many writers.
    pub parallelism: u16,
    /// What it writes.
    pub input: StreamRef,
}

/// The stream that a step or sink reads: the rows of a source or step, or a side output of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRef {
    /// Uid of the source or step.
    pub uid: String,
    /// Output of it: 0 its rows, from 1 its side outputs in the order of [`Action::sides`].
    pub port: u8,
    /// Where in the text it is named; the reader's place where it is not.
    pub span: Range<usize>,
}

/// One `[[step]]` as declared.
#[derive(Debug, Clone)]
pub struct StepDecl {
    /// Place in the file, from 1.
    pub number: usize,
    /// Stable name.
    pub uid: String,
    /// Where in the text the step stands.
    pub span: Range<usize>,
    /// What it reads, by input port.
    pub inputs: Vec<StreamRef>,
    /// What it does.
    pub action: Action,
}

/// What a step does; SQL is not parsed yet.
#[derive(Debug, Clone)]
pub enum Action {
    /// Keeps the rows for which the expression is true.
    Filter(Spanned<String>, OnError),
    /// Replaces all columns.
    Select(Vec<Spanned<String>>, OnError),
    /// Adds or replaces columns.
    With(Vec<Spanned<String>>, OnError),
    /// Asks a model.
    Infer(Box<InferDecl>),
    /// Looks rows up in a table.
    Join(JoinDecl),
    /// Pairs rows with those of another stream.
    StreamJoin(StreamJoinDecl),
    /// Puts several streams into one.
    Union(Vec<Spanned<String>>),
    /// Aggregates rows by key and event time.
    Window(WindowDecl),
    /// Makes one row of each element of a list.
    Explode(ExplodeDecl),
    /// Lets so many rows through.
    Limit(NonZeroU64),
    /// Keeps a part of the rows.
    Sample(SampleSpec),
    /// Cuts the job into regions.
    Durable(DurableDecl),
    /// Keeps one row of each key.
    Deduplicate(DeduplicateDecl),
    /// Keeps the first rows of each key.
    Top(TopDecl),
    /// Gives predictions the labels that come later.
    Feedback(FeedbackDecl),
    /// Says how good predictions were.
    Metrics(MetricsDecl),
    /// Gives the rows of each key to a function of the program that runs the job.
    Process(ProcessDecl),
}

/// An inference step as declared.
#[derive(Debug, Clone)]
pub struct InferDecl {
    /// The model's name, known to be declared.
    pub model: Spanned<String>,
    /// Model input to column.
    pub inputs: BTreeMap<String, Spanned<String>>,
    /// Model output to new column.
    pub outputs: BTreeMap<String, Spanned<String>>,
    /// The columns that make a row's key.
    pub key: Vec<Spanned<String>>,
    /// The column that says when a row has to be answered.
    pub deadline_column: Option<Spanned<String>>,
    /// What a row costs, as SQL.
    pub cost: Option<Spanned<String>>,
    /// How long a row is, as SQL.
    pub length: Option<Spanned<String>>,
    /// Other answers, in the order in which they are tried.
    pub fallback: Vec<FallbackDecl>,
    /// The column that says who answered.
    pub fallback_column: Option<Spanned<String>>,
    /// Settings that need no fact.
    pub settings: InferSettings,
}

/// Another answer as declared.
#[derive(Debug, Clone)]
pub enum FallbackDecl {
    /// Model output to value.
    Constant(BTreeMap<String, Spanned<ConstantValue>>),
    /// Model output to SQL.
    Sql(BTreeMap<String, Spanned<String>>),
    /// Another model, known to be declared.
    Model {
        /// Its name.
        model: Spanned<String>,
        /// How many of its request batches may be in flight.
        limit: Limit,
    },
}

/// The settings of an inference step that need no fact; see [`InferSpec`](crate::spec::InferSpec).
#[derive(Debug, Clone)]
pub struct InferSettings {
    /// Most rows in a request batch.
    pub batch_rows: usize,
    /// Most input bytes in a request batch.
    pub batch_bytes: u64,
    /// Longest wait of a request batch's first row.
    pub linger: Duration,
    /// How many request batches may be in flight.
    pub limit: Limit,
    /// Order of the rows that leave.
    pub order: Order,
    /// Most tries of one row.
    pub attempts: u32,
    /// Longest wait for one try.
    pub timeout: Duration,
    /// What happens to a row without an answer.
    pub on_error: OnError,
    /// How many subtasks.
    pub parallelism: u16,
    /// Share of the model's room.
    pub weight: u32,
    /// How long after its arrival a row has to be answered.
    pub deadline: Option<Duration>,
    /// Most cost in a request batch.
    pub batch_cost: Option<u64>,
    /// Greatest length of each bucket, ascending.
    pub buckets: Vec<u64>,
    /// A watermark completes the request batches with rows that it waits for.
    pub close_on_watermark: bool,
    /// How long rows wait for a model elsewhere that refuses every call.
    pub fallback_after: Option<Duration>,
    /// How long answers are kept for rows that take them back.
    pub ttl: Option<Duration>,
}

/// A lookup join as declared.
#[derive(Debug, Clone)]
pub struct JoinDecl {
    /// The table.
    pub table: TableSpec,
    /// Stream column to table column.
    pub on: BTreeMap<String, Spanned<String>>,
    /// What happens to rows without a match.
    pub how: JoinHow,
}

/// A join of two streams as declared.
#[derive(Debug, Clone)]
pub struct StreamJoinDecl {
    /// The joined stream.
    pub stream: Spanned<String>,
    /// Column of the step's stream to column of the joined one.
    pub on: BTreeMap<String, Spanned<String>>,
    /// Rows without a partner.
    pub how: StreamJoinHow,
    /// Which rows meet.
    pub kind: StreamJoinKind,
    /// What is put before the names of the joined stream's columns.
    pub prefix: String,
}

/// What the command line says instead of the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Replaces the job's `parallelism`; parts that name their own keep it.
    pub parallelism: Option<NonZeroU16>,
}

// === impl StreamRef ===

impl StreamRef {
    /// What tells it from every other stream of the job: the uid, with the port behind it where that is not 0.
    pub fn name(&self) -> String {
        if self.port == 0 { self.uid.clone() } else { format!("{}.{}", self.uid, self.port) }
    }
}

// === impl Action ===

impl Action {
    /// Whether its first input is the step before, or what `from` says.
    pub fn takes_from(&self) -> bool {
        !matches!(self, Self::Union(_))
    }

    /// Names of the streams that it reads beside that one, in the order of its input ports.
    pub fn streams(&self) -> &[Spanned<String>] {
        match self {
            Self::Union(streams) => streams,
            Self::StreamJoin(join) => std::slice::from_ref(&join.stream),
            Self::Feedback(feedback) => std::slice::from_ref(&feedback.labels),
            _ => &[],
        }
    }

    /// Whether it keeps state by key, which is found by its uid.
    pub fn keeps_state(&self) -> bool {
        match self {
            Self::StreamJoin(_) | Self::Window(_) | Self::Deduplicate(_) | Self::Top(_) => true,
            Self::Feedback(_) | Self::Metrics(_) | Self::Durable(_) | Self::Limit(_) | Self::Process(_) => true,
            Self::Explode(_) | Self::Sample(_) => false,
            Self::Filter(..) | Self::Select(..) | Self::With(..) | Self::Infer(_) | Self::Join(_) | Self::Union(_) => {
                false
            }
        }
    }

    /// Names of its side outputs, those of ports 1 and up; others read them as `uid.name`.
    pub fn sides(&self) -> Vec<&str> {
        let fixed: &[&str] = match self {
            Self::Process(process) => return process.side_outputs.iter().map(|name| name.get_ref().as_str()).collect(),
            Self::StreamJoin(join) => join.kind.sides(),
            Self::Filter(..) | Self::Select(..) | Self::With(..) | Self::Infer(_) | Self::Join(_) => &[],
            Self::Union(_) | Self::Durable(_) => &[],
            Self::Explode(_) | Self::Limit(_) | Self::Sample(_) => &[],
            Self::Window(window) if window.shape == WindowShape::Whole => &[],
            Self::Window(_) => &["late"],
            Self::Deduplicate(decl) => deduplicate_sides(decl.keep, decl.order),
            Self::Top(_) => &[],
            Self::Feedback(_) => &["late", "late_labels"],
            Self::Metrics(metrics) if metrics.every.is_some() => &["late"],
            Self::Metrics(_) => &[],
        };
        fixed.to_vec()
    }
}

/// Reads and checks a job file. `file_name` is shown in errors; `environment` answers `${NAME}`.
///
/// # Errors
/// What is wrong, where, and what is accepted.
pub fn parse(
    text: &str,
    file_name: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<JobFile, JobFileError> {
    parse_with(text, file_name, environment, Overrides::default())
}

/// [`parse`], with some settings from elsewhere.
///
/// # Errors
/// What is wrong, where, and what is accepted.
pub fn parse_with(
    text: &str,
    file_name: &str,
    environment: impl Fn(&str) -> Option<String>,
    overrides: Overrides,
) -> Result<JobFile, JobFileError> {
    let source = JobText { file: file_name.to_string(), text: text.to_string(), given: error::Given::File };
    read(Arc::new(source), Some(&environment), overrides)
}

/// Reads and checks the text of `source`; without an `environment`, `${NAME}` stays as it is.
fn read(
    source: Arc<JobText>,
    environment: Option<environment::Lookup<'_>>,
    overrides: Overrides,
) -> Result<JobFile, JobFileError> {
    let mut table = toml::de::DeTable::parse(&source.text).map_err(|error| error::of_toml(&source, &error))?;
    if let Some(environment) = environment {
        environment::substitute(&mut table, environment)
            .map_err(|missing| source.error(missing.span, missing.message).with_help(missing.help))?;
    }
    ends::name_the_only(&mut table);
    let mut tables = <tables::JobTable as serde::Deserialize>::deserialize(toml::de::Deserializer::from(table))
        .map_err(|error| error::of_toml(&source, &error))?;
    if let Some(parallelism) = overrides.parallelism {
        *tables.parallelism.get_mut() = parallelism;
    }
    check::job(Arc::clone(&source), tables)
}

/// The JSON schema of job files, for editors and for the reference.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(tables::JobTable).to_value()
}
