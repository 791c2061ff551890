//! Push, pull and clone between two nodes and a hub.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use dotmesh_testkit::wait_for;

use crate::world::{Node, SOON, Team, received};

impl Node {
    /// Adds a file and commits it, with the file's name as the message.
    async fn commit_file(&self, name: &str) {
        self.in_volume("app", &format!("echo {name} >/v/{name}"))
            .await;
        self.ok(&format!("dm commit -m {name}")).await;
    }

    async fn files(&self, volume: &str) -> String {
        let list = self.in_volume(volume, "ls /v").await;
        list.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The standard error of a line that must succeed.
    pub(crate) async fn told(&self, line: &str) -> String {
        self.run(line).await.success().stderr
    }

    /// The only branch that is not in `known`.
    async fn new_branch(&self, known: &[&str]) -> String {
        let branches = self.ok("dm branch").await;
        let mut names = branches
            .lines()
            .map(|line| line.trim_start_matches(['*', ' ']))
            .filter(|name| !known.contains(name));
        let new = names.next().expect("there is a new branch").to_owned();
        assert_eq!(names.next(), None, "{branches}");
        new
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_travel_with_all_that_leads_to_them() -> Result<()> {
    let Team { hub, alice, bob } = Team::start().await?;
    alice.commit_file("m1").await;
    for branch in ["b1", "b2", "b3"] {
        alice.ok(&format!("dm checkout -b {branch}")).await;
        alice.commit_file(branch).await;
    }
    let told = alice.told("dm push hub app b3").await;
    assert!(
        told.contains("Pushing app to hub:alice/app")
            && told.contains("b3: 4 commits, now at")
            && told.contains("Done!"),
        "{told}"
    );
    hub.collaborate("alice/app", "bob", "write").await?;
    let told = bob.told("dm clone hub alice/app").await;
    assert!(told.contains("Cloning app from hub:alice/app"), "{told}");
    assert_eq!(bob.ok("dm branch").await, "  b1\n  b2\n  b3\n* master\n");
    for (branch, files) in [
        ("b1", "b1 m1"),
        ("b2", "b1 b2 m1"),
        ("b3", "b1 b2 b3 m1"),
        ("master", "m1"),
    ] {
        assert_eq!(bob.files(&format!("app@{branch}")).await, files);
        assert_eq!(bob.commits(branch).await?, alice.commits(branch).await?);
    }
    assert_eq!(bob.files("app").await, "m1");

    // Clone one branch, with the branch that it came from.
    bob.ok("dm clone hub alice/app b1 --local-name one").await;
    assert_eq!(
        bob.ok("dm switch one && dm branch").await,
        "* b1\n  master\n"
    );
    assert_eq!(bob.files("one").await, "b1 m1");

    // Pull more commits while Bob's app runs on another branch.
    bob.ok("dm switch app").await;
    bob.keep_running("app", "app").await;
    let started = bob.started_at(&["app"]).await;
    alice.commit_file("b3-more").await;
    let told = alice.told("dm push hub").await;
    assert!(told.contains("b3: 1 commit, now at"), "{told}");
    assert!(alice.told("dm push hub").await.contains("b3: up to date"));
    alice.ok("dm checkout master && dm checkout -b fresh").await;
    alice.commit_file("fresh").await;
    alice.ok("dm push hub").await;
    let told = bob.told("dm pull hub app b3").await;
    assert!(told.contains("b3: 1 commit, now at"), "{told}");
    assert_eq!(bob.files("app@b3").await, "b1 b2 b3 b3-more m1");
    bob.ok("dm pull").await;
    assert_eq!(bob.files("app@fresh").await, "fresh m1");
    assert_eq!(bob.started_at(&["app"]).await, started);
    bob.ok("dm checkout b3").await;
    assert_eq!(bob.ok("docker exec app cat /v/b3-more").await, "b3-more\n");

    // Push all branches at once.
    for branch in ["b1", "b2"] {
        bob.ok(&format!("docker rm -f app; dm checkout {branch}"))
            .await;
        bob.commit_file(&format!("bob-{branch}")).await;
    }
    let told = bob.told("dm push hub --all").await;
    assert!(
        told.contains("b1: 1 commit") && told.contains("b2: 1 commit"),
        "{told}"
    );
    alice.ok("dm pull hub").await;
    assert_eq!(alice.files("app@b1").await, "b1 bob-b1 m1");
    assert_eq!(alice.files("app@b2").await, "b1 b2 bob-b2 m1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_loses_nothing_and_changes_nothing_under_running_containers() -> Result<()> {
    let Team {
        hub: _hub,
        alice,
        bob,
    } = Team::sharing().await?;
    alice.commit_file("more").await;
    alice.ok("dm push hub").await;

    bob.keep_running("app", "app").await;
    let refused = bob.fails("dm pull hub").await;
    assert!(
        refused.contains("containers are using branch master") && refused.contains("docker stop"),
        "{refused}"
    );
    assert_eq!(bob.files("app").await, "base");
    bob.ok("docker exec app touch /v/mine && docker stop app")
        .await;
    let refused = bob.fails("dm pull hub").await;
    assert!(
        refused.contains("uncommitted changes on branch master")
            && refused.contains("dm reset --hard HEAD")
            && refused.contains("--stash-on-divergence"),
        "{refused}"
    );
    assert_eq!(bob.files("app").await, "base mine");
    bob.ok("dm reset --hard HEAD").await;
    let told = bob.told("dm pull hub").await;
    assert!(told.contains("master: 1 commit, now at"), "{told}");
    bob.ok("docker start app").await;
    assert_eq!(bob.ok("docker exec app ls -m /v").await, "base, more\n");
    let up_to_date = bob.told("dm pull hub").await;
    assert!(up_to_date.contains("master: up to date"), "{up_to_date}");

    // A container that pins the branch counts, too.
    bob.ok("docker rm -f app && dm checkout -b elsewhere").await;
    alice.commit_file("third").await;
    alice.ok("dm push hub").await;
    bob.ok("docker run -d --init --name pinned -v app@master:/v --volume-driver dm debian:bookworm-slim sleep 100000")
        .await;
    let refused = bob.fails("dm pull hub app master").await;
    assert!(refused.contains("pinned"), "{refused}");
    bob.ok("docker stop pinned && dm pull hub app master && docker start pinned")
        .await;
    assert_eq!(
        bob.ok("docker exec pinned ls -m /v").await,
        "base, more, third\n"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn diverged_lines_are_both_kept() -> Result<()> {
    let Team {
        hub: _hub,
        alice,
        bob,
    } = Team::sharing().await?;
    // The hub is ahead. Nothing is lost, and the message tells Bob what to do.
    alice.commit_file("alice1").await;
    alice.ok("dm push hub").await;
    let behind = bob.fails("dm push hub").await;
    assert!(
        behind.contains("is behind the hub") && behind.contains("dm pull"),
        "{behind}"
    );
    let ahead = bob.told("dm push hub --stash-on-divergence").await;
    assert!(
        ahead.contains("the remote is ahead, nothing to do"),
        "{ahead}"
    );

    bob.commit_file("bob1").await;
    bob.in_volume("app", "touch /v/bob-dirty").await;
    for (line, hint) in [
        ("dm push hub", "--stash-on-divergence"),
        ("dm pull hub", "--stash-on-divergence"),
    ] {
        let refused = bob.fails(line).await;
        assert!(
            refused.contains("branch master has diverged") && refused.contains(hint),
            "{line}: {refused}"
        );
    }
    assert_eq!(bob.files("app").await, "base bob-dirty bob1");

    let told = bob.told("dm pull hub --stash-on-divergence").await;
    let mine = bob.new_branch(&["master"]).await;
    assert!(mine.starts_with("master-DIVERGED-20"), "{mine}");
    assert!(
        told.contains(&format!("the local line is now branch '{mine}'")),
        "{told}"
    );
    assert_eq!(bob.files("app").await, "alice1 base");
    assert_eq!(
        bob.files(&format!("app@{mine}")).await,
        "base bob-dirty bob1"
    );
    let log = bob
        .ok(&format!("dm checkout {mine} && dm log --oneline"))
        .await;
    assert!(
        log.contains("bob1") && log.contains("base") && !log.contains("alice1"),
        "{log}"
    );
    assert!(bob.number("app", 7).await? > 0 || bob.files("app").await.contains("bob-dirty"));
    // The stashed line is an ordinary branch.
    bob.ok(&format!("dm commit -m kept && dm push hub app {mine}"))
        .await;

    // In the other direction, the hub keeps its own line under another name.
    bob.ok("dm checkout master").await;
    bob.commit_file("bob2").await;
    alice.commit_file("alice2").await;
    alice.ok("dm push hub").await;
    let told = bob.told("dm push hub --stash-on-divergence").await;
    assert!(
        told.contains("the remote's line is now branch 'master-DIVERGED-"),
        "{told}"
    );
    alice
        .ok("dm clone hub app --local-name again && dm switch again")
        .await;
    assert_eq!(alice.files("again").await, "alice1 base bob2");
    let theirs = alice.new_branch(&["master", &mine]).await;
    assert_eq!(
        alice.files(&format!("again@{theirs}")).await,
        "alice1 alice2 base"
    );
    assert_eq!(
        alice.files(&format!("again@{mine}")).await,
        "base bob-dirty bob1"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_was_started_before_the_clone_gives_way() -> Result<()> {
    let Team { hub, alice, bob } = Team::start().await?;
    alice.commit_file("hers").await;
    alice.ok("dm push hub").await;
    hub.collaborate("alice/app", "bob", "read").await?;
    bob.keep_running("app", "app").await;
    bob.ok("docker exec app touch /v/accident").await;
    for line in [
        "dm clone hub alice/app",
        "dm pull hub app --remote-name alice/app --stash-on-divergence",
    ] {
        let refused = bob.fails(line).await;
        assert!(refused.contains("containers are using"), "{refused}");
    }
    bob.ok("docker stop app").await;
    let refused = bob.fails("dm clone hub alice/app").await;
    assert!(
        refused.contains("uncommitted changes") && refused.contains("--stash-on-divergence"),
        "{refused}"
    );
    bob.ok("dm pull hub app --remote-name alice/app --stash-on-divergence")
        .await;
    bob.ok("docker start app").await;
    assert_eq!(bob.ok("docker exec app ls /v").await, "hers\n");
    let accident = bob.new_branch(&["master"]).await;
    assert_eq!(bob.files(&format!("app@{accident}")).await, "accident");
    assert_eq!(bob.ok("dm log --oneline").await.lines().count(), 1);

    // A clone is enough if nothing was written yet.
    bob.ok("docker rm -f app && dm dot delete -f app").await;
    bob.ok("docker volume create -d dm app && dm clone hub alice/app")
        .await;
    assert_eq!(bob.files("app").await, "hers");
    assert_eq!(bob.ok("dm branch").await, "* master\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_has_a_namespace_and_others_need_leave() -> Result<()> {
    let Team { hub, alice, bob } = Team::start().await?;
    alice.commit_file("hers").await;
    bob.commit_file("his").await;
    alice.ok("dm push hub").await;
    bob.ok("dm push hub").await;

    // A dot without access does not exist.
    let refused = bob.fails("dm clone hub alice/app --local-name hers").await;
    assert!(
        refused.contains("has no dot alice/app that bob may read"),
        "{refused}"
    );
    for target in ["alice/app", "alice/new", "nobody/app"] {
        let refused = bob
            .fails(&format!("dm push hub app --remote-name {target}"))
            .await;
        assert!(
            refused.contains(&format!("may not push to {target}")) || refused.contains("no user"),
            "{target}: {refused}"
        );
    }

    hub.collaborate("alice/app", "bob", "read").await?;
    hub.collaborate("bob/app", "alice", "write").await?;
    bob.ok("dm clone hub alice/app --local-name hers").await;
    alice.ok("dm clone hub bob/app --local-name his").await;
    assert_eq!(bob.files("hers").await, "hers");
    assert_eq!(alice.files("his").await, "his");
    assert_eq!(bob.files("app").await, "his");

    // A clone's upstream is the dot that it came from.
    let show = bob.ok("dm dot show -H hers").await;
    assert!(
        show.contains("defaultUpstreamDot\thub\talice/app\n"),
        "{show}"
    );
    assert!(
        bob.ok("dm dot show app")
            .await
            .contains("Tracks dot bob/app on remote hub\n")
    );
    alice.ok("dm switch his").await;
    alice.in_volume("his", "touch /v/from-alice").await;
    alice.ok("dm commit -m 'from alice' && dm push").await;
    bob.ok("dm switch app && dm pull").await;
    assert_eq!(bob.files("app").await, "from-alice his");
    bob.ok("dm switch hers && dm checkout -b x && dm commit -m x")
        .await;
    let refused = bob.fails("dm push").await;
    assert!(
        refused.contains("bob may read alice/app, but not push to it"),
        "{refused}"
    );

    // The user can choose another dot, for one push or as the new upstream.
    bob.ok("dm push hub hers x --remote-name copy").await;
    let told = bob
        .told("dm dot set-upstream hers hub bob/mine && dm push hub hers x")
        .await;
    assert!(told.contains("Pushing hers to hub:bob/mine"), "{told}");
    assert!(
        bob.ok("dm dot show -H hers")
            .await
            .contains("defaultUpstreamDot\thub\tbob/mine\n")
    );
    for dot in ["copy", "mine"] {
        bob.ok(&format!("dm clone hub {dot} --local-name {dot}-back"))
            .await;
        assert_eq!(bob.files(&format!("{dot}-back@x")).await, "hers");
    }

    // On the hub only the owner can delete a dot.
    let key = hub.add_user("mallory").await?;
    let delete = format!(
        "curl -s -o /dev/null -w '%{{http_code}}' -X DELETE {}/api/v1/dots/bob/app",
        hub.url
    );
    assert_eq!(bob.ok(&format!("{delete} -u mallory:{key}")).await, "404");
    assert_eq!(bob.ok(&delete).await, "401");
    bob.ok("dm clone hub app --local-name still-there").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_commits_while_it_is_pushed() -> Result<()> {
    let Team { hub, alice, bob } = Team::start().await?;
    alice.keep_running("app", "app").await;
    alice
        .ok("docker exec app dd if=/dev/urandom of=/v/big bs=1M count=150 status=none")
        .await;
    alice
        .ok("docker exec app touch /v/before && dm commit -m before")
        .await;
    let meanwhile = async {
        wait_for("the push to be under way", SOON, async || {
            ensure!(hub.stored_bytes().await? > 10_000_000);
            Ok(())
        })
        .await?;
        alice
            .ok("docker exec app touch /v/after && dm commit -m after")
            .await;
        anyhow::Ok(())
    };
    let (pushed, committed) = tokio::join!(alice.run("dm push hub; date +%s%N"), meanwhile);
    committed?;
    let pushed = pushed.success();
    assert!(
        pushed.stderr.contains("master: 1 commit, now at"),
        "{}",
        pushed.stderr
    );
    hub.collaborate("alice/app", "bob", "read").await?;
    bob.ok("dm clone hub alice/app").await;
    assert_eq!(bob.files("app").await, "before big");
    assert!(
        alice
            .told("dm push hub")
            .await
            .contains("master: 1 commit, now at")
    );
    bob.ok("dm pull hub").await;
    assert_eq!(bob.files("app").await, "after before big");
    let sum = "sha256sum /v/big";
    assert_eq!(
        bob.in_volume("app", sum).await,
        alice.in_volume("app", sum).await
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_arrive_as_they_were() -> Result<()> {
    let Team { hub, alice, bob } = Team::start().await?;
    alice.in_volume("app", "true").await;
    let folder = alice.folder_of("app").await;
    let make = r#"set -eu
        mkdir -p deep/er/and/deeper empty closed sticky .hidden
        head -c 5000000 /dev/urandom >random
        cp random deep/er/copy && printf x | dd of=deep/er/copy bs=1 seek=2500000 conv=notrunc status=none
        truncate -s 3G sparse && printf end | dd of=sparse bs=1 seek=1500000000 conv=notrunc status=none
        : >nothing
        head -c 100 /dev/urandom >tiny
        ln random hard && ln random deep/hard
        ln -s random soft && ln -s /nowhere/at/all dangling && ln -s . loop
        mkfifo pipe
        printf a >"$(printf 'new\nline')"
        printf b >"$(printf 'not\377utf8')"
        printf c >"-dash and space 'quote' \"double\" \$dollar"
        printf d >"$(printf 'x%.0s' $(seq 255))"
        printf e >'ünïcödé ☃'
        printf f >setuid && chown 4711:4712 setuid && chmod 6755 setuid
        chown -h 1234:5678 soft
        chmod 0000 closed && chmod 1777 sticky && chown 999:999 empty && chmod 2750 empty
        printf g >readonly && chmod 0400 readonly
        setfattr -n user.colour -v green random
        setfattr -n user.binary -v 0x00ff00 tiny
        setfattr -n trusted.secret -v root-only tiny
        setfacl -m u:4711:rw,g:4712:r random
        setfacl -d -m u:4711:rwx sticky
        printf h >capable && setcap cap_net_raw+ep capable
        touch -d '1999-12-31 23:59:59.123456789' old && touch -h -d '1971-01-01 00:00:00.5' dangling
        touch -d '1960-01-01' before-1970 && touch -d '2100-01-01 00:00:00.000000001' future
        touch -d '2001-02-03 04:05:06.789' deep/er/and deep
    "#;
    alice.machine.run_in(&folder, make).await.success();
    alice.ok("dm commit -m odd && dm push hub").await;
    hub.collaborate("alice/app", "bob", "read").await?;
    bob.ok("dm clone hub alice/app").await;
    bob.in_volume("app", "true").await;
    let there = bob.folder_of("app").await;
    compare(&alice, &folder, &bob, &there)?;
    let used = bob.ok(&format!("du -m {there}/sparse | cut -f1")).await;
    ensure!(used.trim().parse::<u64>()? < 10, "sparse takes {used} MiB");

    // Changes of attributes alone, removals and replacements are sent, too.
    let change = r#"set -eu
        chmod 0700 empty && chown 1:2 tiny && setfattr -x user.colour random && setfacl -b random
        rm -r deep/er nothing && mkdir nothing && rm soft && printf now-a-file >soft
        printf x | dd of=sparse bs=1 seek=2900000000 conv=notrunc status=none
        mv old older && ln tiny tiny-too && rm hard
        setcap -r capable && touch -d '2000-01-01' capable
    "#;
    alice.machine.run_in(&folder, change).await.success();
    alice.ok("dm commit -m changed && dm push hub").await;
    bob.ok("dm pull hub").await;
    compare(&alice, &folder, &bob, &there)?;
    assert_eq!(bob.cell("app", 7).await, "0");
    Ok(())
}

/// Asserts that a dry run of rsync finds nothing to change.
fn compare(from: &Node, folder: &str, to: &Node, there: &str) -> Result<()> {
    let process = to.machine.path("/");
    let process = process.parent().context("/proc/PID/root")?;
    // The other rsync runs on the second machine. `nsenter` takes the place of `ssh`, and `env` that of the host
    // name.
    let rsh = format!("nsenter --mount={}/ns/mnt", process.display());
    let rsync = Command::new("rsync")
        .args([
            "-aHAXS",
            "--checksum",
            "--delete",
            "--dry-run",
            "--itemize-changes",
        ])
        .args(["--modify-window=-1", "-e", &rsh])
        .arg(format!("{}/", from.machine.path(folder).display()))
        .arg(format!("env:{there}/"))
        .output()?;
    let (out, err) = (
        String::from_utf8_lossy(&rsync.stdout),
        String::from_utf8_lossy(&rsync.stderr),
    );
    ensure!(rsync.status.success(), "rsync: {err}");
    ensure!(out.is_empty(), "these differ:\n{out}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_push_shows_nothing_and_can_be_repeated() -> Result<()> {
    let Team { hub, alice, bob } = Team::start().await?;
    alice
        .in_volume("app", "head -c 300M /dev/urandom >/v/big")
        .await;
    alice.ok("dm commit -m big").await;
    let interrupt = async {
        wait_for("the push to be under way", SOON, async || {
            ensure!(hub.stored_bytes().await? > 20_000_000);
            Ok(())
        })
        .await?;
        alice.ok("kill -INT $(cat /run/push.pid)").await;
        anyhow::Ok(())
    };
    let push = alice.run("echo $$ >/run/push.pid; exec dm push hub");
    let (push, interrupted) = tokio::join!(push, interrupt);
    interrupted?;
    assert_eq!(push.status.code(), Some(130), "{push}");
    assert!(push.stderr.contains("Cancelled."), "{push}");
    let refused = alice.fails("dm clone hub app --local-name copy").await;
    assert!(refused.contains("has no dot alice/app"), "{refused}");

    // The daemon is killed during the next push, and `dm` reports it.
    let partial = hub.stored_bytes().await?;
    let mut alice = alice;
    let machine = alice.machine.clone();
    let kill = async {
        wait_for("the push to be under way", SOON, async || {
            ensure!(hub.stored_bytes().await? > partial + 5_000_000);
            Ok(())
        })
        .await?;
        alice.daemon.kill9().await
    };
    let (push, killed) = tokio::join!(machine.run("dm push hub"), kill);
    killed?;
    assert_eq!(push.status.code(), Some(3), "{push}");
    alice.daemon.start_again().await?;
    alice
        .daemon
        .wait_for_socket("/run/dotmesh/api.sock")
        .await?;

    let told = alice.told("dm push hub").await;
    assert!(told.contains("master: 1 commit, now at"), "{told}");
    hub.collaborate("alice/app", "bob", "read").await?;
    bob.ok("dm clone hub alice/app").await;
    let sum = "sha256sum /v/big";
    assert_eq!(
        bob.in_volume("app", sum).await,
        alice.in_volume("app", sum).await
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_clone_shows_no_half_of_a_dot_and_is_gone_on_with() -> Result<()> {
    let Team {
        hub,
        alice,
        mut bob,
    } = Team::start().await?;
    alice
        .in_volume("app", "head -c 200M /dev/urandom >/v/big")
        .await;
    alice.ok("dm commit -m big && dm push hub").await;
    hub.collaborate("alice/app", "bob", "read").await?;
    let machine = bob.machine.clone();
    let size = async || -> Result<u64> {
        let du = machine.run("du -sm /var/lib/dotmesh/pool | cut -f1").await;
        Ok(du.stdout.trim().parse()?)
    };
    let grown_by = async |before: u64, megabytes: u64| {
        wait_for("the clone to be under way", SOON, async || {
            let now = size().await?;
            ensure!(now > before + megabytes, "{now} after {before}");
            Ok(())
        })
        .await
    };
    let before = size().await?;
    let kill = async {
        grown_by(before, 20).await?;
        bob.daemon.kill9().await
    };
    let clone = "dm clone --limit-rate 50M hub alice/app";
    let (killed_clone, killed) = tokio::join!(machine.run(clone), kill);
    killed?;
    assert_eq!(killed_clone.status.code(), Some(3), "{killed_clone}");
    bob.daemon.start_again().await?;
    bob.daemon.wait_for_socket("/run/dotmesh/api.sock").await?;
    assert_eq!(bob.dots().await, [""; 0]);

    let before = size().await?;
    let interrupt = async {
        grown_by(before, 20).await?;
        machine
            .run("kill -INT $(cat /run/clone.pid)")
            .await
            .success();
        anyhow::Ok(())
    };
    let clone = format!("echo $$ >/run/clone.pid; exec {clone}");
    let (clone, interrupted) = tokio::join!(machine.run(&clone), interrupt);
    interrupted?;
    assert_eq!(clone.status.code(), Some(130), "{clone}");
    assert_eq!(bob.dots().await, [""; 0]);

    // The clone does not fetch again what had already arrived.
    let told = bob.told("dm clone hub alice/app").await;
    let received = received(&told);
    assert!(received < 190.0, "{received} MiB once more\n{told}");
    let sum = "sha256sum /v/big";
    assert_eq!(
        bob.in_volume("app", sum).await,
        alice.in_volume("app", sum).await
    );
    Ok(())
}
