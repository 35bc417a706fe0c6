//! Connects to public addresses, and to private ones where the settings name the host: checked for each hop.
//!
//! A URL is written by whoever wrote the row, and the engine may stand where that person must not reach: beside metadata
//! services, databases, its own server. An address in a URL is checked as it is; a name is checked as it is resolved for the
//! connection, so that no second answer of a name server can differ from the one that was looked at. No proxy is asked, for that
//! would resolve by itself.

use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Error, Kind, Result};
use reqwest::Client;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;
use url::{Host, Url};

use super::address::reserved;
use super::settings::PrivateHosts;
use crate::protocols::connections;

/// How long an unused connection is kept. Rows name many servers, and what is kept for each of them adds up.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// Names that are looked up at a time. Each lookup holds a thread, of those that files are written with, until the name server
/// answers or the system gives it up, also when the row has long been given up: a name server that answers nothing must not have
/// all of them.
const LOOKUPS_MAX: usize = 64;

/// The clients for the two sorts of hosts, and who is of which.
pub(super) struct Guard {
    private: PrivateHosts,
    /// Connects to public addresses only.
    public: Client,
    /// Connects to any.
    any: Client,
}

/// Resolves a name to those of its addresses that are public.
struct PublicOnly {
    lookups: Arc<Semaphore>,
}

/// No address of a host is public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotPublic {
    address: IpAddr,
    why: &'static str,
}

// === impl Guard ===

impl Guard {
    /// Clients for `private` hosts and all others, with the certificates of `ca`.
    ///
    /// # Errors
    /// `Invalid` if `ca` cannot be read, `Internal` if TLS cannot be set up.
    pub(super) fn new(private: PrivateHosts, ca: Option<&Path>) -> Result<Self> {
        let client = |resolver: Option<Arc<PublicOnly>>| {
            // Nothing is decompressed, whatever features others switch on: sizes are those of what is received.
            let plain = connections::builder(ca)?.no_gzip().no_brotli().no_deflate().no_zstd();
            let builder = plain.no_proxy().pool_idle_timeout(IDLE_TIMEOUT);
            let builder = resolver.into_iter().fold(builder, reqwest::ClientBuilder::dns_resolver);
            builder.build().map_err(|source| Error::new(Kind::Internal, "set up HTTP").source(source))
        };
        Ok(Self { private, public: client(Some(Arc::new(PublicOnly::new())))?, any: client(None)? })
    }

    /// The client that may ask `url`.
    ///
    /// # Errors
    /// [`NotPublic`] if its host is an address that is not, and the settings do not name it.
    pub(super) fn client(&self, url: &Url) -> Result<&Client, NotPublic> {
        let address = match url.host() {
            _ if self.private.has(url) => return Ok(&self.any),
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) | None => return Ok(&self.public),
        };
        reserved(address).map_or(Ok(&self.public), |why| Err(NotPublic { address, why }))
    }
}

// === impl PublicOnly ===

impl PublicOnly {
    fn new() -> Self {
        Self { lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let lookups = Arc::clone(&self.lookups);
        Box::pin(async move {
            let permit = lookups.acquire_owned().await?;
            let lookup = async move {
                // Given back when the thread is free, not when nobody waits any more.
                let _permit = permit;
                tokio::net::lookup_host((name.as_str(), 0)).await.map(Iterator::collect)
            };
            let found: Vec<SocketAddr> = tokio::spawn(lookup).await??;
            Ok(Box::new(public(found)?.into_iter()) as Addrs)
        })
    }
}

/// Those of `found` that are public.
fn public(found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, NotPublic> {
    let refused = found.iter().find_map(|found| {
        let address = found.ip();
        Some(NotPublic { address, why: reserved(address)? })
    });
    let kept: Vec<SocketAddr> = found.into_iter().filter(|found| reserved(found.ip()).is_none()).collect();
    match refused {
        Some(refused) if kept.is_empty() => Err(refused),
        _ => Ok(kept),
    }
}

// === impl NotPublic ===

impl NotPublic {
    /// The refusal under `error`, if that is why nothing was asked.
    pub(super) fn of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }
}

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its address {} is {}: if rows may ask there, name the host in private_hosts", self.address, self.why)
    }
}

impl StdError for NotPublic {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_addresses_only_public_ones_are_connected_to() {
        let case = |addresses: &[&str], expected: Result<Vec<&str>, &str>| {
            let found = addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect();
            let kept = public(found).map(|kept| kept.iter().map(|kept| kept.ip().to_string()).collect::<Vec<_>>());
            assert_eq!(kept, expected.map(|kept| kept.iter().map(ToString::to_string).collect()).map_err(refused));
        };
        fn refused(address: &str) -> NotPublic {
            let address = address.parse().unwrap();
            NotPublic { address, why: reserved(address).unwrap() }
        }
        case(&["8.8.8.8", "127.0.0.1", "::1", "2606:4700::1"], Ok(vec!["8.8.8.8", "2606:4700::1"]));
        case(&["10.0.0.1", "::1"], Err("10.0.0.1"));
        case(&[], Ok(vec![]));
    }

    #[tokio::test]
    async fn a_name_of_this_machine_resolves_to_nothing() {
        let refused = PublicOnly::new().resolve("localhost".parse().unwrap()).await.map(|_| ()).unwrap_err();
        assert_eq!(NotPublic::of(&*refused).map(|refused| refused.why), Some("loopback"));
    }

    #[test]
    fn addresses_are_judged_however_they_are_written() {
        let guard = Guard::new(PrivateHosts::default(), None).unwrap();
        let refused = |url: &str| guard.client(&Url::parse(url).unwrap()).is_err();
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://%31%32%37.0.0.1/",
            "http://１２７.0.0.1/",
            "http://127.0.0.1./",
            "http://[::ffff:7f00:1]/",
            "http://[::]:80/",
            "http://169.254.169.254/latest/meta-data",
        ] {
            assert!(refused(url), "{url}");
        }
        assert!(!refused("http://8.8.8.8/") && !refused("http://example.com/"));
    }
}
