//! `dothub backup`

use std::path::PathBuf;

use dotmesh_hub_db::Opening;
use dotmesh_hub_model::show;
use dotmesh_hub_service::backup::{BackupError, BackupFolder, take, verify};

use super::ambient;
use super::error::CliError;
use super::{Data, Store, print};

/// Copy everything into a folder, while the hub runs
///
/// A second backup into the same folder copies only new data, and replaces the earlier backup in one step at the end. A backup
/// can be restored to another kind of database and store. The folder contains the data of all users.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Created if it does not exist
    folder: PathBuf,
    /// Restore the backup into a scratch place in the folder, and compare
    ///
    /// This needs as much space as the records.
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    store: Store,
}

/// Takes it.
pub(super) async fn run(args: Args) -> Result<(), CliError> {
    let packs = args.store.packs(&args.data, Opening::Existing)?;
    let database = args.data.database(Opening::Existing).await?;
    let folder = BackupFolder::create(&args.folder).map_err(BackupError::from)?;
    let taken = take(
        &database,
        &packs,
        &folder,
        &ambient::clock(),
        &ambient::random(),
    )
    .await?;
    database.close().await;
    let manifest = taken.manifest;
    let rows = |table: &str| manifest.rows.get(table).copied().unwrap_or_default();
    print(format_args!(
        "Backed up {}, {}, {} and {} ({} of them new, {})",
        show::count(rows("users"), "user"),
        show::count(rows("dots"), "dot"),
        show::count(rows("commits"), "commit"),
        show::count(manifest.packs, "pack"),
        taken.new_packs,
        show::bytes(taken.new_bytes),
    ))?;
    if args.verify {
        verify(&folder, &manifest).await?;
        print(format_args!(
            "Verified: the records were restored into a scratch database, and all records and packs match"
        ))?;
    }
    match manifest.lost.len() as u64 {
        0 => Ok(()),
        lost => Err(CliError::Lost(lost)),
    }
}
