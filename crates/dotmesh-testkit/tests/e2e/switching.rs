//! Containers during a switch: which are stopped and started, in which order, and which branch each one really shows.

use std::time::Duration;

use anyhow::{Result, ensure};
use dotmesh_testkit::{Network, Output, wait_for};
use tokio::task::JoinHandle;

use crate::world::{Node, SOON};

/// A time limit that is long for a program that need not wait, and short compared with the waits of a test.
const AT_ONCE: &str = "timeout 20";

impl Node {
    /// Starts a container that runs a line of shell.
    pub(crate) async fn start_shell(&self, name: &str, options: &str, line: &str) {
        self.ok(&format!(
            "docker run -d --name {name} --volume-driver dm {options} debian:bookworm-slim sh -c '{line}'"
        ))
        .await;
    }

    /// Makes subdots on two branches: `master`, which stays checked out, and `other`. A file in each names the
    /// branch.
    pub(crate) async fn two_branches(&self, subdots: &str) {
        let say = |branch: &str| {
            format!("for d in {subdots}; do mkdir -p /v/$d; echo {branch} >/v/$d/branch; done")
        };
        self.in_volume("app.__root__", &say("master")).await;
        self.ok("dm commit -m master && dm checkout -b other").await;
        self.in_volume("app.__root__", &say("other")).await;
        self.ok("dm commit -m other && dm checkout master").await;
    }

    /// Runs a line of shell concurrently with the test.
    fn beside(&self, line: &str) -> JoinHandle<Output> {
        let (machine, app, line) = (self.machine.clone(), self.app.clone(), line.to_owned());
        tokio::spawn(async move { machine.run_in(&app, &line).await })
    }

    /// Starts the container `slow`. It stops only when the test lets it, and then writes a last line.
    async fn start_slow(&self, options: &str) -> Result<()> {
        self.ok("mkdir $HOME/slow").await;
        let last = "mv /slow/up /slow/stopping; until [ -e /slow/go ]; do sleep 0.05; done; echo last >>/v/last; rm /slow/*; exit 0";
        self.start_shell(
            "slow",
            &format!("--network none --stop-timeout 60 -v app.slow:/v --mount type=bind,src=$HOME/slow,dst=/slow {options}"),
            &format!("rm -f /slow/*; trap \"{last}\" TERM; touch /slow/up; while :; do sleep 0.05; done"),
        )
        .await;
        self.slow_is("up").await
    }

    async fn slow_is(&self, state: &str) -> Result<()> {
        self.until_prints("ls $HOME/slow", &format!("{state}\n"))
            .await
    }

    /// Waits until the containers run on one branch. Restarts Docker first if `dm list` advises it, since Docker 20.10
    /// may be unable to start a container that it was stopping when it was killed.
    async fn consistent_as_advised(&self, dot: &str, containers: &[&str]) -> Result<String> {
        let outcome = wait_for("the containers to run, or advice", SOON, async || {
            if self.run("dm list").await.stderr.contains("Restart Docker") {
                return Ok(None);
            }
            self.consistent(dot, containers).await.map(Some)
        });
        if let Some(branch) = outcome.await? {
            return Ok(branch);
        }
        self.machine.stop_docker().await?;
        self.machine.start_docker().await?;
        self.until_consistent(dot, containers).await
    }

    async fn let_slow_stop(&self) {
        self.ok("touch $HOME/slow/go").await;
    }

    /// Waits until a program has sent its request and waits for the answer. Its threads then no longer run.
    async fn until_it_waits(&self, program: &str) -> Result<()> {
        let look = format!(
            "for p in /proc/[0-9]*; do [ \"$(tr \"\\0\" \" \" <$p/cmdline 2>&-)\" != \"{program} \" ] || cat $p/task/*/status | grep ctxt; done"
        );
        let mut seen = Vec::new();
        wait_for(&format!("`{program}` to wait"), SOON, async || {
            seen.push(self.run(&look).await.stdout);
            let last = &seen[seen.len().saturating_sub(10)..];
            let rests = last.len() == 10 && !last[0].is_empty();
            ensure!(rests && last.iter().all(|one| *one == last[0]), "{last:?}");
            Ok(())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_started_beside_a_switch_is_on_its_branch() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.two_branches("one two").await;
    node.ok("docker create --init --network none --name app -v app.one:/v -v app.two:/w --volume-driver dm debian:bookworm-slim sleep 100000")
        .await;
    let folders = ["one", "two"];
    // The delays of the start and of the switch, in milliseconds.
    let late = [
        (0, 0),
        (0, 40),
        (0, 120),
        (0, 250),
        (20, 0),
        (60, 0),
        (120, 0),
        (40, 40),
    ];
    for (round, (start_late, switch_late)) in late.into_iter().enumerate() {
        let branch = if node.cell("app", 2).await == "master" {
            "other"
        } else {
            "master"
        };
        for switch in [
            format!("dm checkout {branch}"),
            "dm reset --hard HEAD".into(),
        ] {
            let what = format!("{switch}, round {round}");
            let start = async {
                tokio::time::sleep(Duration::from_millis(start_late)).await;
                node.run("docker start app").await.success()
            };
            let switched = async {
                tokio::time::sleep(Duration::from_millis(switch_late)).await;
                node.run(&switch).await.success()
            };
            tokio::join!(start, switched);
            assert_eq!(node.cell("app", 2).await, branch, "{what}");
            let seen = "docker exec app cat /v/branch /w/branch";
            assert_eq!(
                node.ok(seen).await,
                format!("{branch}\n{branch}\n"),
                "{what}"
            );
            node.ok(&format!(
                "docker exec app sh -c 'echo {what} | tee /v/written >/w/written'"
            ))
            .await;
            for subdot in folders {
                let folder = node.folder_of(&format!("app.{subdot}")).await;
                let written = node.ok(&format!("cat {folder}/written")).await;
                assert_eq!(written, format!("{what}\n"), "{subdot}");
            }
            node.ok("docker stop app").await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_container_gets_the_state_back_that_it_was_in() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.two_branches("a b").await;
    node.start_shell(
        "once",
        "--rm --init --network none -v app.a:/v",
        "sleep 100000",
    )
    .await;
    node.keep_running("halted", "app.a").await;
    node.ok("docker pause halted").await;
    let told = node.run("dm checkout other").await.success().stderr;
    assert!(
        told.contains("Removed containers: once\n")
            && told.contains("Restarted containers: halted\n"),
        "{told}"
    );
    let state = "docker inspect -f '{{.State.Status}}' halted";
    assert_eq!(node.ok(state).await, "paused\n");
    node.fails("docker inspect once").await;
    let told = node.run("dm checkout master").await.success().stderr;
    assert!(!told.contains("Removed"), "{told}");
    assert_eq!(node.ok(state).await, "paused\n");
    node.ok("docker unpause halted").await;
    assert_eq!(
        node.ok("docker exec halted cat /v/branch").await,
        "master\n"
    );

    // A container that exits again and again does not delay the switch, and restarts on the new branch.
    node.start_shell(
        "loop",
        "--restart always --network none -v app.b:/v",
        "cat /v/branch; exit 3",
    )
    .await;
    for branch in ["other", "master", "other"] {
        let output = node.run(&format!("dm checkout {branch}")).await;
        let code = output.status.code();
        assert!(
            code == Some(0) || output.stderr.contains("loop: it keeps ending with code 3"),
            "{output}"
        );
        assert_eq!(node.cell("app", 2).await, branch);
        assert_eq!(
            node.ok("docker exec halted cat /v/branch").await,
            format!("{branch}\n")
        );
        let since = node.ok("date +%s.%N").await;
        let log = format!("docker logs --since {} loop | sort -u", since.trim());
        node.until_prints(&log, &format!("{branch}\n")).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_slow_container_and_what_does_not() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.two_branches("slow a").await;
    node.start_slow("").await?;
    node.keep_running("quick", "app.a").await;
    node.keep_running("removed", "app.a").await;
    node.ok("docker create --init --network none --name late -v app.a:/v --volume-driver dm debian:bookworm-slim sleep 100000")
        .await;

    let checkout = node.beside("dm checkout other 2>$HOME/told");
    node.slow_is("stopping").await?;
    wait_for("dm to say what it waits for", SOON, async || {
        let told = node.ok("cat $HOME/told").await;
        ensure!(told == "Waiting for containers to stop: slow\n", "{told}");
        Ok(())
    })
    .await?;
    let late = node.beside("docker start late");
    // Pinned volumes and read-only requests need not wait.
    node.ok(&format!("{AT_ONCE} docker run -d --init --network none --name pinned -v app@master.a:/v --volume-driver dm debian:bookworm-slim sleep 100000"))
        .await;
    assert_eq!(
        node.ok("docker exec pinned cat /v/branch").await,
        "master\n"
    );
    let volumes = node.ok(&format!("{AT_ONCE} docker volume ls -q")).await;
    assert!(volumes.contains("app.slow\n"), "{volumes}");
    node.ok(&format!("{AT_ONCE} docker volume inspect app.slow app.a"))
        .await;
    node.ok("docker rm -f removed").await;
    assert!(!late.is_finished() && !checkout.is_finished());
    node.let_slow_stop().await;
    let (checkout, late) = tokio::try_join!(checkout, late)?;
    checkout.success();
    late.success();
    let told = node.ok("cat $HOME/told").await;
    assert!(
        told.contains("Restarted containers: quick, slow\n"),
        "{told}"
    );
    assert!(told.contains("Removed containers: removed\n"), "{told}");
    for name in ["slow", "quick", "late"] {
        let seen = node.ok(&format!("docker exec {name} cat /v/branch")).await;
        assert_eq!(seen, "other\n", "{name}");
    }
    assert_eq!(
        node.ok("docker exec pinned cat /v/branch").await,
        "master\n"
    );
    let last = node.in_volume("app@master.slow", "cat /v/last").await;
    assert_eq!(last, "last\n");
    assert_eq!(node.ok("docker exec slow ls /v").await, "branch\n");

    // A request that waits for a switch is refused if it was meant for the branch before.
    node.slow_is("up").await?;
    node.ok("docker rm -f pinned").await;
    let checkout = node.beside("dm checkout master");
    node.slow_is("stopping").await?;
    let reset = node.beside("dm reset --hard HEAD^");
    let commit = node.beside("dm commit -m mine");
    node.until_it_waits("dm reset --hard HEAD^").await?;
    node.until_it_waits("dm commit -m mine").await?;
    node.let_slow_stop().await;
    let (checkout, reset, commit) = tokio::try_join!(checkout, reset, commit)?;
    checkout.success();
    for refused in [reset, commit] {
        let told = refused.failure().stderr;
        assert!(
            told.contains(
                "app has changed since this command was given: it was on branch other at "
            ),
            "{told}"
        );
    }
    for branch in ["master", "other"] {
        let log = node.ok(&format!("dm log --oneline {branch}")).await;
        let commits = if branch == "master" { 1 } else { 2 };
        assert_eq!(log.lines().count(), commits, "{log}");
    }
    assert_eq!(node.ok("docker exec slow cat /v/last").await, "last\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_stops_after_those_who_write_to_it() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.ok("docker run -d --name db -v app.db:/data --volume-driver dm redis:7")
        .await;
    let last = "redis-cli -h db set last \"$(cat /v/branch)\"; exit 0";
    let last = last.replace('"', "\\\"").replace('$', "\\$");
    node.ok(&format!(
        "docker run -d --name app --link db:db --mount type=volume,src=app.web,dst=/v,volume-driver=dm redis:7 sh -c 'echo master >/v/branch; trap \"{last}\" TERM; echo up; while :; do sleep 0.05; done'"
    ))
    .await;
    node.ok("docker run -d --init --name side --network container:app debian:bookworm-slim sleep 100000")
        .await;
    node.ok("docker run -d --name served --network container:side redis:7 --port 7000")
        .await;
    node.until_prints("docker logs app", "up\n").await?;
    node.ok("dm commit -m master && dm checkout -b other").await;
    let read = "docker exec db redis-cli get last";
    for (run, branch, last) in [
        (1, "other", "master"),
        (2, "master", "master"),
        (3, "other", "other"),
        (4, "master", "master"),
    ] {
        if run > 1 {
            node.ok(&format!("dm checkout {branch}")).await;
        }
        node.until_prints(read, &format!("{last}\n")).await?;
        node.until_prints("docker logs app | tail -n 1", "up\n")
            .await?;
        // A container that shares the network of a restarted container sees the new one.
        for (container, port) in [("side", 7000), ("app", 7000)] {
            let ask = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; echo PING >&3; head -n 1 <&3");
            let line = format!("docker exec {container} bash -c '{ask}'");
            node.until_prints(&line, "+PONG\r\n").await?;
        }
        node.ok(&format!("docker exec app sh -c 'echo {branch} >/v/branch'"))
            .await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_waits_for_what_its_compose_file_says() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.two_branches("db job web").await;
    node.ok("mkdir $HOME/order && touch $HOME/order/healthy")
        .await;
    let start = async |name: &str, options: &str, depends_on: &str, line: &str| {
        let labels = format!(
            "--label com.docker.compose.project=p --label com.docker.compose.service={name} --label com.docker.compose.depends_on={depends_on}"
        );
        let stop = format!("echo stop {name} >>/order/log; exit 0");
        node.start_shell(
            name,
            &format!("--network none --mount type=bind,src=$HOME/order,dst=/order {labels} {options}"),
            &format!("trap \"{stop}\" TERM; echo start {name} >>/order/log; {line} while :; do sleep 0.05; done"),
        )
        .await;
    };
    let becomes_healthy = "rm -f /tmp/up; (until [ -e /order/healthy ]; do sleep 0.05; done; sleep 3; echo healthy db >>/order/log; touch /tmp/up) &";
    start(
        "db",
        "-v app.db:/v --health-cmd \"test -e /tmp/up\" --health-interval 1s --health-retries 1000",
        "",
        becomes_healthy,
    )
    .await;
    start(
        "job",
        "-v app.job:/v",
        "db:service_healthy:false",
        "if [ -e /order/job ]; then echo end job >>/order/log; exit 0; fi;",
    )
    .await;
    start(
        "web",
        "-v app.web:/v",
        "job:service_completed_successfully:false,db:service_healthy:false",
        "",
    )
    .await;
    start("along", "", "db:service_started:true", "").await;
    start("apart", "", "db:service_started:false", "").await;
    node.until_prints(
        "docker inspect -f '{{.State.Health.Status}}' db",
        "healthy\n",
    )
    .await?;
    let apart = node.started_at(&["apart"]).await;

    node.ok("echo >$HOME/order/log && touch $HOME/order/job")
        .await;
    let told = node.run("dm checkout other").await.success().stderr;
    assert!(
        told.contains("Restarted containers: along, db, job, web\n"),
        "{told}"
    );
    let log = node.ok("cat $HOME/order/log").await;
    for order in [
        ["stop web", "stop job", "stop db", "start db"],
        ["stop along", "stop db", "start db", "start along"],
        ["healthy db", "start job", "end job", "start web"],
    ] {
        let place = |event: &&str| {
            let at = log.lines().position(|line| line == *event);
            at.unwrap_or_else(|| panic!("no {event} in {log}"))
        };
        assert!(order.iter().map(place).is_sorted(), "{order:?}: {log}");
    }
    assert_eq!(node.started_at(&["apart"]).await, apart);

    // With `--no-wait`, the daemon starts the waiting containers later.
    let run = ["db", "web"];
    node.ok("rm $HOME/order/healthy").await;
    let left = node.run("dm checkout --no-wait master").await;
    let left = left.success().stderr;
    assert_eq!(node.cell("app", 2).await, "master");
    let listed = node.run("dm list").await.success().stderr;
    let waits = "it waits for db, which is not healthy yet";
    assert!(listed.contains("web") && listed.contains(waits), "{listed}");
    node.ok("touch $HOME/order/healthy").await;
    assert_eq!(node.until_consistent("app", &run).await?, "master");
    let later = "Containers that the node starts when their dependencies are ready: web\n";
    assert!(left.contains(later), "{left}");

    node.ok("rm $HOME/order/healthy").await;
    let late = node.run("dm checkout --timeout 1 other").await;
    assert_eq!(late.status.code(), Some(1), "{late}");
    assert!(
        late.stderr
            .contains("Switched to branch 'other' of dot 'app'\n")
            && late.stderr.contains("db: it is not healthy yet")
            && late.stderr.contains(&format!("web: {waits}")),
        "{late}"
    );
    assert_eq!(node.cell("app", 2).await, "other");
    node.ok("touch $HOME/order/healthy").await;
    assert_eq!(node.until_consistent("app", &run).await?, "other");
    let listed = node.run("dm list").await.success().stderr;
    assert_eq!(listed, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_docker_dies_in_is_finished() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.two_branches("base slow quick").await;
    node.ok("mkdir $HOME/base && touch $HOME/base/healthy")
        .await;
    let service = "--label com.docker.compose.project=p --label com.docker.compose.service";
    node.ok(&format!("docker run -d --init --network none --name base {service}=base -v app.base:/v --volume-driver dm --mount type=bind,src=$HOME/base,dst=/base --health-cmd 'test -e /base/healthy' --health-interval 1s --health-retries 1000 debian:bookworm-slim sleep 100000"))
        .await;
    let depends_on = "--label com.docker.compose.depends_on=base:service_healthy:false";
    node.start_slow(&format!("{service}=slow {depends_on}"))
        .await?;
    node.keep_running("quick", "app.quick").await;
    let containers = ["base", "slow", "quick"];

    for (branch, moment) in [("other", "stop"), ("master", "start")] {
        let checkout = node.beside(&format!("dm checkout {branch}"));
        node.slow_is("stopping").await?;
        if moment == "start" {
            node.ok("rm $HOME/base/healthy").await;
            node.let_slow_stop().await;
            // Docker 20.10 cannot start a container that it was starting when it was killed.
            for name in ["base", "quick"] {
                let line = format!("docker exec {name} cat /v/branch");
                node.until_prints(&line, &format!("{branch}\n")).await?;
            }
        }
        node.machine.kill9_docker().await?;
        node.let_slow_stop().await;
        node.machine.start_docker().await?;
        node.ok("touch $HOME/base/healthy").await;
        let seen = node.consistent_as_advised("app", &containers).await;
        let seen = seen.unwrap_or_else(|error| panic!("{error:#} {}", node.daemon.log()));
        let checkout = checkout.await?;
        assert!(
            !checkout.status.success() || seen == branch,
            "{seen}: {checkout}"
        );
        assert_eq!(node.until_consistent("app", &containers).await?, seen);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_cannot_start_is_named_until_it_does() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.two_branches("a b c").await;
    node.keep_running("one", "app.a").await;
    node.keep_running("two", "app.b").await;
    node.ok("mkdir $HOME/bound && docker run -d --init --network none --name bound -v app.c:/v --volume-driver dm --mount type=bind,src=$HOME/bound,dst=/b debian:bookworm-slim sleep 100000 && rmdir $HOME/bound")
        .await;
    let refused = node.fails("dm checkout other").await;
    assert!(
        refused.contains("switching to branch other failed")
            && refused.contains("bound: ")
            && refused.contains("home/bound"),
        "{refused}"
    );
    assert_eq!(
        node.until_consistent("app", &["one", "two"]).await?,
        "master"
    );
    let warned = node.run("dm list").await.success().stderr;
    assert!(
        warned.contains("container bound does not run") && !warned.contains("container one"),
        "{warned}"
    );
    node.ok("mkdir $HOME/bound").await;
    let all = ["one", "two", "bound"];
    assert_eq!(node.until_consistent("app", &all).await?, "master");
    assert_eq!(node.run("dm list").await.success().stderr, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn swarm_replaces_what_a_switch_stops() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.two_branches("a").await;
    let address = node.machine.address();
    node.ok(&format!("docker swarm init --advertise-addr {address}"))
        .await;
    node.ok("docker service create -q --name replicated --replicas 1 --no-resolve-image --restart-delay 100ms --mount type=volume,src=app.a,dst=/v,volume-driver=dm debian:bookworm-slim sh -c 'trap \"exit 0\" TERM; while :; do sleep 0.05; done'")
        .await;
    let one_runs_on = async |branch: &str| {
        wait_for("exactly one task to run", SOON, async || {
            let running = node.ok("docker ps -q --no-trunc").await;
            ensure!(running.lines().count() == 1, "{running}");
            let line = format!("docker exec {} cat /v/branch", running.trim());
            let seen = node.run(&line).await;
            ensure!(seen.stdout == format!("{branch}\n"), "{seen}");
            Ok(running)
        })
        .await
    };
    let mut before = one_runs_on("master").await?;
    for branch in ["other", "master", "other"] {
        let told = node.run(&format!("dm checkout {branch}")).await.success();
        let replaced = "Containers that Docker Swarm replaces: replicated.1.";
        assert!(told.stderr.contains(replaced), "{told:?}");
        let after = one_runs_on(branch).await?;
        assert_ne!(after, before);
        before = after;
    }
    assert_eq!(node.run("dm list").await.success().stderr, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_stops_after_the_daemon_died_runs_again() -> Result<()> {
    let mut node = Node::start(&Network::start().await?, "alice").await?;
    node.two_branches("slow quick").await;
    node.start_slow("").await?;
    node.keep_running("quick", "app.quick").await;
    let checkout = node.beside("dm checkout other");
    node.slow_is("stopping").await?;
    node.until_prints("docker inspect -f '{{.State.Running}}' quick", "false\n")
        .await?;
    node.daemon.kill9().await?;
    assert_eq!(checkout.await?.status.code(), Some(3));
    node.daemon.start_again().await?;
    // Docker still continues to stop the container.
    node.until_prints("docker inspect -f '{{.State.Running}}' quick", "true\n")
        .await?;
    node.let_slow_stop().await;
    node.slow_is("up").await?;
    assert_eq!(
        node.until_consistent("app", &["slow", "quick"]).await?,
        "master"
    );
    Ok(())
}
