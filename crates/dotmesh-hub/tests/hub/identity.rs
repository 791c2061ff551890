//! A dot keeps its identity when its name changes. The tests say what keeps it, what gets a new one, and which
//! requests are refused.

use dotmesh_api::hub::Access;
use dotmesh_api::identity::{IDENTITY_HEADER, Meant};
use dotmesh_api::{ErrorCode, HubClient};
use dotmesh_model::{CommitId, DotIdentity, DotName};
use serde_json::{Value, json};

use crate::api::Api;
use crate::support::{
    Files, Made, TestHub, branch, commit, dot, files, finish, pack, push, push_first, refused,
    root_commit, update,
};

const APP: &str = "alice/app";

/// A hub with Alice, her dot `app`, and Bob, who has write access to it.
struct Scene {
    hub: TestHub,
    alice: HubClient,
    alices: Api,
    bob: HubClient,
    bobs: Api,
    first: Made,
    files: Files,
    identity: DotIdentity,
}

impl Scene {
    async fn new() -> Self {
        let hub = TestHub::start().await;
        let (alice, secret) = hub.user_with_secret("alice").await;
        let alices = Api::new(&hub, &secret);
        let (bob, secret) = hub.user_with_secret("bob").await;
        let bobs = Api::new(&hub, &secret);
        let (first, files) = push_first(&alice, &dot(APP), b"one").await;
        alice
            .grant(&dot(APP), &"bob".parse().unwrap(), Access::Write)
            .await
            .unwrap();
        let identity = identity(&alice, APP).await;
        Self {
            hub,
            alice,
            alices,
            bob,
            bobs,
            first,
            files,
            identity,
        }
    }

    async fn rename(&self, from: &str, to: &str) {
        let path = format!("dots/alice/{from}/rename");
        self.alices.done("POST", &path, json!({ "name": to })).await;
    }

    /// Renames a dot of Alice's, and makes another dot under its old name.
    async fn another_takes(&self, name: &str, to: &str) -> DotIdentity {
        self.rename(name, to).await;
        let name = format!("alice/{name}");
        let new = self.alice.about(Some(Meant::New));
        push_first(&new, &dot(&name), b"another").await;
        identity(&self.alice, &name).await
    }

    /// A user's client that requests the first dot by its identity.
    fn known(&self, client: &HubClient) -> HubClient {
        client.about(Some(Meant::Known(self.identity)))
    }

    /// Pushes a commit on the first dot's line, under a name.
    async fn push_next(
        &self,
        client: &HubClient,
        name: &str,
    ) -> Result<CommitId, dotmesh_api::ClientError> {
        let next = commit(&self.first, &self.files);
        push(client, &dot(name), Some(&self.first), &next, &self.files).await?;
        Ok(next.id)
    }
}

async fn identity(client: &HubClient, name: &str) -> DotIdentity {
    let found = client.dot(&dot(name)).await.unwrap().unwrap();
    found.identity.unwrap()
}

async fn head(client: &HubClient, name: &str) -> CommitId {
    let found = client.dot(&dot(name)).await.unwrap().unwrap();
    found.branches[0].head
}

#[tokio::test]
async fn a_dot_keeps_its_identity_and_a_new_one_gets_another() {
    let scene = Scene::new().await;
    let Scene {
        alice,
        alices,
        bob,
        bobs,
        identity: first,
        ..
    } = &scene;
    scene.rename("app", "shop").await;
    assert_eq!(identity(alice, "alice/shop").await, *first);
    let listed = bob.dots().await.unwrap();
    assert_eq!(listed[0].identity, Some(*first));

    let fork = json!({"name": "fork"});
    alices.done("POST", "dots/alice/shop/fork", fork).await;
    let fork = identity(alice, "alice/fork").await;
    assert_ne!(fork, *first);

    alices.done("DELETE", "dots/alice/shop", Value::Null).await;
    push_first(alice, &dot("alice/shop"), b"anew").await;
    let anew = identity(alice, "alice/shop").await;
    assert!(anew != *first && anew != fork);
    scene.rename("shop", "anew").await;
    let trash = alices.done("GET", "trash", Value::Null).await;
    let path = format!("trash/{}/restore", trash[0]["id"].as_str().unwrap());
    alices.done("POST", &path, Value::Null).await;
    assert_eq!(identity(alice, "alice/shop").await, *first);

    let offer = json!({"user": "bob"});
    alices.done("PUT", "dots/alice/shop/offer", offer).await;
    let offers = bobs.done("GET", "offers", Value::Null).await;
    let path = format!("offers/{}", offers[0]["id"].as_str().unwrap());
    bobs.done("POST", &path, json!({"name": "taken"})).await;
    assert_eq!(identity(bob, "bob/taken").await, *first);
    // Its former name finds it, for those who know the identity.
    let known = scene.known(alice);
    assert_eq!(identity(&known, "alice/shop").await, *first);
}

#[tokio::test]
async fn a_request_about_a_dot_finds_it_by_its_former_name_and_no_other_by_that() {
    let scene = Scene::new().await;
    let (alice, bob) = (scene.known(&scene.alice), scene.known(&scene.bob));
    scene.rename("app", "shop").await;
    let next = scene.push_next(&bob, APP).await.unwrap();
    assert_eq!(head(&alice, "alice/shop").await, next);
    alice.commits(&dot(APP), next, None).await.unwrap();

    let other = scene.another_takes("shop", "store").await;
    for client in [&alice, &bob] {
        let name = dot("alice/shop");
        let body = refused(client.dot(&name).await, ErrorCode::AnotherDot);
        assert_eq!(body.moved_to, Some(dot("alice/store")));
        assert_eq!(
            body.message,
            "alice/shop is not the dot that you mean: that dot is called alice/store now"
        );
        let commits = client.commits(&name, scene.first.id, None).await;
        refused(commits, ErrorCode::AnotherDot);
        let objects = client.objects(&name, &scene.files.hashes()).await;
        refused(objects, ErrorCode::AnotherDot);
        refused(client.begin_upload(&name).await, ErrorCode::AnotherDot);
    }
    // A push that began before the dot lost its name.
    let upload = bob.begin_upload(&dot("alice/store")).await.unwrap();
    scene.rename("store", "last").await;
    push_first(
        &scene.alice.about(Some(Meant::New)),
        &dot("alice/store"),
        b"a third",
    )
    .await;
    let made = commit(&root_commit(), &scene.files);
    let mut aside = update(None, &made);
    aside.name = branch("aside");
    let finish = finish(&[&made], vec![aside]);
    let store = dot("alice/store");
    let finished = bob.finish_upload(&store, &upload, &finish).await;
    refused(finished, ErrorCode::AnotherDot);
    let third = scene.alice.dot(&dot("alice/store")).await.unwrap();
    assert_eq!(third.unwrap().branches.len(), 1);
    assert_ne!(identity(&scene.alice, "alice/store").await, other);
}

#[tokio::test]
async fn a_new_dot_takes_a_former_name_and_the_way_from_there_ends() {
    let scene = Scene::new().await;
    let other = scene.another_takes("app", "shop").await;
    assert_ne!(other, scene.identity);
    assert_eq!(head(&scene.alice, "alice/shop").await, scene.first.id);
    // A request without an identity finds the dot that has the name now. A push that wants a new dot fails.
    assert_eq!(identity(&scene.alice, APP).await, other);
    let new = scene.alice.about(Some(Meant::New));
    refused(new.begin_upload(&dot(APP)).await, ErrorCode::Exists);
    // Only the owner makes dots, even if a collaborator could push under that former name.
    scene.rename("shop", "store").await;
    let new = scene.bob.about(Some(Meant::New));
    refused(
        new.begin_upload(&dot("alice/shop")).await,
        ErrorCode::Forbidden,
    );
}

#[tokio::test]
async fn of_two_first_pushes_one_makes_the_dot() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let new = alice.about(Some(Meant::New));
    let files = files(&[("a", b"one")]);
    let (one, two) = (
        commit(&root_commit(), &files),
        commit(&root_commit(), &files),
    );
    let first = new.begin_upload(&dot(APP)).await.unwrap();
    let second = new.begin_upload(&dot(APP)).await.unwrap();
    for upload in [&first, &second] {
        new.send_pack(&dot(APP), upload, pack(&files.objects))
            .await
            .unwrap();
    }
    let finish_one = finish(&[&one], vec![update(None, &one)]);
    let made = new.finish_upload(&dot(APP), &first, &finish_one).await;
    let made = made.unwrap();
    assert_eq!(made, Some(identity(&alice, APP).await));
    // A client repeats the request if the answer was lost.
    let again = new.finish_upload(&dot(APP), &first, &finish_one).await;
    assert_eq!(again.unwrap(), made);
    // On its own branch, nothing else prevents this push.
    let mut aside = update(None, &two);
    aside.name = branch("aside");
    let finish_two = finish(&[&two], vec![aside]);
    let finished = new.finish_upload(&dot(APP), &second, &finish_two).await;
    refused(finished, ErrorCode::Exists);
    assert_eq!(
        alice.dot(&dot(APP)).await.unwrap().unwrap().branches.len(),
        1
    );
}

/// An older client names no identity. If it pushes under a former name, its commits must belong to the dot.
#[tokio::test]
async fn a_push_that_names_no_dot_never_mixes_histories_by_a_former_name() {
    let scene = Scene::new().await;
    scene.rename("app", "shop").await;
    let made = commit(&root_commit(), &scene.files);
    let mut aside = update(None, &made);
    aside.name = branch("aside");
    let name = dot(APP);
    for client in [&scene.alice, &scene.bob] {
        let upload = client.begin_upload(&name).await.unwrap();
        let finish = finish(&[&made], vec![aside.clone()]);
        let body = refused(
            client.finish_upload(&name, &upload, &finish).await,
            ErrorCode::AnotherDot,
        );
        assert_eq!(body.moved_to, Some(dot("alice/shop")));
        assert!(body.message.contains("no commit in common"), "{body}");
    }
    let shop = scene.alice.dot(&dot("alice/shop")).await.unwrap().unwrap();
    assert_eq!(shop.branches.len(), 1);
    // A commit on the dot's own line is accepted, also under the former name.
    let next = scene.push_next(&scene.bob, APP).await.unwrap();
    assert_eq!(head(&scene.alice, "alice/shop").await, next);
    // Under the current name there is no such check.
    let client = &scene.alice;
    let upload = client.begin_upload(&dot("alice/shop")).await.unwrap();
    let finish = finish(&[&made], vec![aside]);
    client
        .finish_upload(&dot("alice/shop"), &upload, &finish)
        .await
        .unwrap();
}

#[tokio::test]
async fn who_knows_a_dot_that_is_gone_makes_no_other_by_its_name() {
    let scene = Scene::new().await;
    let alice = scene.known(&scene.alice);
    scene.alice.delete_dot(&dot(APP)).await.unwrap();
    let body = refused(alice.begin_upload(&dot(APP)).await, ErrorCode::AnotherDot);
    assert_eq!(body.moved_to, None);
    refused(alice.dot(&dot(APP)).await, ErrorCode::AnotherDot);
    // Users without access must learn only that nothing was found.
    assert!(
        scene
            .known(&scene.bob)
            .dot(&dot(APP))
            .await
            .unwrap()
            .is_none()
    );
    push_first(&scene.alice, &dot(APP), b"anew").await;
    refused(alice.begin_upload(&dot(APP)).await, ErrorCode::AnotherDot);
}

/// The status and body of an answer, to check that it reveals nothing.
async fn answer(hub: &TestHub, key: Option<&str>, method: &str, path: &str, meant: &str) -> String {
    let url = format!("{}/api/v1/{path}", hub.url);
    let mut request = reqwest::Client::new()
        .request(method.parse().unwrap(), url)
        .header(IDENTITY_HEADER, meant);
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    let response = request.send().await.unwrap();
    let status = response.status();
    format!("{status} {}", response.text().await.unwrap())
}

#[tokio::test]
async fn an_identity_tells_nothing_to_who_may_not_see_the_dot() {
    let scene = Scene::new().await;
    let (_, stranger) = scene.hub.user_with_secret("stranger").await;
    let right = scene.identity.to_string();
    let wrong = DotIdentity::from_bytes([7; 16]).to_string();
    for key in [None, Some(&*stranger)] {
        for (method, below) in [
            ("GET", ""),
            ("GET", "/commits?head=00000000000000000000000000000000"),
            ("GET", "/settings"),
            ("POST", "/objects"),
            ("POST", "/uploads"),
            ("POST", "/rename"),
            ("DELETE", ""),
        ] {
            let ask = async |name: &str, meant: &str| {
                let path = format!("dots/alice/{name}{below}");
                let answer = answer(&scene.hub, key, method, &path, meant).await;
                answer.replace(name, "NAME")
            };
            let absent = ask("gone", "new").await;
            for meant in [&right, &wrong, "new"] {
                for name in ["app", "gone"] {
                    assert_eq!(
                        ask(name, meant).await,
                        absent,
                        "{method} {below} {name} {meant}"
                    );
                }
            }
        }
    }
    // The answer does not say whose name it is now. Bob may see the dot that he means, but not the dot that has the
    // name.
    scene.another_takes("app", "shop").await;
    let bob = scene.known(&scene.bob);
    let taken = refused(bob.dot(&dot(APP)).await, ErrorCode::AnotherDot);
    scene.alice.delete_dot(&dot(APP)).await.unwrap();
    let absent = refused(bob.dot(&dot(APP)).await, ErrorCode::AnotherDot);
    assert_eq!(taken, absent);
    assert_eq!(taken.moved_to, Some(dot("alice/shop")));
    let malformed = answer(&scene.hub, Some(&stranger), "GET", "dots/alice/app", "x").await;
    assert!(malformed.starts_with("400 "), "{malformed}");
}

#[tokio::test]
async fn without_an_identity_all_is_as_it_was() {
    let scene = Scene::new().await;
    scene.rename("app", "shop").await;
    let found = scene.bob.dot(&dot(APP)).await.unwrap().unwrap();
    let expected: DotName = dot("alice/shop");
    assert_eq!(found.name, expected);
    assert_eq!(
        scene
            .bobs
            .refused("GET", "dots/alice/none", Value::Null)
            .await,
        "not_found"
    );
    scene.alice.delete_dot(&dot("alice/shop")).await.unwrap();
    push_first(&scene.alice, &dot("alice/shop"), b"anew").await;
}
