//! The output of `dm status`, `dm diff`, `dm branch` and similar commands.

use dotmesh_api::node::{
    Apart, ChangeKind, ContainerStatus, Diff, DotStatus, FileChange, FileKind, Source, Stash,
    SubdotStatus, SummaryStatus, Tag, TagsOutcome, UpstreamStatus,
};
use dotmesh_api::node_client::Direction;
use dotmesh_cli::commands::stash::{self, Place};
use dotmesh_cli::commands::{branch, checkout, cp, diff, log, show, status, tag};
use dotmesh_cli::config::{Config, NodeConfig, Remote, SavedApiKey};
use dotmesh_cli::transfer;
use dotmesh_model::CommitId;
use dotmesh_model::commit::{ComposeUse, MountUse};
use insta::assert_snapshot;
use jiff::tz::TimeZone;

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
        upstreams: Vec::new(),
        summaries: Vec::new(),
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
                only_database_files: false,
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
    let mut node = NodeConfig::default();
    let mut config = Config::default();
    let remote = Remote::with_account(
        "https://hub.example.com".to_owned(),
        "alice".parse().unwrap(),
        SavedApiKey::new("secret".to_owned()),
    );
    config.remotes.insert("hub".parse().unwrap(), remote);
    let upstream = "alice/mobycounter_app".parse().unwrap();
    let upstreams = [(state.name.clone(), upstream)].into();
    node.upstreams.insert("hub".parse().unwrap(), upstreams);
    let shown =
        |state: &DotStatus| status::for_people(state, &status::tracked(state, &config, &node));
    assert_snapshot!(shown(&state), @r"
    On branch many-users of dot mobycounter_app
    Last commit: b2b2b2b2b2 Created user1...user11
    Tracks alice/mobycounter_app on remote hub

    Changes since the last commit:
      users-db  3 modified, 1 new, 2 removed, 4 moved (files)
      (use 'dm diff' to see the files, 'dm commit' to keep the changes)

    Containers:
      db_1   mobycounter_app.users-db        running
      web_1  mobycounter_app@master.uploads  stopped, but it has branch master mounted
    ");
    let mut restarted = state.clone();
    restarted.subdots[1].only_database_files = true;
    let text = shown(&restarted);
    assert!(text.contains("4 moved (database files only)\n"), "{text}");
    assert_snapshot!(status::short(&state).replace('\t', "<tab>"), @r"
    ADMR<tab>users-db
    ");
    let mut tracks = |apart: Option<(u64, u64)>| {
        state.upstreams = vec![UpstreamStatus {
            there: Source {
                hub: "https://hub.example.com".to_owned(),
                dot: "alice/mobycounter_app".parse().unwrap(),
            },
            apart: apart.map(|(ahead, behind)| Apart { ahead, behind }),
        }];
        let text = shown(&state);
        text.lines().nth(2).unwrap().to_owned()
    };
    assert_snapshot!(tracks(None), @"Tracks alice/mobycounter_app on remote hub, which had no branch many-users yet");
    assert_snapshot!(tracks(Some((0, 0))), @"Tracks alice/mobycounter_app on remote hub: up to date");
    assert_snapshot!(tracks(Some((1, 2))), @"Tracks alice/mobycounter_app on remote hub: 1 commit ahead, 2 commits behind");
    let summary = |byte: u8, why: Option<&str>, given_up: bool| SummaryStatus {
        commit: given::id(byte),
        there: Source {
            hub: "https://hub.example.com".to_owned(),
            dot: "alice/mobycounter_app".parse().unwrap(),
        },
        why: why.map(str::to_owned),
        given_up,
    };
    state.summaries = vec![
        summary(0xb2, None, false),
        summary(0xa1, Some("Docker cannot be reached"), false),
        summary(0xc3, Some("no such dot"), true),
    ];
    let text = shown(&state);
    let lines: Vec<&str> = text.lines().skip(3).take(4).collect();
    assert_snapshot!(lines.join("\n"), @r"
    Reads the databases of 2 commits for https://hub.example.com
      a1a1a1a1a1 is tried again: Docker cannot be reached
    Gave up to tell https://hub.example.com of the databases of c3c3c3c3c3: no such dot
      (use 'dm push --rows counts' or 'changes' to try again)
    ");
    state.summaries.clear();
    state.upstreams.clear();
    state.head = CommitId::ROOT;
    state.subdots.truncate(1);
    state.containers.clear();
    assert_snapshot!(status::for_people(&state, &[]), @r"
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
    let mut branches = given::branches();
    assert_snapshot!(branches.text(), @r"
    * many-users
      master
    ");
    branches.with_commits = true;
    assert_snapshot!(branches.text(), @r"
    * many-users  b2b2b2b2b2  Created user1...user11
      master      a1a1a1a1a1  Empty state
    ");
    let mut deleted = branch::Deleted {
        dot: given::name("mobycounter_app"),
        branch: given::branch("work"),
        head: given::id(1),
    };
    assert_snapshot!(deleted.text(), @"Deleted branch work of dot mobycounter_app (was 0101010101; 'dm checkout -b work 0101010101' makes it again)");
    deleted.head = CommitId::ROOT;
    assert_snapshot!(deleted.text(), @"Deleted branch work of dot mobycounter_app");
}

#[test]
fn a_commit_is_shown_with_its_whole_record() {
    let mut log = given::log();
    let mut commit = log.commits[0].clone();
    commit.images[0].user = Some("redis".to_owned());
    commit.images[0].mounts = vec![MountUse {
        subdot: "clicks-db".to_owned(),
        path: "/data".to_owned(),
    }];
    commit.images[0].compose = Some(ComposeUse {
        project: "moby".to_owned(),
        service: "redis".to_owned(),
        working_dir: "/home/bob/moby".to_owned(),
        config_files: Vec::new(),
    });
    commit.dot = Some("moby_app".parse().unwrap());
    log.absent
        .insert(commit.id, log.absent[&given::id(0xa1)].clone());
    let shown = show::record(&log, &commit, &TimeZone::UTC);
    assert_snapshot!(shown.replace('\u{1b}', "<escape>"), @r"
    commit b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2 (HEAD -> many-users, tag: v1.2, aspect-ratios)
    parent: a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1
    author: bob@laptop
    date: Wed Jul 1 08:30:59 2026 +0000
    branch: many-users
    dot: moby_app
    issue: 12
    lines: one
        author: two
    project: moby (Compose, in /home/bob/moby)
    image: clicks: redis:7 (redis@sha256:beef)
        user redis
        clicks-db at /data
    code: https://example.com/moby-counter multiple-services cafe (with uncommitted changes)
    data: at https://dothub.com, dot alice/app, not here

        Log in as 'fred'
        and look

          twice
        <escape>[31mred
    ");

    let change = |path: &str| FileChange {
        path: path.to_owned(),
        kind: FileKind::File,
        change: ChangeKind::Modified,
        from: None,
        before: 10,
        after: 20,
        unified: None,
    };
    let diff = Diff {
        from: given::id(0xa1),
        to: Some(given::id(0xb2)),
        changes: vec![
            change("clicks-db/aof"),
            change("clicks-db/rdb"),
            change("top"),
            change("users-db/1"),
        ],
        more: 0,
    };
    assert_snapshot!(diff::by_subdot(&diff), @r"
    __root__:
     top | 10 B -> 20 B
     1 modified

    clicks-db:
     clicks-db/aof | 10 B -> 20 B
     clicks-db/rdb | 10 B -> 20 B
     2 modified

    users-db:
     users-db/1 | 10 B -> 20 B
     1 modified
    ");
    assert!(!diff::is_cut(&diff));
}

#[test]
fn the_many_files_of_a_database_are_cut() {
    let change = |number| FileChange {
        path: format!("users-db/base/{number:02}"),
        kind: FileKind::File,
        change: ChangeKind::Added,
        from: None,
        before: 0,
        after: 20,
        unified: None,
    };
    let mut diff = Diff {
        from: given::id(0xa1),
        to: Some(given::id(0xb2)),
        changes: (0..100).map(change).collect(),
        more: 0,
    };
    // A new subdot is listed as one.
    diff.changes.push(FileChange {
        path: "uploads".to_owned(),
        kind: FileKind::Directory,
        ..change(0)
    });
    let text = diff::by_subdot(&diff);
    assert!(
        text.starts_with("uploads:\n uploads | directory\n 1 added\n"),
        "{text}"
    );
    assert!(
        text.ends_with("base/19 | 20 B\n … 80 more\n 100 added\n"),
        "{text}"
    );
    assert!(diff::is_cut(&diff));
}

#[test]
fn a_log_is_drawn_as_a_graph() {
    let mut log = given::log();
    let zone = TimeZone::UTC;
    let short =
        |commit: &dotmesh_model::CommitRecord| format!("{} {}", commit.id.short(), commit.author);
    assert_snapshot!(log::graph(&log, short), @r"
    * b2b2b2b2b2 bob@laptop
    * a1a1a1a1a1 Alice <alice@example.com>
    ");
    // A commit between the two exists, but is not shown.
    log.commits[0].parent = given::id(0xab);
    log.ancestors.insert(given::id(0xb2), given::id(0xa1));
    assert_snapshot!(log::graph(&log, short), @r"
    * b2b2b2b2b2 bob@laptop
    * a1a1a1a1a1 Alice <alice@example.com>
    ");
    assert!(log::full(&log, &zone).contains("\n\ncommit a1"));
    assert_snapshot!(log::not_compared(1), @"1 older commit is left out, because the data to compare is not here. 'dm pull --full' gets all data.");
    assert_snapshot!(log::not_compared(2), @"2 older commits are left out, because the data to compare is not here. 'dm pull --full' gets all data.");
}

#[test]
fn a_commit_gets_a_throwaway_branch() {
    let branch = dotmesh_model::BranchName::at(given::id(0xa1));
    assert_snapshot!(checkout::keep(&branch), @"'dm checkout -' goes back. 'dm branch -m at-a1a1a1a1a1 NAME' keeps what you do here, 'dm branch -D at-a1a1a1a1a1' deletes it.");
}

#[test]
fn tags_are_listed() {
    let tag = |name: &str, message: &str| Tag {
        name: given::branch(name),
        commit: given::id(0xa1),
        message: message.to_owned(),
        time: jiff::Timestamp::UNIX_EPOCH,
    };
    let tags = [
        tag("empty", ""),
        tag("release/v1.2", "The one\nfor testing\n\nmore"),
    ];
    assert_eq!(tag::render(&tags), "empty\nrelease/v1.2\n");
    assert_snapshot!(tag::render_long(&tags), @r"
    empty         a1a1a1a1a1
    release/v1.2  a1a1a1a1a1  The one for testing
    ");
    assert_snapshot!(tag::gone(&tags[0]), @"Deleted tag 'empty' (was a1a1a1a1a1; 'dm tag empty a1a1a1a1a1' makes it again)");
}

#[test]
fn a_transfer_tells_of_tags() {
    assert!(transfer::tags(Direction::Push, &TagsOutcome::default()).is_empty());
    let mut tags = TagsOutcome {
        new: vec![given::branch("v1"), given::branch("v2")],
        differing: vec![given::branch("v0")],
        failed: Some(dotmesh_api::ErrorBody::new(
            dotmesh_api::ErrorCode::Forbidden,
            "bob may not push",
        )),
    };
    assert_snapshot!(transfer::tags(Direction::Push, &tags).join("\n"), @r"
    New tags: v1, v2
    Tags that were not moved, because here they are at another commit than on the remote: v0
    The tags were not sent: bob may not push. The next push tries again.
    ");
    tags.new.clear();
    assert_snapshot!(transfer::tags(Direction::Clone, &tags).join("\n"), @r"
    Tags that were not moved, because here they are at another commit than on the remote: v0
    The tags were not received: bob may not push. The next pull tries again.
    ");
}

#[test]
fn stashes_are_listed() {
    let stash = |message: &str, title: &str| Stash {
        id: dotmesh_model::StashId::from_bytes([1; 16]),
        branch: given::branch("feature/login"),
        head: given::id(0xa1),
        title: title.to_owned(),
        message: message.to_owned(),
        time: jiff::Timestamp::UNIX_EPOCH,
    };
    let stashes = [
        stash("Half of the users\nsigned up\n\nmore", "Empty state"),
        stash("", "Empty state"),
        stash("", ""),
    ];
    assert_snapshot!(stash::list::render(&stashes), @r"
    stash@{0}: On feature/login: Half of the users signed up
    stash@{1}: WIP on feature/login: a1a1a1a1a1 Empty state
    stash@{2}: WIP on feature/login: a1a1a1a1a1
    ");
    for text in ["stash@{0}", "0"] {
        assert_eq!(text.parse(), Ok(Place::default()), "{text}");
    }
    for text in [
        "",
        "stash",
        "stash@{}",
        "stash@{-1}",
        "-1",
        "stash@{0",
        "HEAD",
    ] {
        assert!(text.parse::<Place>().is_err(), "{text}");
    }
}

#[test]
fn what_is_copied_may_be_of_any_state() {
    let read = |text: &str| {
        let query = cp::query(text);
        (query.revision.unwrap_or_default(), query.path)
    };
    let check = |text: &str, revision: &str, path: &str| {
        assert_eq!(read(text), (revision.to_owned(), path.to_owned()), "{text}");
    };
    check("HEAD~2:uploads/logo.png", "HEAD~2", "uploads/logo.png");
    check("feature/login:uploads", "feature/login", "uploads");
    check("uploads/a:b", "uploads/a", "b");
    check(":uploads/a:b", "", "uploads/a:b");
    check("uploads", "", "uploads");
}
