//! Daemons that stop, crash or return in any order, and switches that fail half-way.

use anyhow::{Context as _, Result, ensure};
use dotmesh_testkit::{Network, wait_for};

use crate::world::{Node, SOON};

const SOCKET: &str = "/run/dotmesh/api.sock";

impl Node {
    async fn start_daemon(&mut self) -> Result<()> {
        self.daemon.start_again().await?;
        self.daemon.wait_for_socket(SOCKET).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_do_not_notice_that_the_daemon_restarts() -> Result<()> {
    let mut node = Node::start(&Network::start().await?, "alice").await?;
    node.keep_running("app", "app").await;
    node.keep_running("pinned", "app@master.two").await;
    let started = node.started_at(&["app", "pinned"]).await;
    let mut ids = Vec::new();
    for round in ["SIGTERM", "SIGKILL", "again"] {
        node.ok(&format!(
            "docker exec app sh -c 'echo before-{round} >>/v/log'"
        ))
        .await;
        match round {
            "SIGTERM" => node.daemon.terminate().await?,
            _ => node.daemon.kill9().await?,
        }
        node.ok(&format!(
            "docker exec app sh -c 'echo during-{round} >>/v/log'"
        ))
        .await;
        node.ok(&format!("docker exec pinned touch /v/{round}"))
            .await;
        let down = node.run("dm list").await;
        assert_eq!(down.status.code(), Some(3), "{down}");
        node.start_daemon().await?;
        node.ok(&format!(
            "docker exec app sh -c 'echo after-{round} >>/v/log'"
        ))
        .await;
        ids.push(node.ok(&format!("dm commit -m {round}")).await);
    }
    assert_eq!(node.started_at(&["app", "pinned"]).await, started);
    assert_eq!(node.cell("app", 4).await, "app,pinned");
    for (at, id) in ids.iter().enumerate() {
        node.ok(&format!("dm checkout -b at-{at} {id}")).await;
        let log = node.ok("docker exec app cat /v/log").await;
        let expected: Vec<_> = ["SIGTERM", "SIGKILL", "again"][..=at]
            .iter()
            .flat_map(|round| ["before", "during", "after"].map(|when| format!("{when}-{round}\n")))
            .collect();
        assert_eq!(log, expected.concat());
    }
    let files = node.in_volume("app@at-2.two", "ls -m /v").await;
    assert_eq!(files, "SIGKILL, SIGTERM, again\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_come_back_with_docker_whichever_daemon_is_first() -> Result<()> {
    let mut node = Node::start(&Network::start().await?, "alice").await?;
    node.in_volume("app", "echo master >/v/branch").await;
    node.ok("dm commit -m one && dm checkout -b work").await;
    node.in_volume("app", "echo work >/v/branch").await;
    node.ok("docker run -d --init --restart always --name always -v app:/v --volume-driver dm debian:bookworm-slim sleep 100000")
        .await;
    node.keep_running("once", "app").await;

    for round in [
        "docker",
        "docker killed",
        "docker first",
        "node first",
        "reboot",
    ] {
        match round {
            "docker" => {
                node.machine.stop_docker().await?;
                node.machine.start_docker().await?;
            }
            "docker killed" => {
                node.machine.kill9_docker().await?;
                node.machine.start_docker().await?;
            }
            "docker first" => {
                node.machine.stop_docker().await?;
                node.daemon.kill9().await?;
                let machine = node.machine.clone();
                let second = async {
                    wait_for("dockerd", SOON, async || {
                        Ok(std::fs::metadata(machine.path("/run/docker.pid"))?)
                    })
                    .await?;
                    node.start_daemon().await
                };
                tokio::try_join!(machine.start_docker(), second)?;
            }
            "node first" => {
                node.daemon.terminate().await?;
                node.machine.stop_docker().await?;
                node.start_daemon().await?;
                node.machine.start_docker().await?;
            }
            _ => {
                node.machine.stop_docker().await?;
                node.daemon.kill9().await?;
                node.ok("umount /var/lib/dotmesh/pool && rm -rf /run/dotmesh /run/docker/plugins")
                    .await;
                node.start_daemon().await?;
                node.machine.start_docker().await?;
            }
        }
        let branch = node
            .until_consistent("app", &["always"])
            .await
            .context(round)?;
        assert_eq!(branch, "work", "{round}");
        let state = node.ok("docker inspect -f '{{.State.Running}}' once").await;
        assert_eq!(state, "false\n", "{round}");
        node.ok("docker start once").await;
        node.ok(&format!("docker exec once sh -c 'echo {round} >>/v/log'"))
            .await;
        node.ok(&format!("dm commit -m '{round}'")).await;
        // Switch to another branch each time, because the daemon must not reuse anything from the old one.
        node.ok("dm checkout master").await;
        assert_eq!(
            node.until_consistent("app", &["always", "once"]).await?,
            "master"
        );
        node.ok("dm checkout work").await;
        assert_eq!(
            node.until_consistent("app", &["always", "once"]).await?,
            "work"
        );
    }
    let log = node.ok("docker exec always cat /v/log").await;
    assert_eq!(
        log,
        "docker\ndocker killed\ndocker first\nnode first\nreboot\n"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_that_docker_gave_up_on_start_with_the_daemon() -> Result<()> {
    let mut node = Node::start(&Network::start().await?, "alice").await?;
    node.in_volume("app", "echo master >/v/branch").await;
    for (name, policy) in [
        ("always", "--restart always"),
        ("unless-stopped", "--restart unless-stopped"),
        ("stopped", "--restart unless-stopped"),
        ("once", ""),
    ] {
        node.ok(&format!(
            "docker run -d --init {policy} --name {name} -v app:/v --volume-driver dm debian:bookworm-slim sleep 100000"
        ))
        .await;
    }
    node.ok("docker stop stopped").await;
    node.machine.stop_docker().await?;
    node.daemon.terminate().await?;
    // Docker looks for the volume driver for at least half a minute, then continues without it.
    node.machine.start_docker().await?;
    wait_for("Docker to give up", SOON * 3, async || {
        let errors = node
            .ok("docker inspect -f '{{.State.Error}}' always unless-stopped")
            .await;
        ensure!(errors.matches("volume").count() >= 2, "{errors}");
        Ok(())
    })
    .await?;
    node.start_daemon().await?;
    let branch = node
        .until_consistent("app", &["always", "unless-stopped"])
        .await?;
    assert_eq!(branch, "master");
    let others = node
        .ok("docker inspect -f '{{.State.Running}}' stopped once")
        .await;
    assert_eq!(others, "false\nfalse\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_the_daemon_dies_in_happens_whole_or_not_at_all() -> Result<()> {
    let mut node = Node::start(&Network::start().await?, "alice").await?;
    // The container writes the branch on which it starts, and stops slowly.
    let slow = "trap \"sleep 1; exit 0\" TERM; while :; do sleep 0.05; done";
    node.ok(&format!(
        "docker run -d --network none --name slow -v app.slow:/v --volume-driver dm debian:bookworm-slim sh -c '{slow}'"
    ))
    .await;
    node.keep_running("quick", "app.quick").await;
    let containers = ["slow", "quick"];
    let say = "for c in slow quick; do docker exec $c sh -c \"echo BRANCH >/v/branch\"; done";
    node.ok(&say.replace("BRANCH", "master")).await;
    node.ok("dm commit -m master && dm checkout -b other").await;
    node.ok(&say.replace("BRANCH", "other")).await;
    node.ok("dm commit -m other").await;

    let moments = [
        ("slow", "kill"),
        ("quick", "die"),
        ("slow", "die"),
        ("quick", "start"),
        ("slow", "start"),
    ];
    for (container, event) in moments {
        let from = node.until_consistent("app", &containers).await?;
        let to = if from == "master" { "other" } else { "master" };
        for line in [
            format!("dm checkout {to}"),
            format!("dm checkout -b new-{container}-{event}"),
        ] {
            let since = node.ok("date +%s.%N").await;
            let machine = node.machine.clone();
            let kill = async {
                node.wait_for_event(since.trim(), container, event).await?;
                node.daemon.kill9().await
            };
            let (checkout, killed) = tokio::join!(machine.run(&line), kill);
            killed?;
            // The checkout may already have been done.
            let code = checkout.status.code();
            assert!(matches!(code, Some(0 | 3)), "{checkout}");
            node.start_daemon().await?;
            // Docker continues to stop the containers.
            for stopped in containers {
                node.wait_for_event(since.trim(), stopped, "die").await?;
            }
            wait_for("the containers to run", SOON, async || {
                let list = node.ok("dm list -H").await;
                let running = node
                    .ok("docker inspect -f '{{.State.Running}}' slow quick")
                    .await;
                ensure!(running == "true\ntrue\n", "{container} {event}: {running}");
                ensure!(list.contains("quick,slow"), "{list}");
                Ok(())
            })
            .await?;
            if line.contains("-b") {
                // A new branch is complete or does not exist.
                let branch = node.cell("app", 2).await;
                if branch.starts_with("new-") {
                    node.ok(&say.replace("BRANCH", &branch)).await;
                } else {
                    assert!(!node.ok("dm branch").await.contains("new-slow-kill"));
                }
            }
            node.until_consistent("app", &containers)
                .await
                .with_context(|| format!("{line}, killed at {event} of {container}"))?;
        }
        node.ok("dm checkout master").await;
        assert_eq!(node.until_consistent("app", &containers).await?, "master");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_fails_leaves_everything_as_it_was() -> Result<()> {
    let mut node = Node::start(&Network::start().await?, "alice").await?;
    let program = "printf \"%s\\n\" \"#!/bin/sh\" \"trap \\\"exit 0\\\" TERM\" \"while :; do sleep 0.05; done\" >/v/run; chmod +x /v/run; echo master >/v/branch";
    node.in_volume("app.program", program).await;
    node.in_volume("app.files", "echo master >/v/branch").await;
    node.ok("docker run -d --network none --name program -v app.program:/v --volume-driver dm debian:bookworm-slim /v/run")
        .await;
    node.keep_running("files", "app.files").await;
    node.ok("dm commit -m good && dm checkout -b broken").await;
    node.in_volume("app.program", "rm /v/run; echo broken >/v/branch")
        .await;
    node.in_volume("app.files", "echo broken >/v/branch").await;
    // Running containers do not notice.
    node.ok("dm commit -m broken && dm checkout master").await;

    let refused = node.fails("dm checkout broken").await;
    assert!(
        refused.contains(
            "switching to branch broken failed, and the containers run on branch master as before"
        ) && refused.contains("/v/run"),
        "{refused}"
    );
    assert_eq!(
        node.until_consistent("app", &["program", "files"]).await?,
        "master"
    );
    let refused = node
        .fails("dm checkout -b new HEAD~0 && dm checkout -b worse broken")
        .await;
    assert!(refused.contains("as before"), "{refused}");
    assert_eq!(node.ok("dm branch").await, "  broken\n  master\n* new\n");
    node.ok("dm checkout master").await;

    // A bind mount's folder is missing, so the container cannot start on any branch.
    node.ok("mkdir $HOME/bound && docker run -d --init --network none --name bound -v app.files:/v --volume-driver dm --mount type=bind,src=$HOME/bound,dst=/b debian:bookworm-slim sleep 100000 && rmdir $HOME/bound")
        .await;
    let refused = node.fails("dm checkout new").await;
    assert!(
        refused.contains("switching to branch new failed")
            && refused.contains("starting the containers again failed too")
            && refused.contains("home/bound"),
        "{refused}"
    );
    assert_eq!(node.cell("app", 2).await, "master");
    // Once the folder is there again, the next start of the daemon starts all containers.
    node.ok("mkdir $HOME/bound").await;
    node.daemon.restart().await?;
    node.daemon.wait_for_socket(SOCKET).await?;
    let all = ["program", "files", "bound"];
    assert_eq!(node.until_consistent("app", &all).await?, "master");
    node.ok("dm checkout new").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_can_be_lost() -> Result<()> {
    let mut node = Node::start(&Network::start().await?, "alice").await?;
    node.keep_running("one", "app.one").await;
    node.keep_running("two", "apps.two").await;
    for (dot, container) in [("app", "one"), ("apps", "two")] {
        node.ok(&format!("dm switch {dot} && dm commit -m first"))
            .await;
        for branch in ["b1", "b2"] {
            node.ok(&format!("dm checkout -b {branch}")).await;
            node.ok(&format!(
                "docker exec {container} sh -c 'echo {branch} >>/v/file'"
            ))
            .await;
            node.ok(&format!("dm commit -m {dot}-{branch} -d key=value"))
                .await;
        }
        node.ok("dm commit -m left-behind && dm reset --hard HEAD^")
            .await;
    }
    node.ok("dm switch app && dm checkout b1 && dm checkout -b feature/work.1")
        .await;
    node.ok("dm init empty").await;
    node.keep_running("pinned", "app@b2.one").await;
    node.keep_running("spelled", "app@feature~2fwork~2e1.one")
        .await;
    node.keep_running("root", "app.__root__").await;
    node.keep_running("unused", "empty").await;
    let containers = ["one", "two", "pinned", "spelled"];
    let started = node.started_at(&containers).await;
    let look = "dm list -H; for dot in app apps empty; do dm switch $dot; dm dot show -H; dm branch; for b in $(dm branch | tr -d '* '); do dm log --json $b; done; done; dm switch app";
    let volumes = node.ok("docker volume ls -q").await;
    let before = node.ok(look).await;

    for rebuild in [false, true] {
        node.daemon.terminate().await?;
        node.ok("rm /var/lib/dotmesh/pool/registry.db*").await;
        if rebuild {
            let arguments = [
                "--trash-grace",
                "0",
                "--undo-time",
                "0",
                "--rebuild-registry",
            ];
            node.daemon = node.machine.spawn_daemon("dotmeshd", &arguments).await?;
        } else {
            node.daemon.start_again().await?;
        }
        node.daemon.wait_for_socket(SOCKET).await?;
        assert_eq!(node.ok(look).await, before, "rebuild: {rebuild}");
        assert_eq!(node.started_at(&containers).await, started);
        assert_eq!(node.in_volume("app.one", "cat /v/file").await, "b1\n");
        // Volumes without a container are lost only if they were empty.
        wait_for("the volumes to be known again", SOON, async || {
            let now = node.ok("docker volume ls -q").await;
            for volume in volumes.lines() {
                ensure!(now.lines().any(|line| line == volume), "{volume}:\n{now}");
            }
            Ok(())
        })
        .await?;
        node.ok("docker restart -t 1 root unused").await;
    }
    // A rebuild of an intact registry gives the same result.
    node.daemon.restart().await?;
    node.daemon.wait_for_socket(SOCKET).await?;
    assert_eq!(node.ok(look).await, before);

    node.ok("docker restart one two pinned").await;
    assert_eq!(node.ok("docker exec pinned cat /v/file").await, "b1\nb2\n");
    let told = node
        .run("dm commit -m more && dm checkout b2")
        .await
        .success();
    assert!(
        told.stderr.contains("Restarted containers: one, root\n"),
        "{told:?}"
    );
    assert_eq!(node.ok("docker exec one cat /v/file").await, "b1\nb2\n");
    Ok(())
}
