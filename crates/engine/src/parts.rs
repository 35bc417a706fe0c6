//! A job that runs in parts: stopped and started again inside one process, as for another parallelism.
//!
//! Between two parts no model is loaded and nothing is read; what was counted goes on in the next part's counts. Who runs
//! the parts decides when one ends: this only remembers, and tells when the next one is up.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use forebay_inference::call::Heard;
use forebay_inference::service::{Counters, Service};
use futures::channel::oneshot::{Receiver, Sender, channel};

use crate::watch::Watch;

/// What was counted of a model in parts that have ended.
#[derive(Debug, Default)]
pub(crate) struct Past {
    counters: Counters,
    heard: Heard,
}

/// The regions of a part that has begun.
#[derive(Debug, Default)]
pub(crate) struct ComingUp {
    count: usize,
    /// By place: those that run, or are at their end.
    up: BTreeSet<usize>,
    tell: Option<Sender<()>>,
}

// === impl Watch ===

impl Watch {
    /// A part of `regions` regions is about to begin; resolves when each of them runs or is at its end.
    pub fn begin_part(&self, regions: usize) -> Receiver<()> {
        let (tell, told) = channel();
        let coming = ComingUp { count: regions, up: BTreeSet::new(), tell: Some(tell) };
        *self.coming_up.lock().unwrap_or_else(PoisonError::into_inner) = coming;
        told
    }

    /// Ends the models of a part that has ended, with whatever it left unfinished. Their counts are kept.
    pub fn end_part(&self) {
        let services = {
            let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
            let gates = std::mem::take(&mut *self.gates.lock().unwrap_or_else(PoisonError::into_inner));
            let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, service) in &*services {
                let heard = gates.get(name).map(|gate| gate.heard()).unwrap_or_default();
                past.entry(name.clone()).or_default().add(service, heard);
            }
            std::mem::take(&mut *services)
        };
        services.values().for_each(Service::end);
    }

    /// The region at `place` runs, or is at its end.
    pub(crate) fn on_up(&self, place: usize) {
        let mut coming = self.coming_up.lock().unwrap_or_else(PoisonError::into_inner);
        coming.up.insert(place);
        if coming.up.len() >= coming.count
            && let Some(tell) = coming.tell.take()
        {
            // Nobody has to wait for it.
            let _ = tell.send(());
        }
    }

    /// The models of parts that have ended.
    pub(crate) fn past_models(&self) -> Vec<String> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// What was counted of the model `name` over all parts, `service` being its service in this one, if it has started.
    pub(crate) fn counters_of(&self, name: &str, service: Option<&Service>) -> Counters {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = past.get(name).map(|past| past.counters.clone()).unwrap_or_default();
        if let Some(service) = service {
            all.add(&service.counters());
        }
        all
    }

    /// What the model `name` told over all parts, `now` in this one.
    pub(crate) fn heard_of(&self, name: &str, now: Heard) -> Heard {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.get(name).map_or(now, |past| sum(past.heard, now))
    }
}

// === impl Past ===

impl Past {
    fn add(&mut self, service: &Service, heard: Heard) {
        self.counters.add(&service.counters());
        self.heard = sum(self.heard, heard);
    }
}

/// Counts of both; everything else as it was told last.
fn sum(before: Heard, now: Heard) -> Heard {
    let mut all = now;
    all.hedged += before.hedged;
    all.observed.tokens.prompt += before.observed.tokens.prompt;
    all.observed.tokens.generated += before.observed.tokens.generated;
    all
}
