//! Storage quotas. Nobody can store more than their quota, even with many pushes at once. A refused push keeps the
//! packs that arrived.

use std::time::Duration;

use dotmesh_api::{ErrorCode, HubClient};
use dotmesh_hub_model::quota::{Quota, Usage};
use dotmesh_hub_service::operations::{collect_garbage, delete_dot};
use dotmesh_hub_service::settings::Settings;
use dotmesh_model::CommitId;
use dotmesh_store::{Kind, Object};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::ambient;
use crate::api::Api;
use crate::bounds::saying;
use crate::cli::start;
use crate::cuts::{noise, noise_bytes, push as push_files};
use crate::pages::Browser;
use crate::place::Place;
use crate::support::{Made, TestHub, dot, pack, push, push_first, refused};

/// The most that a few events take, in bytes.
const EVENTS: u64 = 1000;

async fn start_with(quota: u64) -> TestHub {
    TestHub::start_with(Settings {
        quota: Some(quota),
        ..Settings::default()
    })
    .await
}

impl TestHub {
    pub(crate) async fn usage(&self, name: &str) -> Usage {
        let name = name.parse().unwrap();
        let user = self.hub.database.user(&name).await.unwrap().unwrap();
        let usage = self.hub.database.usage(user, self.hub.settings.quota);
        usage.await.unwrap()
    }

    pub(crate) async fn set_quota(&self, name: &str, quota: Quota) {
        let name = name.parse().unwrap();
        let set = self
            .hub
            .database
            .set_quota(&name, quota, &name, ambient::now());
        assert!(set.await.unwrap());
    }
}

/// Incompressible chunks of 50,000 bytes each.
fn chunks(seed: u64, count: u64) -> Vec<Object> {
    let chunk = |number: u64| {
        let mut next = noise(seed << 8 | number);
        let bytes = std::iter::repeat_with(|| next() as u8);
        Object::new(Kind::Chunk, bytes.take(50_000).collect::<Vec<u8>>())
    };
    (0..count).map(chunk).collect()
}

/// Sends a pack in an upload of its own.
async fn send(
    client: &HubClient,
    to: &str,
    objects: &[Object],
) -> Result<(), dotmesh_api::ClientError> {
    let to = dot(to);
    let upload = client.begin_upload(&to).await?;
    client.send_pack(&to, &upload, pack(objects)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_without_room_is_told_so_and_goes_on_when_there_is() {
    let hub = start_with(5_000_000).await;
    let alice = hub.user("alice").await;
    let data = tempfile::tempdir().unwrap();
    let mut next = noise(11);
    for file in 0..10 {
        let bytes = noise_bytes(&mut next, 150_000);
        std::fs::write(data.path().join(format!("file{file}")), bytes).unwrap();
    }
    let (app, commit) = (dot("alice/app"), CommitId::from_bytes([7; 16]));
    let refused = push_files(&alice, &app, data.path(), commit).await;
    let refused = refused.unwrap_err();
    assert!(
        refused.contains("would exceed your storage quota"),
        "{refused}"
    );
    assert!(refused.contains("of 5.0 MB"), "{refused}");
    let before = hub.usage("alice").await;
    assert!(!before.is_exceeded(), "{before:?}");

    hub.set_quota("alice", Quota::Bytes(50_000_000)).await;
    push_files(&alice, &app, data.path(), commit).await.unwrap();
    let after = hub.usage("alice").await;
    // The packs that had arrived were not stored again. 7 of 8 bytes are noise, so the data does not compress below
    // this size.
    assert!(after.used < 12_500_000, "{before:?} {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pushes_at_once_stay_below_it_together() {
    let hub = start_with(1_000_000).await;
    let alice = hub.user("alice").await;
    let pushes = (0..12).map(|seed| {
        let alice = alice.clone();
        tokio::spawn(async move { send(&alice, "alice/app", &chunks(seed, 4)).await })
    });
    let mut taken = 0;
    for push in pushes.collect::<Vec<_>>() {
        match push.await.unwrap() {
            Ok(()) => taken += 1,
            refusal => drop(refused(refusal, ErrorCode::NoSpace)),
        }
    }
    assert_eq!(taken, 4);
    let usage = hub.usage("alice").await;
    assert!(!usage.is_exceeded(), "{usage:?}");
    // Objects that the hub already has need no space.
    let small = chunks(100, 1);
    send(&alice, "alice/app", &small).await.unwrap();
    let used = hub.usage("alice").await.used;
    send(&alice, "alice/other", &small).await.unwrap();
    assert_eq!(hub.usage("alice").await.used, used);
}

#[tokio::test]
async fn who_is_full_begins_no_push_and_reads_on() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let bob = hub.user("bob").await;
    let app = dot("alice/app");
    let (first, files) = push_first(&alice, &app, b"one").await;
    let api = Api::new(&hub, &key);
    let write = json!({ "access": "write" });
    api.done("PUT", "dots/alice/app/collaborators/bob", write)
        .await;
    hub.set_quota("alice", Quota::Bytes(1)).await;
    let body = refused(alice.begin_upload(&app).await, ErrorCode::NoSpace);
    assert!(body.message.contains("of 1 B"), "{body:?}");
    assert!(body.hint.unwrap().contains("seven days"));
    let (status, problem) = api
        .call("POST", "dots/alice/app/uploads", Value::Null)
        .await;
    assert_eq!(status, 507, "{problem}");
    // Only the owner learns the size of the quota.
    let body = refused(bob.begin_upload(&app).await, ErrorCode::NoSpace);
    assert!(body.message.contains("quota of alice"), "{body:?}");
    assert!(!body.message.contains(" B"), "{body:?}");
    // Bob's own namespace has its own quota.
    push_first(&bob, &dot("bob/app"), b"two").await;

    let commits = alice.commits(&app, first.id, None).await.unwrap();
    assert_eq!(commits.commits, [first.sealed]);
    alice.objects(&app, &files.hashes()).await.unwrap();
    hub.set_quota("alice", Quota::Unlimited).await;
    alice.begin_upload(&app).await.unwrap();
    hub.set_quota("alice", Quota::Default).await;
    alice.begin_upload(&app).await.unwrap();
}

#[tokio::test]
async fn forks_and_dots_that_are_taken_are_their_new_owners() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let api = Api::new(&hub, &key);
    let (_, key) = hub.user_with_secret("bob").await;
    let bob = Api::new(&hub, &key);
    push_first(&alice, &dot("alice/app"), b"one").await;
    let public = json!({ "visibility": "public" });
    api.done("PATCH", "dots/alice/app/settings", public).await;
    let used = hub.usage("alice").await.used;
    assert!(used > 0);
    // A fork within the namespace stores only the records again.
    let own = json!({ "name": "mine" });
    api.done("POST", "dots/alice/app/fork", own).await;
    let of_both = hub.usage("alice").await.used;
    let texts = of_both - used;
    assert!(texts > 0 && texts < used);

    hub.set_quota("bob", Quota::Bytes(1)).await;
    let fork = json!({ "name": "theirs" });
    let path = "dots/alice/app/fork";
    assert_eq!(bob.refused("POST", path, fork.clone()).await, "no_space");
    let offer = json!({ "user": "bob" });
    api.done("PUT", "dots/alice/mine/offer", offer).await;
    let offers = bob.done("GET", "offers", Value::Null).await;
    let take = format!("offers/{}", offers[0]["id"].as_str().unwrap());
    let name = json!({ "name": "taken" });
    assert_eq!(bob.refused("POST", &take, name.clone()).await, "no_space");
    // The refused offer stored nothing.
    assert_eq!(hub.usage("bob").await.used, 0);
    let dots = bob.done("GET", "dots", Value::Null).await;
    assert!(!dots.to_string().contains("\"bob/"), "{dots}");

    hub.set_quota("bob", Quota::Bytes(used + EVENTS)).await;
    bob.done("POST", path, fork).await;
    let of_fork = hub.usage("bob").await.used;
    assert!((used.saturating_sub(EVENTS)..used + EVENTS).contains(&of_fork));
    // The same objects count once. The records count again.
    hub.set_quota("bob", Quota::Bytes(of_fork)).await;
    assert_eq!(bob.refused("POST", &take, name.clone()).await, "no_space");
    hub.set_quota("bob", Quota::Bytes(of_fork + texts + EVENTS))
        .await;
    bob.done("POST", &take, name).await;
    let of_taken = hub.usage("bob").await.used - of_fork;
    assert!((texts..texts + EVENTS).contains(&of_taken));
    let left = hub.usage("alice").await.used;
    assert!((used..used + EVENTS).contains(&left));
}

#[tokio::test]
async fn what_happens_in_a_dot_counts() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let api = Api::new(&hub, &key);
    push_first(&alice, &dot("alice/app"), b"one").await;
    let path = "dots/alice/app/protected/master";
    let mut used = hub.usage("alice").await.used;
    for method in ["PUT", "DELETE", "PUT", "DELETE"] {
        api.done(method, path, Value::Null).await;
        let now = hub.usage("alice").await.used;
        assert!(now > used, "{method}");
        used = now;
    }
    hub.set_quota("alice", Quota::Bytes(used)).await;
    let tag = json!({ "at": "master", "message": "t" });
    let refusal = api.refused("PUT", "dots/alice/app/tags/v1", tag).await;
    assert_eq!(refusal, "no_space");
}

#[tokio::test]
async fn what_people_write_counts() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let api = Api::new(&hub, &key);
    let (_, key) = hub.user_with_secret("bob").await;
    let bob = Api::new(&hub, &key);
    let app = dot("alice/app");
    let (first, files) = push_first(&alice, &app, b"one").await;
    let public = json!({ "visibility": "public" });
    api.done("PATCH", "dots/alice/app/settings", public).await;
    let used = hub.usage("alice").await.used;
    // Commits of the same files with long messages. The hub stores a message twice: in the record and beside it.
    const LENGTH: usize = 50_000;
    let long = |parent: &Made| saying(parent, &files, |record| record.message = "m".repeat(LENGTH));
    let second = long(&first);
    push(&alice, &app, Some(&first), &second, &files)
        .await
        .unwrap();
    let with_message = hub.usage("alice").await.used - used;
    assert!((2 * LENGTH as u64..2 * LENGTH as u64 + 1000).contains(&with_message));
    // A note counts for its author.
    let note = json!({ "branch": "master", "body": "n".repeat(LENGTH) });
    let path = "dots/alice/app/notes";
    bob.done("POST", path, note.clone()).await;
    assert_eq!(hub.usage("bob").await.used, LENGTH as u64);
    let tag = json!({ "at": "master", "message": "t".repeat(1000) });
    api.done("PUT", "dots/alice/app/tags/v1", tag).await;
    let describe = json!({ "description": "d".repeat(2000) });
    api.done("PATCH", "dots/alice/app/settings", describe).await;
    let texts = used + with_message + 3000;
    let used = hub.usage("alice").await.used;
    assert!((texts..texts + EVENTS).contains(&used));

    hub.set_quota("bob", Quota::Bytes(2 * LENGTH as u64 - 1))
        .await;
    assert_eq!(bob.refused("POST", path, note).await, "no_space");
    // A push with nothing but a commit message also counts.
    hub.set_quota("alice", Quota::Bytes(used + 1000)).await;
    let third = long(&second);
    let refusal = push(&alice, &app, Some(&second), &third, &files).await;
    refused(refusal, ErrorCode::NoSpace);
    let tag = json!({ "at": "master", "message": "t".repeat(1001) });
    assert_eq!(
        api.refused("PUT", "dots/alice/app/tags/v2", tag).await,
        "no_space"
    );
    let describe = json!({ "description": "d".repeat(2001) });
    assert_eq!(
        api.refused("PATCH", "dots/alice/app/settings", describe)
            .await,
        "no_space"
    );
    assert_eq!(hub.usage("alice").await.used, used);
    hub.set_quota("alice", Quota::Default).await;
    push(&alice, &app, Some(&second), &third, &files)
        .await
        .unwrap();

    api.done("DELETE", "dots/alice/app/tags/v1", Value::Null)
        .await;
    let texts = used + with_message - 1000;
    let used = hub.usage("alice").await.used;
    assert!((texts..texts + EVENTS).contains(&used));
}

#[tokio::test]
async fn a_deleted_dot_counts_until_it_is_collected() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    push_first(&alice, &dot("alice/app"), b"one").await;
    let used = hub.usage("alice").await.used;
    hub.set_quota("alice", Quota::Bytes(used)).await;
    let other = dot("alice/other");
    let api = Api::new(&hub, &key);
    api.done("DELETE", "dots/alice/app", Value::Null).await;
    refused(alice.begin_upload(&other).await, ErrorCode::NoSpace);
    let database = &hub.hub.database;
    let later = ambient::now() + delete_dot::GRACE;
    assert_eq!(database.purge_dots(later).await.unwrap(), 1);
    let packs = hub.usage("alice").await.used;
    assert!((1..used).contains(&packs));
    let grace = collect_garbage::GRACE;
    let later = later + grace + grace;
    for now in [later, later + grace + grace] {
        collect_garbage::collect_garbage(database, &hub.hub.packs, now, grace)
            .await
            .unwrap();
    }
    assert_eq!(hub.usage("alice").await.used, 0);
    push_first(&alice, &other, b"two").await;
}

#[tokio::test]
async fn quotas_are_seen_and_set_on_pages() {
    let hub = start_with(2_000_000_000).await;
    let mut root = Browser::logged_in(&hub, "root").await;
    let name = "root".parse().unwrap();
    let made = hub.hub.database.set_admin(&name, true, ambient::now());
    assert!(made.await.unwrap());
    let (alice, _) = hub.user_with_secret("alice").await;
    push_first(&alice, &dot("alice/app"), b"one").await;
    assert!(root.get("/-/admin").await.body.contains(" of 2.0 GB"));
    let set = root
        .submit("/-/admin/quotas", &[("user", "alice"), ("quota", "1.5 GB")])
        .await;
    assert_eq!(set.status, StatusCode::SEE_OTHER);
    assert!(root.get("/-/admin").await.body.contains(" of 1.5 GB"));
    let events = root.get("/-/admin/events").await.body;
    let words = "set the storage quota of alice to 1500000000";
    assert!(events.contains(words), "{events}");
    for (user, quota, status) in [
        ("alice", "much", StatusCode::BAD_REQUEST),
        ("nobody", "none", StatusCode::NOT_FOUND),
    ] {
        let fields = [("user", user), ("quota", quota)];
        let answer = root.submit("/-/admin/quotas", &fields).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    assert!(
        root.get("/-/settings")
            .await
            .body
            .contains("of your quota of 2.0 GB")
    );
    assert!(root.get("/root").await.body.contains("of 2.0 GB used"));
    // The page does not show another user's quota.
    assert!(!root.get("/alice").await.body.contains("GB used"));
}

#[tokio::test]
async fn quotas_are_set_at_the_command_line() {
    let place = Place::new().await;
    let key = &place.hub_with_user("alice").await;
    let serving = start(place.dothub(&["serve", "--listen", "127.0.0.1:0", "--quota", "100kB"]));
    let alice = serving.client("alice", key);
    let too_much = chunks(1, 3);
    let answer = send(&alice, "alice/app", &too_much).await;
    let body = refused(answer, ErrorCode::NoSpace);
    assert!(body.message.contains("of 100 kB"), "{body:?}");
    for (quota, says) in [
        ("1.5GB", "The quota of alice is 1.5 GB\n"),
        ("none", "The quota of alice is unlimited\n"),
    ] {
        let set = place.run(&["user", "quota", "alice", quota]);
        assert!(set.status.success(), "{set:?}");
        let text = String::from_utf8(set.stdout).unwrap();
        assert!(text.contains(says), "{text}");
    }
    let sending = send(&alice, "alice/app", &too_much);
    tokio::time::timeout(Duration::from_secs(60), sending)
        .await
        .unwrap()
        .unwrap();
    for (user, quota, code) in [("nobody", "1GB", 1), ("alice", "much", 2)] {
        let set = place.run(&["user", "quota", user, quota]);
        assert_eq!(set.status.code(), Some(code), "{set:?}");
    }
}
