//! The contents of a volume when a container starts, and access to it: image content, other users, `dm mount`.

use anyhow::Result;
use dotmesh_testkit::Network;

use crate::world::Node;

const SOCKET: &str = "/run/dotmesh/api.sock";

/// Lists /etc with permissions, owners and file sizes, except for the files that Docker puts into each container.
const LISTING: &str = "find /etc -mindepth 1 ! -name hosts ! -name hostname ! -name resolv.conf ! -name mtab \\( -type d -printf \"%p %m %u:%g\\n\" -o -printf \"%p %y %m %u:%g %s %l\\n\" \\) | sort";

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_without_a_subdot_gets_what_the_image_has() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.ok("docker volume create -d dm app && dm commit -m empty")
        .await;
    for branch in ["one", "two"] {
        node.ok(&format!("dm checkout -b {branch} && dm checkout master"))
            .await;
    }
    let run = "docker run --init --network none --volume-driver dm";
    let image = node
        .ok(&format!(
            "{run} --rm debian:bookworm-slim sh -c '{LISTING}'"
        ))
        .await;
    assert!(image.contains("/etc/shadow f 640 root:shadow"), "{image}");
    let sleep = "debian:bookworm-slim sleep 100000";
    node.ok(&format!("{run} -d --name etc -v app.etc:/etc {sleep}"))
        .await;
    node.ok(&format!(
        "{run} -d --name none -v app.none:/etc:nocopy {sleep}"
    ))
    .await;
    node.ok(&format!("{run} -d --name flag --mount type=volume,src=app.flag,dst=/etc,volume-driver=dm,volume-nocopy {sleep}"))
        .await;
    node.ok("docker create --network none --name idle -v app.idle:/etc --volume-driver dm debian:bookworm-slim sleep 100000")
        .await;
    for branch in ["master", "one", "two"] {
        match branch {
            "one" => node.ok("dm checkout one && docker start idle").await,
            "two" => {
                node.ok(
                    "docker stop etc none flag && dm checkout two && docker start etc none flag",
                )
                .await
            }
            _ => String::new(),
        };
        let seen = node.ok(&format!("docker exec etc sh -c '{LISTING}'")).await;
        assert_eq!(seen, image, "{branch}");
        for empty in ["none", "flag"] {
            let seen = node
                .ok(&format!("docker exec {empty} sh -c '{LISTING}'"))
                .await;
            assert_eq!(seen, "", "{branch}: {empty}");
        }
    }
    // This container was only created before there was another branch.
    let seen = node
        .ok(&format!("docker exec idle sh -c '{LISTING}'"))
        .await;
    assert_eq!(seen, image);
    // The helper containers that the content was read from are gone.
    let all = node.ok("docker ps -aq").await;
    assert_eq!(all.lines().count(), 4, "{all}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_symlink_that_comes_and_goes_leads_nowhere() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.ok("mkdir -m 777 /var/lib/secret && echo secret >/var/lib/secret/file")
        .await;
    node.in_volume(
        "app.__root__",
        "mkdir /v/db && echo own >/v/db/file && ln -s /var/lib/secret /v/link",
    )
    .await;
    // The folder and the link swap atomically, so neither name is ever missing.
    let number = match std::env::consts::ARCH {
        "aarch64" => 276,
        _ => 316,
    };
    let swap = format!(
        "($a, $b) = (\"/v/db\", \"/v/link\"); syscall({number}, -100, $a, -100, $b, 2) while 1"
    );
    node.ok(&format!(
        "docker run -d --init --network none --name swaps -v app.__root__:/v --volume-driver dm debian:bookworm-slim perl -e '{swap}'"
    ))
    .await;
    node.ok("docker create --network none --name reads -v app.db:/v --volume-driver dm debian:bookworm-slim sh -c 'cat /v/file && touch /v/touched'")
        .await;
    let mut started = 0;
    for round in 0..20 {
        let output = node.run("docker start -a reads").await;
        if output.status.success() {
            assert_eq!(output.stdout, "own\n", "{round}");
            started += 1;
        } else {
            assert!(
                output
                    .stderr
                    .contains("is not a folder: something inside the dot replaced it"),
                "{round}: {output}"
            );
        }
        assert_eq!(node.ok("ls /var/lib/secret").await, "file\n", "{round}");
    }
    assert!(
        (1..20).contains(&started),
        "{started} of 20 starts were tried on the folder"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn other_users_do_not_get_into_the_pool() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.in_volume(
        "app.db",
        "mkdir -m 777 /v/open && echo secret >/v/open/file && chmod -R 777 /v && cp /usr/bin/id /v/id && chmod 4755 /v/id",
    )
    .await;
    node.ok("dm commit -m open").await;
    node.keep_running("holds", "app.db").await;
    let nobody = "setpriv --reuid=nobody --regid=nogroup --clear-groups";
    let files = "find /var/lib/dotmesh -name file";
    let folder = node.folder_of("app.db").await;
    let found = node.ok(files).await;
    // The file is in the working copy, in the snapshot, and at the container's mount point.
    assert!(found.lines().count() >= 3, "{found}");
    assert!(found.contains(&format!("{folder}/open/file")), "{found}");
    for file in found.lines() {
        node.fails(&format!("{nobody} cat {file}")).await;
        node.fails(&format!("{nobody} sh -c 'echo x >>{file}'"))
            .await;
        node.fails(&format!("{nobody} ls $(dirname {file})")).await;
    }
    let images = node
        .ok("find /var/lib/dotmesh -maxdepth 1 -type f -size +1M -printf '%m %u\\n'")
        .await;
    assert_eq!(images, "600 root\n");
    let listed = node.run(&format!("{nobody} find /var/lib/dotmesh")).await;
    assert_eq!(listed.stdout, "/var/lib/dotmesh\n");
    assert_eq!(
        node.ok(&format!("cat {folder}/open/file")).await,
        "secret\n"
    );
    // Inside a container a volume is like any other folder.
    let id = format!("docker exec holds {nobody} /v/id -u");
    assert_eq!(node.ok(&id).await, "0\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_outside_of_containers_follows_the_dot() -> Result<()> {
    let mut node = Node::start(&Network::start().await?, "alice").await?;
    node.two_branches("db files").await;
    let refused = node.fails("dm mount app.nothing here").await;
    assert!(
        refused.contains("branch master of app has no folder for app.nothing")
            && refused.contains("db")
            && refused.contains("files"),
        "{refused}"
    );
    node.ok("dm mount app.db here && dm mount --create app.new new")
        .await;
    assert_eq!(
        node.in_volume("app.__root__", "ls -m /v").await,
        "db, files, new\n"
    );

    let options = "awk -v at=$PWD/here '$5 == at { print $6 }' /proc/self/mountinfo";
    let shown = async |branch: &str| {
        assert_eq!(node.ok("cat here/branch").await, format!("{branch}\n"));
        let options = node.ok(options).await;
        let options: Vec<_> = options.trim().split(',').collect();
        assert!(
            options.contains(&"nosuid") && options.contains(&"nodev"),
            "{options:?}"
        );
    };
    shown("master").await;
    node.fails("test -L here").await;
    node.ok("echo written >here/file").await;
    assert_eq!(node.in_volume("app.db", "cat /v/file").await, "written\n");
    node.ok("dm checkout other").await;
    shown("other").await;
    // On a branch without the subdot, nothing is mounted.
    assert_eq!(node.ok("ls -A new").await, "");
    node.fails("grep -q $PWD/new /proc/self/mountinfo").await;
    node.ok("dm reset --hard HEAD && dm checkout -b third")
        .await;
    shown("other").await;
    node.ok("dm checkout master").await;
    shown("master").await;
    node.ok("grep -q $PWD/new /proc/self/mountinfo").await;

    node.daemon.restart().await?;
    node.daemon.wait_for_socket(SOCKET).await?;
    assert_eq!(
        node.ok("cat here/branch here/file").await,
        "master\nwritten\n"
    );
    node.ok("dm checkout other").await;
    assert_eq!(node.ok("cat here/branch").await, "other\n");
    node.ok("dm unmount here").await;
    assert_eq!(node.ok("ls -A here").await, "");
    node.fails("grep -q $PWD/here /proc/self/mountinfo").await;
    let refused = node.fails("dm unmount here").await;
    assert!(
        refused.contains("no Dotmesh volume is mounted there"),
        "{refused}"
    );

    node.ok("dm mount app.files here && dm dot delete -f app")
        .await;
    assert_eq!(node.ok("ls -A here new").await, "here:\n\nnew:\n");
    node.fails("grep -q $PWD/here /proc/self/mountinfo").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_with_users_of_their_own_write_into_volumes() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    // With `userns-remap` Docker uses another data folder, without any images.
    node.ok("docker save -o $HOME/image.tar debian:bookworm-slim")
        .await;
    node.machine.stop_docker().await?;
    node.ok("echo remap:x:4000:4000::/:/bin/false >>/etc/passwd && echo remap:x:4000: >>/etc/group && echo remap:200000:65536 | tee -a /etc/subuid >>/etc/subgid")
        .await;
    node.ok("mkdir -p /etc/docker && echo \"{\\\"userns-remap\\\": \\\"remap:remap\\\"}\" >/etc/docker/daemon.json")
        .await;
    node.machine.start_docker().await?;
    node.ok("docker load -i $HOME/image.tar").await;

    node.keep_running("app", "app.db").await;
    node.ok("docker exec app sh -c 'echo master >/v/branch'")
        .await;
    let folder = node.folder_of("app.db").await;
    let owner = node.ok(&format!("stat -c %u:%g {folder}/branch")).await;
    assert_eq!(owner, "200000:200000\n");
    node.ok("dm commit -m master && dm checkout -b other").await;
    node.ok("docker exec app sh -c 'echo other >/v/branch'")
        .await;
    for branch in ["master", "other"] {
        node.ok(&format!("dm checkout {branch}")).await;
        let seen = node.ok("docker exec app cat /v/branch").await;
        assert_eq!(seen, format!("{branch}\n"));
        assert_eq!(node.cell("app", 4).await, "app");
    }
    let etc =
        "docker run --rm --network none --volume-driver dm -v app.etc:/etc debian:bookworm-slim";
    let owner = node
        .ok(&format!("{etc} stat -c %U:%G:%a /etc/shadow"))
        .await;
    assert_eq!(owner, "root:shadow:640\n");
    // On this branch the container's folder does not exist.
    node.ok(&format!(
        "{} sleep 100000",
        etc.replace("--rm", "-d --init --name etc")
    ))
    .await;
    node.ok("dm checkout -b bare HEAD").await;
    let owner = node
        .ok("docker exec etc stat -c %U:%G:%a /etc/shadow")
        .await;
    assert_eq!(owner, "root:shadow:640\n");
    Ok(())
}
