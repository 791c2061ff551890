//! The hub's image, and the Compose file that starts it with a database and an S3 server.

use std::path::Path;

use anyhow::{Context as _, Result};
use dotmesh_testkit::Network;

use crate::managed_plugin::make_image;

#[tokio::test(flavor = "multi_thread")]
async fn compose_starts_a_hub_with_postgresql_and_an_s3_server() -> Result<()> {
    let machine = Network::start().await?.machine("alice").await?;
    let ok = async |line: &str| machine.run(line).await.success().stdout;
    make_image(&machine, "hub").await?;
    // The image of SeaweedFS has this program, and cannot be pulled here.
    let weed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../tools/bin/weed");
    let dockerfile =
        "FROM debian:bookworm-slim\nCOPY weed /usr/bin/weed\nENTRYPOINT [\"/usr/bin/weed\"]\n";
    std::fs::create_dir(machine.home().join("weed"))?;
    std::fs::write(machine.home().join("weed/Dockerfile"), dockerfile)?;
    std::fs::copy(weed, machine.home().join("weed/weed"))?;
    ok("docker build -q --network none -t chrislusf/seaweedfs:4.48 weed").await;

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker/compose.yaml");
    std::fs::copy(file, machine.home().join("compose.yaml"))?;
    let refused = machine.run("compose-2 up -d").await.failure();
    assert!(
        refused.stderr.contains("write DOTHUB_SECRET"),
        "{refused:?}"
    );
    // It ends once the hub's health check succeeds.
    ok("echo DOTHUB_SECRET=0123456789abcdef >.env && compose-2 up -d --wait").await;
    assert_eq!(ok("compose-2 exec -T hub id -u").await, "10001\n");
    let said = ok("compose-2 exec -T hub dothub user add alice").await;
    let key = said.lines().last().context("no key")?;

    // What is pushed goes through the database and the S3 server.
    let arguments = ["--pool-limit", "4G"];
    let mut daemon = machine.spawn_daemon("dotmeshd", &arguments).await?;
    daemon.wait_for_socket("/run/dotmesh/api.sock").await?;
    ok(&format!(
        "DOTMESH_PASSWORD={key} dm remote add hub alice@127.0.0.1:8180"
    ))
    .await;
    ok("docker run --rm --network none -v app.db:/v --volume-driver dm debian:bookworm-slim sh -c 'echo one >/v/state'").await;
    ok("dm commit -m one && dm push hub app && dm clone hub app --local-name copy").await;
    assert_eq!(ok("dm cp --dot copy HEAD:db/state -").await, "one\n");
    ok("compose-2 down -v").await;
    Ok(())
}
