//! What a new user sees first: where new dots are made, what a first push sends, and the dot that Compose makes beside
//! a clone.

use std::sync::Arc;

use dotmesh_api::node::{BranchOutcome, MountVolume};

use super::bench::Bench;
use super::transfers::TestHub;
use crate::engine::Inspected;
use crate::error::NodeError;
use crate::operations::{clone, create_dot, delete_dot, list, lookalikes, mount, push, volume};

async fn dots(bench: &Bench) -> Vec<String> {
    let dots = list::list(&bench.node).await.unwrap();
    dots.into_iter().map(|dot| dot.name.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_dots_are_in_the_nodes_own_namespace() {
    let bench = Bench::empty().await;
    let node = &bench.node;
    let refused = |error: NodeError| {
        let body = dotmesh_api::ErrorBody::from(error);
        assert_eq!(
            body.message,
            "there is no dot alice/app here, and new dots are made in namespace admin only, not in alice"
        );
        let hint = body.hint.unwrap();
        assert!(
            hint.contains("dm clone alice/app --local-name alice/app"),
            "{hint}"
        );
    };
    let other = "alice/app".parse().unwrap();
    refused(create_dot::create_dot(node, &other).await.unwrap_err());
    refused(volume::create(node, "alice/app.db").await.unwrap_err());
    refused(
        volume::mount(node, "alice/app.db", "docker", None)
            .await
            .unwrap_err(),
    );
    let request = MountVolume {
        volume: "alice/app.db".to_owned(),
        place: "/mnt".to_owned(),
        create: true,
    };
    refused(mount::mount(node, request).await.unwrap_err());
    assert_eq!(dots(&bench).await, [""; 0]);
    assert_eq!(node.registry.volumes().await.unwrap(), [""; 0]);
    for volume in ["app.db", "admin/app.files", "mobycounter_app.db"] {
        volume::create(node, volume).await.unwrap();
    }
    assert_eq!(dots(&bench).await, ["app", "mobycounter_app"]);

    // With a local name, a clone gets a dot of another namespace. Its volumes work like any others.
    let hub = TestHub::start().await;
    let alice = Bench::new(|_| {}).await;
    push::push(&hub.job(&alice)).await.unwrap();
    clone::clone(&Arc::new(hub.job_about(&bench, "alice/app", None)))
        .await
        .unwrap();
    volume::create(node, "alice/app.db").await.unwrap();
    volume::mount(node, "alice/app.db", "docker", None)
        .await
        .unwrap();
    let refused = volume::create(node, "alice/other.db").await.unwrap_err();
    assert!(
        matches!(refused, NodeError::OtherNamespace { .. }),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_nobody_named_takes_its_dot_along_if_docker_made_it() {
    let bench = Bench::empty().await;
    let node = &bench.node;
    let nameless = |digit: &str| digit.repeat(64);
    let (gone, made_by_hand) = (nameless("a"), nameless("b"));
    create_dot::create_dot(node, &made_by_hand.parse().unwrap())
        .await
        .unwrap();
    for volume in [&gone, &made_by_hand, &"cafe".to_owned()] {
        volume::create(node, volume).await.unwrap();
        volume::remove(node, volume).await.unwrap();
    }
    // It is a name of the user's, since Docker makes none with a subdot.
    let named = format!("{}.db", nameless("d"));
    volume::create(node, &named).await.unwrap();
    volume::remove(node, &named).await.unwrap();
    assert_eq!(
        dots(&bench).await,
        [made_by_hand, "cafe".to_owned(), nameless("d")]
    );
    // Docker may repeat the call.
    volume::remove(node, &gone).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_tells_of_the_branches_that_go_along() {
    let hub = TestHub::start().await;
    let bench = Bench::new(|_| {}).await;
    bench.checkout("other", false).await.unwrap();
    bench.checkout("third", true).await.unwrap();
    bench.commit().await;
    let told = |branches: &[BranchOutcome]| {
        let line = |branch: &BranchOutcome| {
            let new = if branch.is_new { " new" } else { "" };
            format!("{} {}{new}", branch.name, branch.commits)
        };
        branches.iter().map(line).collect::<Vec<_>>().join(", ")
    };
    let push = async |branch: Option<&str>| {
        let job = hub.job_about(&bench, "app", branch);
        let outcome = push::push(&job).await.unwrap();
        format!("{} | {}", told(&outcome.branches), told(&outcome.along))
    };
    assert_eq!(
        push(Some("third")).await,
        "third 3 new | other 2 new, master 1 new"
    );
    assert_eq!(push(Some("third")).await, "third 0 | ");
    bench.checkout("other", false).await.unwrap();
    bench.commit().await;
    bench.checkout("fourth", true).await.unwrap();
    assert_eq!(push(Some("fourth")).await, "fourth 1 new | other 1");

    // If all branches are pushed, each is reported once, as pushed itself.
    let hub = TestHub::start().await;
    let outcome = push::push(&hub.job(&bench)).await.unwrap();
    assert_eq!(
        told(&outcome.branches),
        "fourth 0 new, master 1 new, other 2 new, third 1 new"
    );
    assert_eq!(outcome.along, []);

    // A clone of one branch reports other branches in the same way.
    let bob = Bench::empty().await;
    let job = Arc::new(hub.job_about(&bob, "app", Some("third")));
    let outcome = clone::clone(&job).await.unwrap();
    assert_eq!(told(&outcome.branches), "third 3");
    assert_eq!(told(&outcome.along), "master 0 new");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_dot_of_docker_beside_a_clone_is_found() {
    let hub = TestHub::start().await;
    let alice = Bench::new(|_| {}).await;
    push::push(&hub.job(&alice)).await.unwrap();
    let bob = Bench::empty().await;
    let found = async || {
        let found = lookalikes::lookalikes(&bob.node).await.unwrap();
        let line = |found: &dotmesh_api::node::Lookalike| {
            let project = found.project.as_deref().unwrap_or("?");
            format!("{} {} {project}", found.dot, found.cloned)
        };
        found.iter().map(line).collect::<Vec<_>>()
    };
    let none = [""; 0];
    // No warning for dots that were made before the clone, made by hand, or cloned.
    volume::create(&bob.node, "moby--counter_app.db")
        .await
        .unwrap();
    let clone_as = async |local: &str| {
        let job = Arc::new(hub.job_about(&bob, local, None));
        clone::clone(&job).await.unwrap();
    };
    clone_as("mobycounter_app").await;
    let init = "Mobycounter_app".parse().unwrap();
    create_dot::create_dot(&bob.node, &init).await.unwrap();
    clone_as("moby_counter_app").await;
    assert_eq!(found().await, none);

    volume::create(&bob.node, "moby-counter_app.db")
        .await
        .unwrap();
    volume::create(&bob.node, "shop_db.db").await.unwrap();
    let warned = ["moby-counter_app mobycounter_app mobycounter"];
    assert_eq!(found().await, warned);
    // While the clone is in use, only a dot with nearly the same name is reported.
    volume::create(&bob.node, "shop_app.db").await.unwrap();
    assert_eq!(found().await.len(), 2);
    let of_compose = |project: &'static str| {
        move |one: &mut Inspected| {
            let key = "com.docker.compose.project".to_owned();
            one.container.labels.insert(key, project.to_owned());
        }
    };
    for (name, volume, project) in [
        ("first", "mobycounter_app.db", "mobycounter"),
        ("second", "moby_counter_app.db", "moby_counter"),
        ("third", "moby-counter_app.db", "moby-counter"),
    ] {
        bob.world.create(name, &[volume], of_compose(project));
        bob.world.start_by_hand(name).await.unwrap();
    }
    assert_eq!(found().await, warned);
    bob.world.stop_by_hand("third").await;
    bob.world.remove_by_hand("third").await;
    let dot = "moby-counter_app".parse().unwrap();
    delete_dot::delete_dot(&bob.node, &dot).await.unwrap();
    assert_eq!(found().await, none);
}
