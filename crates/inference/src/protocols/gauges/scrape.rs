//! Reads a backend's metrics once a second, for as long as someone holds the scraper.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use forebay_core::env::Env;
use forebay_core::time::Instant;
use forebay_core::{Kind, Result};
use forebay_gate::limiter::Gauges;
use futures::future::{Either, select};
use http::HeaderMap;
use reqwest::Method;

use super::{Family, Page};
use crate::protocols::connections::Connections;
use crate::protocols::endpoint::{Endpoint, EndpointSettings};
use crate::protocols::secret::Secrets;
use crate::protocols::signals::Dialect;

/// Time between two readings: as fast as backends renew their gauges.
const PERIOD: Duration = Duration::from_secs(1);

/// Longest wait for a page. A server that needs longer for its own metrics is told apart by its answers.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Gauges older than this say nothing any more.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scraped {
    /// When the page came.
    pub at: Instant,
    /// What it said.
    pub gauges: Gauges,
}

/// Reads one backend's metrics page. Dropping it ends the reading after the current pause.
pub struct Scraper {
    inner: Arc<Inner>,
}

struct Inner {
    env: Arc<dyn Env>,
    endpoint: Endpoint,
    family: Option<Family>,
    last: Mutex<Option<Scraped>>,
}

// === impl Scraper ===

impl Scraper {
    /// A scraper of the page at `settings.url`; `None` as `family` finds out by the names. Reads nothing yet.
    ///
    /// # Errors
    /// `Invalid` if the address or a credential cannot be used.
    pub fn new(
        env: Arc<dyn Env>,
        settings: &EndpointSettings,
        family: Option<Family>,
        connections: &Connections,
        secrets: &Secrets,
    ) -> Result<Self> {
        let endpoint = Endpoint::open(settings, Dialect::Http, false, connections, secrets)?;
        Ok(Self { inner: Arc::new(Inner { env, endpoint, family, last: Mutex::new(None) }) })
    }

    /// Reads every second in the background and gives each reading to `tell`.
    pub fn run(&self, tell: impl Fn(Scraped) + Send + Sync + 'static) {
        let (env, weak) = (Arc::clone(&self.inner.env), Arc::downgrade(&self.inner));
        self.inner.env.spawn(Box::pin(async move {
            while let Some(inner) = weak.upgrade() {
                if let Ok(scraped) = inner.read().await {
                    tell(scraped);
                }
                drop(inner);
                env.sleep(PERIOD).await;
            }
        }));
    }

    /// Reads once.
    ///
    /// # Errors
    /// `Timeout` after 500 ms; `Data` if the page has no gauges of the family; else as any call.
    pub async fn read(&self) -> Result<Scraped> {
        self.inner.read().await
    }

    /// The newest reading, unless it is too old to say anything.
    pub fn fresh(&self) -> Option<Scraped> {
        let last = *self.inner.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|scraped| self.inner.env.now().since(scraped.at) <= STALE_AFTER)
    }
}

// === impl Inner ===

impl Inner {
    async fn read(&self) -> Result<Scraped> {
        let url = self.endpoint.url.clone();
        let page = Box::pin(self.endpoint.exchange(Method::GET, url, HeaderMap::new(), Bytes::new()));
        let answer = match select(page, self.env.sleep(TIMEOUT)).await {
            Either::Left((answer, _)) => answer?,
            Either::Right(_) => return Err(self.endpoint.error(Kind::Timeout, "read metrics")),
        };
        let page = Page::read(&answer.body);
        let family = self.family.or_else(|| Family::of(&page));
        let gauges = family.and_then(|family| family.gauges(&page));
        let gauges = gauges.ok_or_else(|| self.endpoint.bad_answer("no gauge of a known server is on the page"))?;
        let scraped = Scraped { at: self.env.now(), gauges };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(scraped);
        Ok(scraped)
    }
}
