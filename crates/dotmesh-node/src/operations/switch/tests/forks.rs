//! Forks: each has its own data, its own order of operations, and its own containers.

use std::collections::BTreeSet;

use dotmesh_api::ErrorBody;
use dotmesh_api::node::{
    CreateCommit, DeleteFork, Fork, ForkState, MakeFork, Reset, SwitchProgress, Switched, Undo,
    WantedPort,
};
use dotmesh_model::BranchName;
use tokio::sync::watch;

use super::bench::{Bench, CHANGED, Work, stack_for, wait};
use crate::engine::scripted::Outcome;
use crate::error::NodeError;
use crate::operations::{commit, forks, log, reset, undo};
use crate::view::At;

fn branch(name: &str) -> BranchName {
    name.parse().unwrap()
}

fn at(bench: &Bench, branch: &str) -> At {
    At {
        dot: bench.dot(),
        branch: Some(branch.parse().unwrap()),
    }
}

fn request(name: &str) -> MakeFork {
    MakeFork {
        branch: name.parse().unwrap(),
        from: None,
        project: format!("app-{name}"),
        folder: Some(format!("/srv/{name}").into()),
        shares_folder: false,
        ports: vec![WantedPort {
            service: "web".to_owned(),
            target: 80,
            protocol: "tcp".to_owned(),
            published: 8100,
            port: None,
        }],
        lifetime: None,
        config: None,
    }
}

/// Makes a fork with one container, which has the fork's name.
async fn fork(bench: &Bench, name: &str) -> Fork {
    let made = forks::make(&bench.node, &bench.dot(), request(name)).await;
    let volume = format!("app@{name}.db");
    crate::operations::volume::create(&bench.node, &volume)
        .await
        .unwrap();
    bench.world.create(name, &[volume.as_str()], |details| {
        let label = forks::label(&bench.dot(), &name.parse().unwrap());
        let labels = &mut details.container.labels;
        labels.insert(forks::FORK.to_owned(), label);
    });
    bench.world.start_by_hand(name).await.unwrap();
    made.unwrap()
}

async fn commit_in(bench: &Bench, branch: &str) -> Result<(), NodeError> {
    let request = CreateCommit {
        message: format!("in {branch}"),
        author: "a".to_owned(),
        metadata: Default::default(),
        code: None,
        expected: None,
        amend: false,
    };
    let made = commit::commit(&bench.node, at(bench, branch), request).await;
    made.map(drop)
}

async fn reset_in(bench: &Bench, branch: &str, revision: &str) -> Result<Switched, NodeError> {
    let request = Reset {
        revision: revision.to_owned(),
        hard: true,
        expected: None,
        wait: wait(),
    };
    let (tell, _) = watch::channel(SwitchProgress::default());
    reset::reset(&bench.node, at(bench, branch), request, tell).await
}

async fn undo_in(bench: &Bench, branch: Option<&str>) -> Result<Switched, NodeError> {
    let request = Undo {
        deleted: None,
        wait: wait(),
    };
    let (tell, _) = watch::channel(SwitchProgress::default());
    let at = match branch {
        Some(branch) => at(bench, branch),
        None => At::from(&bench.dot()),
    };
    undo::undo(&bench.node, at, request, tell).await
}

async fn redo_in(bench: &Bench, branch: &str) -> Result<Switched, NodeError> {
    let request = Undo {
        deleted: None,
        wait: wait(),
    };
    let (tell, _) = watch::channel(SwitchProgress::default());
    undo::redo(&bench.node, at(bench, branch), request, tell).await
}

fn says(error: NodeError) -> String {
    ErrorBody::from(error).message
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_has_a_copy_of_uncommitted_data_and_restarts_alone() {
    let bench = Bench::new(stack_for(Work::Reset)).await;
    bench.write("master", CHANGED, "from the app");
    let made = fork(&bench, "a").await;
    fork(&bench, "b").await;
    assert_eq!(made.ports[0].published, 8100);
    for branch in ["a", "b"] {
        let seen = bench.world.reads(branch, "changed");
        assert_eq!(seen.as_deref(), Some("from the app"));
        bench.write(branch, CHANGED, branch);
    }
    commit_in(&bench, "a").await.unwrap();
    bench.write("a", CHANGED, "later");

    // A reset of one restarts only its container. The operation lock of another fork is not needed.
    let (dot, other) = (bench.dot(), branch("b"));
    let busy = bench.node.locks.on_branch(&dot, &other, "busy").await;
    let done = reset_in(&bench, "a", "HEAD").await.unwrap();
    drop(busy);
    assert_eq!(done.restarted, ["a"]);
    assert_eq!(bench.world.reads("a", "changed").as_deref(), Some("a"));
    assert_eq!(bench.world.reads("b", "changed").as_deref(), Some("b"));
    assert_eq!(
        bench.read("master", CHANGED).as_deref(),
        Some("from the app")
    );

    // An undo in the fork is about the fork. The app's own containers go on.
    let done = undo_in(&bench, Some("a")).await.unwrap();
    assert_eq!(done.restarted, ["a"]);
    assert_eq!(bench.world.reads("a", "changed").as_deref(), Some("later"));
    redo_in(&bench, "a").await.unwrap();
    assert_eq!(bench.world.reads("a", "changed").as_deref(), Some("a"));

    // A container that does not start takes the reset back, and leaves no trace in the log.
    bench.write("a", CHANGED, "kept");
    let ran: BTreeSet<String> = bench.running();
    bench.world.turns_out("a", Outcome::Fails);
    let refused = reset_in(&bench, "a", "HEAD").await;
    assert!(refused.is_err());
    assert_eq!(bench.read("a", CHANGED).as_deref(), Some("kept"));
    assert_eq!(bench.named().await, ["a".to_owned()].into());
    bench.world.turns_out("a", Outcome::Runs);
    while bench.named().await.contains("a") {
        crate::operations::watch::look(&bench.node).await.unwrap();
    }
    assert_eq!(bench.running(), ran);
    assert_eq!(bench.world.reads("a", "changed").as_deref(), Some("kept"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fork_has_its_own_order_of_operations() {
    let bench = Bench::new(stack_for(Work::Reset)).await;
    fork(&bench, "a").await;
    let head = |dot: &crate::registry::Dot, name: &str| dot.branches[&branch(name)].head;
    bench.commit().await;
    let before = bench.node.registry.dot(&bench.dot()).await.unwrap();
    commit_in(&bench, "a").await.unwrap();
    // The app's last operation is its own commit, although the fork's is newer.
    undo_in(&bench, None).await.unwrap();
    let now = bench.node.registry.dot(&bench.dot()).await.unwrap();
    assert_ne!(head(&now, "master"), head(&before, "master"));
    let log = log::log(&bench.node, at(&bench, "a"), &Default::default())
        .await
        .unwrap();
    assert_eq!(log.commits[0].message, "in a");
    assert_eq!(log.current.as_str(), "a");
    // The fork's newer operation leaves the app's redo alone.
    undo_in(&bench, Some("a")).await.unwrap();
    let refused = undo_in(&bench, Some("a")).await.unwrap_err();
    assert!(
        matches!(refused, NodeError::NothingToUndo { .. }),
        "{refused}"
    );
    super::undoing::redo(&bench).await.unwrap();
    let again = bench.node.registry.dot(&bench.dot()).await.unwrap();
    assert_eq!(head(&again, "master"), head(&before, "master"));
    redo_in(&bench, "a").await.unwrap();

    // A checkout between, and another fork, change the dot's description. Both can be undone around each other.
    bench.checkout("other", false).await.unwrap();
    fork(&bench, "b").await;
    undo_in(&bench, None).await.unwrap();
    let now = bench.node.registry.dot(&bench.dot()).await.unwrap();
    assert_eq!(now.current.as_str(), "master");
    let names: Vec<&str> = now
        .branches
        .keys()
        .map(dotmesh_model::BranchName::as_str)
        .collect();
    assert_eq!(names, ["a", "b", "master", "other"]);
    assert!(now.branches[&branch("b")].origin.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_and_the_app_never_run_on_one_branch() {
    let bench = Bench::new(stack_for(Work::Reset)).await;
    let refused = forks::make(&bench.node, &bench.dot(), request("master")).await;
    assert!(says(refused.unwrap_err()).contains("is checked out"));
    fork(&bench, "a").await;
    let refused = bench.checkout("a", false).await.unwrap_err();
    assert!(says(refused).contains("branch a has a fork, which runs from /srv/a"));
    // Another fork can have neither its project nor its port.
    let taken = MakeFork {
        project: "app-a".to_owned(),
        ..request("b")
    };
    let refused = forks::make(&bench.node, &bench.dot(), taken).await;
    assert!(says(refused.unwrap_err()).contains("belongs to fork a of app"));
    // A refused fork leaves no branch behind.
    let dot = bench.node.registry.dot(&bench.dot()).await.unwrap();
    assert!(!dot.branches.contains_key(&branch("b")));
    let known = forks::list(&bench.node).await.unwrap();
    let mut taken = request("c");
    taken.ports[0].port = Some(known[0].ports[0].port);
    let refused = forks::make(&bench.node, &bench.dot(), taken).await;
    assert!(says(refused.unwrap_err()).contains("belongs to fork a of app"));

    // The folder decides which fork a command is about.
    let here = forks::here(&bench.node, "/srv/a/web".as_ref())
        .await
        .unwrap();
    assert_eq!(here.folder.as_deref(), Some("/srv/a".as_ref()));
    assert_eq!(here.forks[0].branch.as_str(), "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_fork_is_stopped_and_starts_again_where_it_was() {
    let mut bench = Bench::new(stack_for(Work::Reset)).await;
    let made = fork(&bench, "a").await;
    bench.write("a", CHANGED, "kept");
    forks::stop_expired(&bench.node).await.unwrap();
    assert!(bench.running().contains("a"));
    let expiring = MakeFork {
        lifetime: Some(0),
        ..request("a")
    };
    forks::make(&bench.node, &bench.dot(), expiring)
        .await
        .unwrap();
    bench.restart().await;
    forks::stop_expired(&bench.node).await.unwrap();
    assert!(!bench.running().contains("a"));
    assert!(bench.running().contains("db"), "the app goes on");
    assert_eq!(
        forks::list(&bench.node).await.unwrap()[0].state,
        ForkState::Expired
    );
    // It is made again, with its ports and its data.
    let again = forks::make(&bench.node, &bench.dot(), request("a"))
        .await
        .unwrap();
    assert_eq!((again.expires, again.ports), (None, made.ports));
    bench.world.start_by_hand("a").await.unwrap();
    forks::stop_expired(&bench.node).await.unwrap();
    assert_eq!(bench.world.reads("a", "changed").as_deref(), Some("kept"));

    // A deletion needs its containers gone, and can be undone.
    let delete = DeleteFork {
        branch: "a".parse().unwrap(),
        keep_branch: false,
    };
    let refused = forks::delete(&bench.node, &bench.dot(), &delete).await;
    assert!(matches!(refused, Err(NodeError::InUse { .. })));
    bench.world.stop_by_hand("a").await;
    bench.world.remove_by_hand("a").await;
    forks::delete(&bench.node, &bench.dot(), &delete)
        .await
        .unwrap();
    assert!(forks::list(&bench.node).await.unwrap().is_empty());
    undo_in(&bench, None).await.unwrap();
    assert_eq!(bench.read("a", CHANGED).as_deref(), Some("kept"));
}
