//! The OpenAPI document is valid and complete, and the hub's answers match it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use dotmesh_api::ErrorCode;
use dotmesh_hub::router;
use dotmesh_testkit::openapi::OpenApi;
use serde_json::{Value, json};

use crate::pages::Browser;
use crate::support::{TestHub, dot, push_first};

static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(|| OpenApi::new(router::document().0));

/// The document's path that matches a URL path. Literal parts take precedence over parameters.
fn pattern_of(path: &str) -> Option<&'static str> {
    let asked: Vec<_> = path.split('/').collect();
    let fits = |pattern: &str| {
        let parts: Vec<_> = pattern.split('/').collect();
        let rest = usize::from(pattern.ends_with("/{path}"));
        let length = parts.len() == asked.len() || rest == 1 && parts.len() < asked.len();
        let mut pairs = parts.iter().zip(&asked);
        length && pairs.all(|(part, asked)| part.starts_with('{') || part == asked)
    };
    let fitting = DOCUMENT.paths().filter(|pattern| fits(pattern));
    fitting.min_by_key(|pattern| pattern.matches('{').count())
}

/// Checks an answer of the API against the document. The error says what does not match.
pub(crate) fn check(
    method: &str,
    path: &str,
    status: u16,
    content_type: Option<&str>,
    body: &str,
) -> Result<(), String> {
    let path = path.split('?').next().unwrap();
    let Some(path) = pattern_of(path.strip_prefix("/api/v1").unwrap_or(path)) else {
        return Err("is not in the document".to_owned());
    };
    let content_type = content_type.unwrap_or_default();
    DOCUMENT.check((method, path), &status.to_string(), content_type, body)
}

#[test]
fn the_document_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, router::document().0).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == router::document().0,
        "docs/openapi.json is out of date: UPDATE=1 cargo test -p dotmesh-hub --test hub openapi"
    );
}

#[test]
fn every_path_is_described() {
    let described: BTreeSet<_> = DOCUMENT.paths().collect();
    let routed = router::paths();
    let routed = routed
        .iter()
        .filter_map(|path| path.strip_prefix("/api/v1"));
    let routed: Vec<_> = routed.map(|path| path.replace("{*", "{")).collect();
    assert_eq!(described, routed.iter().map(String::as_str).collect());
}

#[test]
fn the_document_is_explained() {
    DOCUMENT.assert_operations_are_explained();
    DOCUMENT.assert_schemas_are_explained();
}

/// The page has each target of problems and links exactly once.
#[tokio::test]
async fn the_page_has_all_of_it() {
    let hub = TestHub::start().await;
    let page = Browser::new(&hub).get("/-/api").await.body;
    let mut places: Vec<_> = DOCUMENT
        .operations()
        .iter()
        .map(|operation| operation.is["operationId"].as_str().unwrap())
        .collect();
    places.extend(ErrorCode::ALL.map(ErrorCode::as_str));
    let links = page.split("href=\"#").skip(1);
    places.extend(links.map(|link| link.split('"').next().unwrap()));
    places.retain(|place| *place != "main");
    for place in places {
        let found = page.matches(&format!("id=\"{place}\"")).count();
        assert_eq!(found, 1, "{place}");
    }
}

#[test]
fn a_wrong_answer_is_told_from_a_right_one() {
    let check = |status, body: &Value| {
        let json = Some(match status {
            200 => "application/json",
            _ => "application/problem+json",
        });
        check("GET", "/api/v1/version", status, json, &body.to_string())
    };
    let right = json!({"server": "dothub", "version": "1.0", "protocol": 1});
    assert_eq!(check(200, &right), Ok(()));
    let problem = json!({
        "type": "/-/api#internal", "title": "It failed", "status": 500, "detail": "why", "code": "internal"
    });
    assert_eq!(check(500, &problem), Ok(()));
    for (status, wrong) in [
        (200, json!({"server": "dothub", "version": "1.0"})),
        (
            200,
            json!({"server": "dothub", "version": "1.0", "protocol": "one"}),
        ),
        (200, json!([])),
        (201, right),
        (500, json!({"detail": "why"})),
        (404, problem),
    ] {
        assert!(check(status, &wrong).is_err(), "{status} {wrong}");
    }
}

/// The hub answers 304 until the content changes.
#[tokio::test]
async fn answers_have_versions() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    let ask = async |tag: Option<&str>| {
        let url = format!("{}/api/v1/dots", hub.url);
        let mut request = reqwest::Client::new().get(url).bearer_auth(&key);
        if let Some(tag) = tag {
            request = request.header("if-none-match", tag);
        }
        let answer = request.send().await.unwrap();
        let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
        let status = answer.status().as_u16();
        (status, tag, answer.text().await.unwrap())
    };
    let (status, tag, body) = ask(None).await;
    assert_eq!((status, body.as_str()), (200, "[]"));
    let others = format!("\"another\", W/{tag}");
    assert_eq!(ask(Some(&others)).await, (304, tag.clone(), String::new()));
    push_first(&alice, &dot("alice/app"), b"one").await;
    let (status, other, body) = ask(Some(&tag)).await;
    assert_eq!(status, 200);
    assert_ne!(other, tag);
    assert!(body.contains("alice/app"));
    // A request without access gets no ETag either.
    let url = format!("{}/api/v1/dots", hub.url);
    let answer = reqwest::Client::new().get(url);
    let answer = answer.header("if-none-match", "*").send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert!(!answer.headers().contains_key("etag"));
}

/// The hub refuses unknown members. The schemas say so for all requests except those that `docs/protocol.md` keeps
/// open for newer clients.
#[test]
fn requests_take_no_members_that_they_do_not_know() {
    const OPEN: [&str; 4] = [
        "begin_login",
        "get_login_state",
        "finish_upload",
        "put_databases",
    ];
    let mut open = BTreeSet::new();
    for operation in DOCUMENT.operations() {
        let schema = &operation.is["requestBody"]["content"]["application/json"]["schema"];
        if schema.is_null() {
            continue;
        }
        let id = operation.is["operationId"].as_str().unwrap();
        if DOCUMENT.resolve(schema)["additionalProperties"] != json!(false) {
            open.insert(id);
        }
    }
    assert_eq!(open, BTreeSet::from(OPEN));
}
