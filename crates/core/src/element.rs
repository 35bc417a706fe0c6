//! What an edge carries: a batch, a watermark, a barrier, a pause or the end.

use std::fmt;

use crate::batch::Batch;
use crate::time::EventTime;

/// A checkpoint's number, dense per region, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The mark between two epochs: rows before it belong to the checkpoint, rows after it do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier {
    /// The checkpoint that this barrier closes.
    pub epoch: Epoch,
    /// Whether every operator first finishes what it has begun, because the attempt stops here.
    pub drain: bool,
    /// Whether it overtook rows on its way: whoever learns of it need not wait until it has come through the queue. Never with
    /// `drain`.
    pub overtakes: bool,
}

/// What an edge carries, in order.
#[derive(Debug, Clone)]
pub enum Element {
    /// Rows moving together, never empty.
    Batch(Batch),
    /// No row at or before this event time follows on this channel.
    Watermark(EventTime),
    /// The mark between two epochs.
    Barrier(Barrier),
    /// Nothing may come on this channel for a while: until its next batch or watermark it holds back no watermark of the
    /// receiver.
    Idle,
    /// No batch or watermark follows on this channel; barriers still may.
    End,
}
