//! Opening a journal: read it back, cut the torn end, take the folder over, begin a segment.
//!
//! Every step is durable before the next. What was read is synced first: after a killed process it may lie in memory
//! only, and nobody may be told of an answer that a power cut can still take back.

use std::sync::Arc;

use bytes::Bytes;
use forebay_core::disk::Disk;
use forebay_core::{Error, Kind, Result};

use super::core::Core;
use super::replay::{Found, read_folder};
use super::segment::{HEADER_BYTES, Header, file_name};
use super::{JournalSettings, OpenReport, PlantedBug};

/// Opens `folder` for `attempt`.
///
/// # Errors
/// `Fenced` if a higher attempt wrote here; `Invalid` if a newer Forebay did; otherwise those of the disk.
pub(super) async fn open(
    disk: &Arc<dyn Disk>,
    folder: &str,
    attempt: u64,
    settings: JournalSettings,
) -> Result<(Core, OpenReport)> {
    let mut found = read_folder(disk, folder, &settings).await?;
    if found.attempt_max > attempt {
        return Err(Error::new(Kind::Fenced, "open journal: a newer attempt owns it")
            .with("folder", folder)
            .with("attempt", attempt)
            .with("newer", found.attempt_max));
    }
    let previous = settle(disk, &mut found, &settings).await?;
    for stale in &found.report.stale {
        disk.remove(stale).await?;
    }
    if let Some(epoch) = settings.restored {
        found.index.void_after(epoch);
    }
    let number = found.number_max + 1;
    let header = Header { attempt, number, previous, restored: settings.restored };
    let file = format!("{folder}/{}", file_name(number, attempt));
    disk.append(&file, Bytes::copy_from_slice(&header.to_bytes())).await?;
    disk.sync(&file).await?;
    if settings.planted != Some(PlantedBug::SkipFolderSync) {
        sync_folders(disk, folder).await?;
    }
    found.index.add_segment(number, file, HEADER_BYTES as u64);
    let mut core = Core::new(settings, folder, attempt, found.index, (number, HEADER_BYTES as u64));
    core.found(found.duplicates, found.report.corrupt.len() as u64);
    Ok((core, found.report))
}

/// Makes the last segment durable without its torn end; answers its number and bytes.
async fn settle(disk: &Arc<dyn Disk>, found: &mut Found, settings: &JournalSettings) -> Result<(u32, u64)> {
    let Some((number, file, end)) = found.last.take() else { return Ok((0, 0)) };
    if end == 0 {
        found.index.cut(number, 0);
        disk.remove(&file).await?;
        return Ok((number, 0));
    }
    if found.report.torn.is_some() && settings.planted != Some(PlantedBug::AcceptTornTail) {
        disk.truncate(&file, end).await?;
        found.index.cut(number, end);
    }
    disk.sync(&file).await?;
    Ok((number, end))
}

/// Makes the journal's folder, the names in it, and the folders above it durable.
async fn sync_folders(disk: &Arc<dyn Disk>, folder: &str) -> Result<()> {
    let mut path = folder;
    while !path.is_empty() {
        disk.sync_folder(path).await?;
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    disk.sync_folder("").await
}
