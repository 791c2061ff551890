//! Accounts on pages: sign-up, passwords, sessions, keys, administration.

use dotmesh_hub_db::device_logins::{Decision, NewDeviceLogin};
use dotmesh_hub_db::events::{EventsOf, OPERATOR};
use dotmesh_hub_db::keys::NewKey;
use dotmesh_hub_db::links::{INVITATION_LIFETIME, PASSWORD_LINK_LIFETIME};
use dotmesh_hub_db::sessions::{LONGEST_SESSION, SESSION_LIFETIME};
use dotmesh_hub_model::credentials::{ApiKey, Token, UserCode};
use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_hub_service::settings::{Settings, SignUp};
use jiff::SignedDuration;
use reqwest::StatusCode;

use crate::ambient;
use crate::pages::{Browser, PASSWORD};
use crate::support::{TestHub, dot, push_first};

fn open_to(sign_up: SignUp) -> Settings {
    Settings {
        sign_up,
        ..Settings::default()
    }
}

async fn sign_up(browser: &mut Browser, user: &str, password: &str, token: &str) -> (u16, String) {
    let fields = [("user", user), ("password", password), ("token", token)];
    let answer = browser.submit("/-/signup", &fields).await;
    (answer.status.as_u16(), answer.body)
}

/// The first link to `path` on a page.
fn link<'a>(hub: &TestHub, body: &'a str, path: &str) -> &'a str {
    let begin = body.find(&format!("{}{path}?token=", hub.url)).expect(body);
    let link = body[begin..].split('<').next().unwrap();
    &link[hub.url.len()..]
}

async fn administrator(hub: &TestHub) -> Browser {
    let browser = Browser::logged_in(hub, "root").await;
    let database = &hub.hub.database;
    let name = "root".parse().unwrap();
    assert!(
        database
            .set_admin(&name, true, ambient::now())
            .await
            .unwrap()
    );
    browser
}

#[tokio::test]
async fn who_signs_up_is_logged_in_and_told_what_is_next() {
    let hub = TestHub::start_with(open_to(SignUp::Open)).await;
    let mut browser = Browser::new(&hub);
    for (user, password, what) in [
        ("a b", PASSWORD, "name"),
        ("-alice", PASSWORD, "name"),
        ("alice", "short", "8 to 1024"),
        ("alice", "dmk_0123456789", "API keys"),
        ("api", PASSWORD, "taken"),
        ("Metrics", PASSWORD, "taken"),
        ("healthz", PASSWORD, "taken"),
        ("READYZ", PASSWORD, "taken"),
        ("dothub", PASSWORD, "taken"),
    ] {
        let (status, body) = sign_up(&mut browser, user, password, "").await;
        assert_eq!(status, 422, "{user}");
        assert!(body.contains(what), "{user}: {body}");
        assert!(!body.contains(password) || password.len() < 6, "{user}");
        assert_eq!(browser.cookie, None);
    }
    assert_eq!(sign_up(&mut browser, "alice", PASSWORD, "").await.0, 303);
    let (status, body) = sign_up(&mut Browser::new(&hub), "Alice", PASSWORD, "").await;
    assert_eq!((status, body.contains("taken")), (422, true));

    let events = hub
        .hub
        .database
        .events(EventsOf::Hub, None, 10)
        .await
        .unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(
        (events[0].actor.as_str(), &events[0].kind),
        ("alice", &EventKind::SignUp)
    );
}

#[tokio::test]
async fn a_closed_hub_takes_nobody() {
    let hub = TestHub::start_with(open_to(SignUp::Closed)).await;
    let mut admin = administrator(&hub).await;
    let made = admin.submit("/-/admin/invitations", &[]).await.body;
    let token = link(&hub, &made, "/-/signup").rsplit('=').next().unwrap();
    let mut browser = Browser::new(&hub);
    assert_eq!(browser.get("/-/signup").await.status, StatusCode::FORBIDDEN);
    assert_eq!(sign_up(&mut browser, "alice", PASSWORD, token).await.0, 403);
}

#[tokio::test]
async fn an_invitation_makes_one_account() {
    let hub = TestHub::start().await;
    let mut admin = administrator(&hub).await;
    let page = admin.submit("/-/admin/invitations", &[]).await;
    assert_eq!(page.headers["cache-control"], "no-store");
    let link = link(&hub, &page.body, "/-/signup").to_owned();
    // The link is shown once.
    assert!(!admin.get("/-/admin").await.body.contains(&link));
    let token = link.rsplit('=').next().unwrap().to_owned();

    let mut browser = Browser::new(&hub);
    assert_eq!(browser.get("/-/signup").await.status, StatusCode::FORBIDDEN);
    assert_eq!(sign_up(&mut browser, "alice", PASSWORD, "").await.0, 403);
    assert_eq!(browser.get(&link).await.status, StatusCode::OK);
    // A failed sign-up does not use up the invitation.
    assert_eq!(sign_up(&mut browser, "root", PASSWORD, &token).await.0, 422);
    assert_eq!(
        sign_up(&mut browser, "alice", PASSWORD, &token).await.0,
        303
    );
    let mut other = Browser::new(&hub);
    assert_eq!(sign_up(&mut other, "bob", PASSWORD, &token).await.0, 403);
    assert_eq!(other.get(&link).await.status, StatusCode::FORBIDDEN);

    // If many use an invitation at once, one succeeds.
    let database = &hub.hub.database;
    let token = Token::generate(&ambient::random());
    database
        .add_invitation(&token.digest(), &OPERATOR, ambient::now())
        .await
        .unwrap();
    let asked = (0..6).map(|n| {
        let (mut browser, token) = (Browser::new(&hub), token.reveal());
        async move {
            sign_up(&mut browser, &format!("guest{n}"), PASSWORD, token)
                .await
                .0
        }
    });
    let answers = futures::future::join_all(asked).await;
    assert_eq!(
        answers.iter().filter(|status| **status == 303).count(),
        1,
        "{answers:?}"
    );

    // An expired invitation is refused, and so is a token of another kind.
    let old = Token::generate(&ambient::random());
    let then = ambient::now() - INVITATION_LIFETIME;
    database
        .add_invitation(&old.digest(), &OPERATOR, then)
        .await
        .unwrap();
    let password = Token::generate(&ambient::random());
    let name = "alice".parse().unwrap();
    database
        .add_password_link(&password.digest(), &name, &OPERATOR, ambient::now())
        .await
        .unwrap();
    for token in [old, password] {
        assert_eq!(
            sign_up(&mut other, "bob", PASSWORD, token.reveal()).await.0,
            403
        );
    }
}

#[tokio::test]
async fn a_forgotten_password_is_set_by_a_link_once() {
    let hub = TestHub::start().await;
    let mut admin = administrator(&hub).await;
    let mut alice = Browser::logged_in(&hub, "alice").await;
    let page = admin
        .submit("/-/admin/resets", &[("user", "alice")])
        .await
        .body;
    let link = link(&hub, &page, "/-/password").to_owned();
    let token = link.rsplit('=').next().unwrap().to_owned();
    let missing = admin.submit("/-/admin/resets", &[("user", "nobody")]).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);

    let mut browser = Browser::new(&hub);
    assert!(browser.get(&link).await.body.contains("alice"));
    let short = [("token", token.as_str()), ("password", "short")];
    assert_eq!(
        browser.submit("/-/password", &short).await.status.as_u16(),
        422
    );
    // Until then the old password works.
    assert_eq!(alice.get("/-/settings").await.status, StatusCode::OK);
    let fields = [("token", token.as_str()), ("password", "another horse")];
    assert_eq!(
        browser.submit("/-/password", &fields).await.status,
        StatusCode::SEE_OTHER
    );
    assert_eq!(browser.get("/-/settings").await.status, StatusCode::OK);
    assert_eq!(alice.get("/-/settings").await.status, StatusCode::SEE_OTHER);
    let mut other = Browser::new(&hub);
    assert_eq!(
        other.submit("/-/password", &fields).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(other.get(&link).await.status, StatusCode::NOT_FOUND);
    assert_eq!(other.log_in("alice", PASSWORD).await.status.as_u16(), 422);
    assert_eq!(
        other.log_in("alice", "another horse").await.status,
        StatusCode::SEE_OTHER
    );

    // An expired link is refused. A change of the password ends all links.
    let database = &hub.hub.database;
    let (old, open) = (
        Token::generate(&ambient::random()),
        Token::generate(&ambient::random()),
    );
    let name = "alice".parse().unwrap();
    let then = ambient::now() - PASSWORD_LINK_LIFETIME;
    database
        .add_password_link(&old.digest(), &name, &OPERATOR, then)
        .await
        .unwrap();
    database
        .add_password_link(&open.digest(), &name, &OPERATOR, ambient::now())
        .await
        .unwrap();
    let change = [("old", "another horse"), ("new", PASSWORD)];
    assert_eq!(
        other.submit("/-/settings/password", &change).await.status,
        StatusCode::OK
    );
    for token in [old, open] {
        let page = format!("/-/password?token={}", token.reveal());
        assert_eq!(other.get(&page).await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_changed_password_ends_the_other_sessions() {
    let hub = TestHub::start().await;
    let mut here = Browser::logged_in(&hub, "alice").await;
    let mut there = Browser::new(&hub);
    there.log_in("alice", PASSWORD).await;
    for (old, new) in [("wrong horse", "another horse"), (PASSWORD, "short")] {
        let answer = here
            .submit("/-/settings/password", &[("old", old), ("new", new)])
            .await;
        assert_eq!(answer.status.as_u16(), 422);
        assert_eq!(there.get("/-/settings").await.status, StatusCode::OK);
    }
    let change = [("old", PASSWORD), ("new", "another horse")];
    assert_eq!(
        here.submit("/-/settings/password", &change).await.status,
        StatusCode::OK
    );
    assert_eq!(here.get("/-/settings").await.status, StatusCode::OK);
    assert_eq!(there.get("/-/settings").await.status, StatusCode::SEE_OTHER);
    assert_eq!(there.log_in("alice", PASSWORD).await.status.as_u16(), 422);
    assert_eq!(
        there.log_in("alice", "another horse").await.status,
        StatusCode::SEE_OTHER
    );
}

#[tokio::test]
async fn sessions_are_ended_one_by_one_and_only_ones_own() {
    let hub = TestHub::start().await;
    let mut alice = Browser::logged_in(&hub, "alice").await;
    let mut bob = Browser::logged_in(&hub, "bob").await;
    let mut other = Browser::new(&hub);
    other.log_in("alice", PASSWORD).await;
    let id = hub
        .hub
        .database
        .user(&"alice".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    let sessions = hub.hub.database.sessions(id, ambient::now()).await.unwrap();
    assert_eq!(sessions.len(), 2);
    let session_of = |browser: &Browser| {
        let cookie = browser.cookie.clone().unwrap();
        let (_, token) = cookie.split_once('=').unwrap();
        dotmesh_hub_model::credentials::KeyDigest::of(token).to_hex()
    };
    let ended = session_of(&other);
    bob.submit("/-/settings/sessions", &[("session", &ended)])
        .await;
    assert_eq!(other.get("/-/settings").await.status, StatusCode::OK);
    alice
        .submit("/-/settings/sessions", &[("session", &ended)])
        .await;
    assert_eq!(other.get("/-/settings").await.status, StatusCode::SEE_OTHER);
    assert_eq!(alice.get("/-/settings").await.status, StatusCode::OK);
    let bad = alice
        .submit("/-/settings/sessions", &[("session", "zz")])
        .await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_key_is_shown_once_and_works_as_far_as_its_scope() {
    let hub = TestHub::start().await;
    let mut alice = Browser::logged_in(&hub, "alice").await;
    let mut bob = Browser::logged_in(&hub, "bob").await;
    let make = [
        ("name", "<b>laptop</b>"),
        ("scope", "write"),
        ("days", "30"),
    ];
    let answer = alice.submit("/-/settings/keys", &make).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let key = answer
        .body
        .split("<code>")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    assert!(key.starts_with("dmk_"), "{key}");
    assert!(
        answer
            .body
            .contains(&format!("dm login {} --key</code>", hub.url))
    );
    assert!(!answer.body.contains("<b>laptop"), "{}", answer.body);
    let client = hub.client("alice", key);
    push_first(&client, &dot("alice/app"), b"one").await;
    assert!(client.delete_dot(&dot("alice/app")).await.is_err());

    let page = alice.get("/-/settings/keys").await.body;
    assert!(!page.contains(key) && page.contains("laptop"), "{page}");
    let id = hub
        .hub
        .database
        .user(&"alice".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    let keys = hub.hub.database.keys(id).await.unwrap();
    let number = keys[0].id.number().to_string();
    // Bob cannot revoke a key of Alice's.
    bob.submit("/-/settings/keys/revoke", &[("key", &number)])
        .await;
    client.current_user().await.unwrap();
    alice
        .submit("/-/settings/keys/revoke", &[("key", &number)])
        .await;
    assert!(client.current_user().await.is_err());

    for (fields, status) in [
        ([("name", " "), ("scope", "read"), ("days", "0")], 422),
        ([("name", "a\nb"), ("scope", "read"), ("days", "0")], 422),
        ([("name", "a"), ("scope", "all"), ("days", "0")], 400),
        ([("name", "a"), ("scope", "read"), ("days", "31")], 400),
        ([("name", "a"), ("scope", "read"), ("days", "-1")], 400),
    ] {
        let answer = alice.submit("/-/settings/keys", &fields).await;
        assert_eq!(answer.status.as_u16(), status, "{fields:?}");
    }
}

#[tokio::test]
async fn administrators_see_users_and_the_audit_log() {
    let hub = TestHub::start().await;
    let mut admin = administrator(&hub).await;
    let alice = hub.user("alice").await;
    let app = dot("alice/app");
    push_first(&alice, &app, b"one").await;
    let root = "root".parse().unwrap();
    alice
        .grant(&app, &root, dotmesh_api::hub::Access::Read)
        .await
        .unwrap();
    alice.revoke(&app, &root).await.unwrap();
    alice.delete_dot(&app).await.unwrap();
    let page = admin.get("/-/admin").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(
        page.body.contains("alice") && page.body.contains(" B</td>"),
        "{}",
        page.body
    );
    let log = admin.get("/-/admin/events").await.body;
    for words in [
        "created the account alice",
        "made root an administrator",
        "pushed 1 commit to",
        "gave root read access",
        "revoked root&#39;s access",
        "deleted it",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
    // The log has several pages.
    for _ in 0..100 {
        admin.submit("/-/admin/invitations", &[]).await;
    }
    let log = admin.get("/-/admin/events").await.body;
    let older = log
        .split("href=\"/-/admin/events?before=")
        .nth(1)
        .expect(&log);
    let older = older.split('"').next().unwrap();
    let log = admin
        .get(&format!("/-/admin/events?before={older}"))
        .await
        .body;
    assert!(log.contains("created the account alice") && !log.contains("created an invitation"));

    let mut bob = Browser::logged_in(&hub, "bob").await;
    for path in ["/-/admin", "/-/admin/events"] {
        assert_eq!(bob.get(path).await.status, StatusCode::FORBIDDEN);
        let answer = Browser::new(&hub).get(path).await;
        assert!(answer.location.unwrap().starts_with("/-/login?to="));
    }
}

#[tokio::test]
async fn a_new_password_ends_keys_where_it_is_asked_to() {
    let hub = TestHub::start().await;
    let mut alice = Browser::logged_in(&hub, "alice").await;
    let (database, name) = (&hub.hub.database, "alice".parse().unwrap());
    let id = database.user(&name).await.unwrap().unwrap();
    let keys = async || database.keys(id).await.unwrap().len();
    assert_eq!(keys().await, 1);
    let mut passwords = vec![PASSWORD.to_owned()];
    for (way, ends) in [
        ("settings", false),
        ("link", false),
        ("link", true),
        ("settings", true),
    ] {
        let key = ApiKey::generate(&ambient::random());
        let new = NewKey::first(key.digest());
        database
            .create_key(id, &name, &new, ambient::now())
            .await
            .unwrap();
        // A login of a program that was approved but not yet fetched would still get a key.
        let (device, code) = (
            Token::generate(&ambient::random()),
            UserCode::generate(&ambient::random()),
        );
        let login = NewDeviceLogin {
            device: &device.digest(),
            code: &code.digest(),
            client: "laptop",
            address: "127.0.0.1",
        };
        database
            .begin_device_login(&login, ambient::now())
            .await
            .unwrap();
        let approve = Decision::Approve(id);
        database
            .decide_login(&code.digest(), approve, ambient::now())
            .await
            .unwrap();
        let before = keys().await;
        let old = passwords.last().unwrap().clone();
        let new = format!("{old} again");
        let token = Token::generate(&ambient::random());
        let (path, mut fields) = match way {
            "link" => {
                let added = database
                    .add_password_link(&token.digest(), &name, &OPERATOR, ambient::now())
                    .await;
                assert!(added.unwrap());
                (
                    "/-/password",
                    vec![("token", token.reveal()), ("password", &new)],
                )
            }
            _ => ("/-/settings/password", vec![("old", &*old), ("new", &new)]),
        };
        fields.extend(ends.then_some(("end_keys", "on")));
        let answer = alice.submit(path, &fields).await;
        assert!(answer.status.as_u16() < 400, "{way} {answer:?}");
        assert_eq!(keys().await, if ends { 0 } else { before }, "{way}");
        let fetched = database
            .device_login(
                &device.digest(),
                &ApiKey::generate(&ambient::random()).digest(),
                None,
                ambient::now(),
            )
            .await
            .unwrap();
        assert_eq!(fetched.is_none(), ends, "{way}");
        passwords.push(new);
    }
    let events = database.events(EventsOf::Hub, None, 100).await.unwrap();
    let ended = events
        .iter()
        .filter(|event| matches!(&event.kind, EventKind::RevokeKeys { user } if *user == name));
    assert_eq!(ended.count(), 2);
}

#[tokio::test]
async fn a_session_ends_however_much_it_is_used() {
    let hub = TestHub::start().await;
    let mut alice = Browser::logged_in(&hub, "alice").await;
    let database = &hub.hub.database;
    let id = database
        .user(&"alice".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    let token = Token::generate(&ambient::random());
    let began = ambient::now();
    let digest = token.digest();
    database
        .begin_session(id, &digest, "a browser", began)
        .await
        .unwrap();
    let mut now = began;
    while now.duration_since(began) < LONGEST_SESSION - SESSION_LIFETIME {
        now += SESSION_LIFETIME / 2;
        assert!(database.session(&digest, now).await.unwrap().is_some());
    }
    let end = began + LONGEST_SESSION;
    let (last, second) = (
        end - SignedDuration::from_secs(1),
        SignedDuration::from_secs(1),
    );
    now += SESSION_LIFETIME / 2;
    assert!(database.session(&digest, now).await.unwrap().is_some());
    assert!(database.session(&digest, last).await.unwrap().is_some());
    assert!(
        database
            .session(&digest, last + second)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(database.sessions(id, end).await.unwrap().len(), 0);
    database.expire_sessions(end).await.unwrap();
    // The session is deleted, so it stays gone if the clock is set back.
    assert!(database.session(&digest, now).await.unwrap().is_none());
    assert_eq!(alice.get("/-/settings").await.status, StatusCode::SEE_OTHER);
}
