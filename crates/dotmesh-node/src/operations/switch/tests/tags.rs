//! Tags: created, used in revisions, stored in the pool, and transferred.

use dotmesh_api::node::{LogQuery, MakeTag, TagsOutcome};
use dotmesh_api::node_client::Direction;
use dotmesh_model::BranchName;

use super::bench::Bench;
use super::transfers::TestHub;
use crate::error::NodeError;
use crate::operations::transfer_tags::transfer_tags;
use crate::operations::{clone, log, pull, push, tag};

async fn make(bench: &Bench, name: &str, revision: &str) -> Result<(), NodeError> {
    let request = MakeTag {
        name: name.parse().unwrap(),
        revision: revision.to_owned(),
        message: "What it is for".to_owned(),
    };
    let made = tag::make(&bench.node, &bench.dot(), request).await?;
    assert_eq!(made.name.as_str(), name);
    Ok(())
}

async fn tags(bench: &Bench) -> Vec<String> {
    let tags = tag::list(&bench.node, &bench.dot()).await.unwrap();
    tags.into_iter().map(|tag| tag.name.to_string()).collect()
}

async fn names(bench: &Bench, revision: &str) -> String {
    let query = LogQuery::one(Some(revision));
    let log = log::log(&bench.node, &bench.dot(), &query).await.unwrap();
    log.commits[0].id.to_string()
}

fn branches(names: &[&str]) -> Vec<BranchName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_names_a_commit_until_it_is_deleted() {
    let mut bench = Bench::new(|_| {}).await;
    assert_eq!(tags(&bench).await, [""; 0]);
    make(&bench, "v1.2", "HEAD").await.unwrap();
    make(&bench, "feature/login", "other").await.unwrap();
    make(&bench, "again", "v1.2").await.unwrap();
    assert_eq!(
        names(&bench, "feature/login").await,
        names(&bench, "other").await
    );
    assert_eq!(
        names(&bench, "feature/login^").await,
        names(&bench, "master").await
    );
    assert_eq!(names(&bench, "again").await, names(&bench, "master").await);

    let id = names(&bench, "other").await;
    for (name, revision) in [
        ("v1.2", "other"),
        ("master", "HEAD"),
        ("HEAD", "HEAD"),
        (id.as_str(), "HEAD"),
        ("new", "none"),
        ("new", "HEAD^"),
    ] {
        assert!(
            make(&bench, name, revision).await.is_err(),
            "{name} {revision}"
        );
    }
    // Tags are not in the registry.
    bench.restart().await;
    assert_eq!(tags(&bench).await, ["again", "feature/login", "v1.2"]);
    let name: BranchName = "again".parse().unwrap();
    tag::delete(&bench.node, &bench.dot(), &name).await.unwrap();
    let refused = tag::delete(&bench.node, &bench.dot(), &name).await;
    assert!(matches!(refused, Err(NodeError::NoTag { .. })));
    assert_eq!(tags(&bench).await, ["feature/login", "v1.2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_go_where_their_commits_go() {
    let hub = TestHub::start().await;
    let alice = Bench::new(|_| {}).await;
    make(&alice, "v1", "master").await.unwrap();
    make(&alice, "feature/login", "other").await.unwrap();
    let push = async |branch: Option<&str>| {
        let job = hub.job_about(&alice, "app", branch);
        let outcome = push::push(&job).await.unwrap();
        transfer_tags(&job, Direction::Push, &outcome).await
    };
    let new = |names: &[&str]| TagsOutcome {
        new: branches(names),
        ..TagsOutcome::default()
    };
    // Only the tags of pushed commits are sent.
    assert_eq!(push(Some("master")).await, new(&["v1"]));
    assert_eq!(push(None).await, new(&["feature/login"]));
    assert_eq!(push(None).await, new(&[]));
    let there = hub
        .client("alice")
        .tags(&"alice/app".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(there.len(), 2);
    assert!(there.iter().all(|tag| tag.message == "What it is for"));

    let bob = Bench::empty().await;
    let job = hub.job(&bob);
    let outcome = clone::clone(&job).await.unwrap();
    let came = transfer_tags(&job, Direction::Clone, &outcome).await;
    assert_eq!(came, new(&["feature/login", "v1"]));
    assert_eq!(names(&bob, "v1").await, names(&alice, "v1").await);
    let tag = tag::list(&bob.node, &bob.dot()).await.unwrap().remove(0);
    assert_eq!(tag.message, "What it is for");

    // A tag that differs on both sides is not moved on either.
    tag::delete(&alice.node, &alice.dot(), &"v1".parse().unwrap())
        .await
        .unwrap();
    make(&alice, "v1", "other").await.unwrap();
    make(&alice, "v2", "other").await.unwrap();
    let differing = TagsOutcome {
        differing: branches(&["v1"]),
        ..new(&["v2"])
    };
    assert_eq!(push(None).await, differing);
    let pull = async |bench: &Bench| {
        let job = hub.job(bench);
        let outcome = pull::pull(&job).await.unwrap();
        transfer_tags(&job, Direction::Pull, &outcome).await
    };
    assert_eq!(pull(&bob).await, new(&["v2"]));
    let stays = TagsOutcome {
        new: Vec::new(),
        ..differing
    };
    assert_eq!(pull(&alice).await, stays);
    assert_eq!(names(&alice, "v1").await, names(&alice, "other").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_a_hub_refuses_keeps_no_other() {
    let hub = TestHub::start().await;
    let alice = Bench::new(|_| {}).await;
    let long = MakeTag {
        name: "a-long-one".parse().unwrap(),
        revision: "HEAD".to_owned(),
        message: "m".repeat(5000),
    };
    tag::make(&alice.node, &alice.dot(), long).await.unwrap();
    make(&alice, "v1", "master").await.unwrap();
    let job = hub.job(&alice);
    let outcome = push::push(&job).await.unwrap();
    let went = transfer_tags(&job, Direction::Push, &outcome).await;
    assert_eq!(went.new, branches(&["v1"]));
    let failed = went.failed.unwrap();
    assert!(failed.message.contains("the message of a tag"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_pages_of_a_hubs_tags_are_read() {
    let hub = TestHub::start().await;
    let alice = Bench::new(|_| {}).await;
    push::push(&hub.job(&alice)).await.unwrap();
    let (client, dot) = (hub.client("alice"), "alice/app".parse().unwrap());
    for number in 0..1003 {
        let tag = dotmesh_api::dots::CreateTag {
            at: "master".to_owned(),
            message: String::new(),
        };
        let name = format!("v{number}").parse().unwrap();
        client.create_tag(&dot, &name, &tag).await.unwrap();
    }
    let tags = client.tags(&dot).await.unwrap();
    let names: std::collections::BTreeSet<_> = tags.into_iter().map(|tag| tag.name).collect();
    assert_eq!(names.len(), 1003);
}
