//! `forebay savepoints`: keeps checkpoints by name.

use std::process::ExitCode;

use crate::arguments::{FolderArguments, SavepointsCommand};
use crate::inspect::open;
use crate::problem::Problem;

/// `forebay savepoints ...`.
pub async fn savepoints(command: SavepointsCommand) -> Result<ExitCode, Problem> {
    match command {
        SavepointsCommand::Create { name, folder } => create(&folder, &name).await?,
        SavepointsCommand::List(folder) => list(&folder).await?,
        SavepointsCommand::Remove { name, folder } => {
            open(&folder).await?.remove_savepoint(&name).await?;
            eprintln!("savepoint {name} is removed; what only it kept goes with the job's next checkpoint");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Keeps the newest checkpoint of a job as `name`, and says so.
pub async fn create(folder: &FolderArguments, name: &str) -> Result<(), Problem> {
    let savepoint = open(folder).await?.create_savepoint(name).await?;
    let epoch = savepoint.regions.values().next().map_or(0, |epoch| epoch.0);
    eprintln!("savepoint {name} keeps epoch {epoch}; go on from it with `--resume savepoint:{name}`");
    Ok(())
}

async fn list(folder: &FolderArguments) -> Result<(), Problem> {
    println!("{:>10}  {:<8}  name", "epoch", "complete");
    for savepoint in open(folder).await?.savepoints().await? {
        let complete = if savepoint.complete { "yes" } else { "no" };
        for epoch in savepoint.regions.values() {
            println!("{:>10}  {complete:<8}  {}", epoch.0, savepoint.name);
        }
    }
    Ok(())
}
