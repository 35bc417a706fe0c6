//! OpenAI's HTTP API and what is compatible with it: hosted models, vLLM, SGLang, TGI, llama.cpp.
//!
//! Chats and completions send one request a row; embeddings send a batch in one. Outputs:
//!
//! - chat: `text` (`string[rows]`), or `answer` (a struct) where a schema is given; `finish_reason`; tokens.
//! - completion: `text`, `finish_reason`, tokens.
//! - embeddings: `embedding` (`float32[rows, length]`). Tokens of a batch belong to no row; [`Observed`] counts them.

mod answer;
mod columns;
mod conform;
mod embeddings;
mod schema;
mod settings;
mod sse;

use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use bytes::Bytes;
use forebay_core::{Error, Kind, Result};
use futures::future::BoxFuture;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Response};
use serde_json::{Value, json};

pub use self::settings::{OpenAiSettings, Task};

use self::answer::{Said, Usage};
use self::schema::Structure;
use self::sse::Events;
use super::columns::column_of;
use super::connections::Connections;
use super::endpoint::Endpoint;
use super::http_json::{json_headers, row_cell};
use super::refusal::{Meaning, Refusal, cut};
use super::remote::{Observed, Protocol, RemoteHost};
use super::secret::Secrets;
use super::signals::{Dialect, of_error_object};
use super::template::Template;
use crate::hosts::{Answers, Signature, Slot};

/// What the last piece of a stream says.
const DONE: &str = "[DONE]";

/// Speaks to one model for one task.
pub struct OpenAi {
    endpoint: Endpoint,
    settings: OpenAiSettings,
    template: Template,
    inputs: Vec<Slot>,
    /// What structured answers are.
    answer: Option<Structure>,
    /// The length of embeddings, once it is known.
    length: OnceLock<usize>,
}

/// A host of the model and task that `settings` name. Asks nothing yet.
///
/// # Errors
/// `Invalid` if the address, a credential, a template, a parameter or the schema cannot be used.
pub fn host(settings: &OpenAiSettings, connections: &Connections, secrets: &Secrets) -> Result<RemoteHost<OpenAi>> {
    settings.check()?;
    let (template, schema) = match &settings.task {
        Task::Chat { messages, schema } => (messages.clone(), schema.as_ref()),
        Task::Completion { prompt } => (Value::from(prompt.as_str()), None),
        Task::Embeddings { input, .. } => (Value::from(input.as_str()), None),
    };
    let template = Template::of(&template)?;
    Ok(RemoteHost::new(OpenAi {
        endpoint: Endpoint::open(&settings.endpoint, Dialect::OpenAi, false, connections, secrets)?,
        inputs: template.inputs(&settings.inputs)?,
        template,
        answer: schema.map(Structure::of).transpose()?,
        length: match settings.task {
            Task::Embeddings { length: Some(length), .. } => OnceLock::from(length),
            _ => OnceLock::new(),
        },
        settings: settings.clone(),
    }))
}

// === impl OpenAi ===

impl OpenAi {
    /// The content for `row`.
    ///
    /// # Errors
    /// `Data` for a null that is the whole of a text: no model is asked about nothing.
    fn filled(&self, rows: &RecordBatch, row: usize) -> Result<Value> {
        self.template.fill(&mut |name| match row_cell(rows, name, row)? {
            Value::Null if self.template.stands_alone(name) => Err(null(name, row)),
            value => Ok(value),
        })
    }

    /// The request that carries `content`: messages, a prompt, or texts to embed.
    fn request(&self, content: Value) -> Result<(&'static str, Bytes)> {
        let mut request = self.settings.parameters.clone();
        request.insert("model".to_string(), self.settings.model.as_str().into());
        let (path, name) = match &self.settings.task {
            Task::Chat { schema, .. } => {
                if let Some(schema) = schema {
                    let named = json!({ "name": "answer", "strict": true, "schema": schema });
                    let format = json!({ "type": "json_schema", "json_schema": named });
                    request.insert("response_format".to_string(), format);
                }
                ("chat/completions", "messages")
            }
            Task::Completion { .. } => ("completions", "prompt"),
            Task::Embeddings { .. } => ("embeddings", "input"),
        };
        request.insert(name.to_string(), content);
        if matches!(self.settings.task, Task::Embeddings { .. }) {
            request.insert("encoding_format".to_string(), "float".into());
        } else if self.settings.stream {
            request.insert("stream".to_string(), true.into());
            request.insert("stream_options".to_string(), json!({ "include_usage": true }));
        }
        let body = serde_json::to_vec(&request)
            .map_err(|source| Error::new(Kind::Internal, "write request").source(source))?;
        Ok((path, body.into()))
    }

    async fn say(&self, content: Value) -> Result<Said> {
        let (path, body) = self.request(content)?;
        let url = self.endpoint.join(&path.split('/').collect::<Vec<_>>());
        let response = self.endpoint.open_exchange(Method::POST, url, json_headers(), body).await?;
        let said = if self.settings.stream && !is_json(response.headers()) {
            self.gather(response).await?
        } else {
            self.whole(response).await?
        };
        self.count(said.usage);
        Ok(said)
    }

    /// Reads an answer that comes in one body.
    async fn whole(&self, response: Response) -> Result<Said> {
        let headers = response.headers().clone();
        let body = self.endpoint.read(response).await?;
        let body = serde_json::from_slice(&body).map_err(|source| self.no_json(&headers, &source))?;
        let mut said = Said::default();
        self.take(&mut said, body, "error in answer")?;
        Ok(said)
    }

    /// Reads a stream to its end.
    async fn gather(&self, mut response: Response) -> Result<Said> {
        let headers = response.headers().clone();
        let (mut events, mut said, mut bytes, mut taken) = (Events::default(), Said::default(), 0, 0);
        let mut done = false;
        while !done && let Some(piece) = response.chunk().await.map_err(|source| self.endpoint.failed(&source))? {
            bytes += piece.len();
            for data in events.feed(&piece).map_err(|why| self.endpoint.unread(&headers, why))? {
                done = done || data == DONE;
                taken += 1;
                if !done {
                    let body = serde_json::from_str(&data).map_err(|source| self.no_json(&headers, &source))?;
                    self.take(&mut said, body, "error in stream")?;
                }
            }
            if bytes > self.endpoint.answer_bytes_max {
                return Err(self.endpoint.answer_too_long());
            }
        }
        if said.finish_reason.is_some() {
            return Ok(said);
        }
        if taken == 0 && bytes > 0 && !is_stream(&headers) {
            return Err(self.endpoint.unread(&headers, no_stream(&headers)));
        }
        if done {
            return Err(self.endpoint.bad_answer("the stream came to its [DONE] without a finish_reason"));
        }
        let words = format!("the stream ended after {} bytes of text without a reason", said.bytes());
        Err(self.endpoint.refused(Refusal::new(Meaning::Overloaded, "stream broken off", &words)))
    }

    /// Takes a body, or the next piece of a stream, into `said`; `how` is how an error comes that it carries.
    fn take(&self, said: &mut Said, body: answer::Body, how: &str) -> Result<()> {
        match said.take(body).map_err(|why| self.endpoint.bad_answer(why))? {
            None => Ok(()),
            Some(error) => Err(self.endpoint.refused(of_error_object(self.endpoint.dialect(), how, &error))),
        }
    }

    fn no_json(&self, headers: &HeaderMap, source: &serde_json::Error) -> Error {
        self.endpoint.unread(headers, format!("no JSON of the protocol: {source}"))
    }

    fn count(&self, usage: Option<Usage>) {
        let usage = usage.unwrap_or_default();
        self.endpoint.watch().update(|seen| {
            seen.tokens.prompt += usage.prompt_tokens;
            seen.tokens.generated += usage.completion_tokens;
        });
    }

    /// One vector for each of `texts`.
    async fn embed(&self, endpoint: &Endpoint, texts: Vec<Value>) -> Result<Vec<Value>> {
        let rows = texts.len();
        let (path, body) = self.request(Value::Array(texts))?;
        let answer = endpoint.exchange(Method::POST, endpoint.join(&[path]), json_headers(), body).await?;
        let body: embeddings::Body =
            serde_json::from_slice(&answer.body).map_err(|source| self.no_json(&answer.headers, &source))?;
        self.count(body.usage);
        body.vectors(rows).map_err(|why| self.endpoint.bad_answer(why))
    }

    async fn embeddings(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let texts = (0..rows.num_rows()).map(|row| self.filled(rows, row)).collect::<Result<_>>()?;
        let vectors = self.embed(&self.endpoint, texts).await?;
        let slot = embedding(self.length().await?);
        let column = column_of(&slot, &vectors.iter().collect::<Vec<_>>());
        self.batch(vec![column.map_err(|why| self.endpoint.bad_answer(why.to_string()))?])
    }

    /// The length of embeddings, asked by one if nothing else says it.
    async fn length(&self) -> Result<usize> {
        if let Some(length) = self.length.get() {
            return Ok(*length);
        }
        let vectors = self.embed(&self.endpoint.asking(), vec!["length".into()]).await?;
        let length = vectors.first().and_then(Value::as_array).map(Vec::len).filter(|length| *length > 0);
        let length = length.ok_or_else(|| self.endpoint.bad_answer("an embedding is no array of numbers"))?;
        Ok(*self.length.get_or_init(|| length))
    }
}

fn embedding(length: usize) -> Slot {
    Slot { name: "embedding".to_string(), value: DataType::Float32, shape: vec![Some(length)] }
}

impl Protocol for OpenAi {
    fn signature(self: Arc<Self>) -> BoxFuture<'static, Result<Signature>> {
        Box::pin(async move {
            let mut outputs = match (&self.settings.task, &self.answer) {
                (Task::Embeddings { .. }, _) => vec![embedding(self.length().await?)],
                (_, Some(structure)) => vec![Slot::scalar("answer", structure.kind.clone())],
                (_, None) => vec![Slot::scalar("text", DataType::Utf8)],
            };
            if !matches!(self.settings.task, Task::Embeddings { .. }) {
                outputs.push(Slot::scalar("finish_reason", DataType::Utf8));
                let tokens = ["prompt_tokens", "completion_tokens"].map(|name| Slot::scalar(name, DataType::Int64));
                outputs.extend(tokens.into_iter().filter(|_| self.settings.tokens));
            }
            Ok(Signature { inputs: self.inputs.clone(), outputs })
        })
    }

    /// Asks for the list of models. A server without one is taken to be ready: it answered.
    fn ready(self: Arc<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            let url = self.endpoint.join(&["models"]);
            match self.endpoint.asking().exchange(Method::GET, url, HeaderMap::new(), Bytes::new()).await {
                Err(error) if has_no_list(&error) => Ok(()),
                told => told.map(|_| ()),
            }
        })
    }

    fn call(self: Arc<Self>, rows: RecordBatch) -> BoxFuture<'static, Result<Answers>> {
        Box::pin(async move {
            if matches!(self.settings.task, Task::Embeddings { .. }) {
                return Ok(self.embeddings(&rows).await?.into());
            }
            let mut said = Vec::with_capacity(rows.num_rows());
            for row in 0..rows.num_rows() {
                said.push(self.say(self.filled(&rows, row)?).await?);
            }
            Ok(self.columns(&said)?.into())
        })
    }

    fn rows_max(&self) -> usize {
        // The API's own limit is 2,048 texts.
        if matches!(self.settings.task, Task::Embeddings { .. }) { 2_048 } else { 1 }
    }

    fn revision(&self) -> String {
        self.settings.revision()
    }

    fn observed(&self) -> Observed {
        self.endpoint.observed()
    }
}

fn null(name: &str, row: usize) -> Error {
    Error::new(Kind::Data, "write request")
        .with("input", name)
        .with("row", row)
        .source("it is null, and models take text")
}

/// The type of a body without its parameters, in small letters.
fn type_of(headers: &HeaderMap) -> String {
    let told = headers.get(CONTENT_TYPE).and_then(|told| told.to_str().ok()).unwrap_or_default();
    told.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// True for an answer that comes whole, though it was asked for piece by piece: not every server streams.
fn is_json(headers: &HeaderMap) -> bool {
    type_of(headers) == "application/json"
}

/// True for what may be a stream that broke off before its first event.
fn is_stream(headers: &HeaderMap) -> bool {
    type_of(headers) == "text/event-stream" && !headers.contains_key(CONTENT_ENCODING)
}

fn no_stream(headers: &HeaderMap) -> String {
    format!("no event came where a stream was asked for, its Content-Type is `{}`", cut(&type_of(headers)))
}

fn has_no_list(error: &Error) -> bool {
    Refusal::of(error).is_some_and(|refusal| matches!(refusal.how.as_str(), "status 404" | "status 405"))
}
