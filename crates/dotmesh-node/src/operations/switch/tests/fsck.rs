//! `fsck` finds what is damaged, and changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dotmesh_api::node::{Fsck, FsckKind, FsckReport};
use dotmesh_model::CommitId;
use dotmesh_sync::Progress;

use super::bench::Bench;
use super::transfers::TestHub;
use crate::operations::{fsck, push};

async fn check(bench: &Bench, data: bool) -> FsckReport {
    let progress = Arc::new(Progress::default());
    let report = fsck::fsck(&bench.node, &Fsck { data }, &progress).await;
    report.unwrap()
}

/// The kinds and texts of what is found.
async fn found(bench: &Bench, data: bool) -> Vec<(FsckKind, String)> {
    let problems = check(bench, data).await.problems.into_iter();
    problems.map(|one| (one.kind, one.problem)).collect()
}

/// The snapshot of the newest commit of `master`, without its folder `data`.
async fn newest(bench: &Bench) -> (CommitId, PathBuf) {
    let dot = bench.node.registry.dot(&bench.dot()).await.unwrap();
    let id = dot.branches[&"master".parse().unwrap()].head;
    let data = bench.node.pool.commit_data(&bench.dot(), id);
    (id, data.parent().unwrap().to_owned())
}

/// Changes a file of a snapshot, whose owner may do that in a pool that copies.
fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_whole_has_no_problems() {
    let hub = TestHub::start().await;
    let bench = Bench::new(|_| {}).await;
    let report = check(&bench, true).await;
    assert_eq!((report.dots, report.commits, report.read), (1, 2, 2));
    assert_eq!(report.problems, []);
    push::push(&hub.job(&bench)).await.unwrap();
    let report = check(&bench, true).await;
    assert_eq!((report.verified, report.read), (2, 0));
    assert_eq!(report.problems, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_data_is_found_by_its_seal() {
    let hub = TestHub::start().await;
    let bench = Bench::new(|_| {}).await;
    push::push(&hub.job(&bench)).await.unwrap();
    let (id, snapshot) = newest(&bench).await;
    damage(&snapshot.join("data/db/branch"), |bytes| bytes[0] ^= 1);
    assert_eq!(found(&bench, false).await, []);
    let problem = format!("the data of commit {id} is not what it was when it was sealed");
    assert_eq!(found(&bench, true).await, [(FsckKind::Data, problem)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_found() {
    let hub = TestHub::start().await;
    let bench = Bench::new(|_| {}).await;
    push::push(&hub.job(&bench)).await.unwrap();
    let (id, snapshot) = newest(&bench).await;
    damage(&snapshot.join("commit.json"), |bytes| bytes.truncate(10));
    let found = found(&bench, false).await;
    let has = |kind, text: &str| {
        let mut found = found.iter();
        found.any(|(of, problem)| *of == kind && problem.contains(text))
    };
    assert!(
        has(
            FsckKind::Record,
            &format!("the record of commit {id} cannot be read")
        ) && has(FsckKind::Registry, "another record"),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_pool_and_the_registry_say_differently_is_found() {
    let bench = Bench::new(|_| {}).await;
    let (id, snapshot) = newest(&bench).await;
    let branches = snapshot.ancestors().nth(2).unwrap().join("branches");

    std::fs::rename(branches.join("other"), branches.join("third")).unwrap();
    std::fs::write(branches.join("rubbish~"), "").unwrap();
    let texts: Vec<String> = found(&bench, false)
        .await
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert!(
        texts.iter().any(|text| text.contains("rubbish~ is not a")),
        "{texts:?}"
    );
    assert!(
        texts.contains(&"branch other has no working copy".to_owned()),
        "{texts:?}"
    );
    let extra = "branch third has a working copy, and is not in the registry";
    assert!(texts.contains(&extra.to_owned()), "{texts:?}");
    std::fs::rename(branches.join("third"), branches.join("other")).unwrap();
    std::fs::remove_file(branches.join("rubbish~")).unwrap();
    assert_eq!(found(&bench, false).await, []);

    let dot = bench.node.registry.dot(&bench.dot()).await.unwrap();
    bench
        .node
        .registry
        .forget_commits(&dot.id, &[id])
        .await
        .unwrap();
    let problems = found(&bench, false).await;
    let problem = format!("commit {id} has a snapshot, and is not in the registry");
    assert!(
        problems.contains(&(FsckKind::Registry, problem)),
        "{problems:?}"
    );
    std::fs::remove_dir_all(&snapshot).unwrap();
    let problems = found(&bench, false).await;
    let (kind, text) = &problems[0];
    assert_eq!(*kind, FsckKind::Registry, "{problems:?}");
    assert!(
        text.contains("the working copy of branch master is at commit"),
        "{text}"
    );

    bench.node.registry.delete_dot(&dot.id).await.unwrap();
    let problem = "the pool has the dot, and the registry does not".to_owned();
    assert_eq!(found(&bench, false).await, [(FsckKind::Registry, problem)]);
}
