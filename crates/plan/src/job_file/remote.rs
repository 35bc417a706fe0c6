//! Tables and checks of models that run elsewhere.
//!
//! What all remote hosts share (`url`, `name`, `credential`, `headers`) stands in the model's table; what only one of them
//! understands stands in a table of its name below, so a key in the wrong place is an unknown key.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

use super::JobFileError;
use super::asking::refusals;
use super::check::Checker;
use super::tables::{HostName, ModelTable};
use crate::remote::{
    HttpJsonSpec, ManyRows, OpenAiSpec, OpenInferenceSpec, ProtocolSpec, RemoteSpec, TaskSpec, Transport, TypeSpec,
};

type Result<T> = std::result::Result<T, JobFileError>;

/// What only the Open Inference Protocol understands.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenInferenceTable {
    /// The model's version; default the server's choice.
    pub version: Option<String>,
    /// How tensors travel; default `grpc`.
    #[serde(default)]
    pub transport: Transport,
    /// Whether the server gathers rows of several requests by itself, as Triton's dynamic batcher does: each is then sent
    /// alone, and only how many are in flight moves.
    #[serde(default)]
    pub server_batches: bool,
    /// Input to its type and axes of one row, in place of what the server tells; with `outputs` it is not asked at all.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
    /// Output to its type and axes of one row, in place of what the server tells.
    #[serde(default)]
    pub outputs: BTreeMap<String, String>,
}

/// What only the OpenAI API understands. One of `messages`, `prompt` and `input`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenAiTable {
    /// Chat: role and content of each message, with `{{INPUT}}` where a value of the row goes; the output is `text`.
    pub messages: Option<Value>,
    /// Chat: a JSON schema that the answer has to follow; the output is then a struct.
    pub schema: Option<Value>,
    /// Completion: the text to go on with.
    pub prompt: Option<String>,
    /// Embeddings: the text to make a vector of.
    pub input: Option<String>,
    /// Embeddings: length of the vectors; default asked of the model.
    pub length: Option<usize>,
    /// More fields of the request, as the API knows them.
    #[serde(default)]
    pub parameters: BTreeMap<String, Value>,
    /// Whether the answer comes piece by piece.
    #[serde(default)]
    pub stream: bool,
}

/// What only a service that speaks plain JSON understands.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpJsonTable {
    /// The request for one row, with `{{INPUT}}` where a value of the row goes.
    pub request: Value,
    /// Input to its type, where that is not `string`.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
    /// Output to its type and place.
    pub outputs: BTreeMap<String, OutputTable>,
    /// Requests carry many rows.
    pub rows: Option<RowsTable>,
}

/// An output of a JSON service.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputTable {
    /// `string`, `boolean`, `int32`, `int64`, `float32` or `float64`, with axes for a tensor: `float32[768]`.
    #[serde(rename = "type")]
    pub value: String,
    /// JSON pointer into the answer for one row: `/label`.
    pub at: String,
}

/// Where the rows of a request lie.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RowsTable {
    /// Name of the array of rows in the request; default the request is the array.
    pub request: Option<String>,
    /// JSON pointer to the array of answers.
    #[serde(default)]
    pub answer: String,
}

/// The remote model that `table` declares under `name`.
pub(super) fn remote(checker: &Checker, name: &str, table: ModelTable) -> Result<RemoteSpec> {
    let host = table.host;
    refuse_local_keys(checker, &table)?;
    refuse_other_protocols(checker, &table)?;
    let urls = urls(checker, name, &table)?;
    let follows = table.latency.is_some();
    if let Some(metrics) = table.metrics.as_ref().filter(|_| urls.len() > 1) {
        return Err(checker
            .error(metrics.span(), "metrics of one address say nothing of several replicas")
            .with_help("remove it; each replica's limit follows its answers"));
    }
    let protocol = match host {
        HostName::OpenAi => ProtocolSpec::OpenAi(openai(checker, name, table.openai)?),
        HostName::HttpJson => ProtocolSpec::HttpJson(http_json(checker, name, table.http_json)?),
        _ => ProtocolSpec::OpenInference(open_inference(checker, table.open_inference)?),
    };
    Ok(RemoteSpec {
        urls,
        model: table.name.map(|name| checker.filled("name", name)).transpose()?.unwrap_or_else(|| name.to_string()),
        credential: table.credential.map(|credential| secret(checker, credential)).transpose()?,
        headers: table.headers.unwrap_or_default(),
        ca: table.ca.map(|ca| checker.filled("ca", ca)).transpose()?,
        request_bytes: table.request_bytes.map(|size| checker.bytes("request_bytes", &size)).transpose()?,
        answer_bytes: table.answer_bytes.map(|size| checker.bytes("answer_bytes", &size)).transpose()?,
        refusals: refusals(checker, table.refusals.map(Spanned::into_inner).unwrap_or_default())?,
        metrics: table.metrics.map(|metrics| metrics_of(checker, metrics, follows)).transpose()?,
        protocol,
    })
}

/// The model's addresses: one, or one for each replica.
fn urls(checker: &Checker, name: &str, table: &ModelTable) -> Result<Vec<String>> {
    match (table.url.clone(), table.urls.clone()) {
        (Some(url), None) => Ok(vec![checker.filled("url", url)?]),
        (None, Some(urls)) if !urls.get_ref().is_empty() => {
            let span = urls.span();
            let url = |url| checker.filled("url", Spanned::new(span.clone(), url));
            let checked = urls.into_inner().into_iter().map(url).collect::<Result<Vec<String>>>()?;
            match (1..checked.len()).find(|place| checked[..*place].contains(&checked[*place])) {
                Some(place) => Err(checker.error(span, format!("\"{}\" is named twice", checked[place]))),
                None => Ok(checked),
            }
        }
        (Some(_), Some(urls)) => Err(checker.error(urls.span(), "a model has url or urls, not both")),
        (None, urls) => Err(checker
            .error(urls.map(|urls| urls.span()).unwrap_or_default(), format!("model \"{name}\" has no url"))
            .with_help("url = \"http://HOST:PORT\"")),
    }
}

fn open_inference(checker: &Checker, table: Option<Spanned<OpenInferenceTable>>) -> Result<OpenInferenceSpec> {
    let span = table.as_ref().map(Spanned::span).unwrap_or_default();
    let OpenInferenceTable { version, transport, server_batches, inputs, outputs } =
        table.map(Spanned::into_inner).unwrap_or_default();
    let typed = |(tensor, text): (String, String)| {
        match TypeSpec::parse_tensor(&text) {
        Some(value) => Ok((tensor, value)),
        None => Err(checker
            .error(span.clone(), format!("\"{text}\" is no type of {tensor}"))
            .with_help("string, bytes, boolean, int8 to int64, uint8 to uint64, float16 to float64, with axes of one row: float32[768]")),
    }
    };
    let inputs = inputs.into_iter().map(typed).collect::<Result<_>>()?;
    let outputs = outputs.into_iter().map(typed).collect::<Result<_>>()?;
    Ok(OpenInferenceSpec { version, transport, server_batches, inputs, outputs })
}

/// A credential is named, never written: a job file is shared.
fn secret(checker: &Checker, credential: Spanned<String>) -> Result<String> {
    if credential.get_ref().starts_with("secret://") {
        return Ok(credential.into_inner());
    }
    Err(checker
        .error(credential.span(), "a credential is named, never written in a job file")
        .with_help("credential = \"secret://NAME\" takes it from the variable NAME, or from a file of that name in FOREBAY_SECRETS_DIR"))
}

fn metrics_of(checker: &Checker, metrics: Spanned<String>, follows: bool) -> Result<String> {
    if follows {
        return checker.filled("metrics", metrics);
    }
    Err(checker
        .error(metrics.span(), "metrics say nothing to a limit that is fixed")
        .with_help("declare latency = \"...\", the longest that a request should take"))
}

pub(super) fn refuse_local_keys(checker: &Checker, table: &ModelTable) -> Result<()> {
    let given = [
        ("path", table.path.as_ref().map(Spanned::span)),
        ("service_time", table.service_time.as_ref().map(Spanned::span)),
        ("log", table.log.as_ref().map(Spanned::span)),
        ("crash_on", table.crash_on.as_ref().map(Spanned::span)),
        ("fail_on", table.fail_on.as_ref().map(Spanned::span)),
    ];
    match given.into_iter().find_map(|(key, span)| Some((key, span?))) {
        Some((key, span)) => Err(checker.error(span, format!("{key} says nothing to a model that runs elsewhere"))),
        None => Ok(()),
    }
}

pub(super) fn refuse_other_protocols(checker: &Checker, table: &ModelTable) -> Result<()> {
    let given = [
        (HostName::OpenInference, "open_inference", table.open_inference.as_ref().map(Spanned::span)),
        (HostName::OpenAi, "openai", table.openai.as_ref().map(Spanned::span)),
        (HostName::HttpJson, "http_json", table.http_json.as_ref().map(Spanned::span)),
        (HostName::Fetch, "fetch", table.fetch.as_ref().map(Spanned::span)),
    ];
    match given.into_iter().find_map(|(host, key, span)| (host != table.host).then_some((key, span?))) {
        Some((key, span)) => Err(checker
            .error(span, format!("the table {key} is for host = \"{key}\""))
            .with_help("remove it, or change the host")),
        None => Ok(()),
    }
}

fn openai(checker: &Checker, name: &str, table: Option<Spanned<OpenAiTable>>) -> Result<OpenAiSpec> {
    let help = format!("[model.{name}.openai] with messages (chat), prompt (completion) or input (embeddings)");
    let Some(table) = table else {
        return Err(checker.error(0..0, format!("model \"{name}\" does not say what to ask")).with_help(help));
    };
    let span = table.span();
    let OpenAiTable { messages, schema, prompt, input, length, parameters, stream } = table.into_inner();
    let task = match (messages, prompt, input) {
        (Some(messages), None, None) => TaskSpec::Chat { messages, schema },
        (None, Some(prompt), None) => TaskSpec::Completion { prompt },
        (None, None, Some(input)) => TaskSpec::Embeddings { input, length },
        _ => return Err(checker.error(span, "one of messages, prompt and input says what to ask").with_help(help)),
    };
    Ok(OpenAiSpec { task, parameters, stream })
}

fn http_json(checker: &Checker, name: &str, table: Option<Spanned<HttpJsonTable>>) -> Result<HttpJsonSpec> {
    let Some(table) = table else {
        return Err(checker
            .error(0..0, format!("model \"{name}\" has no request"))
            .with_help(format!("[model.{name}.http_json] with request and outputs")));
    };
    let span = table.span();
    let HttpJsonTable { request, inputs, outputs, rows } = table.into_inner();
    let typed = |what: &str, text: &str| {
        TypeSpec::parse(text).ok_or_else(|| {
            checker
                .error(span.clone(), format!("\"{text}\" is no type of {what}"))
                .with_help("string, boolean, int32, int64, float32, float64, or a tensor: float32[768]")
        })
    };
    let inputs = inputs.iter().map(|(input, text)| Ok((input.clone(), typed(input, text)?))).collect::<Result<_>>()?;
    let output = |(output, table): (String, OutputTable)| {
        let value = typed(&output, &table.value)?;
        Ok((output, value, table.at))
    };
    let outputs = outputs.into_iter().map(output).collect::<Result<_>>()?;
    let rows = rows.map(|RowsTable { request, answer }| ManyRows { request, answer });
    Ok(HttpJsonSpec { request, inputs, outputs, rows })
}
