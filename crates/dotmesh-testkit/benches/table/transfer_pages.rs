//! The push of a change to one page in a hundred of a large file (row 7).

use anyhow::Result;

use crate::app::{Size, commit, data_of};
use crate::data;
use crate::measure::{Metric, OURS, Table};
use crate::peers::{Peers, fastest, local, warm};
use crate::stage::Stage;

const FIRST: &str = "first push of D";
const CHANGE: &str = "push of D's change";
const BYTES: usize = 10 << 30;

pub(crate) async fn measure(table: &mut Table, size: Size) -> Result<()> {
    let stage = Stage::start().await?;
    let alice = &stage.alice;
    alice.ok("dm mount --create large .large").await;
    let file = alice.machine.path(data_of("large")).join("file");
    let made = file.clone();
    tokio::task::spawn_blocking(move || data::large_file(&made, size.of(BYTES))).await??;
    let account = stage.account().await?;
    let push = format!("dm push {account} large");

    let first = commit(alice, "large").await;
    warm(&stage, &first.display().to_string()).await;
    table.record(FIRST, OURS, stage.transfer(alice, &push).await?);
    let changed = tokio::task::spawn_blocking(move || data::rewrite_pages(&file)).await??;
    let second = commit(alice, "large").await;
    warm(&stage, &second.display().to_string()).await;
    table.record(CHANGE, OURS, stage.transfer(alice, &push).await?);
    // One tool at a time, because the repositories of all tools would not fit on the disk.
    for tool in local()? {
        let mut peers = Peers::start(&stage, vec![tool]).await?;
        peers.look_at(&first).await;
        peers.backup(table, FIRST).await?;
        peers.look_at(&second).await;
        peers.backup(table, CHANGE).await?;
        peers.remove().await?;
    }
    let figure = "7 push of D's change, time";
    table.compare(figure, CHANGE, Metric::Time, &fastest(0.2));
    // The pages do not compress, so the bytes sent are also the bytes before compression.
    let sent = table.ours(CHANGE, Metric::Bytes);
    let figure = "7 push of D's change, bytes; 1.3 × the changed pages";
    table.limit(figure, Metric::Bytes, sent, 1.3 * changed as f64);
    Ok(())
}
