//! Pushes that make a branch of the hub leave its commits, and what this node knows of the hub's branches.

use std::sync::Arc;

use dotmesh_api::ErrorBody;
use dotmesh_api::node::{Lease, Reset, SwitchProgress, TransferOutcome};
use dotmesh_model::CommitId;
use tokio::sync::watch;

use super::bench::{Bench, wait};
use super::transfers::TestHub;
use crate::error::NodeError;
use crate::operations::transfer::Job;
use crate::operations::{clone, fetch_branches, pull, push, reset, status};

impl Bench {
    /// The head of `master` here.
    async fn master(&self) -> CommitId {
        let dot = self.node.registry.dot(&self.dot()).await.unwrap();
        dot.branches[&"master".parse().unwrap()].head
    }

    /// How many commits the current branch is ahead of the hub's and behind it.
    async fn apart(&self) -> Option<(u64, u64)> {
        let status = status::status(&self.node, &self.dot()).await.unwrap();
        let apart = status.upstreams[0].apart?;
        Some((apart.ahead, apart.behind))
    }

    /// Takes the current branch back by a commit, and makes another one in its place.
    async fn make_another(&self) {
        let request = Reset {
            revision: "HEAD^".to_owned(),
            hard: true,
            expected: None,
            wait: wait(),
        };
        let (tell, _) = watch::channel(SwitchProgress::default());
        reset::reset(&self.node, &self.dot(), request, tell)
            .await
            .unwrap();
        self.commit().await;
    }
}

impl TestHub {
    /// Clones all commits with their data.
    async fn clone_to(&self, bench: &Bench) {
        let mut job = self.job_about(bench, "app", None);
        job.request.full = true;
        clone::clone(&Arc::new(job)).await.unwrap();
    }

    fn push(&self, bench: &Bench, lease: Option<Lease>) -> Job {
        let mut job = self.job_about(bench, "app", Some("master"));
        job.request.force_with_lease = lease;
        job
    }

    /// Where `master` is on the hub.
    async fn head(&self) -> CommitId {
        let (client, app) = (self.client("alice"), "alice/app".parse().unwrap());
        let branches = client.dot(&app).await.unwrap().unwrap().branches;
        let master = branches
            .iter()
            .find(|branch| branch.name.as_str() == "master");
        master.unwrap().head
    }
}

fn told(answer: Result<TransferOutcome, NodeError>) -> String {
    let body = ErrorBody::from(answer.unwrap_err());
    format!("{body} {}", body.hint.clone().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_replaces_what_its_user_has_seen() {
    let hub = TestHub::start().await;
    let alice = Bench::new(|_| {}).await;
    alice.commit().await;
    push::push(&hub.push(&alice, None)).await.unwrap();
    let first = alice.master().await;
    alice.make_another().await;
    let second = alice.master().await;

    let refused = told(push::push(&hub.push(&alice, None)).await);
    assert!(refused.contains("--force-with-lease"), "{refused}");
    let outcome = push::push(&hub.push(&alice, Some(Lease::LastSeen)))
        .await
        .unwrap();
    assert_eq!(outcome.branches[0].replaced, Some(first));
    assert_eq!(hub.head().await, second);
    // The hub has the commits that the branch left.
    let (app, client) = ("alice/app".parse().unwrap(), hub.client("alice"));
    let kept = client.commits(&app, first, None).await.unwrap().commits;
    assert_eq!(kept.len(), 2);

    // Bob's node saw the branch where it is now, and Alice changes it.
    let bob = Bench::empty().await;
    hub.clone_to(&bob).await;
    bob.make_another().await;
    alice.commit().await;
    push::push(&hub.push(&alice, None)).await.unwrap();
    let third = alice.master().await;
    let refused = told(push::push(&hub.push(&bob, Some(Lease::LastSeen))).await);
    assert!(
        refused.contains("somebody else") && refused.contains(&third.short()),
        "{refused}"
    );
    // A commit that is not the branch's.
    let at = |commit: &str| Some(format!("master:{commit}").parse().unwrap());
    let refused = told(push::push(&hub.push(&bob, at(&second.short()))).await);
    assert!(refused.contains("somebody else"), "{refused}");
    // The lease of another branch is none of this one.
    let other = Some("other:abcd".parse().unwrap());
    let refused = told(push::push(&hub.push(&bob, other)).await);
    assert!(refused.contains("diverged"), "{refused}");
    assert_eq!(hub.head().await, third);
    push::push(&hub.push(&bob, at(&third.short())))
        .await
        .unwrap();
    assert_eq!(hub.head().await, bob.master().await);
    // The push was news, too.
    bob.make_another().await;
    push::push(&hub.push(&bob, Some(Lease::LastSeen)))
        .await
        .unwrap();
    assert_eq!(hub.head().await, bob.master().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_pull_is_no_look_at_the_hub() {
    let hub = TestHub::start().await;
    let alice = Bench::new(|_| {}).await;
    alice.commit().await;
    push::push(&hub.push(&alice, None)).await.unwrap();
    let bob = Bench::empty().await;
    hub.clone_to(&bob).await;
    bob.make_another().await;
    alice.commit().await;
    push::push(&hub.push(&alice, None)).await.unwrap();
    let refused = told(pull::pull(&Arc::new(hub.push(&bob, None))).await);
    assert!(refused.contains("diverged"), "{refused}");
    // A refused pull fetched nothing, so the lease is of what was there before.
    let refused = told(push::push(&hub.push(&bob, Some(Lease::LastSeen))).await);
    assert!(refused.contains("somebody else"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_brings_commits_and_changes_no_branch() {
    let hub = TestHub::start().await;
    let alice = Bench::new(|_| {}).await;
    alice.commit().await;
    push::push(&hub.push(&alice, None)).await.unwrap();
    let bob = Bench::empty().await;
    hub.clone_to(&bob).await;
    assert_eq!(bob.apart().await, Some((0, 0)));
    bob.make_another().await;
    bob.commit().await;
    assert_eq!(bob.apart().await, Some((2, 1)));
    let before = bob.master().await;

    alice.write("master", "new", "of Alice");
    alice.commit().await;
    alice.commit().await;
    push::push(&hub.push(&alice, None)).await.unwrap();
    bob.write("master", "mine", "uncommitted");
    assert_eq!(bob.apart().await, Some((2, 1)));
    let outcome = fetch_branches::fetch_branches(&hub.push(&bob, None))
        .await
        .unwrap();
    let branch = &outcome.branches[0];
    assert_eq!((branch.commits, branch.is_new), (2, false));
    assert_eq!(bob.apart().await, Some((2, 3)));
    assert_eq!(bob.master().await, before);
    assert_eq!(bob.read("master", "mine").as_deref(), Some("uncommitted"));
    assert_eq!(bob.read("master", "new"), None);
    // The commit's data is here, so it can be looked at without the hub.
    let dot = bob.node.registry.dot(&bob.dot()).await.unwrap();
    let absent = bob.node.registry.sources(&dot.id).await.unwrap();
    assert!(!absent.contains_key(&alice.master().await), "{absent:?}");

    // It is a look at the hub.
    push::push(&hub.push(&bob, Some(Lease::LastSeen)))
        .await
        .unwrap();
    assert_eq!(hub.head().await, before);
    assert_eq!(bob.apart().await, Some((0, 0)));
    let again = fetch_branches::fetch_branches(&hub.push(&bob, None))
        .await
        .unwrap();
    assert_eq!(again.branches[0].commits, 0);
    // What was not fetched is not known.
    let outcome = fetch_branches::fetch_branches(&hub.push(&alice, None))
        .await
        .unwrap();
    assert_eq!(outcome.branches[0].commits, 2);
    assert_eq!(alice.apart().await, Some((3, 2)));
}
