//! `dothub repack`

use dotmesh_hub_db::Opening;
use dotmesh_hub_model::show;
use dotmesh_hub_service::operations::repack::Repacker;
use dotmesh_hub_service::running_lease::{self, REPACKING};

use super::ambient;
use super::error::CliError;
use super::serve::hours;
use super::{Data, Store, print};

/// Store what was pushed in a form that takes less space. A running hub does this every hour
///
/// Versions of the same data are compressed together, and what no dot needs is left out. The command works while the hub is
/// serving. It can be killed at any moment, and the next one goes on. The old packs are deleted an hour later, as by `dothub gc`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only say what would be repacked
    #[arg(long)]
    dry_run: bool,
    /// Leave alone what was pushed in so many hours before now
    #[arg(long, value_name = "HOURS", default_value_t = 1)]
    after: u32,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    store: Store,
}

/// Repacks.
pub(super) async fn run(args: Args) -> Result<(), CliError> {
    let database = args.data.database(Opening::Existing).await?;
    let packs = args.store.packs(&args.data, Opening::Existing)?;
    let repacker = Repacker::new(database.clone(), packs);
    let (now, settled) = (ambient::now(), hours(args.after));
    if args.dry_run {
        let found = repacker.find(now, settled).await?;
        database.close().await;
        return print(format_args!(
            "Would repack {} ({}) of {}",
            show::count(found.packs, "pack"),
            show::bytes(found.bytes),
            show::count(found.namespaces, "namespace"),
        ));
    }
    let holder = hex::encode(ambient::random().bytes::<8>());
    let repacking = repacker.repack(now, settled);
    let clock = ambient::clock();
    let done = running_lease::hold(&database, &clock, REPACKING, &holder, repacking);
    let done = done.await?.ok_or(CliError::Repacking)??;
    database.close().await;
    print(format_args!(
        "Repacked {} ({}) to {}, and left out {} that nothing needs",
        show::count(done.packs, "pack"),
        show::bytes(done.before),
        show::bytes(done.after),
        show::count(done.left_out, "object"),
    ))?;
    match done.damaged.len() {
        0 => Ok(()),
        damaged => Err(CliError::DamagedPacks(damaged as u64)),
    }
}
