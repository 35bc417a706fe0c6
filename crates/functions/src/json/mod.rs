//! Functions on text that is JSON: what models and services answer, as typed values.

mod from_json;

pub use from_json::FromJson;
