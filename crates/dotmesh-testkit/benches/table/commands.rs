//! The everyday commands, on one node with Docker.

use std::time::Duration;

use anyhow::Result;
use dotmesh_testkit::{Machine, Network, wait_for};

use crate::measure::{Metric, Row, Table, median, time};
use crate::stage::{Node, POOL};

const SOON: Duration = Duration::from_secs(60);

/// The number of measurements of each command.
const ROUNDS: usize = 9;

/// Writes the data of the dot of 2 GiB.
const TWO_GIGABYTES: &str = "dd if=/dev/urandom bs=1M count=2048 status=none";

async fn node(name: &str) -> Result<Node> {
    Node::start(Network::start().await?.machine(name).await?).await
}

/// A row with our time, a peer's time, and whether the target is met.
pub(crate) fn against(figure: &str, ours: f64, peer: (&str, f64), bar: &str, met: bool) -> Row {
    Row {
        figure: figure.to_owned(),
        ours: Metric::Time.show(ours),
        peers: format!("{} ({})", Metric::Time.show(peer.1), peer.0),
        ratio: format!("{:.2}", ours / peer.1),
        bar: bar.to_owned(),
        met: Some(met),
    }
}

/// `dm commit` of a large dot, compared with the bare snapshot.
pub(crate) async fn commit(table: &mut Table) -> Result<()> {
    let node = node("commit").await?;
    let machine = &node.machine;
    machine
        .run("dm mount --create big /tmp/$$.big")
        .await
        .success();
    let work = format!("{POOL}/dots/admin/big/branches/master");
    machine
        .run(&format!(
            "{TWO_GIGABYTES} of={work}/data/__default__/file && sync"
        ))
        .await
        .success();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let snapshot = format!("btrfs subvolume snapshot -r {work} {POOL}/bare-{round}");
        bare.push(time(machine, &snapshot).await);
        ours.push(time(machine, "dm commit -m commit").await);
    }
    let (ours, bare) = (median(ours), median(bare));
    table.add(against(
        "`dm commit`, 2 GB, idle",
        ours,
        ("btrfs subvolume snapshot", bare),
        "at most 15 ms over the peer",
        ours <= bare + 0.015,
    ));
    Ok(())
}

/// `dm checkout` without containers, and with two databases. The second is compared with stopping and starting them.
pub(crate) async fn checkout(table: &mut Table) -> Result<()> {
    let node = node("checkout").await?;
    let machine = &node.machine;
    machine
        .run("dm init app && dm commit -m one && dm checkout -b other")
        .await
        .success();
    let mut alone = Vec::new();
    for _ in 0..ROUNDS {
        alone.push(time(machine, "dm checkout master").await);
        alone.push(time(machine, "dm checkout other").await);
    }
    let figure = "`dm checkout`, no containers";
    table.limit(figure, Metric::Time, median(alone), 0.05);

    let run = "docker run -d --network host --volume-driver dm --name";
    let databases = format!(
        "{run} redis -v app.redis:/data redis:7 && {run} postgres -e POSTGRES_PASSWORD=s -v app.pg:/var/lib/postgresql/data postgres:15"
    );
    machine.run(&databases).await.success();
    ready(machine).await?;
    machine
        .run("dm commit -m databases && dm checkout -b third")
        .await
        .success();
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        ready(machine).await?;
        peer.push(
            time(
                machine,
                "docker stop redis postgres && docker start redis postgres",
            )
            .await,
        );
        ready(machine).await?;
        let branch = if round % 2 == 0 { "other" } else { "third" };
        ours.push(time(machine, &format!("dm checkout {branch}")).await);
    }
    let (ours, peer) = (median(ours), median(peer));
    table.add(against(
        "`dm checkout`, Redis and PostgreSQL",
        ours,
        ("docker stop + docker start", peer),
        "at most 1.15 × the peer",
        ours <= 1.15 * peer,
    ));
    Ok(())
}

pub(crate) async fn ready(machine: &Machine) -> Result<()> {
    wait_for("the databases to answer", SOON, async || {
        let line = "docker exec redis redis-cli ping && docker exec postgres psql -h 127.0.0.1 -U postgres -c 'select 1'";
        let answer = machine.run(line).await;
        anyhow::ensure!(answer.status.success(), "{}", answer.stderr);
        Ok(())
    })
    .await
}

/// `dm list` with 1,000 dots of 100 commits.
pub(crate) async fn list(table: &mut Table) -> Result<()> {
    const DOTS: usize = 1000;
    let node = node("list").await?;
    let machine = &node.machine;
    let commit = "curl -fsS -o /dev/null --unix-socket /run/dotmesh/api.sock -H content-type:application/json -d";
    let body = r#"{"message":"m","author":"a"}"#;
    // Eight at a time, because the node makes simultaneous snapshots together.
    let line = format!(
        "seq {DOTS} | xargs -P 8 -I@ sh -c 'dm init dot@ 2>/dev/null && {commit} '\\''{body}'\\'' http://node/v1/dots/admin/dot@/commits?[1-100]'"
    );
    let making = Metric::Time.show(time(machine, &line).await);
    table.state("making 1,000 dots of 100 commits", making);
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(time(machine, "dm list").await);
    }
    let figure = "`dm list`, 1,000 dots of 100 commits";
    table.limit(figure, Metric::Time, median(times), 0.1);
    let peak = node.usage().await?.peak;
    let figure = "peak memory of `dotmeshd` doing so";
    table.limit(figure, Metric::Bytes, peak, f64::from(256 << 20));
    Ok(())
}
