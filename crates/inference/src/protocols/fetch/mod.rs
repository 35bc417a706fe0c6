//! What stands behind URLs: each row names one, and gets its bytes.
//!
//! Unlike with other protocols it is the rows that say which server is asked, so they are not believed: only `http` and `https`,
//! only public addresses but for hosts that the settings name (`guard`), every redirect checked as the first URL was, no
//! credentials, no cookies, no proxy, and no more bytes than allowed, with nothing decompressed. What a server says is about its
//! URL alone: a missing page is a row error, never wrong settings, and a server that is down is tried again for this row while
//! other rows go on.

mod address;
mod answer;
mod guard;
mod settings;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryBuilder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use forebay_core::{Error, Kind, Result};
use futures::future::BoxFuture;
use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::Response;
use url::Url;

pub use self::settings::FetchSettings;

use self::answer::{Fetched, refused, target};
use self::guard::{Guard, NotPublic};
use self::settings::PrivateHosts;
use super::CONNECT;
use super::endpoint::{body_of, innermost};
use super::refusal::{Meaning, Refusal, cut};
use super::remote::{Observed, Protocol, RemoteHost};
use crate::hosts::{Answers, Signature, Slot};

/// The input.
const URL: &str = "url";
/// The output with the bytes.
const CONTENT: &str = "content";
/// The output with what the server says they are.
const CONTENT_TYPE: &str = "content_type";

/// Longest URL: what servers and proxies commonly take.
const URL_BYTES_MAX: usize = 8 * 1024;

/// Most redirects of one URL. Browsers follow 20; what needs more than a few is a loop.
const REDIRECTS_MAX: usize = 5;

/// Fetches what rows name.
pub struct Fetch {
    guard: Guard,
    headers: HeaderMap,
    answer_bytes_max: usize,
    revision: String,
}

/// A host that fetches as `settings` say.
///
/// # Errors
/// `Invalid` if a host, a header or the file of certificates cannot be used.
pub fn host(settings: &FetchSettings) -> Result<RemoteHost<Fetch>> {
    let mut headers = settings.headers()?;
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(RemoteHost::new(Fetch {
        guard: Guard::new(PrivateHosts::parse(&settings.private_hosts)?, settings.ca.as_deref())?,
        headers,
        answer_bytes_max: settings.answer_bytes_max,
        revision: settings.revision(),
    }))
}

// === impl Fetch ===

impl Fetch {
    /// What stands behind `text`, redirects followed.
    async fn fetch(&self, text: &str) -> Result<Fetched> {
        let mut url = checked(text)?;
        for _ in 0..=REDIRECTS_MAX {
            let response = self.ask(&url).await?;
            match target(&url, &response)? {
                None => return self.read(&url, response).await,
                Some(next) => url = checked(&next)?,
            }
        }
        Err(bad_row(&url, format!("more than {REDIRECTS_MAX} redirects")))
    }

    async fn ask(&self, url: &Url) -> Result<Response> {
        let client = self.guard.client(url).map_err(|source| bad_row(url, source))?;
        let sent = client.get(url.clone()).headers(self.headers.clone()).send().await;
        let response = sent.map_err(|source| failed(url, &source))?;
        refused(&response).map_or(Ok(response), |refusal| Err(failed_as(url, refusal)))
    }

    async fn read(&self, url: &Url, response: Response) -> Result<Fetched> {
        let content_type = answer::content_type(url, response.headers())?;
        let body = body_of(response, self.answer_bytes_max).await.map_err(|source| failed(url, &source))?;
        let too_long =
            || format!("it has more than {} bytes: raise answer_bytes, or leave it out", self.answer_bytes_max);
        Ok(Fetched { content: body.ok_or_else(|| bad_row(url, too_long()))?, content_type })
    }

    async fn answer(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let urls = rows.column_by_name(URL).and_then(|column| column.as_string_opt::<i32>());
        let urls = urls.ok_or_else(|| Error::new(Kind::Invalid, "read urls").source("no text column `url`"))?;
        let (mut contents, mut content_types) = (BinaryBuilder::new(), StringBuilder::new());
        for url in urls {
            let fetched = match url {
                Some(url) => Some(self.fetch(url).await?),
                None => None,
            };
            content_types.append_option(fetched.as_ref().and_then(|fetched| fetched.content_type.as_deref()));
            contents.append_option(fetched.map(|fetched| fetched.content));
        }
        let fields = [(CONTENT, DataType::Binary), (CONTENT_TYPE, DataType::Utf8)];
        let fields = fields.map(|(name, kind)| Field::new(name, kind, true));
        let columns: Vec<ArrayRef> = vec![Arc::new(contents.finish()), Arc::new(content_types.finish())];
        RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), columns)
            .map_err(|source| Error::new(Kind::Internal, "build answer").source(source))
    }
}

impl Protocol for Fetch {
    fn signature(self: Arc<Self>) -> BoxFuture<'static, Result<Signature>> {
        let inputs = vec![Slot::scalar(URL, DataType::Utf8)];
        let outputs = vec![Slot::scalar(CONTENT, DataType::Binary), Slot::scalar(CONTENT_TYPE, DataType::Utf8)];
        Box::pin(std::future::ready(Ok(Signature { inputs, outputs })))
    }

    /// There is no server before there is a row.
    fn ready(self: Arc<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// A null for a null, one request a row.
    fn call(self: Arc<Self>, rows: RecordBatch) -> BoxFuture<'static, Result<Answers>> {
        Box::pin(async move { Ok(self.answer(&rows).await?.into()) })
    }

    fn rows_max(&self) -> usize {
        1
    }

    fn many_servers(&self) -> bool {
        true
    }

    fn revision(&self) -> String {
        self.revision.clone()
    }

    fn observed(&self) -> Observed {
        Observed::default()
    }
}

/// `text` as a URL that may be asked, as far as can be said before its host is looked up.
fn checked(text: &str) -> Result<Url> {
    let error = |why: String| Err(Error::new(Kind::Data, "fetch").with("url", shown_text(text)).source(why));
    if text.len() > URL_BYTES_MAX {
        return error(format!("it has {} bytes, at most {URL_BYTES_MAX} are asked for", text.len()));
    }
    match Url::parse(text) {
        Err(source) => error(format!("it is no URL: {source}")),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            error(format!("only http and https are fetched, not {}", cut(url.scheme())))
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            error("a URL with a user or password is not asked".to_string())
        }
        Ok(url) => Ok(url),
    }
}

/// A URL as errors show it: without what may be a credential, which are user, query and fragment.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    cut(url.as_str())
}

/// The same of a text that is perhaps no URL.
fn shown_text(text: &str) -> String {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    match path.rsplit_once('@') {
        Some((_, host)) => cut(&format!("***@{host}")),
        None => cut(path),
    }
}

/// The error of a URL that is not asked again.
fn bad_row(url: &Url, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::Data, "fetch").with("url", shown(url)).source(why)
}

fn failed_as(url: &Url, refusal: Refusal) -> Error {
    Error::new(refusal.meaning.kind(), "fetch").with("url", shown(url)).source(refusal)
}

/// What a request that got no whole answer means.
fn failed(url: &Url, source: &reqwest::Error) -> Error {
    if let Some(refused) = NotPublic::of(source) {
        return bad_row(url, refused.clone());
    }
    let (meaning, how) = match source {
        _ if source.is_connect() => (Meaning::Down, CONNECT),
        _ if source.is_timeout() => (Meaning::Timeout, "timeout"),
        _ if source.is_builder() => (Meaning::BadRow, "build request"),
        _ => (Meaning::Down, "connection lost"),
    };
    failed_as(url, Refusal::new(meaning, how, &innermost(source)))
}
