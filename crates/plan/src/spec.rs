//! What each part of a job is told: the settings of sources, inference, lookups, models and sinks.
//!
//! Plain values, complete (every default is filled in) and checked; they travel in the job graph to whoever builds the
//! part. Components (functions, stores) are never in here.

mod durable;
mod feedback;
mod keyed;
mod process;
mod rows;
mod stream_join;
mod watermark;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use forebay_core::model::ModelSignature;
use forebay_core::on_error::OnError;
use forebay_core::sink::Guarantee;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::asking::{HedgeSpec, LimitsSpec};
use crate::infer::{AnswersSpec, LadderSpec, RowSpec};
use crate::nexmark::NexmarkSpec;
use crate::remote::RemoteSpec;

pub use durable::{DurableMode, DurableSpec};
pub use feedback::{FeedbackSpec, MetricsSpec};
pub use keyed::{DeduplicateKeep, DeduplicateOrder, DeduplicateSpec, TopSpec, deduplicate_sides, remembered};
pub use process::ProcessSpec;
pub use rows::{ExplodeSpec, LimitSpec, SampleSpec};
pub use stream_join::{StreamJoinHow, StreamJoinKind, StreamJoinSpec};
pub use watermark::{FileTimes, WatermarkSpec};

/// How the bytes of a source or a table become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceFormat {
    /// One row a file: columns `path` and `content` (the encoded image).
    Images,
    /// Apache Parquet.
    Parquet,
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values, the first line names the columns.
    Csv,
    /// A stream of the Nexmark benchmark, made on the spot.
    Nexmark,
}

/// How the rows of a lookup table are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TableFormat {
    /// Apache Parquet.
    Parquet,
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values, the first line names the columns.
    Csv,
}

/// How rows become the bytes of a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SinkFormat {
    /// Apache Parquet.
    Parquet,
    /// One JSON object a line.
    Jsonl,
    /// Nothing: every row is dropped.
    Blackhole,
}

/// In which order rows leave the inference step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As answers come; never past a watermark.
    #[default]
    Unordered,
    /// As they came in.
    Ordered,
    /// Rows of one key as they came in, and never in two request batches at once.
    PerKey,
}

/// What a lookup join does with a row that the table does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JoinHow {
    /// Keeps it; the table's columns are null.
    Left,
    /// Drops it.
    Inner,
}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SourceSpec {
    /// Stable name; row ids hang on it.
    pub uid: String,
    /// How bytes become rows.
    pub format: SourceFormat,
    /// Local path or URL; may hold a glob. Empty where rows are made on the spot.
    pub path: String,
    /// What is made, of the format `nexmark` only.
    pub nexmark: Option<NexmarkSpec>,
    /// Most rows in one batch.
    pub batch_rows: usize,
    /// Its columns, if they are said and not looked for in its files.
    pub schema: Option<SchemaRef>,
    /// How often its folder is looked at for new files; `None`: it reads what is there at the first start, and ends.
    pub monitor_interval: Option<Duration>,
    /// How many readers.
    pub parallelism: u16,
    /// Its event time, if it has one.
    pub watermark: Option<WatermarkSpec>,
}

/// What the rows of a stream do to its result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Changes {
    /// Every row adds itself; nothing is ever taken back.
    #[default]
    Append,
    /// Rows also take back and replace earlier ones (`+I`, `-U`, `+U`, `-D`).
    Updates,
}

/// A small table that is read whole before the first row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableSpec {
    /// How bytes become rows.
    pub format: TableFormat,
    /// Local path or URL.
    pub path: String,
}

/// A join of every row with at most one row of a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LookupJoinSpec {
    /// Stable name.
    pub uid: String,
    /// The table; a key that occurs in it twice is refused when it is read.
    pub table: TableSpec,
    /// The table's schema.
    pub table_schema: SchemaRef,
    /// Pairs of places: a column of the stream and the table's column that must equal it. The types are the same.
    pub on: Vec<(usize, usize)>,
    /// Places of the table's columns that are appended to the stream, in order: all but the keys.
    pub take: Vec<usize>,
    /// What happens to rows without a match.
    pub how: JoinHow,
}

/// The settings of one inference step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InferSpec {
    /// Stable name; request ids and the journal hang on it.
    pub uid: String,
    /// Which model answers, a key of [`JobGraph::models`](crate::graph::JobGraph::models).
    pub model: String,
    /// The model's inputs in the model's order, each with the place of the column that feeds it.
    pub inputs: Vec<(String, usize)>,
    /// The model's outputs that are kept, in the order of their columns at the end of the output schema, each with its
    /// column's name.
    pub outputs: Vec<(String, String)>,
    /// Most rows in a request batch.
    pub batch_rows: usize,
    /// Most bytes of input columns in a request batch; a larger single row travels alone.
    pub batch_bytes: u64,
    /// Longest wait of a request batch's first row.
    pub linger: Duration,
    /// How many request batches may be in flight.
    pub limit: Limit,
    /// Order of the rows that leave.
    pub order: Order,
    /// Most tries of one row, the first included.
    pub attempts: u32,
    /// Longest wait for one try.
    pub timeout: Duration,
    /// What happens to a row without an answer.
    pub on_error: OnError,
    /// How many subtasks call the model.
    pub parallelism: u16,
    /// Share of the model's room against others that ask it, each subtask's.
    pub weight: u32,
    /// What the batcher has to know of each row.
    pub rows: RowSpec,
    /// Other answers for rows that the model does not answer.
    pub ladder: LadderSpec,
    /// What is kept of answers; `None` over rows that only add.
    pub answers: Option<AnswersSpec>,
}

/// Where a model runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// An ONNX file, in a child process.
    Onnx {
        /// Local path of the file.
        path: String,
    },
    /// A Python function or class, in a child process or in threads of the interpreter that runs the job.
    Python(PythonSpec),
    /// A scripted model for trials and tests, in a child process.
    Fake(FakeSpec),
    /// A model behind an address.
    Remote(Box<RemoteSpec>),
}

/// Which Python function, and how it is run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PythonSpec {
    /// Where it is.
    pub code: PythonCode,
    /// Folders that modules are looked for in before all others.
    pub path: Vec<String>,
    /// Names the content, in place of a hash.
    pub version: Option<String>,
    /// The interpreter; `None`: that of whoever runs the job.
    pub interpreter: Option<String>,
    /// It runs in worker processes; `false`: in threads, where an interpreter runs the job.
    pub use_process: bool,
    /// Most private memory of one worker process.
    pub memory_bytes: Option<u64>,
    /// Thousandths of a GPU that one worker process needs, below 1000 a part of one, else whole ones; `None`: it sees all, or
    /// needs only memory.
    pub gpu_thousandths: Option<u32>,
    /// Memory that one worker process needs on each GPU that it sees.
    pub gpu_memory_bytes: Option<u64>,
    /// What it takes and gives as JSON, where the job says so.
    pub signature: Option<String>,
}

/// Where a Python function is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PythonCode {
    /// `MODULE:NAME`.
    Function(String),
    /// A file that the Python package wrote.
    Pickled(String),
}

/// How the scripted model behaves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct FakeSpec {
    /// How long one request batch takes.
    pub service_time: Duration,
    /// It dies when an input text contains this.
    pub crash_on: Option<String>,
    /// It refuses a row whose input text contains this.
    pub fail_on: Option<String>,
}

/// How many request batches may be in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// This many, for each subtask.
    Fixed(usize),
    /// Nobody said, and the model is local: [`Limit::IN_FLIGHT`] for each subtask, or [`Limit::IN_FLIGHT_OF_REPLICA`] for each
    /// replica, shared out among the subtasks, if that is more.
    Pool {
        /// How many subtasks ask.
        subtasks: u16,
    },
    /// As many as the model answers within its [`ModelSpec::latency`]; all subtasks and steps that ask it share the limit.
    Follows {
        /// Never more than this.
        calls_max: Option<usize>,
    },
}

/// A declared model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelSpec {
    /// Its name in the job file.
    pub name: String,
    /// Where it runs.
    pub host: Host,
    /// The longest that a request should take, 99 times in 100: its limit then follows what the model can take.
    pub latency: Option<Duration>,
    /// What all who ask it share.
    pub limits: LimitsSpec,
    /// Whether asking the same twice does no harm; `None` if nobody said.
    pub idempotent: Option<bool>,
    /// Second copies of slow requests.
    pub hedge: Option<HedgeSpec>,
    /// How many loaded copies.
    pub replicas: u16,
    /// Whether every answer is stored before it is used, so that it is never computed again.
    pub journal: bool,
    /// File to which the model's process appends a line, the request id, for each row that it ran.
    pub log: Option<String>,
}

/// Where rows go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SinkSpec {
    /// Stable name.
    pub uid: String,
    /// How rows become bytes.
    pub format: SinkFormat,
    /// Local folder or URL prefix; empty of a sink that drops rows.
    pub path: String,
    /// A file is closed at the next batch once it has this many bytes.
    pub file_bytes: u64,
    /// Name of a first column that says what each row does (`+I`, `-U`, `+U`, `-D`); `None`: no such column.
    pub kinds: Option<String>,
}

/// Signatures of models by name.
pub type Signatures = BTreeMap<String, ModelSignature>;

// === impl Limit ===

impl Limit {
    /// Request batches in flight for each subtask, where nothing is declared.
    pub const IN_FLIGHT: usize = 4;
    /// The same for each replica of a local model: one that it works on, and one that it begins right after.
    pub const IN_FLIGHT_OF_REPLICA: usize = 2;
}

// === impl SourceSpec ===

impl SourceSpec {
    /// Where its rows come from, for people.
    pub fn place(&self) -> String {
        match &self.nexmark {
            Some(made) => format!("stream {} of {} rows", made.stream, made.rows),
            None => self.path.clone(),
        }
    }
}

// === impl SinkFormat ===

impl SinkFormat {
    /// What a sink of this format promises.
    pub fn guarantee(self) -> Guarantee {
        match self {
            Self::Parquet | Self::Jsonl => Guarantee::Transactional,
            Self::Blackhole => Guarantee::AtLeastOnce,
        }
    }
}

// === names as the job file writes them ===

macro_rules! shown_as {
    ($type:ty { $($variant:ident => $text:literal),+ $(,)? }) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text),+ })
            }
        }
    };
}

shown_as!(SourceFormat { Images => "images", Parquet => "parquet", Jsonl => "jsonl", Csv => "csv", Nexmark => "nexmark" });
shown_as!(TableFormat { Parquet => "parquet", Jsonl => "jsonl", Csv => "csv" });
shown_as!(SinkFormat { Parquet => "parquet", Jsonl => "jsonl", Blackhole => "blackhole" });
shown_as!(Order { Unordered => "unordered", Ordered => "ordered", PerKey => "per_key" });
impl fmt::Display for PythonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(name) => f.write_str(name),
            Self::Pickled(file) => f.write_str(file),
        }
    }
}

shown_as!(JoinHow { Left => "left", Inner => "inner" });
