//! Ctrl-C during `dm up`: what is left is said, and the next run goes on.

use anyhow::Result;
use dotmesh_testkit::Network;

use crate::world::Node;

/// An app that is healthy once somebody says so.
const SHOP: &str = "\
services:
  redis:
    image: redis:7
    command: redis-server --appendonly yes --appendfsync always
    volumes: ['app.db:/data']
    healthcheck: {test: [CMD, test, -e, /data/healthy], interval: 1s, start_period: 1h}
volumes:
  app.db: {driver: dm}
";

const MIGRATION: &str = "\
[[after-fork]]
service = 'redis'
command = ['redis-cli', 'incr', 'migrated']
";

/// Interrupts `dm up` while it waits for the health check. Prints what it says, and its exit code.
const INTERRUPTED: &str = "cd ~/shop && { dm up --name two 2>~/said & up=$!; \
    until grep -q Waiting ~/said; do kill -0 $up && sleep 0.1 || break; done; \
    kill -INT $up; wait $up; echo $? >>~/said; cat ~/said; }";

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_fork_goes_on() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    let shop = node.machine.home().join("shop");
    std::fs::create_dir_all(&shop)?;
    std::fs::write(shop.join("compose.yaml"), SHOP)?;
    std::fs::write(shop.join("dotmesh.toml"), MIGRATION)?;
    node.ok("cd ~/shop && docker compose up -d").await;

    let said = node.ok(INTERRUPTED).await;
    assert!(said.contains("Interrupted.\n"), "{said}");
    assert!(
        said.contains("hint: Fork two may be there with some of its containers. 'dm up --name two' goes on, and 'dm down two --delete' deletes it"),
        "{said}"
    );
    assert!(said.ends_with("\n130\n"), "{said}");

    // The next run goes on: the commands after a fork have not run yet.
    let redis = |line: &str| format!("cd ~/shop && dm compose two -- exec -T redis {line}");
    node.ok(&redis("touch /data/healthy")).await;
    node.ok("cd ~/shop && dm up --name two").await;
    node.until_prints(&redis("redis-cli get migrated"), "1\n")
        .await?;
    // They run once.
    node.ok("cd ~/shop && dm up --name two").await;
    node.until_prints(&redis("redis-cli get migrated"), "1\n")
        .await?;
    Ok(())
}
