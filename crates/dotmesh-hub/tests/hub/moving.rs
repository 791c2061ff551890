//! A dot is renamed or transferred while somebody pushes to it. Each request gets an answer that says so.

use std::sync::atomic::{AtomicBool, Ordering};

use dotmesh_api::ErrorCode;
use dotmesh_api::hub::{Access, BranchUpdate};
use dotmesh_hub_db::objects::UploadScope;
use dotmesh_hub_service::HubError;
use dotmesh_hub_service::operations::receive_pack::receive_pack;
use dotmesh_model::{CommitId, UserName};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::api::Api;
use crate::support::{TestHub, branch, commit, dot, files, finish, pack, push_first};

/// Transfers a dot to another user, under a new name.
async fn transfer(from: &Api, to: &Api, dot: &str, user: &str, name: &str) {
    let offer = format!("dots/{dot}/offer");
    from.done("PUT", &offer, json!({ "user": user })).await;
    let offers = to.done("GET", "offers", Value::Null).await;
    let take = format!("offers/{}", offers[0]["id"].as_str().unwrap());
    to.done("POST", &take, json!({ "name": name })).await;
}

/// Every step of a push whose upload was found just before a transfer ended the upload.
#[tokio::test]
async fn a_push_into_a_dot_that_moves_is_told_so() {
    let hub = TestHub::start().await;
    let (client, key) = hub.user_with_secret("alice").await;
    let (_, other) = hub.user_with_secret("bob").await;
    let (alice, bob) = (Api::new(&hub, &key), Api::new(&hub, &other));
    let app = dot("alice/app");
    let (first, old) = push_first(&client, &app, b"one").await;
    let new = files(&[("a", b"two")]);
    let made = commit(&first, &new);
    let upload = client.begin_upload(&app).await.unwrap();

    let database = &hub.hub.database;
    let name: UserName = "alice".parse().unwrap();
    let user = database.user(&name).await.unwrap().unwrap();
    let facts = database.dot_facts(&app, Some(user), None).await.unwrap();
    let found = database.upload(&upload.id, user, user, &app).await.unwrap();
    let scope = UploadScope {
        user,
        reads_as: Some(user),
        owner: user,
        dot: facts.dot,
        upload: found.unwrap().id,
    };
    transfer(&alice, &bob, "alice/app", "bob", "app").await;

    let told = |error: HubError| error.body().code;
    let sent = receive_pack(&hub.hub, &app, scope, pack(&new.objects)).await;
    assert_eq!(told(sent.unwrap_err()), ErrorCode::NotFound);
    // This step would record objects of another dot of the namespace for the upload.
    push_first(&client, &dot("alice/other"), b"one").await;
    let noted = database.usable_and_noted(scope, &old.hashes()).await;
    let noted = noted.map(drop).map_err(HubError::from);
    assert_eq!(told(noted.unwrap_err()), ErrorCode::NotFound);
    // A new request under the old name gets the same answer.
    let update = BranchUpdate {
        name: branch("master"),
        old: Some(first.id),
        new: made.id,
        stash: None,
        force: false,
    };
    let finish = finish(&[&made], vec![update]);
    let finished = client.finish_upload(&app, &upload, &finish).await;
    assert_eq!(finished.unwrap_err().code(), ErrorCode::NotFound);
}

/// Pushes run while a dot is transferred again and again. None of them may end with an internal error.
#[tokio::test]
async fn pushes_beside_moves_never_make_the_hub_fail() {
    const MOVES: usize = 12;
    let hub = TestHub::start().await;
    let (client, key) = hub.user_with_secret("alice").await;
    let (_, other) = hub.user_with_secret("bob").await;
    let (pusher, _) = hub.user_with_secret("carol").await;
    let (alice, bob) = (Api::new(&hub, &key), Api::new(&hub, &other));
    let (first, _) = push_first(&client, &dot("alice/app"), b"one").await;
    client
        .grant(&dot("alice/app"), &"carol".parse().unwrap(), Access::Write)
        .await
        .unwrap();
    let done = AtomicBool::new(false);
    let (pushed, mut seen) = watch::channel(0);
    let moving = async {
        for n in 0..MOVES {
            let (from, to, dot, user) = match n % 2 {
                0 => (&alice, &bob, "alice", "bob"),
                _ => (&bob, &alice, "bob", "alice"),
            };
            let rename = format!("dots/{dot}/app/rename");
            from.done("POST", &rename, json!({"name": "renamed"})).await;
            transfer(from, to, &format!("{dot}/renamed"), user, "app").await;
            // Wait until one push succeeds, while others are at any step.
            seen.changed().await.unwrap();
        }
        done.store(true, Ordering::SeqCst);
    };
    let pushing = async |client: &dotmesh_api::HubClient, owner: &str, number: usize| {
        let name = dot(&format!("{owner}/app"));
        for n in 0.. {
            if done.load(Ordering::SeqCst) {
                break;
            }
            let files = files(&[("a", format!("{owner} {number} {n}").as_bytes())]);
            let made = commit(&first, &files);
            let pushed_one: Result<(), dotmesh_api::ClientError> = async {
                let upload = client.begin_upload(&name).await?;
                client.missing(&name, &upload, &files.hashes()).await?;
                client
                    .send_pack(&name, &upload, pack(&files.objects))
                    .await?;
                let update = BranchUpdate {
                    name: branch(&format!("b{owner}{number}-{n}")),
                    old: None::<CommitId>,
                    new: made.id,
                    stash: None,
                    force: false,
                };
                let finish = finish(&[&made], vec![update]);
                client.finish_upload(&name, &upload, &finish).await?;
                Ok(())
            }
            .await;
            match pushed_one {
                Ok(()) => pushed.send_modify(|count| *count += 1),
                Err(error) => assert_ne!(error.code(), ErrorCode::Internal, "{error}"),
            }
        }
    };
    tokio::join!(
        moving,
        pushing(&pusher, "alice", 1),
        pushing(&pusher, "bob", 2),
        pushing(&client, "alice", 3),
    );
    assert!(*pushed.borrow() >= MOVES);
}
