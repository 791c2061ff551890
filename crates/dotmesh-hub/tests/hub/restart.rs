//! Acknowledged data is there after a restart. Unfinished uploads expire.

use dotmesh_api::ErrorCode;

use crate::ambient;
use crate::support::{
    TestHub, commit, dot, files, finish, pack, push_first, refused, root_commit, update,
};

#[tokio::test]
async fn a_restart_keeps_everything() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let (app, next) = (dot("alice/app"), dot("alice/next"));
    let (first, pushed) = push_first(&alice, &app, b"one").await;
    let begun = files(&[("a", b"two")]);
    let upload = alice.begin_upload(&next).await.unwrap();
    alice
        .send_pack(&next, &upload, pack(&begun.objects))
        .await
        .unwrap();
    let data = hub.stop().await;
    assert!(alice.current_user().await.is_err());

    // The new server has another port, so the same user needs a new client.
    let hub = TestHub::start_in(data).await;
    let key = dotmesh_hub_model::credentials::ApiKey::generate(&ambient::random());
    let old = dotmesh_hub_db::users::OldKeys::Keep;
    let name = "alice".parse().unwrap();
    hub.hub
        .database
        .add_key(&name, &key.digest(), old, ambient::now())
        .await
        .unwrap();
    let alice = hub.client("alice", key.reveal());
    assert_eq!(
        alice.dot(&app).await.unwrap().unwrap().branches[0].head,
        first.id
    );
    assert_eq!(
        alice.commits(&app, first.id, None).await.unwrap().commits,
        [first.sealed]
    );
    alice.objects(&app, &pushed.hashes()).await.unwrap();
    let made = commit(&root_commit(), &begun);
    let request = finish(&[&made], vec![update(None, &made)]);
    alice.finish_upload(&next, &upload, &request).await.unwrap();
}

#[tokio::test]
async fn unfinished_uploads_expire() {
    let hub = TestHub::start().await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    let files = files(&[("a", b"one")]);
    let upload = alice.begin_upload(&app).await.unwrap();
    alice
        .send_pack(&app, &upload, pack(&files.objects))
        .await
        .unwrap();
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    assert_eq!(
        hub.hub
            .database
            .expire_uploads(ambient::now() - day)
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        hub.hub
            .database
            .expire_uploads(ambient::now() + day)
            .await
            .unwrap(),
        1
    );
    refused(
        alice.missing(&app, &upload, &files.hashes()).await,
        ErrorCode::NotFound,
    );
}
