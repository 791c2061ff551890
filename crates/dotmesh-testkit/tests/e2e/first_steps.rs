//! A new user's first steps: `dm`'s messages after misunderstandings, and the removal of Dotmesh from a machine.

use anyhow::{Result, ensure};
use dotmesh_testkit::{Network, wait_for};

use crate::world::{Node, SOON, Team};

#[tokio::test(flavor = "multi_thread")]
async fn no_dot_is_chosen_silently_and_words_are_understood() -> Result<()> {
    let team = Team::start().await?;
    let alice = &team.alice;
    alice.in_volume("app", "echo 1 >/v/n").await;
    let said = alice.says("dm commit -m one").await;
    assert!(
        said.contains("Selected dot 'app', the only one here") && said.contains("[app master "),
        "{said}"
    );
    alice.ok("dm init other && dm switch app").await;
    let said = alice.says("dm dot delete -f app").await;
    assert!(
        said.contains("No dot is current now") && said.contains("dm switch"),
        "{said}"
    );
    assert!(!alice.ok("dm list").await.contains('*'));
    for line in ["dm commit -m x", "dm branch", "dm reset --hard HEAD"] {
        alice
            .says_no(line, &["No current dot is selected", "dm switch other"])
            .await;
    }

    // No command makes a dot whose name has a namespace.
    let namespace = "new dots are made in namespace admin only";
    alice.says_no("dm init alice/app", &[namespace]).await;
    alice
        .says_no("docker volume create -d dm alice/app.db", &[namespace])
        .await;
    alice
        .says_no("dm mount -r alice/app.db m", &[namespace])
        .await;
    assert_eq!(alice.dots().await, ["other"]);
    assert_eq!(alice.ok("docker volume ls -q").await, "");
    alice.ok("docker volume create -d dm admin/app.db").await;
    assert_eq!(alice.dots().await, ["app", "other"]);

    // A push takes REMOTE DOT BRANCH, and its message names what it sends.
    alice.ok("dm switch app && dm commit -m one").await;
    alice
        .ok("dm checkout -b feature/login && dm commit -m two && dm checkout -b v1.2 && dm commit -m three")
        .await;
    for branch in ["feature/login", "v1.2"] {
        for (line, instead) in [
            (
                format!("dm push hub {branch}"),
                format!("dm push hub app {branch}"),
            ),
            (
                format!("dm pull hub {branch}"),
                format!("dm pull hub app {branch}"),
            ),
            (
                format!("dm push {branch}"),
                format!("dm push hub app {branch}"),
            ),
            (
                format!("dm switch {branch}"),
                format!("dm checkout {branch}"),
            ),
            (
                format!("dm dot show {branch}"),
                "dm dot show app".to_owned(),
            ),
            (
                format!("dm dot delete -f {branch}"),
                "Nothing was deleted".to_owned(),
            ),
        ] {
            alice.says_no(&line, &[branch, &instead]).await;
        }
    }
    for (line, instead) in [
        ("dm push app", "dm push hub app"),
        ("dm push app v1.2", "dm push hub app v1.2"),
        ("dm clone app v1.2", "dm clone hub app v1.2"),
        ("dm checkout other", "dm switch other"),
        ("dm log other", "dm switch other && dm log"),
        ("dm mount v1.2 m", "dm mount app@v1~2e2"),
    ] {
        alice.says_no(line, &[instead]).await;
    }
    let said = alice.says("dm push hub app v1.2").await;
    for line in [
        "v1.2: 3 commits, now at ",
        "feature/login: 2 commits, now at ",
        "master: 1 commit, now at ",
        "(new branch); pushed too, because v1.2 was started from it",
    ] {
        assert!(said.contains(line), "no '{line}' in {said}");
    }

    // A clone does not become the current dot. The message says so.
    let said = alice.says("dm clone hub app --local-name copy").await;
    assert!(
        said.contains("The current dot is still app. Select the clone with 'dm switch copy'."),
        "{said}"
    );

    // A reset says how to undo it.
    let head = alice.ok("dm log --oneline -n 1").await;
    let head = &head[..10];
    let said = alice.says("dm reset --hard HEAD~2").await;
    assert!(
        said.contains(&format!("Branch v1.2 was at {head}; 'dm reset {head}'")),
        "{said}"
    );
    alice.ok(&format!("dm reset {head}")).await;
    assert!(alice.ok("dm log --oneline -n 1").await.starts_with(head));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dot_that_compose_makes_beside_a_clone_is_warned_of() -> Result<()> {
    let Team { alice, bob, hub } = Team::start().await?;
    alice.in_volume("mobycounter_app.db", "echo 1 >/v/n").await;
    alice.ok("dm commit -m one && dm push hub").await;
    hub.collaborate("alice/mobycounter_app", "bob", "read")
        .await?;
    let said = bob.says("dm clone hub alice/mobycounter_app").await;
    assert!(!said.contains("Warning"), "{said}");
    bob.ok("docker run -d --init --network none --name web --label com.docker.compose.project=moby-counter -v moby-counter_app.db:/v --volume-driver dm debian:bookworm-slim sleep 100000")
        .await;
    let warning = "Docker made the empty dot moby-counter_app";
    let said = bob.says("dm branch").await;
    assert!(
        said.contains(warning) && said.contains("docker compose -p mobycounter up -d"),
        "{said}"
    );
    assert_eq!(bob.says("dm branch").await, "", "once is enough");
    for _ in 0..2 {
        let said = bob.says("dm list").await;
        assert!(said.contains(warning), "{said}");
    }
    bob.ok("docker rm -f web && dm dot delete -f moby-counter_app")
        .await;
    assert_eq!(bob.says("dm list").await, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_names_the_code_that_it_records() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.ok(
        "git init -q -b main . && git add . && git -c user.name=a -c user.email=a@b commit -qm app",
    )
    .await;
    let app = node.app.display().to_string();
    let run = "docker run -d --init --network none --name db -v app.db:/v --volume-driver dm";
    node.ok(&format!("{run} --label com.docker.compose.project=moby --label com.docker.compose.project.working_dir={app} debian:bookworm-slim sleep 100000"))
        .await;
    let head = node.ok("git rev-parse HEAD").await;
    let code = format!("Code: git commit main {}", &head[..10]);
    let said = node.says("dm commit -m clean").await;
    assert!(said.contains(&format!("{code}, clean")), "{said}");
    let said = node.says("touch new && dm commit -m dirty").await;
    assert!(
        said.contains(&format!("{code}, with uncommitted changes")) && !said.contains("Warning"),
        "{said}"
    );
    let said = node.says("cd .. && dm commit -m elsewhere").await;
    assert!(
        said.contains("records no code version") && said.contains(&app),
        "{said}"
    );
    let other = "mkdir ../lib && cd ../lib && git init -q . && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m lib";
    let said = node
        .says(&format!("({other}) && cd ../lib && dm commit -m wrong"))
        .await;
    assert!(
        said.contains("records the code in") && said.contains("Compose project 'moby' runs from"),
        "{said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_deletes_what_is_dotmeshs_and_nothing_else() -> Result<()> {
    let mut node = Node::start(&Network::start().await?, "alice").await?;
    // The root is a mount point, as on a machine with a separate disk for it.
    node.ok("mountpoint -q /var/lib/dotmesh").await;
    node.in_volume("app.db", "echo precious >/v/file").await;
    node.ok("dm commit -m one && dm mount app.db shown && cat shown/file")
        .await;

    let running = node.says("dm cluster init").await;
    assert!(
        running.contains("with its data in /var/lib/dotmesh\n"),
        "{running}"
    );
    let other = node.says("dm cluster init --root /var/lib/other").await;
    assert!(
        other.contains("Nothing was started for /var/lib/other"),
        "{other}"
    );

    let refused = node.fails("echo Y | dm cluster reset --delete-data").await;
    for word in [
        "stops      dotmeshd, process ",
        "/run/docker/plugins/dm.sock",
        "/moby-counter/shown, ",
        "/var/lib/dotmesh/pool\n",
        "deletes    everything in /var/lib/dotmesh, with 1 dot: app",
        "--yes",
    ] {
        assert!(refused.contains(word), "no '{word}' in {refused}");
    }
    node.says_no("dm cluster reset </dev/null", &["--yes"])
        .await;
    assert_eq!(node.dots().await, ["app"], "nothing was done");

    node.ok("mkdir /var/lib/dotmesh/mine && mount -t tmpfs none /var/lib/dotmesh/mine && touch /var/lib/dotmesh/mine/kept")
        .await;
    node.says_no(
        "dm cluster reset --delete-data --yes",
        &["are not Dotmesh's", "/var/lib/dotmesh/mine", "umount"],
    )
    .await;
    node.ok("dm list && test -e /var/lib/dotmesh/mine/kept && umount /var/lib/dotmesh/mine")
        .await;

    // Without `--delete-data`, a confirmed reset only stops Dotmesh, and all data stays.
    let at_terminal = |answer: &str| {
        let spawn = "os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:]))";
        // Python may have a PATH of its own.
        format!(
            "echo {answer} | python3 -c 'import os, pty, sys; sys.exit({spawn})' $(command -v dm) cluster reset"
        )
    };
    let said = node.run(&at_terminal("n")).await.failure().stdout;
    assert!(said.contains("Aborted."), "{said}");
    assert_eq!(node.dots().await, ["app"]);
    let said = node.ok(&at_terminal("Y")).await;
    assert!(
        said.contains("Dotmesh was stopped.") && said.contains("The dots are still in"),
        "{said}"
    );
    let daemon = &mut node.daemon;
    wait_for("the daemon to end", SOON, async || {
        ensure!(!daemon.is_running(), "it runs");
        Ok(())
    })
    .await?;
    node.ok("test -e shown/file && ! test -e /run/docker/plugins/dm.sock")
        .await;
    node.daemon.start_again().await?;
    node.daemon.wait_for_socket("/run/dotmesh/api.sock").await?;
    assert_eq!(node.in_volume("app.db", "cat /v/file").await, "precious\n");

    // A killed daemon leaves sockets without a listener. A service manager or a reset removes them.
    let remove = "dotmeshd --remove-dead-sockets";
    let sockets = ["/run/docker/plugins/dm.sock", "/run/dotmesh/api.sock"];
    node.ok(&format!("{remove} && dm list && docker volume ls"))
        .await;
    node.daemon.kill9().await?;
    for socket in sockets {
        node.ok(&format!("test -S {socket}")).await;
    }
    node.ok(remove).await;
    for socket in sockets {
        node.ok(&format!("! test -e {socket}")).await;
    }
    node.daemon.start_again().await?;
    node.daemon.wait_for_socket("/run/dotmesh/api.sock").await?;
    node.daemon.kill9().await?;
    node.says_no(
        "dm cluster reset --delete-data --yes",
        &["Dotmesh is not running", "--force"],
    )
    .await;
    let said = node.says("dm cluster reset --delete-data --force").await;
    assert!(
        said.contains("All dots and everything else in /var/lib/dotmesh were deleted.")
            && said.contains("The empty folder /var/lib/dotmesh stays"),
        "{said}"
    );
    node.ok("! test -e /run/docker/plugins/dm.sock && ! test -e /run/dotmesh/api.sock && docker volume ls")
        .await;
    node.ok("mountpoint -q /var/lib/dotmesh && test -z \"$(ls -A /var/lib/dotmesh)\"")
        .await;
    node.ok("test -d shown && test -z \"$(ls -A shown)\" && ! grep -e /var/lib/dotmesh/ -e /shown /proc/self/mounts")
        .await;
    Ok(())
}
