//! Screenshots of every page for `docs/screenshots/`, with the tutorial's library of states. `make screenshots` makes
//! them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dotmesh_testkit::{Network, wait_for};

use crate::browser::{Browser, PHONE, Theme, WIDE};
use crate::tutorial;
use crate::world::{Hub, Node};

const SOON: Duration = Duration::from_secs(30);

/// For databases that are read one after the other.
const FOREVER: Duration = Duration::from_secs(180);

const DOT: &str = "/alice/mobycounter_app";

#[tokio::test]
#[ignore = "writes into docs/screenshots; run by `make screenshots`"]
async fn screenshots() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/screenshots");
    std::fs::create_dir_all(&folder)?;
    let network = Network::start().await?;
    let hub = Hub::start(&network).await?;
    let alice = Node::start(&network, "alice").await?;
    tutorial::capture(&alice, &hub).await?;
    for branch in [
        "master",
        "many-users",
        "bug-bug",
        "aspect-ratios",
        "security-vulnerability",
    ] {
        alice
            .ok(&format!(
                "dm push --rows changes hub mobycounter_app {branch}"
            ))
            .await;
    }
    wait_for("the hub to be told of all databases", FOREVER, async || {
        let status = alice.ok("dm status").await;
        ensure!(!status.contains("databases of"), "{status}");
        Ok(())
    })
    .await?;
    hub.set_password("alice", "correct horse battery").await?;
    hub.make_administrator("alice").await?;

    let browser = Browser::open(&hub.url).await?;
    let pages = [
        ("start", "/"),
        ("login", "/-/login"),
        ("signup", "/-/signup"),
    ];
    shoot(&browser, &folder, &pages).await?;
    browser.go("/-/login").await?;
    browser.fill("user", "alice").await?;
    browser.fill("password", "correct horse battery").await?;
    browser.click("Log in").await?;
    browser.until_says("Your dots").await?;
    browser
        .go(&format!("{DOT}/commit/security-vulnerability"))
        .await?;
    let commit = browser.path().await?;
    let commit = commit.rsplit('/').next().context("an id")?;
    wait_for("all commits to be counted", SOON, async || {
        browser.go(&format!("{DOT}/activity")).await?;
        let counted = "return !document.body.innerText.includes('Not counted yet:')";
        ensure!(browser.script(counted).await? == true);
        Ok(())
    })
    .await?;
    browser.go(&format!("{DOT}/settings/webhooks")).await?;
    browser.fill("url", "https://ci.example.com/hook").await?;
    browser.click("Create the webhook").await?;
    browser.until_says("it is not shown again").await?;
    browser.click("Try the webhook out").await?;
    browser.until_says("There are no deliveries yet").await?;
    let webhook = browser.path().await?;
    browser.click("Try it out").await?;
    wait_for("the webhook to be tried", SOON, async || {
        browser.go(&webhook).await?;
        ensure!(browser.text().await?.contains("1 attempt"));
        Ok(())
    })
    .await?;
    let pages = [
        ("home", "/".to_owned()),
        ("owner", "/alice".to_owned()),
        ("dot", DOT.to_owned()),
        ("branches", format!("{DOT}/branches")),
        ("commits", format!("{DOT}/commits/security-vulnerability")),
        ("commit", format!("{DOT}/commit/{commit}")),
        ("graph", format!("{DOT}/graph")),
        ("activity", format!("{DOT}/activity")),
        (
            "folder",
            format!("{DOT}/tree/security-vulnerability/uploads"),
        ),
        (
            "file",
            format!("{DOT}/tree/security-vulnerability/uploads/default.png"),
        ),
        (
            "compare",
            format!("{DOT}/compare/master...security-vulnerability"),
        ),
        ("rows-commit", format!("{DOT}/commit/aspect-ratios")),
        ("rows-compare", format!("{DOT}/compare/master...many-users")),
        ("settings", format!("{DOT}/settings")),
        ("webhooks", format!("{DOT}/settings/webhooks")),
        ("webhook", webhook),
        ("fork", format!("{DOT}/fork")),
        ("search", "/-/search?q=user".to_owned()),
        ("account", "/-/settings".to_owned()),
        ("keys", "/-/settings/keys".to_owned()),
        ("api", "/-/api".to_owned()),
        ("trash", "/-/trash".to_owned()),
        ("admin", "/-/admin".to_owned()),
        ("audit-log", "/-/admin/events".to_owned()),
        ("not-found", "/alice/nothing".to_owned()),
    ];
    let pages: Vec<_> = pages
        .iter()
        .map(|(name, path)| (*name, path.as_str()))
        .collect();
    shoot(&browser, &folder, &pages).await
}

/// Takes each page at two widths, in light and dark.
async fn shoot(browser: &Browser, folder: &Path, pages: &[(&str, &str)]) -> Result<()> {
    for (name, path) in pages {
        for (width, size) in [(WIDE, "wide"), (PHONE, "phone")] {
            for (theme, colours) in [(Theme::Light, "light"), (Theme::Dark, "dark")] {
                browser.look(width, theme).await?;
                browser.go(path).await?;
                browser.fits(width).await?;
                let picture = browser.picture().await?;
                std::fs::write(
                    folder.join(format!("{name}-{size}-{colours}.webp")),
                    picture,
                )?;
            }
        }
        let barriers = browser.barriers().await?;
        ensure!(barriers.is_empty(), "{path}: {barriers:#?}");
    }
    Ok(())
}
