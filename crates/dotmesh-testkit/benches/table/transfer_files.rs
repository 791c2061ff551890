//! Many small files: first push and clone (row 6).

use anyhow::Result;

use crate::app::{Size, commit, data_of};
use crate::data;
use crate::measure::{Metric, OURS, Table};
use crate::peers::{Peers, chosen, fastest, fastest_served, warm};
use crate::stage::Stage;

const FIRST: &str = "first push of C";
const CLONE: &str = "clone of C";
const FILES: usize = 77_000;

pub(crate) async fn measure(table: &mut Table, size: Size) -> Result<()> {
    let stage = Stage::start().await?;
    let (alice, bob) = (&stage.alice, &stage.bob);
    alice.ok("dm mount --create files .files").await;
    let folder = alice.machine.path(data_of("files")).join("files");
    tokio::task::spawn_blocking(move || data::small_files(&folder, size.of(FILES))).await??;
    let snapshot = commit(alice, "files").await;
    let account = stage.account().await?;
    let mut peers = Peers::start(&stage, chosen()?).await?;
    peers.look_at(&snapshot).await;
    warm(&stage, &snapshot.display().to_string()).await;
    let push = format!("dm push {account} files");
    table.record(FIRST, OURS, stage.transfer(alice, &push).await?);
    peers.backup(table, FIRST).await?;
    let clone = format!("dm clone {account} files");
    table.record(CLONE, OURS, stage.transfer(bob, &clone).await?);
    peers.restore(table, CLONE).await?;
    for (figure, operation) in [
        ("6 first push of C, time", FIRST),
        ("6 clone of C, time", CLONE),
    ] {
        let [all, readable] = fastest(0.7);
        let bars = [all, readable, fastest_served(0.7)];
        table.compare(figure, operation, Metric::Time, &bars);
    }
    Ok(())
}
