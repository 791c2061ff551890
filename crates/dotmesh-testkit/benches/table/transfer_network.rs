//! Transfers through a slow network: the round trips of small ones (row 16), and a push of changes (row 17).

use std::time::Duration;

use anyhow::Result;
use dotmesh_testkit::Link;

use crate::app::{App, Load, Size, commit, data_of};
use crate::measure::{Metric, OURS, Row, Table, median, time};
use crate::stage::{Node, Stage};
use crate::transfer_app::SECONDS;

/// The rounds of each small transfer, near and far.
const ROUNDS: usize = 5;

/// A round trip that takes much longer than everything else.
const FAR: Duration = Duration::from_millis(200);

pub(crate) async fn measure(table: &mut Table, size: Size) -> Result<()> {
    let stage = Stage::start_behind(Some(link(Duration::ZERO))).await?;
    small(table, &stage).await?;
    stage.set_link(link(Duration::ZERO))?;
    changes(table, &stage, size).await
}

fn link(round_trip: Duration) -> Link {
    Link {
        round_trip,
        ..Link::LAN
    }
}

/// Counts round trips: how much longer a command takes when each takes longer.
async fn small(table: &mut Table, stage: &Stage) -> Result<()> {
    let (alice, bob) = (&stage.alice, &stage.bob);
    let account = stage.account().await?;
    let push = format!("dm push {account} small");
    let clone = format!("dm clone {account} small");
    let (mut pushes, mut clones) = ([vec![], vec![]], [vec![], vec![]]);
    alice.ok("dm mount --create small .small").await;
    change(alice, "first").await;
    alice.ok(&push).await;
    for round in 0..ROUNDS {
        for (far, round_trip) in [Duration::ZERO, FAR].into_iter().enumerate() {
            stage.set_link(link(round_trip))?;
            change(alice, &format!("{round}.{far}")).await;
            pushes[far].push(time(&alice.machine, &push).await);
            clones[far].push(time(&bob.machine, &clone).await);
            bob.ok("dm dot delete --yes small").await;
        }
    }
    for (what, [near, far], at_most) in [
        ("a push of a small change", pushes, 4.0),
        ("a clone of a small dot", clones, 5.0),
    ] {
        let (near, far) = (median(near), median(far));
        let trips = (far - near) / FAR.as_secs_f64();
        table.add(Row {
            figure: format!("16 round trips of {what}"),
            ours: format!("{trips:.1}"),
            peers: format!("without a delay: {}", Metric::Time.show(near)),
            ratio: String::new(),
            bar: format!("at most {at_most}"),
            met: Some(trips.round() <= at_most),
        });
    }
    Ok(())
}

/// Commits a change of a small file.
async fn change(node: &Node, text: &str) {
    let data = data_of("small");
    node.ok(&format!("echo {text} > {data}/file")).await;
    commit(node, "small").await;
}

/// Pushes changes of an app's state through each network.
async fn changes(table: &mut Table, stage: &Stage, size: Size) -> Result<()> {
    let app = App::create(&stage.alice, "app", size).await?;
    app.drop_old_log().await;
    let account = stage.account().await?;
    let push = format!("dm push {account} app");
    app.commit().await;
    stage.transfer(&stage.alice, &push).await?;
    for (name, link) in [
        ("1 Gbit/s", link(Duration::ZERO)),
        ("1 Gbit/s, 0.5 ms", Link::LAN),
        ("100 Mbit/s, 40 ms", Link::WAN),
    ] {
        app.start().await;
        app.change(Load::Seconds(size.of(SECONDS))).await?;
        app.commit().await;
        app.stop().await;
        stage.set_link(link)?;
        let cost = stage.transfer(&stage.alice, &push).await?;
        let operation = format!("push of changes after A, {name}");
        table.record(&operation, OURS, cost);
        let (took, bytes) = (
            Metric::Time.show(cost.wall),
            Metric::Bytes.show(cost.counted),
        );
        table.state(&format!("17 {operation}"), format!("{took}, {bytes}"));
    }
    Ok(())
}
