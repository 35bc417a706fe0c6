//! The tables of what stands at the ends of a job: sources, sinks, dead letters.
//!
//! `[source]` is short for `[source.source]` and `[sink]` for `[sink.sink]`: [`name_the_only`] writes the long form before
//! serde reads the table, so that everything behind it knows one form and errors keep their places.

use std::num::{NonZeroU16, NonZeroU32};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::defaults;
use super::nexmark::NexmarkTable;
use super::units::{DurationText, SizeText};
use crate::spec::{FileTimes, SinkFormat, SourceFormat};

/// Sections that may stand once without a name or several times with one.
const ENDS: [&str; 2] = [defaults::SOURCE, defaults::SINK];

/// Where rows come from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceTable {
    /// Stable name; row ids hang on it; default NAME of `[source.NAME]`, `source` for `[source]`.
    #[schemars(with = "Option<String>")]
    pub uid: Option<Spanned<String>>,
    /// How bytes become rows.
    pub format: SourceFormat,
    /// Local path or object store URL; may hold a glob. Required of every format but `nexmark`.
    #[schemars(with = "Option<String>")]
    pub path: Option<Spanned<String>>,
    /// What the format `nexmark` makes.
    #[schemars(with = "Option<NexmarkTable>")]
    pub nexmark: Option<Spanned<NexmarkTable>>,
    /// Most rows in one batch; default 32 for images, 4096 for nexmark, 1024 otherwise.
    pub batch_rows: Option<NonZeroU32>,
    /// Names and types of the columns, `NAME TYPE`, types as `forebay plan` prints them; default those of the first file. Not for
    /// images and nexmark.
    #[schemars(with = "Option<Vec<String>>")]
    pub schema: Option<Vec<Spanned<String>>>,
    /// How often the path is looked at for new files, which are then read too: the source never ends by itself. Default: what is
    /// there at the job's first start is read. Not for nexmark.
    #[schemars(with = "Option<DurationText>")]
    pub monitor_interval: Option<Spanned<DurationText>>,
    /// How many readers; default the job's parallelism.
    #[schemars(with = "Option<NonZeroU16>")]
    pub parallelism: Option<Spanned<NonZeroU16>>,
    /// Which column is the rows' event time, and how far out of order it may be.
    #[schemars(with = "Option<WatermarkTable>")]
    pub watermark: Option<Spanned<WatermarkTable>>,
}

/// Event time of a source.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WatermarkTable {
    /// The column: a timestamp, or text such as `2026-01-31T12:00:00Z` in jsonl and csv.
    #[schemars(with = "String")]
    pub time: Spanned<String>,
    /// How much earlier than the latest row before it in its file a row may be without being late.
    #[serde(default = "defaults::in_order")]
    pub out_of_order: DurationText,
    /// Whether files follow each other in time in the order of their paths; default `any_order`: the watermark waits until
    /// every file is begun. Not for nexmark.
    #[schemars(with = "Option<FileTimes>")]
    pub files: Option<Spanned<FileTimes>>,
    /// A reader without rows for this long no longer holds the watermark back; default never.
    #[schemars(with = "Option<DurationText>")]
    pub idle: Option<Spanned<DurationText>>,
    /// Most that a reader may be ahead of the slowest one, over all sources that have this; default no bound.
    #[schemars(with = "Option<DurationText>")]
    pub max_drift: Option<Spanned<DurationText>>,
}

/// Where rows go.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkTable {
    /// Stable name; default NAME of `[sink.NAME]`, `sink` for `[sink]`.
    #[schemars(with = "Option<String>")]
    pub uid: Option<Spanned<String>>,
    /// Uid of the source or step whose rows are written; default the last step, without steps the only source.
    #[schemars(with = "Option<String>")]
    pub from: Option<Spanned<String>>,
    /// How rows become bytes.
    pub format: SinkFormat,
    /// Local folder or object store URL. Required of every format but `blackhole`.
    #[schemars(with = "Option<String>")]
    pub path: Option<Spanned<String>>,
    /// A file is closed once it has this many bytes.
    #[serde(default = "defaults::file_bytes")]
    pub file_bytes: SizeText,
    /// Name of a first column that says what each row does: `+I`, `-U`, `+U` or `-D`. Required for streams with updates.
    #[schemars(with = "Option<String>")]
    pub kinds: Option<Spanned<String>>,
    /// How many writers; default the job's parallelism.
    #[schemars(with = "Option<NonZeroU16>")]
    pub parallelism: Option<Spanned<NonZeroU16>>,
}

/// Where rows go that cannot be processed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLettersTable {
    /// Local folder or object store URL; default `_dead_letters` in the path of the only sink.
    #[schemars(with = "Option<String>")]
    pub path: Option<Spanned<String>>,
    /// How they are written.
    #[serde(default = "defaults::jsonl")]
    pub format: SinkFormat,
}

/// Schema of `T` once, or several times by name.
fn one_or_named<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let one = generator.subschema_for::<T>();
    json_schema!({"anyOf": [one.clone(), {"type": "object", "additionalProperties": one}]})
}

pub(super) fn sources_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = one_or_named::<SourceTable>(generator);
    schema
        .insert("description".to_string(), "Where rows come from: `[source]`, or `[source.NAME]` for several.".into());
    schema
}

pub(super) fn sinks_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = one_or_named::<SinkTable>(generator);
    schema.insert("description".to_string(), "Where rows go: `[sink]`, or `[sink.NAME]` for several.".into());
    schema
}

/// Gives the only source and the only sink the names `source` and `sink`, where they have none.
pub(super) fn name_the_only(job: &mut Spanned<DeTable<'_>>) {
    for (key, value) in job.get_mut().iter_mut() {
        let Some(name) = ENDS.into_iter().find(|name| *name == key.get_ref().as_ref()) else { continue };
        let span = value.span();
        let DeValue::Table(section) = value.get_mut() else { continue };
        if !section.is_empty() && section.values().all(|part| part.get_ref().is_table()) {
            continue;
        }
        let only = std::mem::take(section);
        section.insert(Spanned::new(span.clone(), name.into()), Spanned::new(span, DeValue::Table(only)));
    }
}
