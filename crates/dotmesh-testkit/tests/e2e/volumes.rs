//! Volumes as Docker shows them: names and contents. Only the deletion of a dot deletes data.

use std::fs;

use anyhow::Result;
use dotmesh_testkit::Network;

use crate::world::{Hub, Node};

#[tokio::test(flavor = "multi_thread")]
async fn a_name_says_which_part_of_which_dot() -> Result<()> {
    let network = Network::start().await?;
    let hub = Hub::start(&network).await?;
    let node = Node::start(&network, "alice").await?;
    hub.log_in(&node, "alice").await?;
    // A dot in another namespace must come from a hub.
    node.in_volume("seed.flies", "echo alice/app.flies >/v/file")
        .await;
    node.ok("dm commit -m seed && dm push hub && dm clone hub seed --local-name alice/app && dm dot delete -f seed")
        .await;
    for volume in ["app", "app.frogs", "app.eat"] {
        node.in_volume(volume, &format!("echo {volume} >/v/file"))
            .await;
    }
    let root = node
        .in_volume("app.__root__", "ls /v; cat /v/*/file; echo top >/v/top")
        .await;
    assert_eq!(root, "__default__\neat\nfrogs\napp\napp.eat\napp.frogs\n");
    let root = node
        .in_volume("app.__root__", "cat /v/top /v/__default__/file")
        .await;
    assert_eq!(root, "top\napp\n");
    assert_eq!(node.in_volume("app", "ls /v").await, "file\n");
    assert_eq!(
        node.in_volume("app.__default__", "cat /v/file").await,
        "app\n"
    );
    assert_eq!(
        node.in_volume("admin/app.eat", "cat /v/file").await,
        "app.eat\n"
    );
    assert_eq!(node.dots().await, ["alice/app", "app"]);

    node.ok("dm switch alice/app && dm commit -m first && dm checkout -b b1")
        .await;
    node.in_volume("alice/app.flies", "echo b1 >/v/file").await;
    node.ok("dm checkout master").await;
    let pinned = node.in_volume("alice/app@b1.flies", "cat /v/file").await;
    let pinned_master = node
        .in_volume("alice/app@master.flies", "cat /v/file")
        .await;
    assert_eq!(
        (pinned.as_str(), pinned_master.as_str()),
        ("b1\n", "alice/app.flies\n")
    );
    let root = node.in_volume("alice/app@b1.__root__", "ls /v").await;
    assert_eq!(root, "flies\n");

    // The same holds for the other forms in which Docker takes a volume's name.
    let run = "docker run --rm --network none";
    let cat = "debian:bookworm-slim cat /v/file";
    let mount = "--mount type=volume,src=alice/app@b1.flies,dst=/v,volume-driver=dm";
    assert_eq!(node.ok(&format!("{run} {mount} {cat}")).await, "b1\n");
    node.ok("docker volume create -d dm alice/app@b1.flies")
        .await;
    assert_eq!(
        node.ok(&format!("{run} -v alice/app@b1.flies:/v {cat}"))
            .await,
        "b1\n"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_volume_loses_no_data() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    assert_eq!(
        node.ok("docker volume create -d dm app.db").await,
        "app.db\n"
    );
    assert_eq!(
        node.dots().await,
        ["app"],
        "creating a volume makes the dot"
    );
    assert_eq!(
        node.ok("docker volume ls --format '{{.Driver}} {{.Name}}'")
            .await,
        "dm app.db\n"
    );
    let path = node
        .ok("docker volume inspect -f '{{.Mountpoint}}' app.db")
        .await;
    node.in_volume("app.db", "echo precious >/v/file").await;
    assert_eq!(
        node.ok(&format!("cat {}/file", path.trim())).await,
        "precious\n"
    );

    node.keep_running("user", "app.db").await;
    let refused = node.fails("docker volume rm app.db").await;
    assert!(refused.contains("in use"), "{refused}");
    node.ok("docker rm -f user && docker volume rm app.db")
        .await;
    assert_eq!(node.ok("docker volume ls -q").await, "");
    assert_eq!(node.dots().await, ["app"]);
    assert_eq!(node.in_volume("app.db", "cat /v/file").await, "precious\n");

    let compose = "
services:
  keeper:
    image: debian:bookworm-slim
    init: true
    command: sh -c 'echo kept >>/v/file && sleep 100000'
    volumes: ['state.files:/v']
volumes:
  state.files:
    driver: dm
";
    fs::create_dir(node.machine.home().join("proj"))?;
    fs::write(node.machine.home().join("proj/docker-compose.yml"), compose)?;
    for round in 1..=3 {
        node.ok("cd ../proj && docker-compose up -d").await;
        let expected = "kept\n".repeat(round);
        // The versions of Compose name containers differently.
        let keeper = "docker exec $(docker ps -qf label=com.docker.compose.service=keeper)";
        node.until_prints(&format!("{keeper} cat /v/file"), &expected)
            .await?;
        node.ok("cd ../proj && docker-compose down -v").await;
        let volumes = node.ok("docker volume ls -q").await;
        assert!(!volumes.contains("proj"), "{volumes}");
    }
    assert_eq!(node.dots().await, ["app", "proj_state"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_volume_starts_with_what_the_image_has_there() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    let run = "docker run --rm --network none --volume-driver dm";
    let version = node
        .ok(&format!(
            "{run} -v app.etc:/etc debian:bookworm-slim cat /etc/debian_version"
        ))
        .await;
    assert!(version.starts_with("12"), "{version}");
    node.in_volume("app.etc", "echo changed >/v/debian_version")
        .await;
    let again = node
        .ok(&format!(
            "{run} -v app.etc:/etc debian:bookworm-slim cat /etc/debian_version"
        ))
        .await;
    assert_eq!(again, "changed\n", "copied once, not over what is there");

    let home = "/var/lib/postgresql";
    let stat = format!("--entrypoint stat postgres:15 -c '%U:%G %a' {home}");
    let in_image = node
        .ok(&format!("docker run --rm --network none {stat}"))
        .await;
    assert!(in_image.starts_with("postgres:postgres "), "{in_image}");
    let in_volume = node.ok(&format!("{run} -v app.pg:{home} {stat}")).await;
    assert_eq!(in_volume, in_image);

    // If the image has no such folder, any user may write.
    node.ok(&format!(
        "{run} --user 4711:4711 -v app.any:/new debian:bookworm-slim touch /new/file"
    ))
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_volume_is_refused_and_creates_nothing() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    let long = "x".repeat(65);
    let bad = [
        ("a.b.c", "[NAMESPACE/]DOT[@BRANCH][.SUBDOT]"),
        ("a/b/c", "NAMESPACE/DOT"),
        ("a@b@c", "[NAMESPACE/]DOT[@BRANCH][.SUBDOT]"),
        ("app.", "empty"),
        ("app@.sub", "empty"),
        ("app.sub@branch", "subdot"),
        (long.as_str(), "1 to 64"),
        ("app@b1", "the dot does not exist"),
        ("app@master.sub", "the dot does not exist"),
    ];
    for (name, reason) in bad {
        for line in [
            format!("docker volume create -d dm {name}"),
            format!("docker run --rm -v {name}:/v --volume-driver dm debian:bookworm-slim true"),
        ] {
            let refused = node.fails(&line).await;
            assert!(refused.contains(reason), "{line}: {refused}");
        }
        assert_eq!(node.dots().await, [""; 0], "{name}");
        assert_eq!(node.ok("docker volume ls -q").await, "", "{name}");
    }
    // As an argument of -v this name would be a folder of the host.
    node.fails("docker volume create -d dm ..").await;
    let refused = node
        .fails("docker volume create -d dm -o size=10G app")
        .await;
    assert!(
        refused.contains("unknown volume option 'size'"),
        "{refused}"
    );
    assert_eq!(node.dots().await, [""; 0]);

    node.in_volume("app", "true").await;
    let refused = node
        .fails("docker run --rm -v app@b1.x:/v --volume-driver dm debian:bookworm-slim true")
        .await;
    assert!(
        refused.contains("Cannot pin branch 'b1' of dot 'app': the branch does not exist"),
        "{refused}"
    );
    assert_eq!(node.ok("docker volume ls -q").await, "app\n");
    assert_eq!(node.ok("dm switch app && dm branch").await, "* master\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_share_a_volume() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.keep_running("one", "app.shared").await;
    node.keep_running("two", "app.shared").await;
    node.ok("docker exec one sh -c 'echo hello >/v/file'").await;
    assert_eq!(node.ok("docker exec two cat /v/file").await, "hello\n");
    assert_eq!(node.in_volume("app.shared", "cat /v/file").await, "hello\n");
    assert_eq!(node.cell("app", 4).await, "one,two");
    node.ok("docker stop one").await;
    assert_eq!(node.ok("docker exec two cat /v/file").await, "hello\n");
    assert_eq!(node.cell("app", 4).await, "two");
    // A read-only mount of one container does not affect the other.
    node.ok("docker run -d --init --name reader -v app.shared:/v:ro --volume-driver dm debian:bookworm-slim sleep 100000")
        .await;
    node.fails("docker exec reader touch /v/no").await;
    node.ok("docker exec two sh -c 'echo again >/v/file'").await;
    assert_eq!(node.ok("docker exec reader cat /v/file").await, "again\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_container_puts_in_a_subdots_place_is_not_followed() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.ok("mkdir -p /var/lib/secret && echo secret >/var/lib/secret/file")
        .await;
    node.in_volume(
        "app.__root__",
        "ln -s /var/lib/secret /v/link; ln -s ../../../.. /v/up; echo x >/v/plain; ln -s gone /v/dangling",
    )
    .await;
    for subdot in ["link", "up", "plain", "dangling"] {
        let refused = node
            .fails(&format!(
                "docker run --rm -v app.{subdot}:/v --volume-driver dm debian:bookworm-slim ls -R /v"
            ))
            .await;
        assert!(
            refused.contains("is not a folder: something inside the dot replaced it"),
            "{subdot}: {refused}"
        );
    }
    // The rest of the dot is not affected.
    node.in_volume("app.fine", "touch /v/file").await;
    node.ok("dm commit -m planted && dm checkout -b other")
        .await;
    assert_eq!(node.in_volume("app.fine", "ls /v").await, "file\n");
    node.in_volume("app.__root__", "rm /v/link").await;
    assert_eq!(node.in_volume("app.link", "ls /v").await, "");
    Ok(())
}
