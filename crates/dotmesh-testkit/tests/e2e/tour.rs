//! Runs `docs/tour.md` and `docs/getting-started.md`, block by block, as they stand there.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use dotmesh_testkit::Network;

use crate::world::{Hub, Node};

/// The blocks of commands of a document.
fn blocks(page: &str) -> Result<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(page);
    let text = fs::read_to_string(path)?;
    let blocks = text.split("```sh\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap_or_default().to_owned());
    Ok(blocks.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_goes_as_the_tour_says() -> Result<()> {
    let network = Network::start().await?;
    let hub = Hub::start(&network).await?;
    let arguments = ["--undo-time", "7d", "--undo-space", "1GiB"];
    let node = Node::start_with(&network, "alice", &arguments).await?;
    let key = hub.add_user("alice").await?;

    let home = node.machine.home();
    let mut folder = home.clone();
    let mut told = String::new();
    for block in blocks("tour.md")? {
        let block = block.replace("alice@hub.example.com", &format!("alice@{}", hub.url));
        fs::write(home.join("block.sh"), &block)?;
        let line = format!("echo {key} | sh -ex $HOME/block.sh");
        let output = node.machine.run_in(&folder, &line).await;
        ensure!(output.status.success(), "{block}\n{output}");
        told.push_str(&output.stdout);
        // The first block goes into the app's folder.
        folder = home.join("shop");
    }
    // What the person sees on the way.
    in_order(
        &told,
        &[
            "red shoes",
            "+blue shoes",
            "Two visits, blue shoes",
            "green shoes only",
            "\n2\n",
            "red shoes\nblue shoes\n",
            "files/stock",
            "\n2\n",
            "Only green shoes",
        ],
    )?;
    let old = fs::read_to_string(folder.join("stock.old"))?;
    assert_eq!(old, "red shoes\nblue shoes\n");
    Ok(())
}

/// Fails unless all texts are there, in this order.
fn in_order(told: &str, seen: &[&str]) -> Result<()> {
    let mut rest = told;
    for seen in seen {
        let at = rest.find(seen);
        ensure!(at.is_some(), "no '{seen}' in\n{rest}\nof\n{told}");
        rest = &rest[at.unwrap_or_default() + seen.len()..];
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_gets_started_as_the_page_says() -> Result<()> {
    let network = Network::start().await?;
    let node = Node::start(&network, "alice").await?;
    let home = node.machine.home();
    let mut folder = home.clone();
    let mut told = String::new();
    for block in blocks("getting-started.md")? {
        fs::write(home.join("block.sh"), &block)?;
        let output = node.machine.run_in(&folder, "sh -ex $HOME/block.sh").await;
        ensure!(output.status.success(), "{block}\n{output}");
        told.push_str(&output.stdout);
        // The first block goes into the app's folder.
        folder = home.join("shop");
    }
    in_order(
        &told,
        &[
            "shop",
            "Import shop_db, shop_pictures of Compose project shop",
            "500\n",
            "name: shop.pictures",
            "600\n",
            "0\n",
            "Somebody deleted all orders",
            "a blue shoe",
            "600\n0\n",
            "orders-again",
        ],
    )?;
    let archive = node
        .machine
        .run_in(&folder, "tar -tf shop.tar")
        .await
        .success()
        .stdout;
    assert!(archive.contains("./db/PG_VERSION") && archive.contains("./pictures/shoe"));
    Ok(())
}
