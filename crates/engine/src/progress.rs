//! What a running job shows to a program: its report so far, with what is in flight.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use forebay_inference::service::Service;
use serde::Serialize;

use crate::watch::{CheckpointReport, ModelReport, Status, Watch};

/// Counts of a running job at one moment. Rows count this process only, over all the parts that the job ran in.
#[derive(Debug, Clone, Serialize)]
pub struct Progress {
    /// Rows read.
    pub rows_in: u64,
    /// Rows given to sinks.
    pub rows_out: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Which run of the job.
    pub attempt: u64,
    /// The last published checkpoint.
    pub epoch: u64,
    /// Times of its checkpoints.
    pub checkpoints: CheckpointReport,
    /// By name; of models that have not started yet nothing was counted.
    pub models: BTreeMap<String, ModelProgress>,
}

/// Counts of one model of a running job.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ModelProgress {
    /// How many replicas of it there shall be here; `None` of one that runs elsewhere.
    pub replicas: Option<u16>,
    /// How many of those are loaded and take calls.
    pub replicas_ready: Option<u16>,
    /// Calls that it has not answered yet.
    pub in_flight: usize,
    /// Rows that were given to it and wait, are in flight, or are on their way into the journal.
    pub open_rows: usize,
    /// Its counts so far.
    #[serde(flatten)]
    pub report: ModelReport,
}

// === impl Watch ===

impl Watch {
    /// Counts now, by model.
    pub fn progress(&self) -> Progress {
        let Status { rows_in, rows_out, dead_letters, attempt, epoch, .. } = self.status();
        let scaled = self.scaled.lock().unwrap_or_else(PoisonError::into_inner);
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let planned = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let model = |name: &String| {
            let service = services.get(name);
            let replicas = planned.get(name).and_then(|model| model.replicas(scaled.get(name).copied(), service));
            let model = ModelProgress {
                replicas: replicas.map(|replicas| replicas.wanted),
                replicas_ready: replicas.map(|replicas| replicas.ready),
                in_flight: self.in_flight(name),
                open_rows: service.map_or(0, Service::open_rows),
                report: self.model(name, service),
            };
            (name.clone(), model)
        };
        let models = planned.keys().chain(services.keys()).map(model).collect();
        Progress { rows_in, rows_out, dead_letters, attempt, epoch, checkpoints: self.checkpoints(), models }
    }

    fn in_flight(&self, model: &str) -> usize {
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.get(model).map_or(0, |gate| gate.in_flight())
    }
}
