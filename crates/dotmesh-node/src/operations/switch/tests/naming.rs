//! Revisions in `dm log`, `dm show` and `dm checkout REV`.

use dotmesh_api::node::{
    BranchStart, Checkout, CreateCommit, LogQuery, RenameBranch, SwitchProgress, Switched, Undo,
};
use dotmesh_model::{BranchName, CommitId};
use tokio::sync::watch;

use super::bench::{Bench, stack, wait};
use crate::error::NodeError;
use crate::operations::{
    checkout, commit, create_dot, delete_dot, log, rename_branch, rename_dot, undo,
};

async fn commits(bench: &Bench, query: LogQuery) -> Vec<CommitId> {
    let log = log::log(&bench.node, &bench.dot(), &query).await.unwrap();
    assert_eq!(log.unknown, 0);
    log.commits.iter().map(|commit| commit.id).collect()
}

async fn look_at(bench: &Bench, commit: CommitId) -> Result<Switched, NodeError> {
    let request = Checkout {
        branch: BranchName::at(commit),
        create: Some(BranchStart::Throwaway(commit.to_string())),
        wait: wait(),
    };
    let (tell, _) = watch::channel(SwitchProgress::default());
    checkout::checkout(&bench.node, &bench.dot(), request, tell).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_has_the_commits_that_were_asked_for() {
    let bench = Bench::new(|_| {}).await;
    // master: first. other: first, second.
    let of = |revision: &str| LogQuery::from(Some(revision));
    let other = commits(&bench, of("other")).await;
    let master = commits(&bench, LogQuery::default()).await;
    assert_eq!(other[1..], master);
    bench.write("master", "files/new", "1");
    bench.commit().await;
    bench.write("master", "files/new", "2");
    bench.commit().await;
    let master = commits(&bench, LogQuery::default()).await;
    assert_eq!(master.len(), 3);

    // All branches: children come before their parents.
    let all = LogQuery {
        all: true,
        ..LogQuery::default()
    };
    assert_eq!(
        commits(&bench, all.clone()).await,
        [master[0], master[1], other[0], other[1]]
    );
    let two = LogQuery {
        limit: Some(2),
        ..all.clone()
    };
    assert_eq!(commits(&bench, two).await, master[..2]);

    // Filtered by subdot.
    let db = LogQuery {
        subdot: Some("db".to_owned()),
        ..all.clone()
    };
    assert_eq!(commits(&bench, db).await, other);
    let files = LogQuery {
        subdot: Some("files".to_owned()),
        ..LogQuery::default()
    };
    assert_eq!(commits(&bench, files).await, master);
    let none = LogQuery {
        subdot: Some("none".to_owned()),
        ..all.clone()
    };
    assert_eq!(commits(&bench, none).await, []);

    // Filtered by time. If the parent is not listed, the nearest listed ancestor is given.
    let name = bench.dot();
    let log = log::log(&bench.node, &name, &all).await.unwrap();
    let since = |at: usize| LogQuery {
        since: Some(log.commits[at].time),
        ..all.clone()
    };
    assert_eq!(commits(&bench, since(3)).await.len(), 4);
    assert!(commits(&bench, since(0)).await.contains(&master[0]));
    let later = log.commits[0]
        .time
        .checked_add(jiff::Span::new().hours(1))
        .unwrap();
    let none = LogQuery {
        since: Some(later),
        ..all.clone()
    };
    assert_eq!(commits(&bench, none).await, []);
    let db = LogQuery {
        subdot: Some("db".to_owned()),
        ..LogQuery::default()
    };
    let log = log::log(&bench.node, &name, &db).await.unwrap();
    assert_eq!(log.ancestors, [].into());
    bench.write("master", "db/more", "1");
    bench.commit().await;
    let log = log::log(&bench.node, &name, &db).await.unwrap();
    assert_eq!(log.commits.len(), 2);
    assert_eq!(log.ancestors, [(log.commits[0].id, master[2])].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_looked_at_on_a_branch_of_its_own() {
    let bench = Bench::new(|_| {}).await;
    let other = commits(&bench, LogQuery::from(Some("other"))).await;
    let at = BranchName::at(other[0]);
    let done = look_at(&bench, other[0]).await.unwrap();
    assert_eq!((&done.branch, done.head), (&at, other[0]));
    assert_eq!(bench.current().await, at.to_string());
    // Repeat it, from the branch itself and from another one.
    look_at(&bench, other[0]).await.unwrap();
    bench.checkout("master", false).await.unwrap();
    look_at(&bench, other[0]).await.unwrap();
    let dot = bench.node.registry.dot(&bench.dot()).await.unwrap();
    assert_eq!(dot.branches.len(), 3);

    // A branch with changes is not reused for the commit.
    bench.write(at.as_str(), "files/new", "1");
    bench.checkout("master", false).await.unwrap();
    let refused = look_at(&bench, other[0]).await.unwrap_err();
    assert!(matches!(refused, NodeError::NotAsMade { .. }), "{refused}");
    bench.checkout(at.as_str(), false).await.unwrap();
    bench.commit().await;
    bench.checkout("master", false).await.unwrap();
    let refused = look_at(&bench, other[0]).await.unwrap_err();
    assert!(matches!(refused, NodeError::NotAsMade { .. }), "{refused}");
    assert_eq!(bench.current().await, "master");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_gets_another_name_under_running_containers() {
    let mut bench = Bench::new(stack).await;
    let rename = async |bench: &Bench, from: &str, to: &str| {
        let request = RenameBranch {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
        };
        rename_branch::rename_branch(&bench.node, &bench.dot(), &request).await
    };
    // A container pins the branch.
    let refused = rename(&bench, "master", "main").await.unwrap_err();
    assert!(refused.to_string().contains("pinned"), "{refused}");
    bench.world.stop_by_hand("pinned").await;
    bench.world.remove_by_hand("pinned").await;
    for (from, to) in [("none", "main"), ("master", "other"), ("master", "HEAD")] {
        assert!(rename(&bench, from, to).await.is_err(), "{from} {to}");
    }
    bench.world.calm();
    rename(&bench, "master", "main").await.unwrap();
    let calls = bench.world.calls();
    assert!(
        !calls.iter().any(|call| call.starts_with("stop")),
        "{calls:?}"
    );
    let check = async |bench: &Bench| {
        assert_eq!(bench.current().await, "main");
        let dot = bench.node.registry.dot(&bench.dot()).await.unwrap();
        let names: Vec<_> = dot.branches.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["main", "other"]);
        let origin = dot.branches[&"other".parse().unwrap()].origin.clone();
        assert_eq!(origin.unwrap().branch.as_str(), "main");
    };
    check(&bench).await;
    assert_eq!(
        bench.world.reads("web", "branch").as_deref(),
        Some("master")
    );
    // After a restart, the daemon has nothing to repair.
    bench
        .settle(&["db", "web"].map(str::to_owned).into(), "renamed")
        .await;
    bench.restart().await;
    check(&bench).await;
    bench.checkout("other", false).await.unwrap();
    assert_eq!(bench.world.reads("web", "branch").as_deref(), Some("other"));
    bench.checkout("main", false).await.unwrap();
    assert_eq!(
        bench.world.reads("web", "branch").as_deref(),
        Some("master")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_takes_the_place_of_the_newest_one() {
    let mut bench = Bench::new(|_| {}).await;
    let amend = async |bench: &Bench, message: &str| {
        let request = CreateCommit {
            message: message.to_owned(),
            author: "somebody else".to_owned(),
            metadata: [("key".to_owned(), "value".to_owned())].into(),
            code: None,
            expected: None,
            amend: true,
        };
        commit::commit(&bench.node, &bench.dot(), request).await
    };
    bench.checkout("other", false).await.unwrap();
    let before = commits(&bench, LogQuery::default()).await;
    bench.write("other", "files/forgotten", "1");
    let made = amend(&bench, "").await.unwrap();
    bench.restart().await;
    let query = LogQuery::default();
    let log = log::log(&bench.node, &bench.dot(), &query).await.unwrap();
    let ids: Vec<_> = log.commits.iter().map(|commit| commit.id).collect();
    assert_eq!(ids, [made.id, before[1]]);
    let commit = &log.commits[0];
    assert_eq!(
        (commit.message.as_str(), commit.author.as_str()),
        ("m", "a")
    );
    assert_eq!(commit.metadata["key"], "value");
    // The amended commit can still be named by its id, and lacks the forgotten file.
    let id = before[0].to_string();
    assert_eq!(commits(&bench, LogQuery::from(Some(&id))).await, before);
    let data = |id| {
        bench
            .node
            .pool
            .commit_data(&bench.dot(), id)
            .join("files/forgotten")
    };
    assert!(data(made.id).exists() && !data(before[0]).exists());
    let again = amend(&bench, "Other words").await.unwrap();
    assert_eq!(
        commits(&bench, LogQuery::default()).await,
        [again.id, before[1]]
    );

    let empty = Bench::empty().await;
    create_dot::create_dot(&empty.node, &empty.dot())
        .await
        .unwrap();
    assert!(matches!(
        amend(&empty, "").await,
        Err(NodeError::NothingToAmend)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dot_gets_another_name_once_no_container_has_it() {
    let mut bench = Bench::new(stack).await;
    let [app, shop] = ["app", "shop"].map(|name| name.parse().unwrap());
    let refused = rename_dot::rename_dot(&bench.node, &app, &shop).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("db, pinned, web"), "{refused}");
    for name in bench.world.names() {
        bench.world.stop_by_hand(&name).await;
    }
    assert!(
        rename_dot::rename_dot(&bench.node, &app, &shop)
            .await
            .is_err()
    );
    for name in bench.world.names() {
        bench.world.remove_by_hand(&name).await;
    }
    let other = "other".parse().unwrap();
    create_dot::create_dot(&bench.node, &other).await.unwrap();
    for (from, to) in [(&app, &other), (&app, &app), (&shop, &other)] {
        assert!(rename_dot::rename_dot(&bench.node, from, to).await.is_err());
    }
    let elsewhere = "alice/app".parse().unwrap();
    let refused = rename_dot::rename_dot(&bench.node, &app, &elsewhere).await;
    assert!(matches!(refused, Err(NodeError::OtherNamespace { .. })));
    let before = bench.node.registry.dot(&app).await.unwrap();
    rename_dot::rename_dot(&bench.node, &app, &shop)
        .await
        .unwrap();
    for _ in 0..2 {
        let after = bench.node.registry.dot(&shop).await.unwrap();
        assert_eq!((&after.id, &after.branches), (&before.id, &before.branches));
        assert!(bench.node.registry.find_dot(&app).await.unwrap().is_none());
        let log = log::log(&bench.node, &shop, &LogQuery::default()).await;
        assert_eq!(log.unwrap().commits.len(), 1);
        bench.restart().await;
    }
    // A container with a volume of the new name has the dot's data.
    bench.world.create("web", &["shop.files"], |_| {});
    bench.world.start_by_hand("web").await.unwrap();
    assert_eq!(
        bench.world.reads("web", "branch").as_deref(),
        Some("master")
    );
}

async fn undo_of(bench: &Bench, name: &str, is_redo: bool) -> Result<Switched, NodeError> {
    let request = Undo {
        deleted: None,
        wait: wait(),
    };
    let (name, (tell, _)) = (
        name.parse().unwrap(),
        watch::channel(SwitchProgress::default()),
    );
    match is_redo {
        false => undo::undo(&bench.node, &name, request, tell).await,
        true => undo::redo(&bench.node, &name, request, tell).await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rename_of_a_dot_is_undone_and_redone() {
    let mut bench = Bench::new(|_| {}).await;
    let [app, shop] = ["app", "shop"].map(|name| name.parse().unwrap());
    let volumes = bench.node.registry.volumes().await.unwrap();
    assert_eq!(volumes, ["app.db", "app.files"]);
    let before = bench.node.registry.dot(&app).await.unwrap();
    rename_dot::rename_dot(&bench.node, &app, &shop)
        .await
        .unwrap();
    for _ in 0..2 {
        let undone = undo_of(&bench, "shop", false).await.unwrap();
        assert_eq!(undone.renamed.as_ref(), Some(&app));
        let what = "rename of the dot from app to shop";
        assert_eq!(undone.operation.as_deref(), Some(what));
        bench.restart().await;
        let after = bench.node.registry.dot(&app).await.unwrap();
        assert_eq!((&after.id, &after.branches), (&before.id, &before.branches));
        assert_eq!(bench.node.registry.volumes().await.unwrap(), volumes);
        let redone = undo_of(&bench, "app", true).await.unwrap();
        assert_eq!(redone.renamed.as_ref(), Some(&shop));
        bench.restart().await;
        assert_eq!(bench.node.registry.volumes().await.unwrap(), [""; 0]);
    }
    // Another dot has the name now.
    create_dot::create_dot(&bench.node, &app).await.unwrap();
    let refused = undo_of(&bench, "shop", false).await.unwrap_err();
    assert!(matches!(refused, NodeError::DotExists { .. }), "{refused}");
    delete_dot::delete_dot(&bench.node, &app).await.unwrap();

    // The daemon dies at each change of the pool. The rename is undone or not, and the log says so.
    for limit in 0.. {
        bench.node.pool.die_after(limit);
        let died = undo_of(&bench, "shop", false).await.is_err();
        bench.restart().await;
        let is_undone = bench.node.registry.find_dot(&app).await.unwrap().is_some();
        assert!(died || is_undone, "reported as done after {limit} changes");
        match is_undone {
            true => drop(undo_of(&bench, "app", true).await.unwrap()),
            false => {
                undo_of(&bench, "shop", false).await.unwrap();
                undo_of(&bench, "app", true).await.unwrap();
            }
        }
        if !died {
            break;
        }
    }
}
