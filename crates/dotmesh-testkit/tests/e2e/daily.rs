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
    node.says_no("dm checkout -", &["no other branch of app was checked out"])
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
