//! What `dm status`, `dm diff` and `dm branch` print.

use dotmesh_api::node::{
    ChangeKind, ContainerStatus, Diff, DotStatus, FileChange, FileKind, SubdotStatus,
};
use dotmesh_cli::commands::{branch, diff, status};
use dotmesh_cli::config::NodeConfig;
use dotmesh_model::CommitId;
use insta::assert_snapshot;

use crate::given;

fn state() -> DotStatus {
    let container = |name: &str, state: &str, volume: &str, wrong: Option<&str>| ContainerStatus {
        name: name.to_owned(),
        service: None,
        state: state.to_owned(),
        volumes: vec![volume.to_owned()],
        wrong: wrong.map(str::to_owned),
    };
    DotStatus {
        name: "mobycounter_app".parse().unwrap(),
        branch: given::branch("many-users"),
        head: given::id(0xb2),
        title: "Created user1...user11".to_owned(),
        subdots: vec![
            SubdotStatus {
                name: "clicks-db".to_owned(),
                ..SubdotStatus::default()
            },
            SubdotStatus {
                name: "users-db".to_owned(),
                added: 1,
                removed: 2,
                modified: 3,
                moved: 4,
            },
        ],
        containers: vec![
            container("db_1", "running", "mobycounter_app.users-db", None),
            container(
                "web_1",
                "stopped",
                "mobycounter_app@master.uploads",
                Some("branch master"),
            ),
        ],
    }
}

#[test]
fn a_status_names_what_changed_and_who_uses_it() {
    let mut state = state();
    let mut config = NodeConfig::default();
    let upstream = "alice/mobycounter_app".parse().unwrap();
    let upstreams = [(state.name.clone(), upstream)].into();
    config.upstreams.insert("hub".parse().unwrap(), upstreams);
    assert_snapshot!(status::for_people(&state, &config), @r"
    On branch many-users of dot mobycounter_app
    Last commit: b2b2b2b2b2 Created user1...user11
    Tracks alice/mobycounter_app on remote hub

    Changes since the last commit:
      users-db  3 modified, 1 new, 2 removed, 4 moved (files)
      (use 'dm diff' to see the files, 'dm commit' to keep the changes)

    Containers:
      db_1   mobycounter_app.users-db        running
      web_1  mobycounter_app@master.uploads  stopped, but it shows branch master
    ");
    assert_snapshot!(status::short(&state).replace('\t', "<tab>"), @r"
    ADMR<tab>users-db
    ");
    state.head = CommitId::ROOT;
    state.subdots.truncate(1);
    state.containers.clear();
    assert_snapshot!(status::for_people(&state, &NodeConfig::default()), @r"
    On branch many-users of dot mobycounter_app
    No commits yet

    Nothing changed since the last commit

    No container uses the dot
    ");
    assert_eq!(status::short(&state), "");
}

#[test]
fn a_diff_has_lines_of_texts_and_sizes_of_the_rest() {
    let file = |path: &str, change, (before, after), unified: Option<&str>| FileChange {
        path: path.to_owned(),
        kind: FileKind::File,
        change,
        from: (change == ChangeKind::Moved).then(|| "files/old".to_owned()),
        before,
        after,
        unified: unified.map(str::to_owned),
    };
    let empty = FileChange {
        kind: FileKind::Directory,
        ..file("files/empty", ChangeKind::Added, (0, 0), None)
    };
    let diff = Diff {
        from: given::id(0xb2),
        to: None,
        changes: vec![
            empty,
            file("files/image", ChangeKind::Modified, (4096, 8192), None),
            file("files/none", ChangeKind::Removed, (0, 0), None),
            file("files/new", ChangeKind::Moved, (10, 10), Some("")),
            file(
                "files/notes",
                ChangeKind::Modified,
                (3, 7),
                Some("--- a/files/notes\n+++ b/files/notes\n@@ -1 +1,2 @@\n one\n+two\n"),
            ),
        ],
        more: 0,
    };
    assert_snapshot!(diff::lines(&diff), @r"
    added files/empty: directory
    modified files/image: 4.00 KiB -> 8.00 KiB
    removed files/none: 0 bytes
    moved files/old => files/new: 10 B
    --- a/files/notes
    +++ b/files/notes
    @@ -1 +1,2 @@
     one
    +two
    ");
    assert_snapshot!(diff::stat(&diff), @r"
    files/empty            | directory
    files/image            | 4.00 KiB -> 8.00 KiB
    files/none             | 0 bytes
    files/old => files/new | 10 B
    files/notes            | 3 B -> 7 B
    2 modified, 1 added, 1 removed, 1 moved
    ");
    assert_snapshot!(diff::name_status(&diff).replace('\t', "<tab>"), @r"
    A<tab>files/empty
    M<tab>files/image
    D<tab>files/none
    R<tab>files/old<tab>files/new
    M<tab>files/notes
    ");
}

#[test]
fn branches_are_listed_with_their_commits() {
    let dot = given::dot();
    let titles = ["Created user1...user11", "Empty state"].map(str::to_owned);
    assert_snapshot!(branch::render_with_commits(&dot, &titles), @r"
    * many-users  b2b2b2b2b2  Created user1...user11
      master      a1a1a1a1a1  Empty state
    ");
    let work = given::branch("work");
    assert_snapshot!(branch::deleted(&dot.summary.name, &work, given::id(1)), @"Deleted branch work of dot mobycounter_app (was 0101010101; 'dm checkout -b work 0101010101' makes it again)");
    assert_snapshot!(branch::deleted(&dot.summary.name, &work, CommitId::ROOT), @"Deleted branch work of dot mobycounter_app");
}
