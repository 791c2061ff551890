//! Dotmesh's speed, as ratios of times that are measured in the same run, on machines of the testkit.
//!
//! Within a round the peers and Dotmesh run in turn, so other load on the host affects both.
//!
//! `BENCH_ONLY` selects groups by name. `BENCH_SCALE` makes the data smaller, to try out the benchmark itself.
//! `BENCH_PEERS` selects peers. `BENCH_NET` selects the network of the transfers. `BENCH_PROFILE` names a folder for
//! profiles of Dotmesh's transfers.

#[path = "table/app.rs"]
mod app;
#[path = "table/commands.rs"]
mod commands;
#[path = "table/daily.rs"]
mod daily;
#[path = "table/data.rs"]
mod data;
#[path = "table/forks.rs"]
mod forks;
#[path = "table/host.rs"]
mod host;
#[path = "table/hub.rs"]
mod hub;
#[path = "table/library.rs"]
mod library;
#[path = "table/measure.rs"]
mod measure;
#[path = "table/memory.rs"]
mod memory;
#[path = "table/peer_root.rs"]
mod peer_root;
#[path = "table/peer_servers.rs"]
mod peer_servers;
#[path = "table/peers.rs"]
mod peers;
#[path = "table/rows.rs"]
mod rows;
#[path = "table/stage.rs"]
mod stage;
#[path = "table/transfer_app.rs"]
mod transfer_app;
#[path = "table/transfer_files.rs"]
mod transfer_files;
#[path = "table/transfer_growth.rs"]
mod transfer_growth;
#[path = "table/transfer_network.rs"]
mod transfer_network;
#[path = "table/transfer_pages.rs"]
mod transfer_pages;
#[path = "table/transfer_repack.rs"]
mod transfer_repack;

use std::env;

use anyhow::{Context as _, Result, ensure};

/// All groups, in the order in which they run. The slowest to set up is last.
const GROUPS: &[&str] = &[
    "commit", "checkout", "daily", "app", "files", "pages", "growth", "repack", "network", "list",
    "forks", "rows", "hub",
];
/// The groups that `transfer` stands for.
const TRANSFER: &[&str] = &["app", "files", "pages", "growth", "repack", "network"];

#[tokio::main]
async fn main() -> Result<()> {
    let groups = chosen(&env::var("BENCH_ONLY").unwrap_or_default())?;
    let scale = match env::var("BENCH_SCALE") {
        Ok(text) => text.parse().context("BENCH_SCALE is a number, e.g. 0.1")?,
        Err(_) => 1.0,
    };
    // Report a wrong name now, not after an hour.
    peers::chosen()?;
    stage::chosen_link()?;
    let size = app::Size(scale);
    let mut table = measure::Table::default();
    for group in groups {
        match group {
            "commit" => commands::commit(&mut table).await?,
            "checkout" => commands::checkout(&mut table).await?,
            "daily" => daily::measure(&mut table, size).await?,
            "app" => transfer_app::measure(&mut table, size).await?,
            "files" => transfer_files::measure(&mut table, size).await?,
            "pages" => transfer_pages::measure(&mut table, size).await?,
            "growth" => transfer_growth::measure(&mut table, size).await?,
            "repack" => transfer_repack::measure(&mut table, size).await?,
            "network" => transfer_network::measure(&mut table, size).await?,
            "list" => commands::list(&mut table).await?,
            "rows" => rows::measure(&mut table, size).await?,
            "forks" => forks::measure(&mut table, size).await?,
            _ => hub::measure(&mut table, size).await?,
        }
    }
    table.peaks();
    host::describe().await?;
    table.print();
    Ok(())
}

/// The groups in a comma-separated list, or all groups if it is empty.
fn chosen(names: &str) -> Result<Vec<&'static str>> {
    let names: Vec<_> = names.split(',').filter(|name| !name.is_empty()).collect();
    for name in &names {
        ensure!(
            *name == "transfer" || GROUPS.contains(name),
            "there is no group {name}; there are {} and transfer",
            GROUPS.join(", ")
        );
    }
    let wanted = |group: &&str| {
        names.is_empty()
            || names.contains(group)
            || names.contains(&"transfer") && TRANSFER.contains(group)
    };
    Ok(GROUPS
        .iter()
        .copied()
        .filter(|group| wanted(group))
        .collect())
}
