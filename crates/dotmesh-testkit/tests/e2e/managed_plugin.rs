//! `dotmeshd` as a managed plugin: in a container that Docker makes, with a name that Docker gives it.

use anyhow::Result;
use dotmesh_testkit::{Network, wait_for};

use crate::world::SOON;

/// The plugin's configuration. Docker must give the daemon the machine's processes, a btrfs file system, Docker's
/// socket, and a place for `dm`.
const CONFIG: &str = r#"{
    "description": "Dotmesh",
    "documentation": "",
    "entrypoint": ["/dotmeshd", "--mounts", "/mounts", "--pool", "/pool/dm", "--root", "/pool/root"],
    "workdir": "/",
    "interface": { "types": ["docker.volumedriver/1.0"], "socket": "dm.sock" },
    "network": { "type": "host" },
    "pidhost": true,
    "propagatedmount": "/mounts",
    "env": [{ "name": "DOCKER_HOST", "value": "unix:///engine/docker.sock" }],
    "linux": {
        "allowAllDevices": true,
        "capabilities": ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_LINUX_IMMUTABLE"]
    },
    "mounts": [
        { "source": "/run/docker.sock", "destination": "/engine/docker.sock", "type": "bind", "options": ["bind"] },
        { "source": "/run/dotmesh", "destination": "/run/dotmesh", "type": "bind", "options": ["bind"] },
        { "source": "/dev", "destination": "/dev", "type": "bind", "options": ["rbind"] },
        { "source": "/var/lib/pool", "destination": "/pool", "type": "bind", "options": ["rbind", "rshared"] }
    ]
}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_managed_plugin_switches_containers() -> Result<()> {
    let machine = Network::start().await?.machine("alice").await?;
    let ok = async |line: &str| machine.run(line).await.success().stdout;
    ok("mkdir -p /var/lib/pool /run/dotmesh plugin/rootfs/engine plugin/rootfs/mounts plugin/rootfs/pool")
        .await;
    ok("truncate -s 2G pool.img && mkfs.btrfs -q pool.img && mount -o loop pool.img /var/lib/pool && mkdir /var/lib/pool/dm")
        .await;
    ok("docker create --name files debian:bookworm-slim && docker export files | tar -x -C plugin/rootfs && docker rm files")
        .await;
    ok("cp $(command -v dotmeshd) plugin/rootfs/").await;
    std::fs::write(machine.home().join("plugin/config.json"), CONFIG)?;
    ok("docker plugin create dm:latest plugin && docker plugin enable dm:latest").await;
    wait_for("the daemon to answer", SOON, async || {
        let version = machine.run("dm version").await;
        anyhow::ensure!(version.status.success(), "{version}");
        Ok(())
    })
    .await?;

    ok("docker run -d --init --network none --name app -v app.db:/v --volume-driver dm:latest debian:bookworm-slim sleep 100000")
        .await;
    ok("docker exec app sh -c 'echo master >/v/branch' && dm commit -m master").await;
    let told = machine.run("dm checkout -b other").await.success().stderr;
    assert!(told.contains("Restarted containers: app\n"), "{told}");
    ok("docker exec app sh -c 'echo other >/v/branch'").await;
    // A container with a pinned branch keeps running when others leave that branch.
    ok("docker run -d --init --network none --name pinned -v app@other.db:/v --volume-driver dm:latest debian:bookworm-slim sleep 100000")
        .await;
    for branch in ["master", "other"] {
        ok(&format!("dm checkout {branch}")).await;
        let seen = ok("docker exec app cat /v/branch").await;
        assert_eq!(seen, format!("{branch}\n"));
        let pinned = format!(
            "docker run --rm --network none -v app@{branch}.db:/v --volume-driver dm:latest debian:bookworm-slim cat /v/branch"
        );
        assert_eq!(ok(&pinned).await, seen);
    }
    assert_eq!(machine.run("dm list").await.success().stderr, "");
    ok("docker rm -f app pinned && docker plugin disable -f dm:latest && umount /var/lib/pool")
        .await;
    Ok(())
}
