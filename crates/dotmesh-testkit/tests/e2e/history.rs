//! A clone has the record of every commit, and fetches the data of older commits on demand.

use anyhow::Result;

use crate::world::{Node, Team, received};

#[tokio::test]
async fn older_commits_come_when_they_are_wanted() -> Result<()> {
    let Team {
        hub,
        alice,
        mut bob,
    } = Team::start().await?;
    for n in 1..=4 {
        let write = format!("head -c 5M /dev/urandom >/v/big; echo {n} >/v/number");
        alice.in_volume("app", &write).await;
        alice.ok(&format!("dm commit -m number{n}")).await;
    }
    alice.ok("dm push hub").await;
    hub.collaborate("alice/app", "bob", "read").await?;

    let told = bob.told("dm clone hub alice/app").await;
    let size = received(&told);
    assert!((5.0..7.0).contains(&size), "one of four states\n{told}");
    let absent = async |line: &str| bob.ok(line).await.matches("[on the hub]").count();
    assert_eq!(absent("dm log --oneline").await, 3);
    assert_eq!(bob.commits("").await?, alice.commits("").await?);
    assert!(bob.ok("dm log").await.contains("dot alice/app, not here"));

    // A new branch from an older commit, and a reset to another one.
    let told = bob.told("dm checkout -b two HEAD~2").await;
    assert!(
        told.contains("Fetching HEAD~2 of admin/app from hub"),
        "{told}"
    );
    assert!(told.contains("Switched to branch 'two'"), "{told}");
    assert_eq!(bob.in_volume("app", "cat /v/number").await, "2\n");
    assert_eq!(absent("dm log master --oneline").await, 2);
    bob.ok("dm checkout master").await;
    let told = bob.told("dm reset --hard HEAD^").await;
    assert!(told.contains("Fetching HEAD^"), "{told}");
    assert_eq!(bob.in_volume("app", "cat /v/number").await, "3\n");
    assert_eq!(absent("dm log --oneline").await, 1);

    // These facts about commits survive the loss of the registry.
    bob.daemon.kill9().await?;
    bob.ok("rm /var/lib/dotmesh/pool/registry.db*").await;
    bob.daemon.start_again().await?;
    bob.daemon.wait_for_socket("/run/dotmesh/api.sock").await?;
    assert_eq!(
        bob.ok("dm log --oneline")
            .await
            .matches("[on the hub]")
            .count(),
        1
    );

    // Without a login there, the error says where the data is.
    let key = bob.ok("cat ~/.config/dotmesh/config").await;
    bob.ok("dm remote rm hub").await;
    let told = bob.fails("dm checkout -b one HEAD~2").await;
    assert!(told.contains("is not here, but at http://"), "{told}");
    assert!(
        told.contains("hint: Add that hub with 'dm remote add'"),
        "{told}"
    );
    assert_eq!(bob.ok("dm branch").await, "* master\n  two\n");
    bob.ok(&format!(
        "cat >~/.config/dotmesh/config <<'EOT'\n{key}\nEOT"
    ))
    .await;

    // A push to another dot needs the whole history here.
    let told = bob.told("dm push hub app master --remote-name mine").await;
    assert!(
        told.contains("Fetching master and what led to it"),
        "{told}"
    );
    assert!(told.contains("master: 3 commits, now at"), "{told}");
    assert_eq!(
        bob.ok("dm log --oneline")
            .await
            .matches("[on the hub]")
            .count(),
        0
    );

    // `--full` fetches everything at once.
    let told = bob
        .told("dm clone --full hub bob/mine --local-name full")
        .await;
    assert!(received(&told) > 14.0, "{told}");
    let log = bob.ok("dm switch full && dm log --oneline").await;
    assert!(
        log.lines().count() == 3 && !log.contains("[on the hub]"),
        "{log}"
    );
    // Each commit has its original data, even if commits were received in another order.
    for n in 1..=3 {
        let sum = async |node: &Node, dot: &str| {
            let commits = format!("/var/lib/dotmesh/pool/dots/admin/{dot}/commits");
            let find = format!("grep -l '\"message\":\"number{n}\"' {commits}/*/commit.json");
            let line = format!("sha256sum <$(dirname $({find}))/data/__default__/big");
            node.ok(&line).await
        };
        assert_eq!(
            sum(&bob, "full").await,
            sum(&alice, "app").await,
            "number{n}"
        );
    }
    Ok(())
}
