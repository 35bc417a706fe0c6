//! The writer of one subtask: encodes rows into a file in memory, stages full files in the background.
//!
//! In memory at most: the open file (`file_bytes_max` and one slice), and [`WRITING_MAX`] + 1 closed files on their way to
//! the store. With more than that on its way the writer has no room, and backpressure does the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::hash::hash64;
use forebay_core::operator::{Context, Drained, Frozen, Operator, Out, Restored, Room, Snapshot};
use forebay_core::time::EventTime;
use forebay_core::{Batch, Error, Kind, Result};
use futures::channel::oneshot;

use super::encoder::{self, Encoder};
use super::{Committable, FileSink, FileSinkBug};

/// Closed files being written while more rows are still taken: enough to overlap one store's latency with encoding.
const WRITING_MAX: usize = 2;
/// Bytes of rows encoded between two looks at the open file's size, so that it is not outgrown by much.
const SLICE_BYTES: usize = 2 << 20;

/// Stages files for a [`FileCommitter`](super::FileCommitter); emits nothing.
///
/// State: none. What it staged for an epoch is in the snapshot's committables; rows since then are read again after a
/// restore, and what an older attempt staged for them is removed by the committer.
pub struct FileWriter {
    sink: FileSink,
    context: Option<Context>,
    /// The epoch that rows taken now will most likely belong to; only a name.
    epoch: Epoch,
    /// Files begun since the last snapshot.
    number: u32,
    open: Option<OpenFile>,
    staged: Vec<Staged>,
    writing: Arc<AtomicUsize>,
}

struct OpenFile {
    number: u32,
    rows: u64,
    encoder: Box<dyn Encoder>,
}

/// A closed file on its way to the store, or there.
struct Staged {
    number: u32,
    path: String,
    rows: u64,
    size_bytes: u64,
    hash: u64,
    written: oneshot::Receiver<Result<()>>,
}

// === impl FileWriter ===

impl FileWriter {
    pub(super) fn new(sink: FileSink) -> Self {
        Self {
            sink,
            context: None,
            epoch: Epoch(1),
            number: 0,
            open: None,
            staged: Vec::new(),
            writing: Arc::default(),
        }
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let file = match &mut self.open {
            Some(file) => file,
            none => {
                let encoder = encoder::open(&self.sink.schema, &self.sink.settings)?;
                self.number += 1;
                none.insert(OpenFile { number: self.number, rows: 0, encoder })
            }
        };
        file.encoder.write(rows)?;
        file.rows += rows.num_rows() as u64;
        if file.encoder.size_bytes() >= self.sink.settings.file_bytes_max {
            self.stage()?;
            if self.sink.bug == Some(FileSinkBug::CommittableForgotten) {
                self.staged.pop();
            }
        }
        Ok(())
    }

    /// Closes the open file, if any, and starts writing it.
    fn stage(&mut self) -> Result<()> {
        let Some(file) = self.open.take() else { return Ok(()) };
        let bytes = file.encoder.finish()?;
        let path = match self.sink.bug {
            Some(FileSinkBug::CommitAtWrite) => self.final_name(self.epoch, file.number)?,
            _ => self.staged_path(file.number)?,
        };
        let (size_bytes, hash) = (bytes.len() as u64, hash64(&bytes));
        let written = self.put(&path, bytes)?;
        self.staged.push(Staged { number: file.number, path, rows: file.rows, size_bytes, hash, written });
        Ok(())
    }

    fn put(&self, path: &str, bytes: Bytes) -> Result<oneshot::Receiver<Result<()>>> {
        let context = self.context()?;
        let (done, written) = oneshot::channel();
        let (work, writing, waker) =
            (self.sink.store.put(path, bytes), Arc::clone(&self.writing), context.waker.clone());
        writing.fetch_add(1, Ordering::SeqCst);
        context.env.spawn(Box::pin(async move {
            // Nobody listens if the attempt ended meanwhile; the file is then removed with its staging folder.
            let _ = done.send(work.await);
            writing.fetch_sub(1, Ordering::SeqCst);
            waker.wake();
        }));
        Ok(written)
    }

    fn staged_path(&self, number: u32) -> Result<String> {
        let identity = &self.context()?.identity;
        let (epoch, label, format) = (self.epoch, &self.sink.label, self.sink.settings.format);
        Ok(format!("_staging/{}/{epoch}-{label}{}-{number}.{format}", identity.attempt, identity.subtask))
    }

    fn final_name(&self, epoch: Epoch, number: u32) -> Result<String> {
        let subtask = self.context()?.identity.subtask;
        Ok(format!("part-{:08}-{}{subtask}-{number}.{}", epoch.0, self.sink.label, self.sink.settings.format))
    }

    fn context(&self) -> Result<&Context> {
        self.context.as_ref().ok_or_else(|| Error::new(Kind::Internal, "write before open"))
    }
}

impl Operator for FileWriter {
    fn open(&mut self, context: Context, restored: Restored) -> Result<()> {
        self.epoch = restored.epoch.map_or(Epoch(1), Epoch::next);
        self.context = Some(context);
        Ok(())
    }

    fn room(&self) -> Room {
        if self.writing.load(Ordering::SeqCst) > WRITING_MAX { Room::Full } else { Room::Room }
    }

    fn on_batch(&mut self, batch: Batch) -> Result<()> {
        let slices = batch.size_bytes().div_ceil(SLICE_BYTES).max(1);
        let length = batch.len().div_ceil(slices);
        for start in (0..batch.len()).step_by(length) {
            self.write(&batch.rows().slice(start, length.min(batch.len() - start)))?;
        }
        Ok(())
    }

    fn on_watermark(&mut self, _watermark: EventTime) -> Result<()> {
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Out>> {
        Ok(None)
    }

    fn snapshot(&mut self, epoch: Epoch) -> Result<Frozen> {
        self.stage()?;
        let mut files = Vec::new();
        for staged in std::mem::take(&mut self.staged) {
            let committable = Committable {
                name: self.final_name(epoch, staged.number)?,
                staged: staged.path,
                rows: staged.rows,
                size_bytes: staged.size_bytes,
                xxh3: format!("{:016x}", staged.hash),
            };
            files.push((committable, staged.written));
        }
        self.number = 0;
        self.epoch = epoch.next();
        Ok(Box::pin(async move {
            let mut committables = Vec::with_capacity(files.len());
            for (file, written) in files {
                let lost = |_| Error::new(Kind::Cancelled, "stage file").with("file", &file.staged);
                written.await.map_err(lost)??;
                committables.push(file.encode()?);
            }
            Ok(Snapshot { committables, ..Snapshot::default() })
        }))
    }

    fn drain(&mut self) -> Result<Drained> {
        self.stage()?;
        Ok(if self.writing.load(Ordering::SeqCst) == 0 { Drained::Done } else { Drained::Pending })
    }

    fn close(&mut self) {
        self.open = None;
        self.staged.clear();
    }
}
