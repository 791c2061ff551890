//! `dm run`: the app of a state on a hub, with its code, from one address.

use anyhow::Result;

use crate::world::{Node, Team};

/// Makes git's SSH a program that runs git's command on this machine, whatever host is named.
const SSH: &str =
    r#"export DOTMESH_COMPOSE=docker-compose GIT_SSH_COMMAND="$HOME/ssh"; cd "$HOME""#;

/// An app of one container.
const SHOP: &str = "\
services:
  redis:
    image: redis:7
    command: redis-server --appendonly yes --appendfsync always
    ports: ['8100:6379']
    volumes: ['app.db:/data']
volumes:
  app.db: {driver: dm}
";

async fn fake_ssh(node: &Node) {
    node.ok("printf '#!/bin/sh\\nfor last in \"$@\"; do :; done\\nexec sh -c \"$last\"\\n' >$HOME/ssh && chmod +x $HOME/ssh")
        .await;
    // The two machines share the disk, but not the owners that git trusts.
    node.ok("git config --global safe.directory '*' && git config --global user.email a@example.com && git config --global user.name A")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_runs_from_its_address() -> Result<()> {
    let Team { hub, alice, bob } = Team::start().await?;
    for node in [&alice, &bob] {
        fake_ssh(node).await;
    }
    let home = alice.machine.home();
    std::fs::create_dir_all(home.join("shop"))?;
    std::fs::write(home.join("shop/docker-compose.yml"), SHOP)?;
    let repository = home.join("shop.git");
    let address = format!("ssh://git@code.example{}", repository.display());
    alice
        .ok(&format!(
            "cd $HOME/shop && git init -q -b main && git add . && git commit -qm one && git clone -q --bare . {} && git remote add origin {address} && docker-compose up -d",
            repository.display()
        ))
        .await;
    let redis = "docker-compose exec -T redis redis-cli";
    alice
        .until_prints(&format!("cd $HOME/shop && {redis} set who alice"), "OK\n")
        .await?;
    alice
        .ok("cd $HOME/shop && dm switch shop_app && dm commit -m 'A key' && dm push hub")
        .await;
    hub.collaborate("alice/shop_app", "bob", "read").await?;
    let log = alice.ok("dm log --dot shop_app --json").await;
    let log: serde_json::Value = serde_json::from_str(&log)?;
    let id = log["commits"][0]["id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let page = format!("{}/alice/shop_app/commit/{id}", hub.url);

    // Without a terminal, nobody can say yes, and no host is contacted.
    let refused = bob.fails(&format!("{SSH} && dm run {page}")).await;
    for told in [
        "Its code is ssh://git@code.example",
        "git contacts code.example for it",
        "hint: Run it again with --yes",
    ] {
        assert!(refused.contains(told), "no '{told}' in {refused}");
    }
    assert_eq!(bob.ok(&format!("{SSH} && ls -d shop-* | cat")).await, "");
    // With the code, nothing starts.
    bob.ok(&format!("{SSH} && git clone -q {address} mine"))
        .await;
    let refused = bob
        .fails(&format!("{SSH} && dm run --folder mine {page}"))
        .await;
    assert!(!refused.contains("git contacts"), "{refused}");
    for told in [
        "This starts the code of ssh://git@code.example",
        "images: redis:7",
        "ports: 8100",
        "hint: Run it again with --yes",
    ] {
        assert!(refused.contains(told), "no '{told}' in {refused}");
    }
    assert_eq!(bob.ok("docker ps -q").await, "");

    let said = bob.ok(&format!("{SSH} && dm run --yes {page}")).await;
    assert!(said.contains("redis:6379"), "{said}");
    let code = bob.ok(&format!("{SSH} && ls -d shop-*")).await;
    let code = code.trim();
    let get = format!("{SSH} && cd {code} && dm compose -- exec -T redis redis-cli get who");
    bob.until_prints(&get, "alice\n").await?;

    // Again, it finds everything in place: no container starts again.
    let started =
        "docker ps -q --no-trunc | sort | xargs docker inspect -f '{{.Name}} {{.State.StartedAt}}'";
    let before = bob.ok(started).await;
    bob.ok(&format!("{SSH} && dm run {page}")).await;
    assert_eq!(bob.ok(started).await, before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_code_is_refused_or_told_of() -> Result<()> {
    let Team { hub, alice, bob } = Team::start().await?;
    for node in [&alice, &bob] {
        fake_ssh(node).await;
    }
    // A file that a link in the code leads to, a right and the network of the machine.
    let compose = "services:\n  bad:\n    image: debian:bookworm-slim\n    command: sleep 100000\n    cap_add: [NET_ADMIN]\n    network_mode: host\n    volumes: ['app.db:/v', './link:/host']\nvolumes:\n  app.db: {driver: dm}\n";
    let home = alice.machine.home();
    std::fs::create_dir_all(home.join("bad"))?;
    std::fs::write(home.join("bad/docker-compose.yml"), compose)?;
    std::os::unix::fs::symlink("/etc", home.join("bad/link"))?;
    let repository = home.join("bad.git");
    let address = format!("ssh://git@code.example{}", repository.display());
    alice
        .ok(&format!(
            "cd $HOME/bad && git init -q -b main && git add . && git commit -qm one && git clone -q --bare . {} && git remote add origin {address} && docker-compose up -d && dm switch bad_app && dm commit -m bad && dm push hub",
            repository.display()
        ))
        .await;
    hub.collaborate("alice/bad_app", "bob", "read").await?;
    let page = format!("{}/alice/bad_app", hub.url);
    bob.ok(&format!("{SSH} && git clone -q {address} bad-code"))
        .await;
    let refused = bob
        .fails(&format!("{SSH} && dm run --folder bad-code {page}"))
        .await;
    for told in [
        "/etc in bad",
        "bad has network_mode host",
        "bad has cap_add NET_ADMIN",
        "it reaches beyond its own code",
    ] {
        assert!(refused.contains(told), "no '{told}' in {refused}");
    }
    assert_eq!(bob.ok("docker ps -aq").await, "");

    // A repository by another transport is never given to git.
    alice
        .ok("cd $HOME/bad && git remote set-url origin 'ext::sh -c touch% $HOME/owned' && docker-compose restart && dm commit -m worse && dm push hub")
        .await;
    let refused = bob
        .fails(&format!(
            "{SSH} && rm -rf bad-* && dm pull --dot bad_app && dm run --yes {page}"
        ))
        .await;
    assert!(
        refused.contains("the address of its repository"),
        "{refused}"
    );
    assert!(!home.join("owned").exists());
    assert_eq!(bob.ok("docker ps -aq").await, "");
    Ok(())
}
