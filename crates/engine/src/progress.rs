//! What a running job shows to a program: its report so far, with what is in flight.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use forebay_inference::service::Service;
use forebay_plan::graph::JobGraph;
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
    /// The job is planned: its models are shown from now on.
    pub fn planned(&self, graph: &JobGraph) {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.extend(graph.models.keys().cloned());
    }

    /// Counts now, by model.
    pub fn progress(&self) -> Progress {
        let Status { rows_in, rows_out, dead_letters, attempt, epoch, .. } = self.status();
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let planned = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let model = |name: &String| {
            let (service, in_flight) = (services.get(name), self.in_flight(name));
            let (open_rows, report) = (service.map_or(0, Service::open_rows), self.model(name, service));
            (name.clone(), ModelProgress { in_flight, open_rows, report })
        };
        let models = planned.iter().chain(services.keys()).map(model).collect();
        Progress { rows_in, rows_out, dead_letters, attempt, epoch, checkpoints: self.checkpoints(), models }
    }

    fn in_flight(&self, model: &str) -> usize {
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.get(model).map_or(0, |gate| gate.in_flight())
    }
}
