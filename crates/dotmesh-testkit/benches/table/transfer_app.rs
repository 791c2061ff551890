//! The state of an app: first push, clone, push and pull of a change (rows 1 to 5). Also pgbench during a push (row
//! 10), and transfers with nothing to do (row 11).
//!
//! Each round has a new dot, a new account, and new repositories for the peers.

use std::cell::Cell;

use anyhow::Result;

use crate::app::{App, Load, Size};
use crate::measure::{Bar, Metric, OURS, Row, Table, median, time};
use crate::peers::{
    BORG, Peers, RESTIC, RSYNC, RUSTIC, SEND, chosen, fastest, fastest_served, warm,
};
use crate::stage::Stage;

const FIRST: &str = "first push of A";
const CHANGE: &str = "push of B after A";
const CLONE: &str = "clone of A";
const PULL: &str = "pull of B after A";
const ROUNDS: usize = 3;

/// The seconds that pgbench takes to change A to B.
pub(crate) const SECONDS: usize = 12;
/// The seconds of each throughput measurement.
const WATCHED_SECONDS: usize = 20;
const NO_OPS: usize = 9;

pub(crate) async fn measure(table: &mut Table, size: Size) -> Result<()> {
    let stage = Stage::start().await?;
    let template = App::create(&stage.alice, "template", size).await?;
    for round in 0..ROUNDS {
        let app = template.copy(&format!("app{round}")).await?;
        one_round(table, &stage, &app, size).await?;
    }
    rows(table);
    no_ops(table, &stage).await?;
    let app = template.copy("busy").await?;
    neighbour(table, &stage, &app, size).await
}

async fn one_round(table: &mut Table, stage: &Stage, app: &App<'_>, size: Size) -> Result<()> {
    let (alice, bob, dot) = (&stage.alice, &stage.bob, &app.dot);
    let account = stage.account().await?;
    let push = format!("dm push {account} {dot}");
    let mut peers = Peers::start(stage, chosen()?).await?;

    let first = app.commit().await;
    peers.look_at(&first).await;
    warm(stage, &first.display().to_string()).await;
    table.record(FIRST, OURS, stage.transfer(alice, &push).await?);
    peers.backup(table, FIRST).await?;
    let clone = format!("dm clone {account} {dot}");
    table.record(CLONE, OURS, stage.transfer(bob, &clone).await?);
    peers.restore(table, CLONE).await?;

    app.start().await;
    app.change(Load::Seconds(size.of(SECONDS))).await?;
    let second = app.commit().await;
    app.stop().await;
    peers.look_at(&second).await;
    warm(stage, &second.display().to_string()).await;
    table.record(CHANGE, OURS, stage.transfer(alice, &push).await?);
    peers.backup(table, CHANGE).await?;
    let pull = format!("dm pull {account} {dot}");
    table.record(PULL, OURS, stage.transfer(bob, &pull).await?);
    // rsync has just updated another folder, which is also what a pull does.
    table.record_again(CHANGE, PULL, RSYNC);
    peers.remove().await?;
    Ok(())
}

fn rows(table: &mut Table) {
    let of = "the faster of restic and borg";
    let bars = [Bar::new(0.5, of, &[RESTIC, BORG]), fastest_served(0.6)];
    table.compare("1 first push of A, time", FIRST, Metric::Time, &bars);
    let figure = "2 push of B after A, time";
    let [all, readable] = fastest(0.35);
    let bars = [all, readable, fastest_served(0.45)];
    table.compare(figure, CHANGE, Metric::Time, &bars);
    let figure = "2 push of B after A, bytes on the wire";
    table.compare(figure, CHANGE, Metric::Wire, &[fastest_served(0.6)]);
    let send = Bar::new(0.9, SEND, &[SEND]);
    let restic = Bar::new(0.4, RESTIC, &[RESTIC]);
    let figure = "3 push of B after A, bytes";
    table.compare(figure, CHANGE, Metric::Bytes, &[send, restic]);
    let tools = Bar::new(0.6, of, &[RESTIC, BORG]);
    let rustic = Bar::new(1.0, RUSTIC, &[RUSTIC]);
    let bars = [tools, rustic, fastest_served(0.7)];
    table.compare("4 clone of A, time", CLONE, Metric::Time, &bars);
    let rsync = Bar::new(0.5, RSYNC, &[RSYNC]);
    table.compare("5 pull of B after A, time", PULL, Metric::Time, &[rsync]);
}

/// Repeats push and pull of the last round's dot.
async fn no_ops(table: &mut Table, stage: &Stage) -> Result<()> {
    let dot = format!("app{}", ROUNDS - 1);
    let account = format!("user{}", ROUNDS - 1);
    for (verb, node) in [("push", &stage.alice), ("pull", &stage.bob)] {
        let (mut ours, mut round_trips) = (Vec::new(), Vec::new());
        for _ in 0..NO_OPS {
            let line = format!("dm {verb} {account} {dot}");
            ours.push(time(&node.machine, &line).await);
            round_trips.push(time(&node.machine, &stage.round_trip()).await);
        }
        let over = median(ours) - median(round_trips);
        let figure = format!("11 no-op {verb}, over one round trip");
        table.limit(&figure, Metric::Time, over, 0.05);
    }
    Ok(())
}

/// Runs pgbench alternately during pushes and alone.
async fn neighbour(table: &mut Table, stage: &Stage, app: &App<'_>, size: Size) -> Result<()> {
    app.start().await;
    app.commit().await;
    let load = Load::Seconds(size.of(WATCHED_SECONDS));
    // The first writes after a snapshot are slower than later ones.
    app.pgbench(load).await?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        stage.settle().await?;
        alone.push(app.pgbench(load).await?.a_second);
        stage.settle().await?;
        let over = Cell::new(false);
        let (done, pushed) = tokio::join!(
            async {
                let done = app.pgbench(load).await;
                over.set(true);
                done
            },
            async {
                // Each push sends everything, because its account is new.
                while !over.get() {
                    let account = stage.account().await?;
                    let push = format!("dm push {account} {}", app.dot);
                    let cost = stage.transfer_now(&stage.alice, &push).await?;
                    table.record("first push of A beside pgbench", OURS, cost);
                }
                anyhow::Ok(())
            }
        );
        beside.push(done?.a_second);
        pushed?;
    }
    app.stop().await;
    let (alone, beside) = (median(alone), median(beside));
    table.add(Row {
        figure: "10 pgbench during a push, transactions a second".to_owned(),
        ours: format!("{beside:.0}"),
        peers: format!("without: {alone:.0}"),
        ratio: format!("{:.2}", beside / alone),
        bar: "at least 0.7".to_owned(),
        met: Some(beside >= 0.7 * alone),
    });
    Ok(())
}
