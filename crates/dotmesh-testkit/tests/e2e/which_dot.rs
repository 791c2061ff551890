//! Which dot a command uses, in the folders of several apps at once.

use std::fs;

use anyhow::Result;
use dotmesh_testkit::Network;

use crate::world::{Hub, Node};

const COMPOSE_FILE: &str = "services:
  db:
    image: debian:bookworm-slim
    command: sleep 100000
    init: true
    network_mode: none
    volumes: ['app.db:/v']
volumes:
  app.db:
    driver: dm
";

#[tokio::test(flavor = "multi_thread")]
async fn each_work_tree_is_about_its_own_dot() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    let home = node.machine.home();
    for app in ["shop", "wiki"] {
        fs::create_dir_all(home.join(app).join("src"))?;
        fs::write(home.join(app).join("docker-compose.yml"), COMPOSE_FILE)?;
        node.ok(&format!("cd ~/{app} && docker-compose up -d"))
            .await;
    }
    assert_eq!(node.dots().await, ["shop_app", "wiki_app"]);

    // Without a selection, the Compose project of the folder decides. Elsewhere `dm` does not guess.
    for app in ["shop", "wiki"] {
        let said = node
            .says(&format!("cd ~/{app}/src && dm commit -m one"))
            .await;
        assert!(said.contains(&format!("[{app}_app master ")), "{said}");
    }
    node.says_no("cd ~ && dm commit -m two", &["No current dot is selected"])
        .await;

    // Without containers, the newest commits decide.
    node.ok("cd ~/wiki && docker-compose down").await;
    node.ok("cd ~/wiki && dm checkout -b tried").await;
    assert_eq!(node.ok("cd ~/shop && dm branch").await, "* master\n");
    let list = node.ok("cd ~/wiki && dm list").await;
    assert!(list.contains("* wiki_app"), "{list}");

    // A selection applies to its git work tree and the folders below, and nowhere else.
    node.ok("cd ~/wiki && git init -q .").await;
    let said = node.says("cd ~/wiki/src && dm switch shop_app").await;
    assert!(
        said.contains(&format!(
            "Switched to dot 'shop_app' in {}\n",
            home.join("wiki").display()
        )),
        "{said}"
    );
    assert_eq!(node.ok("cd ~/wiki/src && dm branch").await, "* master\n");
    node.fails("cd ~ && dm branch").await;

    // A global selection comes last. The message says that it does not apply here.
    let said = node.says("cd ~/shop && dm switch --global wiki_app").await;
    assert!(
        said.contains("commands here still use dot 'shop_app': the Compose project in"),
        "{said}"
    );
    assert_eq!(node.ok("cd ~ && dm branch").await, "  master\n* tried\n");
    assert_eq!(node.ok("cd ~/shop && dm branch").await, "* master\n");

    // An explicit name comes first.
    let tried = "  master\n* tried\n";
    assert_eq!(
        node.ok("cd ~/shop && dm --dot wiki_app branch").await,
        tried
    );
    assert_eq!(
        node.ok("cd ~/shop && DOTMESH_DOT=wiki_app dm branch").await,
        tried
    );
    assert_eq!(
        node.ok("cd ~/shop && DOTMESH_DOT=none dm branch --dot wiki_app")
            .await,
        tried
    );
    node.says_no(
        "dm --dot wiki-app branch",
        &["No such dot", "Did you mean 'wiki_app'?"],
    )
    .await;
    node.says_no("dm switch shop_ap", &["Did you mean 'shop_app'?"])
        .await;

    // If the selected dot is deleted, no other dot takes its place.
    node.ok("cd ~/shop && docker-compose down && dm dot delete -f shop_app")
        .await;
    node.says_no(
        "cd ~/wiki && dm commit -m x",
        &["No current dot is selected"],
    )
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dot_that_is_named_in_the_folder_of_its_fork_means_the_fork() -> Result<()> {
    let network = Network::start().await?;
    let hub = Hub::start(&network).await?;
    let node = Node::start(&network, "alice").await?;
    hub.log_in(&node, "alice").await?;
    let home = node.machine.home();
    for folder in ["shop", "copy"] {
        fs::create_dir_all(home.join(folder))?;
        fs::write(home.join(folder).join("docker-compose.yml"), COMPOSE_FILE)?;
    }
    node.ok("cd ~/shop && docker-compose up -d && dm commit -m one")
        .await;
    node.ok("cd ~/copy && dm up --name copy --dot shop_app && dm commit -m two")
        .await;
    let shown = node.ok("cd ~/copy && dm dot show shop_app").await;
    assert_eq!(shown, node.ok("cd ~/copy && dm dot show").await);
    let pushed = node.ok("cd ~/copy && dm push hub shop_app").await;
    assert_eq!(pushed, node.ok("cd ~/copy && dm push hub").await);
    // Elsewhere, and with --dot, it is the branch that is checked out.
    let of_app = node.ok("cd ~/shop && dm push hub shop_app").await;
    assert_ne!(of_app, pushed);
    let named = node.ok("cd ~/copy && dm push hub --dot shop_app").await;
    assert_eq!(named, of_app);
    Ok(())
}
