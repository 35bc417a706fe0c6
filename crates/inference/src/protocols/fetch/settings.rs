//! What a user says about fetching, and which hosts may be private.

use std::path::PathBuf;

use forebay_core::hash::hash128;
use forebay_core::{Error, Kind, Result};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use url::{Host, Url};

use crate::protocols::endpoint::is_credential;
use crate::protocols::secret::SCHEME;

/// How URLs are fetched.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchSettings {
    /// Hosts that may have addresses which are not public: `NAME` or `NAME:PORT`, names exact, addresses as in URLs.
    pub private_hosts: Vec<String>,
    /// More headers of every request. They go to whatever server a row names, so none may be a credential.
    pub headers: Vec<(String, String)>,
    /// PEM file with certificates of authorities that are trusted beside the system's.
    pub ca: Option<PathBuf>,
    /// Bytes of one answer.
    pub answer_bytes_max: usize,
}

/// Hosts that may be private, each with its port if only that one is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct PrivateHosts(Vec<(Host<String>, Option<u16>)>);

// === impl FetchSettings ===

impl Default for FetchSettings {
    /// Public addresses only, with room for 32 MiB: a long recording or a large photograph.
    fn default() -> Self {
        Self { private_hosts: Vec::new(), headers: Vec::new(), ca: None, answer_bytes_max: 32 << 20 }
    }
}

impl FetchSettings {
    pub(super) fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let error = || Error::new(Kind::Invalid, "set header").with("header", name);
            let key = HeaderName::try_from(name.as_str()).map_err(|source| error().source(source))?;
            if is_credential(key.as_str()) || value.starts_with(SCHEME) {
                return Err(error().source("a credential would go to whatever server a row names: remove it"));
            }
            headers.insert(key, HeaderValue::from_str(value).map_err(|source| error().source(source))?);
        }
        Ok(headers)
    }

    /// Everything that changes what becomes of a URL: with other settings, what was refused is asked for again.
    pub(super) fn revision(&self) -> String {
        let Self { private_hosts, headers, ca, answer_bytes_max } = self;
        let parts = format!("{private_hosts:?} {headers:?} {ca:?} {answer_bytes_max}");
        format!("fetch-{:032x}", hash128(parts.as_bytes()))
    }
}

// === impl PrivateHosts ===

impl PrivateHosts {
    /// Reads `NAME`, `NAME:PORT`, `ADDRESS:PORT` and `[ADDRESS]:PORT`.
    ///
    /// # Errors
    /// `Invalid` for what is none of these.
    pub(super) fn parse(hosts: &[String]) -> Result<Self> {
        let one = |host: &String| {
            let error = |why: &str| {
                let error = Error::new(Kind::Invalid, "read private_hosts").with("host", host);
                Err(error.source(format!("{why}: each is a host as in a URL, NAME or NAME:PORT")))
            };
            let (name, port) = match host.rsplit_once(':') {
                // The colons of an address in brackets are none before a port.
                Some((name, port)) if !port.ends_with(']') => match port.parse() {
                    Ok(port) => (name, Some(port)),
                    Err(_) => return error("no such port"),
                },
                _ => (host.as_str(), None),
            };
            match Host::parse(name) {
                Ok(Host::Domain(name)) if name.contains('*') => error("names are exact, without `*`"),
                Ok(parsed) => Ok((parsed, port)),
                Err(_) => error("no such host"),
            }
        };
        hosts.iter().map(one).collect::<Result<_>>().map(Self)
    }

    /// Whether `url` leads to one of them.
    pub(super) fn has(&self, url: &Url) -> bool {
        let Some(host) = url.host() else { return false };
        let given = url.port_or_known_default();
        self.0.iter().any(|(name, port)| *name == host.to_owned() && port.is_none_or(|port| Some(port) == given))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_host_is_meant_exactly_and_with_its_port_if_it_has_one() {
        let hosts = ["store", "LocalHost:8080", "10.0.0.7", "127.0.0.1:80", "[::1]:443", "[fd00::1]"];
        let hosts = PrivateHosts::parse(&hosts.map(str::to_string)).unwrap();
        let case = |url: &str, expected| assert_eq!(hosts.has(&Url::parse(url).unwrap()), expected, "{url}");
        case("http://store/a", true);
        case("https://STORE:9000", true);
        case("http://store.example.com", false);
        case("http://a.store", false);
        case("http://store.", false);
        case("http://localhost:8080/x?y", true);
        case("http://localhost", false);
        case("http://10.0.0.7:1", true);
        case("http://0x0a000007", true);
        case("http://127.0.0.1", true);
        case("https://127.0.0.1", false);
        case("https://[::1]/", true);
        case("http://[::1]/", false);
        case("http://[fd00:0::1]:5/", true);
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for host in ["", "*.example.com", "http://store", "store/", "store:port", "store:99999", "a b", "::1"] {
            let error = PrivateHosts::parse(&[host.to_string()]).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{host}");
            assert!(error.chain().contains("NAME or NAME:PORT"), "{}", error.chain());
        }
    }

    #[test]
    fn headers_with_credentials_are_refused() {
        let headers = |name: &str, value: &str| {
            FetchSettings { headers: vec![(name.into(), value.into())], ..Default::default() }.headers()
        };
        assert!(headers("Authorization", "x").unwrap_err().chain().contains("whatever server a row names"));
        assert!(headers("x-api-key", "x").is_err() && headers("x-client", "secret://NAME").is_err());
        assert_eq!(headers("User-Agent", "x").unwrap().len(), 1);
    }
}
