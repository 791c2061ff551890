//! The same change in the state of an app and in one ten times as large (row 8).

use anyhow::Result;

use crate::app::{App, Load, Size};
use crate::measure::{Metric, OURS, Row, Table};
use crate::peers::{Peers, SEND, installed, warm};
use crate::stage::Stage;
use crate::transfer_app::SECONDS;

const SMALL: &str = "push of B's change in A";
const LARGE: &str = "push of B's change in E";

pub(crate) async fn measure(table: &mut Table, size: Size) -> Result<()> {
    let load = Load::Seconds(size.of(SECONDS));
    let transactions = change(table, SMALL, size, load).await?;
    let load = Load::Transactions(transactions);
    change(table, LARGE, Size(size.0 * 10.0), load).await?;
    for (figure, metric) in [
        ("8 push of B's change in E against A, time", Metric::Time),
        ("8 push of B's change in E against A, bytes", Metric::Bytes),
    ] {
        let (small, large) = (table.ours(SMALL, metric), table.ours(LARGE, metric));
        // Random changes meet fewer of the same pages in a larger table: this is what changed on disk.
        let disk = table.of(SEND, LARGE, metric) / table.of(SEND, SMALL, metric);
        table.add(Row {
            figure: figure.to_owned(),
            ours: metric.show(large),
            peers: format!(
                "in A: {}; E against A by {SEND}: {disk:.2}",
                metric.show(small)
            ),
            ratio: format!("{:.2}", large / small),
            bar: "at most 1.2".to_owned(),
            met: Some(large <= 1.2 * small),
        });
    }
    Ok(())
}

/// Pushes a state, then the change of it. Returns how many transactions made that.
async fn change(table: &mut Table, operation: &str, size: Size, load: Load) -> Result<usize> {
    let stage = Stage::start().await?;
    let app = App::create(&stage.alice, "app", size).await?;
    let account = stage.account().await?;
    let push = format!("dm push {account} app");
    let mut tools = installed(&stage).await;
    tools.retain(|tool| tool.name == SEND);
    let mut peers = Peers::start(&stage, &tools).await?;
    peers.look_at(&app.commit().await).await;
    stage.transfer(&stage.alice, &push).await?;
    app.start().await;
    let done = app.change(load).await?;
    let snapshot = app.commit().await;
    peers.look_at(&snapshot).await;
    app.stop().await;
    warm(&stage, &snapshot.display().to_string()).await;
    let cost = stage.transfer(&stage.alice, &push).await?;
    table.record(operation, OURS, cost);
    peers.backup(table, operation).await?;
    Ok(done.transactions)
}
