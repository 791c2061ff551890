//! Podman: what it does as Docker does, and what differs.

use std::fs;

use anyhow::{Result, ensure};
use dotmesh_testkit::{Engine, Network};

use crate::world::Node;

async fn start() -> Result<Node> {
    Node::start_on(&Network::start().await?, Engine::Podman5, "alice").await
}

const RUN: &str = "docker run -d --network none";

#[tokio::test(flavor = "multi_thread")]
async fn cluster_init_introduces_the_driver() -> Result<()> {
    let network = Network::start().await?;
    let machine = network.machine_with(Engine::Podman5, "alice").await?;
    machine
        .run("dm cluster init --pool-limit 4G")
        .await
        .success();
    let file = machine.path("/etc/containers/containers.conf.d/dotmesh.conf");
    let config = fs::read_to_string(&file)?;
    assert_eq!(config, crate::world::podman_config());
    // The service of this machine is no service of systemd, so it is restarted by hand.
    machine.stop_docker().await?;
    machine.start_docker().await?;
    machine
        .run("podman volume create -d dm app.db")
        .await
        .success();
    let doctor = machine.run("dm doctor").await.stdout;
    assert!(doctor.contains("the daemon reaches Podman 5."), "{doctor}");
    assert!(doctor.contains("it knows the volume driver dm"), "{doctor}");
    machine
        .run("podman volume rm app.db && dm cluster reset -f")
        .await
        .success();
    assert!(!file.exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_one() -> Result<()> {
    let node = start().await?;
    let refused = node.fails("docker volume create -d dm a.b.c").await;
    assert!(
        refused.contains("[NAMESPACE/]DOT[@BRANCH][.SUBDOT]"),
        "{refused}"
    );
    assert_eq!(node.ok("docker volume ls -q").await, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_subdot_is_mounted_at_once_and_filled() -> Result<()> {
    let node = start().await?;
    node.ok("docker volume create -d dm app.etc && docker volume create -d dm app.lib")
        .await;
    node.ok(&format!(
        "timeout 20 {RUN} --name app -v app.etc:/etc debian:bookworm-slim sleep 100000"
    ))
    .await;
    node.ok("docker exec app test -s /etc/debian_version").await;
    node.ok("dm switch app && dm commit -m one && docker rm -f app")
        .await;
    // The other branch lacks a subdot, which Podman has filled on this one.
    node.ok(&format!(
        "{RUN} --name app -v app.etc:/etc -v app.lib:/var/lib/dpkg debian:bookworm-slim sleep 100000"
    ))
    .await;
    node.ok("dm commit -m two && dm checkout -b other HEAD~1")
        .await;
    for file in ["/etc/debian_version", "/var/lib/dpkg/status"] {
        node.ok(&format!("docker exec app test -s {file}")).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_during_a_switch_is_made_up_for() -> Result<()> {
    let node = start().await?;
    node.ok("docker volume create -d dm app.a && docker volume create -d dm app.b")
        .await;
    // The switch waits until the test lets this container stop.
    let last = "touch /slow/stopping; until [ -e /slow/go ]; do sleep 0.05; done; exit 0";
    let slow = format!("trap \"{last}\" TERM; touch /slow/up; while :; do sleep 0.05; done");
    node.ok(&format!(
        "mkdir ~/slow && {RUN} --name slow --stop-timeout 60 -v app.a:/v -v $HOME/slow:/slow debian:bookworm-slim sh -c '{slow}'"
    ))
    .await;
    node.until_prints("ls ~/slow", "up\n").await?;
    node.ok("docker create --init --network none --name late -v app.b:/v debian:bookworm-slim sleep 100000")
        .await;
    node.ok("dm switch app && dm commit -m one").await;
    let switch = node.run("dm checkout -b other");
    let start = async {
        node.until_prints("ls ~/slow", "stopping\nup\n").await?;
        let refused = node.fails("docker start late").await;
        node.ok("touch ~/slow/go").await;
        let promise = "Dotmesh starts this container when that is done";
        ensure!(refused.contains(promise), "{refused}");
        Ok(())
    };
    let (switched, started) = tokio::join!(switch, start);
    switched.success();
    started?;
    node.until_prints("docker inspect -f '{{.State.Running}}' late", "true\n")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_volume_that_podman_made_silently_is_told() -> Result<()> {
    let node = start().await?;
    node.ok(
        "docker run --rm --network none -v app.db:/v --volume-driver dm debian:bookworm-slim true",
    )
    .await;
    assert_eq!(node.dots().await, [""; 0]);
    let doctor = node.ok("dm doctor").await;
    assert!(
        doctor.contains("Podman has local volumes that are no dots: app.db"),
        "{doctor}"
    );
    Ok(())
}

/// Podman says `stopped` of a container that it has not cleaned up, which Docker's API does not know.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_podman_has_not_cleaned_up_hides_no_other() -> Result<()> {
    let node = start().await?;
    node.ok("docker volume create -d dm app.db").await;
    for (name, volume) in [("app", "-v app.db:/v"), ("other", "")] {
        node.ok(&format!(
            "{RUN} --name {name} {volume} debian:bookworm-slim sleep 100000"
        ))
        .await;
    }
    node.ok("dm switch app && dm commit -m one").await;
    // Whoever watches the container runs `podman` to clean up after it.
    node.ok("pid=$(podman inspect -f '{{.State.Pid}}' other)
        mount --bind /bin/true \"$(command -v podman)\"
        kill -9 \"$pid\"")
        .await;
    let states = "curl -fsS --unix-socket /run/docker.sock 'http://d/containers/json?all=1' | grep -o '\"State\":\"stopped\"'";
    node.until_prints(states, "\"State\":\"stopped\"\n").await?;
    let status = node.ok("dm status").await;
    assert!(status.contains("app"), "{status}");
    assert_eq!(node.says("dm list").await, "");
    node.ok("umount \"$(command -v podman)\"").await;
    node.ok("dm checkout -b two").await;
    node.until_prints("docker inspect -f '{{.State.Running}}' app", "true\n")
        .await
}
