//! Single files and folders: restored while the app runs, and copied out of any state.

use std::io::Read as _;

use dotmesh_api::node::{ContentQuery, RestorePaths, SwitchProgress, Switched};
use tokio::sync::watch;

use super::bench::{Bench, Work, stack_for, wait};
use crate::engine::scripted::Outcome;
use crate::error::NodeError;
use crate::operations::{copy_out, restore};

pub(super) async fn put_back(
    bench: &Bench,
    revision: &str,
    paths: &[&str],
) -> Result<Switched, NodeError> {
    let request = RestorePaths {
        revision: revision.to_owned(),
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        expected: None,
        wait: wait(),
    };
    let (tell, _) = watch::channel(SwitchProgress::default());
    restore::restore(&bench.node, &bench.dot(), request, tell).await
}

/// A commit with `files/deep/note`. That file and others have changed since.
async fn bench() -> Bench {
    let bench = Bench::new(stack_for(Work::Reset)).await;
    let deep = |branch: &str| {
        let branch = branch.parse().unwrap();
        let root = dotmesh_model::volume::Folder::Root;
        let data = bench.node.pool.volume_path(&bench.dot(), &branch, &root);
        std::fs::create_dir_all(data.join("files/deep")).unwrap();
        data
    };
    let data = deep("master");
    bench.write("master", "files/deep/note", "one");
    bench.write("master", "files/plain", "one");
    std::os::unix::fs::symlink("/etc", data.join("files/link")).unwrap();
    bench.commit().await;
    bench.write("master", "files/deep/note", "two");
    bench.write("master", "files/new", "new");
    bench.write("master", "db/new", "new");
    bench.world.calm();
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_containers_of_what_is_restored_restart() {
    let bench = bench().await;
    let done = put_back(&bench, "HEAD", &["files/deep/note", "files/deep"]).await;
    assert_eq!(done.unwrap().restarted, ["web"]);
    let calls = bench.world.calls();
    assert!(!calls.contains(&"stop db".to_owned()), "{calls:?}");
    let read = |file: &str| bench.read("master", file);
    assert_eq!(read("files/deep/note").as_deref(), Some("one"));
    assert_eq!(read("files/new").as_deref(), Some("new"));
    assert_eq!(read("db/new").as_deref(), Some("new"));

    // A whole subdot, which was deleted meanwhile.
    std::fs::remove_dir_all(bench.node.pool.volume_path(
        &bench.dot(),
        &"master".parse().unwrap(),
        &dotmesh_model::volume::Folder::Subdot("files".parse().unwrap()),
    ))
    .unwrap();
    put_back(&bench, "HEAD", &["files"]).await.unwrap();
    assert_eq!(read("files/deep/note").as_deref(), Some("one"));
    assert_eq!(read("files/new"), None);
    assert_eq!(
        bench.world.reads("web", "branch").as_deref(),
        Some("master")
    );
    put_back(&bench, "other", &["files/branch"]).await.unwrap();
    assert_eq!(bench.world.reads("web", "branch").as_deref(), Some("other"));
    let left = std::fs::read_dir(
        bench
            .node
            .pool
            .volume_path(
                &bench.dot(),
                &"master".parse().unwrap(),
                &dotmesh_model::volume::Folder::Root,
            )
            .parent()
            .unwrap(),
    );
    let left: Vec<_> = left
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().starts_with('.')),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_made_as_a_whole_or_not_at_all() {
    let bench = bench().await;
    for (path, why) in [
        ("files/none", "has no files/none"),
        ("none", "has no none"),
        ("files/link/passwd", "has no files/link/passwd"),
        ("files/../db/new", "not a path"),
        ("/etc/passwd", "not a path"),
        ("", "not a path"),
    ] {
        let refused = put_back(&bench, "HEAD", &["files/deep/note", path]).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(why), "{path}: {refused}");
    }
    assert!(
        !bench
            .world
            .calls()
            .iter()
            .any(|call| call.starts_with("stop"))
    );
    // The folder of the last path is gone, so nothing is restored.
    let refused = async |path: &str| {
        let refused = put_back(&bench, "HEAD", &["files/plain", path]).await;
        assert!(refused.is_err());
        bench.read("master", "files/plain")
    };
    let data = bench.node.pool.volume_path(
        &bench.dot(),
        &"master".parse().unwrap(),
        &dotmesh_model::volume::Folder::Root,
    );
    std::fs::remove_dir_all(data.join("files/deep")).unwrap();
    bench.write("master", "files/plain", "changed");
    assert_eq!(refused("files/deep/note").await.as_deref(), Some("changed"));
    // Restores do not follow a link that a container has made.
    std::os::unix::fs::symlink("/etc", data.join("files/deep")).unwrap();
    assert_eq!(refused("files/deep/note").await.as_deref(), Some("changed"));

    bench.world.turns_out("web", Outcome::Fails);
    assert!(put_back(&bench, "HEAD", &["files/plain"]).await.is_err());
    assert_eq!(
        bench.read("master", "files/plain").as_deref(),
        Some("changed")
    );
    bench.world.turns_out("web", Outcome::Runs);
    bench
        .settle(&["db", "web"].map(str::to_owned).into(), "undone")
        .await;

    bench.world.create("pinned", &["app@master.files"], |_| {});
    bench.world.start_by_hand("pinned").await.unwrap();
    let refused = put_back(&bench, "HEAD", &["files/plain"]).await;
    assert!(matches!(refused, Err(NodeError::InUse { .. })));
    // This does not affect another subdot.
    put_back(&bench, "HEAD", &["db/branch"]).await.unwrap();
}

async fn copied(
    bench: &Bench,
    revision: Option<&str>,
    path: &str,
) -> Result<Vec<String>, NodeError> {
    let query = ContentQuery {
        revision: revision.map(str::to_owned),
        path: path.to_owned(),
    };
    let response = copy_out::copy_out(&bench.node, &bench.dot(), query).await?;
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await;
    let body = body.unwrap();
    let mut archive = tar::Archive::new(&body[..]);
    let mut found = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let link = entry
            .link_name()
            .unwrap()
            .map(|link| format!(" -> {}", link.display()));
        let name = entry.path().unwrap().display().to_string();
        found.push(
            format!("{name}{} {content}", link.unwrap_or_default())
                .trim_end()
                .to_owned(),
        );
    }
    found.sort();
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_copied_out_of_any_state_and_links_as_links() {
    let bench = bench().await;
    assert_eq!(
        copied(&bench, Some("HEAD"), "files/deep/note")
            .await
            .unwrap(),
        ["note one"]
    );
    assert_eq!(
        copied(&bench, None, "files/deep/note").await.unwrap(),
        ["note two"]
    );
    let whole = copied(&bench, Some("HEAD"), "files").await.unwrap();
    let expected = [
        "files",
        "files/branch master",
        "files/deep",
        "files/deep/note one",
        "files/from-image /app.files",
        "files/link -> /etc",
        "files/plain one",
    ];
    assert_eq!(whole, expected);
    assert_eq!(
        copied(&bench, None, "files/link").await.unwrap(),
        ["link -> /etc"]
    );
    for path in [
        "files/link/passwd",
        "files/none",
        "files/../../../commit.json",
        "..",
        "",
    ] {
        for revision in [None, Some("HEAD")] {
            assert!(copied(&bench, revision, path).await.is_err(), "{path}");
        }
    }
}
