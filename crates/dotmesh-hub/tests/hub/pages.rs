//! Pages, requested as by a browser.

use dotmesh_hub_db::users::NewUser;
use dotmesh_hub_model::credentials::{ApiKey, HashedPassword};
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, COOKIE, LOCATION, SET_COOKIE};

use crate::ambient;
use crate::support::{TestHub, dot, push_first};

pub(crate) const PASSWORD: &str = "correct horse";

/// A browser: it keeps the session cookie, and sends the headers that say where its requests come from.
pub(crate) struct Browser {
    http: reqwest::Client,
    url: String,
    pub(crate) cookie: Option<String>,
}

/// A page's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) location: Option<String>,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

impl Browser {
    pub(crate) fn new(hub: &TestHub) -> Self {
        Self {
            http: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            url: hub.url.clone(),
            cookie: None,
        }
    }

    /// Makes an account with a password, and logs in.
    pub(crate) async fn logged_in(hub: &TestHub, name: &str) -> Self {
        let key = ApiKey::generate(&ambient::random());
        let password = HashedPassword::new(PASSWORD, &[]).unwrap();
        let user = name.parse().unwrap();
        let new = NewUser {
            password: Some(password),
            ..NewUser::with_key(key.digest())
        };
        let added = hub.hub.database.add_user(&user, &new, ambient::now()).await;
        assert!(added.unwrap());
        let mut browser = Self::new(hub);
        let answer = browser.log_in(name, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
        browser
    }

    pub(crate) async fn log_in(&mut self, user: &str, password: &str) -> Answer {
        self.submit("/-/login", &[("user", user), ("password", password)])
            .await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let request = self.http.get(format!("{}{path}", self.url));
        self.send(request).await
    }

    pub(crate) async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = serde_urlencoded::to_string(fields).unwrap();
        let request = self
            .http
            .post(format!("{}{path}", self.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
            .body(body);
        self.send(request).await
    }

    /// Submits a form on a page.
    pub(crate) async fn submit_on(
        &mut self,
        page: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Answer {
        let request = self
            .http
            .post(format!("{}{path}", self.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
            .header("referer", format!("{}{page}", self.url))
            .body(serde_urlencoded::to_string(fields).unwrap());
        self.send(request).await
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> Answer {
        let mut request = request.header(ACCEPT, "text/html,*/*;q=0.8");
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        let response = request.send().await.unwrap();
        let headers = response.headers().clone();
        if let Some(cookie) = headers.get(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap().split(';').next().unwrap();
            self.cookie = Some(cookie.to_owned()).filter(|cookie| !cookie.ends_with('='));
        }
        Answer {
            status: response.status(),
            location: headers
                .get(LOCATION)
                .map(|location| location.to_str().unwrap().to_owned()),
            headers,
            body: response.text().await.unwrap(),
        }
    }
}

#[tokio::test]
async fn an_owner_looks_at_a_dot_and_nobody_else_can() {
    let hub = TestHub::start().await;
    let mut owner = Browser::logged_in(&hub, "alice").await;
    let (key, secret) = hub.user_with_secret("carol").await;
    let (made, _) = push_first(&key, &dot("carol/app"), b"one").await;
    let mut stranger = owner;
    let mut carol = Browser::new(&hub);
    hub.hub
        .database
        .set_password(
            &"carol".parse().unwrap(),
            &HashedPassword::new(PASSWORD, &[]).unwrap(),
            ambient::now(),
        )
        .await
        .unwrap();
    carol.log_in("carol", PASSWORD).await;
    owner = carol;
    let commit = format!("/carol/app/commit/{}", made.id);
    for path in [
        "/",
        "/carol",
        "/carol/app",
        "/carol/app/commits",
        "/carol/app/commits/master",
        "/carol/app/graph",
        "/carol/app/activity",
        &commit,
    ] {
        let answer = owner.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        if path.starts_with("/carol/app") {
            assert_eq!(stranger.get(path).await.status, StatusCode::NOT_FOUND);
            // A visitor is sent to the login page, whether the dot exists or not.
            for path in [path.to_owned(), path.replace("app", "none")] {
                let answer = Browser::new(&hub).get(&path).await;
                assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
                let query = serde_urlencoded::to_string([("to", &path)]).unwrap();
                assert_eq!(answer.location, Some(format!("/-/login?{query}")));
            }
        }
    }
    let answer = owner.get("/carol/app/commit/master").await;
    assert_eq!(answer.location.as_deref(), Some(commit.as_str()));

    // The pages accept an API key, too.
    let answer = reqwest::Client::new()
        .get(format!("{}/carol/app", hub.url))
        .bearer_auth(&secret)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_session_ends_with_the_logout() {
    let hub = TestHub::start().await;
    let mut alice = Browser::logged_in(&hub, "alice").await;
    let cookie = alice.cookie.clone();
    assert!(alice.get("/").await.body.contains("Your dots"));
    assert_eq!(
        alice.submit("/-/logout", &[]).await.status,
        StatusCode::SEE_OTHER
    );
    assert_eq!(alice.cookie, None);
    // The old cookie is no longer valid.
    alice.cookie = cookie;
    assert!(!alice.get("/").await.body.contains("Your dots"));
}

#[tokio::test]
async fn a_wrong_password_is_told_without_saying_which_part_is_wrong() {
    let hub = TestHub::start().await;
    let mut alice = Browser::logged_in(&hub, "alice").await;
    alice.submit("/-/logout", &[]).await;
    let mut bodies = Vec::new();
    for (user, password) in [("alice", "wrong password"), ("nobody", "wrong password")] {
        let answer = alice.log_in(user, password).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        bodies.push(answer.body.replace(user, "USER"));
    }
    assert_eq!(bodies[0], bodies[1]);
}
