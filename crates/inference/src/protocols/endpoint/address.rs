//! What a user says of an address, and what may be used of it.

use std::path::PathBuf;
use std::time::Duration;

use forebay_core::{Error, Kind, Result};
use url::Url;

use crate::protocols::secret::SCHEME;
use crate::protocols::signals::Rule;

/// An address, as a user gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointSettings {
    /// `http://` or `https://`. Never with user or password.
    pub url: String,
    /// `secret://NAME`, sent as `Authorization: Bearer`.
    pub credential: Option<String>,
    /// More headers. A value may be `secret://NAME`.
    pub headers: Vec<(String, String)>,
    /// Longest wait for one answer, from the connection to the last byte.
    pub timeout: Duration,
    /// PEM file with certificates of authorities that are trusted beside the system's.
    pub ca: Option<PathBuf>,
    /// Bytes of one request.
    pub request_bytes_max: usize,
    /// Bytes of one answer.
    pub answer_bytes_max: usize,
    /// Own readings of refusals, before those of the protocol.
    pub rules: Vec<Rule>,
}

// === impl EndpointSettings ===

impl EndpointSettings {
    /// `url` without credentials and with room for 64 MiB each way, which holds a batch of 100 images as tensors.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_string(),
            credential: None,
            headers: Vec::new(),
            timeout: Duration::from_secs(60),
            ca: None,
            request_bytes_max: 64 << 20,
            answer_bytes_max: 64 << 20,
            rules: Vec::new(),
        }
    }
}

/// `text` as an address that may be used.
pub(super) fn checked(text: &str) -> Result<Url> {
    let error = || Error::new(Kind::Invalid, "use endpoint");
    let url = Url::parse(text).map_err(|source| error().source(source))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(error().with("scheme", url.scheme()).source("an endpoint is http://HOST or https://HOST"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(error().source(format!("no user or password in an address: name a credential with {SCHEME}NAME")));
    }
    Ok(url)
}

/// True for headers that carry credentials by their name; a value written in settings would end in plans and logs.
pub(in crate::protocols) fn is_credential(header: &str) -> bool {
    ["auth", "cookie", "key", "secret", "token"].iter().any(|part| header.contains(part))
}

/// The last error of the chain, which says what happened; those above it repeat the URL.
pub(in crate::protocols) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    match last.downcast_ref::<reqwest::Error>() {
        Some(own) if own.is_timeout() => String::new(),
        Some(own) if own.is_builder() => "the request could not be built".to_string(),
        Some(_) => "the exchange broke off".to_string(),
        None => last.to_string(),
    }
}
