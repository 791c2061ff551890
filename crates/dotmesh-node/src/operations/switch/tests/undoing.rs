//! Undo and redo of each kind of operation.

use std::sync::Arc;
use std::time::Duration;

use dotmesh_api::ErrorBody;
use dotmesh_api::node::{OperationState, Reset, SwitchProgress, Switched, Undo};
use dotmesh_model::{BranchName, CommitId, DotName};
use dotmesh_pool::KeptWhere;
use tokio::sync::watch;

use super::bench::{Bench, Work, stack, stack_for, wait};
use super::transfers::TestHub;
use crate::engine::scripted::Outcome;
use crate::error::NodeError;
use crate::operations::{
    clone, commit, delete_branch, delete_dot, housekeeping, op_log, pull, push, reset, undo, volume,
};
use crate::registry::MadeBy;

pub(super) async fn undo(bench: &Bench) -> Result<Switched, NodeError> {
    undo_deleted(bench, None).await
}

async fn undo_deleted(bench: &Bench, deleted: Option<&str>) -> Result<Switched, NodeError> {
    let request = Undo {
        deleted: deleted.map(str::to_owned),
        wait: wait(),
    };
    let (tell, _) = watch::channel(SwitchProgress::default());
    undo::undo(&bench.node, &bench.dot(), request, tell).await
}

pub(super) async fn redo(bench: &Bench) -> Result<Switched, NodeError> {
    let request = Undo {
        deleted: None,
        wait: wait(),
    };
    let (tell, _) = watch::channel(SwitchProgress::default());
    undo::redo(&bench.node, &bench.dot(), request, tell).await
}

pub(super) async fn reset_to(bench: &Bench, revision: &str) -> Result<Switched, NodeError> {
    let request = Reset {
        revision: revision.to_owned(),
        hard: true,
        expected: None,
        wait: wait(),
    };
    let (tell, _) = watch::channel(SwitchProgress::default());
    reset::reset(&bench.node, &bench.dot(), request, tell).await
}

fn branch(name: &str) -> BranchName {
    name.parse().unwrap()
}

pub(super) async fn head(bench: &Bench, name: &str) -> CommitId {
    let dot = bench.node.registry.dot(&bench.dot()).await.unwrap();
    dot.branch(&branch(name)).unwrap().head
}

fn path(bench: &Bench, name: &str) -> std::path::PathBuf {
    let volume: dotmesh_model::VolumeName = format!("app@{name}.db").parse().unwrap();
    bench
        .node
        .pool
        .volume_path(&bench.dot(), &branch(name), &volume.folder)
        .join("text")
}

/// Writes into a working copy without a commit.
pub(super) fn write(bench: &Bench, name: &str, text: &str) {
    let path = path(bench, name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

pub(super) fn text(bench: &Bench, name: &str) -> Option<String> {
    std::fs::read_to_string(path(bench, name)).ok()
}

async fn dirty(bench: &Bench, name: &str) -> u64 {
    let head = head(bench, name).await;
    let usage = bench
        .node
        .pool
        .usage(&bench.dot(), &branch(name), head)
        .await;
    usage.unwrap().dirty
}

/// The log, newest operation first.
async fn log(bench: &Bench) -> Vec<String> {
    let log = op_log::op_log(&bench.node, &bench.dot()).await.unwrap();
    let line = |one: &dotmesh_api::node::Operation| {
        let state = match one.state {
            OperationState::Done => "",
            OperationState::Undone => " (undone)",
            OperationState::UnderWay => " (under way)",
        };
        format!("{}{state}", one.what)
    };
    log.operations.iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_taken_back_and_its_files_stay() {
    let bench = Bench::new(stack).await;
    let before = head(&bench, "master").await;
    write(&bench, "master", "one");
    bench.commit().await;
    let made = head(&bench, "master").await;
    bench.world.calm();

    let undone = undo(&bench).await.unwrap();
    assert!(undone.operation.unwrap().starts_with("commit "));
    assert_eq!(
        (undone.head, head(&bench, "master").await),
        (before, before)
    );
    assert_eq!(text(&bench, "master").as_deref(), Some("one"));
    assert!(dirty(&bench, "master").await > 0);
    assert_eq!(bench.world.calls(), [""; 0], "no container is touched");

    redo(&bench).await.unwrap();
    assert_eq!(head(&bench, "master").await, made, "the very same commit");
    assert_eq!(dirty(&bench, "master").await, 0);

    // Files written meanwhile stay, too.
    undo(&bench).await.unwrap();
    write(&bench, "master", "two");
    redo(&bench).await.unwrap();
    assert_eq!(text(&bench, "master").as_deref(), Some("two"));
    assert!(dirty(&bench, "master").await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_gives_the_uncommitted_changes_back() {
    let mut bench = Bench::new(stack_for(Work::Reset)).await;
    write(&bench, "master", "one");
    bench.commit().await;
    let was = head(&bench, "master").await;
    write(&bench, "master", "not committed");
    let ran = bench.running();

    reset_to(&bench, "HEAD^").await.unwrap();
    let reset = head(&bench, "master").await;
    assert_eq!(text(&bench, "master"), None);
    write(&bench, "master", "after the reset");

    let undone = undo(&bench).await.unwrap();
    assert_eq!(undone.restarted, ["db", "web"]);
    assert_eq!((undone.head, head(&bench, "master").await), (was, was));
    assert_eq!(text(&bench, "master").as_deref(), Some("not committed"));
    bench.assert_allowed(&ran, "undone").await;
    assert_eq!(
        bench.world.reads("db", "text").as_deref(),
        Some("not committed")
    );

    // The same holds after a restart.
    bench.restart().await;
    redo(&bench).await.unwrap();
    assert_eq!(head(&bench, "master").await, reset);
    assert_eq!(text(&bench, "master").as_deref(), Some("after the reset"));
    undo(&bench).await.unwrap();
    assert_eq!(text(&bench, "master").as_deref(), Some("not committed"));
    bench.settle(&ran, "in the end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_is_taken_back_with_the_branch_that_it_made() {
    let mut bench = Bench::new(stack).await;
    write(&bench, "master", "not committed");
    bench.checkout("new", true).await.unwrap();
    write(&bench, "new", "on the new branch");
    write(&bench, "master", "on the old branch");

    let undone = undo(&bench).await.unwrap();
    assert_eq!(undone.branch.as_str(), "master");
    assert_eq!(undone.restarted, ["db", "web"]);
    assert_eq!(bench.current().await, "master");
    assert_eq!(text(&bench, "master").as_deref(), Some("on the old branch"));
    let dot = bench.node.registry.dot(&bench.dot()).await.unwrap();
    assert!(!dot.branches.contains_key(&branch("new")));

    bench.restart().await;
    redo(&bench).await.unwrap();
    assert_eq!(bench.current().await, "new");
    assert_eq!(text(&bench, "new").as_deref(), Some("on the new branch"));
    let dot = bench.node.registry.dot(&bench.dot()).await.unwrap();
    let origin = dot.branch(&branch("new")).unwrap().origin.clone();
    assert_eq!(origin.unwrap().branch, branch("master"));

    bench.checkout("other", false).await.unwrap();
    undo(&bench).await.unwrap();
    assert_eq!(bench.current().await, "new");
    assert_eq!(
        log(&bench).await[..2],
        [
            "switch from branch new to branch other (undone)",
            "switch from branch master to the new branch new"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_undo_goes_further_back_and_a_new_operation_ends_redo() {
    let bench = Bench::new(|_| {}).await;
    for text in ["one", "two", "three"] {
        write(&bench, "master", text);
        bench.commit().await;
    }
    let third = head(&bench, "master").await;
    for _ in 0..3 {
        undo(&bench).await.unwrap();
    }
    for _ in 0..3 {
        redo(&bench).await.unwrap();
    }
    assert_eq!(head(&bench, "master").await, third);
    let refused = redo(&bench).await.unwrap_err();
    assert!(
        matches!(refused, NodeError::NothingToRedo { .. }),
        "{refused}"
    );

    undo(&bench).await.unwrap();
    undo(&bench).await.unwrap();
    bench.commit().await;
    let refused = redo(&bench).await.unwrap_err();
    assert!(
        matches!(refused, NodeError::NothingToRedo { .. }),
        "{refused}"
    );
    // Undo the set-up of the bench, too.
    while undo(&bench).await.is_ok() {}
    let refused = undo(&bench).await.unwrap_err();
    assert!(
        matches!(refused, NodeError::NothingToUndo { .. }),
        "{refused}"
    );
    assert_eq!(head(&bench, "master").await, CommitId::ROOT);
    assert_eq!(text(&bench, "master").as_deref(), Some("three"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_operation_is_not_in_the_log() {
    let bench = Bench::new(stack).await;
    let before = log(&bench).await;
    bench.world.turns_out("web", Outcome::Fails);
    bench.checkout("other", false).await.unwrap_err();
    bench.checkout("new", true).await.unwrap_err();
    assert_eq!(log(&bench).await, before);
    bench.world.turns_out("web", Outcome::Runs);
    bench.settle(&bench.running(), "web runs again").await;

    // A failed undo changes nothing.
    bench.checkout("new", true).await.unwrap();
    write(&bench, "new", "kept");
    let before = log(&bench).await;
    bench.world.turns_out("web", Outcome::Fails);
    undo(&bench).await.unwrap_err();
    assert_eq!(log(&bench).await, before);
    assert_eq!(bench.current().await, "new");
    assert_eq!(text(&bench, "new").as_deref(), Some("kept"));
    bench.world.turns_out("web", Outcome::Runs);
    undo(&bench).await.unwrap();

    // Neither does a failed redo.
    bench.world.turns_out("web", Outcome::Fails);
    redo(&bench).await.unwrap_err();
    assert_eq!(bench.current().await, "master");
    bench.world.turns_out("web", Outcome::Runs);
    redo(&bench).await.unwrap();
    assert_eq!(text(&bench, "new").as_deref(), Some("kept"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_a_container_pins_is_not_taken_away() {
    let bench = Bench::new(|_| {}).await;
    bench.checkout("new", true).await.unwrap();
    bench.world.create("pinned", &["app@new.files"], |_| {});
    bench.world.start_by_hand("pinned").await.unwrap();
    let refused = undo(&bench).await.unwrap_err();
    assert!(matches!(refused, NodeError::InUse { .. }), "{refused}");
    assert_eq!(bench.current().await, "new");
    bench.world.stop_by_hand("pinned").await;
    undo(&bench).await.unwrap();
    assert_eq!(bench.current().await, "master");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_branch_comes_back_with_its_files() {
    let mut bench = Bench::new(stack).await;
    write(&bench, "other", "not committed");
    bench.checkout("other", false).await.unwrap();
    bench.checkout("child", true).await.unwrap();
    bench.checkout("master", false).await.unwrap();
    let was = head(&bench, "other").await;
    let before = bench.node.registry.dot(&bench.dot()).await.unwrap();
    delete_branch::delete_branch(&bench.node, &bench.dot(), &branch("other"), true)
        .await
        .unwrap();
    bench.world.calm();
    undo(&bench).await.unwrap();
    assert_eq!(head(&bench, "other").await, was);
    assert_eq!(text(&bench, "other").as_deref(), Some("not committed"));
    let after = bench.node.registry.dot(&bench.dot()).await.unwrap();
    assert_eq!(after.branches, before.branches, "their origins, too");
    let started = |calls: Vec<String>| calls.iter().any(|call| call.starts_with("start"));
    assert!(!started(bench.world.calls()), "nobody looks at that branch");

    redo(&bench).await.unwrap();
    bench.restart().await;
    let dot = bench.node.registry.dot(&bench.dot()).await.unwrap();
    assert!(!dot.branches.contains_key(&branch("other")));
    undo(&bench).await.unwrap();
    assert_eq!(text(&bench, "other").as_deref(), Some("not committed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_is_taken_back_with_all_its_branches() {
    let hub = TestHub::start().await;
    let alice = Bench::new(|_| {}).await;
    push::push(&hub.job(&alice)).await.unwrap();
    let mut bob = Bench::empty().await;
    clone::clone(&Arc::new(hub.job_about(&bob, "app", None)))
        .await
        .unwrap();
    let old = [head(&bob, "master").await, head(&bob, "other").await];
    // Both commit on `other`. On `master` only Alice does.
    for name in ["master", "other"] {
        alice.checkout(name, false).await.unwrap();
        write(&alice, name, "of alice");
        alice.commit().await;
    }
    push::push(&hub.job(&alice)).await.unwrap();
    bob.checkout("other", false).await.unwrap();
    write(&bob, "other", "of bob");
    bob.commit().await;
    let own = head(&bob, "other").await;
    bob.checkout("master", false).await.unwrap();
    let mut job = hub.job_about(&bob, "app", None);
    job.request.stash_on_divergence = true;
    pull::pull(&Arc::new(job)).await.unwrap();
    let pulled = bob.node.registry.dot(&bob.dot()).await.unwrap();
    assert_eq!(pulled.branches.len(), 3, "the own line is a branch");
    assert_eq!(text(&bob, "master").as_deref(), Some("of alice"));
    assert_eq!(text(&bob, "other").as_deref(), Some("of alice"));
    write(&bob, "other", "after the pull");

    bob.restart().await;
    undo(&bob).await.unwrap();
    let dot = bob.node.registry.dot(&bob.dot()).await.unwrap();
    assert_eq!(dot.branches.len(), 2);
    assert_eq!(head(&bob, "master").await, old[0]);
    assert_eq!(head(&bob, "other").await, own);
    assert_eq!(text(&bob, "other").as_deref(), Some("of bob"));
    assert_eq!(dirty(&bob, "other").await, 0);

    redo(&bob).await.unwrap();
    let dot = bob.node.registry.dot(&bob.dot()).await.unwrap();
    assert_eq!(dot.branches, pulled.branches);
    assert_eq!(text(&bob, "other").as_deref(), Some("after the pull"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_dot_comes_back_with_all_that_was_known_of_it() {
    let mut bench = Bench::new(|_| {}).await;
    let node = &bench.node;
    write(&bench, "master", "not committed");
    let before = node.registry.dot(&bench.dot()).await.unwrap();
    let volumes = node.registry.volumes().await.unwrap();
    let known = log(&bench).await;
    let made_by = node.registry.made_by().await.unwrap();
    assert_eq!(made_by, [(before.id.clone(), MadeBy::Docker)]);

    delete_dot::delete_dot(node, &bench.dot()).await.unwrap();
    assert_eq!(log(&bench).await[0], "deletion of the dot");
    bench.restart().await;
    let node = &bench.node;
    assert!(
        node.registry
            .find_dot(&bench.dot())
            .await
            .unwrap()
            .is_none()
    );
    let undone = undo(&bench).await.unwrap();
    assert_eq!(undone.operation.as_deref(), Some("deletion of the dot"));
    let after = node.registry.dot(&bench.dot()).await.unwrap();
    assert_eq!((after.id, after.branches), (before.id, before.branches));
    assert_eq!(text(&bench, "master").as_deref(), Some("not committed"));
    assert_eq!(node.registry.volumes().await.unwrap(), volumes);
    assert_eq!(node.registry.made_by().await.unwrap(), made_by);
    assert_eq!(log(&bench).await[0], "deletion of the dot (undone)");
    assert_eq!(log(&bench).await[1..], known);

    // The restored dot's operations can be undone, and its deletion redone.
    redo(&bench).await.unwrap();
    assert!(
        node.registry
            .find_dot(&bench.dot())
            .await
            .unwrap()
            .is_none()
    );
    undo(&bench).await.unwrap();
    undo(&bench).await.unwrap();
    assert_eq!(bench.current().await, "other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_again_says_how_to_have_the_old_dot_back() {
    let bench = Bench::new(|_| {}).await;
    let node = &bench.node;
    let old = node.registry.dot(&bench.dot()).await.unwrap();
    delete_dot::delete_dot(node, &bench.dot()).await.unwrap();
    volume::create(node, "app.db").await.unwrap();
    let refused = ErrorBody::from(undo(&bench).await.unwrap_err());
    let hint = refused.hint.unwrap();
    let id = &old.id[..8];
    assert!(refused.message.contains(&old.id), "{}", refused.message);
    let says = format!("dm dot delete app; then: dm undo --dot app --deleted {id}");
    assert!(hint.contains(&says), "{hint}");
    delete_dot::delete_dot(node, &bench.dot()).await.unwrap();
    let unknown = undo_deleted(&bench, Some("ffff")).await.unwrap_err();
    assert!(matches!(unknown, NodeError::NotKept { .. }), "{unknown}");
    undo_deleted(&bench, Some(id)).await.unwrap();
    let now = node.registry.dot(&bench.dot()).await.unwrap();
    assert_eq!(now.id, old.id);
    let log = op_log::op_log(node, &bench.dot()).await.unwrap();
    assert_eq!(log.deleted.len(), 1, "the empty one");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_can_be_lost() {
    let mut bench = Bench::new(|_| {}).await;
    bench.checkout("new", true).await.unwrap();
    write(&bench, "new", "kept");
    undo(&bench).await.unwrap();
    let before = log(&bench).await;
    bench
        .node
        .registry
        .delete_dot(&bench.node.registry.dot(&bench.dot()).await.unwrap().id)
        .await
        .unwrap();
    bench.restart().await;
    assert_eq!(log(&bench).await, before);
    redo(&bench).await.unwrap();
    assert_eq!(text(&bench, "new").as_deref(), Some("kept"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_budget_does_not_allow_goes_and_the_oldest_first() {
    let bench = Bench::new(|_| {}).await;
    write(&bench, "master", &"1".repeat(1000));
    bench.reset().await.unwrap();
    write(&bench, "master", &"2".repeat(3000));
    bench.reset().await.unwrap();
    let kept = bench.node.pool.kept().await.unwrap();
    let sizes: Vec<u64> = kept
        .iter()
        .map(|kept| kept.bytes)
        .filter(|bytes| *bytes > 0)
        .collect();
    assert_eq!(sizes, [1000, 3000]);
    let log = op_log::op_log(&bench.node, &bench.dot()).await.unwrap();
    assert_eq!((log.budget.used, log.budget.seconds), (4000, 7 * 24 * 3600));

    housekeeping::keep_budget(&bench.node).await.unwrap();
    assert_eq!(
        bench.node.pool.kept().await.unwrap(),
        kept,
        "within the budget"
    );
    // A full pool drops the oldest first, with all that is reachable only through it.
    housekeeping::drop_oldest(&bench.node).await.unwrap();
    let left = bench.node.pool.kept().await.unwrap();
    assert_eq!(left, kept[kept.len() - 1..]);
    undo(&bench).await.unwrap();
    assert_eq!(text(&bench, "master"), Some("2".repeat(3000)));
    undo(&bench).await.unwrap_err();
    housekeeping::drop_oldest(&bench.node).await.unwrap();
    redo(&bench).await.unwrap();
    housekeeping::drop_oldest(&bench.node).await.unwrap();
    assert_eq!(bench.node.pool.kept().await.unwrap(), []);

    delete_dot::delete_dot(&bench.node, &bench.dot())
        .await
        .unwrap();
    let kept = bench.node.pool.kept().await.unwrap();
    assert!(matches!(
        kept[..],
        [dotmesh_pool::Kept {
            place: KeptWhere::Deleted(_),
            ..
        }]
    ));
    housekeeping::drop_oldest(&bench.node).await.unwrap();
    assert!(matches!(undo(&bench).await, Err(NodeError::NoDot { .. })));
    bench.node.pool.empty_trash(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_refused_leaves_no_trace_in_the_log() {
    let bench = Bench::new(|_| {}).await;
    let before = log(&bench).await;
    let request = dotmesh_api::node::CreateCommit {
        message: "m".repeat(10_000_000),
        author: "a".to_owned(),
        metadata: Default::default(),
        code: None,
        expected: None,
        amend: false,
    };
    let dot: DotName = bench.dot();
    commit::commit(&bench.node, &dot, request)
        .await
        .unwrap_err();
    assert_eq!(log(&bench).await, before);
}
