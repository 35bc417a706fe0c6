//! A sink that drops every row, for benchmarks and dry runs: what a job costs without the cost of writing.
//!
//! The runtime counts what it takes as rows written. Nothing is staged, so nothing is ever committed or taken back; rows
//! read again after a restore are dropped again, and their count starts anew.

use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::operator::{Context, Operator, Out, Restored};
use forebay_core::sink::{Committer, Guarantee};
use forebay_core::time::EventTime;
use forebay_core::{Batch, Result};
use futures::future::{BoxFuture, ready};

/// Drops rows; has no state.
#[derive(Debug, Default)]
pub struct BlackholeWriter;

/// Has nothing to publish.
#[derive(Debug, Default)]
pub struct BlackholeCommitter;

impl Operator for BlackholeWriter {
    fn open(&mut self, _context: Context, _restored: Restored) -> Result<()> {
        Ok(())
    }

    fn on_batch(&mut self, _batch: Batch) -> Result<()> {
        Ok(())
    }

    fn on_watermark(&mut self, _watermark: EventTime) -> Result<()> {
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Out>> {
        Ok(None)
    }
}

impl Committer for BlackholeCommitter {
    fn commit(&self, _epoch: Epoch, _committables: Vec<Bytes>) -> BoxFuture<'static, Result<()>> {
        Box::pin(ready(Ok(())))
    }

    fn abort_before(&self, _attempt: u64) -> BoxFuture<'static, Result<()>> {
        Box::pin(ready(Ok(())))
    }

    fn check_fresh(&self) -> BoxFuture<'static, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn roll_back(&self, _state_of: Epoch, _next: Epoch) -> BoxFuture<'static, Result<()>> {
        Box::pin(ready(Ok(())))
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }
}
