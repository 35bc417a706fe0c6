//! What a user says about a model behind the Open Inference Protocol.

use forebay_core::hash::hash128;

use crate::hosts::Slot;
use crate::protocols::endpoint::EndpointSettings;

/// A model of an inference server.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenInferenceSettings {
    /// The server: `http://host:8080`, without `/v2`.
    pub endpoint: EndpointSettings,
    /// The model's name there.
    pub model: String,
    /// Its version; the server's choice if `None`.
    pub version: Option<String>,
    /// How tensors travel.
    pub transport: Transport,
    /// Inputs in place of those that the server tells, for servers that tell none or too little. With inputs and outputs
    /// both listed the server is not asked.
    pub inputs: Vec<Slot>,
    /// Outputs in place of those that the server tells; also a way to ask for fewer. Value type `Binary` takes `BYTES`
    /// that are no text.
    pub outputs: Vec<Slot>,
    /// Whether NaN and infinities are answers. If not, a row that gets one is refused as `Data`.
    pub nan_allowed: bool,
    /// Whether the server gathers rows of several requests by itself, as Triton's dynamic batcher does.
    pub server_batches: bool,
    /// The user's own name for the model's content, part of the revision.
    pub revision: String,
}

/// How tensors travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// gRPC with raw tensors: the fastest.
    #[default]
    Grpc,
    /// HTTP with raw tensors behind a JSON header, the binary tensor extension (Triton, KServe).
    HttpBinary,
    /// HTTP with tensors as JSON numbers: every server, and about five times the bytes.
    HttpJson,
}

// === impl OpenInferenceSettings ===

impl OpenInferenceSettings {
    /// `model` of the server at `url`, over gRPC.
    pub fn new(url: &str, model: &str) -> Self {
        Self {
            endpoint: EndpointSettings::new(url),
            model: model.to_string(),
            version: None,
            transport: Transport::default(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            nan_allowed: false,
            server_batches: false,
            revision: String::new(),
        }
    }

    pub(super) fn revision(&self) -> String {
        let version = self.version.as_deref().unwrap_or_default();
        let parts = [&self.endpoint.url, &self.model, version, &self.revision].map(|part| format!("{part:?}"));
        let text = format!("{parts:?} {:?} {:?}", self.inputs, self.outputs);
        format!("open_inference-{:032x}", hash128(text.as_bytes()))
    }
}
