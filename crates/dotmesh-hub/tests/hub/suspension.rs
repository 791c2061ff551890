//! A suspended user: logins, keys and webhooks stop, and the dots stay.

use std::time::Duration;

use dotmesh_api::ErrorCode;
use dotmesh_api::hub::Access;
use dotmesh_hub_service::settings::Settings;
use dotmesh_hub_service::webhooks::dispatcher::Dispatcher;
use serde_json::{Value, json};

use crate::ambient;
use crate::api::Api;
use crate::pages::{Browser, PASSWORD};
use crate::support::{TestHub, commit, dot, files, push, push_first, refused};

#[tokio::test]
async fn neither_logins_nor_keys_nor_webhooks_of_a_suspended_user_work() {
    let settings = Settings {
        webhooks_to_private: true,
        ..Settings::default()
    };
    let hub = TestHub::start_with(settings).await;
    let mut root = Browser::logged_in(&hub, "root").await;
    let (database, name) = (&hub.hub.database, "root".parse().unwrap());
    database
        .set_admin(&name, true, ambient::now())
        .await
        .unwrap();
    let mut browser = Browser::logged_in(&hub, "alice").await;
    let name = "alice".parse().unwrap();
    let key = dotmesh_hub_model::credentials::ApiKey::generate(&ambient::random());
    let (keep, now) = (dotmesh_hub_db::users::OldKeys::Keep, ambient::now());
    assert!(
        database
            .add_key(&name, &key.digest(), keep, now)
            .await
            .unwrap()
    );
    let alice = hub.client("alice", key.reveal());
    let app = dot("alice/app");
    let (first, _) = push_first(&alice, &app, b"one").await;
    let bob = hub.user("bob").await;
    alice
        .grant(&app, &"bob".parse().unwrap(), Access::Write)
        .await
        .unwrap();
    let api = Api::new(&hub, key.reveal());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let hook = json!({ "url": url, "topics": ["push"] });
    let hook = api.done("POST", "dots/alice/app/webhooks", hook).await;
    let second = commit(&first, &files(&[("a", b"two")]));
    push(
        &alice,
        &app,
        Some(&first),
        &second,
        &files(&[("a", b"two")]),
    )
    .await
    .unwrap();

    let page = root.get("/-/admin").await.body;
    assert!(
        page.contains("Suspend<span class=\"visually-hidden\"> alice"),
        "{page}"
    );
    let suspended = [("user", "alice"), ("state", "suspended")];
    let answer = root.submit("/-/admin/suspensions", &suspended).await;
    assert_eq!(answer.status.as_u16(), 303, "{}", answer.body);

    // The session has ended, and there is no other way to log in. Without the password, the answer does not mention
    // the suspension.
    let answer = browser.get("/-/settings").await;
    assert_eq!(answer.status.as_u16(), 303, "{}", answer.body);
    let answer = browser.log_in("alice", PASSWORD).await;
    assert_eq!(answer.status.as_u16(), 403, "{}", answer.body);
    assert!(
        answer.body.contains("This account is suspended"),
        "{}",
        answer.body
    );
    assert_eq!(
        browser.log_in("alice", "wrong horse").await.status.as_u16(),
        422
    );
    refused(alice.current_user().await, ErrorCode::Forbidden);
    refused(alice.begin_upload(&app).await, ErrorCode::Forbidden);
    refused(
        hub.client("alice", PASSWORD).current_user().await,
        ErrorCode::Forbidden,
    );

    // The dots stay, and other users keep their access. Webhooks receive nothing.
    let third = commit(&second, &files(&[("a", b"three")]));
    push(
        &bob,
        &app,
        Some(&second),
        &third,
        &files(&[("a", b"three")]),
    )
    .await
    .unwrap();
    let dispatcher = Dispatcher::new(&hub.hub, Duration::from_secs(60)).unwrap();
    assert_eq!(dispatcher.round(ambient::now()).await.unwrap(), 0);

    // Administrators cannot suspend themselves by mistake.
    let own = [("user", "root"), ("state", "suspended")];
    assert_eq!(
        root.submit("/-/admin/suspensions", &own)
            .await
            .status
            .as_u16(),
        400
    );
    let nobody = [("user", "nobody"), ("state", "suspended")];
    assert_eq!(
        root.submit("/-/admin/suspensions", &nobody)
            .await
            .status
            .as_u16(),
        404
    );

    let page = root.get("/-/admin").await.body;
    assert!(
        page.contains("Reactivate<span class=\"visually-hidden\">: alice"),
        "{page}"
    );
    let active = [("user", "alice"), ("state", "active")];
    assert_eq!(
        root.submit("/-/admin/suspensions", &active)
            .await
            .status
            .as_u16(),
        303
    );
    alice.current_user().await.unwrap();
    assert_eq!(browser.log_in("alice", PASSWORD).await.status.as_u16(), 303);
    // Events during the suspension are not delivered afterwards.
    assert_eq!(dispatcher.round(ambient::now()).await.unwrap(), 0);
    let id = hook["id"].as_str().unwrap();
    let path = format!("dots/alice/app/webhooks/{id}/deliveries");
    let past = api.done("GET", &path, Value::Null).await;
    let past = past.as_array().unwrap();
    assert_eq!(past.len(), 1, "{past:?}");
    assert!(
        past[0]["error"].as_str().unwrap().contains("suspended"),
        "{past:?}"
    );
    let events = root.get("/-/admin/events").await.body;
    for words in ["suspended alice", "reactivated alice"] {
        assert!(events.contains(words), "{words}: {events}");
    }
}

#[tokio::test]
async fn users_are_suspended_at_the_command_line() {
    let place = crate::place::Place::new().await;
    place.hub_with_user("alice").await;
    let said = |args: &[&str]| {
        let output = place.run(args);
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    for _ in 0..2 {
        let done = (true, "alice is suspended\n".to_owned());
        assert_eq!(said(&["user", "suspend", "alice"]), done);
    }
    let (_, list) = said(&["user", "list"]);
    assert!(list.contains("suspended"), "{list}");
    assert_eq!(
        said(&["user", "resume", "alice"]),
        (true, "alice is active\n".to_owned())
    );
    let (done, says) = said(&["user", "suspend", "bob"]);
    assert!(!done && says.contains("bob"), "{says}");
}
