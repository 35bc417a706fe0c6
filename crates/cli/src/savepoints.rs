//! `forebay savepoints`: keeps checkpoints by name.

use std::path::Path;
use std::process::ExitCode;

use forebay_core::element::Epoch;
use forebay_engine::resume::region_name;
use forebay_state::checkpoint::Savepoint;

use crate::arguments::{FolderArguments, SavepointsCommand};
use crate::inspect::{job_name, open};
use crate::problem::Problem;
use crate::run::local;

/// `forebay savepoints ...`.
pub async fn savepoints(command: SavepointsCommand) -> Result<ExitCode, Problem> {
    match command {
        SavepointsCommand::Create { name, folder, journal } => create(&folder, journal.as_deref(), &name).await?,
        SavepointsCommand::List(folder) => list(&folder).await?,
        SavepointsCommand::Remove { name, folder } => {
            open(&folder).await?.remove_savepoint(&name).await?;
            eprintln!("savepoint {name} is removed; what only it kept goes with the job's next checkpoint");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Keeps the newest checkpoint of a job as `name`, and says so.
pub async fn create(folder: &FolderArguments, journal: Option<&Path>, name: &str) -> Result<(), Problem> {
    let checkpoints = open(folder).await?;
    let logs = forebay_engine::edge_logs(&local()?, &folder.checkpoints, journal, &job_name(folder)?)?;
    let savepoint = checkpoints.create_savepoint(name, logs.as_ref()).await?;
    let epochs = epochs_of(&savepoint);
    eprintln!("savepoint {name} keeps epoch {epochs}; go on from it with `--resume savepoint:{name}`");
    Ok(())
}

/// `7`, or `r1=7, r2=9` of several regions.
fn epochs_of(savepoint: &Savepoint) -> String {
    let several = savepoint.regions.len() > 1;
    let epoch = |(region, epoch): (&u32, &Epoch)| match several {
        true => format!("{}={epoch}", region_name(*region as usize)),
        false => epoch.to_string(),
    };
    savepoint.regions.iter().map(epoch).collect::<Vec<_>>().join(", ")
}

async fn list(folder: &FolderArguments) -> Result<(), Problem> {
    let checkpoints = open(folder).await?;
    println!("{:>10}  {:<14}  name", "epoch", "resumable");
    for savepoint in checkpoints.savepoints().await? {
        let resumable = match savepoint.complete {
            false => "no: incomplete",
            true if checkpoints.has_given_up(&savepoint).await? => "no: given up",
            true => "yes",
        };
        println!("{:>10}  {resumable:<14}  {}", epochs_of(&savepoint), savepoint.name);
    }
    Ok(())
}
