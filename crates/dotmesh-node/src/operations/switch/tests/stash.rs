//! Stashes: they are applied unchanged, and only at their own commit.

use dotmesh_api::ErrorBody;
use dotmesh_api::node::{BranchStart, Checkout, Stash, SwitchProgress};
use tokio::sync::watch;

use super::bench::{Bench, CHANGED, Work, stack_for, wait};
use super::undoing::{redo, undo};
use crate::engine::scripted::Outcome;
use crate::error::NodeError;
use crate::operations::{checkout, commit, diff, stash};

async fn bench() -> Bench {
    Bench::new(stack_for(Work::Stash)).await
}

fn seen(bench: &Bench) -> Option<String> {
    bench.world.reads("db", "changed")
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_put_aside_and_brought_back() {
    let mut bench = bench().await;
    let refused = bench.stash().await.unwrap_err();
    assert!(matches!(refused, NodeError::NothingToStash { .. }));
    bench.write("master", CHANGED, "one");
    let done = bench.stash().await.unwrap();
    assert_eq!(done.restarted, ["db", "web"]);
    assert_eq!(seen(&bench), None);
    assert_eq!(bench.read("master", CHANGED), None);
    bench.write("master", CHANGED, "two");
    bench.stash().await.unwrap();
    bench.restart().await;
    let stashes = bench.stashes().await;
    let told = |stash: &Stash| format!("{} {}", stash.branch, stash.title);
    assert_eq!(
        stashes.iter().map(told).collect::<Vec<_>>(),
        ["master m", "master m"]
    );

    // The diff of a stash does not need to apply it.
    let request = diff::Request {
        stash: Some(stashes[0].id),
        ..diff::Request::default()
    };
    let diff = diff::diff(&bench.node, &bench.dot(), request)
        .await
        .unwrap();
    let paths: Vec<_> = diff.changes.iter().map(|change| &change.path).collect();
    assert_eq!(paths, [CHANGED]);

    // Apply keeps the stash. A stash is not applied over uncommitted changes.
    bench.apply(false).await.unwrap();
    assert_eq!(seen(&bench).as_deref(), Some("two"));
    assert_eq!(bench.stashes().await.len(), 2);
    let refused = bench.pop().await.unwrap_err();
    assert!(matches!(refused, NodeError::Dirty { .. }), "{refused}");
    bench.reset().await.unwrap();
    stash::drop_one(&bench.node, &bench.dot(), stashes[0].id)
        .await
        .unwrap();
    bench.pop().await.unwrap();
    assert_eq!(seen(&bench).as_deref(), Some("one"));
    assert!(bench.stashes().await.is_empty());
    // The applied change is uncommitted, and can be stashed again.
    bench.stash().await.unwrap();
    assert_eq!(bench.read("master", CHANGED), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_pop_replaces_changes_and_an_undo_brings_them_back() {
    let bench = bench().await;
    bench.write("master", CHANGED, "one");
    bench.stash().await.unwrap();
    bench.write("master", CHANGED, "two");
    let refused = bench.pop().await.unwrap_err();
    assert!(matches!(refused, NodeError::Dirty { .. }), "{refused}");
    bench.force_pop().await.unwrap();
    assert_eq!(seen(&bench).as_deref(), Some("one"));
    assert!(bench.stashes().await.is_empty());
    undo(&bench).await.unwrap();
    assert_eq!(seen(&bench).as_deref(), Some("two"));
    assert_eq!(bench.stashes().await.len(), 1);
}

/// A file of Redis with one key, as it is written at some second.
fn dump(second: u8, value: u8) -> Vec<u8> {
    let mut file = b"REDIS0011\xFA\x05ctime\xC0".to_vec();
    file.extend([second, 0xFE, 0, 0, 1, b'k', 1, value, 0xFF]);
    file.extend([second; 8]);
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_database_writes_by_itself_is_no_obstacle() {
    let bench = bench().await;
    let dumped = |bench: &Bench| bench.read_bytes("master", "db/dump.rdb");
    bench.write("master", "db/dump.rdb", dump(1, b'1'));
    bench.commit().await;
    bench.write("master", CHANGED, "one");
    bench.stash().await.unwrap();
    // Redis writes the same data again when it stops.
    bench.write("master", "db/dump.rdb", dump(2, b'1'));
    bench.pop().await.unwrap();
    assert_eq!(seen(&bench).as_deref(), Some("one"));
    assert_eq!(dumped(&bench), dump(1, b'1'));
    undo(&bench).await.unwrap();
    assert_eq!(dumped(&bench), dump(2, b'1'), "nothing is lost");
    assert_eq!(bench.stashes().await.len(), 1, "the stash comes back");

    // A row of somebody is not given up.
    bench.write("master", "db/dump.rdb", dump(2, b'2'));
    let refused = bench.pop().await.unwrap_err();
    assert!(matches!(refused, NodeError::Dirty { .. }), "{refused}");
    assert_eq!(dumped(&bench), dump(2, b'2'));
    // Neither if it is written only when the server is stopped.
    bench.write("master", "db/dump.rdb", dump(2, b'1'));
    bench.on_stop("db", "db/dump.rdb", dump(3, b'3'));
    let refused = bench.pop().await.unwrap_err();
    assert!(refused.to_string().contains("uncommitted"), "{refused}");
    assert_eq!(dumped(&bench), dump(3, b'3'));
    bench.settle(&bench.running(), "refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stash_of_another_commit_becomes_a_branch() {
    let bench = bench().await;
    bench.write("master", CHANGED, "one");
    bench.stash().await.unwrap();
    bench.write("master", "db/next", "next");
    bench.commit().await;
    let refused = ErrorBody::from(bench.pop().await.unwrap_err());
    assert!(
        refused.message.contains("cannot merge database files"),
        "{refused}"
    );
    let hint = refused.hint.unwrap_or_default();
    assert!(hint.contains("dm stash branch NAME stash@{0}"), "{hint}");
    assert_eq!(bench.read("master", CHANGED), None);

    let stash = bench.stashes().await.remove(0);
    let request = Checkout {
        branch: "kept".parse().unwrap(),
        create: Some(BranchStart::Stash(stash.id)),
        wait: wait(),
    };
    let (tell, _) = watch::channel(SwitchProgress::default());
    let done = checkout::checkout(&bench.node, &bench.dot(), request, tell).await;
    let done = done.unwrap();
    assert_eq!((done.branch.as_str(), done.head), ("kept", stash.head));
    assert_eq!(seen(&bench).as_deref(), Some("one"));
    assert_eq!(bench.read("kept", "db/next"), None);
    assert_eq!(
        bench.stashes().await.len(),
        1,
        "it goes with a call of its own"
    );
    // It can also be applied to a branch with the same head.
    bench.checkout("same", true).await.unwrap();
    bench.reset().await.unwrap();
    bench.pop().await.unwrap();
    assert_eq!(bench.read("same", CHANGED).as_deref(), Some("one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stash_is_taken_back_when_a_container_does_not_start() {
    let bench = bench().await;
    bench.write("master", CHANGED, "one");
    bench.world.turns_out("web", Outcome::Fails);
    assert!(bench.stash().await.is_err());
    assert_eq!(bench.read("master", CHANGED).as_deref(), Some("one"));
    assert!(bench.stashes().await.is_empty());
    bench.world.turns_out("web", Outcome::Runs);
    bench
        .settle(&["db", "web"].map(str::to_owned).into(), "undone")
        .await;
    bench.stash().await.unwrap();
    bench.world.turns_out("web", Outcome::Fails);
    assert!(bench.pop().await.is_err());
    assert_eq!(bench.read("master", CHANGED), None);
    assert_eq!(bench.stashes().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stash_and_its_return_are_undone_and_redone() {
    let bench = bench().await;
    bench.write("master", CHANGED, "one");
    bench.stash().await.unwrap();
    assert_eq!(seen(&bench), None);
    undo(&bench).await.unwrap();
    assert_eq!(seen(&bench).as_deref(), Some("one"));
    redo(&bench).await.unwrap();
    assert_eq!(seen(&bench), None);
    bench.pop().await.unwrap();
    assert_eq!(seen(&bench).as_deref(), Some("one"));
    undo(&bench).await.unwrap();
    assert_eq!(seen(&bench), None);
    redo(&bench).await.unwrap();
    assert_eq!(seen(&bench).as_deref(), Some("one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_amended_commit_is_undone_and_redone() {
    let bench = bench().await;
    let head = async || {
        let dot = bench.node.registry.dot(&bench.dot()).await.unwrap();
        dot.current().unwrap().head
    };
    bench.commit().await;
    let before = head().await;
    bench.write("master", CHANGED, "one");
    let request = dotmesh_api::node::CreateCommit {
        message: String::new(),
        author: "a".to_owned(),
        metadata: Default::default(),
        code: None,
        expected: None,
        amend: true,
    };
    let amended = commit::commit(&bench.node, &bench.dot(), request).await;
    let amended = amended.unwrap().id;
    assert_eq!(head().await, amended);
    undo(&bench).await.unwrap();
    assert_eq!(head().await, before);
    assert_eq!(seen(&bench).as_deref(), Some("one"));
    redo(&bench).await.unwrap();
    assert_eq!(head().await, amended);
}
