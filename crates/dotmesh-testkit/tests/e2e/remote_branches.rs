//! What a node knows of a hub's branches, and the checks of a node: fetch, forced pushes, doctor and fsck.

use anyhow::Result;

use crate::world::Team;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_looks_at_a_hub_and_replaces_what_it_has_seen() -> Result<()> {
    let Team { hub, alice, bob } = Team::sharing().await?;
    let said = alice.ok("dm status").await;
    assert!(said.contains("on remote hub: up to date"), "{said}");
    bob.in_volume("app", "echo bob >/v/bob").await;
    bob.ok("dm commit -m bob && dm push hub").await;

    alice.keep_running("app", "app").await;
    let started = alice.started_at(&["app"]).await;
    let told = alice.told("dm fetch hub master").await;
    assert!(
        told.contains("Fetching app from hub:") && told.contains("master: 1 commit, now at"),
        "{told}"
    );
    let said = alice.ok("dm status").await;
    assert!(said.contains("1 commit behind"), "{said}");
    assert_eq!(alice.started_at(&["app"]).await, started);

    alice
        .ok("docker exec app touch /v/alice && dm commit --amend -m amended")
        .await;
    let refused = alice.fails("dm push hub").await;
    assert!(refused.contains("--force-with-lease"), "{refused}");
    // Alice has seen Bob's commit, and Bob makes another one.
    bob.in_volume("app", "echo more >/v/more").await;
    bob.ok("dm commit -m more && dm push hub").await;
    let refused = alice.fails("dm push hub --force-with-lease").await;
    assert!(refused.contains("somebody else"), "{refused}");
    alice.ok("dm fetch").await;
    let told = alice.told("dm push hub --force-with-lease").await;
    assert!(told.contains("which stays there under its id"), "{told}");
    let said = alice.ok("dm status").await;
    assert!(said.contains("on remote hub: up to date"), "{said}");
    // What the branch left can be had by its id.
    let left = bob.ok("dm log --oneline -n 1").await;
    let left = left.split_whitespace().next().unwrap_or_default();
    bob.ok(&format!("dm clone hub alice/app@{left} --local-name left"))
        .await;
    drop(hub);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_checked_with_and_without_its_daemon() -> Result<()> {
    let Team {
        hub: _hub, alice, ..
    } = Team::sharing().await?;
    let said = alice.ok("dm doctor").await;
    for line in [
        "ok    kernel",
        "ok    pool",
        "ok    engine",
        "ok    plugin",
        "ok    hub",
    ] {
        assert!(said.contains(line), "{said}");
    }
    let said = alice.ok("dm fsck --data").await;
    assert!(said.contains("1 commit as sealed"), "{said}");

    let root = "/var/lib/dotmesh/pool/dots/admin/app";
    alice.ok(&format!("mv {root}/commits {root}/away")).await;
    let wrong = alice.run("dm fsck").await;
    let (said, status) = (&wrong.stdout, wrong.status.code());
    assert!(
        said.contains("has no snapshot") && said.contains("is not a part of a dot"),
        "{said}"
    );
    assert_eq!(status, Some(1));
    alice
        .ok(&format!("mv {root}/away {root}/commits && dm fsck"))
        .await;

    let alone = alice.run("DOTMESH_SOCKET=/run/none.sock dm doctor").await;
    let said = &alone.stdout;
    assert!(
        said.contains("FAIL  daemon") && said.contains("warn  pool") && said.contains("docker"),
        "{said}"
    );
    assert_eq!(alone.status.code(), Some(1));
    Ok(())
}
