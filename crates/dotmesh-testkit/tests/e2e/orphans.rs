//! A hub is lost for good. The machines push what they have to another hub, which then has everything.

use anyhow::Result;
use dotmesh_testkit::Network;

use crate::world::{Hub, Node};

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_outlives_its_hub() -> Result<()> {
    let network = Network::start().await?;
    let gone = Hub::start(&network).await?;
    let (alice, mut bob, carol) = tokio::try_join!(
        Node::start(&network, "alice"),
        Node::start(&network, "bob"),
        Node::start(&network, "carol")
    )?;
    gone.log_in(&alice, "alice").await?;
    gone.log_in(&bob, "bob").await?;
    for n in 1..=3 {
        let write = format!("head -c 1M /dev/urandom >/v/big; echo {n} >/v/number");
        alice.in_volume("app", &write).await;
        alice.ok(&format!("dm commit -m number{n}")).await;
    }
    alice.ok("dm push hub").await;
    gone.collaborate("alice/app", "bob", "read").await?;
    bob.ok("dm clone hub alice/app").await;
    drop(gone);

    let hub = Hub::start(&network).await?;
    for (node, user) in [(&alice, "alice"), (&bob, "bob"), (&carol, "carol")] {
        let key = hub.add_user(user).await?;
        let line = format!("echo {key} | dm remote add new {user}@{}", hub.url);
        node.ok(&line).await;
    }
    // Only Bob has the newest state. He makes another commit, and pushes to the other hub.
    bob.in_volume("app", "echo 4 >/v/number").await;
    bob.ok("dm commit -m number4").await;
    let told = bob.told("dm push new app").await;
    assert!(
        told.contains("Cannot fetch the data of older commits: "),
        "{told}"
    );
    assert!(
        told.contains("2 older commits sent without their data, which is not on this machine"),
        "{told}"
    );
    assert!(told.contains("master: 4 commits, now at"), "{told}");

    // Carol runs the app. `dm` tells her which data the hub does not have.
    hub.collaborate("bob/app", "carol", "read").await?;
    hub.collaborate("bob/app", "alice", "write").await?;
    carol.ok("dm clone new bob/app && dm switch app").await;
    carol.keep_running("app", "app").await;
    let number = carol.ok("docker exec app cat /v/number").await;
    assert_eq!(number, "4\n");
    let log = carol.ok("dm log --oneline").await;
    assert_eq!(log.matches("[no data]").count(), 2, "{log}");
    assert_eq!(log.matches("[on the hub]").count(), 1, "{log}");
    let told = carol.fails("dm checkout -b old HEAD~3").await;
    assert!(told.contains("is neither here nor at http://"), "{told}");
    assert!(
        told.contains("hint: Run 'dm push' on a machine that has the data"),
        "{told}"
    );
    carol.ok("dm checkout -b newer HEAD~1").await;
    let number = carol.ok("docker exec app cat /v/number").await;
    assert_eq!(number, "3\n");

    // The facts that Bob's node keeps about the hub survive the loss of its registry, too.
    bob.daemon.kill9().await?;
    bob.ok("rm /var/lib/dotmesh/pool/registry.db*").await;
    bob.daemon.start_again().await?;
    bob.daemon.wait_for_socket("/run/dotmesh/api.sock").await?;
    let told = bob.told("dm push new app").await;
    assert!(told.contains("master: up to date"), "{told}");

    // Alice has all the data, and pushes. From then on every commit is complete.
    alice.ok("dm pull new app --remote-name bob/app").await;
    let told = alice.told("dm push new app --remote-name bob/app").await;
    assert!(
        told.contains("Sent the data of 2 older commits, which the remote did not have"),
        "{told}"
    );
    let told = carol.told("dm checkout -b old master~3").await;
    assert!(told.contains("Switched to branch 'old'"), "{told}");
    let number = carol.ok("docker exec app cat /v/number").await;
    assert_eq!(number, "1\n");
    let told = bob.told("dm pull --full new app").await;
    assert!(!told.contains("without"), "{told}");
    let log = bob.ok("dm log --oneline").await;
    assert!(!log.contains('['), "{log}");
    Ok(())
}
