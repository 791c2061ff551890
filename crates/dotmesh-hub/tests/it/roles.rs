//! Every route as every role.

use dotmesh_api::ErrorEnvelope;
use dotmesh_api::hub::Access;
use dotmesh_hub::clock;
use dotmesh_hub::credentials::ApiKey;

use crate::support::{TestHub, dot, push_first};

const ROLES: [&str; 6] = [
    "anonymous",
    "wrong",
    "stranger",
    "reader",
    "writer",
    "owner",
];

/// Method, path with `DOT` and `UPLOAD`, body, and the status for each role. The upload is the writer's.
const TABLE: [(&str, &str, &str, [u16; 6]); 14] = [
    ("GET", "version", "", [200, 200, 200, 200, 200, 200]),
    ("GET", "user", "", [401, 401, 200, 200, 200, 200]),
    ("GET", "dots", "", [401, 401, 200, 200, 200, 200]),
    ("GET", "DOT", "", [401, 401, 404, 200, 200, 200]),
    (
        "GET",
        "DOT/commits?head=00000000000000000000000000000000",
        "",
        [401, 401, 404, 200, 200, 200],
    ),
    ("POST", "DOT/objects", "", [401, 401, 404, 200, 200, 200]),
    ("POST", "DOT/uploads", "", [401, 401, 403, 403, 201, 201]),
    (
        "POST",
        "DOT/uploads/UPLOAD/missing",
        "",
        [401, 401, 403, 403, 200, 404],
    ),
    (
        "POST",
        "DOT/uploads/UPLOAD/packs",
        "dotpack\u{1}",
        [401, 401, 403, 403, 204, 404],
    ),
    (
        "POST",
        "DOT/uploads/UPLOAD/finish",
        r#"{"commits":[],"branches":[]}"#,
        [401, 401, 403, 403, 204, 404],
    ),
    (
        "PUT",
        "DOT/collaborators/guest",
        r#"{"access":"read"}"#,
        [401, 401, 404, 403, 403, 204],
    ),
    (
        "DELETE",
        "DOT/collaborators/guest",
        "",
        [401, 401, 404, 403, 403, 204],
    ),
    (
        "PUT",
        "DOT/collaborators/owner",
        r#"{"access":"read"}"#,
        [401, 401, 404, 403, 403, 400],
    ),
    ("DELETE", "DOT", "", [401, 401, 404, 403, 403, 204]),
];

/// The statuses where there is no dot: for all but the owner the same as for a stranger where there is one.
const MISSING_OWNER: [u16; 14] = [
    200, 200, 200, 404, 404, 404, 201, 404, 404, 404, 404, 404, 404, 404,
];

struct Case {
    hub: TestHub,
    keys: Vec<Option<String>>,
    upload: String,
}

async fn case() -> Case {
    let hub = TestHub::start().await;
    let mut keys = Vec::new();
    for role in ["guest"].iter().chain(&ROLES) {
        let key = ApiKey::generate();
        let name = role.parse().unwrap();
        let added = hub
            .hub
            .database
            .add_user(&name, None, &key.digest(), clock::now())
            .await;
        assert!(added.unwrap());
        keys.push(key.reveal().to_owned());
    }
    keys.remove(0);
    let owner = hub.client("owner", &keys[5]);
    let app = dot("owner/app");
    push_first(&owner, &app, b"one").await;
    owner
        .grant(&app, &"reader".parse().unwrap(), Access::Read)
        .await
        .unwrap();
    owner
        .grant(&app, &"writer".parse().unwrap(), Access::Write)
        .await
        .unwrap();
    let upload = hub
        .client("writer", &keys[4])
        .begin_upload(&app)
        .await
        .unwrap()
        .id;
    let mut keys: Vec<_> = keys.into_iter().map(Some).collect();
    keys[0] = None;
    keys[1] = Some(ApiKey::generate().reveal().to_owned());
    Case { hub, keys, upload }
}

impl Case {
    async fn ask(&self, role: usize, row: usize, dot: &str) -> (u16, String) {
        let (method, path, body, _) = TABLE[row];
        let path = path
            .replace("DOT", &format!("dots/{dot}"))
            .replace("UPLOAD", &self.upload);
        let url = format!("{}/api/v1/{path}", self.hub.url);
        let mut request = reqwest::Client::new()
            .request(method.parse().unwrap(), url)
            .body(body.to_owned());
        if let Some(key) = &self.keys[role] {
            request = request.basic_auth(ROLES[role], Some(key));
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap_or_default();
        if status >= 400 {
            // Every refusal has the one shape.
            let envelope: ErrorEnvelope = serde_json::from_str(&text).expect(&text);
            assert_eq!(envelope.error.code.status(), status);
        }
        (status, text)
    }
}

#[tokio::test]
async fn an_existing_dot() {
    let case = case().await;
    for (row, (method, path, _, expected)) in TABLE.iter().enumerate() {
        for (role, expected) in expected.iter().enumerate() {
            let (status, text) = case.ask(role, row, "owner/app").await;
            assert_eq!(
                status, *expected,
                "{method} {path} as {}: {text}",
                ROLES[role]
            );
        }
    }
}

#[tokio::test]
async fn a_missing_dot_and_a_hidden_one_look_the_same() {
    let case = case().await;
    for row in 0..TABLE.len() {
        let (method, path, _, _) = TABLE[row];
        let hidden = case.ask(2, row, "owner/app").await;
        for (role, name) in ROLES.iter().enumerate().take(5).skip(2) {
            let missing = case.ask(role, row, "owner/none").await;
            assert_eq!(missing.0, hidden.0, "{method} {path} as {name}");
        }
        if hidden.0 >= 400 {
            let missing = case.ask(2, row, "owner/none").await;
            assert_eq!(missing.1.replace("owner/none", "owner/app"), hidden.1);
            // Nor does it show whether there is such a user.
            let nowhere = case.ask(2, row, "nobody/none").await;
            assert_eq!(nowhere.1.replace("nobody/none", "owner/app"), hidden.1);
        }
        assert_eq!(
            case.ask(5, row, "owner/none").await.0,
            MISSING_OWNER[row],
            "{method} {path}"
        );
    }
}
