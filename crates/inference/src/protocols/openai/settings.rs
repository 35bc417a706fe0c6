//! What a user says about a model behind an OpenAI-compatible API.

use forebay_core::hash::hash128;
use forebay_core::{Error, Kind, Result};
use serde_json::{Map, Value};

use crate::hosts::Slot;
use crate::protocols::endpoint::EndpointSettings;

/// Fields of a request that the protocol sets itself.
const OWN_FIELDS: [&str; 8] =
    ["input", "messages", "model", "n", "prompt", "response_format", "stream", "stream_options"];

/// A model and what is asked of it.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenAiSettings {
    /// The API's base, most often ending in `/v1`.
    pub endpoint: EndpointSettings,
    /// The model's name there.
    pub model: String,
    /// What is asked.
    pub task: Task,
    /// Types of inputs that are no text. Inputs not listed are `string[rows]`.
    pub inputs: Vec<Slot>,
    /// More fields of the request, as the API knows them: `temperature`, `max_tokens`, `seed`.
    pub parameters: Map<String, Value>,
    /// Whether the answer comes piece by piece. The rows are the same; a server that stalls or never ends shows earlier.
    pub stream: bool,
    /// Whether `prompt_tokens` and `completion_tokens` are outputs. An answer that does not count them is then an error.
    pub tokens: bool,
    /// The user's own name for the model's content, part of the revision.
    pub revision: String,
}

/// What is asked of the model.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// One conversation a row.
    Chat {
        /// `[{"role": "user", "content": "Is this spam? {{text}}"}, ...]`, with places for inputs anywhere.
        messages: Value,
        /// A JSON schema that the answer has to follow; the output is then a struct instead of text.
        schema: Option<Value>,
    },
    /// One text a row, continued.
    Completion {
        /// The text, with places for inputs.
        prompt: String,
    },
    /// One text a row as a vector; rows share a request.
    Embeddings {
        /// The text, with places for inputs.
        input: String,
        /// How long vectors are; asked of the model if `None`.
        length: Option<usize>,
    },
}

// === impl OpenAiSettings ===

impl OpenAiSettings {
    /// `task` asked of `model` at `url`, whole answers with their tokens counted.
    pub fn new(url: &str, model: &str, task: Task) -> Self {
        Self {
            endpoint: EndpointSettings::new(url),
            model: model.to_string(),
            task,
            inputs: Vec::new(),
            parameters: Map::new(),
            stream: false,
            tokens: true,
            revision: String::new(),
        }
    }

    /// # Errors
    /// `Invalid` if a parameter is the protocol's own.
    pub(super) fn check(&self) -> Result<()> {
        match self.parameters.keys().find(|name| OWN_FIELDS.contains(&name.as_str())) {
            Some(name) => Err(Error::new(Kind::Invalid, "read parameters of model")
                .with("parameter", name)
                .source("this field is set by the protocol")),
            None => Ok(()),
        }
    }

    pub(super) fn revision(&self) -> String {
        let parameters = Value::Object(self.parameters.clone());
        let text = format!("{:?} {:?} {:?} {parameters} {:?}", self.endpoint.url, self.model, self.task, self.revision);
        format!("openai-{:032x}", hash128(text.as_bytes()))
    }
}
