//! What `dm doctor` and `dm fsck` find and print.

use std::path::Path;

use dotmesh_api::node::{
    DiskReport, EngineReport, FsckKind, FsckProblem, FsckReport, HubReport, NodeVersion,
    PluginReport, PoolReport, Report,
};
use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_cli::commands::cluster::{self, init};
use dotmesh_cli::commands::doctor::{self, Machine};
use dotmesh_cli::commands::fsck;
use dotmesh_cli::config::{Remote, SavedApiKey};
use dotmesh_cli::error::{CliError, Code};
use dotmesh_cli::network;
use insta::assert_snapshot;

fn version(version: &str) -> NodeVersion {
    NodeVersion {
        version: version.to_owned(),
        node: "4b4e13b2bfff64ce".to_owned(),
        driver: Some("dm".to_owned()),
        pid: 42,
        root: None,
        network: None,
    }
}

fn machine() -> Machine {
    Machine {
        kernel: "6.8.0".to_owned(),
        btrfs: true,
        mkfs: true,
        is_member: true,
        group: None,
        docker: Some(("27.1".to_owned(), Some("27.0".to_owned()))),
        engine: Some(("one".to_owned(), "[name=seccomp]".to_owned())),
        uid: 1000,
        compose: Some("2.29.1".to_owned()),
    }
}

fn remote() -> Remote {
    Remote::with_account(
        "https://hub.example.com".to_owned(),
        "alice".parse().unwrap(),
        SavedApiKey::new("secret".to_owned()),
    )
}

fn told() -> Report {
    Report {
        pool: Ok(PoolReport {
            place: "/var/lib/dotmesh/pool.img".into(),
            total: 100 << 30,
            free: 60 << 30,
            read_only: false,
            disk: Some(DiskReport {
                free: 80 << 30,
                reserve: 1 << 30,
            }),
        }),
        docker: Ok(3),
        engine: Some(EngineReport {
            name: "Docker".to_owned(),
            version: "28.5.2".to_owned(),
            id: Some("one".to_owned()),
            local_volumes: Vec::new(),
        }),
        plugin: Some(PluginReport {
            driver: "dm".to_owned(),
            socket: "/run/docker/plugins/dm.sock".into(),
            exists: true,
        }),
        hubs: Vec::new(),
    }
}

fn hub(version: Result<&str, &str>, clock_ahead: Option<i64>) -> HubReport {
    HubReport {
        version: version
            .map(str::to_owned)
            .map_err(|message| ErrorBody::new(ErrorCode::Unreachable, message)),
        refused: None,
        clock_ahead,
    }
}

#[test]
fn a_machine_where_all_is_well() {
    let ours = env!("CARGO_PKG_VERSION");
    let mut findings = machine().findings();
    let socket = Path::new("/run/dotmesh/api.sock");
    findings.push(doctor::daemon(Ok(&version(ours)), socket, true));
    findings.extend(doctor::report(&told()));
    findings.extend(machine().docker_findings(Some(&told())));
    let name = "team".parse().unwrap();
    findings.push(doctor::hub(&name, &remote(), &hub(Ok("0.1.0"), Some(1))));
    findings.push(network::finding(&[], &[], std::iter::empty()));
    assert_snapshot!(doctor::render(&findings).replace(ours, "$VERSION"), @r"
    ok    kernel   Linux 6.8.0, with btrfs
    ok    group    you may use Dotmesh: as root, or by the group dotmesh
    ok    daemon   version $VERSION at /run/dotmesh/api.sock, process 42
    ok    pool     60.00 GiB of 100.00 GiB free in /var/lib/dotmesh/pool.img
    ok    disk     80.00 GiB free below the pool, which leaves 1.00 GiB to others
    ok    engine   the daemon reaches Docker 28.5.2, which has 3 containers
    ok    plugin   volume driver dm at /run/docker/plugins/dm.sock
    ok    docker   client 27.1, Engine 27.0
    ok    compose  version 2.29.1
    ok    hub      team: https://hub.example.com, version $VERSION, as alice
    ok    proxies  the daemon uses no proxy and no certificates of its own
    ");
}

#[test]
fn an_engine_that_is_not_the_daemons_gets_advice() {
    let mut findings = Vec::new();
    for (id, options) in [
        ("two", "[name=seccomp,profile=builtin]"),
        ("two", "[name=seccomp,profile=builtin name=rootless]"),
        ("one", "[name=rootless]"),
    ] {
        let engine = Some((id.to_owned(), options.to_owned()));
        let machine = Machine {
            engine,
            ..machine()
        };
        findings.extend(machine.docker_findings(Some(&told())));
    }
    findings.retain(|finding| finding.subject == "docker");
    assert_snapshot!(doctor::render(&findings), @"
    warn  docker  client 27.1, Engine 27.0, which is not the daemon's Engine
          Its containers get no dots. DOCKER_HOST and 'docker context ls' say which Engine it is.
          'docker context use default' chooses the machine's.
    warn  docker  client 27.1, Engine 27.0, which is not the daemon's Engine
          It runs without root, and its containers get no dots.
          Let the daemon serve it instead of the other one: 'sudo dm cluster reset', then
          'sudo dm cluster init --docker-host unix:///run/user/1000/docker.sock --docker-plugin /run/dotmesh/dm.sock'.
          Tell Docker where the driver is: 'echo unix:///run/dotmesh/dm.sock >~/.local/lib/docker/plugins/dm.spec'.
          Make that folder before, and restart Docker afterwards: 'systemctl --user restart docker'.
    ok    docker  client 27.1, Engine 27.0
    ");
}

#[test]
fn what_podman_does_silently_is_said() {
    let mut told = told();
    let engine = told.engine.as_mut().unwrap();
    engine.local_volumes = vec!["app.db".to_owned(), "app.files".to_owned()];
    let mut findings = doctor::report(&told);
    let engine = told.engine.as_mut().unwrap();
    "Podman".clone_into(&mut engine.name);
    "5.8.6".clone_into(&mut engine.version);
    findings.extend(doctor::report(&told));
    findings.retain(|finding| ["engine", "volumes"].contains(&finding.subject));
    for plugins in [
        None,
        Some("[local]"),
        Some("[local dmx]"),
        Some("[dm local]"),
    ] {
        findings.push(doctor::podman("dm", plugins));
    }
    assert_snapshot!(doctor::render(&findings), @r"
    ok    engine   the daemon reaches Docker 28.5.2, which has 3 containers
    warn  volumes  Docker has local volumes that are no dots: app.db, app.files
          A dot has the same name. The volume was made without 'driver: dm', or '--volume-driver dm'.
    ok    engine   the daemon reaches Podman 5.8.6, which has 3 containers
    warn  volumes  Podman has local volumes that are no dots: app.db, app.files
          'docker run --volume-driver dm' silently makes a local volume of Podman.
          Make the volume first, under a new name or once the local one is removed: 'podman volume create -d dm app.db'.
    warn  podman   'podman info' does not answer you, so its volume plugins are unknown
    FAIL  podman   it does not know the volume driver dm
          'sudo dm cluster init' writes it into /etc/containers/containers.conf.d/dotmesh.conf.
          Then restart Podman's service: 'sudo systemctl restart podman.socket podman.service'.
    FAIL  podman   it does not know the volume driver dm
          'sudo dm cluster init' writes it into /etc/containers/containers.conf.d/dotmesh.conf.
          Then restart Podman's service: 'sudo systemctl restart podman.socket podman.service'.
    ok    podman   it knows the volume driver dm
    ");
    assert_snapshot!(cluster::podman::config("dm", Path::new("/run/docker/plugins/dm.sock")), @r#"
    # Written by 'dm cluster init', removed by 'dm cluster reset'.
    [engine]
    volume_plugin_timeout = 120

    [engine.volume_plugins]
    dm = "/run/docker/plugins/dm.sock"
    "#);
}

#[test]
fn a_machine_where_nothing_works() {
    let broken = Machine {
        btrfs: false,
        is_member: false,
        group: Some("you are not in the group dotmesh".to_owned()),
        docker: Some(("27.1".to_owned(), None)),
        compose: None,
        ..machine()
    };
    let mut findings = broken.findings();
    let away = CliError::new(
        Code::NodeUnreachable,
        "cannot reach the Dotmesh node at /run/dotmesh/none.sock",
    );
    let socket = Path::new("/run/dotmesh/none.sock");
    findings.push(doctor::daemon(Err(&away), socket, false));
    findings.push(doctor::daemon(Err(&away), Path::new("/"), false));
    findings.push(doctor::daemon(Ok(&version("0.0.1")), socket, true));
    let mut bad = told();
    bad.docker = Err(ErrorBody::new(ErrorCode::Unreachable, "connection refused"));
    bad.plugin.as_mut().unwrap().exists = false;
    if let Ok(pool) = &mut bad.pool {
        pool.read_only = true;
        pool.disk = Some(DiskReport {
            free: 1 << 20,
            reserve: 1 << 30,
        });
    }
    findings.extend(doctor::report(&bad));
    findings.extend(broken.docker_findings(None));
    let name = "team".parse().unwrap();
    let mut refused = hub(Ok("0.1.0"), None);
    refused.refused = Some(ErrorBody::new(
        ErrorCode::Unauthorized,
        "the key is unknown",
    ));
    for told in [
        hub(Err("connection refused"), None),
        hub(Ok("0.1.0"), Some(-7200)),
        refused,
    ] {
        findings.push(doctor::hub(&name, &remote(), &told));
    }
    let ours = env!("CARGO_PKG_VERSION");
    assert_snapshot!(doctor::render(&findings).replace(ours, "$VERSION"), @r"
    FAIL  kernel   Linux 6.8.0, which has no btrfs
          RHEL, CentOS Stream, Rocky and Alma need another kernel, e.g. ELRepo's kernel-ml.
          Others: install the kernel's extra modules, and load them with 'sudo modprobe btrfs'.
    warn  group    you are not in the group dotmesh
          Join with 'sudo usermod -aG dotmesh $USER', then log in again; until then, use sudo.
    FAIL  daemon   cannot reach the Dotmesh node at /run/dotmesh/none.sock
          Start it with 'sudo dm cluster init'. With systemd, 'journalctl -u dotmeshd' says why it ended.
          If it listens elsewhere, say where in DOTMESH_SOCKET.
    FAIL  daemon   you may not use the socket /
          Join with 'sudo usermod -aG dotmesh $USER', then log in again; until then, use sudo.
    warn  daemon   version 0.0.1 at /run/dotmesh/none.sock, and dm has version $VERSION
          Install both of one version, and restart the daemon: 'sudo systemctl restart dotmeshd'.
    FAIL  pool     btrfs refuses writes in /var/lib/dotmesh/pool.img
          Make room on the disk below it. The daemon mounts the pool again by itself. The kernel's log says why: 'sudo dmesg'.
    warn  disk     1.00 MiB free below the pool, which leaves 1.00 GiB to others
          The pool cannot grow. Make room on that disk.
    FAIL  engine   the daemon does not reach Docker: connection refused
          Start it with 'sudo systemctl start docker'.
          If the Engine listens elsewhere, start the daemon with --docker-host.
    FAIL  plugin   the socket /run/docker/plugins/dm.sock is gone
          Restart the daemon: 'sudo systemctl restart dotmeshd'.
    warn  docker   client 27.1; the Engine does not answer you
          Start it with 'sudo systemctl start docker'. If it runs, you may lack the group docker.
    warn  compose  there is neither the plugin 'docker compose' nor the program 'docker-compose'
          Apps with a Compose file need one: see https://docs.docker.com/compose/install/.
    FAIL  hub      team: connection refused
          Is the address right ('dm remote -v'), and does the hub run? Behind a proxy, see 'proxies' below.
    warn  hub      team: https://hub.example.com, version $VERSION, as alice; its clock is 7200 s behind this machine's
          Set the wrong one: 'timedatectl' shows whether this machine's is synchronised.
    FAIL  hub      team: https://hub.example.com refuses alice: the key is unknown
          Log in again: dm login https://hub.example.com
    ");
}

#[test]
fn who_may_use_the_daemon() {
    let groups = "root:x:0:\ndotmesh:x:990:bob,carol\n";
    let says = |ours: &[u32], user| doctor::membership(groups, ours, Some(user));
    assert_eq!(says(&[1000, 990], "alice"), None);
    assert_snapshot!(says(&[1000], "alice").unwrap(), @"you are not in the group dotmesh");
    assert_snapshot!(says(&[1000], "carol").unwrap(), @"you are in the group dotmesh, but not in this session");
    assert_snapshot!(doctor::membership("root:x:0:\n", &[1000], None).unwrap(), @"there is no group dotmesh, so only root may use Dotmesh; 'sudo dm cluster init' makes it");
    assert_snapshot!(init::how_to_join(Some("alice")), @"Members of the group 'dotmesh' need no sudo for 'dm'. Join it with 'sudo usermod -aG dotmesh alice', then log in again.");
}

#[test]
fn a_check_lists_what_is_wrong() {
    let mut report = FsckReport {
        dots: 1,
        commits: 12,
        verified: 10,
        read: 1,
        problems: Vec::new(),
    };
    assert_snapshot!(fsck::render(&report, false), @"Checked 1 dot with 12 commits");
    let problem = |kind, problem: &str| FsckProblem {
        dot: "app".parse().unwrap(),
        kind,
        problem: problem.to_owned(),
    };
    report.problems = vec![
        problem(
            FsckKind::Data,
            "the data of commit a1a1 is not what it was when it was sealed",
        ),
        problem(FsckKind::Pool, "branch other has no working copy"),
        problem(
            FsckKind::Data,
            "the data of commit b2b2 cannot be read: Input/output error",
        ),
    ];
    assert_snapshot!(fsck::render(&report, true), @r"
    app: the data of commit a1a1 is not what it was when it was sealed
    app: branch other has no working copy
    app: the data of commit b2b2 cannot be read: Input/output error
    Checked 1 dot with 12 commits
    Read all data: 10 commits as sealed, 1 commit not sealed yet
    ");
    assert_eq!(fsck::advice(&report).len(), 2);
}
