//! A clone outlives its hub. It is pushed to another hub without the data that it never had. A node that has the data
//! sends it later.

use std::path::PathBuf;
use std::sync::Arc;

use dotmesh_api::node::{
    BranchStart, Checkout, Fetch, HubLogin, Log, LogQuery, Reset, TransferOutcome,
};
use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_hub_model::quota::Quota;
use dotmesh_model::{CommitId, VolumeName};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;

use super::bench::{Bench, wait};
use super::transfers::TestHub;
use crate::error::NodeError;
use crate::operations::transfer::Job;
use crate::operations::{checkout, clone, fetch, log, pull, push, reset, volume};

fn volume_path(bench: &Bench, branch: &str) -> PathBuf {
    let db: VolumeName = format!("app@{branch}.db").parse().unwrap();
    let branch = branch.parse().unwrap();
    let pool = &bench.node.pool;
    pool.volume_path(&bench.dot(), &branch, &db.folder)
}

/// Commits a file with this content on `master`.
async fn write(bench: &Bench, content: &str) {
    let path = volume_path(bench, "master");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("state"), content).unwrap();
    // Each commit adds a file, so that the trees differ in several places.
    std::fs::write(path.join(content), content).unwrap();
    bench.commit().await;
}

fn read(bench: &Bench, branch: &str) -> String {
    std::fs::read_to_string(volume_path(bench, branch).join("state")).unwrap()
}

async fn history(bench: &Bench) -> Log {
    let query = LogQuery::default();
    log::log(&bench.node, &bench.dot(), &query).await.unwrap()
}

/// The commits on `master`, oldest first.
async fn line(bench: &Bench) -> Vec<CommitId> {
    let log = history(bench).await;
    log.commits.iter().rev().map(|commit| commit.id).collect()
}

/// A quota in bytes with room for a small commit, but not for [`LARGE`] bytes of noise.
const LITTLE: u64 = 20_000;
const LARGE: usize = 100_000;

/// Incompressible bytes.
fn noise() -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(1);
    let mut bytes = vec![0; LARGE];
    random.fill_bytes(&mut bytes);
    bytes
}

/// A push with `--without-data`.
async fn push_without(hub: &TestHub, bench: &Bench) -> Result<TransferOutcome, NodeError> {
    let mut job = owned(hub.job(bench));
    job.request.without_data = true;
    push::push(&job).await
}

fn owned(job: Arc<Job>) -> Job {
    Arc::into_inner(job).expect("nobody else has it yet")
}

async fn fetch_from(
    hub: &TestHub,
    bench: &Bench,
    id: CommitId,
) -> Result<TransferOutcome, NodeError> {
    let job = hub.job(bench);
    let request = Fetch {
        branch: None,
        hub: HubLogin {
            address: hub.url.clone(),
            ..job.request.hub.clone()
        },
        revision: id.to_string(),
        ancestors: false,
        rate_limit: None,
    };
    fetch::fetch(&job.connection, &bench.dot(), &request).await
}

async fn branch_at(bench: &Bench, branch: &str, id: CommitId) -> Result<(), NodeError> {
    let request = Checkout {
        branch: branch.parse().unwrap(),
        create: Some(BranchStart::Commit(id.to_string())),
        wait: wait(),
    };
    let (tell, _) = watch::channel(Default::default());
    let dot = bench.dot();
    let done = checkout::checkout(&bench.node, &dot, request, tell).await;
    done.map(drop)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, NodeError>, code: ErrorCode) -> ErrorBody {
    let body = ErrorBody::from(result.unwrap_err());
    assert_eq!(body.code, code, "{body:?}");
    body
}

/// Alice has everything. Bob has a clone of three commits, with the data of the last one only, and a commit of his own.
/// Their hub is gone.
async fn orphaned() -> (Bench, Bench, Vec<CommitId>) {
    let alice = Bench::empty().await;
    volume::create(&alice.node, "app.db").await.unwrap();
    let large = volume_path(&alice, "master").join("large");
    std::fs::create_dir_all(volume_path(&alice, "master")).unwrap();
    std::fs::write(&large, noise()).unwrap();
    write(&alice, "one").await;
    write(&alice, "two").await;
    std::fs::remove_file(large).unwrap();
    write(&alice, "three").await;
    let gone = TestHub::start().await;
    push::push(&gone.job(&alice)).await.unwrap();
    let bob = Bench::empty().await;
    clone::clone(&gone.job(&bob)).await.unwrap();
    assert_eq!(history(&bob).await.absent.len(), 2);
    write(&bob, "four").await;
    let line = line(&bob).await;
    assert_eq!(line.len(), 4);
    (alice, bob, line)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_goes_to_another_hub_and_the_rest_follows() {
    let (alice, bob, line) = orphaned().await;
    let hub = TestHub::start().await;
    let client = hub.client("alice");
    let app = "alice/app".parse().unwrap();
    // This needs the user's consent, and a hub that supports it.
    refused(push::push(&hub.job(&bob)).await, ErrorCode::Absent);
    let mut job = owned(hub.job(&bob));
    job.request.without_data = true;
    job.connection.takes_without_data = false;
    let error = refused(push::push(&job).await, ErrorCode::Incomplete);
    assert!(
        error
            .message
            .contains("data of 2 older commits is not here"),
        "{error:?}"
    );
    assert!(error.message.contains("too old"), "{error:?}");
    assert!(client.dot(&app).await.unwrap().is_none());

    let pushed = push_without(&hub, &bob).await.unwrap();
    assert_eq!((pushed.without_data, pushed.filled), (2, 0));
    assert_eq!(pushed.branches[0].commits, 4);
    let there = client.dot(&app).await.unwrap().unwrap();
    assert_eq!(there.without_data, 2);
    // A second push has nothing to do, and the next commit is pushed as usual.
    let again = push_without(&hub, &bob).await.unwrap();
    assert_eq!((again.without_data, again.branches[0].commits), (0, 0));
    write(&bob, "five").await;
    let next = push::push(&hub.job(&bob)).await.unwrap();
    assert_eq!((next.without_data, next.branches[0].commits), (0, 1));

    // A colleague clones the newest state, and is told which data is missing.
    let carol = Bench::empty().await;
    let cloned = clone::clone(&hub.job(&carol)).await.unwrap();
    assert_eq!(cloned.without_data, 0, "nobody asked for it");
    assert_eq!(read(&carol, "master"), "five");
    let log = history(&carol).await;
    assert_eq!((log.commits.len(), log.absent.len()), (5, 4));
    assert!(
        log.without_data
            .iter()
            .eq(&std::collections::BTreeSet::from([line[0], line[1]]))
    );
    let error = refused(branch_at(&carol, "old", line[0]).await, ErrorCode::Absent);
    assert!(
        error.message.contains("is neither here nor at http://"),
        "{error:?}"
    );
    assert!(error.hint.is_some_and(|hint| hint.contains("dm push")));
    refused(fetch_from(&hub, &carol, line[0]).await, ErrorCode::Absent);
    let request = Reset {
        revision: line[1].to_string(),
        hard: true,
        expected: None,
        wait: wait(),
    };
    let (tell, _) = watch::channel(Default::default());
    let back = reset::reset(&carol.node, &carol.dot(), request, tell).await;
    refused(back, ErrorCode::Absent);
    fetch_from(&hub, &carol, line[2]).await.unwrap();
    branch_at(&carol, "three", line[2]).await.unwrap();
    assert_eq!(read(&carol, "three"), "three");

    // A full clone gets all data that exists.
    let dave = Bench::empty().await;
    let mut job = owned(hub.job(&dave));
    job.request.full = true;
    let cloned = clone::clone(&Arc::new(job)).await.unwrap();
    assert_eq!(cloned.without_data, 2);
    assert_eq!(history(&dave).await.absent.len(), 2);

    // Alice has the data, but not the newer commits. Her pull gets the new commits, and her push sends the old data.
    let pulled = pull::pull(&hub.job(&alice)).await.unwrap();
    assert_eq!(pulled.without_data, 0);
    let filled = push::push(&hub.job(&alice)).await.unwrap();
    assert_eq!((filled.filled, filled.branches[0].commits), (2, 0));
    assert!(filled.not_filled.is_none());
    assert_eq!(client.dot(&app).await.unwrap().unwrap().without_data, 0);
    assert_eq!(push::push(&hub.job(&alice)).await.unwrap().filled, 0);

    // Carol can fetch the data at once. Her log shows it after the next pull.
    fetch_from(&hub, &carol, line[0]).await.unwrap();
    branch_at(&carol, "old", line[0]).await.unwrap();
    assert_eq!(read(&carol, "old"), "one");
    pull::pull(&hub.job(&carol)).await.unwrap();
    assert!(history(&carol).await.without_data.is_empty());
    // Bob's commits came from a hub that is gone. The new hub has them all.
    let mut job = owned(hub.job(&bob));
    job.request.full = true;
    pull::pull(&Arc::new(job)).await.unwrap();
    assert!(history(&bob).await.absent.is_empty());
    branch_at(&bob, "two", line[1]).await.unwrap();
    assert_eq!(read(&bob, "two"), "two");
}

/// The hub refuses a branch at a commit without data, so that data is sent first.
#[tokio::test(flavor = "multi_thread")]
async fn a_branch_at_an_older_commit_brings_its_data() {
    let (alice, bob, line) = orphaned().await;
    let hub = TestHub::start().await;
    push_without(&hub, &bob).await.unwrap();
    branch_at(&alice, "old", line[0]).await.unwrap();
    let job = hub.job_about(&alice, "app", Some("old"));
    let pushed = push::push(&job).await.unwrap();
    assert_eq!(pushed.filled, 1);
    let client = hub.client("alice");
    let there = client
        .dot(&"alice/app".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(there.without_data, 1);
    assert_eq!(there.branches.len(), 2);
    let carol = Bench::empty().await;
    clone::clone(&hub.job(&carol)).await.unwrap();
    assert_eq!(read(&carol, "old"), "one");
    assert_eq!(read(&carol, "master"), "four");
    after_second(&hub, &alice, line[1]).await;
}

/// A commit whose parent's data is missing on the hub is sent in full, whether the rest of the hub's history is known
/// here or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_after_one_without_data_comes_whole() {
    let (alice, bob, line) = orphaned().await;
    let hub = TestHub::start().await;
    push_without(&hub, &bob).await.unwrap();
    pull::pull(&hub.job(&alice)).await.unwrap();
    after_second(&hub, &alice, line[1]).await;
}

async fn after_second(hub: &TestHub, alice: &Bench, second: CommitId) {
    branch_at(alice, "second", second).await.unwrap();
    std::fs::write(volume_path(alice, "second").join("state"), "after two").unwrap();
    alice.commit().await;
    let job = hub.job_about(alice, "app", Some("second"));
    let pushed = push::push(&job).await.unwrap();
    assert!(
        pushed.filled >= 1 && pushed.not_filled.is_none(),
        "{pushed:?}"
    );
    let dave = Bench::empty().await;
    clone::clone(&hub.job(&dave)).await.unwrap();
    assert_eq!(read(&dave, "second"), "after two");
    let bytes = std::fs::read(volume_path(&dave, "second").join("large")).unwrap();
    assert_eq!(bytes, noise());
}

/// A state is missing between two states that are here.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_here_goes_with_its_data() {
    let alice = Bench::empty().await;
    volume::create(&alice.node, "app.db").await.unwrap();
    for content in ["one", "two", "three"] {
        write(&alice, content).await;
    }
    let gone = TestHub::start().await;
    push::push(&gone.job(&alice)).await.unwrap();
    let bob = Bench::empty().await;
    clone::clone(&gone.job(&bob)).await.unwrap();
    let line = line(&bob).await;
    fetch_from(&gone, &bob, line[0]).await.unwrap();
    let hub = TestHub::start().await;
    let pushed = push_without(&hub, &bob).await.unwrap();
    assert_eq!((pushed.without_data, pushed.branches[0].commits), (1, 3));
    let client = hub.client("alice");
    let lacks = client.without_data(&"alice/app".parse().unwrap()).await;
    assert_eq!(lacks.unwrap().commits, [line[1]]);
    let carol = Bench::empty().await;
    clone::clone(&hub.job(&carol)).await.unwrap();
    fetch_from(&hub, &carol, line[0]).await.unwrap();
    branch_at(&carol, "one", line[0]).await.unwrap();
    assert_eq!(read(&carol, "one"), "one");
    // A second push of the same commits from another node finds nothing new.
    let again = push_without(&hub, &bob).await.unwrap();
    assert_eq!((again.without_data, again.filled), (0, 0));
}

/// The registry is lost. The hub knows the roots and seals of the commits.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_registry_was_rebuilt_fills_in_too() {
    let (mut alice, bob, _) = orphaned().await;
    let hub = TestHub::start().await;
    push_without(&hub, &bob).await.unwrap();
    pull::pull(&hub.job(&alice)).await.unwrap();
    let dot = alice.node.registry.dot(&alice.dot()).await.unwrap();
    alice.node.registry.delete_dot(&dot.id).await.unwrap();
    alice.restart().await;
    let filled = push::push(&hub.job(&alice)).await.unwrap();
    assert_eq!((filled.filled, filled.not_filled), (2, None));
}

/// Older data can wait: if sending it fails, the new commits are still pushed.
#[tokio::test(flavor = "multi_thread")]
async fn the_new_is_there_when_the_old_has_no_room() {
    let (alice, bob, _) = orphaned().await;
    let hub = TestHub::start().await;
    push_without(&hub, &bob).await.unwrap();
    pull::pull(&hub.job(&alice)).await.unwrap();
    write(&alice, "five").await;
    // The hub accepts the next push, and no further one.
    let database = &hub.hub.database;
    let user = "alice".parse().unwrap();
    let id = database.user(&user).await.unwrap().unwrap();
    let used = database.usage(id, None).await.unwrap().used;
    let set = async |quota| {
        database
            .set_quota(&user, quota, &user, crate::node::now())
            .await
    };
    let room = used + LITTLE;
    assert!(set(Quota::Bytes(room)).await.unwrap());
    let pushed = push::push(&hub.job(&alice)).await.unwrap();
    assert_eq!((pushed.branches[0].commits, pushed.filled), (1, 0));
    let error = pushed.not_filled.unwrap();
    assert_eq!(error.code, ErrorCode::NoSpace, "{error:?}");
    assert!(set(Quota::Unlimited).await.unwrap());
    let pushed = push::push(&hub.job(&alice)).await.unwrap();
    assert_eq!((pushed.branches[0].commits, pushed.filled), (0, 2));
    assert!(pushed.not_filled.is_none());
}
