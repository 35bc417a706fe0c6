//! HTTP connections, pooled per authority and shared by everyone who asks the same one.
//!
//! TLS is rustls with the system's roots and those that settings add. Redirects are never followed here, because a credential must not travel to
//! where an answer points. Loopback is never asked through a proxy.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forebay_core::{Error, Kind, Result};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder};
use url::{Host, Url};

/// Longest wait for a connection. A server on the other side of the world answers a handshake in well under a second;
/// what takes ten is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an unused connection is kept. Below the 60 s after which common load balancers drop it without a word.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// The pools of one process; clones share them.
#[derive(Clone, Default)]
pub struct Connections {
    clients: Arc<Mutex<BTreeMap<Key, Client>>>,
}

/// An authority, whether it speaks nothing but HTTP/2, and the file of those trusted for it.
type Key = (String, bool, Option<PathBuf>);

// === impl Connections ===

impl Connections {
    /// No connection yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The pool of `url`'s authority; `http2` for one that speaks nothing else, as gRPC needs it; `ca` with certificates that
    /// are trusted beside the system's.
    ///
    /// # Errors
    /// `Invalid` if `ca` cannot be read or has no certificate, `Internal` if TLS cannot be set up.
    pub(super) fn client(&self, url: &Url, http2: bool, ca: Option<&Path>) -> Result<Client> {
        let key = (authority(url), http2, ca.map(Path::to_path_buf));
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let mut builder = builder(ca)?.pool_idle_timeout(IDLE_TIMEOUT);
        if is_loopback(url) {
            builder = builder.no_proxy();
        }
        if http2 {
            builder = builder.http2_prior_knowledge().http2_adaptive_window(true);
        }
        let client = builder
            .build()
            .map_err(|source| Error::new(Kind::Internal, "set up HTTP").with("authority", &key.0).source(source))?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// Authorities with a pool.
    pub fn len(&self) -> usize {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// True without any pool.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What every client has: a bound on connecting, no redirects of its own, our name, and the certificates of `ca` beside the
/// system's.
///
/// # Errors
/// `Invalid` if `ca` cannot be read or has no certificate.
pub(super) fn builder(ca: Option<&Path>) -> Result<ClientBuilder> {
    let builder = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(Policy::none())
        .user_agent(concat!("forebay/", env!("CARGO_PKG_VERSION")));
    let certificates = ca.map(certificates).transpose()?.unwrap_or_default();
    Ok(certificates.into_iter().fold(builder, ClientBuilder::add_root_certificate))
}

fn certificates(file: &Path) -> Result<Vec<Certificate>> {
    let error = || Error::new(Kind::Invalid, "read certificates of ca").with("file", file.display());
    let pem = std::fs::read(file).map_err(|source| error().source(source))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|source| error().source(source))?;
    if certificates.is_empty() { Err(error().source("it has none")) } else { Ok(certificates) }
}

/// `https://host:port`, with the port that the scheme implies.
fn authority(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}://{}:{port}", url.scheme(), url.host_str().unwrap_or_default())
}

/// True for `localhost` and the addresses of this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_one_authority_share_a_pool_and_others_do_not() {
        let connections = Connections::new();
        let client = |url: &str, http2| connections.client(&Url::parse(url).unwrap(), http2, None).map(|_| ()).unwrap();
        client("http://127.0.0.1:8000/a", false);
        client("http://127.0.0.1:8000/b?c=d", false);
        assert_eq!(connections.len(), 1);
        client("http://127.0.0.1:8001/a", false);
        client("http://127.0.0.1:8001/a", true);
        assert_eq!(connections.len(), 3);
    }

    #[test]
    fn loopback_is_known_by_name_and_by_address() {
        let case = |url: &str| is_loopback(&Url::parse(url).unwrap());
        assert!(case("http://localhost:1") && case("http://127.8.9.1") && case("http://[::1]:80/x"));
        assert!(!case("http://localhost.example.com") && !case("http://10.0.0.1") && !case("http://[2001::1]"));
    }
}
