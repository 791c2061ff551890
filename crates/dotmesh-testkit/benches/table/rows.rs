//! Rows: how long a comparison of two states of a database takes, whatever its size, and the second time.

use anyhow::{Context as _, Result};
use dotmesh_testkit::{Machine, Network};

use crate::app::Size;
use crate::measure::{Metric, Row, Table, median, time};
use crate::stage::Node;

const ROUNDS: usize = 3;

/// The scale of pgbench that makes 1.5 GB, and that of the larger database.
const SCALE: usize = 100;
const LARGER: usize = 3;

const COMPARE: &str = "dm diff --rows HEAD^ HEAD >/dev/null";

/// What a user would do without: all rows of both states in the order of their keys, and a comparison of texts.
const PEER: &str = "for state in 'HEAD^' HEAD; do
    for table in accounts:aid tellers:tid branches:bid history:tid,bid,aid,delta,mtime; do
        echo \"copy (select * from pgbench_${table%%:*} order by ${table#*:}) to stdout;\"
    done | dm sql \"$state\" pg >$HOME/rows.$state
done
diff $HOME/rows.HEAD^ $HOME/rows.HEAD >/dev/null || true";

/// Measures all of it.
pub(crate) async fn measure(table: &mut Table, size: Size) -> Result<()> {
    let node = Node::start(Network::start().await?.machine("rows").await?).await?;
    let machine = &node.machine;
    let scale = size.of(SCALE);
    let changes = prepare(&node, "app", scale, "-T 12").await?;
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        forget(machine).await;
        ours.push(time(machine, COMPARE).await);
        peers.push(time(machine, PEER).await);
    }
    let peer = median(peers);
    let one = median(ours);
    let megabytes = scale * 15;
    table.add(row(
        format!("`dm diff --rows`, {megabytes} MB, {changes} transactions"),
        one,
        Some(("ordered COPY of both, and diff", peer)),
        0.2 * peer,
        "at most 0.2 × the peer".to_owned(),
    ));
    let mut again = Vec::new();
    for _ in 0..ROUNDS {
        again.push(time(machine, COMPARE).await);
    }
    let again = median(again);
    let target = "at most 100 ms".to_owned();
    table.add(row(
        "the same, the second time".to_owned(),
        again,
        None,
        0.1,
        target,
    ));

    prepare(
        &node,
        "large",
        scale * LARGER,
        &format!("-t {}", changes / 8),
    )
    .await?;
    let mut larger = Vec::new();
    for _ in 0..ROUNDS {
        forget(machine).await;
        larger.push(time(machine, COMPARE).await);
    }
    table.add(row(
        format!("the same change, {} MB", megabytes * LARGER),
        median(larger),
        Some(("the smaller one", one)),
        1.5 * one,
        "at most 1.5 × the smaller one".to_owned(),
    ));
    let peak = node.usage().await?.peak;
    let most = f64::from(256 << 20);
    table.limit(
        "peak memory of `dotmeshd` doing so",
        Metric::Bytes,
        peak,
        most,
    );
    Ok(())
}

/// Makes a database with two commits, and returns the number of transactions between them.
async fn prepare(node: &Node, dot: &str, scale: usize, work: &str) -> Result<u64> {
    node.ok(&format!(
        "docker rm -f pg >/dev/null 2>&1 || true
         docker run -d --network host --volume-driver dm --name pg -e POSTGRES_PASSWORD=s -v {dot}.pg:/var/lib/postgresql/data postgres:15
         until docker exec pg psql -h 127.0.0.1 -U postgres -c 'select 1' >/dev/null 2>&1; do sleep 0.2; done
         docker exec pg pgbench -h 127.0.0.1 -U postgres -q -i -s {scale} postgres
         docker exec pg psql -h 127.0.0.1 -U postgres -c checkpoint
         dm switch {dot} && dm commit -m before
         docker exec pg pgbench -h 127.0.0.1 -U postgres -n -c 8 -j 2 {work} postgres
         dm commit -m after"
    ))
    .await;
    let count =
        "docker exec pg psql -h 127.0.0.1 -U postgres -tAc 'select count(*) from pgbench_history'";
    let count = node.machine.run(count).await.success().stdout;
    // What was compared must not stay in the memory of its server.
    node.ok("docker stop pg >/dev/null").await;
    count.trim().parse().context("a number of transactions")
}

/// Deletes the results that the node keeps.
async fn forget(machine: &Machine) {
    machine.run("rm -rf /var/lib/dotmesh/rows").await.success();
}

fn row(figure: String, ours: f64, peer: Option<(&str, f64)>, most: f64, bar: String) -> Row {
    let peers = peer.map(|(name, seconds)| format!("{} ({name})", Metric::Time.show(seconds)));
    let ratio = peer.map(|(_, seconds)| format!("{:.2}", ours / seconds));
    Row {
        figure,
        ours: Metric::Time.show(ours),
        peers: peers.unwrap_or_default(),
        ratio: ratio.unwrap_or_default(),
        bar,
        met: Some(ours <= most),
    }
}
