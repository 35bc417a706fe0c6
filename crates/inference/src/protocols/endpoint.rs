//! One address of a model server: its pool, its credential, and how much may go there and come back.
//!
//! Every protocol sends through here, so the rules hold once: limits before allocation, plain HTTP to strangers only
//! without credentials, no URL's query and no credential in any error.

mod address;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use forebay_core::{Error, Kind, Result};
use http::header::{AUTHORIZATION, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Client, Method, RequestBuilder, Response};
use url::Url;

pub use self::address::EndpointSettings;

pub(super) use self::address::{innermost, is_credential};

use self::address::checked;
use super::CONNECT;
use super::connections::{Connections, is_loopback};
use super::refusal::{Meaning, RateLimits, Refusal, cut};
use super::remote::{Observed, Watch};
use super::secret::{SCHEME, Secret, Secrets};
use super::signals::{self, Dialect, Rule};

/// Of the body of a refusal, as much as is read.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// What is set aside for an answer before any of it came, whatever its header claims.
const FIRST_BYTES_MAX: usize = 1 << 20;

/// Longest wait for what a server says of itself. Cold models are loaded behind it; a plan is not kept for longer.
const ASK_TIMEOUT: Duration = Duration::from_secs(30);

/// An address that may be asked.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) client: Client,
    pub(super) url: Url,
    pub(super) timeout: Duration,
    pub(super) request_bytes_max: usize,
    pub(super) answer_bytes_max: usize,
    dialect: Dialect,
    rules: Vec<Rule>,
    headers: HeaderMap,
    secrets: Vec<Secret>,
    watch: Watch,
}

/// A whole answer with status 2xx.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

// === impl Endpoint ===

impl Endpoint {
    /// Checks `settings` and resolves their credentials. Connects nowhere yet.
    ///
    /// # Errors
    /// `Invalid` if the address cannot be used, a credential cannot be found, or one would cross a network in the clear.
    pub(super) fn open(
        settings: &EndpointSettings,
        dialect: Dialect,
        http2: bool,
        connections: &Connections,
        secrets: &Secrets,
    ) -> Result<Self> {
        let url = checked(&settings.url)?;
        let mut endpoint = Self {
            client: connections.client(&url, http2, settings.ca.as_deref())?,
            url,
            timeout: settings.timeout,
            request_bytes_max: settings.request_bytes_max,
            answer_bytes_max: settings.answer_bytes_max,
            dialect,
            rules: settings.rules.clone(),
            headers: HeaderMap::new(),
            secrets: Vec::new(),
            watch: Watch::default(),
        };
        if let Some(reference) = &settings.credential {
            let value = endpoint.secret(reference, "Bearer ", secrets)?;
            endpoint.headers.insert(AUTHORIZATION, value);
        }
        for (name, value) in &settings.headers {
            endpoint.add_header(name, value, secrets)?;
        }
        if endpoint.url.scheme() == "http" && !endpoint.secrets.is_empty() && !is_loopback(&endpoint.url) {
            let error = Error::new(Kind::Invalid, "use endpoint").with("endpoint", endpoint.shown());
            return Err(error.source("a credential would cross the network in the clear: use https, or none"));
        }
        Ok(endpoint)
    }

    fn add_header(&mut self, name: &str, value: &str, secrets: &Secrets) -> Result<()> {
        let error = || Error::new(Kind::Invalid, "set header").with("header", name);
        let key = HeaderName::try_from(name).map_err(|source| error().source(source))?;
        let value = if value.starts_with(SCHEME) {
            self.secret(value, "", secrets)?
        } else if is_credential(key.as_str()) {
            return Err(error().source(format!("credentials are named, never written: use {SCHEME}NAME")));
        } else {
            HeaderValue::from_str(value).map_err(|source| error().source(source))?
        };
        self.headers.insert(key, value);
        Ok(())
    }

    fn secret(&mut self, reference: &str, prefix: &str, secrets: &Secrets) -> Result<HeaderValue> {
        let secret = secrets.resolve(reference)?;
        let value = secret.header(prefix)?;
        self.secrets.push(secret);
        Ok(value)
    }

    /// The address with `segments` after its path; each is one segment, whatever letters it has.
    pub(super) fn join(&self, segments: &[&str]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// The same address for questions about the model, which wait for less long than rows may.
    pub(super) fn asking(&self) -> Self {
        Self { timeout: self.timeout.min(ASK_TIMEOUT), ..self.clone() }
    }

    /// The address as errors show it: no query, which may hold what is nobody's business.
    pub(super) fn shown(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.to_string()
    }

    /// An error of a call to this address.
    pub(super) fn error(&self, kind: Kind, attempted: &str) -> Error {
        Error::new(kind, attempted).with("endpoint", self.shown())
    }

    /// The error that `refusal` makes of a call to this address.
    pub(super) fn refused(&self, refusal: Refusal) -> Error {
        let refusal = self.secrets.iter().fold(refusal, |refusal, secret| refusal.without(secret.reveal()));
        self.error(refusal.meaning.kind(), "call model").source(refusal)
    }

    /// An answer that breaks the protocol or its limits: these rows cannot be answered by this model as it is.
    pub(super) fn bad_answer(&self, why: impl Into<String>) -> Error {
        let mut why = why.into();
        for secret in &self.secrets {
            why = why.replace(secret.reveal(), "***");
        }
        self.error(Kind::Data, "read answer of model").source(why)
    }

    /// As [`Endpoint::bad_answer`], of a body that cannot be read: `why`, and the encoding that `headers` tell of.
    pub(super) fn unread(&self, headers: &HeaderMap, why: impl Into<String>) -> Error {
        match encoding_of(headers) {
            Some(encoding) => self.bad_answer(format!("{} ({})", why.into(), compressed(encoding))),
            None => self.bad_answer(why),
        }
    }

    /// What answers of this address told besides rows.
    pub(super) fn observed(&self) -> Observed {
        self.watch.seen()
    }

    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Fails with `Exhausted` if a request has more bytes than the endpoint may get: fewer rows may do.
    pub(super) fn check_request(&self, bytes: usize) -> Result<()> {
        if bytes <= self.request_bytes_max {
            return Ok(());
        }
        let how = format!("request of {bytes} bytes, at most {} may be sent", self.request_bytes_max);
        Err(self.refused(Refusal::new(Meaning::TooLarge, how, "raise request_bytes or send fewer rows")))
    }

    /// The error of an answer that is longer than it may be: fewer rows may do.
    pub(super) fn answer_too_long(&self) -> Error {
        let how = format!("answer of more than {} bytes", self.answer_bytes_max);
        self.refused(Refusal::new(Meaning::TooLarge, how, "raise answer_bytes or send fewer rows"))
    }

    /// Asks and reads the whole answer.
    ///
    /// # Errors
    /// By what the refusal means, see [`signals`]; `Exhausted` if request or answer is too long.
    pub(super) async fn exchange(&self, method: Method, url: Url, headers: HeaderMap, body: Bytes) -> Result<Answer> {
        let response = self.open_exchange(method, url, headers, body).await?;
        let headers = response.headers().clone();
        let body = self.read(response).await?;
        Ok(Answer { headers, body })
    }

    /// Asks and gives the answer with its body unread, once its status is known to be 2xx.
    ///
    /// # Errors
    /// As [`Endpoint::exchange`].
    pub(super) async fn open_exchange(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response> {
        self.check_request(body.len())?;
        let request = self.request(method, url).headers(headers).body(Body::from(body));
        let response = request.send().await.map_err(|source| self.failed(&source))?;
        self.observe(response.headers());
        if response.status().is_success() { Ok(response) } else { Err(self.read_refusal(response).await) }
    }

    /// A request with the endpoint's own headers and its timeout.
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url).timeout(self.timeout).headers(self.headers.clone())
    }

    /// Reads a body, at most `answer_bytes_max` of it.
    pub(super) async fn read(&self, response: Response) -> Result<Bytes> {
        let body = body_of(response, self.answer_bytes_max).await.map_err(|source| self.failed(&source))?;
        body.ok_or_else(|| self.answer_too_long())
    }

    pub(super) async fn read_refusal(&self, mut response: Response) -> Error {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk[..chunk.len().min(REFUSAL_BYTES_MAX - body.len())]);
            if body.len() == REFUSAL_BYTES_MAX {
                break;
            }
        }
        if let (Some(encoding), Err(_)) = (encoding_of(&headers), std::str::from_utf8(&body)) {
            body = compressed(encoding).into_bytes();
        }
        match signals::of_http(self.dialect, &self.rules, status, &headers, &body) {
            Some(refusal) => self.refused(refusal),
            None => self.bad_answer(format!("status {status}")),
        }
    }

    /// What a request that got no whole answer means.
    pub(super) fn failed(&self, source: &reqwest::Error) -> Error {
        let (meaning, how) = match source {
            _ if source.is_connect() => (Meaning::Down, CONNECT),
            _ if source.is_timeout() => (Meaning::Timeout, "timeout"),
            _ if source.is_builder() => (Meaning::Settings, "build request"),
            _ => (Meaning::Down, "connection lost"),
        };
        self.refused(Refusal::new(meaning, how, &innermost(source)))
    }

    /// What the user's own rules make of a refusal that came without a status of HTTP.
    pub(super) fn reread(&self, refusal: &mut Refusal, words: &str) {
        let fits = |rule: &&Rule| rule.status.is_none() && rule.fits(0, words);
        refusal.meaning = self.rules.iter().find(fits).map_or(refusal.meaning, |rule| rule.meaning);
    }

    /// Takes note of what headers tell besides the answer.
    pub(super) fn observe(&self, headers: &HeaderMap) {
        let (limits, utilization) = (signals::rate_limits(headers), signals::utilization(headers));
        if limits == RateLimits::default() && utilization.is_none() {
            return;
        }
        self.watch.update(|seen| {
            seen.told += 1;
            if limits != RateLimits::default() {
                seen.rate_limits = Some(limits);
            }
            if utilization.is_some() {
                seen.utilization = utilization;
            }
        });
    }
}

/// How `headers` say that a body is encoded, if they do.
fn encoding_of(headers: &HeaderMap) -> Option<&str> {
    let encoding = headers.get(CONTENT_ENCODING)?.to_str().ok()?.trim();
    (!encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity")).then_some(encoding)
}

fn compressed(encoding: &str) -> String {
    format!(
        "its Content-Encoding is `{}`, which nobody asked for and is not read: switch it off at the server",
        cut(encoding)
    )
}

/// The body of `response`; `None` if it has more than `bytes_max`, which is seen before the byte too many is kept.
///
/// # Errors
/// What broke off while it was read.
pub(super) async fn body_of(mut response: Response, bytes_max: usize) -> reqwest::Result<Option<Bytes>> {
    let claimed = response.content_length().unwrap_or(0);
    if claimed > bytes_max as u64 {
        return Ok(None);
    }
    let mut body = BytesMut::with_capacity((claimed as usize).min(FIRST_BYTES_MAX));
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > bytes_max {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}
