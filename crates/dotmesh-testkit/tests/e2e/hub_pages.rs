//! A team at its hub: actions on the pages in a real browser, together with a real `dm`.

use anyhow::{Context as _, Result, ensure};
use dotmesh_testkit::{Network, wait_for};

use crate::browser::{Browser, PHONE, Theme, WIDE};
use crate::world::{Hub, Node, SOON};

const PASSWORD: &str = "correct horse battery";

#[tokio::test]
async fn a_team_lives_on_its_hub() -> Result<()> {
    let network = Network::start().await?;
    let hub = Hub::start(&network).await?;
    let alice = Node::start(&network, "alice").await?;

    let page = Browser::open(&hub.url).await?;
    sign_up(&page, "alice").await?;
    page.until_says("Share your first state").await?;
    log_in_with_a_key(&page, &alice, &hub).await?;

    alice.in_volume("app.uploads", "echo 1 >/v/readme").await;
    alice.ok("dm commit -m first && dm push hub").await;
    page.go("/alice/app").await?;
    page.until_says("first").await?;
    // A push updates a page that is open.
    alice.ok("dm checkout -b security-vulnerability").await;
    alice
        .ok("cp samples/pirate-flag.png $(docker volume inspect -f '{{.Mountpoint}}' app.uploads)/")
        .await;
    let told = alice.ok("dm commit -m 'Eek' && dm push hub").await;
    page.until_says("Eek").await?;

    let permalink = told
        .lines()
        .find_map(|line| line.split_once("/alice/app/commit/"))
        .context(told.clone())?;
    page.go(&format!("/alice/app/commit/{}", permalink.1.trim()))
        .await?;
    page.until_says("Run this commit").await?;
    page.click("Browse the files").await?;
    page.click("uploads").await?;
    page.click("pirate-flag.png").await?;
    wait_for("the picture", SOON, async || {
        let width = page
            .script("return document.querySelector('main img')?.naturalWidth ?? 0")
            .await?;
        ensure!(width.as_u64().is_some_and(|width| width > 0), "{width}");
        Ok(())
    })
    .await?;

    page.go("/alice/app/compare/master...security-vulnerability")
        .await?;
    page.until_says("pirate-flag.png").await?;

    page.go("/alice/app").await?;
    page.submit(
        "/tags",
        &[("name", "eek"), ("at", "security-vulnerability")],
    )
    .await?;
    page.go("/-/search?q=eek").await?;
    page.click("Commits").await?;
    page.until_says("alice/app").await?;
    page.click("Tags").await?;
    page.until_says("alice/app").await?;

    no_barriers(&page).await?;

    let bob = read_only(&network, &hub, &page).await?;
    fork(&hub, &bob).await?;

    page.go("/alice/app/settings").await?;
    page.submit("/settings/delete", &[("name", "app")]).await?;
    page.go("/-/trash").await?;
    page.until_says("alice/app").await?;
    let gone = bob.fails("dm pull hub app").await;
    assert!(gone.contains("is gone"), "{gone}");
    page.submit("/-/trash/restore", &[]).await?;
    page.go("/alice/app/commit/eek").await?;
    page.until_says("Eek").await
}

/// Checks all pages for accessibility, and that a phone shows them at their own scale.
async fn no_barriers(page: &Browser) -> Result<()> {
    for path in [
        "/",
        "/alice",
        "/alice/app",
        "/alice/app/branches",
        "/alice/app/commits",
        "/alice/app/commit/eek",
        "/alice/app/tree/eek/uploads",
        "/alice/app/tree/eek/uploads/pirate-flag.png",
        "/alice/app/compare/master...eek",
        "/alice/app/graph",
        "/alice/app/activity",
        "/alice/app/settings",
        "/alice/app/settings/webhooks",
        "/-/search?q=eek",
        "/-/api",
        "/-/settings",
        "/-/settings/keys",
        "/-/trash",
    ] {
        page.go(path).await?;
        let barriers = page.barriers().await?;
        ensure!(barriers.is_empty(), "{path}: {barriers:#?}");
        page.look(PHONE, Theme::Light).await?;
        page.fits(PHONE).await?;
        page.look(WIDE, Theme::Light).await?;
    }
    Ok(())
}

async fn sign_up(page: &Browser, user: &str) -> Result<()> {
    page.go("/-/signup").await?;
    page.submit("/-/signup", &[("user", user), ("password", PASSWORD)])
        .await
}

/// Makes a key on the page, and gives it to `dm`.
async fn log_in_with_a_key(page: &Browser, node: &Node, hub: &Hub) -> Result<()> {
    page.go("/-/settings/keys").await?;
    page.submit(
        "/-/settings/keys",
        &[("name", "laptop"), ("scope", "write")],
    )
    .await?;
    page.until_says("dmk_").await?;
    let text = page.text().await?;
    let key = text
        .split_whitespace()
        .find(|word| word.starts_with("dmk_"))
        .context(text.clone())?;
    let user = node.machine.name();
    node.ok(&format!(
        "echo {key} | dm remote add hub {user}@{}",
        hub.url
    ))
    .await;
    Ok(())
}

/// Bob gets read access. He can clone and cannot push.
async fn read_only(network: &Network, hub: &Hub, page: &Browser) -> Result<Node> {
    let bob = Node::start(network, "bob").await?;
    hub.log_in(&bob, "bob").await?;
    assert!(bob.fails("dm clone hub alice/app").await.contains("no dot"));
    page.go("/alice/app/settings").await?;
    page.submit("/settings/grant", &[("user", "bob"), ("access", "read")])
        .await?;
    page.until_says("bob").await?;
    bob.ok("dm clone hub alice/app").await;
    bob.ok("dm switch app").await;
    bob.in_volume("app.uploads", "echo 2 >/v/mine").await;
    let refused = bob.fails("dm commit -m mine && dm push hub").await;
    assert!(
        refused.contains("bob may read alice/app, but not push to it"),
        "{refused}"
    );
    // He cannot fork it before she allows forks.
    page.go("/alice/app/settings").await?;
    page.submit("/settings/forks", &[("forks", "anyone-who-reads")])
        .await?;
    Ok(bob)
}

/// Bob makes a fork, and pushes to it.
async fn fork(hub: &Hub, bob: &Node) -> Result<()> {
    hub.set_password("bob", PASSWORD).await?;
    let page = Browser::open(&hub.url).await?;
    page.go("/-/login?to=/alice/app/fork").await?;
    page.submit("/-/login", &[("user", "bob"), ("password", PASSWORD)])
        .await?;
    page.submit("/fork", &[("name", "app-fork")]).await?;
    page.until_says("forked from alice/app").await?;
    bob.ok("dm push hub app --remote-name bob/app-fork").await;
    page.go("/bob/app-fork").await?;
    page.until_says("mine").await
}
