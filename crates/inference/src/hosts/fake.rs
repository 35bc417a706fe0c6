//! A model that does what a test tells it to: waits, refuses rows, or dies. It runs in a child process like a real one.
//!
//! Takes `text` (`string[rows]`), gives `echo` (`string[rows]`, the text) and `length` (`int64[rows]`, its characters). A
//! null text gives null answers. A call takes its latency and no more: the kernel is asked not to round its sleep up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use forebay_core::{Error, Kind, Result};
use serde::{Deserialize, Serialize};

use super::process::{ProcessHost, ProcessSettings, WorkerCommand};
use super::{Answers, Refused, Signature, Slot};
use crate::request::RequestBatch;
use crate::worker::Model;

/// How late a sleep of the child may end, in nanoseconds, as the kernel reads it.
const TIMER_SLACK_NANOS: &str = "1000";

/// What the fake model does.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FakeSettings {
    /// How long each call takes.
    pub latency: Duration,
    /// Rows whose text contains this are refused as `Data`, before anything runs.
    pub fail_on: Option<String>,
    /// Rows whose text contains this are refused while the others of their call are answered.
    pub refuse_on: Option<String>,
    /// Rows whose text contains this make the process abort after the latency, before the log is written.
    pub crash_on: Option<String>,
    /// Rows whose text contains this make the process kill itself with SIGKILL at the same point.
    pub kill_on: Option<String>,
    /// If set, aborting and killing happen only while this file exists, and each removes it: once per file.
    pub crash_flag: Option<PathBuf>,
    /// Answers one row too few, as a broken model would.
    pub short_answer: bool,
}

/// A host of the fake model.
///
/// # Errors
/// `Internal` only.
pub fn host(settings: &FakeSettings, command: WorkerCommand) -> Result<ProcessHost> {
    let open = serde_json::to_string(settings)
        .map_err(|source| Error::new(Kind::Internal, "write settings of fake model").source(source))?;
    Ok(ProcessHost::new(ProcessSettings::new("fake", "fake-1".to_string(), open, command.of_kind("fake"))))
}

/// The child's side.
pub(crate) struct FakeModel {
    settings: FakeSettings,
}

// === impl FakeModel ===

impl FakeModel {
    pub(crate) fn open(settings: &str) -> Result<Self> {
        let invalid = || Error::new(Kind::Invalid, "open fake model");
        let settings: FakeSettings = serde_json::from_str(settings).map_err(|source| invalid().source(source))?;
        // Linux wakes sleepers up to 50 us late by default. Where it cannot be asked to be exact, calls take longer.
        let _ = std::fs::write("/proc/self/timerslack_ns", TIMER_SLACK_NANOS);
        Ok(Self { settings })
    }

    fn refused(&self, texts: &StringArray) -> Vec<Refused> {
        let Some(marker) = self.settings.refuse_on.as_deref() else { return Vec::new() };
        let refused = |(row, text): (usize, Option<&str>)| {
            text.filter(|text| text.contains(marker))?;
            Some(Refused { row, reason: format!("text contains {marker}") })
        };
        texts.iter().enumerate().filter_map(refused).collect()
    }

    fn crash_if_told(&self, texts: &StringArray) {
        let wanted = |marker: &Option<String>| marker.as_ref().is_some_and(|marker| any_contains(texts, marker));
        let (crash, kill) = (wanted(&self.settings.crash_on), wanted(&self.settings.kill_on));
        if !crash && !kill {
            return;
        }
        if self.settings.crash_flag.as_ref().is_some_and(|flag| std::fs::remove_file(flag).is_err()) {
            return;
        }
        if kill {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        eprintln!("fake model was told to crash");
        std::process::abort();
    }
}

impl Model for FakeModel {
    fn signature(&self) -> Signature {
        Signature {
            inputs: vec![Slot::scalar("text", DataType::Utf8)],
            outputs: vec![Slot::scalar("echo", DataType::Utf8), Slot::scalar("length", DataType::Int64)],
        }
    }

    #[allow(clippy::disallowed_methods, reason = "the child has no Env, and waiting is what this model is for")]
    fn call(&mut self, batch: &RequestBatch) -> Result<Answers> {
        let failed = |kind| Error::new(kind, "run fake model");
        let column = batch.rows.column_by_name("text").and_then(|column| column.as_string_opt::<i32>());
        let texts = column.ok_or_else(|| failed(Kind::Invalid).source("no column text of type string"))?;
        if let Some(marker) = self.settings.fail_on.as_ref().filter(|marker| any_contains(texts, marker)) {
            return Err(failed(Kind::Data).source(format!("text contains {marker}")));
        }
        std::thread::sleep(self.settings.latency);
        self.crash_if_told(texts);
        let lengths: Int64Array = texts.iter().map(|text| text.map(|text| text.chars().count() as i64)).collect();
        let columns: [(&str, Arc<dyn Array>); 2] = [("echo", Arc::new(texts.clone())), ("length", Arc::new(lengths))];
        let rows = RecordBatch::try_from_iter(columns).map_err(|source| failed(Kind::Internal).source(source))?;
        let short = usize::from(self.settings.short_answer);
        let rows = rows.slice(0, rows.num_rows().saturating_sub(short));
        Ok(Answers { rows, refused: self.refused(texts) })
    }
}

fn any_contains(texts: &StringArray, marker: &str) -> bool {
    texts.iter().flatten().any(|text| text.contains(marker))
}
