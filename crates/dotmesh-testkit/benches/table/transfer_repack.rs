//! How much the hub grows by changes of an app's state, after repacks (rows 12 and 13).

use anyhow::Result;

use crate::app::{App, Load, Size};
use crate::measure::{Cost, Metric, OURS, Row, Table};
use crate::peers::{Peers, RESTIC, installed};
use crate::stage::Stage;
use crate::transfer_app::SECONDS;

/// The number of pushes after the first.
const PUSHES: usize = 20;

/// What a push of changes is called in the table.
fn push_of(number: usize) -> String {
    format!("push {number} of changes after A, repacked")
}

pub(crate) async fn measure(table: &mut Table, size: Size) -> Result<()> {
    let stage = Stage::start().await?;
    let app = App::create(&stage.alice, "app", size).await?;
    app.drop_old_log().await;
    let account = stage.account().await?;
    let push = format!("dm push {account} app");
    let mut tools = installed(&stage).await?;
    tools.retain(|tool| tool.name == RESTIC);
    let mut peers = Peers::start(&stage, &tools).await?;
    let snapshot = app.commit().await;
    peers.look_at(&snapshot).await;
    stage.transfer(&stage.alice, &push).await?;
    peers.backup(table, "first push of A, repacked").await?;
    let pushed = stage.stored().await?;
    let repack = stage.repack().await?;
    let first = stage.stored().await?;
    record(table, "first push of A, repacked", first, repack);
    table.state(
        "12 the hub with A, before and after a repack",
        shown(pushed, first),
    );

    let mut before = first;
    for number in 1..=PUSHES {
        app.start().await;
        app.change(Load::Seconds(size.of(SECONDS))).await?;
        let snapshot = app.commit().await;
        peers.look_at(&snapshot).await;
        app.stop().await;
        stage.transfer(&stage.alice, &push).await?;
        let operation = push_of(number);
        peers.backup(table, &operation).await?;
        let pushed = stage.stored().await?;
        let repack = stage.repack().await?;
        let after = stage.stored().await?;
        record(table, &operation, after - before, repack);
        if number == 1 {
            let figure = "12 growth by a push of changes, before and after a repack";
            table.state(figure, shown(pushed - before, after - before));
        }
        before = after;
    }
    for (pushes, at_most) in [(1, 0.7), (PUSHES, 0.4)] {
        table.add(row(table, pushes, at_most));
    }
    Ok(())
}

fn shown(before: f64, after: f64) -> String {
    let (from, to) = (Metric::Bytes.show(before), Metric::Bytes.show(after));
    format!("{from} to {to}, {:.2}", after / before)
}

fn record(table: &mut Table, operation: &str, bytes: f64, wall: f64) {
    let cost = Cost {
        wall,
        bytes,
        ..Cost::default()
    };
    table.record(operation, OURS, cost);
}

/// A row that compares the growth with that of a restic repository.
fn row(table: &Table, pushes: usize, at_most: f64) -> Row {
    let sum = |who: &str| -> f64 {
        let each = (1..=pushes).map(|number| table.of(who, &push_of(number), Metric::Bytes));
        each.sum()
    };
    let (ours, restic) = (sum(OURS), sum(RESTIC));
    let ratio = ours / restic;
    Row {
        figure: format!("13 growth of the hub by {pushes} pushes of changes after A, repacked"),
        ours: Metric::Bytes.show(ours),
        peers: format!("{RESTIC}: {}", Metric::Bytes.show(restic)),
        ratio: format!("{ratio:.2}"),
        bar: format!("at most {at_most}"),
        met: (!restic.is_nan()).then_some(ratio <= at_most),
    }
}
