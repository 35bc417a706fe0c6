//! Models that run elsewhere, as a job file declares them: pure data, no address is asked here.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;
use forebay_core::types::dtype;
use serde_json::Value;

use crate::asking::RefusalSpec;

/// A model behind an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RemoteSpec {
    /// `http://` or `https://`, one for each replica, at least one; none of `Fetch`.
    pub urls: Vec<String>,
    /// The model's name there.
    pub model: String,
    /// `secret://NAME`, sent as a bearer token. The value is never part of a plan.
    pub credential: Option<String>,
    /// More headers; a value may be `secret://NAME`.
    pub headers: BTreeMap<String, String>,
    /// PEM file with certificates of more authorities that are trusted.
    pub ca: Option<String>,
    /// Most bytes of one request.
    pub request_bytes: Option<u64>,
    /// Most bytes of one answer.
    pub answer_bytes: Option<u64>,
    /// Own readings of refusals.
    pub refusals: Vec<RefusalSpec>,
    /// Address of its metrics in Prometheus text: what waits there bounds the limit.
    pub metrics: Option<String>,
    /// How it is spoken to.
    pub protocol: ProtocolSpec,
}

/// How a remote model is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ProtocolSpec {
    /// The Open Inference Protocol, version 2: Triton, MLServer, KServe.
    OpenInference(OpenInferenceSpec),
    /// The API of OpenAI: vLLM, llama.cpp, gateways, hosted models.
    OpenAi(OpenAiSpec),
    /// Any service that takes JSON and answers JSON.
    HttpJson(HttpJsonSpec),
    /// Whatever server a row names; the model has no address of its own.
    Fetch(FetchSpec),
}

/// How tensors travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// gRPC with raw tensors.
    #[default]
    Grpc,
    /// HTTP with raw tensors behind a JSON header.
    HttpBinary,
    /// HTTP with tensors as JSON numbers.
    HttpJson,
}

/// A model of an inference server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OpenInferenceSpec {
    /// Its version; the server's choice if `None`.
    pub version: Option<String>,
    /// How tensors travel.
    pub transport: Transport,
    /// The server gathers rows of several requests by itself: each is then sent alone.
    pub server_batches: bool,
    /// Inputs in place of those that the server tells.
    pub inputs: Vec<(String, TypeSpec)>,
    /// Outputs in place of those that the server tells.
    pub outputs: Vec<(String, TypeSpec)>,
}

/// What is asked of a language model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OpenAiSpec {
    /// One conversation, text or vector a row.
    pub task: TaskSpec,
    /// More fields of the request.
    pub parameters: BTreeMap<String, Value>,
    /// The answer comes piece by piece.
    pub stream: bool,
}

/// What is asked, with `{{input}}` where a value of the row goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TaskSpec {
    /// A conversation to go on with.
    Chat {
        /// Role and content of each message.
        messages: Value,
        /// A JSON schema that the answer follows.
        schema: Option<Value>,
    },
    /// A text to go on with.
    Completion {
        /// The text.
        prompt: String,
    },
    /// A text to make a vector of.
    Embeddings {
        /// The text.
        input: String,
        /// Length of the vectors; asked of the model if `None`.
        length: Option<usize>,
    },
}

/// A service with a request of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpJsonSpec {
    /// The request for one row, with `{{input}}` where a value of the row goes.
    pub request: Value,
    /// Types of the inputs that are no text.
    pub inputs: Vec<(String, TypeSpec)>,
    /// Outputs: name, type, JSON pointer into the answer for one row.
    pub outputs: Vec<(String, TypeSpec, String)>,
    /// Where the rows of a request and the answers of its reply lie, if it carries more than one.
    pub rows: Option<ManyRows>,
}

/// What stands behind URLs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FetchSpec {
    /// Hosts that may have addresses which are not public: `NAME` or `NAME:PORT`.
    pub private_hosts: Vec<String>,
}

/// Requests that carry many rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ManyRows {
    /// Name of the array of rows in the request; `None`: the request is the array.
    pub request: Option<String>,
    /// JSON pointer to the array of answers.
    pub answer: String,
}

/// Type of an input or output: `string`, `float32[3, 224, 224]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TypeSpec {
    /// Type of its values.
    pub value: DataType,
    /// Axes of one row; empty for one value.
    pub shape: Vec<usize>,
}

// === impl TypeSpec ===

impl TypeSpec {
    /// Reads `float32[3, 224]`; `None` if it is no type.
    pub fn parse(text: &str) -> Option<Self> {
        let json = ["string", "boolean", "int32", "int64", "float32", "float64"];
        Self::parse_tensor(text).filter(|_| json.contains(&text.split('[').next().unwrap_or_default().trim()))
    }

    /// Reads a type that only tensors have, too: `uint8[3, 224, 224]`, `float16[8]`, `bytes`.
    pub fn parse_tensor(text: &str) -> Option<Self> {
        let (name, axes) = match text.trim().split_once('[') {
            Some((name, axes)) => (name.trim(), axes.strip_suffix(']')?),
            None => (text.trim(), ""),
        };
        let value = match name {
            "string" => DataType::Utf8,
            "boolean" => DataType::Boolean,
            "bytes" => DataType::Binary,
            "bool" => return None,
            name => dtype::named(name)?,
        };
        let axes = axes.split(',').map(str::trim).filter(|axis| !axis.is_empty());
        let shape = axes.map(|axis| axis.parse().ok().filter(|length| *length > 0)).collect::<Option<Vec<usize>>>()?;
        Some(Self { value, shape })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_with_their_axes() {
        let of = |value, shape: &[usize]| Some(TypeSpec { value, shape: shape.to_vec() });
        for (text, expected) in [
            ("string", of(DataType::Utf8, &[])),
            ("float32[3, 224]", of(DataType::Float32, &[3, 224])),
            (" int64 [2] ", of(DataType::Int64, &[2])),
            ("uint8[3]", None),
            ("text", None),
            ("float32[3", None),
            ("float32[0]", None),
            ("float32[x]", None),
        ] {
            assert_eq!(TypeSpec::parse(text), expected, "{text}");
        }
        assert_eq!(TypeSpec::parse_tensor("uint8[3]"), of(DataType::UInt8, &[3]));
        assert_eq!(TypeSpec::parse_tensor("bytes"), of(DataType::Binary, &[]));
    }
}
