//! Daily work on one node: what changed, the status, a commit in a large work tree, and an undo.

use anyhow::Result;
use dotmesh_testkit::Network;

use crate::app::{Size, commit, data_of};
use crate::commands::{against, ready};
use crate::data;
use crate::measure::{Metric, Table, median, time};
use crate::stage::{Node, POOL};

/// The number of measurements of each command.
const ROUNDS: usize = 9;

/// Comparing with every byte takes long.
const ROUNDS_OF_DIFF: usize = 5;

/// The size of the file with the changed pages.
const LARGE: usize = 2 << 30;

/// The number of files in the git work tree.
const TRACKED: usize = 50_000;

/// Measures all of it.
pub(crate) async fn measure(table: &mut Table, size: Size) -> Result<()> {
    let machine = Network::start().await?.machine("daily").await?;
    let arguments = ["--trash-grace", "0", "--undo-time", "7d"];
    let node = Node::start_with(machine, &arguments).await?;
    diff(table, &node, size).await?;
    in_a_work_tree(table, &node, size).await?;
    with_databases(table, &node).await
}

/// `dm diff` of one large file, one page in a hundred of which has changed, compared with rsync that reads both states.
async fn diff(table: &mut Table, node: &Node, size: Size) -> Result<()> {
    node.ok("dm mount --create big .big").await;
    let work = data_of("big");
    let file = node.machine.path(format!("{work}/__default__/file"));
    let bytes = size.of(LARGE);
    let (made, changed) = (file.clone(), file);
    tokio::task::spawn_blocking(move || data::large_file(&made, bytes)).await??;
    let snapshot = commit(node, "big").await.join("data");
    tokio::task::spawn_blocking(move || data::rewrite_pages(&changed)).await??;
    node.ok("sync").await;
    let compare = format!(
        "rsync -a --checksum --dry-run --itemize-changes {work}/ {}/",
        snapshot.display()
    );
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS_OF_DIFF {
        peer.push(time(&node.machine, &compare).await);
        ours.push(time(&node.machine, "dm diff --stat").await);
    }
    let (ours, peer) = (median(ours), median(peer));
    table.add(against(
        "`dm diff`, 2 GB, 1 % of the pages changed",
        ours,
        ("rsync --checksum --dry-run", peer),
        "at most 0.1 × the peer",
        ours <= 0.1 * peer,
    ));
    Ok(())
}

/// `dm commit` in a git work tree with many files, whose version it records.
async fn in_a_work_tree(table: &mut Table, node: &Node, size: Size) -> Result<()> {
    let files = size.of(TRACKED);
    let git = "git -c user.name=a -c user.email=a@example.com";
    node.ok(&format!(
        "dm init small && mkdir tree && cd tree && git init -q && seq {files} | split -l 100 -d -a 4 - list && \
         for list in list*; do mkdir $list.d && (cd $list.d && xargs -n 100 touch <../$list); rm $list; done && \
         git add . && {git} commit -q -m all && dm switch small"
    ))
    .await;
    let work = format!("{POOL}/dots/admin/small/branches/master");
    let (mut ours, mut bare, mut git) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        git.push(time(&node.machine, "cd tree && git status --porcelain").await);
        let snapshot =
            format!("cd tree && btrfs subvolume snapshot -r {work} {POOL}/small-{round}");
        bare.push(time(&node.machine, &snapshot).await);
        ours.push(time(&node.machine, "cd tree && dm commit -m commit").await);
    }
    let (ours, bare) = (median(ours), median(bare));
    table.add(against(
        "`dm commit` in a work tree of 50,000 files",
        ours,
        ("btrfs subvolume snapshot", bare),
        "at most 12 ms over the peer",
        ours <= bare + 0.012,
    ));
    table.state(
        "`git status` in this work tree, which `dm commit` runs",
        Metric::Time.show(median(git)),
    );
    Ok(())
}

/// `dm status` and `dm undo` of an app with two databases. An undo of a checkout is compared with the checkout.
async fn with_databases(table: &mut Table, node: &Node) -> Result<()> {
    let machine = &node.machine;
    let run = "docker run -d --network host --volume-driver dm --name";
    node.ok(&format!(
        "{run} redis -v app.redis:/data redis:7 && {run} postgres -e POSTGRES_PASSWORD=s -v app.pg:/var/lib/postgresql/data postgres:15"
    ))
    .await;
    ready(machine).await?;
    node.ok(
        "dm switch app && dm commit -m databases && dm checkout -b other && dm checkout master",
    )
    .await;
    ready(machine).await?;
    let mut status = Vec::new();
    for _ in 0..ROUNDS {
        status.push(time(machine, "dm status").await);
    }
    let figure = "`dm status`, Redis and PostgreSQL";
    table.limit(figure, Metric::Time, median(status), 0.05);

    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ready(machine).await?;
        peer.push(time(machine, "dm checkout other").await);
        ready(machine).await?;
        ours.push(time(machine, "dm undo").await);
    }
    let (ours, peer) = (median(ours), median(peer));
    table.add(against(
        "`dm undo` of a checkout, Redis and PostgreSQL",
        ours,
        ("dm checkout", peer),
        "at most 1.1 × the peer",
        ours <= 1.1 * peer,
    ));
    Ok(())
}
