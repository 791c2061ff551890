//! Newer Engines than the host's, and what their Compose files, volumes and storages can have. Each test names its
//! Engine.

use std::fs;

use anyhow::{Result, ensure};
use dotmesh_testkit::{Engine, Network, wait_for};

use crate::world::{Hub, Node, SOON};

impl Node {
    /// Starts a node with the newest Docker.
    async fn newest() -> Result<Node> {
        Node::start_on(&Network::start().await?, Engine::Docker28, "alice").await
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let file = self.machine.home().join(file);
        fs::create_dir_all(file.parent().expect("a file is in a folder"))?;
        Ok(fs::write(file, text)?)
    }

    /// Restarts Docker with a configuration.
    async fn configure_docker(&self, daemon: &str) -> Result<()> {
        self.machine.stop_docker().await?;
        fs::create_dir_all(self.machine.path("/etc/docker"))?;
        fs::write(self.machine.path("/etc/docker/daemon.json"), daemon)?;
        self.machine.start_docker().await
    }

    /// Restarts Docker with a configuration in which it has another storage, and loads one of the images there.
    async fn with_other_storage(&self, daemon: &str) -> Result<()> {
        self.ok("docker save -o ~/image.tar debian:bookworm-slim")
            .await;
        self.configure_docker(daemon).await?;
        self.ok("docker load -i ~/image.tar").await;
        Ok(())
    }
}

const BASE: &str = "
services:
  base:
    image: debian:bookworm-slim
    init: true
    command: sleep 100000
    network_mode: none
";

const STORE: &str = "
services:
  store:
    extends: {file: base.yaml, service: base}
    read_only: true
    volumes:
      - {type: volume, source: db, target: /v, volume: {subpath: inner}}
volumes:
  db:
    name: ${COMPOSE_PROJECT_NAME}.db
    driver: dm
";

const SHOP: &str = "
include: [store.yaml]
services:
  worker:
    extends: {file: base.yaml, service: base}
    deploy: {replicas: 2}
    depends_on: [store]
    volumes: ['files:/v']
  report:
    extends: {file: base.yaml, service: base}
    profiles: [reports]
    volumes: ['files:/v:ro']
volumes:
  files:
    name: ${COMPOSE_PROJECT_NAME}.files
    driver: dm
";

const GUEST: &str = "
services:
  guest:
    image: debian:bookworm-slim
    init: true
    command: sleep 100000
    network_mode: none
    volumes: ['files:/v']
volumes:
  files:
    name: my-shop.files
    external: true
";

#[tokio::test(flavor = "multi_thread")]
async fn what_compose_files_have_today_switches_as_one() -> Result<()> {
    let node = Node::newest().await?;
    node.write("my-shop/base.yaml", BASE)?;
    node.write("my-shop/store.yaml", STORE)?;
    node.write("my-shop/compose.yaml", SHOP)?;
    node.write("guest/compose.yaml", GUEST)?;
    node.in_volume("my-shop.db", "mkdir /v/inner").await;
    node.ok("cd ~/my-shop && docker compose --profile reports up -d && cd ~/guest && docker compose up -d")
        .await;
    assert_eq!(node.dots().await, ["my-shop"]);
    let all = [
        "guest-guest-1",
        "my-shop-report-1",
        "my-shop-store-1",
        "my-shop-worker-1",
        "my-shop-worker-2",
    ];
    let say = async |branch: &str| {
        for writer in ["my-shop-worker-2", "my-shop-store-1"] {
            let line = format!("docker exec {writer} sh -c 'echo {branch} >/v/branch'");
            node.ok(&line).await;
        }
    };
    say("master").await;
    node.ok("dm switch my-shop && dm commit -m master").await;
    let told = node.says("dm checkout -b other").await;
    let names = all.join(", ");
    assert!(
        told.contains(&format!("Restarted containers: {names}\n")),
        "{told}"
    );
    say("other").await;
    node.ok("dm commit -m other").await;
    for branch in ["master", "other"] {
        // It fails if a container shows something else than it should.
        node.says(&format!("dm checkout {branch}")).await;
        for reader in all {
            let seen = node
                .ok(&format!("docker exec {reader} cat /v/branch"))
                .await;
            assert_eq!(seen, format!("{branch}\n"), "{reader}");
        }
    }
    // A container without a volume of the dot, or that another project stopped, is left alone.
    node.ok("cd ~/guest && docker compose stop").await;
    let told = node.says("dm checkout master").await;
    assert!(!told.contains("guest"), "{told}");
    let list = node.run("dm list").await.success();
    assert_eq!(list.stderr, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_copied_and_mounted_as_the_options_say() -> Result<()> {
    let node = Node::newest().await?;
    let run = "docker run --rm --network none";
    let image = "debian:bookworm-slim";
    let mount = |more: &str| {
        format!(
            "{run} --mount type=volume,src=app.doc,dst=/usr/share,volume-driver=dm,{more} {image}"
        )
    };
    let listed = node
        .ok(&format!("{} ls /usr/share", mount("volume-nocopy")))
        .await;
    assert_eq!(listed, "");
    node.fails(&format!("{} touch /usr/share/x", mount("readonly")))
        .await;

    // Files are copied into containers that run, and into containers that don't.
    node.keep_running("app", "app.db").await;
    node.ok("echo running >~/file && docker cp ~/file app:/v/one && docker stop app")
        .await;
    node.ok("echo stopped >~/file && docker cp ~/file app:/v/two && docker start app")
        .await;
    let both = node.ok("docker exec app cat /v/one /v/two").await;
    assert_eq!(both, "running\nstopped\n");
    node.ok(
        "dm switch app && dm commit -m both && dm checkout -b less && docker exec app rm /v/two",
    )
    .await;
    node.ok("docker stop app").await;
    node.fails("docker cp app:/v/two -").await;
    node.ok("dm checkout master").await;
    let copied = node.ok("docker cp app:/v/two - | tar -xO").await;
    assert_eq!(
        copied, "stopped\n",
        "a copy is a mount of the current branch"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_nobody_named_goes_unless_it_has_a_commit() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    let image = "debian:bookworm-slim";
    node.ok(&format!(
        "docker run --rm --network none -v /data --volume-driver dm {image} touch /data/file"
    ))
    .await;
    assert_eq!(node.dots().await, [""; 0]);
    node.ok(&format!(
        "docker create --name one -v /data --volume-driver dm {image} true"
    ))
    .await;
    let dots = node.dots().await;
    assert_eq!(dots.len(), 1, "{dots:?}");
    node.ok(&format!(
        "dm switch {} && dm commit -m kept && docker rm -v one",
        dots[0]
    ))
    .await;
    assert_eq!(node.ok("docker volume ls -q").await, "");
    assert_eq!(node.dots().await, dots);
    // A name of the user's that looks like it is a name.
    node.in_volume("cafe", "touch /v/file").await;
    node.ok("docker volume rm cafe").await;
    assert!(node.dots().await.contains(&"cafe".to_owned()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_that_outlive_docker_are_not_forgotten() -> Result<()> {
    let node = Node::newest().await?;
    node.configure_docker(r#"{"live-restore": true}"#).await?;
    node.keep_running("app", "app.db").await;
    node.ok("docker exec app sh -c 'echo master >/v/branch'; dm switch app && dm commit -m one && dm checkout -b other")
        .await;
    node.ok("docker exec app sh -c 'echo other >/v/branch'")
        .await;
    node.machine.stop_docker().await?;
    node.ok("pidof sleep").await;
    node.ok("dm commit -m other").await;
    node.says_no(
        "dm checkout master",
        &["cannot reach Docker: ", "No such file", "docker info"],
    )
    .await;
    wait_for("the missing Docker to be noticed", SOON, async || {
        for command in ["dm list", "dm status"] {
            let told = node.says(command).await;
            ensure!(
                told.contains("containers are not shown, although they may run"),
                "{told}"
            );
        }
        Ok(())
    })
    .await?;
    node.machine.start_docker().await?;
    node.says("dm checkout master").await;
    let seen = node.ok("docker exec app cat /v/branch").await;
    assert_eq!(seen, "master\n");
    let list = node.run("dm list").await.success();
    assert_eq!(list.stderr, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_in_containerds_store_fills_new_subdots() -> Result<()> {
    let node = Node::newest().await?;
    node.with_other_storage(r#"{"features": {"containerd-snapshotter": true}}"#)
        .await?;
    let driver = node.ok("docker info -f '{{.DriverStatus}}'").await;
    assert!(driver.contains("snapshotter"), "{driver}");
    node.ok("docker run -d --init --network none --name app -v app.etc:/etc --volume-driver dm debian:bookworm-slim sleep 100000")
        .await;
    node.ok("dm switch app && dm commit -m one && docker rm -f app")
        .await;
    // The other branch lacks a subdot of a container that is started on it.
    node.ok("docker create --init --network none --name app -v app.etc:/etc -v app.lib:/var/lib/dpkg --volume-driver dm debian:bookworm-slim sleep 100000")
        .await;
    node.ok("dm checkout -b other --clean && docker start app")
        .await;
    for file in ["/etc/debian_version", "/var/lib/dpkg/status"] {
        node.ok(&format!("docker exec app test -s {file}")).await;
    }
    let record = node.commits("master").await?;
    let digest = record[0]["images"][0]["digest"]
        .as_str()
        .unwrap_or_default();
    assert!(digest.contains("sha256:"), "{record}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remapped_user_can_use_any_image() -> Result<()> {
    let node = Node::newest().await?;
    node.with_other_storage(r#"{"userns-remap": "default"}"#)
        .await?;
    node.keep_running("app", "app.new").await;
    node.ok("docker exec app sh -c 'echo master >/v/branch; mkdir /v/d; chown 33:33 /v/d'")
        .await;
    let etc = "docker run --rm --network none -v app.etc:/etc --volume-driver dm debian:bookworm-slim stat -c '%u:%g %a' /etc/shadow";
    assert_eq!(node.ok(etc).await, "0:42 640\n");
    node.ok("dm switch app && dm commit -m master && dm checkout -b other")
        .await;
    node.ok(
        "docker exec app sh -c 'echo other >/v/branch' && dm commit -m other && dm checkout master",
    )
    .await;
    let seen = node
        .ok("docker exec app sh -c 'cat /v/branch; stat -c %u:%g /v/d'")
        .await;
    assert_eq!(seen, "master\n33:33\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_runs_on_another_engine() -> Result<()> {
    let network = Network::start().await?;
    let hub = Hub::start(&network).await?;
    let here = match Engine::chosen()? {
        Engine::Host => Engine::Docker28,
        chosen => chosen,
    };
    let there = match here {
        Engine::Podman5 => Engine::Docker20,
        _ => Engine::Podman5,
    };
    let (alice, bob) = tokio::try_join!(
        Node::start_on(&network, here, "alice"),
        Node::start_on(&network, there, "bob")
    )?;
    hub.log_in(&alice, "alice").await?;
    hub.log_in(&bob, "bob").await?;
    alice.app_up().await?;
    alice.log_in("fred").await;
    alice.click(10, 10).await;
    alice
        .ok("dm switch mobycounter_app && dm commit -m fred && dm push hub")
        .await;
    hub.collaborate("alice/mobycounter_app", "bob", "write")
        .await?;

    bob.ok("dm clone hub alice/mobycounter_app && dm switch mobycounter_app")
        .await;
    bob.app_up().await?;
    assert_eq!(bob.sql("select username from users").await, "fred");
    assert_eq!(bob.redis("llen whales").await, "1");
    bob.ok("dm checkout -b georgina").await;
    bob.app_ready().await?;
    bob.log_in("georgina").await;
    bob.ok("dm commit -m georgina && dm push hub mobycounter_app georgina --remote-name alice/mobycounter_app")
        .await;

    alice
        .ok("dm pull hub mobycounter_app georgina && dm checkout georgina")
        .await;
    alice.app_ready().await?;
    assert_eq!(alice.sql("select count(*) from users").await, "2");
    Ok(())
}
