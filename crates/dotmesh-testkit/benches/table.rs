//! How fast Dotmesh is, as ratios of times measured side by side in one run, on a machine of the testkit.
//!
//! Each figure is a median of several rounds, and peers and we take turns within a round: what else the host does
//! meets both.

#[path = "table/measure.rs"]
mod measure;
#[path = "table/scenarios.rs"]
mod scenarios;

use anyhow::Result;

#[tokio::main]
async fn main() -> Result<()> {
    let mut table = measure::Table::default();
    scenarios::commit(&mut table).await?;
    scenarios::checkout(&mut table).await?;
    scenarios::list(&mut table).await?;
    scenarios::transfer(&mut table).await?;
    table.print();
    Ok(())
}
