//! `dothub restore`

use std::path::PathBuf;

use dotmesh_hub_db::Opening;
use dotmesh_hub_model::show;
use dotmesh_hub_service::backup::{BackupFolder, RestoreError, restore};

use super::error::CliError;
use super::{Data, Store, print};

/// Create a hub from a backup, in a place where there is none
///
/// Everything is verified. Keys and passwords stay the same, and users log in again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A folder that `dothub backup` has written
    folder: PathBuf,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    store: Store,
}

/// Restores it.
pub(super) async fn run(args: Args) -> Result<(), CliError> {
    let folder = BackupFolder::at(&args.folder);
    let manifest = folder.manifest().map_err(RestoreError::from)?;
    let _lock = args.data.lock(&args.store)?;
    let packs = args.store.packs(&args.data, Opening::New)?;
    let opening = Opening::NewAt(manifest.schema);
    let database = args.data.database(opening).await?;
    restore(&folder, &manifest, &database, &packs).await?;
    database.close().await;
    let rows = |table: &str| manifest.rows.get(table).copied().unwrap_or_default();
    print(format_args!(
        "Restored {}, {} and {}, as of {}",
        show::count(rows("users"), "user"),
        show::count(rows("dots"), "dot"),
        show::count(rows("commits"), "commit"),
        show::date(&manifest.time),
    ))?;
    match manifest.lost.len() as u64 {
        0 => Ok(()),
        lost => Err(CliError::Lost(lost)),
    }
}
