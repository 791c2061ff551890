//! Commits, branches, checkout and reset, as containers and `dm` show them.

use std::fs;

use anyhow::Result;
use dotmesh_testkit::Network;

use crate::world::Node;

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_has_its_own_data() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.in_volume("app", "echo 1 >/v/committed").await;
    // No `dm switch` is needed, because there is only one dot.
    let first = node.ok("dm commit -m first").await.trim().to_owned();
    node.in_volume("app", "echo 1 >/v/dirty").await;

    // No container runs, so the next one gets the new branch.
    node.ok("dm checkout -b carried").await;
    assert_eq!(node.in_volume("app", "ls /v").await, "committed\ndirty\n");
    node.in_volume("app", "echo 2 >/v/dirty; touch /v/more")
        .await;
    node.ok("dm checkout master").await;
    assert_eq!(
        node.in_volume("app", "cat /v/dirty; ls /v").await,
        "1\ncommitted\ndirty\n"
    );
    node.ok("dm checkout -b clean --clean").await;
    assert_eq!(node.in_volume("app", "ls /v").await, "committed\n");
    node.in_volume("app", "rm /v/committed; touch /v/new").await;
    node.ok("dm commit -m second").await;
    node.ok(&format!("dm checkout -b from-id {first}")).await;
    assert_eq!(node.in_volume("app", "ls /v").await, "committed\n");
    node.ok("dm checkout -b from-branch clean").await;
    assert_eq!(node.in_volume("app", "ls /v").await, "new\n");
    node.ok("dm checkout -b from-parent HEAD^").await;
    assert_eq!(node.in_volume("app", "ls /v").await, "committed\n");
    node.ok("dm checkout carried").await;
    assert_eq!(
        node.in_volume("app", "cat /v/dirty; ls /v").await,
        "2\ncommitted\ndirty\nmore\n"
    );

    let branches = "* carried\n  clean\n  from-branch\n  from-id\n  from-parent\n  master\n";
    assert_eq!(node.ok("dm branch").await, branches);
    let log = node.ok("dm checkout clean && dm log --oneline").await;
    assert!(
        log.starts_with(|c: char| c.is_ascii_hexdigit())
            && log.contains("(HEAD -> clean, from-branch) second\n")
            && log.contains("(carried, from-id, from-parent, master) first\n"),
        "{log}"
    );
    for (line, reason) in [
        ("dm checkout -b clean", "Branch already exists: clean"),
        ("dm checkout -b master", "Branch already exists: master"),
        ("dm checkout gone", "Branch does not exist: gone"),
        ("dm checkout -b x HEAD~9", "Commits don't go back that far"),
        ("dm checkout -b x nothing", "No commits match nothing"),
    ] {
        let refused = node.fails(line).await;
        assert!(refused.contains(reason), "{line}: {refused}");
    }
    assert_eq!(node.cell("app", 2).await, "clean");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_volume_shows_its_branch_whatever_is_checked_out() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.in_volume("app", "touch /v/base").await;
    node.ok("dm commit -m base").await;
    for branch in ["branch1", "branch2", "branch3"] {
        node.ok(&format!("dm checkout -b {branch} master")).await;
        node.in_volume("app", &format!("touch /v/{branch}")).await;
        node.ok(&format!("dm commit -m {branch}")).await;
    }
    node.ok("dm checkout master").await;
    for branch in ["branch1", "branch2", "branch3"] {
        let files = node.in_volume(&format!("app@{branch}"), "ls /v").await;
        assert_eq!(files, format!("base\n{branch}\n"));
    }
    assert_eq!(node.in_volume("app", "ls /v").await, "base\n");

    // A container may mount several branches at once.
    let both = node
        .ok("docker run --rm --volume-driver dm -v app:/now -v app@branch1:/one -v app@branch2:/two debian:bookworm-slim sh -c 'cp /one/branch1 /now/ && ls /now /two'")
        .await;
    assert_eq!(both, "/now:\nbase\nbranch1\n\n/two:\nbase\nbranch2\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn checkout_restarts_what_follows_the_dot_and_nothing_else() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.ok("docker volume create -d dm app && dm commit -m empty && dm checkout -b fixed && dm checkout master")
        .await;
    let subdots = ["s1", "s2", "s3", "s4"];
    for subdot in subdots {
        node.keep_running(subdot, &format!("app.{subdot}")).await;
        node.ok(&format!(
            "docker exec {subdot} sh -c 'echo master-{subdot} >/v/file'"
        ))
        .await;
    }
    node.keep_running("pinned", "app@fixed.s1").await;
    node.keep_running("other", "other.s1").await;
    node.keep_running("namesake", "apps.s1").await;
    node.ok("docker create --name never-started -v app.s1:/v --volume-driver dm debian:bookworm-slim true")
        .await;
    let bystanders = ["pinned", "other", "namesake"];
    let before = node.started_at(&bystanders).await;
    let users_before = node.started_at(&subdots).await;
    assert_eq!(node.cell("app", 4).await, "s1,s2,s3,s4");

    let told = node.run("dm commit -m one && dm checkout -b two").await;
    let told = told.success().stderr;
    assert!(
        told.contains("Switched to branch 'two'") && told.contains("s1, s2, s3, s4"),
        "{told}"
    );
    for subdot in subdots {
        let line = format!("docker exec {subdot} sh -c 'cat /v/file; echo two-{subdot} >/v/file'");
        assert_eq!(node.ok(&line).await, format!("master-{subdot}\n"));
    }
    let users_after = node.started_at(&subdots).await;
    for (before, after) in users_before.iter().zip(&users_after) {
        assert_ne!(before, after);
    }
    node.ok("dm commit -m two && dm checkout master").await;
    for subdot in subdots {
        let line = format!("docker exec {subdot} cat /v/file");
        assert_eq!(node.ok(&line).await, format!("master-{subdot}\n"));
        let volume = format!("app@two.{subdot}");
        let pinned = node.in_volume(&volume, "cat /v/file").await;
        assert_eq!(pinned, format!("two-{subdot}\n"));
    }
    assert_eq!(node.started_at(&bystanders).await, before);
    assert_eq!(
        node.ok("docker inspect -f '{{.State.Status}}' never-started")
            .await,
        "created\n"
    );

    // A checkout of the current branch stops nothing.
    let users_before = node.started_at(&subdots).await;
    node.ok("dm checkout master").await;
    assert_eq!(node.started_at(&subdots).await, users_before);

    // A checkout switches a dot in another namespace, but not the dot of the same name here.
    node.ok("docker exec namesake sh -c 'echo alice >/v/file'")
        .await;
    node.ok("dm switch apps && dm commit -m hers && dm checkout -b hers")
        .await;
    node.ok("docker exec namesake sh -c 'echo hers >/v/file'")
        .await;
    node.ok("dm checkout master").await;
    assert_eq!(node.ok("docker exec namesake cat /v/file").await, "alice\n");
    assert_eq!(node.started_at(&subdots).await, users_before);
    assert_eq!(node.started_at(&["pinned", "other"]).await, before[..2]);
    assert_ne!(node.started_at(&["namesake"]).await, before[2..]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn checkout_starts_containers_after_those_they_depend_on() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    // Each service exits at once unless the service that it needs is up.
    let compose = "
services:
  a-front:
    image: debian:bookworm-slim
    init: true
    depends_on: [m-middle]
    command: sh -c 'getent hosts m-middle && exec sleep 100000'
    volumes: ['app.front:/v']
  m-middle:
    image: debian:bookworm-slim
    init: true
    depends_on: [z-store]
    command: sh -c 'getent hosts z-store && exec sleep 100000'
    volumes: ['app.middle:/v']
  z-store:
    image: debian:bookworm-slim
    init: true
    command: sleep 100000
    volumes: ['app.store:/v']
volumes:
  app.front:
    driver: dm
  app.middle:
    driver: dm
  app.store:
    driver: dm
";
    let folder = node.machine.home().join("chain");
    fs::create_dir(&folder)?;
    fs::write(folder.join("docker-compose.yml"), compose)?;
    node.ok("cd ../chain && docker-compose up -d").await;
    let names = ["chain_z-store_1", "chain_m-middle_1", "chain_a-front_1"];
    for n in 0..3 {
        node.ok(&format!("dm commit -m {n} && dm checkout -b b{n}"))
            .await;
        let started = node.started_at(&names).await;
        assert!(started.is_sorted(), "{names:?} started at {started:?}");
        node.all_running(&names).await;
    }
    node.ok("cd ../chain && docker-compose down").await;

    // A link is a dependency, too: Docker does not start a container before the containers that it links to.
    let run = "docker run -d --init --volume-driver dm";
    let sleep = "debian:bookworm-slim sleep 100000";
    node.ok(&format!("{run} --name z-db -v app.store:/v {sleep}"))
        .await;
    node.ok(&format!(
        "{run} --name a-web --link z-db:db -v app.front:/v {sleep}"
    ))
    .await;
    node.ok(&format!(
        "{run} --name a-side --network container:a-web --volumes-from z-db {sleep}"
    ))
    .await;
    for branch in ["b0", "b1", "b2"] {
        node.ok(&format!("dm checkout {branch}")).await;
        node.all_running(&["z-db", "a-web", "a-side"]).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn dm_list_tells_the_state_of_the_current_branch() -> Result<()> {
    const MIB: u64 = 1 << 20;
    let node = Node::start(&Network::start().await?, "alice").await?;
    let empty = node.run("dm list").await.success();
    assert!(
        empty.stdout.is_empty() && empty.stderr.contains("There are no dots yet."),
        "{empty:?}"
    );
    node.keep_running("writer", "app").await;
    assert_eq!(node.cell("app", 6).await, "0");
    node.ok("docker exec writer dd if=/dev/urandom of=/v/a bs=1M count=1")
        .await;
    let (size, dirty) = (node.number("app", 5).await?, node.number("app", 7).await?);
    assert!((MIB..MIB + MIB / 8).contains(&size), "{size}");
    assert!((MIB..MIB + MIB / 8).contains(&dirty), "{dirty}");
    node.ok("dm commit -m one").await;
    assert_eq!(node.number("app", 7).await?, 0);
    assert_eq!(node.number("app", 6).await?, 1);

    node.ok("dm checkout -b big").await;
    node.ok("docker exec writer dd if=/dev/urandom of=/v/b bs=1M count=3")
        .await;
    let (size, dirty) = (node.number("app", 5).await?, node.number("app", 7).await?);
    assert!((4 * MIB..4 * MIB + MIB / 2).contains(&size), "{size}");
    assert!((3 * MIB..3 * MIB + MIB / 2).contains(&dirty), "{dirty}");
    node.ok("dm commit -m two").await;
    let table = node.ok("dm list").await;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|row| row.split_whitespace().collect())
        .collect();
    let header = ["DOT", "BRANCH", "CONTAINERS", "SIZE", "COMMITS", "DIRTY"];
    assert_eq!(rows[0], header);
    let row = &rows[1];
    assert_eq!(row[..4], ["*", "app", "big", "writer"], "{table}");
    assert!(row[4].starts_with("4.") && row[5] == "MiB", "{table}");
    assert_eq!(row[6..], ["2", "-"], "{table}");

    node.ok("dm checkout master").await;
    assert_eq!(node.cell("app", 2).await, "master");
    assert_eq!(node.number("app", 6).await?, 1);
    let size = node.number("app", 5).await?;
    assert!((MIB..MIB + MIB / 8).contains(&size), "{size}");
    node.ok("docker stop writer").await;
    assert_eq!(node.cell("app", 4).await, "");
    let show = node.ok("dm dot show").await;
    assert!(
        show.contains("Dot admin/app:") && show.contains("Commits: 1"),
        "{show}"
    );
    assert!(
        show.contains("* master (") && show.contains("  big ("),
        "{show}"
    );

    // With several dots and none selected, `dm` does not guess.
    node.ok("docker volume create -d dm second && rm ~/.config/dotmesh/config")
        .await;
    let refused = node.fails("dm commit -m which").await;
    assert!(refused.contains("No current dot is selected."), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_goes_back_to_a_commit() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.keep_running("app", "app").await;
    let mut ids = Vec::new();
    for n in 1..=5 {
        node.ok(&format!("docker exec app touch /v/{n}")).await;
        let id = node.ok(&format!("dm commit -m commit-{n}")).await;
        ids.push(id.trim().to_owned());
    }
    node.ok("docker exec app touch /v/dirty").await;
    let refused = node.fails("dm reset HEAD^").await;
    assert!(
        refused.contains("uncommitted changes on branch master") && refused.contains("--hard"),
        "{refused}"
    );
    let files = async || node.ok("docker exec app ls -m /v").await.trim().to_owned();
    assert_eq!(files().await, "1, 2, 3, 4, 5, dirty");

    let before = node.started_at(&["app"]).await;
    let told = node.run("dm reset --hard HEAD").await.success().stderr;
    assert!(
        told.contains("HEAD is now at") && told.contains("commit-5"),
        "{told}"
    );
    assert_ne!(node.started_at(&["app"]).await, before);
    assert_eq!(files().await, "1, 2, 3, 4, 5");
    assert_eq!(node.number("app", 7).await?, 0);

    node.ok("dm reset HEAD^").await;
    assert_eq!(files().await, "1, 2, 3, 4");
    let log = node.ok("dm log").await;
    assert!(
        log.contains("commit-4") && !log.contains("commit-5"),
        "{log}"
    );
    node.ok("dm reset --hard HEAD~2").await;
    assert_eq!(files().await, "1, 2");
    assert_eq!(node.cell("app", 6).await, "2");
    // Commits that a reset left behind can still be named.
    node.ok(&format!("dm reset {}", &ids[4][..8])).await;
    assert_eq!(files().await, "1, 2, 3, 4, 5");
    node.ok(&format!("dm checkout -b old {}", ids[0])).await;
    assert_eq!(files().await, "1");
    node.ok("dm reset master").await;
    assert_eq!(files().await, "1, 2, 3, 4, 5");

    for revision in ["HEAD~99", "gone", "HEAD^x", "../..", "0000000000"] {
        node.fails(&format!("dm reset --hard {revision}")).await;
    }
    let other = node.ok("docker run -d --init --name pinned -v app@old:/v --volume-driver dm debian:bookworm-slim sleep 100000");
    other.await;
    let refused = node.fails("dm reset --hard HEAD^").await;
    assert!(
        refused.contains("containers are using branch old of app as a pinned volume: pinned"),
        "{refused}"
    );
    assert_eq!(files().await, "1, 2, 3, 4, 5");
    node.ok("dm checkout master && dm reset HEAD^ && docker rm -f pinned")
        .await;
    assert_eq!(files().await, "1, 2, 3, 4");

    // The reset can go back to the state before the first commit.
    node.ok("dm reset --hard HEAD~4").await;
    assert_eq!(files().await, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_keeps_who_what_and_which_code() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.keep_running("app", "app").await;
    let value = "x".repeat(2000);
    node.ok(&format!(
        "dm commit -m 'Outside git' -d apples=green -d empty= -d equation=a=b,c=d -d long={value}"
    ))
    .await;
    let log = node.ok("dm log").await;
    for line in [
        "apples: green\n",
        "empty: \n",
        "equation: a=b,c=d\n",
        "    Outside git\n",
    ] {
        assert!(log.contains(line), "{line:?} is not in {log}");
    }
    assert!(log.contains(&value) && !log.contains("code:"), "{log}");
    assert!(
        log.contains("image: app: debian:bookworm-slim (sha256:"),
        "{log}"
    );
    assert!(log.contains("author: root@alice\n"), "{log}");
    for (line, reason) in [
        (
            "dm commit -m x -d nothing",
            "must be a name=value pair: nothing",
        ),
        ("dm commit -m x -d Upper=1", "lowercase"),
        ("dm commit -m ''", "Please provide a commit message"),
        ("dm commit", "Please provide a commit message"),
    ] {
        let refused = node.fails(line).await;
        assert!(refused.contains(reason), "{line}: {refused}");
    }
    assert_eq!(node.cell("app", 6).await, "1");

    node.ok("git init -q -b trunk . && git config user.name Ann && git config user.email ann@example.com")
        .await;
    node.ok("git add . && git commit -qm code && git remote add origin https://ann:s3cret@example.com/code.git?token=s3cret")
        .await;
    let code = node.ok("git rev-parse HEAD").await;
    node.ok("dm commit -m '\n    First line\n\n      indented\n    last\n'")
        .await;
    let log = node.ok("dm log -n 1").await;
    let expected = format!("code: https://example.com/code.git trunk {}\n", code.trim());
    assert!(log.contains(&expected), "{log}");
    assert!(log.contains("author: Ann <ann@example.com>\n"), "{log}");
    assert!(
        log.ends_with("\n\n    First line\n\n      indented\n    last\n"),
        "{log}"
    );
    node.ok("echo change >>docker-compose.yml && dm commit -m dirty")
        .await;
    let log = node.ok("dm log -n 1").await;
    assert!(log.contains("(with uncommitted changes)"), "{log}");
    let all = node.ok("dm log; dm log --json").await;
    assert!(!all.contains("s3cret"), "{all}");

    // Two commits of the same state are distinct.
    node.ok("dm commit -m same -m paragraph && dm commit -m same")
        .await;
    assert_eq!(node.cell("app", 6).await, "5");
    Ok(())
}
