//! The table and checks of `host = "fetch"`: what stands behind the URLs of rows.
//!
//! It has no address, and no credential, because rows say who is asked.

use std::ops::Range;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::JobFileError;
use super::check::Checker;
use super::remote::{refuse_local_keys, refuse_other_protocols};
use super::tables::ModelTable;
use crate::remote::{FetchSpec, ProtocolSpec, RemoteSpec};

type Result<T> = std::result::Result<T, JobFileError>;

/// Most that `answer_bytes` can be: what the journal takes as one record, with room for what stands beside it.
const ANSWER_BYTES_MAX: u64 = 128 << 20;

/// What only `fetch` understands.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FetchTable {
    /// Hosts that rows may ask although their addresses are not public, `NAME` or `NAME:PORT`; all others are refused there.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub private_hosts: Vec<Spanned<String>>,
}

/// What `table` declares under `name`.
pub(super) fn fetch(checker: &Checker, name: &str, span: Range<usize>, table: ModelTable) -> Result<RemoteSpec> {
    refuse_local_keys(checker, &table)?;
    refuse_other_protocols(checker, &table)?;
    refuse_keys_of_servers(checker, &table)?;
    if table.replicas.get() != 1 {
        return Err(checker
            .error(span, format!("replicas says nothing to model \"{name}\", which asks whatever server a row names"))
            .with_help("remove it; in_flight of the step says how many are asked at a time"));
    }
    let answer_bytes = match &table.answer_bytes {
        Some(size) => Some(checker.bytes("answer_bytes", size)?),
        None => None,
    };
    if let Some(size) = table.answer_bytes.filter(|_| answer_bytes.is_some_and(|bytes| bytes > ANSWER_BYTES_MAX)) {
        return Err(checker.error(size.span(), "answer_bytes of fetch is at most 128MiB"));
    }
    let FetchTable { private_hosts } = table.fetch.map(Spanned::into_inner).unwrap_or_default();
    let private_hosts = private_hosts.into_iter().map(|host| checker.filled("private_hosts", host));
    Ok(RemoteSpec {
        urls: Vec::new(),
        model: name.to_string(),
        credential: None,
        headers: table.headers.unwrap_or_default(),
        ca: table.ca.map(|ca| checker.filled("ca", ca)).transpose()?,
        request_bytes: None,
        answer_bytes,
        refusals: Vec::new(),
        metrics: None,
        protocol: ProtocolSpec::Fetch(FetchSpec { private_hosts: private_hosts.collect::<Result<_>>()? }),
    })
}

fn refuse_keys_of_servers(checker: &Checker, table: &ModelTable) -> Result<()> {
    if let Some(credential) = &table.credential {
        return Err(checker
            .error(credential.span(), "a credential would go to whatever server a row names")
            .with_help("remove it; signed URLs need none"));
    }
    let given = [
        ("url", table.url.as_ref().map(Spanned::span)),
        ("urls", table.urls.as_ref().map(Spanned::span)),
        ("name", table.name.as_ref().map(Spanned::span)),
        ("metrics", table.metrics.as_ref().map(Spanned::span)),
        ("request_bytes", table.request_bytes.as_ref().map(Spanned::span)),
        ("refusals", table.refusals.as_ref().map(Spanned::span)),
    ];
    match given.into_iter().find_map(|(key, span)| Some((key, span?))) {
        Some((key, span)) => Err(checker
            .error(span, format!("{key} says nothing to fetch, which asks whatever server a row names"))
            .with_help("remove it; the input url is the column with the URLs")),
        None => Ok(()),
    }
}
