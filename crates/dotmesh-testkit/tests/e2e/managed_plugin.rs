//! `dotmeshd` as a managed plugin, as `make plugin` builds it: in a container that Docker makes.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use dotmesh_testkit::{Machine, Network, wait_for};
use tokio::process::Command;

use crate::boot::end;
use crate::world::SOON;

/// Builds the plugin from the programs under test, in the machine's home folder.
async fn build(machine: &Machine) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/plugin.sh");
    let built = Command::new(&script)
        .arg("plugin")
        .arg(machine.home().join("plugin"))
        .arg("debug")
        .status()
        .await?;
    ensure!(built.success(), "scripts/plugin.sh failed");
    Ok(())
}

/// Makes a container image from the programs under test, in the machine's Docker.
pub(crate) async fn make_image(machine: &Machine, name: &str) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/plugin.sh");
    let docker = format!("unix://{}", machine.path("/run/docker.sock").display());
    let made = Command::new(&script)
        .args(["images", "debug", name])
        .env("DOCKER_HOST", docker)
        .status()
        .await?;
    ensure!(made.success(), "scripts/plugin.sh failed");
    Ok(())
}

/// A machine whose Docker has the plugin as `dm`, as `docker plugin install --alias dm` leaves it.
async fn with_plugin() -> Result<Machine> {
    let machine = Network::start().await?.machine("alice").await?;
    build(&machine).await?;
    let create = "docker plugin create dm plugin && docker plugin set dm DOTMESH_POOL_LIMIT=4G";
    machine.run(create).await.success();
    enable(&machine).await?;
    Ok(machine)
}

async fn enable(machine: &Machine) -> Result<()> {
    machine.run("docker plugin enable dm").await.success();
    wait_for("the daemon to answer", SOON, async || {
        let version = machine.run("dm version").await;
        ensure!(version.status.success(), "{version}");
        Ok(())
    })
    .await
}

fn run(name: &str, volume: &str, options: &str) -> String {
    format!(
        "docker run -d --init --network none --name {name} {options} -v {volume}:/v --volume-driver dm debian:bookworm-slim sleep 100000"
    )
}

/// The mount points at or below a folder, as Docker itself sees them.
async fn mounts_below(machine: &Machine, folder: &str) -> Vec<String> {
    let table = machine.run("cut -d' ' -f5 /proc/self/mountinfo").await;
    let table = table.success().stdout;
    let below = table.lines().filter(|point| point.starts_with(folder));
    below.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_managed_plugin_switches_containers() -> Result<()> {
    let machine = with_plugin().await?;
    let ok = async |line: &str| machine.run(line).await.success().stdout;
    // What the plugin mounts for itself does not show outside, where Docker would delete it with the plugin.
    for point in mounts_below(&machine, "/var/lib/docker/plugins").await {
        assert!(point.ends_with("/propagated-mount"), "{point}");
    }
    assert_eq!(mounts_below(&machine, "/run/docker/plugins").await, [""; 0]);

    ok(&run("app", "app.db", "")).await;
    ok("docker exec app sh -c 'echo master >/v/branch' && dm commit -m master").await;
    let told = machine.run("dm checkout -b other").await.success().stderr;
    assert!(told.contains("Restarted containers: app\n"), "{told}");
    ok("docker exec app sh -c 'echo other >/v/branch'").await;
    // A container with a pinned branch keeps running when others leave that branch.
    ok(&run("pinned", "app@other.db", "")).await;
    for branch in ["master", "other"] {
        ok(&format!("dm checkout {branch}")).await;
        let seen = ok("docker exec app cat /v/branch").await;
        assert_eq!(seen, format!("{branch}\n"));
        let pinned = format!(
            "docker run --rm --network none -v app@{branch}.db:/v --volume-driver dm debian:bookworm-slim cat /v/branch"
        );
        assert_eq!(ok(&pinned).await, seen);
    }
    assert_eq!(machine.run("dm list").await.success().stderr, "");
    ok("docker rm -f app pinned").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_managed_plugin_reads_rows() -> Result<()> {
    let machine = with_plugin().await?;
    let ok = async |line: &str| machine.run(line).await.success().stdout;
    ok("docker run -d --network host --name pg -e POSTGRES_PASSWORD=secret -v app.pg:/var/lib/postgresql/data \
            --volume-driver dm postgres:15
        until docker exec pg psql -h 127.0.0.1 -U postgres -c 'create table t (id int primary key)' >/dev/null 2>&1; do sleep 0.2; done
        dm switch app && dm commit -m none
        docker exec pg psql -h 127.0.0.1 -U postgres -c 'insert into t values (1), (2)'")
    .await;
    let told = ok("dm diff --rows --stat").await;
    assert_eq!(told, " pg/postgres/t | 2 rows added\n");
    let answer = ok("dm sql HEAD pg 'select count(*) + 40 from t'").await;
    assert!(answer.contains("40"), "{answer}");
    wait_for("throwaway containers to be removed", SOON, async || {
        let left = ok("docker ps -aq --filter label=io.dotmesh.rows; docker volume ls -q --filter label=io.dotmesh.rows").await;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_outlive_a_disabled_and_a_removed_plugin() -> Result<()> {
    let machine = with_plugin().await?;
    let ok = async |line: &str| machine.run(line).await.success().stdout;
    ok(&run("app", "app.db", "--restart always")).await;
    ok(&run("job", "app.jobs", "--restart on-failure")).await;
    ok("docker exec app sh -c 'echo one >/v/state' && dm commit -m one").await;

    // Docker does not take the driver away from running containers by mistake.
    let refused = machine.run("docker plugin disable dm").await.failure();
    assert!(refused.stderr.contains("in use"), "{refused:?}");
    let refused = machine.run("docker plugin upgrade dm").await.failure();
    assert!(refused.stderr.contains("must be disabled"), "{refused:?}");

    ok("docker plugin disable -f dm").await;
    ok("docker exec app sh -c 'echo two >/v/state'").await;
    let unreachable = machine.run("dm list").await.failure();
    assert!(
        unreachable.stderr.contains("cannot reach"),
        "{unreachable:?}"
    );
    // Docker cannot start a container without the driver, and gives up.
    for container in ["app", "job"] {
        end(&machine, container).await;
        wait_for("Docker to give up", SOON, async || {
            let state = "{{.State.Status}} {{.State.Error}}";
            let state = machine
                .run(&format!("docker inspect -f '{state}' {container}"))
                .await;
            ensure!(
                state.stdout.contains("exited") && state.stdout.contains("volume"),
                "{state}"
            );
            Ok(())
        })
        .await?;
    }

    // The node starts both, and switches them as before.
    enable(&machine).await?;
    for container in ["app", "job"] {
        wait_for("the container to run again", SOON, async || {
            let state = machine
                .run(&format!(
                    "docker inspect -f '{{{{.State.Running}}}}' {container}"
                ))
                .await;
            ensure!(state.stdout == "true\n", "{state}");
            Ok(())
        })
        .await?;
    }
    ok("dm commit -m two && dm checkout -b other HEAD^").await;
    assert_eq!(ok("docker exec app cat /v/state").await, "one\n");

    // A plugin that Docker removes takes nothing along, even while its volumes are in use.
    ok("docker plugin rm -f dm").await;
    assert_eq!(
        mounts_below(&machine, "/var/lib/docker/plugins").await,
        [""; 0]
    );
    assert_eq!(ok("docker exec app cat /v/state").await, "one\n");
    ok("docker plugin create dm plugin").await;
    enable(&machine).await?;
    assert_eq!(ok("dm log --oneline master | wc -l").await, "2\n");
    ok("dm checkout master").await;
    assert_eq!(ok("docker exec app cat /v/state").await, "two\n");
    let devices =
        ok("losetup --noheadings --output NAME --associated /var/lib/dotmesh/pool.img").await;
    assert_eq!(
        devices.lines().count(),
        1,
        "one device for the pool: {devices}"
    );

    // Docker starts the plugin before its containers.
    machine.stop_docker().await?;
    machine.start_docker().await?;
    wait_for("the app to run again", SOON, async || {
        let seen = machine.run("docker exec app cat /v/state").await;
        ensure!(seen.stdout == "two\n", "{seen}");
        Ok(())
    })
    .await
    .context("after a restart of Docker")?;
    ok("docker rm -f app job").await;
    Ok(())
}

/// Runs a registry in the machine, as a team has one.
async fn registry(machine: &Machine) -> Result<dotmesh_testkit::Daemon> {
    let config = "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: /var/lib/registry\nhttp:\n  addr: 127.0.0.1:5000\n";
    let file = machine.home().join("registry.yml");
    std::fs::write(&file, config)?;
    let file = file.display().to_string();
    let mut registry = machine
        .spawn_daemon("docker-registry", &["serve", &file])
        .await?;
    registry
        .wait_until("the registry", SOON, async || {
            let answer = machine.run("curl -fsS http://127.0.0.1:5000/v2/").await;
            ensure!(answer.status.success(), "{answer}");
            Ok(())
        })
        .await?;
    Ok(registry)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_line_installs_the_plugin_from_a_registry_and_another_upgrades_it() -> Result<()> {
    let machine = Network::start().await?.machine("alice").await?;
    let _registry = registry(&machine).await?;
    build(&machine).await?;
    let ok = async |line: &str| machine.run(line).await.success().stdout;
    // Docker refuses a version with the same files.
    for version in ["latest", "2"] {
        let name = format!("localhost:5000/dotmesh:{version}");
        ok(&format!(
            "echo {version} >plugin/rootfs/version && docker plugin create {name} plugin"
        ))
        .await;
        ok(&format!(
            "docker plugin push {name} && docker plugin rm {name}"
        ))
        .await;
    }
    // From an Engine to a committed state in three commands, which are those of the guide.
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/plugin.md");
    let guide = std::fs::read_to_string(guide)?;
    let commands = guide
        .lines()
        .filter_map(|line| line.strip_prefix("root@trixie:~# "));
    let commands: Vec<&str> = commands.collect();
    assert_eq!(commands.len(), 3, "{commands:?}");
    ok("docker tag debian:bookworm-slim debian:trixie-slim").await;
    for command in commands {
        ok(command).await;
    }
    assert!(ok("dm log --oneline").await.contains("First state"));
    ok("docker exec app sh -c 'echo one >/v/state' && dm commit -m one").await;

    let upgrade = "docker plugin upgrade --grant-all-permissions --skip-remote-check dm localhost:5000/dotmesh:2";
    ok(&format!("docker plugin disable -f dm && {upgrade}")).await;
    assert_eq!(
        ok("cat /var/lib/docker/plugins/*/rootfs/version").await,
        "2\n"
    );
    enable(&machine).await?;
    ok("docker exec app sh -c 'echo two >/v/state' && dm commit -m two && dm reset --hard HEAD^")
        .await;
    assert_eq!(ok("docker exec app cat /v/state").await, "one\n");
    ok("docker rm -f app").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn dm_reaches_the_plugin_through_docker() -> Result<()> {
    let machine = with_plugin().await?;
    make_image(&machine, "dm").await?;
    let ok = async |line: &str| machine.run(line).await.success().stdout;
    let fails = async |line: &str| machine.run(line).await.failure().stderr;
    ok(&run("app", "app.db", "")).await;
    let there = "DOTMESH_SOCKET=/nowhere DOTMESH_HOST=docker://dm";
    ok(&format!("{there} dm commit -m one")).await;
    let switched = machine
        .run(&format!("{there} dm checkout -b other"))
        .await
        .success();
    assert!(
        switched.stderr.contains("Restarted containers: app"),
        "{switched:?}"
    );
    assert_eq!(
        ok(&format!("{there} dm list -H | cut -f1,2")).await,
        "app\tother\n"
    );
    // The containers that carried the connections are gone.
    wait_for("the helpers to end", SOON, async || {
        let containers = machine.run("docker ps -a --format '{{.Names}}'").await;
        ensure!(containers.stdout == "app\n", "{containers}");
        Ok(())
    })
    .await?;

    // The script runs `dm` from its image, with the user's configuration.
    let wrapper = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker/dm");
    let wrapper = wrapper.display();
    assert_eq!(ok(&format!("{wrapper} log --oneline | wc -l")).await, "1\n");

    let told = fails("DOTMESH_HOST=docker://other dm list").await;
    assert!(
        told.contains("docker://other") && told.contains("not found"),
        "{told}"
    );
    ok("docker rm -f app && docker plugin disable -f dm").await;
    let told = fails(&format!("{there} dm list")).await;
    assert!(told.contains("the plugin is disabled"), "{told}");
    Ok(())
}
