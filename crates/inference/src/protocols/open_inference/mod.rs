//! The Open Inference Protocol v2 (KServe v2): Triton, MLServer, KServe, OpenVINO and others, over gRPC or HTTP.
//!
//! The server tells what the model takes and gives; a request batch is one request, each column one tensor
//! `[rows, shape...]`.

mod datatype;
mod grpc;
mod http;
mod metadata;
mod settings;
mod tensor;

use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use forebay_core::{Error, Kind, Result};
use futures::future::BoxFuture;

pub use self::settings::{OpenInferenceSettings, Transport};

use self::metadata::{Metadata, Shape};
use self::tensor::{Given, Taken};
use super::connections::Connections;
use super::endpoint::Endpoint;
use super::refusal::{Meaning, Refusal};
use super::remote::{Observed, Protocol, RemoteHost};
use super::secret::Secrets;
use super::signals::Dialect;
use crate::hosts::{Answers, Signature};

/// Speaks to one model of one server.
pub struct OpenInference {
    endpoint: Endpoint,
    settings: OpenInferenceSettings,
    /// Asked once; a server that later tells something else is one whose answers no longer fit.
    shape: OnceLock<Shape>,
}

/// A host of the model that `settings` name. Asks nothing yet.
///
/// # Errors
/// `Invalid` if the address or a credential cannot be used.
pub fn host(
    settings: &OpenInferenceSettings,
    connections: &Connections,
    secrets: &Secrets,
) -> Result<RemoteHost<OpenInference>> {
    let http2 = settings.transport == Transport::Grpc;
    let endpoint = Endpoint::open(&settings.endpoint, Dialect::OpenInference, http2, connections, secrets)?;
    Ok(RemoteHost::new(OpenInference { endpoint, settings: settings.clone(), shape: OnceLock::new() }))
}

// === impl OpenInference ===

impl OpenInference {
    fn version(&self) -> &str {
        self.settings.version.as_deref().unwrap_or_default()
    }

    fn path(&self) -> Vec<&str> {
        let versioned = self.settings.version.iter().flat_map(|version| ["versions", version]);
        ["v2", "models", &self.settings.model].into_iter().chain(versioned).collect()
    }

    async fn shape(&self) -> Result<Shape> {
        if let Some(shape) = self.shape.get() {
            return Ok(shape.clone());
        }
        let (endpoint, model) = (self.endpoint.asking(), &self.settings.model);
        let told = match self.settings.transport {
            // Who lists everything asks nothing.
            _ if !self.settings.inputs.is_empty() && !self.settings.outputs.is_empty() => Metadata::default(),
            Transport::Grpc => grpc::metadata(&endpoint, model, self.version()).await?,
            Transport::HttpBinary | Transport::HttpJson => http::metadata(&endpoint, &self.path()).await?,
        };
        let shape = told.shape(&self.settings.inputs, &self.settings.outputs)?;
        Ok(self.shape.get_or_init(|| shape).clone())
    }

    async fn ask(&self, inputs: &[Given], outputs: &[&str]) -> Result<Vec<Taken>> {
        let (endpoint, model) = (&self.endpoint, &self.settings.model);
        match self.settings.transport {
            Transport::Grpc => grpc::infer(endpoint, model, self.version(), inputs, outputs).await,
            Transport::HttpBinary => http::infer(endpoint, &self.path(), inputs, outputs, true).await,
            Transport::HttpJson => http::infer(endpoint, &self.path(), inputs, outputs, false).await,
        }
    }

    async fn call_once(&self, signature: &Signature, rows: &RecordBatch) -> Result<RecordBatch> {
        let schema = rows.schema_ref();
        let mut inputs = Vec::with_capacity(signature.inputs.len());
        for slot in &signature.inputs {
            let place = schema.index_of(&slot.name).map_err(|_| {
                Error::new(Kind::Invalid, "pass column to model").with("input", &slot.name).source("no such column")
            })?;
            inputs.push(tensor::given(slot, schema.field(place), rows.column(place))?);
        }
        let names: Vec<&str> = signature.outputs.iter().map(|slot| slot.name.as_str()).collect();
        let taken = self.ask(&inputs, &names).await?;
        self.read(signature, taken, rows.num_rows())
    }

    fn read(&self, signature: &Signature, mut taken: Vec<Taken>, rows: usize) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(signature.outputs.len());
        for slot in &signature.outputs {
            let bad = |why: String| self.endpoint.bad_answer(format!("output `{}`: {why}", slot.name));
            let place = taken.iter().position(|tensor| tensor.name == slot.name);
            let tensor = taken.swap_remove(place.ok_or_else(|| bad("it is missing".to_string()))?);
            if taken.iter().any(|other| other.name == slot.name) {
                return Err(bad("it came twice".to_string()));
            }
            columns.push(tensor.column(slot, rows, self.settings.nan_allowed).map_err(bad)?);
        }
        let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|source| self.endpoint.bad_answer(source.to_string()))
    }
}

impl Protocol for OpenInference {
    fn signature(self: Arc<Self>) -> BoxFuture<'static, Result<Signature>> {
        Box::pin(async move { Ok(self.shape().await?.signature) })
    }

    fn ready(self: Arc<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            let endpoint = self.endpoint.asking();
            let ready = match self.settings.transport {
                Transport::Grpc => grpc::ready(&endpoint, &self.settings.model, self.version()).await?,
                Transport::HttpBinary | Transport::HttpJson => http::ready(&endpoint, &self.path()).await?,
            };
            let not_yet = || Refusal::new(Meaning::Down, "not ready", "the server has not loaded the model");
            if ready { Ok(()) } else { Err(self.endpoint.refused(not_yet())) }
        })
    }

    fn call(self: Arc<Self>, rows: RecordBatch) -> BoxFuture<'static, Result<Answers>> {
        Box::pin(async move {
            let Shape { signature, rows_max } = self.shape().await?;
            if rows_max > 1 {
                return Ok(self.call_once(&signature, &rows).await?.into());
            }
            let mut answers = Vec::with_capacity(rows.num_rows());
            for row in 0..rows.num_rows() {
                answers.push(self.call_once(&signature, &rows.slice(row, 1)).await?);
            }
            let schema = answers.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
            let joined = arrow::compute::concat_batches(&schema, &answers);
            let differ = |source| self.endpoint.bad_answer(format!("answers to single rows differ in shape: {source}"));
            Ok(joined.map_err(differ)?.into())
        })
    }

    fn rows_max(&self) -> usize {
        self.shape.get().map_or(usize::MAX, |shape| shape.rows_max)
    }

    fn batches(&self) -> bool {
        self.settings.server_batches
    }

    fn revision(&self) -> String {
        self.settings.revision()
    }

    fn observed(&self) -> Observed {
        self.endpoint.observed()
    }
}
