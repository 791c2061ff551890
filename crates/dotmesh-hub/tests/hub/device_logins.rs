//! A program logs in after its user approves it in a browser.

use dotmesh_api::hub::{BeginLogin, DeviceCode, DeviceLogin, LoginState};
use dotmesh_api::{ErrorCode, HubVisitor};
use dotmesh_hub_db::device_logins::{
    DEVICE_LOGIN_LIFETIME, Decision, DeviceLoginState, NewDeviceLogin,
};
use dotmesh_hub_model::access::Scope;
use dotmesh_hub_model::credentials::{ApiKey, Token, UserCode};
use dotmesh_hub_service::settings::Settings;
use reqwest::StatusCode;

use crate::ambient;
use crate::pages::{Answer, Browser};
use crate::support::{TestHub, dot, push_first, refused};

fn program(hub: &TestHub) -> HubVisitor {
    HubVisitor::new(hub.url.parse().unwrap()).unwrap()
}

async fn begin(program: &HubVisitor) -> DeviceLogin {
    let client = "alice-laptop".to_owned();
    program.begin_login(&BeginLogin { client }).await.unwrap()
}

fn code(login: &DeviceLogin) -> DeviceCode {
    DeviceCode {
        device_code: login.device_code.clone(),
    }
}

/// Submits the code, and returns the next page.
async fn type_code(browser: &mut Browser, code: &str) -> Answer {
    browser.submit("/-/authorize", &[("code", code)]).await
}

async fn decide(browser: &mut Browser, login: &DeviceLogin, decision: &str) -> StatusCode {
    let fields = [("code", login.user_code.as_str()), ("decision", decision)];
    browser.submit("/-/authorize", &fields).await.status
}

#[tokio::test]
async fn a_program_gets_a_key_when_its_user_approves() {
    let hub = TestHub::start().await;
    let program = program(&hub);
    let login = begin(&program).await;
    assert_eq!(login.verification_path, "/-/authorize");
    let state = program.login_state(&code(&login)).await.unwrap();
    assert!(matches!(state, LoginState::Pending));

    // A user without a session is sent to the login page first, and then back.
    let mut browser = Browser::new(&hub);
    let answer = browser.get(&login.verification_path).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let back = answer.location.unwrap();
    assert_eq!(back, "/-/login?to=%2F-%2Fauthorize");

    let mut browser = Browser::logged_in(&hub, "alice").await;
    let page = browser.get(&login.verification_path).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("Never type a code"), "{}", page.body);
    let page = type_code(&mut browser, &login.user_code).await;
    assert_eq!(page.status, StatusCode::OK);
    for shown in [
        &login.user_code,
        "alice-laptop",
        "127.0.0.1",
        "<strong>alice</strong>",
    ] {
        assert!(page.body.contains(shown), "{shown}: {}", page.body);
    }
    assert!(!page.body.contains(&login.device_code));
    assert_eq!(
        decide(&mut browser, &login, "approve").await,
        StatusCode::OK
    );

    let state = program.login_state(&code(&login)).await.unwrap();
    let LoginState::Approved { user, key, expires } = state else {
        panic!("{state:?}");
    };
    assert_eq!(user.as_str(), "alice");
    assert_eq!(program.owner(&key).await.unwrap().name, user);
    push_first(&hub.client("alice", &key), &dot("alice/app"), b"content").await;
    let keys = hub
        .hub
        .database
        .keys(hub.hub.database.user(&user).await.unwrap().unwrap());
    let keys = keys.await.unwrap();
    assert_eq!(
        (keys[0].name.as_str(), keys[0].scope),
        ("dm on alice-laptop", Scope::Write)
    );
    let lifetime = Settings::default().login_key_lifetime.unwrap();
    assert_eq!(keys[0].expires, Some(keys[0].created + lifetime));
    assert_eq!(expires, keys[0].expires.map(jiff::Timestamp::as_second));

    // The program has fetched the key, so the login is over and cannot be decided again.
    refused(
        program.login_state(&code(&login)).await,
        ErrorCode::NotFound,
    );
    assert_eq!(
        decide(&mut browser, &login, "approve").await,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        type_code(&mut browser, &login.user_code).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_link_of_a_stranger_asks_for_the_code() {
    let hub = TestHub::start().await;
    let (program, mut alice) = (program(&hub), Browser::logged_in(&hub, "alice").await);
    let login = begin(&program).await;
    for query in ["code", "user_code"] {
        let link = format!("/-/authorize?{query}={}&decision=approve", login.user_code);
        let page = alice.get(&link).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(!page.body.contains(&login.user_code), "{}", page.body);
        assert!(!page.body.contains("alice-laptop"), "{}", page.body);
    }
    let state = program.login_state(&code(&login)).await.unwrap();
    assert!(matches!(state, LoginState::Pending));
}

#[tokio::test]
async fn keys_of_programs_last_as_long_as_the_hub_says() {
    let settings = Settings {
        login_key_lifetime: None,
        ..Settings::default()
    };
    let hub = TestHub::start_with(settings).await;
    let (program, mut alice) = (program(&hub), Browser::logged_in(&hub, "alice").await);
    let login = begin(&program).await;
    decide(&mut alice, &login, "approve").await;
    let state = program.login_state(&code(&login)).await.unwrap();
    assert!(matches!(state, LoginState::Approved { expires: None, .. }));

    let (device, code, key) = (
        Token::generate(&ambient::random()),
        UserCode::generate(&ambient::random()),
        ApiKey::generate(&ambient::random()),
    );
    let database = &hub.hub.database;
    let user = database.user(&"alice".parse().unwrap()).await.unwrap();
    let now = ambient::now();
    let login = NewDeviceLogin {
        device: &device.digest(),
        code: &code.digest(),
        client: "laptop",
        address: "127.0.0.1",
    };
    database.begin_device_login(&login, now).await.unwrap();
    let approve = Decision::Approve(user.unwrap());
    database
        .decide_login(&code.digest(), approve, now)
        .await
        .unwrap();
    let end = now + jiff::SignedDuration::from_hours(24);
    let told = database
        .device_login(&device.digest(), &key.digest(), Some(end), now)
        .await
        .unwrap();
    assert!(matches!(told, Some(DeviceLoginState::Approved(_))));
    let works = async |now| {
        database
            .key_user(&key.digest(), jiff::Timestamp::UNIX_EPOCH, now)
            .await
            .unwrap()
            .is_some()
    };
    assert!(works(end - jiff::SignedDuration::from_secs(1)).await);
    assert!(!works(end).await);
}

#[tokio::test]
async fn a_denied_login_gets_nothing() {
    let hub = TestHub::start().await;
    let (program, mut browser) = (program(&hub), Browser::logged_in(&hub, "alice").await);
    let login = begin(&program).await;
    assert_eq!(decide(&mut browser, &login, "deny").await, StatusCode::OK);
    // A decision is final.
    assert_eq!(
        decide(&mut browser, &login, "approve").await,
        StatusCode::NOT_FOUND
    );
    for _ in 0..2 {
        let state = program.login_state(&code(&login)).await.unwrap();
        assert!(matches!(state, LoginState::Denied));
    }
}

#[tokio::test]
async fn of_two_who_ask_at_once_one_gets_the_key() {
    let hub = TestHub::start().await;
    let (program, mut browser) = (program(&hub), Browser::logged_in(&hub, "alice").await);
    let login = begin(&program).await;
    decide(&mut browser, &login, "approve").await;
    let code = code(&login);
    let asked = (0..8).map(|_| program.login_state(&code));
    let answers = futures::future::join_all(asked).await;
    let keys = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(keys, 1, "{answers:?}");
}

#[tokio::test]
async fn a_login_ends_after_some_minutes() {
    let hub = TestHub::start().await;
    hub.user("alice").await;
    let database = &hub.hub.database;
    let alice = database
        .user(&"alice".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    let (device, code, key) = (
        Token::generate(&ambient::random()),
        UserCode::generate(&ambient::random()),
        ApiKey::generate(&ambient::random()),
    );
    let began = ambient::now();
    let login = NewDeviceLogin {
        device: &device.digest(),
        code: &code.digest(),
        client: "laptop",
        address: "127.0.0.1",
    };
    database.begin_device_login(&login, began).await.unwrap();
    let (last, over) = (
        began + DEVICE_LOGIN_LIFETIME - jiff::SignedDuration::from_secs(1),
        began + DEVICE_LOGIN_LIFETIME,
    );
    let state = async |now| {
        database
            .device_login(&device.digest(), &key.digest(), None, now)
            .await
    };
    let waits = async |now| {
        database
            .waiting_login(&code.digest(), now)
            .await
            .unwrap()
            .is_some()
    };
    assert!(waits(last).await && !waits(over).await);
    assert_eq!(state(last).await.unwrap(), Some(DeviceLoginState::Pending));
    assert_eq!(state(over).await.unwrap(), None);
    let approve = Decision::Approve(alice);
    assert!(
        !database
            .decide_login(&code.digest(), approve, over)
            .await
            .unwrap()
    );
    // A login that was approved in time but fetched too late has no key.
    assert!(
        database
            .decide_login(&code.digest(), approve, last)
            .await
            .unwrap()
    );
    assert_eq!(state(over).await.unwrap(), None);
    assert!(
        database
            .key_user(&key.digest(), jiff::Timestamp::UNIX_EPOCH, over)
            .await
            .unwrap()
            .is_none()
    );
    let approved = state(last).await.unwrap();
    assert_eq!(
        approved,
        Some(DeviceLoginState::Approved("alice".parse().unwrap()))
    );
}

#[tokio::test]
async fn codes_are_not_to_be_guessed() {
    let hub = TestHub::start().await;
    let (program, mut browser) = (program(&hub), Browser::logged_in(&hub, "mallory").await);
    let login = begin(&program).await;
    for n in 0..20 {
        let answer = type_code(
            &mut browser,
            &UserCode::generate(&ambient::random()).to_string(),
        )
        .await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{n}");
    }
    // After too many guesses, the hub neither looks up nor accepts the right code.
    let answer = type_code(&mut browser, &login.user_code).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(!answer.body.contains("alice-laptop"));
    assert_eq!(
        decide(&mut browser, &login, "approve").await,
        StatusCode::TOO_MANY_REQUESTS
    );
    // Other users can still approve it.
    let mut alice = Browser::logged_in(&hub, "alice").await;
    assert_eq!(decide(&mut alice, &login, "approve").await, StatusCode::OK);
}

#[tokio::test]
async fn one_address_begins_so_many_logins() {
    let hub = TestHub::start().await;
    let program = program(&hub);
    for _ in 0..20 {
        begin(&program).await;
    }
    let client = "flood".to_owned();
    let error = refused(
        program.begin_login(&BeginLogin { client }).await,
        ErrorCode::TooMany,
    );
    assert_eq!(
        error.hint.as_deref(),
        Some("wait ten minutes, then try again")
    );
}

#[tokio::test]
async fn only_the_user_in_person_approves() {
    let hub = TestHub::start().await;
    let (program, mut browser) = (program(&hub), Browser::logged_in(&hub, "alice").await);
    let login = begin(&program).await;
    decide(&mut browser, &login, "approve").await;
    let state = program.login_state(&code(&login)).await.unwrap();
    let LoginState::Approved { key, .. } = state else {
        panic!("{state:?}");
    };
    // A key with write scope cannot make other keys.
    let next = begin(&program).await;
    let http = reqwest::Client::new();
    let url = format!("{}/-/authorize", hub.url);
    let body = format!("code={}&decision=approve", next.user_code);
    let post = || {
        http.post(&url)
            .header("content-type", "application/x-www-form-urlencoded")
    };
    let answer = post()
        .bearer_auth(&key)
        .body(body.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    // A request without a login cannot either. Nor can a cross-site request with the user's cookie.
    let answer = post().body(body.clone()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let answer = post()
        .header("cookie", "dothub_session=whatever")
        .header("sec-fetch-site", "cross-site")
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let state = program.login_state(&code(&next)).await.unwrap();
    assert!(matches!(state, LoginState::Pending));
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let hub = TestHub::start().await;
    let (program, mut browser) = (program(&hub), Browser::logged_in(&hub, "alice").await);
    let unknown = DeviceCode {
        device_code: "x".repeat(500),
    };
    refused(program.login_state(&unknown).await, ErrorCode::NotFound);
    let client = "x".repeat(2000);
    refused(
        program.begin_login(&BeginLogin { client }).await,
        ErrorCode::TooLarge,
    );
    let client = "<script>alert(1)</script>".to_owned();
    let login = program.begin_login(&BeginLogin { client }).await.unwrap();
    let page = type_code(&mut browser, &login.user_code).await;
    assert!(page.body.contains("alert(1)"), "{}", page.body);
    assert!(!page.body.contains("<script>alert"), "{}", page.body);
    for (code, decision) in [("", "approve"), ("' OR 1=1", "deny")] {
        let fields = [("code", code), ("decision", decision)];
        let answer = browser.submit("/-/authorize", &fields).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
    let fields = [("code", login.user_code.as_str()), ("decision", "maybe")];
    let answer = browser.submit("/-/authorize", &fields).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}
