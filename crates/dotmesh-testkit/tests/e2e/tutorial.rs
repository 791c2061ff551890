//! The library tutorial, command by command. One machine captures four states of the demo app and pushes them to a
//! hub. Another machine starts each state with Compose and checks it.

use anyhow::Result;
use dotmesh_testkit::Network;

use crate::world::{Hub, Node};

#[tokio::test]
async fn a_library_of_states_is_captured_shared_and_brought_up_elsewhere() -> Result<()> {
    let network = Network::start().await?;
    let hub = Hub::start(&network).await?;
    let alice = Node::start(&network, "alice").await?;
    let default_image = capture(&alice, &hub).await?;

    let bob = Node::start(&network, "bob").await?;
    let key = hub.add_user("bob").await?;
    let cannot = bob
        .run(&format!("echo {key} | dm remote add hub bob@{}", hub.url))
        .await;
    cannot.success();
    let refused = bob.fails("dm clone hub alice/mobycounter_app").await;
    assert!(
        refused.contains("no dot alice/mobycounter_app"),
        "{refused}"
    );
    hub.collaborate("alice/mobycounter_app", "bob", "read")
        .await?;

    bob.ok("dm clone hub alice/mobycounter_app").await;
    bob.ok("dm switch mobycounter_app").await;
    let branches = bob.ok("dm branch").await;
    assert_eq!(
        branches,
        "  aspect-ratios\n  bug-bug\n  many-users\n* master\n  security-vulnerability\n"
    );
    bob.app_up().await?;
    prove_empty(&bob, &default_image).await;

    bob.ok("dm checkout many-users").await;
    bob.app_ready().await?;
    assert_eq!(bob.sql("select count(*) from users").await, "11");
    assert_eq!(bob.redis("llen whales").await, "0");

    bob.ok("dm checkout bug-bug").await;
    bob.app_ready().await?;
    let clicks = bob.ok("curl -fsS localhost:8100/v1/whales").await;
    assert_eq!(clicks, r#"["10:10","20:20","30:30","40:40","50:50"]"#);
    assert_eq!(
        bob.redis("lindex whales 4").await,
        "50:50",
        "the fifth click is in the top 100 pixels"
    );
    assert_eq!(bob.sql("select count(*) from users").await, "0");

    bob.ok("dm checkout aspect-ratios").await;
    bob.app_ready().await?;
    let fred = bob
        .sql("select id from users where username = 'fred'")
        .await;
    let shown = bob.hash_of_page(&format!("/users/{fred}/image")).await;
    assert_eq!(shown, bob.hash_of_file("samples/eiffel-tower.png").await);

    bob.ok("dm checkout security-vulnerability").await;
    bob.app_ready().await?;
    assert_eq!(
        bob.sql("select count(*) from users where username = ''")
            .await,
        "1"
    );
    let newcomer = bob.log_in("newuser1").await;
    let shown = bob.hash_of_page(&format!("/users/{newcomer}/image")).await;
    let flag = bob.hash_of_file("samples/pirate-flag.png").await;
    assert_eq!(shown, flag, "a new user's account is compromised");
    let stored = bob
        .ok("docker-compose exec -T users sha256sum /uploads/default.png")
        .await;
    assert_eq!(
        stored.split_whitespace().next(),
        flag.split_whitespace().next()
    );

    let log = bob.ok("dm log").await;
    assert!(log.contains("    Eek - register as any new user (e.g. 'newuser1') to see\n    that all new accounts are showing a compromised image.\n"), "{log}");
    assert!(
        log.contains("Empty state") && log.contains("redis:7") && log.contains("multiple-services"),
        "{log}"
    );

    bob.ok("dm checkout master").await;
    bob.app_ready().await?;
    prove_empty(&bob, &default_image).await;
    let read_only = bob
        .fails("dm checkout -b mine && dm commit -m mine && dm push hub")
        .await;
    assert!(
        read_only.contains("bob may read alice/mobycounter_app, but not push to it"),
        "{read_only}"
    );
    Ok(())
}

/// The first half of the tutorial. Returns the hash of the default image.
pub(crate) async fn capture(alice: &Node, hub: &Hub) -> Result<String> {
    alice.ok("git init -q -b multiple-services . && git add . && git -c user.name=a -c user.email=a@b commit -qm app").await;
    alice.app_up().await?;
    let list = alice.ok("dm list").await;
    assert!(
        list.contains("DOT") && list.contains("mobycounter_app") && list.contains(" containers "),
        "{list}"
    );
    alice.ok("dm switch mobycounter_app").await;
    alice.ok("dm commit -m \"Empty state\"").await;

    assert_eq!(alice.ok("dm remote -v").await, "");
    let key = hub.add_user("alice").await?;
    alice.ok(&format!("export HUB_USERNAME=alice; DOTMESH_PASSWORD={key} dm remote add hub ${{HUB_USERNAME}}@{}", hub.url)).await;
    let default_image = alice
        .ok("docker-compose exec -T users sha256sum /uploads/default.png")
        .await;

    begin(alice, "many-users").await?;
    for n in 1..=11 {
        alice.log_in(&format!("user{n}")).await;
    }
    alice
        .ok("dm commit -m \"Created user1...user11 in user databases.\"")
        .await;
    finish(alice, "many-users").await?;
    assert_eq!(alice.sql("select count(*) from users").await, "0");

    begin(alice, "bug-bug").await?;
    for n in 1..=5 {
        alice.click(n * 10, n * 10).await;
    }
    alice
        .ok("dm commit -m \"Huh, a real bug shows up on the screen, wtf.\"")
        .await;
    finish(alice, "bug-bug").await?;

    begin(alice, "aspect-ratios").await?;
    let fred = alice.log_in("fred").await;
    alice.upload(&fred, "samples/eiffel-tower.png").await;
    alice.click(200, 200).await;
    alice.ok("dm commit -m \"\n    Log in as 'fred' to see that only the top half of the uploaded image\n    will show up.\n\"").await;
    finish(alice, "aspect-ratios").await?;

    begin(alice, "security-vulnerability").await?;
    let nobody = alice.log_in("").await;
    alice.upload(&nobody, "samples/pirate-flag.png").await;
    alice.click(300, 300).await;
    let georgina = alice.log_in("georgina").await;
    let shown = alice
        .hash_of_page(&format!("/users/{georgina}/image"))
        .await;
    assert_eq!(shown, alice.hash_of_file("samples/pirate-flag.png").await);
    alice.ok("dm commit -m \"\n   Eek - register as any new user (e.g. 'newuser1') to see\n   that all new accounts are showing a compromised image.\n\"").await;
    finish(alice, "security-vulnerability").await?;
    prove_empty(alice, &default_image).await;
    Ok(default_image)
}

async fn begin(node: &Node, branch: &str) -> Result<()> {
    node.ok(&format!("dm checkout -b {branch}")).await;
    assert_eq!(node.cell("mobycounter_app", 2).await, branch);
    node.app_ready().await
}

async fn finish(node: &Node, branch: &str) -> Result<()> {
    node.ok(&format!("dm push hub mobycounter_app {branch}"))
        .await;
    node.ok("dm checkout master").await;
    node.app_ready().await
}

async fn prove_empty(node: &Node, default_image: &str) {
    assert_eq!(node.sql("select count(*) from users").await, "0");
    assert_eq!(node.redis("exists whales").await, "0");
    assert_eq!(node.ok("curl -fsS localhost:8100/v1/whales").await, "[]");
    let image = node
        .ok("docker-compose exec -T users sha256sum /uploads/default.png")
        .await;
    assert_eq!(image, default_image);
}
