//! `dm dot delete` deletes a whole dot at once, and only if nothing needs it.

use anyhow::{Result, ensure};
use dotmesh_testkit::{Network, wait_for};

use crate::world::{Node, SOON};

/// A line that runs a command at a terminal, where somebody types an answer.
fn at_terminal(answer: &str, command: &str) -> String {
    format!("echo '{answer}' | script -qec '{command}' /dev/null")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dot_is_deleted_when_nothing_uses_it_and_its_owner_agrees() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    let refused = node.fails("dm dot delete -f gone").await;
    assert!(refused.contains("No such dot 'gone'"), "{refused}");

    node.keep_running("user", "app.sub").await;
    node.ok("docker exec user touch /v/file && dm commit -m one && dm checkout -b b1")
        .await;
    node.ok("dm commit -m two && dm checkout -b b2 && dm commit -m three")
        .await;
    node.ok("dm checkout master && dm checkout -b b3").await;
    let refused = node.fails("dm dot delete -f app").await;
    assert!(
        refused.contains("containers are using dot app: user"),
        "{refused}"
    );
    node.ok("docker rm -f user").await;
    node.ok("docker run -d --init --name pinned -v app@b1.sub:/v --volume-driver dm debian:bookworm-slim sleep 100000")
        .await;
    let refused = node.fails("dm dot delete -f app").await;
    assert!(
        refused.contains("containers are using dot app: pinned"),
        "{refused}"
    );
    node.ok("docker stop pinned").await;

    for answer in ["", "y", "yes", "n", "YES", "Y Y"] {
        let aborted = node.run(&at_terminal(answer, "dm dot delete app")).await;
        assert_eq!(aborted.status.code(), Some(1), "{answer:?}: {aborted}");
        assert!(aborted.stdout.contains("Aborted."), "{answer:?}: {aborted}");
    }
    // Without a terminal nobody is asked.
    let asked = "echo Y | dm dot delete app";
    node.says_no(asked, &["stdin is not a terminal", "--yes"])
        .await;
    assert_eq!(node.dots().await, ["app"]);
    let told = node.ok(&at_terminal("Y", "dm dot delete app")).await;
    assert!(
        told.contains("4 branches (b1, b2, b3, master), 3 commits")
            && told.contains("Deleted dot 'app'"),
        "{told}"
    );
    assert_eq!(node.dots().await, [""; 0]);
    assert_eq!(node.ok("docker volume ls -q").await, "");

    // The name is free at once, and its data is gone.
    assert_eq!(node.in_volume("app.sub", "ls /v").await, "");
    let refused = node.fails("dm branch").await;
    assert!(refused.contains("dm switch app"), "{refused}");
    assert_eq!(node.ok("dm switch app && dm branch").await, "* master\n");
    assert_eq!(node.cell("app", 6).await, "0");
    // The volume of a stopped container is gone, and no other volume takes its place.
    let refused = node.fails("docker start pinned").await;
    assert!(refused.contains("no such volume"), "{refused}");
    for _ in 0..5 {
        node.ok("dm dot delete -f app && dm init app").await;
    }
    let refused = node.fails("dm init app").await;
    assert!(refused.contains("app exists already"), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_data_gives_its_space_back_to_the_host() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    let on_disk = async || {
        let du = node
            .ok("sync -f /var/lib/dotmesh/pool; du -sm /var/lib/dotmesh/pool.img | cut -f1")
            .await;
        anyhow::Ok(du.trim().parse::<u64>()?)
    };
    let before = on_disk().await?;
    node.in_volume("big", "head -c 200M /dev/urandom >/v/file")
        .await;
    node.ok("dm switch big && dm commit -m big && dm checkout -b more")
        .await;
    node.in_volume("big", "head -c 50M /dev/urandom >/v/more")
        .await;
    node.ok("dm commit -m more").await;
    let full = on_disk().await?;
    ensure!(full >= before + 200, "{before} MiB, then {full} MiB");
    let refused = node.fails("dm dot delete -f other").await;
    assert!(refused.contains("No such dot"), "{refused}");
    node.ok("dm dot delete -f big").await;
    wait_for("the space to come back", SOON, async || {
        let now = on_disk().await?;
        ensure!(now < before + 50, "{before} MiB, {full} MiB, now {now} MiB");
        Ok(())
    })
    .await
}
