//! Any HTTP service that takes JSON and answers JSON: a template makes the request, JSON pointers find the answers.
//!
//! Rows go one a request, or all in one as an array under a name. Inputs are the template's places; outputs are what the
//! settings list, each with where it is found.

mod settings;

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Schema};
use bytes::Bytes;
use forebay_core::{Error, Kind, Result};
use futures::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::Method;
use serde_json::Value;

pub use self::settings::{HttpJsonSettings, Output, Rows};

use super::columns::{at, cell, column_of, parts, written};
use super::connections::Connections;
use super::endpoint::Endpoint;
use super::remote::{Observed, Protocol, RemoteHost};
use super::secret::Secrets;
use super::signals::Dialect;
use super::template::Template;
use crate::hosts::{Answers, Refused, Signature, Slot};

/// Speaks to one service.
pub struct HttpJson {
    endpoint: Endpoint,
    template: Template,
    rows: Rows,
    inputs: Vec<Slot>,
    outputs: Vec<Output>,
    revision: String,
}

/// The answer to one row.
#[derive(Clone, Copy)]
struct Told<'a> {
    value: &'a Value,
    /// The same as it came.
    text: &'a str,
}

/// A host of the service that `settings` describes.
///
/// # Errors
/// `Invalid` if the address, a credential, the template or a pointer cannot be used.
pub fn host(settings: &HttpJsonSettings, connections: &Connections, secrets: &Secrets) -> Result<RemoteHost<HttpJson>> {
    let template = settings.template()?;
    let outputs = settings.outputs()?;
    Ok(RemoteHost::new(HttpJson {
        endpoint: Endpoint::open(&settings.endpoint, Dialect::Http, false, connections, secrets)?,
        inputs: template.inputs(&settings.inputs)?,
        template,
        rows: settings.rows.clone(),
        outputs,
        revision: settings.revision(),
    }))
}

// === impl HttpJson ===

impl HttpJson {
    /// The requests for `rows`, in order.
    fn requests(&self, rows: &RecordBatch) -> Result<Vec<Value>> {
        let filled = (0..rows.num_rows()).map(|row| self.template.fill(&mut |name| row_cell(rows, name, row)));
        let filled: Vec<Value> = filled.collect::<Result<_>>()?;
        Ok(match &self.rows {
            Rows::One => filled,
            Rows::Many { request: None, .. } => vec![Value::Array(filled)],
            Rows::Many { request: Some(name), .. } => vec![serde_json::json!({ name.as_str(): filled })],
        })
    }

    async fn ask(&self, request: &Value) -> Result<(Value, String)> {
        let body =
            serde_json::to_vec(request).map_err(|source| Error::new(Kind::Internal, "write request").source(source))?;
        let url = self.endpoint.url.clone();
        let answer = self.endpoint.exchange(Method::POST, url, json_headers(), Bytes::from(body)).await?;
        let value = serde_json::from_slice(&answer.body)
            .map_err(|source| self.endpoint.unread(&answer.headers, format!("no JSON: {source}")))?;
        let text = String::from_utf8(answer.body.into())
            .map_err(|source| self.endpoint.bad_answer(format!("no JSON: {source}")))?;
        Ok((value, text))
    }

    /// The answers to single rows out of the answers to requests.
    fn rows_of<'a>(&self, answers: &'a [(Value, String)], rows: usize) -> Result<Vec<Told<'a>>> {
        let Rows::Many { answer: pointer, .. } = &self.rows else {
            return Ok(answers.iter().map(|(value, text)| Told { value, text }).collect());
        };
        let found = answers.first().and_then(|(value, text)| {
            let values = value.pointer(pointer).and_then(Value::as_array)?;
            Some((values, at(text, pointer)?))
        });
        let (values, text) = found.ok_or_else(|| self.endpoint.bad_answer(format!("no array at `{pointer}`")))?;
        if values.len() != rows {
            return Err(self.endpoint.bad_answer(format!("{} answers to {rows} rows", values.len())));
        }
        let texts =
            parts(text).map_err(|source| self.endpoint.bad_answer(format!("no array at `{pointer}`: {source}")))?;
        Ok(values.iter().zip(texts).map(|(value, text)| Told { value, text }).collect())
    }

    /// The answers as rows. Where some are bad they are refused, and the others stand: all of them are paid for.
    fn answers(&self, told: &[Told<'_>]) -> Result<Answers> {
        let whole = match self.read(told, 0) {
            Err(error) if told.len() > 1 => error,
            read => return read.map(Answers::from),
        };
        let (mut good, mut places, mut refused) = (Vec::new(), Vec::with_capacity(told.len()), Vec::new());
        for (row, each) in told.iter().enumerate() {
            places.push(good.len().saturating_sub(1) as u64);
            match self.read(std::slice::from_ref(each), row) {
                Ok(_) => {
                    places[row] = good.len() as u64;
                    good.push(*each);
                }
                Err(error) => refused.push(Refused { row, reason: error.chain() }),
            }
        }
        if good.is_empty() || refused.is_empty() {
            return Err(whole);
        }
        let rows = take_record_batch(&self.read(&good, 0)?, &UInt64Array::from(places))
            .map_err(|source| Error::new(Kind::Internal, "place answers").source(source))?;
        Ok(Answers { rows, refused })
    }

    /// The answers as rows, the first of which is row `first` of the call.
    fn read(&self, answers: &[Told<'_>], first: usize) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.outputs.len());
        for output in &self.outputs {
            let value = |(row, told)| {
                let told: &Told<'_> = told;
                told.output(output).map_err(|why| self.endpoint.bad_answer(format!("row {}: {why}", first + row)))
            };
            let values: Vec<Cow<'_, Value>> = answers.iter().enumerate().map(value).collect::<Result<_>>()?;
            let column = column_of(&output.slot, &values.iter().map(Cow::as_ref).collect::<Vec<_>>());
            columns.push(column.map_err(|why| self.endpoint.bad_answer(format!("`{}`: {why}", output.pointer)))?);
        }
        let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|source| self.endpoint.bad_answer(source.to_string()))
    }
}

// === impl Told ===

impl<'a> Told<'a> {
    /// The value of `output`; of a text, what is no string is its JSON as it came.
    ///
    /// # Errors
    /// There is none.
    fn output(&self, output: &Output) -> Result<Cow<'a, Value>, String> {
        let pointer = &output.pointer;
        let nothing = || format!("nothing at `{pointer}`");
        let value = self.value.pointer(pointer).ok_or_else(nothing)?;
        if output.slot.value != DataType::Utf8 || value.is_string() {
            return Ok(Cow::Borrowed(value));
        }
        let text = at(self.text, pointer).ok_or_else(nothing)?;
        let value = written(text, &output.slot.value, output.slot.shape.len());
        value.map(Cow::Owned).map_err(|source| format!("no JSON at `{pointer}`: {source}"))
    }
}

impl Protocol for HttpJson {
    fn signature(self: Arc<Self>) -> BoxFuture<'static, Result<Signature>> {
        let outputs = self.outputs.iter().map(|output| output.slot.clone()).collect();
        Box::pin(std::future::ready(Ok(Signature { inputs: self.inputs.clone(), outputs })))
    }

    /// A service of no known kind has no address that says so: the first rows will tell.
    fn ready(self: Arc<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn call(self: Arc<Self>, rows: RecordBatch) -> BoxFuture<'static, Result<Answers>> {
        Box::pin(async move {
            let mut answers = Vec::new();
            for request in self.requests(&rows)? {
                answers.push(self.ask(&request).await?);
            }
            self.answers(&self.rows_of(&answers, rows.num_rows())?)
        })
    }

    fn rows_max(&self) -> usize {
        match self.rows {
            Rows::One => 1,
            Rows::Many { .. } => usize::MAX,
        }
    }

    fn revision(&self) -> String {
        self.revision.clone()
    }

    fn observed(&self) -> Observed {
        self.endpoint.observed()
    }
}

/// Row `row` of the column `name` as JSON.
///
/// # Errors
/// `Invalid` without such a column, `Data` if the value has no form in JSON.
pub(super) fn row_cell(rows: &RecordBatch, name: &str, row: usize) -> Result<Value> {
    let error = |kind| Error::new(kind, "write request").with("input", name);
    let schema = rows.schema_ref();
    let place = schema.index_of(name).map_err(|_| error(Kind::Invalid).source("no such column"))?;
    cell(schema.field(place), rows.column(place), row).map_err(|why| error(Kind::Data).with("row", row).source(why))
}

/// Headers of a request that carries JSON and wants it back.
pub(super) fn json_headers() -> HeaderMap {
    let json = HeaderValue::from_static("application/json");
    HeaderMap::from_iter([(CONTENT_TYPE, json.clone()), (ACCEPT, json)])
}
