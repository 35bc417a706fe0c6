//! The tables of a job file as serde reads them; their docs are the descriptions in the JSON schema.
//!
//! Flat on purpose: tagged and untagged enums would lose the place of an error, so which keys go together is checked in
//! `check`, and the defaults are in `defaults`.

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};

use forebay_core::on_error::OnError;
use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::asking::{HedgeTable, LimitsTable, RefusalTable};
use super::defaults;
use super::durable::DurableTable;
use super::ends::{self, DeadLettersTable, SinkTable, SourceTable};
use super::feedback::{FeedbackTable, MetricsTable};
use super::fetch::FetchTable;
use super::keyed::{DeduplicateTable, TopTable};
use super::process::ProcessTable;
use super::python::PathText;
use super::remote::{HttpJsonTable, OpenAiTable, OpenInferenceTable};
use super::rows::{ExplodeTable, GroupTable, SampleTable};
use super::units::{DurationText, SizeText};
use super::window::WindowTable;
use crate::spec::{Order, StreamJoinHow, TableFormat};

/// A Forebay job: sources, steps, models, sinks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Forebay job file")]
pub struct JobTable {
    /// The job's name: letters, digits, `-` and `_`.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// How many subtasks each task has unless it says otherwise.
    #[serde(default = "defaults::one_spanned")]
    #[schemars(with = "NonZeroU16")]
    pub parallelism: Spanned<NonZeroU16>,
    /// Units in which keyed state moves when a parallelism changes; fixed for the job's life, the most a parallelism can be.
    #[serde(default = "defaults::key_groups")]
    #[schemars(with = "NonZeroU16")]
    pub key_groups: Spanned<NonZeroU16>,
    /// Time between the starts of two checkpoints.
    #[serde(default = "defaults::checkpoint_interval")]
    #[schemars(with = "DurationText")]
    pub checkpoint_interval: Spanned<DurationText>,
    /// Most bytes of keyed state that a step keeps in memory in each subtask; what is beyond lies on local disk.
    #[serde(default = "defaults::state_memory")]
    #[schemars(with = "SizeText")]
    pub state_memory: Spanned<SizeText>,
    /// Where rows come from, by name.
    #[schemars(schema_with = "ends::sources_schema")]
    pub source: BTreeMap<String, Spanned<SourceTable>>,
    /// What is done with the rows, in order.
    #[serde(default)]
    #[schemars(with = "Vec<StepTable>")]
    pub step: Vec<Spanned<StepTable>>,
    /// Models by name.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, ModelTable>")]
    pub model: BTreeMap<String, Spanned<ModelTable>>,
    /// Where rows go, by name.
    #[schemars(schema_with = "ends::sinks_schema")]
    pub sink: BTreeMap<String, Spanned<SinkTable>>,
    /// Where rows go that cannot be processed.
    #[schemars(with = "Option<DeadLettersTable>")]
    pub dead_letters: Option<Spanned<DeadLettersTable>>,
}

/// One step: exactly one of `filter`, `select`, `with`, `infer`, `join`, `union`, `window`, `durable`,
/// `deduplicate`, `top`, `feedback`, `metrics`, `explode`, `limit`, `sample`, `group` and
/// `process`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    {"required": ["filter"]}, {"required": ["select"]}, {"required": ["with"]}, {"required": ["infer"]}, {"required": ["join"]},
    {"required": ["union"]}, {"required": ["window"]}, {"required": ["durable"]}, {"required": ["deduplicate"]},
    {"required": ["top"]}, {"required": ["feedback"]}, {"required": ["metrics"]}, {"required": ["explode"]},
    {"required": ["limit"]}, {"required": ["sample"]}, {"required": ["group"]}, {"required": ["process"]},
]))]
pub struct StepTable {
    /// Stable name, to be read by others; default `step-N`, of an `infer` step the model's name; a step with state must have one.
    #[schemars(with = "Option<String>")]
    pub uid: Option<Spanned<String>>,
    /// Uid of the source or step whose rows come in; default the step before, for the first step the only source.
    #[schemars(with = "Option<String>")]
    pub from: Option<Spanned<String>>,
    /// Keeps the rows for which this SQL expression is true.
    #[schemars(with = "Option<String>")]
    pub filter: Option<Spanned<String>>,
    /// Replaces all columns by these SQL expressions, each a column or `expression AS name`.
    #[schemars(with = "Option<Vec<String>>")]
    pub select: Option<Vec<Spanned<String>>>,
    /// Adds columns, or replaces those of the same name, by SQL expressions `expression AS name`.
    #[schemars(with = "Option<Vec<String>>")]
    pub with: Option<Vec<Spanned<String>>>,
    /// Asks a model about every row.
    #[schemars(with = "Option<InferTable>")]
    pub infer: Option<Spanned<InferTable>>,
    /// Looks every row up in a small table, or pairs rows with those of another stream.
    #[schemars(with = "Option<JoinTable>")]
    pub join: Option<Spanned<JoinTable>>,
    /// Puts the rows of these sources and steps into one stream; their columns must be the same.
    #[schemars(with = "Option<Vec<String>>")]
    pub union: Option<Spanned<Vec<Spanned<String>>>>,
    /// Computes aggregates of the rows of a key by event time.
    #[schemars(with = "Option<WindowTable>")]
    pub window: Option<Spanned<WindowTable>>,
    /// Cuts the job here: what is before and what is behind checkpoint and restart apart, with a log on disk between them.
    #[schemars(with = "Option<DurableTable>")]
    pub durable: Option<Spanned<DurableTable>>,
    /// Keeps one row of each key.
    #[schemars(with = "Option<DeduplicateTable>")]
    pub deduplicate: Option<Spanned<DeduplicateTable>>,
    /// Keeps the first rows of each key in an order.
    #[schemars(with = "Option<TopTable>")]
    pub top: Option<Spanned<TopTable>>,
    /// Gives each prediction the label that comes for it later.
    #[schemars(with = "Option<FeedbackTable>")]
    pub feedback: Option<Spanned<FeedbackTable>>,
    /// Says how good predictions were, by key and interval of event time.
    #[schemars(with = "Option<MetricsTable>")]
    pub metrics: Option<Spanned<MetricsTable>>,
    /// Makes one row of each element of a list.
    #[schemars(with = "Option<ExplodeTable>")]
    pub explode: Option<Spanned<ExplodeTable>>,
    /// Lets so many rows through and ends the sources that nothing else needs.
    #[schemars(with = "Option<NonZeroU64>")]
    pub limit: Option<Spanned<NonZeroU64>>,
    /// Keeps a part of the rows, chosen by their ids.
    #[schemars(with = "Option<SampleTable>")]
    pub sample: Option<Spanned<SampleTable>>,
    /// Computes aggregates of all rows of a key, once the input has ended or as they change.
    #[schemars(with = "Option<GroupTable>")]
    pub group: Option<Spanned<GroupTable>>,
    /// Gives the rows of each key to a function of the program that runs the job.
    #[schemars(with = "Option<ProcessTable>")]
    pub process: Option<Spanned<ProcessTable>>,
    /// What happens to a row for which an expression or function in `filter`, `select` or `with` fails; default `dead_letter`.
    #[schemars(with = "Option<OnErrorText>")]
    pub on_error: Option<Spanned<OnError>>,
}

/// Asks a model about every row.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InferTable {
    /// Stable name; request ids and the journal hang on it; default the model's name.
    #[schemars(with = "Option<String>")]
    pub uid: Option<Spanned<String>>,
    /// Which `[model.NAME]` answers.
    #[schemars(with = "String")]
    pub model: Spanned<String>,
    /// Model input to column; every input of the model.
    #[schemars(with = "BTreeMap<String, String>")]
    pub inputs: BTreeMap<String, Spanned<String>>,
    /// Model output to new column; outputs that are not named are dropped.
    #[schemars(with = "BTreeMap<String, String>")]
    pub outputs: BTreeMap<String, Spanned<String>>,
    /// Most rows in a request batch.
    #[serde(default = "defaults::infer_batch_rows")]
    pub batch_rows: NonZeroU32,
    /// Most bytes of input columns in a request batch; a larger single row travels alone.
    #[serde(default = "defaults::infer_batch_bytes")]
    pub batch_bytes: SizeText,
    /// Longest wait of a request batch's first row for company.
    #[serde(default = "defaults::linger")]
    pub linger: DurationText,
    /// Most request batches in flight. Of a model with `latency`: of all subtasks together, default no bound but its limit.
    /// Of one without: for each subtask, default 4, or 2 for each replica of a local model between them if that is more.
    pub in_flight: Option<NonZeroU32>,
    /// Order in which rows leave.
    #[serde(default)]
    pub order: Order,
    /// Most tries of one row, the first included.
    #[serde(default = "defaults::attempts")]
    pub attempts: NonZeroU32,
    /// Longest wait for one try; default twice the model's `latency`, 30 s without.
    #[schemars(with = "Option<DurationText>")]
    pub timeout: Option<Spanned<DurationText>>,
    /// What happens to a row without an answer.
    #[serde(default)]
    #[schemars(with = "OnErrorText")]
    pub on_error: OnError,
    /// How many subtasks ask; default the job's parallelism.
    #[schemars(with = "Option<NonZeroU16>")]
    pub parallelism: Option<Spanned<NonZeroU16>>,
    /// Share of the model's room, against other steps that ask it.
    #[serde(default = "defaults::weight")]
    pub weight: NonZeroU32,
    /// `per_key`: the columns that make a row's key.
    #[schemars(with = "Option<Vec<String>>")]
    pub key: Option<Spanned<Vec<Spanned<String>>>>,
    /// How long after its arrival at the step a row has to be answered; then it counts as failed.
    #[schemars(with = "Option<DurationText>")]
    pub deadline: Option<Spanned<DurationText>>,
    /// Column that says when a row has to be answered: a timestamp, or a duration after its arrival.
    #[schemars(with = "Option<String>")]
    pub deadline_column: Option<Spanned<String>>,
    /// What a row costs, for example its tokens: a column or SQL expression.
    #[schemars(with = "Option<String>")]
    pub cost: Option<Spanned<String>>,
    /// Most cost in a request batch; a costlier single row travels alone.
    #[schemars(with = "Option<NonZeroU64>")]
    pub batch_cost: Option<Spanned<NonZeroU64>>,
    /// How long a row is: a column or SQL expression. Rows travel with others of their bucket, so that a model that pads
    /// them to the longest pads little.
    #[schemars(with = "Option<String>")]
    pub length: Option<Spanned<String>>,
    /// Greatest length of each bucket; longer rows share one more. Default by powers of two.
    #[schemars(with = "Option<Vec<NonZeroU64>>")]
    pub buckets: Option<Spanned<Vec<NonZeroU64>>>,
    /// A watermark completes the request batches with rows that it waits for.
    #[serde(default)]
    pub close_on_watermark: bool,
    /// Over updates: how long an answer is kept for the row that takes it back, in event time; default for good.
    #[schemars(with = "Option<DurationText>")]
    pub ttl: Option<Spanned<DurationText>>,
    /// Other answers for rows that the model does not answer, tried in order.
    #[serde(default)]
    #[schemars(with = "Vec<FallbackTable>")]
    pub fallback: Vec<Spanned<FallbackTable>>,
    /// New column that says who answered: the name of a model, `constant` or `sql`; null if nobody did.
    #[schemars(with = "Option<String>")]
    pub fallback_column: Option<Spanned<String>>,
    /// How long rows wait for a model elsewhere that refuses every call, before they take their fallback; default for ever.
    #[schemars(with = "Option<DurationText>")]
    pub fallback_after: Option<Spanned<DurationText>>,
}

/// Another answer: exactly one of `model`, `constant` and `sql`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["model"]}, {"required": ["constant"]}, {"required": ["sql"]}]))]
pub struct FallbackTable {
    /// Another `[model.NAME]` that gives the same outputs and is fed by the inputs of the step.
    #[schemars(with = "Option<String>")]
    pub model: Option<Spanned<String>>,
    /// Model output to value; outputs that are not named become null.
    #[schemars(with = "Option<BTreeMap<String, ConstantValue>>")]
    pub constant: Option<BTreeMap<String, Spanned<ConstantValue>>>,
    /// Model output to SQL expression over the step's input; outputs that are not named become null.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub sql: Option<BTreeMap<String, Spanned<String>>>,
}

/// A value that stands for an output.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ConstantValue {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// Text.
    Text(String),
}

impl fmt::Display for ConstantValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "'{value}'"),
        }
    }
}

/// Looks every row up in a small table, which is read whole before the first row (`table`), or pairs rows with those of another
/// stream (`stream`).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["table"]}, {"required": ["stream"]}]))]
pub struct JoinTable {
    /// The table.
    pub table: Option<LookupTable>,
    /// Uid of the source or step whose rows are joined.
    #[schemars(with = "Option<String>")]
    pub stream: Option<Spanned<String>>,
    /// Column to column of the table or stream; all must be equal. A key may occur in a table once.
    #[schemars(with = "BTreeMap<String, String>")]
    pub on: BTreeMap<String, Spanned<String>>,
    /// Rows without a match. Of a table: `left` (default) keeps them with nulls, `inner` drops them. Of a stream: `inner`
    /// (default) drops them, `left`, `right` and `full` keep those of this stream, of the other, of both.
    #[schemars(with = "Option<StreamJoinHow>")]
    pub how: Option<Spanned<StreamJoinHow>>,
    /// With `stream`: rows meet when the other's event time lies in this interval around the row's.
    #[schemars(with = "Option<WithinTable>")]
    pub within: Option<WithinTable>,
    /// With `stream`: rows meet in the same tumbling window of this size.
    #[schemars(with = "Option<DurationText>")]
    pub window: Option<Spanned<DurationText>>,
    /// With `stream`: each row meets the other's latest row that is not after it.
    #[schemars(with = "Option<bool>")]
    pub as_of: Option<Spanned<bool>>,
    /// With `stream`, without the three above: how long a row is kept for others to meet, in event time; default for good.
    #[schemars(with = "Option<DurationText>")]
    pub ttl: Option<Spanned<DurationText>>,
    /// With `stream`: put before the names of its columns.
    #[schemars(with = "Option<String>")]
    pub prefix: Option<Spanned<String>>,
}

/// An interval around a row's event time, both ends included.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WithinTable {
    /// How much later the other row may be.
    #[serde(default = "defaults::in_order")]
    pub after: DurationText,
    /// How much earlier the other row may be.
    #[serde(default = "defaults::in_order")]
    pub before: DurationText,
}

/// A small table.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LookupTable {
    /// How bytes become rows.
    pub format: TableFormat,
    /// Local path or object store URL of one file.
    #[schemars(with = "String")]
    pub path: Spanned<String>,
}

/// A model and where it runs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelTable {
    /// What runs it.
    pub host: HostName,
    /// Remote hosts: address, `http://` or `https://`.
    #[schemars(with = "Option<String>")]
    pub url: Option<Spanned<String>>,
    /// Remote hosts: addresses of replicas of the same model, in place of `url`. Each request goes to one that has room.
    #[schemars(with = "Option<Vec<String>>")]
    pub urls: Option<Spanned<Vec<String>>>,
    /// Remote hosts: the model's name there; default its name here.
    #[schemars(with = "Option<String>")]
    pub name: Option<Spanned<String>>,
    /// Remote hosts: `secret://NAME`, sent as a bearer token; taken from the variable NAME or a file of that name in the
    /// folder that `FOREBAY_SECRETS_DIR` names.
    #[schemars(with = "Option<String>")]
    pub credential: Option<Spanned<String>>,
    /// Remote hosts: more headers; a value may be `secret://NAME`.
    pub headers: Option<BTreeMap<String, String>>,
    /// Remote hosts: local path of a PEM file with certificates of authorities that are trusted beside the system's.
    #[schemars(with = "Option<String>")]
    pub ca: Option<Spanned<String>>,
    /// Remote hosts: most bytes of one request; default 64 MiB.
    #[schemars(with = "Option<SizeText>")]
    pub request_bytes: Option<Spanned<SizeText>>,
    /// Remote hosts: most bytes of one answer; default 64 MiB, of `fetch` 32 MiB.
    #[schemars(with = "Option<SizeText>")]
    pub answer_bytes: Option<Spanned<SizeText>>,
    /// Remote hosts: own readings of refusals, before those of the protocol; the first that fits counts.
    #[schemars(with = "Option<Vec<RefusalTable>>")]
    pub refusals: Option<Spanned<Vec<Spanned<RefusalTable>>>>,
    /// What all steps and subtasks that ask it share.
    #[schemars(with = "Option<LimitsTable>")]
    pub limits: Option<Spanned<LimitsTable>>,
    /// Remote hosts: whether asking the same twice does no harm. If not, a row that it may have worked on is not sent again;
    /// default it is sent again after a timeout, but never to two replicas at once.
    #[schemars(with = "Option<bool>")]
    pub idempotent: Option<Spanned<bool>>,
    /// Remote hosts with `urls` and `idempotent`: slow requests get a second copy on another replica.
    #[schemars(with = "Option<HedgeTable>")]
    pub hedge: Option<Spanned<HedgeTable>>,
    /// Remote hosts with `latency`: address of the server's metrics in Prometheus text (Triton, vLLM, SGLang, TGI). What
    /// waits there bounds the limit.
    #[schemars(with = "Option<String>")]
    pub metrics: Option<Spanned<String>>,
    /// What only `open_inference` understands.
    #[schemars(with = "Option<OpenInferenceTable>")]
    pub open_inference: Option<Spanned<OpenInferenceTable>>,
    /// What only `openai` understands.
    #[schemars(with = "Option<OpenAiTable>")]
    pub openai: Option<Spanned<OpenAiTable>>,
    /// What only `http_json` understands.
    #[schemars(with = "Option<HttpJsonTable>")]
    pub http_json: Option<Spanned<HttpJsonTable>>,
    /// What only `fetch` understands.
    #[schemars(with = "Option<FetchTable>")]
    pub fetch: Option<Spanned<FetchTable>>,
    /// `onnx`: local path of the model file. `python`: folder or folders in which modules are looked for before all others.
    #[schemars(with = "Option<PathText>")]
    pub path: Option<Spanned<PathText>>,
    /// `python`: the function or class, `MODULE:NAME`.
    #[schemars(with = "Option<String>")]
    pub function: Option<Spanned<String>>,
    /// `python`, in place of `function`: file that the Python package wrote a function into.
    #[schemars(with = "Option<String>")]
    pub pickled: Option<Spanned<String>>,
    /// `python`: names what the function does: answers of another version are not taken for its own. Default a hash of the
    /// file that holds it.
    #[schemars(with = "Option<String>")]
    pub version: Option<Spanned<String>>,
    /// `python`: the interpreter; default that of the program that runs the job, else `python3`.
    #[schemars(with = "Option<String>")]
    pub python: Option<Spanned<String>>,
    /// `python`: whether it runs in processes of its own (the default), or, where the job runs in a Python program, in threads
    /// of that.
    #[schemars(with = "Option<bool>")]
    pub use_process: Option<Spanned<bool>>,
    /// `python`: most private memory of one worker process; default no bound.
    #[schemars(with = "Option<SizeText>")]
    pub memory: Option<Spanned<SizeText>>,
    /// `python`: GPUs that one worker process needs, a part of one such as 0.25, or whole ones; it sees those and no others.
    /// Default all, not counted.
    #[schemars(with = "Option<f64>")]
    pub gpu: Option<Spanned<f64>>,
    /// `python`: memory that one worker process needs on each of its GPUs; those on one GPU get together at most all it has.
    #[schemars(with = "Option<SizeText>")]
    pub gpu_memory: Option<Spanned<SizeText>>,
    /// `python`: what the function takes and gives, so that no worker is started to plan the job: `inputs` and `outputs`, each
    /// a list of `name`, `value` and `shape`. The Python package writes it.
    #[schemars(with = "Option<serde_json::Value>")]
    pub signature: Option<Spanned<serde_json::Value>>,
    /// How many copies are loaded, each in its own child process.
    #[serde(default = "defaults::one")]
    pub replicas: NonZeroU16,
    /// Whether every answer is stored before it is used, so that a restart never asks for it again.
    #[serde(default = "defaults::yes")]
    pub journal: bool,
    /// The longest that a request should take, 99 times in 100. With it, how many requests are in flight and how many rows
    /// each carries follow what the model can take; without, `in_flight` and `batch_rows` of the steps are fixed.
    #[schemars(with = "Option<DurationText>")]
    pub latency: Option<Spanned<DurationText>>,
    /// `fake`: how long one request batch takes; default no time.
    #[schemars(with = "Option<DurationText>")]
    pub service_time: Option<Spanned<DurationText>>,
    /// File to which the model's own process appends a line, the request id, for each row that it ran.
    #[schemars(with = "Option<String>")]
    pub log: Option<Spanned<String>>,
    /// `fake`: it dies when an input text contains this.
    #[schemars(with = "Option<String>")]
    pub crash_on: Option<Spanned<String>>,
    /// `fake`: it refuses a row whose input text contains this.
    #[schemars(with = "Option<String>")]
    pub fail_on: Option<Spanned<String>>,
}

/// What runs a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostName {
    /// ONNX Runtime in a child process.
    Onnx,
    /// A Python function or class, in a child process.
    Python,
    /// A scripted model for trials and tests, in a child process.
    Fake,
    /// A server that speaks the Open Inference Protocol: Triton, MLServer, KServe.
    OpenInference,
    /// A server that speaks the OpenAI API: vLLM, llama.cpp, a gateway, a hosted model.
    #[serde(rename = "openai")]
    OpenAi,
    /// Any service that takes JSON and answers JSON.
    HttpJson,
    /// Whatever server the URL of a row names.
    Fetch,
}

/// What happens to a row that cannot be processed.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "OnError")]
#[expect(dead_code, reason = "only its schema is used; core's OnError, which it mirrors, knows no schema")]
enum OnErrorText {
    /// It goes to the dead letters with its reason, and the job goes on.
    DeadLetter,
    /// The job fails.
    Fail,
    /// The result is null, and the job goes on.
    Null,
}
