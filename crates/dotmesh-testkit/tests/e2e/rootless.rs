//! Engines without root: rootless Docker and rootless Podman, each run by an ordinary user of a machine whose node serves
//! that Engine.

use anyhow::{Result, ensure};
use dotmesh_testkit::{Daemon, Engine, Machine, Network, Output, wait_for};

use crate::world::SOON;

/// Runs a program as alice, with the environment of her session.
const AS_ALICE: [&str; 10] = [
    "setpriv",
    "--reuid=1000",
    "--regid=1000",
    "--init-groups",
    "env",
    "--chdir=/home/alice",
    "HOME=/home/alice",
    "USER=alice",
    "XDG_RUNTIME_DIR=/run/user/1000",
    "PODMAN_IGNORE_CGROUPSV1_WARNING=1",
];

/// What a login makes, on a disk that can have an Engine's storage. A test machine has the host's devices, and those of
/// the host may be closed to users.
const LOG_IN: &str = "
    groupadd --system dotmesh
    useradd --uid 1000 --groups dotmesh --home-dir /home/alice alice
    grep -q alice /etc/subuid || { echo alice:100000:65536 >>/etc/subuid; echo alice:100000:65536 >>/etc/subgid; }
    mkdir -p /home/alice /run/user/1000/podman
    mount --bind $HOME /home/alice
    chown -R alice: /home/alice /run/user/1000
    chmod 700 /run/user/1000
    mount -t tmpfs -o mode=1777 tmpfs /dev/shm
    mount -t tmpfs tmpfs /dev/net
    mknod -m 666 /dev/net/tun c 10 200
    cp $(command -v dm) /usr/local/bin/
";

struct Session {
    machine: Machine,
    /// Where her Engine answers.
    host: &'static str,
    _engine: Daemon,
}

impl Session {
    async fn run(&self, line: &str) -> Output {
        let alice = AS_ALICE.join(" ");
        let quoted = line.replace('\'', r"'\''");
        let host = self.host;
        self.machine
            .run(&format!("{alice} DOCKER_HOST={host} sh -c '{quoted}'"))
            .await
    }

    async fn ok(&self, line: &str) -> String {
        self.run(line).await.success().stdout
    }
}

/// A machine with an image in alice's home folder, and without a running Engine.
async fn prepared(engine: Engine) -> Result<Machine> {
    let machine = Network::start()
        .await?
        .machine_with(engine, "alice")
        .await?;
    machine
        .run("docker save -o ~/image.tar debian:bookworm-slim")
        .await
        .success();
    machine.run(LOG_IN).await.success();
    machine.stop_docker().await?;
    Ok(machine)
}

/// Starts an Engine as alice, and loads the image.
async fn session(machine: &Machine, host: &'static str, engine: &[&str]) -> Result<Session> {
    let words: Vec<&str> = AS_ALICE[1..].iter().chain(engine).copied().collect();
    let mut daemon = machine.spawn_daemon(AS_ALICE[0], &words).await?;
    daemon.wait_for_socket(&host["unix://".len()..]).await?;
    let session = Session {
        machine: machine.clone(),
        host,
        _engine: daemon,
    };
    session.ok("docker load -q -i ~/image.tar").await;
    Ok(session)
}

async fn init(machine: &Machine, options: &str) {
    machine
        .run(&format!("dm cluster init --pool-limit 4G {options}"))
        .await
        .success();
}

/// Switches a container between two branches, and looks at the owners of its files inside and in the pool.
async fn switches(session: &Session) -> Result<()> {
    let ok = async |line: &str| session.ok(line).await;
    ok("docker volume create -d dm app.db && docker volume create -d dm app.etc").await;
    ok("docker run -d --init --network none --name app -v app.db:/v -v app.etc:/etc debian:bookworm-slim sleep 100000")
        .await;
    assert_eq!(
        ok("docker exec app stat -c '%u:%g %a' /etc/shadow").await,
        "0:42 640\n",
        "the image's files"
    );
    ok("docker exec app sh -c 'echo master >/v/branch; chown 33:33 /v/branch'").await;
    ok("dm switch app && dm commit -m master && dm checkout -b other").await;
    ok("docker exec app sh -c 'echo other >/v/branch' && dm commit -m other").await;
    for branch in ["master", "other"] {
        ok(&format!("dm checkout {branch}")).await;
        let seen = ok("docker exec app sh -c 'cat /v/branch; stat -c %u:%g /v/branch'").await;
        assert_eq!(seen, format!("{branch}\n33:33\n"));
    }
    assert_eq!(session.run("dm list").await.success().stderr, "");
    // A state has the owners that it would have with any other Engine, and only alice and root can enter its mounts.
    let stored = session
        .machine
        .run("dm export master db --tar - | tar -tv --numeric-owner | grep branch")
        .await
        .success();
    assert!(stored.stdout.contains(" 33/33 "), "{stored:?}");
    let closed = "setpriv --reuid=1001 --clear-groups ls /run/dotmesh/mounts/1000";
    let closed = session.machine.run(closed).await.failure();
    assert!(closed.stderr.contains("Permission denied"), "{closed:?}");

    ok("docker rm -f app").await;
    wait_for("the mounts to be gone", SOON, async || {
        let left = session.machine.run("ls /run/dotmesh/mounts/1000").await;
        ensure!(left.success().stdout.is_empty(), "places are left");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rootless_docker_switches_containers() -> Result<()> {
    let machine = prepared(Engine::Docker28).await?;
    let host = "unix:///run/user/1000/docker.sock";
    init(
        &machine,
        &format!("--docker-host {host} --docker-plugin /run/dotmesh/dm.sock"),
    )
    .await;
    let alice = AS_ALICE.join(" ");
    let spec = "mkdir -p ~/.local/lib/docker/plugins && echo unix:///run/dotmesh/dm.sock >~/.local/lib/docker/plugins/dm.spec";
    machine
        .run(&format!("{alice} sh -c '{spec}'"))
        .await
        .success();
    let script = "/usr/share/docker.io/contrib/dockerd-rootless.sh";
    let session = session(&machine, host, &["sh", script, "--log-level=warn"]).await?;
    switches(&session).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rootless_podman_switches_containers() -> Result<()> {
    let machine = prepared(Engine::Podman5).await?;
    let host = "unix:///run/user/1000/podman/podman.sock";
    init(
        &machine,
        &format!("--docker-host {host} --docker-plugin /run/dotmesh/dm.sock"),
    )
    .await;
    let service = [
        "podman",
        "--cgroup-manager=cgroupfs",
        "system",
        "service",
        "--time=0",
        host,
    ];
    let session = session(&machine, host, &service).await?;
    switches(&session).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_knows_an_engine_that_the_node_does_not_serve() -> Result<()> {
    let machine = prepared(Engine::Docker28).await?;
    init(&machine, "").await;
    machine.start_docker().await?;
    let host = "unix:///run/user/1000/docker.sock";
    let script = "/usr/share/docker.io/contrib/dockerd-rootless.sh";
    let session = session(&machine, host, &["sh", script, "--log-level=warn"]).await?;
    let refused = session.run("docker volume create -d dm app.db").await;
    let refused = refused.failure().stderr;
    assert!(refused.contains("plugin \"dm\" not found"), "{refused}");
    let told = session.run("dm doctor").await.success().stdout;
    assert!(
        told.contains("which is not the daemon's Engine")
            && told.contains("--docker-host unix:///run/user/1000/docker.sock"),
        "{told}"
    );
    let root = machine.run("dm doctor").await.success().stdout;
    assert!(!root.contains("not the daemon's Engine"), "{root}");
    Ok(())
}
