//! Docker and the daemon start and end in any order. `systemd-socket-activate` stands in for systemd: it holds the volume
//! driver's socket, and starts the daemon at the first connection, with the socket passed on as systemd does it.

use anyhow::{Result, ensure};
use dotmesh_testkit::{Daemon, Machine, Network, wait_for};

use crate::world::SOON;

const DRIVER: &str = "/run/docker/plugins/dm.sock";

/// Holds the driver's socket for a daemon with these arguments.
async fn activated(machine: &Machine, arguments: &[&str]) -> Result<Daemon> {
    let dotmeshd = machine.run("command -v dotmeshd").await.success().stdout;
    let listen = format!("--listen={DRIVER}");
    let mut all = vec![listen.as_str(), dotmeshd.trim(), "--pool-limit", "4G"];
    all.extend(arguments);
    let mut daemon = machine
        .spawn_daemon("systemd-socket-activate", &all)
        .await?;
    let path = machine.path(DRIVER);
    daemon
        .wait_until("the socket", SOON, async || {
            ensure!(path.exists(), "no {DRIVER}");
            Ok(())
        })
        .await?;
    Ok(daemon)
}

/// Ends a container as if its program had failed. The command may be killed along with it.
pub(crate) async fn end(machine: &Machine, container: &str) {
    let _ = machine
        .run(&format!("docker exec {container} sh -c 'kill 1'"))
        .await;
}

async fn until_running(machine: &Machine, container: &str) -> Result<()> {
    wait_for(&format!("{container} to run"), SOON, async || {
        let line =
            format!("docker inspect -f '{{{{.State.Running}}}} {{{{.State.Error}}}}' {container}");
        let state = machine.run(&line).await;
        ensure!(state.stdout.starts_with("true"), "{state}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_waits_for_an_activated_daemon_and_is_told_why_it_cannot_start() -> Result<()> {
    let machine = Network::start().await?.machine("alice").await?;
    let ok = async |line: &str| machine.run(line).await.success().stdout;
    // Docker asks before the daemon runs, and waits until it does.
    let mut daemon = activated(&machine, &[]).await?;
    ok("docker run -d --init --network none --name app --restart on-failure -v app.db:/v --volume-driver dm debian:bookworm-slim sleep 100000")
        .await;
    ok("dm commit -m one").await;

    // The socket belongs to the service manager, so the daemon leaves it.
    daemon.terminate().await?;
    assert!(machine.path(DRIVER).exists());

    // A daemon that cannot start says so at once, and Docker gives up the container. Without an answer, it would wait.
    let mut broken = activated(&machine, &["--ca-file", "/nowhere.pem"]).await?;
    let refused = machine
        .run("docker volume create --driver dm other.db")
        .await
        .failure();
    assert!(
        refused.stderr.contains("cannot read /nowhere.pem"),
        "{refused:?}"
    );
    end(&machine, "app").await;
    wait_for("Docker to give up", SOON, async || {
        let state = machine
            .run("docker inspect -f '{{.State.Status}} {{.State.Error}}' app")
            .await;
        ensure!(
            state.stdout.contains("exited") && state.stdout.contains("volume"),
            "{state}"
        );
        Ok(())
    })
    .await?;

    wait_for("the daemon to end", SOON, async || {
        ensure!(!broken.is_running(), "it still tells Docker why");
        Ok(())
    })
    .await?;

    // Once the daemon is there, it starts what Docker gave up.
    let _daemon = machine
        .spawn_daemon("dotmeshd", &["--pool-limit", "4G"])
        .await?;
    until_running(&machine, "app").await?;
    ok("docker rm -f app").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_that_gave_up_without_a_driver_start_with_the_daemon() -> Result<()> {
    let machine = Network::start().await?.machine("alice").await?;
    let ok = async |line: &str| machine.run(line).await.success().stdout;
    let arguments = ["--pool-limit", "4G"];
    let mut daemon = machine.spawn_daemon("dotmeshd", &arguments).await?;
    daemon.wait_for_socket(DRIVER).await?;
    for policy in ["always", "on-failure", "no"] {
        ok(&format!(
            "docker run -d --init --network none --name {policy} --restart {policy} -v app.{policy}:/v --volume-driver dm debian:bookworm-slim sleep 100000"
        ))
        .await;
    }
    // The daemon is gone when the containers fail, so Docker cannot start them again.
    daemon.terminate().await?;
    for policy in ["always", "on-failure", "no"] {
        end(&machine, policy).await;
    }
    for policy in ["always", "on-failure"] {
        wait_for("Docker to give up", SOON, async || {
            let line =
                format!("docker inspect -f '{{{{.State.Status}}}} {{{{.State.Error}}}}' {policy}");
            let state = machine.run(&line).await;
            ensure!(
                state.stdout.contains("exited") && state.stdout.contains("volume"),
                "{state}"
            );
            Ok(())
        })
        .await?;
    }
    daemon.start_again().await?;
    until_running(&machine, "always").await?;
    until_running(&machine, "on-failure").await?;
    let state = ok("docker inspect -f '{{.State.Status}}' no").await;
    assert_eq!(state, "exited\n");
    ok("docker rm -f always on-failure no").await;
    Ok(())
}
