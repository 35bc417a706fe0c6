//! What a user says about an HTTP/JSON service.

use forebay_core::hash::hash128;
use forebay_core::{Error, Kind, Result};
use serde_json::Value;

use crate::hosts::Slot;
use crate::protocols::endpoint::EndpointSettings;
use crate::protocols::template::Template;

/// A service, its request and where its answers are.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpJsonSettings {
    /// Where requests go.
    pub endpoint: EndpointSettings,
    /// The request for one row, with `{{name}}` where an input goes.
    pub request: Value,
    /// Types of inputs that are no text. Inputs not listed are `string[rows]`.
    pub inputs: Vec<Slot>,
    /// What comes out, at least one.
    pub outputs: Vec<Output>,
    /// How many rows a request carries.
    pub rows: Rows,
    /// The user's own name for the model's content, part of the revision.
    pub revision: String,
}

/// One output and where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Its name and type.
    pub slot: Slot,
    /// JSON pointer (RFC 6901) into the answer for one row; the empty pointer is the whole answer.
    pub pointer: String,
}

/// How many rows a request carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rows {
    /// One: the filled template is the request, the body of the answer is the row's answer.
    One,
    /// As many as the batch has.
    Many {
        /// The name in the request's object under which filled templates are an array; `None`: the array is the request.
        request: Option<String>,
        /// JSON pointer to the array of answers, one a row in their order.
        answer: String,
    },
}

// === impl HttpJsonSettings ===

impl HttpJsonSettings {
    pub(super) fn template(&self) -> Result<Template> {
        Template::of(&self.request)
    }

    pub(super) fn outputs(&self) -> Result<Vec<Output>> {
        let error = |output: &str| Error::new(Kind::Invalid, "read outputs").with("output", output);
        if self.outputs.is_empty() {
            return Err(Error::new(Kind::Invalid, "read outputs").source("name at least one, and where it is"));
        }
        for Output { slot, pointer } in &self.outputs {
            check_pointer(pointer).map_err(|why| error(&slot.name).with("pointer", pointer).source(why))?;
            slot.field()?;
        }
        if let Rows::Many { answer, .. } = &self.rows {
            check_pointer(answer).map_err(|why| error("rows").with("pointer", answer).source(why))?;
        }
        Ok(self.outputs.clone())
    }

    pub(super) fn revision(&self) -> String {
        let parts =
            format!("{} {} {:?} {:?} {}", self.endpoint.url, self.request, self.outputs, self.rows, self.revision);
        format!("http_json-{:032x}", hash128(parts.as_bytes()))
    }
}

fn check_pointer(pointer: &str) -> Result<(), &'static str> {
    if pointer.is_empty() || pointer.starts_with('/') { Ok(()) } else { Err("a JSON pointer begins with `/`") }
}
