//! How much the hub grows by changes of an app's state, after repacks (rows 12 and 13), and the hub's CPU time
//! for repacks and for clones of repacked data (rows 14 and 15).

use anyhow::Result;

use crate::app::{App, Load, Size};
use crate::measure::{Cost, Metric, OURS, Row, Table};
use crate::peers::{Peers, RESTIC_MAX, smallest};
use crate::stage::Stage;
use crate::transfer_app::SECONDS;

/// The number of pushes after the first.
const PUSHES: usize = 20;

const FIRST: &str = "first push of A, to be repacked";
const REPACK_FIRST: &str = "repack of A";
const CHANGE: &str = "push of changes after A, to be repacked";
const REPACK_CHANGE: &str = "repack of such a push";
const CLONE: &str = "clone of A before a repack";
const CLONE_REPACKED: &str = "clone of A, repacked";
const CLONE_LAST: &str = "clone after all pushes before the last repack";
const CLONE_LAST_REPACKED: &str = "clone after all pushes, repacked";

/// What the hub costs and has after a push.
struct Grown {
    /// The growth by the push, in bytes.
    pushed: f64,
    /// The growth that is left after the repack, in bytes.
    repacked: f64,
    /// CPU time in seconds.
    push_cpu: f64,
    repack_cpu: f64,
}

pub(crate) async fn measure(table: &mut Table, size: Size) -> Result<()> {
    let stage = Stage::start().await?;
    let app = App::create(&stage.alice, "app", size).await?;
    app.drop_old_log().await;
    let account = stage.account().await?;
    let push = format!("dm push {account} app");
    let mut peers = Peers::start(&stage, smallest()?).await?;
    let snapshot = app.commit().await;
    peers.look_at(&snapshot).await;
    table.record(FIRST, OURS, stage.transfer(&stage.alice, &push).await?);
    peers.backup(table, FIRST).await?;
    clone(table, &stage, &account, CLONE).await?;
    let pushed = stage.stored().await?;
    let repack = stage.repack().await?;
    let mut before = stage.stored().await?;
    table.record(REPACK_FIRST, OURS, repack);
    table.state(
        "12 the hub with A, before and after a repack",
        shown(pushed, before),
    );
    clone(table, &stage, &account, CLONE_REPACKED).await?;

    let mut grown = Vec::new();
    for number in 1..=PUSHES {
        app.start().await;
        app.change(Load::Seconds(size.of(SECONDS))).await?;
        let snapshot = app.commit().await;
        peers.look_at(&snapshot).await;
        app.stop().await;
        let push = stage.transfer(&stage.alice, &push).await?;
        table.record(CHANGE, OURS, push);
        peers.backup(table, CHANGE).await?;
        if number == PUSHES {
            clone(table, &stage, &account, CLONE_LAST).await?;
        }
        let pushed = stage.stored().await?;
        let repack = stage.repack().await?;
        let after = stage.stored().await?;
        let bytes = after - before;
        table.record(REPACK_CHANGE, OURS, Cost { bytes, ..repack });
        grown.push(Grown {
            pushed: pushed - before,
            repacked: bytes,
            push_cpu: push.hub_cpu,
            repack_cpu: repack.hub_cpu,
        });
        before = after;
    }
    clone(table, &stage, &account, CLONE_LAST_REPACKED).await?;
    peers.remove().await?;
    for (pushes, at_most) in [(1, 0.7), (PUSHES, 0.4)] {
        table.add(growth(table, &grown[..pushes], at_most));
    }
    for pushes in [1, PUSHES] {
        table.add(work(&grown[..pushes]));
    }
    for (plain, repacked) in [(CLONE, CLONE_REPACKED), (CLONE_LAST, CLONE_LAST_REPACKED)] {
        let cpu = |operation| table.sum(OURS, operation, 1, |cost| cost.hub_cpu);
        let (before, after) = (cpu(plain), cpu(repacked));
        table.add(Row {
            figure: format!("15 {repacked}, hub's CPU"),
            ours: Metric::Time.show(after),
            peers: format!("before: {}", Metric::Time.show(before)),
            ratio: format!("{:.2}", after / before),
            bar: "at most 1.5".to_owned(),
            met: Some(after <= 1.5 * before),
        });
    }
    Ok(())
}

/// Clones on the second node, and deletes the dot there again.
async fn clone(table: &mut Table, stage: &Stage, account: &str, operation: &str) -> Result<()> {
    let line = format!("dm clone {account} app");
    table.record(operation, OURS, stage.transfer(&stage.bob, &line).await?);
    stage.bob.ok("dm dot delete --yes app").await;
    Ok(())
}

fn shown(before: f64, after: f64) -> String {
    let (from, to) = (Metric::Bytes.show(before), Metric::Bytes.show(after));
    format!("{from} to {to}, {:.2}", after / before)
}

/// A row that compares the growth with that of a restic repository.
fn growth(table: &Table, grown: &[Grown], at_most: f64) -> Row {
    let pushes = grown.len();
    let pushed = grown.iter().map(|grown| grown.pushed).sum();
    let ours: f64 = grown.iter().map(|grown| grown.repacked).sum();
    let restic = table.sum(RESTIC_MAX, CHANGE, pushes, |cost| cost.bytes);
    let ratio = ours / restic;
    Row {
        figure: format!(
            "13 growth of the hub by {} after A, repacked",
            count(pushes)
        ),
        ours: shown(pushed, ours),
        peers: format!("{RESTIC_MAX}: {}", Metric::Bytes.show(restic)),
        ratio: format!("{ratio:.2}"),
        bar: format!("at most {at_most}"),
        met: (!restic.is_nan()).then_some(ratio <= at_most),
    }
}

/// A row that says how much work the repack adds to a push.
fn work(grown: &[Grown]) -> Row {
    let push: f64 = grown.iter().map(|grown| grown.push_cpu).sum();
    let repack: f64 = grown.iter().map(|grown| grown.repack_cpu).sum();
    let all = push + repack;
    Row {
        figure: format!("14 hub's CPU for {}, repack included", count(grown.len())),
        ours: Metric::Time.show(all),
        peers: format!("without: {}", Metric::Time.show(push)),
        ratio: format!("{:.2}", all / push),
        bar: "at most 0.8".to_owned(),
        met: Some(all <= 0.8 * push),
    }
}

fn count(pushes: usize) -> String {
    match pushes {
        1 => "a push of changes".to_owned(),
        pushes => format!("{pushes} pushes of changes"),
    }
}
