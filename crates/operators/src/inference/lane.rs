//! One model as the operator asks it: rows that wait for it, and what its calls taught.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Schema;
use forebay_core::time::Instant;
use forebay_core::{Batch, Error, Kind, Result, RowId};
use forebay_gate::batcher::{Batcher, BatcherSettings, Entry as Queued};
use forebay_inference::call::Caller;
use forebay_inference::request::{RequestBatch, RequestId};

use super::gather::Gather;
use super::ladder::{Computed, Second};
use super::retry::Later;
use super::table::{Entry, Table};
use super::{Model, Site};

/// Weight of the latest call in the expected time of the next.
const LATENCY_WEIGHT: f64 = 0.2;

/// What stands on a rung.
pub(super) enum Standing {
    Asked(Box<Lane>),
    Computed(Computed),
}

/// A model that is asked.
pub(super) struct Lane {
    /// First part of its request ids: job, operator, revision.
    pub identity: (String, String, String),
    pub inputs: Vec<(String, usize)>,
    pub site: Site,
    pub model: Arc<dyn Model>,
    pub gate: Caller,
    pub batcher: Batcher<u64>,
    pub later: Later,
    /// The gate was closed when last asked, and wakes the subtask when that may have changed.
    pub refused: bool,
    /// Seconds that a call takes, smoothed; 0 before the first.
    latency: f64,
}

// === impl Lane ===

impl Lane {
    /// The model that the step names.
    pub fn first(
        identity: (String, String),
        inputs: Vec<(String, usize)>,
        site: Site,
        model: Arc<dyn Model>,
        gate: Caller,
        batcher: BatcherSettings,
    ) -> Self {
        let (job, revision) = identity;
        let identity = (job, String::new(), revision);
        let (later, batcher) = (Later::default(), Batcher::new(batcher));
        Self { identity, inputs, site, model, gate, batcher, later, refused: false, latency: 0.0 }
    }

    /// A model on a higher rung. Its request ids name it, because two models may have one revision.
    pub fn second(job: String, second: Second, batcher: BatcherSettings) -> Self {
        let Second { name, revision, inputs, site, model, gate } = second;
        let mut lane = Self::first((job, revision), inputs, site, model, gate, batcher);
        lane.identity.1 = format!("/{name}");
        lane
    }

    /// Which inference the row is here.
    pub fn request_id(&self, uid: &str, row: RowId) -> RequestId {
        let (job, model, revision) = &self.identity;
        RequestId::new(job, &format!("{uid}{model}"), revision, row)
    }

    /// Bytes of one row's model inputs, on average over its batch.
    pub fn row_bytes(&self, batch: &Batch) -> usize {
        let columns = self.inputs.iter().map(|(_, place)| {
            let data = batch.rows().column(*place).to_data();
            data.get_slice_memory_size().unwrap_or_else(|_| data.get_array_memory_size())
        });
        columns.sum::<usize>() / batch.len().max(1)
    }

    /// The call for `rows`, all in `table`.
    pub fn request(&self, table: &Table, rows: &[Queued<u64>]) -> Result<RequestBatch> {
        let entries: Vec<&Entry> = rows.iter().filter_map(|row| table.get(row.item)).collect();
        let mut gather = Gather::default();
        entries.iter().for_each(|entry| gather.add(entry.batch.rows(), entry.place));
        let rows = gather.finish(&entries[0].batch.schema())?;
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for (input, place) in &self.inputs {
            // The field and not the column alone: its metadata says which tensor the column is.
            fields.push(rows.schema_ref().field(*place).clone().with_name(input).with_nullable(true));
            columns.push(Arc::clone(rows.column(*place)));
        }
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|source| Error::new(Kind::Internal, "build request batch").source(source))?;
        RequestBatch::new(entries.iter().map(|entry| entry.request).collect(), rows)
    }

    /// A call took so long: batches with deadlines leave in time for another one.
    pub fn took(&mut self, time: Duration) {
        let time = time.as_secs_f64();
        self.latency = if self.latency == 0.0 { time } else { self.latency + LATENCY_WEIGHT * (time - self.latency) };
        self.batcher.set_latency(Duration::from_secs_f64(self.latency));
    }

    /// When time alone gives it something to do. With `patience`, rows that were refused wait no longer than that.
    pub fn next_timer(&self, patience: Option<Duration>) -> Option<Instant> {
        let due = if self.refused { None } else { self.batcher.next_due().map(|due| Instant(0) + due) };
        let waiting = patience.filter(|_| self.later.has_refused());
        let hopeless = waiting.and_then(|patience| Some(self.later.down_since()? + patience));
        due.into_iter().chain(self.later.next()).chain(hopeless).min()
    }
}
