//! Lookup tables: read whole before the first row, and over updates the same ones each time.
//!
//! A row that takes back another must meet what that one met. A job whose lookup join gets updates therefore notes in its
//! checkpoint folder what the table held, and does not go on with another one.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use forebay_connectors::files::read_table;
use forebay_core::hash::hash128;
use forebay_core::{Error, Kind, Result};
use forebay_plan::graph::{JobGraph, Step, StepAction};
use forebay_plan::spec::{Changes, LookupJoinSpec};
use forebay_state::checkpoint::CheckpointFolder;

use crate::lower::tasks_of;
use crate::outside::Outside;
use crate::prepare::{files, table_format};

/// Most rows of a lookup table: it is held whole in memory by every subtask.
const TABLE_ROWS_MAX: usize = 5_000_000;

/// The lookup tables of a region, by step.
///
/// # Errors
/// `Invalid` for a table that is too long, or one over updates that is not what it was; `Data` for rows that cannot be read;
/// those of the stores.
pub async fn read_tables(
    graph: &JobGraph,
    region: usize,
    outside: &dyn Outside,
    folder: &CheckpointFolder,
) -> Result<BTreeMap<String, RecordBatch>> {
    let mut tables = BTreeMap::new();
    for step in tasks_of(graph, region).flat_map(|task| &task.steps) {
        let StepAction::LookupJoin(join) = &step.action else { continue };
        let (store, pattern) = files(outside, &join.table.path)?;
        let table = read_table(store, table_format(join.table.format), pattern, TABLE_ROWS_MAX).await;
        let table = table.map_err(|error| failed(error.kind(), join).source(error))?;
        if step.changes == Changes::Updates {
            check_same(folder, step, join, &table).await?;
        }
        tables.insert(step.uid.clone(), table);
    }
    Ok(tables)
}

/// Notes what `table` holds, or compares it with what was noted first.
async fn check_same(folder: &CheckpointFolder, step: &Step, join: &LookupJoinSpec, table: &RecordBatch) -> Result<()> {
    let content = content(table).map_err(|source| failed(Kind::Internal, join).source(source))?;
    let noted = folder.write_once(&format!("table-{}.txt", step.uid), Bytes::from(content.clone())).await?;
    if noted == content {
        return Ok(());
    }
    let changed = "the table has changed since the job began, and this join gets updates: rows that take back others would \
                   meet another table than those did. Put the old table back, or start without --resume in another \
                   checkpoint folder";
    Err(failed(Kind::Invalid, join).with("step", &step.uid).source(changed))
}

/// Columns and rows, told from others.
fn content(table: &RecordBatch) -> Result<String, arrow::error::ArrowError> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &table.schema())?;
    writer.write(table)?;
    writer.finish()?;
    Ok(format!("{:032x}", hash128(&bytes)))
}

fn failed(kind: Kind, join: &LookupJoinSpec) -> Error {
    Error::new(kind, "read lookup table").with("path", &join.table.path)
}
