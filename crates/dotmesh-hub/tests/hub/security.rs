//! Attacks: each has a test.

use std::num::NonZeroU32;

use base64::Engine as _;
use dotmesh_api::Problem;
use dotmesh_hub_db::events::EventsOf;
use dotmesh_hub_model::credentials::{HashedPassword, Token};
use dotmesh_hub_service::settings::Settings;
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, COOKIE, RETRY_AFTER, SET_COOKIE};

use crate::ambient;
use crate::pages::{Browser, PASSWORD};
use crate::support::{TestHub, dot, push_first};

fn secure() -> Settings {
    Settings {
        url: Some("https://hub.example.com".parse().unwrap()),
        ..Settings::default()
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_planted_cookie_never_becomes_a_session() {
    let hub = TestHub::start().await;
    let mut alice = Browser::logged_in(&hub, "alice").await;
    alice.submit("/-/logout", &[]).await;
    let planted = format!(
        "dothub_session={}",
        Token::generate(&ambient::random()).reveal()
    );
    alice.cookie = Some(planted.clone());
    alice.log_in("alice", PASSWORD).await;
    assert_ne!(alice.cookie.as_ref(), Some(&planted));
    assert_eq!(alice.get("/-/settings").await.status, StatusCode::OK);
    alice.cookie = Some(planted);
    assert_eq!(alice.get("/-/settings").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn cookies_are_for_the_hub_alone() {
    for (settings, name, secure) in [
        (Settings::default(), "dothub_session=", false),
        (secure(), "__Host-dothub_session=", true),
    ] {
        let hub = TestHub::start_with(settings).await;
        let mut browser = Browser::logged_in(&hub, "alice").await;
        let answer = browser.log_in("alice", PASSWORD).await;
        let cookie = answer.headers[SET_COOKIE].to_str().unwrap();
        assert!(cookie.starts_with(name), "{cookie}");
        for flag in ["; Path=/", "; HttpOnly", "; SameSite=Lax"] {
            assert!(cookie.contains(flag), "{cookie}");
        }
        assert!(!cookie.contains("Domain"), "{cookie}");
        assert_eq!(cookie.contains("; Secure"), secure, "{cookie}");
        let hsts = answer.headers.get("strict-transport-security");
        assert_eq!(hsts.is_some(), secure);
        // Another host of the domain may have set the cookie of the other name.
        let token = browser.cookie.clone().unwrap();
        let token = token.split_once('=').unwrap().1;
        let other = if secure {
            "dothub_session"
        } else {
            "__Host-dothub_session"
        };
        browser.cookie = Some(format!("{other}={token}"));
        assert_eq!(
            browser.get("/-/settings").await.status,
            StatusCode::SEE_OTHER
        );
    }
}

#[tokio::test]
async fn other_sites_cannot_submit_forms() {
    let hub = TestHub::start().await;
    let alice = Browser::logged_in(&hub, "alice").await;
    let cookie = alice.cookie.clone().unwrap();
    let forms = [
        "/-/login",
        "/-/logout",
        "/-/signup",
        "/-/password",
        "/-/settings/password",
        "/-/settings/sessions",
        "/-/settings/keys",
        "/-/settings/keys/revoke",
        "/-/admin/invitations",
        "/-/admin/resets",
    ];
    for path in forms {
        for headers in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("origin", "https://evil.example.com")],
            &[("origin", "null")],
            &[],
        ] {
            let mut request = client()
                .post(format!("{}{path}", hub.url))
                .header(COOKIE, &cookie)
                .header("content-type", "application/x-www-form-urlencoded")
                .body("name=evil&scope=admin&days=0");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path} {headers:?}");
            let problem: Problem = answer.json().await.unwrap();
            assert!(problem.detail.contains("own pages"));
        }
    }
    let mut alice = alice;
    assert_eq!(alice.get("/-/settings").await.status, StatusCode::OK);
    let id = hub
        .hub
        .database
        .user(&"alice".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(hub.hub.database.keys(id.unwrap()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn other_sites_cannot_use_credentials_that_a_browser_remembers() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    push_first(&alice, &dot("alice/app"), b"one").await;
    let webhook = r#"{"url":"https://evil.example.com/","topics":["push"]}"#;
    let ask = async |method: &str, path: &str, body: &str, headers: &[(&str, &str)]| {
        let mut request = client()
            .request(method.parse().unwrap(), format!("{}{path}", hub.url))
            .basic_auth("alice", Some(&key))
            .body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status()
    };
    let api = "/api/v1/dots/alice/app";
    let webhooks = format!("{api}/webhooks");
    let changes = [
        ("POST", webhooks.as_str(), webhook),
        ("DELETE", api, ""),
        ("POST", "/-/settings/keys", "name=evil&scope=admin&days=0"),
        (
            "POST",
            "/alice/app/settings/visibility",
            "visibility=public",
        ),
    ];
    for (method, path, body) in changes {
        for headers in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("origin", "https://evil.example.com")],
            &[("origin", "null")],
        ] {
            let status = ask(method, path, body, headers).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path} {headers:?}");
        }
    }
    // Programs send none of these headers, and the hub's own pages send `same-origin`.
    assert_eq!(
        ask("POST", &webhooks, webhook, &[]).await,
        StatusCode::CREATED
    );
    let own = [("sec-fetch-site", "same-origin")];
    assert_eq!(
        ask("POST", &webhooks, webhook, &own).await,
        StatusCode::CREATED
    );

    // The hub never asks a browser for a password that the browser would store.
    for path in ["/api/v1/dots", "/metrics", "/alice/app", api] {
        let answer = client().get(format!("{}{path}", hub.url)).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(
            answer.headers()["www-authenticate"],
            "Bearer realm=\"dothub\""
        );
    }
}

#[tokio::test]
async fn oversized_forms_are_refused() {
    let hub = TestHub::start().await;
    let mut alice = Browser::logged_in(&hub, "alice").await;
    let long = "x".repeat(300 << 10);
    for (path, field) in [
        ("/-/login", "password"),
        ("/-/password", "password"),
        ("/-/settings/keys", "name"),
    ] {
        let answer = alice.submit(path, &[(field, long.as_str())]).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
    }
}

#[tokio::test]
async fn guessing_ends_after_some_tries_in_the_same_words_for_all() {
    let hub = TestHub::start().await;
    let (client_of_alice, key) = hub.user_with_secret("alice").await;
    let name = "alice".parse().unwrap();
    let password = HashedPassword::new(PASSWORD, &[]).unwrap();
    hub.hub
        .database
        .set_password(&name, &password, ambient::now())
        .await
        .unwrap();
    let mut bodies = Vec::new();
    for user in ["alice", "nobody"] {
        let mut browser = Browser::new(&hub);
        for _ in 0..10 {
            assert_eq!(
                browser.log_in(user, "wrong horse").await.status.as_u16(),
                422
            );
        }
        // The right password is refused, too, and so is the other way to log in.
        let answer = browser.log_in(user, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        let wait: u64 = answer.headers[RETRY_AFTER]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((800..=900).contains(&wait), "{wait}");
        let basic = client()
            .get(format!("{}/api/v1/user", hub.url))
            .basic_auth(user, Some(PASSWORD))
            .send()
            .await
            .unwrap();
        assert_eq!(basic.status(), StatusCode::TOO_MANY_REQUESTS);
        bodies.push((answer.body, basic.text().await.unwrap()));
    }
    assert_eq!(bodies[0], bodies[1]);
    // The limit applies neither to API keys nor to other users.
    client_of_alice.current_user().await.unwrap();
    let bearer = client()
        .get(format!("{}/api/v1/user", hub.url))
        .bearer_auth(&key);
    assert_eq!(bearer.send().await.unwrap().status(), StatusCode::OK);
    Browser::logged_in(&hub, "bob").await;
}

#[tokio::test]
async fn passwords_that_are_guessed_first_are_refused() {
    let hub = TestHub::start_with(Settings {
        url: Some("https://hub.example.com".parse().unwrap()),
        ..Settings::default()
    })
    .await;
    let mut alice = Browser::logged_in(&hub, "alice").await;
    for (new, why) in [
        ("Password123", "one of the most common ones"),
        ("alice-2026", "hardly more than your name"),
        ("hub.example.com", "hardly more than your name"),
    ] {
        let fields = [("old", PASSWORD), ("new", new)];
        let answer = alice.submit("/-/settings/password", &fields).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{new}");
        assert!(answer.body.contains(why), "{}", answer.body);
    }
    let fields = [("old", PASSWORD), ("new", "another horse")];
    let answer = alice.submit("/-/settings/password", &fields).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

#[tokio::test]
async fn many_guesses_at_once_are_not_more() {
    let hub = TestHub::start().await;
    hub.user("alice").await;
    let asked = (0..40).map(|_| {
        let mut browser = Browser::new(&hub);
        async move { browser.log_in("alice", "wrong horse").await.status.as_u16() }
    });
    let answers = futures::future::join_all(asked).await;
    let looked_at = answers.iter().filter(|status| **status == 422).count();
    // The hub may exceed the limit by the number of concurrent comparisons.
    assert!((10..=11).contains(&looked_at), "{answers:?}");
}

#[tokio::test]
async fn addresses_are_believed_from_trusted_proxies_only() {
    let guesses = async |hub: &TestHub, n: u32| {
        let mut limited = 0;
        for guess in 0..n {
            let answer = client()
                .get(format!("{}/api/v1/user", hub.url))
                .basic_auth("alice", Some("wrong horse"))
                .header(
                    "x-forwarded-for",
                    format!("198.51.100.{guess}, 192.0.2.{guess}"),
                )
                .send()
                .await
                .unwrap();
            limited += u32::from(answer.status() == StatusCode::TOO_MANY_REQUESTS);
        }
        limited
    };
    // A forged address does not help.
    let hub = TestHub::start().await;
    assert_eq!(guesses(&hub, 12).await, 2);
    // An address from a trusted proxy counts. A limit for all addresses together applies as well.
    let settings = Settings {
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..Settings::default()
    };
    let hub = TestHub::start_with(settings).await;
    assert_eq!(guesses(&hub, 103).await, 3);
}

#[tokio::test]
async fn who_asks_too_fast_waits() {
    let settings = Settings {
        rate_limit: NonZeroU32::new(1),
        ..Settings::default()
    };
    let hub = TestHub::start_with(settings).await;
    let (_, key) = hub.user_with_secret("alice").await;
    let http = client();
    let ask = async |key: Option<&str>| {
        let mut request = http.get(format!("{}/api/v1/dots", hub.url));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        request.send().await.unwrap()
    };
    let mut limited = None;
    for _ in 0..60 {
        let answer = ask(None).await;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            limited = Some(answer);
            break;
        }
    }
    assert_eq!(limited.unwrap().headers()[RETRY_AFTER], "1");
    // A user is not limited by other clients at the same address.
    assert_eq!(ask(Some(&key)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn secrets_are_in_no_page_no_event_and_no_address() {
    let hub = TestHub::start().await;
    let mut alice = Browser::logged_in(&hub, "alice").await;
    let name = "alice".parse().unwrap();
    let database = &hub.hub.database;
    database
        .set_admin(&name, true, ambient::now())
        .await
        .unwrap();
    let make = [("name", "laptop"), ("scope", "admin"), ("days", "0")];
    let made = alice.submit("/-/settings/keys", &make).await;
    assert_eq!((made.status, made.location), (StatusCode::OK, None));
    let key = made
        .body
        .split("<code>")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    let invited = alice.submit("/-/admin/invitations", &[]).await;
    let token = invited
        .body
        .split("token=")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    let change = [("old", PASSWORD), ("new", "another horse")];
    alice.submit("/-/settings/password", &change).await;
    let session = alice.cookie.clone().unwrap();
    let session = session.split_once('=').unwrap().1;
    let events = database.events(EventsOf::Hub, None, 100).await.unwrap();
    let mut texts = vec![format!("{events:?}")];
    for path in [
        "/",
        "/alice",
        "/-/settings",
        "/-/settings/keys",
        "/-/admin",
        "/-/admin/events",
    ] {
        texts.push(alice.get(path).await.body);
    }
    for text in texts {
        for secret in [key, token, session, PASSWORD, "another horse"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[tokio::test]
async fn malformed_credentials_are_only_wrong() {
    let hub = TestHub::start().await;
    hub.user("alice").await;
    let basic =
        base64::engine::general_purpose::STANDARD.encode("alice:".to_owned() + &"x".repeat(2000));
    for header in [
        "Bearer".to_owned(),
        "Bearer dmk_".to_owned(),
        "Basic %%%".to_owned(),
        format!("Basic {basic}"),
        "Digest a=b".to_owned(),
        "x".repeat(6000),
    ] {
        for path in ["/api/v1/user", "/", "/alice/app", "/metrics"] {
            let request = client()
                .get(format!("{}{path}", hub.url))
                .header(AUTHORIZATION, &header);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path} {header}");
        }
    }
}

#[tokio::test]
async fn metrics_are_for_administrators_unless_opened() {
    let hub = TestHub::start().await;
    let (_, key) = hub.user_with_secret("root").await;
    let url = format!("{}/metrics", hub.url);
    let http = client();
    assert_eq!(
        http.get(&url).send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        http.get(&url)
            .bearer_auth(&key)
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::FORBIDDEN
    );
    let name = "root".parse().unwrap();
    hub.hub
        .database
        .set_admin(&name, true, ambient::now())
        .await
        .unwrap();
    let answer = http.get(&url).bearer_auth(&key).send().await.unwrap();
    let text = answer.text().await.unwrap();
    assert!(text.contains("dothub_users 1\n"), "{text}");
    assert!(
        text.contains(r#"route="/metrics",method="GET",status="401""#),
        "{text}"
    );

    let settings = Settings {
        open_metrics: true,
        ..Settings::default()
    };
    let hub = TestHub::start_with(settings).await;
    for path in ["/metrics", "/healthz", "/readyz"] {
        let answer = http.get(format!("{}{path}", hub.url)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
}
