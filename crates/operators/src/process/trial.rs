//! A process function on its own, for tests: rows in, watermarks, restarts at any parallelism, rows out.
//!
//! It drives the operator that the engine drives, several subtasks of it, with checkpoints in memory. Rows go in and come out as
//! lines of JSON.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::json::{LineDelimitedWriter, ReaderBuilder};
use bytes::Bytes;
use forebay_core::dead_letter::DeadLetter;
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::keys::KeyColumns;
use forebay_core::operator::{Context as Host, Identity, Operator, Out, Restored};
use forebay_core::process::{ProcessShape, ProcessSite};
use forebay_core::row::SplitId;
use forebay_core::testing::ManualEnv;
use forebay_core::time::EventTime;
use forebay_core::{Batch, Error, Kind, Result, RowId};
use forebay_state::keyed::StateSettings;
use futures::FutureExt;
use futures::task::noop_waker;

use super::{Columns, Process, ProcessFunction, ProcessSettings, process};

const GROUPS: u16 = 128;

/// A function under test, with one subtask at first.
///
/// ```
/// # use forebay_core::Result;
/// # use forebay_operators::process::*;
/// /// Counts the rows of each key.
/// struct Count(Value<u64>);
///
/// impl ProcessFunction for Count {
///     type Settings = NoSettings;
///
///     fn declare(_: NoSettings, shape: &mut Shape) -> Result<Self> {
///         shape.output(Columns::key().int("rows"));
///         Ok(Self(shape.value(TableSpec::new("rows", 1))))
///     }
///
///     fn on_row(&mut self, _row: &Row<'_>, context: &mut Context<'_>) -> Result<()> {
///         let rows = self.0.get_or(context, || 0)?;
///         *rows += 1;
///         let rows = *rows;
///         context.output().cell(rows).emit()
///     }
/// }
///
/// let mut trial = Trial::new::<Count>(Columns::new().text("user"), &["user"], "{}")?;
/// trial.rows("{\"user\": \"ann\"} {\"user\": \"bob\"}")?;
/// trial.restart(3)?;
/// trial.rows("{\"user\": \"ann\"}")?;
/// assert_eq!(trial.output()?, [
///     r#"{"user":"ann","rows":1}"#,
///     r#"{"user":"bob","rows":1}"#,
///     r#"{"user":"ann","rows":2}"#,
/// ]);
/// # Ok::<(), forebay_core::Error>(())
/// ```
pub struct Trial {
    function: Arc<dyn Process>,
    settings: ProcessSettings,
    shape: ProcessShape,
    keys: KeyColumns,
    subtasks: Vec<Box<dyn Operator>>,
    epoch: u64,
    rows: u64,
    /// By output, that of port 0 first.
    given: Vec<Vec<RecordBatch>>,
    letters: Vec<DeadLetter>,
}

// === impl Trial ===

impl Trial {
    /// `F` over rows of `columns` with the key columns `by`; `settings` as JSON.
    ///
    /// # Errors
    /// `Invalid` for what would be wrong in a job file: a column, a setting.
    pub fn new<F: ProcessFunction>(columns: Columns, by: &[&str], settings: &str) -> Result<Self> {
        let input = columns.schema(&Schema::empty(), &[])?;
        let missing = |name: &str| Error::new(Kind::Invalid, "find key column").with("column", name);
        let keys = by.iter().map(|name| input.index_of(name).map_err(|_| missing(name))).collect::<Result<Vec<_>>>()?;
        let site = ProcessSite { input: Arc::clone(&input), keys: keys.clone(), settings: settings.to_string() };
        let function = process::<F>("trial");
        let shape = function.shape(&site)?;
        let sides = shape.sides.iter().map(|side| side.name.to_string()).collect();
        let mut trial = Self {
            settings: ProcessSettings { site, sides, state: StateSettings::default(), bug: None },
            keys: KeyColumns::new(keys, &input)?,
            given: vec![Vec::new(); shape.sides.len() + 1],
            shape,
            function,
            subtasks: Vec::new(),
            epoch: 0,
            rows: 0,
            letters: Vec::new(),
        };
        trial.start(1, &BTreeMap::new())?;
        Ok(trial)
    }

    /// Gives rows, JSON objects one behind the other.
    ///
    /// # Errors
    /// `Data` for text that is no such rows; what the function answers beside `Data`.
    pub fn rows(&mut self, json: &str) -> Result<()> {
        let wrong = |error| Error::new(Kind::Data, "read rows of trial").source(error);
        let schema = Arc::clone(&self.settings.site.input);
        let reader =
            ReaderBuilder::new(schema).with_batch_size(1).build(Cursor::new(json.as_bytes())).map_err(wrong)?;
        for rows in reader {
            let rows = rows.map_err(wrong)?;
            let id = RowId::new(SplitId(0), self.rows);
            self.rows += 1;
            let group = self.keys.groups(&rows, GROUPS)?[0];
            let subtask = usize::from(group.subtask(self.subtasks.len() as u16, GROUPS));
            self.subtasks[subtask].on_batch(Batch::new(rows, vec![id])?)?;
            self.take_out(subtask)?;
        }
        Ok(())
    }

    /// Moves the watermark, and fires what is due.
    ///
    /// # Errors
    /// What the function answers beside `Data`.
    pub fn watermark(&mut self, watermark: EventTime) -> Result<()> {
        for subtask in 0..self.subtasks.len() {
            self.subtasks[subtask].on_watermark(watermark)?;
            self.take_out(subtask)?;
        }
        Ok(())
    }

    /// Ends the input: every timer fires.
    ///
    /// # Errors
    /// Those of [`Trial::watermark`].
    pub fn end(&mut self) -> Result<()> {
        self.watermark(EventTime::MAX)
    }

    /// Takes a checkpoint, drops the function and goes on from the checkpoint with so many subtasks.
    ///
    /// # Errors
    /// Those of a checkpoint and of a restore.
    pub fn restart(&mut self, parallelism: u16) -> Result<()> {
        self.epoch += 1;
        let mut groups = BTreeMap::new();
        for subtask in &mut self.subtasks {
            let snapshot = subtask.snapshot(Epoch(self.epoch))?.now_or_never();
            let missing = || Error::new(Kind::Internal, "take a checkpoint of a trial");
            groups.extend(snapshot.ok_or_else(missing)??.groups);
        }
        self.start(parallelism.clamp(1, GROUPS), &groups)
    }

    /// The rows given since this was last asked, as JSON.
    ///
    /// # Errors
    /// `Internal` for columns that JSON cannot hold.
    pub fn output(&mut self) -> Result<Vec<String>> {
        lines(std::mem::take(&mut self.given[0]))
    }

    /// The same of a side output.
    ///
    /// # Errors
    /// `Invalid` if the function has none of this name; those of [`Trial::output`].
    pub fn side(&mut self, name: &str) -> Result<Vec<String>> {
        let missing = || Error::new(Kind::Invalid, "find side output").with("name", name);
        let place = self.shape.sides.iter().position(|side| side.name == name).ok_or_else(missing)?;
        lines(std::mem::take(&mut self.given[place + 1]))
    }

    /// The dead letters since this was last asked.
    pub fn dead_letters(&mut self) -> Vec<DeadLetter> {
        std::mem::take(&mut self.letters)
    }

    /// The columns of the output.
    pub fn schema(&self) -> &SchemaRef {
        &self.shape.output
    }

    /// Every checkpoint is whole, so no epoch is named that others could build on.
    fn start(&mut self, parallelism: u16, groups: &BTreeMap<KeyGroup, Bytes>) -> Result<()> {
        self.subtasks.clear();
        for subtask in 0..parallelism {
            let identity = Identity { uid: "trial".into(), subtask, parallelism, groups: GROUPS, attempt: 1 };
            let owned = identity.key_groups();
            let groups = groups.iter().filter(|(group, _)| owned.contains(&group.0));
            let groups = groups.map(|(group, bytes)| (*group, bytes.clone())).collect();
            let mut operator = self.function.operator(&self.settings)?;
            let host = Host { identity, env: Arc::new(ManualEnv::new(0)), waker: noop_waker() };
            operator.open(host, Restored { epoch: None, groups })?;
            self.subtasks.push(operator);
        }
        Ok(())
    }

    fn take_out(&mut self, subtask: usize) -> Result<()> {
        while let Some(out) = self.subtasks[subtask].poll()? {
            match out {
                Out::Batch(batch) => self.given[0].push(batch.rows().clone()),
                Out::Side(port, batch) => self.given[usize::from(port)].push(batch.rows().clone()),
                Out::DeadLetters(letters) => self.letters.extend(letters),
                Out::Watermark(_) => {}
            }
        }
        Ok(())
    }
}

fn lines(batches: Vec<RecordBatch>) -> Result<Vec<String>> {
    let wrong = |error| Error::new(Kind::Internal, "write rows of trial").source(error);
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write_batches(&batches.iter().collect::<Vec<_>>()).and_then(|()| writer.finish()).map_err(wrong)?;
    let text = String::from_utf8_lossy(&writer.into_inner()).into_owned();
    Ok(text.lines().map(str::to_string).collect())
}
