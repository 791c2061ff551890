//! `dm up` that does not reach its end: what is left is said, and the next run goes on.

use anyhow::{Result, ensure};
use dotmesh_testkit::{Network, wait_for};

use crate::world::{Node, SOON};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_that_docker_or_the_daemon_dies_in_goes_on() -> Result<()> {
    let mut node = Node::start(&Network::start().await?, "alice").await?;
    let shop = node.machine.home().join("shop");
    std::fs::create_dir_all(&shop)?;
    std::fs::write(shop.join("compose.yaml"), SHOP)?;
    std::fs::write(shop.join("dotmesh.toml"), MIGRATION)?;
    node.ok("cd ~/shop && docker compose up -d").await;
    let app = "cd ~/shop && docker compose exec -T redis redis-cli";
    node.until_prints(&format!("{app} set who app"), "OK\n")
        .await?;

    for (name, moment, victim) in [
        ("early", "dm branch | grep early", "daemon"),
        ("late", "grep -h Waiting ~/said-late", "daemon"),
        ("away", "grep -h Waiting ~/said-away", "docker"),
    ] {
        let (machine, tree) = (node.machine.clone(), shop.clone());
        let up = format!("dm up --name {name} 2>~/said-{name}");
        let up = tokio::spawn(async move { machine.run_in(&tree, &up).await });
        wait_for("the fork to be on its way", SOON, async || {
            let moment = node.machine.run_in(&shop, moment).await;
            ensure!(moment.status.success() || up.is_finished(), "{moment}");
            Ok(())
        })
        .await?;
        if victim == "docker" {
            node.machine.kill9_docker().await?;
            node.machine.start_docker().await?;
            // Docker has stopped the containers that it no longer knew.
            node.ok("cd ~/shop && docker compose up -d").await;
        } else {
            node.daemon.kill9().await?;
            node.daemon.start_again().await?;
            node.daemon.wait_for_socket("/run/dotmesh/api.sock").await?;
        }
        let healthy =
            format!("cd ~/shop && dm compose {name} -- exec -T redis touch /data/healthy");
        // The first run may go on, or have failed with the daemon. The next one goes on in any case.
        let healthy = node.until_prints(&healthy, "");
        let again = async {
            drop(up.await?);
            node.ok(&format!("cd ~/shop && dm up --name {name}")).await;
            anyhow::Ok(())
        };
        tokio::try_join!(healthy, again)?;
        let fork = format!("cd ~/shop && dm compose {name} -- exec -T redis redis-cli");
        for (key, value) in [("migrated", "1\n"), ("who", "app\n")] {
            node.until_prints(&format!("{fork} get {key}"), value)
                .await?;
        }
        node.until_prints(&format!("{app} get migrated"), "\n")
            .await?;
        let forks = node.ok("dm ps").await;
        let fork = forks.lines().find(|line| line.contains(name));
        assert!(fork.is_some_and(|line| line.contains("running")), "{forks}");
        assert_eq!(node.says("dm list").await, "", "{victim}");
    }
    Ok(())
}

/// Two at once are a user and an agent, or two agents. What is killed holds nobody up.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_at_once_runs_the_commands_after_a_fork() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    let shop = node.machine.home().join("shop");
    std::fs::create_dir_all(&shop)?;
    std::fs::write(shop.join("compose.yaml"), SHOP)?;
    std::fs::write(shop.join("dotmesh.toml"), MIGRATION)?;
    node.ok("cd ~/shop && docker compose up -d").await;

    let waits =
        |file: &str, what: &str| format!("until grep -q '{what}' ~/{file}; do sleep 0.1; done");
    let killed = format!(
        "cd ~/shop && {{ dm up --name two 2>~/killed & up=$!; {}; kill -9 $up; wait $up; echo $?; }}",
        waits("killed", "Waiting for containers")
    );
    node.until_prints(&killed, "137\n").await?;

    let up = |file: &str| {
        let (machine, tree) = (node.machine.clone(), shop.clone());
        let up = format!("dm up --name two 2>~/{file}");
        tokio::spawn(async move { machine.run_in(&tree, &up).await })
    };
    let first = up("first");
    node.ok(&waits("first", "Waiting for containers")).await;
    let second = up("second");
    node.ok(&waits("second", "Another .dm up. starts fork two"))
        .await;
    let redis = |line: &str| format!("cd ~/shop && dm compose two -- exec -T redis {line}");
    node.ok(&redis("touch /data/healthy")).await;
    first.await?.success();
    second.await?.success();
    node.until_prints(&redis("redis-cli get migrated"), "1\n")
        .await
}
