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
    let at = table.url.as_ref().map(Spanned::span).unwrap_or_default();
    refuse_local_keys(checker, &table)?;
    refuse_other_protocols(checker, &table)?;
    let url = table.url.ok_or_else(|| {
        checker.error(at.clone(), format!("model \"{name}\" has no url")).with_help("url = \"http://HOST:PORT\"")
    })?;
    let protocol = match host {
        HostName::OpenAi => ProtocolSpec::OpenAi(openai(checker, name, table.openai)?),
        HostName::HttpJson => ProtocolSpec::HttpJson(http_json(checker, name, table.http_json)?),
        _ => {
            let OpenInferenceTable { version, transport, server_batches } =
                table.open_inference.map(Spanned::into_inner).unwrap_or_default();
            ProtocolSpec::OpenInference(OpenInferenceSpec { version, transport, server_batches })
        }
    };
    Ok(RemoteSpec {
        url: checker.filled("url", url)?,
        model: table.name.map(|name| checker.filled("name", name)).transpose()?.unwrap_or_else(|| name.to_string()),
        credential: table.credential.map(|credential| secret(checker, credential)).transpose()?,
        headers: table.headers.unwrap_or_default(),
        metrics: table.metrics.map(|metrics| metrics_of(checker, metrics, table.latency.is_some())).transpose()?,
        protocol,
    })
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

fn refuse_local_keys(checker: &Checker, table: &ModelTable) -> Result<()> {
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

fn refuse_other_protocols(checker: &Checker, table: &ModelTable) -> Result<()> {
    let given = [
        (HostName::OpenInference, "open_inference", table.open_inference.as_ref().map(Spanned::span)),
        (HostName::OpenAi, "openai", table.openai.as_ref().map(Spanned::span)),
        (HostName::HttpJson, "http_json", table.http_json.as_ref().map(Spanned::span)),
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
