//! The `durable` table of a step: how the log between two regions is kept.

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::JobFileError;
use super::check::Checker;
use super::defaults;
use super::units::SizeText;
use crate::spec::DurableMode;

/// Least quota: a log of less is full before its first checkpoint.
const QUOTA_MIN: u64 = 1 << 20;

/// Cuts the job into two regions with a log on disk between them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DurableTable {
    /// When what is behind the cut sees a row.
    #[serde(default)]
    pub mode: DurableMode,
    /// Bytes that the log holds before what is in front of the cut waits; at least 1 MiB.
    #[serde(default = "defaults::edge_quota")]
    #[schemars(with = "SizeText")]
    pub quota: Spanned<SizeText>,
}

/// A cut as declared.
#[derive(Debug, Clone, Copy)]
pub struct DurableDecl {
    /// When rows are seen.
    pub mode: DurableMode,
    /// Bytes that the log holds.
    pub quota: u64,
}

/// Checks what needs no fact.
pub(super) fn check(checker: &Checker, table: DurableTable) -> Result<DurableDecl, JobFileError> {
    let quota = table.quota.get_ref().0;
    if quota < QUOTA_MIN {
        let error = checker.error(table.quota.span(), "a quota of less than 1 MiB is full before the first checkpoint");
        return Err(error.with_help("quota = \"1MiB\" or more; 4 GiB is the default"));
    }
    Ok(DurableDecl { mode: table.mode, quota })
}
