//! Logging in: keys, passwords, and the answers without either.

use dotmesh_api::{ErrorCode, Problem};
use dotmesh_hub_db::users::{NewUser, OldKeys, OwnedDots, Removal};
use dotmesh_hub_model::credentials::{ApiKey, HashedPassword};

use crate::ambient;
use crate::support::{TestHub, dot, push_first, refused};

#[tokio::test]
async fn a_hub_says_what_it_is_to_anyone() {
    let hub = TestHub::start().await;
    let version = hub.client("nobody", "nothing").version().await.unwrap();
    assert_eq!((version.server.as_str(), version.protocol), ("dothub", 1));
}

#[tokio::test]
async fn a_client_of_another_protocol_is_told_where_to_look() {
    let hub = TestHub::start().await;
    // Installs the crypto provider for the whole process.
    hub.client("nobody", "nothing");
    for path in [
        "api/v2/version",
        "api/v2/dots/alice/app",
        "api/v1/later",
        "-/later",
    ] {
        let url = format!("{}/{path}", hub.url);
        let answer = reqwest::get(url).await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
        let error: Problem = answer.json().await.unwrap();
        assert_eq!(error.code, ErrorCode::NotFound);
        assert!(error.hint.unwrap().contains("GET /api/v1/version"));
    }
}

#[tokio::test]
async fn keys_and_passwords() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    assert_eq!(alice.current_user().await.unwrap().name.as_str(), "alice");

    let name = "alice".parse().unwrap();
    let password = HashedPassword::new("correct horse: battery", &[]).unwrap();
    assert!(
        hub.hub
            .database
            .set_password(&name, &password, ambient::now())
            .await
            .unwrap()
    );
    hub.client("alice", "correct horse: battery")
        .current_user()
        .await
        .unwrap();

    let key = ApiKey::generate(&ambient::random());
    let database = &hub.hub.database;
    assert!(
        database
            .add_key(&name, &key.digest(), OldKeys::Keep, ambient::now())
            .await
            .unwrap()
    );
    alice.current_user().await.unwrap();
    let last = ApiKey::generate(&ambient::random());
    assert!(
        database
            .add_key(&name, &last.digest(), OldKeys::End, ambient::now())
            .await
            .unwrap()
    );
    refused(alice.current_user().await, ErrorCode::Unauthorized);
    refused(
        hub.client("alice", key.reveal()).current_user().await,
        ErrorCode::Unauthorized,
    );
    hub.client("alice", last.reveal())
        .current_user()
        .await
        .unwrap();
}

#[tokio::test]
async fn every_wrong_login_gets_the_same_answer() {
    let hub = TestHub::start().await;
    hub.user("alice").await;
    let bob = hub.user("bob").await;
    let other = ApiKey::generate(&ambient::random());
    let mut answers = Vec::new();
    for (name, secret) in [
        ("alice", "a wrong password"),
        ("nobody", "a wrong password"),
        ("alice", other.reveal()),
        ("nobody", other.reveal()),
        ("alice", ""),
    ] {
        let client = hub.client(name, secret);
        answers.push(refused(
            client.current_user().await,
            ErrorCode::Unauthorized,
        ));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    bob.current_user().await.unwrap();
}

#[tokio::test]
async fn names_that_differ_in_case_only_are_one() {
    let hub = TestHub::start().await;
    hub.user("alice").await;
    let key = ApiKey::generate(&ambient::random());
    let name = "Alice".parse().unwrap();
    let added = hub
        .hub
        .database
        .add_user(&name, &NewUser::with_key(key.digest()), ambient::now())
        .await;
    assert!(!added.unwrap());
}

#[tokio::test]
async fn removing_a_user_spares_dots_unless_told() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    push_first(&alice, &dot("alice/app"), b"content").await;
    let name = "alice".parse().unwrap();
    let database = &hub.hub.database;
    let refusal = database
        .remove_user(&name, OwnedDots::Keep, ambient::now())
        .await
        .unwrap();
    assert_eq!(refusal, Removal::HasDots { count: 1 });
    alice.current_user().await.unwrap();
    assert_eq!(
        database
            .remove_user(&name, OwnedDots::Delete, ambient::now())
            .await
            .unwrap(),
        Removal::Removed
    );
    refused(alice.current_user().await, ErrorCode::Unauthorized);
    assert_eq!(
        database
            .remove_user(&name, OwnedDots::Keep, ambient::now())
            .await
            .unwrap(),
        Removal::NoSuchUser
    );
}
