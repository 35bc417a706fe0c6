//! The model services of a job, as the inference operator sees them.

use std::sync::Arc;

use forebay_core::element::Epoch;
use forebay_core::{Kind, Result};
use forebay_inference::call::{ModelGate, Permit};
use forebay_inference::journal::Journal;
use forebay_inference::protocols::gauges::Scraper;
use forebay_inference::request::{Outcome, RequestBatch, RequestId};
use forebay_inference::service::Service;
use forebay_operators::inference::{Model, Site};
use futures::future::BoxFuture;

/// A model service with the journal that keeps its answers.
#[derive(Clone)]
pub struct ServiceModel {
    /// Runs the rows.
    pub service: Service,
    /// Keeps the answers; `None` if the model is declared without.
    pub journal: Option<Journal>,
    /// What all who ask it share.
    pub gate: Arc<ModelGate>,
    /// Reads the gauges that bound the gate, as long as somebody holds it.
    pub scraper: Option<Arc<Scraper>>,
    /// Where it runs.
    pub site: Site,
}

// === impl ServiceModel ===

impl Model for ServiceModel {
    fn submit(&self, batch: RequestBatch, permit: Permit) -> BoxFuture<'static, Result<Vec<Outcome>>> {
        self.service.submit(batch, permit)
    }

    fn close(&self, epoch: Epoch, ids: Vec<RequestId>) -> BoxFuture<'static, Result<()>> {
        match &self.journal {
            Some(journal) => journal.close_rows(epoch, ids),
            None => Box::pin(async { Ok(()) }),
        }
    }

    fn give_up(&self, ids: Vec<RequestId>, kind: Kind, reason: String) -> BoxFuture<'static, Result<Vec<Outcome>>> {
        match &self.journal {
            Some(journal) => journal.give_up(ids, kind, &reason),
            None => {
                let given_up = vec![Outcome::GivenUp { kind, reason }; ids.len()];
                Box::pin(async { Ok(given_up) })
            }
        }
    }
}

/// Whether starting the region again can help after an error of this kind.
pub fn restart_helps(kind: Kind) -> bool {
    matches!(kind, Kind::Unavailable | Kind::Overload | Kind::Timeout | Kind::Internal)
}
