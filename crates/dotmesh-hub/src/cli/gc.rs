//! `dothub gc`

use dotmesh_hub_db::Opening;
use dotmesh_hub_model::show;
use dotmesh_hub_service::operations::collect_garbage::{GRACE, collect_garbage, find_garbage};

use super::ambient;
use super::error::CliError;
use super::{Data, Store, print};

/// Remove packs that no dot needs any more. A running hub does this every 6 hours
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    store: Store,
}

/// Removes them.
pub(super) async fn run(args: Args) -> Result<(), CliError> {
    let database = args.data.database(Opening::Existing).await?;
    if args.dry_run {
        let found = find_garbage(&database).await?;
        database.close().await;
        let (packs, bytes) = (show::count(found.packs, "pack"), show::bytes(found.bytes));
        return print(format_args!("Would delete {packs} ({bytes})"));
    }
    let packs = args.store.packs(&args.data, Opening::Existing)?;
    let collected = collect_garbage(&database, &packs, ambient::now(), GRACE).await?;
    database.close().await;
    print(format_args!(
        "Marked {} ({}) for deletion in an hour, and deleted {}",
        show::count(collected.packs, "pack"),
        show::bytes(collected.bytes),
        show::count(collected.files, "file"),
    ))
}
