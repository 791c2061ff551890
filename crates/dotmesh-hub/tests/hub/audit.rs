//! The access log: who logged in, from where, and what they read or removed.

use dotmesh_api::HubVisitor;
use dotmesh_api::hub::{Access, BeginLogin, DeviceCode};
use dotmesh_hub_db::access_log::{self, ACCESS_LOG_LIFETIME, Act};
use dotmesh_hub_db::events::OPERATOR;
use dotmesh_hub_model::credentials::Token;
use dotmesh_hub_service::settings::Settings;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::ambient;
use crate::api::Api;
use crate::pages::{Browser, PASSWORD};
use crate::support::{TestHub, dot, push_first};

/// All entries of the access log, oldest first.
async fn log(hub: &TestHub) -> Vec<(String, Act, String, u64)> {
    let past = hub.hub.database.accesses(None, None, 1000).await.unwrap();
    let rows = past.into_iter().rev().map(|past| {
        assert_eq!(past.access.address, "127.0.0.1");
        (
            past.access.actor,
            past.access.act,
            past.access.subject,
            past.count,
        )
    });
    rows.collect()
}

fn row(actor: &str, act: Act, subject: &str, count: u64) -> (String, Act, String, u64) {
    (actor.to_owned(), act, subject.to_owned(), count)
}

#[tokio::test]
async fn every_way_in_is_written_down() {
    let hub = TestHub::start().await;
    let mut alice = Browser::logged_in(&hub, "alice").await;
    alice.submit("/-/logout", &[]).await;
    let mut wrong = Browser::new(&hub);
    for (user, times) in [("alice", 3), ("typed-my-password-here", 2)] {
        for _ in 0..times {
            assert_eq!(wrong.log_in(user, "wrong horse").await.status.as_u16(), 422);
        }
    }
    // Three more ways to log in: a link, the password from a program, and `dm login`.
    let (database, name) = (&hub.hub.database, "alice".parse().unwrap());
    let token = Token::generate(&ambient::random());
    let now = ambient::now();
    database
        .add_password_link(&token.digest(), &name, &OPERATOR, now)
        .await
        .unwrap();
    let fields = [("token", token.reveal()), ("password", PASSWORD)];
    assert_eq!(
        alice.submit("/-/password", &fields).await.status.as_u16(),
        303
    );
    let http = reqwest::Client::new();
    for _ in 0..3 {
        let request = http.get(format!("{}/api/v1/user", hub.url));
        let answer = request
            .basic_auth("alice", Some(PASSWORD))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), 200);
    }
    let program = HubVisitor::new(hub.url.parse().unwrap()).unwrap();
    let client = "laptop".to_owned();
    let login = program.begin_login(&BeginLogin { client }).await.unwrap();
    let fields = [("code", login.user_code.as_str()), ("decision", "approve")];
    assert_eq!(
        alice.submit("/-/authorize", &fields).await.status.as_u16(),
        200
    );
    let device_code = login.device_code;
    program
        .login_state(&DeviceCode { device_code })
        .await
        .unwrap();
    let (_, key) = hub.user_with_secret("bob").await;
    let bob = Api::new(&hub, &key);
    for _ in 0..3 {
        bob.done("GET", "user", Value::Null).await;
    }
    let expected = [
        row("alice", Act::Login, "with a browser", 1),
        row("alice", Act::WrongPassword, "", 3),
        row("", Act::WrongPassword, "", 2),
        row("alice", Act::Login, "by a link that sets the password", 1),
        row("alice", Act::Password, "", 1),
        row("alice", Act::Login, "with a program, by `dm login`", 1),
        row("bob", Act::Key, "key", 1),
    ];
    assert_eq!(log(&hub).await, expected);

    // Administrators can read the log of any user.
    database
        .set_admin(&name, true, ambient::now())
        .await
        .unwrap();
    let page = alice.get("/-/admin/access").await.body;
    for text in [
        "<strong>alice</strong> gave a wrong password (3 times that day)",
        "<strong>Somebody without an account</strong> gave a wrong password",
        "<strong>bob</strong> used the API key “key”",
        "from 127.0.0.1",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("typed-my-password-here"), "{page}");
    let page = alice.get("/-/admin/access?user=bob").await.body;
    assert!(
        page.contains("<strong>bob</strong>") && !page.contains("<strong>alice"),
        "{page}"
    );
    let page = alice.get("/-/admin/access?user=%26x%22").await.body;
    assert!(page.contains("<strong>alice</strong>"), "{page}");
}

#[tokio::test]
async fn what_is_taken_of_private_dots_and_removed_is_written_down() {
    let hub = TestHub::start().await;
    let (client, alice_key) = hub.user_with_secret("alice").await;
    let (bob_client, bob_key) = hub.user_with_secret("bob").await;
    let (alice, bob) = (Api::new(&hub, &alice_key), Api::new(&hub, &bob_key));
    let (app, open) = (dot("alice/app"), dot("alice/open"));
    let (_, files) = push_first(&client, &app, b"one").await;
    push_first(&client, &open, b"one").await;
    alice
        .done(
            "PATCH",
            "dots/alice/open/settings",
            json!({"visibility": "public"}),
        )
        .await;
    let name = "bob".parse().unwrap();
    for dot in [&app, &open] {
        client.grant(dot, &name, Access::Maintain).await.unwrap();
    }
    let http = reqwest::Client::new();
    for dot in ["alice/app", "alice/open"] {
        for path in ["raw/master/data/a", "raw/master/data/b", "archive/master"] {
            let request = http
                .get(format!("{}/{dot}/{path}", hub.url))
                .bearer_auth(&bob_key);
            assert_eq!(
                request.send().await.unwrap().status().as_u16(),
                200,
                "{path}"
            );
        }
    }
    for dot in [&app, &open] {
        for _ in 0..3 {
            bob_client.objects(dot, &files.hashes()).await.unwrap();
        }
    }
    for path in ["branches/b", "branches/mine", "tags/t", "tags/mine"] {
        let path = format!("dots/alice/app/{path}");
        alice.done("PUT", &path, json!({"at": "master"})).await;
        let by = if path.ends_with("mine") { &alice } else { &bob };
        by.done("DELETE", &path, Value::Null).await;
    }
    for writer in [&alice, &bob] {
        let note = json!({"branch": "master", "body": "n"});
        let note = writer.done("POST", "dots/alice/app/notes", note).await;
        let path = format!("dots/alice/app/notes/{}", note["id"].as_str().unwrap());
        bob.done("DELETE", &path, Value::Null).await;
    }
    alice.done("DELETE", "dots/alice/open", Value::Null).await;
    let of_bob = log(&hub).await.into_iter().filter(|row| row.1 != Act::Key);
    let expected = [
        row("bob", Act::Download, "alice/app file by file", 1),
        row("bob", Act::Download, "alice/app as an archive", 1),
        row("bob", Act::Download, "alice/app by clone or pull", 1),
        row("bob", Act::Deletion, "the branch b of alice/app", 1),
        row("bob", Act::Deletion, "the tag t of alice/app", 1),
        row("bob", Act::Deletion, "another's note on alice/app", 1),
        row("alice", Act::Deletion, "the dot alice/open", 1),
    ];
    assert_eq!(of_bob.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn the_log_goes_back_so_far_and_has_so_many_rows() {
    let settings = Settings {
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..Settings::default()
    };
    let hub = TestHub::start_with(settings).await;
    let database = &hub.hub.database;
    let access = |subject: &str| access_log::LoggedAccess {
        act: Act::Key,
        actor: "alice".to_owned(),
        address: "127.0.0.1".to_owned(),
        subject: subject.to_owned(),
    };
    let now = ambient::now();
    let day = SignedDuration::from_hours(24);
    for (subject, time) in [
        ("old", now - ACCESS_LOG_LIFETIME - day),
        ("kept", now - ACCESS_LOG_LIFETIME + day),
        ("yesterday", now - day),
        ("today", now),
        ("today", now),
        ("yesterday", now),
    ] {
        database.log_access(&access(subject), time).await.unwrap();
    }
    let subjects = async || {
        let past = database.accesses(Some("alice"), None, 100).await.unwrap();
        past.into_iter()
            .map(|past| (past.access.subject, past.count))
            .collect::<Vec<_>>()
    };
    let all = [
        ("yesterday", 1),
        ("today", 2),
        ("yesterday", 1),
        ("kept", 1),
        ("old", 1),
    ];
    let all = all.map(|(subject, count)| (subject.to_owned(), count));
    assert_eq!(subjects().await, all);
    database
        .expire_accesses(now, access_log::MOST_ROWS)
        .await
        .unwrap();
    assert_eq!(subjects().await, all[..4]);
    database.expire_accesses(now, 2).await.unwrap();
    assert_eq!(subjects().await, all[..2]);

    // The log shortens an IPv6 address to its network, and takes the address from a trusted proxy's header.
    let http = reqwest::Client::new();
    let (_, key) = hub.user_with_secret("bob").await;
    for address in ["2001:db8::1", "2001:db8::2", "192.0.2.7"] {
        let request = http
            .get(format!("{}/api/v1/user", hub.url))
            .bearer_auth(&key);
        let answer = request.header("x-forwarded-for", address).send().await;
        assert_eq!(answer.unwrap().status().as_u16(), 200);
    }
    let past = database.accesses(Some("bob"), None, 100).await.unwrap();
    let from: Vec<_> = past.into_iter().map(|past| past.access.address).collect();
    assert_eq!(from, ["192.0.2.7", "2001:db8:0:0::/64"]);
}
