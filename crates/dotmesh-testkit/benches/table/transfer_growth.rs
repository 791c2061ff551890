//! The same change in an app's state and in one ten times as large (row 8).

use anyhow::Result;

use crate::app::{App, Load, Size};
use crate::measure::{Metric, OURS, Row, Table};
use crate::peers::{Peers, SEND, local, warm_change};
use crate::stage::Stage;
use crate::transfer_app::SECONDS;

const SMALL: &str = "push of B's change in A";
const LARGE: &str = "push of B's change in E";
const SPREAD: &str = "push of as many transactions all over E";

pub(crate) async fn measure(table: &mut Table, size: Size) -> Result<()> {
    let load = Load::Seconds(size.of(SECONDS));
    let transactions = changes(table, size, &[(SMALL, load)]).await?;
    let same = Load::TransactionsOf(transactions, size);
    let spread = Load::Transactions(transactions);
    let large = Size(size.0 * 10.0);
    changes(table, large, &[(LARGE, same), (SPREAD, spread)]).await?;
    for (operation, bar) in [(LARGE, Some(1.2)), (SPREAD, None)] {
        for (metric, what) in [(Metric::Time, "time"), (Metric::Bytes, "bytes")] {
            table.add(row(table, operation, metric, what, bar));
        }
    }
    Ok(())
}

/// A row that compares the cost with the cost in A. The ratio for `btrfs send` shows how much more has changed on
/// disk.
fn row(table: &Table, operation: &str, metric: Metric, what: &str, bar: Option<f64>) -> Row {
    let (small, large) = (table.ours(SMALL, metric), table.ours(operation, metric));
    let disk = table.of(SEND, operation, metric) / table.of(SEND, SMALL, metric);
    Row {
        figure: format!("8 {operation} against A, {what}"),
        ours: metric.show(large),
        peers: format!("in A: {}; by {SEND}: {disk:.2}", metric.show(small)),
        ratio: format!("{:.2}", large / small),
        bar: bar.map_or(String::new(), |bar| format!("at most {bar}")),
        met: bar.map(|bar| large <= bar * small),
    }
}

/// Pushes a state, then several changes of it. Returns the number of transactions in the last change.
async fn changes(table: &mut Table, size: Size, loads: &[(&str, Load)]) -> Result<usize> {
    let stage = Stage::start().await?;
    let app = App::create(&stage.alice, "app", size).await?;
    app.drop_old_log().await;
    let account = stage.account().await?;
    let push = format!("dm push {account} app");
    let mut tools = local()?;
    tools.retain(|tool| tool.name == SEND);
    let mut peers = Peers::start(&stage, tools).await?;
    let mut base = app.commit().await;
    peers.look_at(&base).await;
    stage.transfer(&stage.alice, &push).await?;
    let mut transactions = 0;
    for (operation, load) in loads {
        app.start().await;
        transactions = app.change(*load).await?.transactions;
        let snapshot = app.commit().await;
        peers.look_at(&snapshot).await;
        app.stop().await;
        warm_change(&stage, &base, &snapshot).await?;
        let cost = stage.transfer(&stage.alice, &push).await?;
        table.record(operation, OURS, cost);
        peers.backup(table, operation).await?;
        base = snapshot;
    }
    Ok(transactions)
}
