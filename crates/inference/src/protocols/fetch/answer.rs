//! What a server's answer means for its URL: the bytes, another URL, or why there are none.
//!
//! | answer | kind |
//! |---|---|
//! | 2xx | the bytes |
//! | 301, 302, 303, 307, 308 | the next URL |
//! | 408, 429, 503, 529 | `Overload`, tried again after `Retry-After`, at most a minute |
//! | other 5xx | `Unavailable`, tried again |
//! | everything else | `Data` |

use std::time::Duration;

use bytes::Bytes;
use forebay_core::Result;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::Response;
use url::Url;

use super::bad_row;
use crate::protocols::refusal::{Meaning, Refusal, cut};
use crate::protocols::signals::retry_after;

/// Longest pause that a server can ask for. Nobody vouches for it, and watermarks wait for the row.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Longest content type that is kept; real ones are shorter.
const CONTENT_TYPE_BYTES_MAX: usize = 256;

/// What stood behind a URL.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) content: Bytes,
    /// What the server says it is.
    pub(super) content_type: Option<String>,
}

/// Why there is nothing to read in `response`; `None` for an answer or a redirect.
pub(super) fn refused(response: &Response) -> Option<Refusal> {
    let status = response.status().as_u16();
    let meaning = match status {
        200..=299 | 301 | 302 | 303 | 307 | 308 => return None,
        408 | 429 | 503 | 529 => Meaning::Overloaded,
        500..=599 => Meaning::Down,
        _ => Meaning::BadRow,
    };
    let mut refusal = Refusal::new(meaning, format!("status {status}"), "");
    refusal.retry_after = retry_after(response.headers()).map(|pause| pause.min(PAUSE_MAX));
    Some(refusal)
}

/// Where `response` of `url` sends its reader; `None` if it has the bytes itself.
///
/// # Errors
/// `Data` if it does not say where.
pub(super) fn target(url: &Url, response: &Response) -> Result<Option<String>> {
    if !response.status().is_redirection() {
        return Ok(None);
    }
    let location = response.headers().get(LOCATION).and_then(|location| std::str::from_utf8(location.as_bytes()).ok());
    let location = location.ok_or_else(|| bad_row(url, "a redirect without a location"))?;
    let next = url.join(location).map_err(|source| bad_row(url, format!("a redirect to no URL: {source}")))?;
    Ok(Some(next.into()))
}

/// What `headers` say of the bytes.
///
/// # Errors
/// `Data` if they are compressed, which nobody asked for.
pub(super) fn content_type(url: &Url, headers: &HeaderMap) -> Result<Option<String>> {
    let encodings = headers.get_all(CONTENT_ENCODING).iter();
    if let Some(encoding) = encoding_of(encodings.filter_map(|value| value.to_str().ok())) {
        return Err(bad_row(
            url,
            format!("the server sends it compressed ({encoding}), and it was asked for as it is"),
        ));
    }
    let told = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    Ok(told.filter(|told| !told.is_empty() && told.len() <= CONTENT_TYPE_BYTES_MAX).map(str::to_string))
}

/// The first encoding that is none of no effect.
fn encoding_of<'a>(values: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut encodings = values.flat_map(|value| value.split(',')).map(str::trim);
    let named = encodings.find(|encoding| !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity"));
    named.map(cut)
}
