//! The defaults of a job file, each in one place; the JSON schema shows them.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use forebay_core::key_group::KEY_GROUPS_DEFAULT;
use toml::Spanned;

use super::units::{DurationText, SizeText};
use crate::spec::{SinkFormat, SourceFormat};

fn spanless<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

pub(super) fn one() -> NonZeroU16 {
    NonZeroU16::MIN
}

pub(super) fn one_spanned() -> Spanned<NonZeroU16> {
    spanless(one())
}

pub(super) fn key_groups() -> Spanned<NonZeroU16> {
    spanless(NonZeroU16::new(KEY_GROUPS_DEFAULT).expect("the default is not zero"))
}

/// Ten seconds keep the cost of a checkpoint (files closed, one manifest) small beside the work that a restart repeats.
pub(super) fn checkpoint_interval() -> Spanned<DurationText> {
    spanless(DurationText(Duration::from_secs(10)))
}

/// 64 steps in subtasks of such a size fit into 16 GiB.
pub(super) fn state_memory() -> Spanned<SizeText> {
    spanless(SizeText(256 << 20))
}

/// Name of the only source, where it has none.
pub(super) const SOURCE: &str = "source";

/// Name of the only sink, where it has none.
pub(super) const SINK: &str = "sink";

/// Every row that is earlier than one before it is late, unless the job says otherwise.
pub(super) fn in_order() -> DurationText {
    DurationText(Duration::ZERO)
}

/// Fills a small accelerator and keeps a retry short.
pub(super) fn infer_batch_rows() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(63)
}

pub(super) fn infer_batch_bytes() -> SizeText {
    SizeText(8 << 20)
}

pub(super) fn linger() -> DurationText {
    DurationText(Duration::from_millis(5))
}

pub(super) fn weight() -> NonZeroU32 {
    NonZeroU32::MIN
}

pub(super) fn attempts() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(2)
}

/// Longest wait for one try, where nothing is declared.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// Longest wait for one try, in latencies of the model that declares one.
pub(super) const TIMEOUT_LATENCIES: u32 = 2;

pub(super) fn yes() -> bool {
    true
}

/// Large enough for fast scans, small enough that an epoch of a slow job still closes whole files.
pub(super) fn file_bytes() -> SizeText {
    SizeText(32 << 20)
}

/// Minutes of a slow region behind it at tens of MB/s, and read back in seconds.
pub(super) fn edge_quota() -> Spanned<SizeText> {
    Spanned::new(0..0, SizeText(4 << 30))
}

/// Dead letters are read by people first.
pub(super) fn jsonl() -> SinkFormat {
    SinkFormat::Jsonl
}

/// Images are large, so few of them fill a batch; other rows are small. Rows made on the spot wait for no file, so that a
/// batch of any size costs the same for each row.
pub(super) fn source_batch_rows(format: SourceFormat) -> usize {
    match format {
        SourceFormat::Images => 32,
        SourceFormat::Nexmark => 4096,
        SourceFormat::Parquet | SourceFormat::Jsonl | SourceFormat::Csv => 1024,
    }
}
