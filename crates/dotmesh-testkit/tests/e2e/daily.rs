//! The everyday commands that users know from git: status, diff, branch -d, checkout -.

use anyhow::Result;
use dotmesh_testkit::Network;

use crate::world::Node;

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_is_seen_as_with_git() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    let run = "docker run -d --init --network none --volume-driver dm";
    node.ok(&format!(
        "{run} --name web -v app.files:/v debian:bookworm-slim sleep 100000"
    ))
    .await;
    let inside = async |line: &str| node.ok(&format!("docker exec web sh -c '{line}'")).await;
    inside(
        "printf \"one\\ntwo\\n\" >/v/notes; head -c 5000 /dev/zero >/v/image; echo old >/v/gone",
    )
    .await;
    let first = node.ok("dm commit -m 'The first state'").await;
    let first = &first[..10];
    let clean = format!(
        "On branch master of dot app\nLast commit: {first} The first state\n\nNothing changed since the last commit\n\nContainers:\n  web  app.files  running\n"
    );
    assert_eq!(node.ok("dm status").await, clean);
    assert_eq!(node.ok("dm diff").await, "");

    inside("echo three >>/v/notes; head -c 6000 /dev/zero >/v/image; mv /v/gone /v/moved; mkdir /v/new; echo x >/v/new/file")
        .await;
    let status = node.ok("dm status").await;
    assert!(
        status.contains("  files  2 modified, 1 new, 1 moved (files)\n"),
        "{status}"
    );
    assert_eq!(node.ok("dm status -s").await, "AMR\tfiles\n");
    let names = "M\tfiles/image\nR\tfiles/gone\tfiles/moved\nA\tfiles/new/file\nM\tfiles/notes\n";
    assert_eq!(node.ok("dm diff --name-status").await, names);
    let diff = node.ok("dm diff -- files/notes").await;
    assert_eq!(
        diff,
        "--- a/files/notes\n+++ b/files/notes\n@@ -1,2 +1,3 @@\n one\n two\n+three\n"
    );
    let stat = node.ok("dm diff --stat").await;
    assert!(
        stat.contains(" files/image               | 4.88 KiB -> 5.86 KiB\n"),
        "{stat}"
    );
    assert!(stat.ends_with(" 2 modified, 1 added, 1 moved\n"), "{stat}");

    // Differences between commits, in both directions, with revisions as in git.
    node.ok("dm commit -m second").await;
    assert_eq!(node.ok("dm diff").await, "");
    assert_eq!(node.ok("dm diff --name-status HEAD^").await, names);
    assert_eq!(node.ok("dm diff --name-status HEAD^ HEAD").await, names);
    let back = node
        .ok("dm diff --name-status HEAD HEAD^ -- files/new")
        .await;
    assert_eq!(back, "D\tfiles/new/file\n");
    node.says_no("dm diff nothing", &["No commits match nothing"])
        .await;

    // `checkout -` goes back and forth between two branches.
    node.says_no("dm checkout -", &["there is no previous branch"])
        .await;
    node.ok("dm checkout -b work").await;
    let said = node.says("dm checkout -").await;
    assert!(
        said.contains("Switched to branch 'master' of dot 'app'\n"),
        "{said}"
    );
    node.ok("dm checkout -").await;
    assert_eq!(node.ok("dm branch").await, "  master\n* work\n");
    let listed = node.ok("dm branch -v").await;
    assert!(
        listed.contains("* work") && listed.contains("  second\n"),
        "{listed}"
    );

    // `branch -d` deletes a branch whose commits another branch has. Otherwise it needs `-D`.
    node.says_no("dm branch -d work", &["work is checked out", "dm checkout"])
        .await;
    inside("echo more >>/v/notes").await;
    let third = node.ok("dm commit -m third").await;
    inside("echo uncommitted >>/v/notes").await;
    node.ok("dm checkout master").await;
    node.says_no(
        "dm branch -d work",
        &[
            "1 commit that no other branch has, and ",
            " uncommitted",
            "dm branch -D work",
        ],
    )
    .await;
    node.ok(&format!(
        "{run} --name pinned -v app@work.files:/v debian:bookworm-slim sleep 100000"
    ))
    .await;
    node.says_no("dm branch -D work", &["pinned"]).await;
    node.ok("docker rm -f pinned && docker volume rm app@work.files")
        .await;
    let said = node.says("dm branch -D work").await;
    let third = &third[..10];
    assert!(
        said.contains(&format!("dm checkout -b work {third}")),
        "{said}"
    );
    assert_eq!(node.ok("dm branch").await, "* master\n");
    node.ok(&format!("dm checkout -b work {third}")).await;
    assert_eq!(inside("tail -n 1 /v/notes").await, "more\n");
    node.ok("dm checkout - && dm checkout -b same && dm checkout - && dm branch -d same")
        .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_put_aside_under_a_running_app() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.keep_running("web", "app.files").await;
    node.keep_running("db", "app.db").await;
    let inside =
        async |name: &str, line: &str| node.ok(&format!("docker exec {name} sh -c '{line}'")).await;
    inside("web", "echo one >/v/notes").await;
    inside("db", "echo row >/v/table").await;
    let first = node.ok("dm commit -m 'The first state'").await;
    let said = node.says("dm stash").await;
    assert!(said.contains("No local changes to save"), "{said}");

    inside("web", "echo two >>/v/notes").await;
    inside(
        "db",
        "echo more >>/v/table; mkdir /v/new; echo x >/v/new/file",
    )
    .await;
    let said = node.says("dm stash push -m 'Half of it'").await;
    assert!(said.contains("On master: Half of it\n"), "{said}");
    assert!(said.contains("Restarted containers: "), "{said}");
    assert_eq!(inside("web", "cat /v/notes").await, "one\n");
    assert_eq!(inside("db", "cat /v/table; ls /v").await, "row\ntable\n");
    assert_eq!(node.ok("dm status -s").await, "");
    assert_eq!(
        node.ok("dm stash list").await,
        "stash@{0}: On master: Half of it\n"
    );
    assert_eq!(
        node.ok("dm stash show --name-status").await,
        "A\tdb/new/file\nM\tdb/table\nM\tfiles/notes\n"
    );

    // The stash survives a restart of the daemon, and its changes come back unchanged.
    node.says_no("dm stash pop 1", &["no stash@{1}"]).await;
    inside("web", "echo other >/v/notes").await;
    node.says_no("dm stash pop", &["uncommitted changes", "dm stash"])
        .await;
    node.ok("dm reset --hard HEAD && dm stash pop").await;
    assert_eq!(inside("web", "cat /v/notes").await, "one\ntwo\n");
    assert_eq!(
        inside("db", "cat /v/table /v/new/file").await,
        "row\nmore\nx\n"
    );
    assert_eq!(node.ok("dm stash list").await, "");
    assert_eq!(node.ok("dm status -s").await, "AM\tdb\nM\tfiles\n");

    // At another commit, a stash can become a branch.
    node.ok("dm stash").await;
    let listed = format!(
        "stash@{{0}}: WIP on master: {} The first state\n",
        &first[..10]
    );
    assert_eq!(node.ok("dm stash list").await, listed);
    inside("web", "echo next >/v/next").await;
    node.ok("dm commit -m next").await;
    node.says_no(
        "dm stash pop",
        &[
            "cannot merge database files",
            "dm stash branch NAME stash@{0}",
        ],
    )
    .await;
    let said = node.says("dm stash branch work").await;
    assert!(said.contains("Switched to branch 'work'"), "{said}");
    assert_eq!(
        inside("web", "cat /v/notes; ls /v").await,
        "one\ntwo\nnotes\n"
    );
    assert_eq!(node.ok("dm stash list").await, "");
    assert_eq!(node.ok("dm log --oneline work").await.lines().count(), 1);
    node.ok("dm stash && dm stash drop").await;
    assert_eq!(inside("web", "cat /v/notes").await, "one\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_running_app_is_restored() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.keep_running("web", "app.files").await;
    node.keep_running("db", "app.db").await;
    let inside =
        async |name: &str, line: &str| node.ok(&format!("docker exec {name} sh -c '{line}'")).await;
    let started = async |name: &str| {
        node.ok(&format!(
            "docker inspect -f '{{{{.State.StartedAt}}}}' {name}"
        ))
        .await
    };
    inside("web", "mkdir /v/deep; echo one >/v/deep/notes; chown 5:6 /v/deep/notes; chmod 640 /v/deep/notes; ln -s /etc /v/link").await;
    inside("db", "echo row >/v/table").await;
    node.ok("dm commit -m first && dm tag v1").await;
    inside("web", "echo two >/v/deep/notes; echo new >/v/new").await;
    inside("db", "echo more >>/v/table").await;
    node.ok("dm commit -m second").await;
    let (web, db) = (started("web").await, started("db").await);

    let said = node.says("dm restore --source v1 files/deep/notes").await;
    assert!(
        said.contains("Restored from v1: files/deep/notes\n"),
        "{said}"
    );
    assert!(said.contains("Restarted containers: web\n"), "{said}");
    assert_eq!(started("db").await, db, "it went on");
    assert_ne!(started("web").await, web);
    let restored = inside(
        "web",
        "cat /v/deep/notes /v/new; stat -c \"%u %g %a\" /v/deep/notes",
    )
    .await;
    assert_eq!(restored, "one\nnew\n5 6 640\n");
    assert_eq!(inside("db", "cat /v/table").await, "row\nmore\n");
    assert_eq!(node.ok("dm status -s").await, "M\tfiles\n");
    // Restore the whole subdot to the newest commit.
    node.ok("dm restore files").await;
    assert_eq!(node.ok("dm diff --name-status").await, "");
    assert_eq!(inside("web", "cat /v/deep/notes").await, "two\n");
    node.says_no("dm restore files/none", &["has no files/none", "dm status"])
        .await;
    node.says_no(
        "dm restore files/link/passwd",
        &["has no files/link/passwd"],
    )
    .await;

    // Copy files out of a commit, and out of the working copy.
    assert_eq!(node.ok("dm cp v1:files/deep/notes -").await, "one\n");
    inside("web", "echo three >/v/deep/notes").await;
    assert_eq!(node.ok("dm cp files/deep/notes -").await, "three\n");
    node.ok("dm cp v1:files/deep/notes notes && dm cp HEAD:files copy && mkdir there && dm cp HEAD:db there")
        .await;
    assert_eq!(
        node.ok("cat notes copy/deep/notes copy/new there/db/table")
            .await,
        "one\ntwo\nnew\nrow\nmore\n"
    );
    assert_eq!(node.ok("readlink copy/link").await, "/etc\n");
    node.ok("dm cp v1:files copy").await;
    node.says_no("dm cp v1:files copy", &["copy/files exists already"])
        .await;
    node.says_no("dm cp files -", &["only a file"]).await;
    node.says_no("dm cp files/link/passwd -", &["has no files/link/passwd"])
        .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_are_named_and_shown_as_with_git() -> Result<()> {
    let node = Node::start(&Network::start().await?, "alice").await?;
    node.keep_running("web", "app.files").await;
    let inside = async |line: &str| node.ok(&format!("docker exec web sh -c '{line}'")).await;
    node.in_volume("app.db", "echo row >/v/table").await;
    inside("echo one >/v/notes").await;
    let first = node
        .ok("dm commit -m \"\n  The first state,\n  as it was.\n\n  More of it.\n\"")
        .await;
    let first = &first[..10];
    node.ok("dm tag v1").await;
    inside("echo two >>/v/notes").await;
    node.ok("dm checkout -b work && dm commit -m second").await;
    inside("echo three >>/v/notes").await;
    node.ok("dm commit --amend -m 'The second'").await;
    let graph = node.ok("dm log --oneline --graph --all").await;
    let lines: Vec<_> = graph.lines().collect();
    assert_eq!(lines.len(), 2, "{graph}");
    assert!(
        lines[0].starts_with("* ") && lines[0].ends_with(" (HEAD -> work) The second"),
        "{graph}"
    );
    let title = format!("* {first} (tag: v1, master) The first state, as it was.");
    assert_eq!(lines[1], title);
    assert_eq!(node.ok("dm log --oneline -- db").await.lines().count(), 1);
    assert_eq!(
        node.ok("dm log --oneline --since 1d -n 1 -- files").await,
        format!("{}\n", &lines[0][2..])
    );
    let shown = node.ok("dm show").await;
    assert!(
        shown.contains("image: web: debian:bookworm-slim"),
        "{shown}"
    );
    assert!(
        shown.ends_with("\nfiles:\n files/notes | 4 B -> 14 B\n 1 modified\n"),
        "{shown}"
    );

    // A commit is looked at on a branch of its own, under the running container.
    let said = node.says("dm checkout v1").await;
    assert!(
        said.contains(&format!("Switched to branch 'at-{first}'")),
        "{said}"
    );
    assert_eq!(inside("cat /v/notes").await, "one\n");
    node.ok("dm checkout - && dm checkout v1").await;
    let started = "docker inspect -f '{{.State.StartedAt}}' web";
    let before = node.ok(started).await;
    node.ok("dm branch -m old").await;
    assert_eq!(node.ok(started).await, before, "it went on");
    assert_eq!(node.ok("dm branch").await, "  master\n* old\n  work\n");
    inside("echo more >>/v/notes").await;
    node.ok("dm commit -m third").await;
    node.ok("docker restart -t 0 web").await;
    assert_eq!(inside("cat /v/notes").await, "one\nmore\n");
    let pinned = "docker run -d --init --network none --volume-driver dm --name pinned -v app@work.files:/v debian:bookworm-slim sleep 100000";
    node.ok(pinned).await;
    node.says_no("dm branch -m work other", &["pinned", "docker rm"])
        .await;
    node.says_no(
        "dm dot rename app shop",
        &["pinned, web", "docker compose down"],
    )
    .await;
    node.ok("docker rm -f web pinned && dm dot rename app shop")
        .await;
    assert_eq!(node.dots().await, ["shop"]);
    assert_eq!(node.ok("dm tag").await, "v1\n");
    node.keep_running("web", "shop.files").await;
    assert_eq!(inside("cat /v/notes").await, "one\nmore\n");
    assert_eq!(node.ok("dm status -s").await, "");
    Ok(())
}
