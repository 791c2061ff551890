//! `dm hook`: the dot follows git's branch, with a real git, daemon and containers.

use anyhow::Result;
use dotmesh_testkit::Network;

use crate::world::Node;

/// An app of one container, with an ordinary volume.
const SHOP: &str = "\
services:
  redis:
    image: redis:7
    command: redis-server --appendonly yes --appendfsync always
    volumes: ['db:/data']
volumes:
  db:
";

/// Prints who the data is of.
const WHO: &str = "cd ~/shop && docker compose exec -T redis redis-cli get who";

/// The declared git runs with a fixed search path, in which its hooks do not find the built `dm`. Git's own folder comes first.
const FIND_DM: &str = "mkdir ~/git-core && ln -s $(git --exec-path)/* $(command -v dm) ~/git-core";

/// A line of shell in a folder of the machine's home.
fn at(folder: &str, line: &str) -> String {
    format!("export GIT_EXEC_PATH=$HOME/git-core; cd ~/{folder} && {line}")
}

fn at_shop(line: &str) -> String {
    at("shop", line)
}

async fn says(node: &Node, line: &str) -> String {
    node.says(&at_shop(line)).await
}

async fn set(node: &Node, who: &str) -> Result<()> {
    let line = at_shop(&format!(
        "docker compose exec -T redis redis-cli set who {who}"
    ));
    node.until_prints(&line, "OK\n").await
}

async fn branch(node: &Node) -> String {
    let line = at_shop("dm dot show -H shop | sed -n 's/^currentBranch\t//p'");
    node.ok(&line).await.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dot_follows_git() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    let shop = node.machine.home().join("shop");
    std::fs::create_dir_all(&shop)?;
    std::fs::write(shop.join("compose.yaml"), SHOP)?;
    node.ok("git config --global user.email a@example.com && git config --global user.name A")
        .await;
    node.ok(FIND_DM).await;
    let said = says(&node, "dm init --compose").await;
    for file in ["dotmesh.toml", "compose.override.yaml"] {
        assert!(
            said.contains(&format!("Wrote {}/{file}", shop.display())),
            "{said}"
        );
    }
    node.ok(&at_shop(
        "git init -q -b main && git add . && git commit -qm one && docker compose up -d",
    ))
    .await;
    set(&node, "main").await?;
    // The hook of the user goes on.
    let own = "printf '#!/bin/sh\\necho ran >>~/ran\\n' >.git/hooks/post-checkout && chmod +x .git/hooks/post-checkout";
    node.ok(&at_shop(own)).await;
    let said = says(&node, "dm hook install").await;
    assert!(said.contains("'dm branch -m master main'"), "{said}");
    says(&node, "dm branch -m master main").await;

    // A branch that the dot does not have is told of. Nothing changes.
    let said = says(&node, "git checkout -q -b login").await;
    assert!(
        said.contains("dot 'shop' stays on branch 'main'. 'dm checkout -b login' makes"),
        "{said}"
    );
    assert_eq!(branch(&node).await, "main");
    // At a terminal, there is a question. `script` makes one.
    let asked = "printf 'n\\n' | script -qec 'git checkout -q -b other' /dev/null";
    let said = node.ok(&at_shop(asked)).await;
    assert!(said.contains("Make it from the present state?"), "{said}");
    assert_eq!(branch(&node).await, "main");
    let asked = "printf 'Y\\n' | script -qec 'git checkout -q login' /dev/null";
    let said = node.ok(&at_shop(asked)).await;
    assert!(said.contains("switched to new branch 'login'"), "{said}");
    assert_eq!(branch(&node).await, "login");
    node.until_prints(WHO, "main\n").await?;

    // Each branch keeps its uncommitted changes.
    set(&node, "login").await?;
    let said = says(&node, "git checkout -q main").await;
    assert!(
        said.contains("switched to branch 'main' of dot 'shop'"),
        "{said}"
    );
    assert!(
        said.contains("Restarted containers: shop-redis-1"),
        "{said}"
    );
    node.until_prints(WHO, "main\n").await?;
    says(&node, "git checkout -q -").await;
    node.until_prints(WHO, "login\n").await?;
    says(&node, "git checkout -q main && dm checkout -").await;
    node.until_prints(WHO, "login\n").await?;
    says(&node, "dm checkout main").await;

    // dotmesh.toml decides. Git takes the change along to other branches.
    node.ok(&at_shop(
        "printf 'on-new-branch = \"ignore\"\\n' >>dotmesh.toml",
    ))
    .await;
    assert_eq!(says(&node, "git checkout -q -b third").await, "");
    assert_eq!(branch(&node).await, "main");
    node.ok(&at_shop(
        "printf 'on-new-branch = \"fork\"\\n' >dotmesh.toml",
    ))
    .await;
    let said = says(&node, "git checkout -q -b fourth").await;
    assert!(said.contains("switched to new branch 'fourth'"), "{said}");
    assert_eq!(branch(&node).await, "fourth");
    says(&node, "git checkout -q main").await;
    node.ok("cat ~/ran | grep -c ran").await;

    // A new work tree is no change of the app's branch, neither beside it nor in its folder.
    for tree in ["../login", "inside"] {
        let said = says(
            &node,
            &format!("git worktree add -q {tree} -b at-{}", tree.len()),
        )
        .await;
        assert_eq!(said, "", "{tree}");
        assert_eq!(branch(&node).await, "main");
    }
    // A fork stays on its branch, and so does the app when the fork's work tree changes.
    node.ok("cd ~/login && dm up").await;
    let said = node.says(&at("login", "git checkout -q third")).await;
    assert!(
        said.contains("stays on branch at-8. 'dm up' runs another one for third"),
        "{said}"
    );
    assert_eq!(branch(&node).await, "main");
    // The branch of a fork cannot be checked out. Git's command succeeds.
    let said = says(&node, "git checkout -q at-8").await;
    assert!(
        said.contains("the dot stays as it is: branch at-8 has a fork"),
        "{said}"
    );
    assert_eq!(branch(&node).await, "main");

    says(&node, "dm hook uninstall").await;
    assert_eq!(says(&node, "git checkout -q login").await, "");
    assert_eq!(branch(&node).await, "main");
    Ok(())
}
