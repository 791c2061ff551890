//! The disk below the pool: full, not writable, and with free space again.

use anyhow::{Result, ensure};
use dotmesh_testkit::{Network, wait_for};

use crate::world::{Node, SOON};

const LIMIT_OF_DISK: &str = "1500M";

/// Fills the disk below the pool, as far as another program can.
const FILL: &str = "fallocate -l \"$(($(stat -f -c '%a * %S' /var/lib/dotmesh)))\" /var/lib/dotmesh/filler || true; cat /dev/zero >>/var/lib/dotmesh/filler || true";

const EMPTY: &str = "rm /var/lib/dotmesh/filler";

async fn node() -> Result<Node> {
    let network = Network::start().await?;
    let machine = network.machine("alice").await?;
    let disk = machine.home().join("disk.img").display().to_string();
    let line = format!(
        "truncate -s {LIMIT_OF_DISK} {disk} && mkfs.ext4 -q -m 0 {disk} && mount -o loop {disk} /var/lib/dotmesh"
    );
    machine.run(&line).await.success();
    Node::start_in(machine, &[]).await
}

async fn writes(node: &Node) -> Result<()> {
    wait_for("the app to write again", SOON, async || {
        let wrote = "head -c 20M /dev/urandom >/v/again && sync /v/again && cat /v/precious";
        let output = node.run(&format!("docker exec app sh -ec '{wrote}'")).await;
        ensure!(output.status.success(), "{}", output.stderr);
        ensure!(output.stdout == "kept\n", "{}", output.stdout);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_gets_full_stops_writers_and_nothing_else() -> Result<()> {
    let mut node = node().await?;
    node.keep_running("app", "app").await;
    node.ok("docker exec app sh -c 'echo kept >/v/precious && sync /v/precious'")
        .await;
    node.ok("dm switch app && dm commit -m good").await;
    // A program may reserve most of the pool at once.
    node.ok("docker exec app sh -c 'fallocate -l 900M /v/reserved && rm /v/reserved'")
        .await;

    node.ok(FILL).await;
    wait_for("the pool to be full", SOON, async || {
        let output = node
            .run("docker exec app sh -c 'head -c 64M /dev/urandom >/v/more && sync /v/more'")
            .await;
        ensure!(!output.status.success());
        ensure!(
            output.stderr.contains("No space left on device"),
            "{}",
            output.stderr
        );
        Ok(())
    })
    .await?;
    wait_for("the daemon to say so", SOON, async || {
        let said = node.run("dm list").await.success();
        ensure!(said.stderr.contains("nearly full"), "{}", said.stderr);
        Ok(())
    })
    .await?;
    let mounts = node.ok("grep ' /var/lib/dotmesh/pool ' /proc/mounts").await;
    assert!(mounts.contains(" rw,"), "{mounts}");
    // A container that starts now gets its own volumes or none, and never another volume in their place.
    let second = "docker run -d --init --restart always --network none --volume-driver dm --name second \
        -v app.first:/first -v app.second:/second debian:bookworm-slim sleep 100000";
    let ran = node.run(second).await;
    if !ran.status.success() {
        ensure!(ran.stderr.contains("there is room"), "{}", ran.stderr);
    }
    node.daemon.kill9().await?;
    node.daemon.start_again().await?;
    node.daemon.wait_for_socket("/run/dotmesh/api.sock").await?;
    node.ok("dm log && docker exec app cat /v/precious").await;
    for _ in 0..3 {
        // Docker unmounts the volumes and requests them again.
        let _ = node.run("docker restart -t 0 second").await;
    }

    node.ok(EMPTY).await;
    writes(&node).await?;
    wait_for("the second container to run", SOON, async || {
        let output = node
            .run("docker exec second sh -ec 'for v in first second; do echo $v >/$v/name; done; cat /first/name /second/name'")
            .await;
        ensure!(output.stdout == "first\nsecond\n", "{output}");
        Ok(())
    })
    .await?;
    let pool = "cd /var/lib/dotmesh/pool/dots/admin/app/branches/master/data && cat first/name second/name";
    assert_eq!(node.ok(pool).await, "first\nsecond\n");
    let mounts = node
        .ok("cut -d ' ' -f 5 /proc/self/mountinfo | grep /var/lib/dotmesh/ | sort | uniq -d")
        .await;
    assert_eq!(mounts, "", "places with several mounts");
    node.ok("dm commit -m better && dm checkout -b new && dm checkout master")
        .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_went_read_only_is_mounted_again() -> Result<()> {
    let node = node().await?;
    node.keep_running("app", "app").await;
    node.ok("docker run -d --init --network none --name other debian:bookworm-slim sleep 100000")
        .await;
    node.ok("docker exec app sh -c 'echo kept >/v/precious' && dm switch app && dm commit -m good")
        .await;
    let other = node
        .ok("docker inspect -f '{{.State.StartedAt}}' other")
        .await;
    // Trimming frees blocks that btrfs reserves for metadata, and the filler takes them.
    node.ok(&format!("fstrim /var/lib/dotmesh/pool && {FILL}"))
        .await;
    wait_for("btrfs to give up", SOON, async || {
        let _ = node
            .run("docker exec app sh -c 'date >/v/n && sync /v/n'")
            .await;
        let mounts = node.ok("grep ' /var/lib/dotmesh/pool ' /proc/mounts").await;
        ensure!(mounts.contains(" ro,"), "{mounts}");
        Ok(())
    })
    .await?;
    wait_for("the daemon to notice", SOON, async || {
        let said = node.run("dm list").await;
        ensure!(said.stderr.contains("read-only"), "{}", said.stderr);
        Ok(())
    })
    .await?;

    node.ok(EMPTY).await;
    writes(&node).await?;
    let problems = node.run("dm list").await.success();
    assert_eq!(problems.stderr, "");
    node.ok("dm commit -m better && dm checkout -b new").await;
    let still = node
        .ok("docker inspect -f '{{.State.StartedAt}}' other")
        .await;
    assert_eq!(still, other, "a container without a volume goes on");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_gives_each_volume_its_own_folder() -> Result<()> {
    let network = Network::start().await?;
    let machine = network.machine("alice").await?;
    let node = Node::start_in(machine, &["--pool-limit", "400MiB"]).await?;
    node.keep_running("app", "app").await;
    let volumes = "-v app.first:/first -v app.second:/second --volume-driver dm";
    node.ok(&format!("docker run -d --init --restart always --network none {volumes} --name two debian:bookworm-slim sleep 100000"))
        .await;
    let names = "for v in first second; do echo $v >/$v/name; done; sync -f /first";
    node.ok(&format!("docker exec two sh -ec '{names}'")).await;

    // Fills the pool as far as any program can, down to the smallest file.
    let fill = "cat /dev/zero >/v/much; for n in $(seq 2000); do head -c 4096 /dev/zero >/v/$n || break; done; sync -f /v";
    let _ = node.run(&format!("docker exec app sh -c '{fill}'")).await;
    for _ in 0..4 {
        let restarted = node.run("docker restart -t 0 two").await;
        ensure!(
            restarted.status.success() || restarted.stderr.contains("there is room"),
            "{restarted}"
        );
        let places =
            "cut -d ' ' -f 5 /proc/self/mountinfo | grep /var/lib/dotmesh/ | sort | uniq -d";
        assert_eq!(node.ok(places).await, "", "places with several mounts");
    }
    node.ok("docker exec app sh -c 'rm -f /v/*; sync -f /v'")
        .await;
    wait_for("the container to run", SOON, async || {
        let output = node
            .run("docker exec two cat /first/name /second/name")
            .await;
        ensure!(output.stdout == "first\nsecond\n", "{output}");
        Ok(())
    })
    .await
}
