//! Every route as every role: on a private dot, on a public dot, and on a dot that does not exist.
//!
//! **A new route** needs one line in [`TABLE`] for each of its methods:
//! `("GET", "/api/v1/dots/{namespace}/{dot}/tags", 200, READ, "")`.
//! The parts are the method, the path as in `router.rs` (a query may follow), the status where it is allowed, the class,
//! and the body. The class says for which roles it is allowed. [`path`] fills in the braces.
//!
//! A route that fits no class gets a class of its own. If a line is missing, `every_route_is_in_the_table` fails and
//! names it.

use std::collections::BTreeSet;

use dotmesh_api::Problem;
use dotmesh_api::hub::Access;
use dotmesh_hub::router;
use dotmesh_hub_db::dot_settings::NewSettings;
use dotmesh_hub_db::events::Deed;
use dotmesh_hub_db::keys::NewKey;
use dotmesh_hub_model::access::{Scope, Visibility};
use dotmesh_hub_model::credentials::{ApiKey, Token};
use dotmesh_model::{DotName, UserName};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;

use crate::ambient;
use crate::openapi;
use crate::support::{Made, TestHub, dot, push_first};

const ROLES: [&str; 11] = [
    "anonymous",
    "a wrong key",
    "an expired key",
    "the owner's key to read",
    "the owner's key to write",
    "a stranger",
    "a reader",
    "a writer",
    "a maintainer",
    "the owner",
    "an administrator",
];

/// The answers to each role in the order of [`ROLES`], as letters: `y` the route's own answer, `l` 401, `f` 403, `n`
/// 404, `r` 303.
struct Class {
    private: &'static str,
    public: &'static str,
    missing: &'static str,
}

/// For everybody. Credentials are ignored.
const ANYONE: Class = everywhere("yyyyyyyyyyy");
/// For everybody, but wrong credentials are refused.
const VISITORS: Class = everywhere("yllyyyyyyyy");
/// For every user.
const USERS: Class = everywhere("lllyyyyyyyy");
/// For users in a browser session, or with keys of full scope.
const ACCOUNT: Class = everywhere("lllffyyyyyy");
/// For administrators.
const ADMINISTRATORS: Class = everywhere("lllfffffffy");
/// Users who are logged in are redirected.
const LOGIN: Class = everywhere("yllrrrrrrrr");
/// Users who are logged in are redirected. Visitors need an invitation.
const SIGN_UP: Class = everywhere("fllrrrrrrrr");
/// For routes that read a dot.
const READ: Class = Class {
    private: "lllyynyyyyn",
    public: "yllyyyyyyyy",
    missing: "lllnnnnnnnn",
};
/// For the start of a push, which may create the dot.
const PUSH: Class = Class {
    private: "lllfyffyyyf",
    public: "lllfyffyyyf",
    missing: "lllfyffffyf",
};
/// For the further requests of a push. The upload is the writer's.
const UPLOAD: Class = Class {
    private: "lllfnffynnf",
    public: "lllfnffynnf",
    missing: "lllfnffffnf",
};
/// For every user who may read the dot.
const NOTE: Class = Class {
    private: "lllfynyyyyn",
    public: "lllfyyyyyyy",
    missing: "lllnnnnnnnn",
};
/// For every user who may read a public dot, and for those who may push to a private one.
const FORK: Class = Class {
    private: "lllfynfyyyn",
    public: "lllfyyyyyyy",
    missing: "lllnnnnnnnn",
};
/// For users who may push to an existing dot.
const CHANGE: Class = Class {
    private: "lllfyffyyyf",
    public: "lllfyffyyyf",
    missing: "lllfnffffnf",
};
/// For maintainers and the owner.
const MAINTAIN: Class = Class {
    private: "lllffnffyyn",
    public: "lllfffffyyf",
    missing: "lllnnnnnnnn",
};
/// For the owner.
const ADMINISTER: Class = Class {
    private: "lllffnfffyn",
    public: "lllffffffyf",
    missing: "lllnnnnnnnn",
};
const fn everywhere(answers: &'static str) -> Class {
    Class {
        private: answers,
        public: answers,
        missing: answers,
    }
}

type Row = (&'static str, &'static str, u16, Class, &'static str);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("GET", "/api/v1/version", 200, ANYONE, ""),
    ("GET", "/api/v1/openapi.json", 200, ANYONE, ""),
    ("GET", "/api/v1/user", 200, USERS, ""),
    ("POST", "/api/v1/logins", 201, ANYONE, r#"{"client":"laptop"}"#),
    ("POST", "/api/v1/logins/token", 404, ANYONE, r#"{"device_code":"none"}"#),
    ("GET", "/api/v1/dots", 200, USERS, ""),
    ("GET", "/api/v1/dots/{namespace}/{dot}", 200, READ, ""),
    ("DELETE", "/api/v1/dots/{namespace}/{dot}", 204, ADMINISTER, ""),
    ("PUT", "/api/v1/dots/{namespace}/{dot}/collaborators/{user}", 204, ADMINISTER, r#"{"access":"read"}"#),
    ("DELETE", "/api/v1/dots/{namespace}/{dot}/collaborators/{user}", 204, ADMINISTER, ""),
    ("GET", "/api/v1/dots/{namespace}/{dot}/commits?head=00000000000000000000000000000000", 200, READ, ""),
    ("GET", "/api/v1/dots/{namespace}/{dot}/bundle?head=00000000000000000000000000000000", 200, READ, ""),
    ("GET", "/api/v1/dots/{namespace}/{dot}/without-data", 200, READ, ""),
    ("PUT", "/api/v1/dots/{namespace}/{dot}/commits/{commit}/databases", 404, CHANGE, r#"{"version":1,"tables":[]}"#),
    ("GET", "/api/v1/dots/{namespace}/{dot}/commits/{commit}/databases", 404, READ, ""),
    ("DELETE", "/api/v1/dots/{namespace}/{dot}/commits/{commit}/databases", 404, MAINTAIN, ""),
    ("GET", "/api/v1/dots/{namespace}/{dot}/refs/{reference}", 200, READ, ""),
    ("POST", "/api/v1/dots/{namespace}/{dot}/objects", 200, READ, ""),
    ("POST", "/api/v1/dots/{namespace}/{dot}/uploads", 201, PUSH, ""),
    ("PUT", "/api/v1/dots/{namespace}/{dot}/uploads/{upload}", 204, UPLOAD, "\u{8}\0\0\0dotpack\u{1}{\"commits\":[],\"branches\":[]}"),
    ("POST", "/api/v1/dots/{namespace}/{dot}/uploads/{upload}/missing", 200, UPLOAD, ""),
    ("POST", "/api/v1/dots/{namespace}/{dot}/uploads/{upload}/packs", 204, UPLOAD, "dotpack\u{1}"),
    ("POST", "/api/v1/dots/{namespace}/{dot}/uploads/{upload}/finish", 204, UPLOAD, r#"{"commits":[],"branches":[]}"#),
    ("GET", "/api/v1/dots/{namespace}/{dot}/settings", 200, READ, ""),
    ("PATCH", "/api/v1/dots/{namespace}/{dot}/settings", 204, MAINTAIN, r#"{"description":"new"}"#),
    ("POST", "/api/v1/dots/{namespace}/{dot}/rename", 200, ADMINISTER, r#"{"name":"renamed-{dot}"}"#),
    ("PUT", "/api/v1/dots/{namespace}/{dot}/offer", 204, ADMINISTER, r#"{"user":"guest"}"#),
    ("DELETE", "/api/v1/dots/{namespace}/{dot}/offer", 204, ADMINISTER, ""),
    ("POST", "/api/v1/dots/{namespace}/{dot}/fork", 201, FORK, r#"{"name":"fork-{dot}"}"#),
    ("GET", "/api/v1/dots/{namespace}/{dot}/forks", 200, READ, ""),
    ("PUT", "/api/v1/dots/{namespace}/{dot}/branches/{branch}", 409, CHANGE, r#"{"at":"master"}"#),
    ("DELETE", "/api/v1/dots/{namespace}/{dot}/branches/{branch}", 403, MAINTAIN, ""),
    ("PUT", "/api/v1/dots/{namespace}/{dot}/protected/{branch}", 204, MAINTAIN, ""),
    ("DELETE", "/api/v1/dots/{namespace}/{dot}/protected/{branch}", 204, MAINTAIN, ""),
    ("GET", "/api/v1/dots/{namespace}/{dot}/tags", 200, READ, ""),
    ("PUT", "/api/v1/dots/{namespace}/{dot}/tags/{tag}", 201, CHANGE, r#"{"at":"master"}"#),
    ("DELETE", "/api/v1/dots/{namespace}/{dot}/tags/{tag}", 404, MAINTAIN, ""),
    ("GET", "/api/v1/dots/{namespace}/{dot}/notes?branch=master", 200, READ, ""),
    ("POST", "/api/v1/dots/{namespace}/{dot}/notes", 201, NOTE, r#"{"branch":"master","body":"a note"}"#),
    ("DELETE", "/api/v1/dots/{namespace}/{dot}/notes/{note}", 404, NOTE, ""),
    ("GET", "/api/v1/dots/{namespace}/{dot}/webhooks", 200, ADMINISTER, ""),
    ("POST", "/api/v1/dots/{namespace}/{dot}/webhooks", 201, ADMINISTER, r#"{"url":"https://example.com/","topics":["push"]}"#),
    ("GET", "/api/v1/dots/{namespace}/{dot}/webhooks/{webhook}", 404, ADMINISTER, ""),
    ("PATCH", "/api/v1/dots/{namespace}/{dot}/webhooks/{webhook}", 404, ADMINISTER, r#"{"on":false}"#),
    ("DELETE", "/api/v1/dots/{namespace}/{dot}/webhooks/{webhook}", 404, ADMINISTER, ""),
    ("POST", "/api/v1/dots/{namespace}/{dot}/webhooks/{webhook}/secret", 404, ADMINISTER, ""),
    ("POST", "/api/v1/dots/{namespace}/{dot}/webhooks/{webhook}/ping", 404, ADMINISTER, ""),
    ("GET", "/api/v1/dots/{namespace}/{dot}/webhooks/{webhook}/deliveries", 404, ADMINISTER, ""),
    ("POST", "/api/v1/dots/{namespace}/{dot}/webhooks/{webhook}/deliveries/{delivery}/redeliver", 404, ADMINISTER, ""),
    ("GET", "/{namespace}/{dot}/settings/webhooks", 200, ADMINISTER, ""),
    ("POST", "/{namespace}/{dot}/settings/webhooks", 200, ADMINISTER, "url=https%3A%2F%2Fexample.com&push=on"),
    ("GET", "/{namespace}/{dot}/settings/webhooks/{webhook}", 404, ADMINISTER, ""),
    ("POST", "/{namespace}/{dot}/settings/webhooks/{webhook}", 404, ADMINISTER, "url=https%3A%2F%2Fexample.com&push=on"),
    ("POST", "/{namespace}/{dot}/settings/webhooks/{webhook}/switch", 404, ADMINISTER, "on=0"),
    ("POST", "/{namespace}/{dot}/settings/webhooks/{webhook}/secret", 404, ADMINISTER, ""),
    ("POST", "/{namespace}/{dot}/settings/webhooks/{webhook}/ping", 404, ADMINISTER, ""),
    ("POST", "/{namespace}/{dot}/settings/webhooks/{webhook}/redeliver", 404, ADMINISTER, "delivery=0"),
    ("POST", "/{namespace}/{dot}/settings/webhooks/{webhook}/delete", 404, ADMINISTER, ""),
    ("GET", "/api/v1/offers", 200, USERS, ""),
    ("POST", "/api/v1/offers/{id}", 404, ACCOUNT, r#"{"name":"taken"}"#),
    ("DELETE", "/api/v1/offers/{id}", 404, ACCOUNT, ""),
    ("GET", "/api/v1/trash", 200, USERS, ""),
    ("POST", "/api/v1/trash/{id}/restore", 404, ACCOUNT, ""),
    ("GET", "/api/v1/users?prefix=ow", 200, USERS, ""),
    ("GET", "/api/v1/search?q=app", 200, VISITORS, ""),
    ("GET", "/", 200, VISITORS, ""),
    ("GET", "/-/api", 200, VISITORS, ""),
    ("GET", "/-/offers", 200, ACCOUNT, ""),
    ("POST", "/-/offers/take", 404, ACCOUNT, "dot=0&name=taken"),
    ("POST", "/-/offers/decline", 404, ACCOUNT, "dot=0"),
    ("GET", "/-/search?q=app", 200, VISITORS, ""),
    ("GET", "/-/trash", 200, ACCOUNT, ""),
    ("POST", "/-/trash/restore", 404, ACCOUNT, "dot=0"),
    ("GET", "/-/assets/{digest}/{name}", 200, ANYONE, ""),
    ("GET", "/-/authorize", 200, ACCOUNT, ""),
    ("POST", "/-/authorize", 404, ACCOUNT, "code=BCDF-GHJK&decision=deny"),
    ("GET", "/-/login", 200, LOGIN, ""),
    ("POST", "/-/login", 422, VISITORS, "user=nobody&password=wrong"),
    ("POST", "/-/logout", 303, ANYONE, ""),
    ("GET", "/-/signup", 200, SIGN_UP, ""),
    ("POST", "/-/signup", 403, VISITORS, "user=new&password=correct+horse"),
    ("GET", "/-/password", 404, VISITORS, ""),
    ("POST", "/-/password", 404, VISITORS, "token=none&password=correct+horse"),
    ("GET", "/-/settings", 200, ACCOUNT, ""),
    ("POST", "/-/settings/password", 422, ACCOUNT, "old=wrong&new=correct+horse"),
    ("POST", "/-/settings/sessions", 303, ACCOUNT, "session=0000000000000000000000000000000000000000000000000000000000000000"),
    ("GET", "/-/settings/keys", 200, ACCOUNT, ""),
    ("POST", "/-/settings/keys", 200, ACCOUNT, "name=laptop&scope=read&days=30"),
    ("POST", "/-/settings/keys/revoke", 303, ACCOUNT, "key=0"),
    ("GET", "/-/admin", 200, ADMINISTRATORS, ""),
    ("POST", "/-/admin/invitations", 200, ADMINISTRATORS, ""),
    ("POST", "/-/admin/resets", 200, ADMINISTRATORS, "user=guest"),
    ("POST", "/-/admin/quotas", 303, ADMINISTRATORS, "user=guest&quota=default"),
    ("POST", "/-/admin/suspensions", 303, ADMINISTRATORS, "user=guest&state=active"),
    ("GET", "/-/admin/events", 200, ADMINISTRATORS, ""),
    ("GET", "/-/admin/access", 200, ADMINISTRATORS, ""),
    ("GET", "/-/{*rest}", 404, ANYONE, ""),
    ("GET", "/{namespace}", 200, VISITORS, ""),
    ("GET", "/{namespace}/{dot}", 200, READ, ""),
    ("GET", "/{namespace}/{dot}/activity", 200, READ, ""),
    ("GET", "/{namespace}/{dot}/commit/{reference}", 303, READ, ""),
    ("GET", "/{namespace}/{dot}/commits", 200, READ, ""),
    ("GET", "/{namespace}/{dot}/commits/{*branch}", 200, READ, ""),
    ("GET", "/{namespace}/{dot}/branches", 200, READ, ""),
    ("POST", "/{namespace}/{dot}/branches", 303, CHANGE, "name=new&at=master"),
    ("POST", "/{namespace}/{dot}/branches/delete", 404, MAINTAIN, "name=new"),
    ("GET", "/{namespace}/{dot}/fork", 200, READ, ""),
    ("POST", "/{namespace}/{dot}/fork", 303, FORK, "name=fork-{dot}"),
    ("GET", "/{namespace}/{dot}/graph", 200, READ, ""),
    ("GET", "/{namespace}/{dot}/live", 200, READ, ""),
    ("GET", "/{namespace}/{dot}/compare", 200, READ, ""),
    ("GET", "/{namespace}/{dot}/compare/{range}", 200, READ, ""),
    ("GET", "/{namespace}/{dot}/tree", 303, READ, ""),
    ("GET", "/{namespace}/{dot}/tree/{reference}", 200, READ, ""),
    ("GET", "/{namespace}/{dot}/tree/{reference}/{*path}", 200, READ, ""),
    ("GET", "/{namespace}/{dot}/raw/{reference}/{*path}", 200, READ, ""),
    ("GET", "/{namespace}/{dot}/archive/{reference}", 200, READ, ""),
    ("GET", "/{namespace}/{dot}/archive/{reference}/{*path}", 200, READ, ""),
    ("POST", "/{namespace}/{dot}/notes", 303, NOTE, "branch=master&body=a+note"),
    ("POST", "/{namespace}/{dot}/notes/delete", 404, NOTE, "branch=master&note=0"),
    ("GET", "/{namespace}/{dot}/settings", 200, MAINTAIN, ""),
    ("POST", "/{namespace}/{dot}/settings", 303, MAINTAIN, "description=new"),
    ("POST", "/{namespace}/{dot}/settings/visibility", 303, ADMINISTER, "visibility=private"),
    ("POST", "/{namespace}/{dot}/settings/forks", 303, ADMINISTER, "forks=nobody"),
    ("POST", "/{namespace}/{dot}/settings/grant", 303, ADMINISTER, "user=guest&access=write"),
    ("POST", "/{namespace}/{dot}/settings/revoke", 303, ADMINISTER, "user=guest"),
    ("POST", "/{namespace}/{dot}/settings/protect", 303, MAINTAIN, "branch=master"),
    ("POST", "/{namespace}/{dot}/settings/unprotect", 303, MAINTAIN, "branch=master"),
    ("POST", "/{namespace}/{dot}/settings/rename", 303, ADMINISTER, "name=renamed-{dot}"),
    ("POST", "/{namespace}/{dot}/settings/offer", 303, ADMINISTER, "user=guest"),
    ("POST", "/{namespace}/{dot}/settings/withdraw", 303, ADMINISTER, ""),
    ("POST", "/{namespace}/{dot}/settings/delete", 400, ADMINISTER, "name=typed+wrongly"),
    ("GET", "/{namespace}/{dot}/tags", 200, READ, ""),
    ("POST", "/{namespace}/{dot}/tags", 303, CHANGE, "name=v1&at=master"),
    ("POST", "/{namespace}/{dot}/tags/delete", 404, MAINTAIN, "name=v1"),
    ("GET", "/healthz", 200, ANYONE, ""),
    ("GET", "/readyz", 200, ANYONE, ""),
    ("GET", "/metrics", 200, ADMINISTRATORS, ""),
];

/// A route's URL path: the pattern of `router.rs` with example values in its braces.
fn path(pattern: &str, dot: &DotName, upload: &str) -> String {
    pattern
        .replace("{namespace}", dot.namespace.as_str())
        .replace("{dot}", dot.name())
        .replace("{user}", "guest")
        .replace("{upload}", upload)
        .replace("{branch}", "master")
        .replace("{*branch}", "master")
        .replace("{tag}", "v1")
        .replace("{commit}", "00000000000000000000000000000001")
        .replace("{note}", "0")
        .replace("{webhook}", "0")
        .replace("{delivery}", "0")
        .replace("{id}", "0")
        .replace("{reference}", "master")
        .replace("{range}", "master...master")
        .replace("{*path}", "data/a")
        .replace("{digest}/{name}", "00/style.css")
        .replace("{*rest}", "nothing")
}

struct Case {
    hub: TestHub,
    http: reqwest::Client,
    keys: Vec<Option<String>>,
}

/// A dot, with an upload of the writer.
#[derive(Clone)]
struct Example {
    name: DotName,
    upload: String,
}

fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

impl Case {
    async fn start() -> Self {
        let hub = TestHub::start().await;
        let database = &hub.hub.database;
        let now = ambient::now();
        let mut keys = vec![
            None,
            Some(ApiKey::generate(&ambient::random()).reveal().to_owned()),
        ];
        let owner_key = hub.user_with_secret("owner").await.1;
        let owner = database.user(&user("owner")).await.unwrap().unwrap();
        let past = now - SignedDuration::from_secs(1);
        for (scope, expires) in [
            (Scope::Admin, Some(past)),
            (Scope::Read, None),
            (Scope::Write, None),
        ] {
            keys.push(Some(key(&hub, owner, scope, expires).await));
        }
        for name in ["stranger", "reader", "writer", "maintainer"] {
            keys.push(Some(hub.user_with_secret(name).await.1));
        }
        keys.push(Some(owner_key));
        keys.push(Some(hub.user_with_secret("administrator").await.1));
        assert!(
            database
                .set_admin(&user("administrator"), true, now)
                .await
                .unwrap()
        );
        hub.user("guest").await;
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        Self {
            hub,
            http: http.build().unwrap(),
            keys,
        }
    }

    fn secret(&self, role: &str) -> &str {
        let role = ROLES.iter().position(|other| *other == role).unwrap();
        self.keys[role].as_deref().unwrap()
    }

    async fn example(&self, name: &str, visibility: Visibility) -> Example {
        let owner = self.hub.client("owner", self.secret("the owner"));
        let name = dot(name);
        let _: (Made, _) = push_first(&owner, &name, b"one").await;
        for (name_of, access) in [
            ("reader", Access::Read),
            ("writer", Access::Write),
            ("maintainer", Access::Maintain),
            ("guest", Access::Read),
        ] {
            owner.grant(&name, &user(name_of), access).await.unwrap();
        }
        let database = &self.hub.hub.database;
        let facts = database.dot_facts(&name, None, None).await.unwrap();
        let deed = Deed {
            actor: &user("owner"),
            dot: facts.dot.unwrap(),
            name: &name,
            now: ambient::now(),
        };
        let settings = NewSettings {
            visibility: Some(visibility),
            ..NewSettings::default()
        };
        assert!(database.set_dot(deed, &settings).await.unwrap());
        let writer = self.hub.client("writer", self.secret("a writer"));
        let upload = writer.begin_upload(&name).await.unwrap().id;
        Example { name, upload }
    }

    async fn ask(&self, role: usize, row: &Row, example: &Example) -> (u16, String) {
        let (method, pattern, _, _, body) = row;
        let path = path(pattern, &example.name, &example.upload);
        let url = format!("{}{path}", self.hub.url);
        let mut request = self
            .http
            .request(method.parse().unwrap(), url)
            .body(body.replace("{dot}", example.name.name()));
        if let Some(key) = &self.keys[role] {
            request = request.bearer_auth(key);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        if status == 200 && pattern.ends_with("/live") {
            // A live page does not end, so its body is not read.
            return (status, String::new());
        }
        let content_type = response.headers().get(CONTENT_TYPE).cloned();
        let content_type = content_type.as_ref().and_then(|value| value.to_str().ok());
        let body = response.bytes().await.unwrap_or_default();
        let text = String::from_utf8_lossy(&body).into_owned();
        if pattern.starts_with("/api") {
            let checked = openapi::check(method, &path, status, content_type, &text);
            assert_eq!(checked, Ok(()), "{method} {pattern}");
        }
        if matches!(status, 401 | 403) || (status >= 400 && pattern.starts_with("/api")) {
            // Every refusal has the same format.
            let problem: Problem = serde_json::from_str(&text).expect(&text);
            assert_eq!(problem.code.status(), status);
            assert_eq!(problem.status, status);
        }
        (status, text)
    }
}

async fn key(
    hub: &TestHub,
    owner: dotmesh_hub_db::ids::UserId,
    scope: Scope,
    expires: Option<Timestamp>,
) -> String {
    let key = ApiKey::generate(&ambient::random());
    let new = NewKey {
        digest: key.digest(),
        name: "a key".to_owned(),
        scope,
        dot: None,
        expires,
    };
    let (database, name) = (&hub.hub.database, user("owner"));
    let making = database.create_key(owner, &name, &new, ambient::now());
    making.await.unwrap();
    key.reveal().to_owned()
}

/// Makes a key of a user for a single dot.
pub(crate) async fn key_for(
    hub: &TestHub,
    owner: &UserName,
    dot: &DotName,
    scope: Scope,
) -> String {
    let database = &hub.hub.database;
    let id = database.user(owner).await.unwrap().unwrap();
    let facts = database.dot_facts(dot, Some(id), None).await.unwrap();
    let key = ApiKey::generate(&ambient::random());
    let new = NewKey {
        digest: key.digest(),
        name: "for one dot".to_owned(),
        scope,
        dot: Some(facts.dot.unwrap()),
        expires: None,
    };
    let making = database.create_key(id, owner, &new, ambient::now());
    making.await.unwrap();
    key.reveal().to_owned()
}

fn expected(row: &Row, letter: char) -> u16 {
    match letter {
        'y' => row.2,
        'l' => 401,
        'f' => 403,
        'n' => 404,
        'r' => 303,
        other => panic!("{other} is no answer"),
    }
}

#[tokio::test]
async fn every_role_gets_its_answer() {
    let case = Case::start().await;
    let private = case.example("owner/private", Visibility::Private).await;
    let public = case.example("owner/public", Visibility::Public).await;
    let missing = Example {
        name: dot("owner/none"),
        upload: private.upload.clone(),
    };
    let mut wrong = Vec::new();
    let mut made = 0;
    for row in TABLE {
        let (method, pattern, _, class, _) = row;
        let mut places = vec![(
            "private",
            &private,
            class.private,
            Some(Visibility::Private),
        )];
        if pattern.contains("{dot}") {
            places.push(("public", &public, class.public, Some(Visibility::Public)));
            places.push(("missing", &missing, class.missing, None));
        }
        for (place, example, answers, visibility) in places {
            assert_eq!(answers.len(), ROLES.len(), "{method} {pattern}");
            for (role, letter) in answers.chars().enumerate() {
                let mut example = example.clone();
                // A successful request changes the dot, so the next role gets a new one.
                if letter == 'y'
                    && *method != "GET"
                    && pattern.contains("{dot}")
                    && let Some(visibility) = visibility
                {
                    made += 1;
                    example = case.example(&format!("owner/app{made}"), visibility).await;
                }
                let (status, text) = case.ask(role, row, &example).await;
                let expected = expected(row, letter);
                if status != expected {
                    let role = ROLES[role];
                    wrong.push(format!(
                        "{method} {pattern}, {place}, as {role}: {status}, not {expected}: {}",
                        text.lines().next().unwrap_or_default()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A key for one dot is good for no route of another dot. It sees of other dots only what is public.
#[tokio::test]
async fn a_key_for_another_dot_is_nobodys() {
    let mut case = Case::start().await;
    let owner = case.hub.client("owner", case.secret("the owner"));
    push_first(&owner, &dot("owner/only"), b"one").await;
    let key = key_for(&case.hub, &user("owner"), &dot("owner/only"), Scope::Write).await;
    case.keys.push(Some(key));
    let role = case.keys.len() - 1;
    let private = case.example("owner/private", Visibility::Private).await;
    let public = case.example("owner/public", Visibility::Public).await;
    let missing = Example {
        name: dot("owner/none"),
        upload: private.upload.clone(),
    };
    let mut wrong = Vec::new();
    for row in TABLE {
        let (method, pattern, _, class, _) = row;
        let is_open = class.private.starts_with("yy") || *pattern == "/api/v1/user";
        let is_public = pattern.contains("{dot}") && class.public.starts_with('y');
        for (place, example) in [
            ("private", &private),
            ("public", &public),
            ("missing", &missing),
        ] {
            let is_allowed = is_open || is_public && place == "public";
            let (status, text) = case.ask(role, row, example).await;
            let expected = expected(row, if is_allowed { 'y' } else { 'f' });
            if status != expected {
                let text = text.lines().next().unwrap_or_default();
                wrong.push(format!(
                    "{method} {pattern}, {place}: {status}, not {expected}: {text}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_missing_dot_and_a_hidden_one_look_the_same() {
    let case = Case::start().await;
    let hidden = case.example("owner/app", Visibility::Private).await;
    for row in TABLE.iter().filter(|row| row.1.contains("{dot}")) {
        for role in ["anonymous", "a stranger", "an administrator"] {
            let role = ROLES.iter().position(|other| *other == role).unwrap();
            let (status, text) = case.ask(role, row, &hidden).await;
            // The answer does not reveal whether the user exists either.
            for name in ["owner/none", "nobody/none"] {
                let missing = Example {
                    name: dot(name),
                    upload: hidden.upload.clone(),
                };
                let other = case.ask(role, row, &missing).await;
                let other = (other.0, other.1.replace(name, "owner/app"));
                assert_eq!(other, (status, text.clone()), "{} {}", row.0, row.1);
            }
        }
    }
}

#[tokio::test]
async fn every_route_is_in_the_table() {
    let hub = TestHub::start().await;
    let example = dot("owner/app");
    let client = reqwest::Client::new();
    let rows: BTreeSet<(String, String)> = TABLE
        .iter()
        .map(|row| {
            let pattern = row.1.split('?').next().unwrap_or_default();
            (pattern.to_owned(), row.0.to_owned())
        })
        .collect();
    let mut routes = BTreeSet::new();
    let mut missing = Vec::new();
    for pattern in router::paths() {
        let url = format!(
            "{}{}",
            hub.url,
            path(
                &pattern,
                &example,
                Token::generate(&ambient::random()).reveal()
            )
        );
        let probe = Method::from_bytes(b"PROBE").unwrap();
        let answer = client.request(probe, url).send().await.unwrap();
        // The answer to an unknown method lists the allowed methods of the route.
        let allowed = match answer.headers().get("allow") {
            Some(allowed) => allowed.to_str().unwrap().to_owned(),
            None => "GET".to_owned(),
        };
        for method in allowed.split(',').filter(|method| *method != "HEAD") {
            let route = (pattern.clone(), method.to_owned());
            if !rows.contains(&route) {
                missing.push(format!("{method} {pattern}"));
            }
            routes.insert(route);
        }
    }
    assert!(missing.is_empty(), "without a row: {missing:#?}");
    let stale: Vec<_> = rows.difference(&routes).collect();
    assert!(stale.is_empty(), "rows of no route: {stale:#?}");
}
