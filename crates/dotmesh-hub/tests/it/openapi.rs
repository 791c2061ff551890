//! The OpenAPI document is valid and complete, and the hub's answers match it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use boon::{Compiler, Draft, Schemas};
use dotmesh_api::ErrorCode;
use dotmesh_hub::router;
use serde_json::{Map, Value, json};

use crate::pages::Browser;
use crate::support::{TestHub, dot, push_first};

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// The URI under which the compiler finds the document. It fetches nothing.
const ADDRESS: &str = "urn:dotmesh:openapi";

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(router::document().0).expect("JSON"));

/// An operation of the document.
struct Operation {
    path: String,
    method: String,
    is: &'static Value,
}

fn operations() -> Vec<Operation> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let mut operations = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            assert!(METHODS.contains(&method.as_str()), "{path}: {method}");
            operations.push(Operation {
                path: path.clone(),
                method: method.clone(),
                is: operation,
            });
        }
    }
    operations
}

/// The target of a reference within the document, or the value itself.
fn resolve(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').expect(reference);
            DOCUMENT.pointer(pointer).expect(reference)
        }
        None => value,
    }
}

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
    let paths = DOCUMENT["paths"].as_object().unwrap().keys();
    let fitting = paths.filter(|pattern| fits(pattern));
    let best = fitting.min_by_key(|pattern| pattern.matches('{').count());
    best.map(String::as_str)
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
    let method = method.to_ascii_lowercase();
    let operation = &DOCUMENT["paths"][path][&method];
    if operation.is_null() {
        return Err("is not in the document".to_owned());
    }
    let response = &operation["responses"][status.to_string()];
    if response.is_null() {
        return Err(format!(
            "the document does not say that it may answer {status}"
        ));
    }
    let Some(content) = resolve(response)["content"].as_object() else {
        return match body {
            "" => Ok(()),
            _ => Err(format!(
                "{status} has a body, of which the document says nothing"
            )),
        };
    };
    let content_type = content_type.unwrap_or_default();
    let Some(media) = content.get(content_type) else {
        return Err(format!("{status} has a body of type '{content_type}'"));
    };
    if !content_type.ends_with("json") {
        return Ok(());
    }
    let body: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let escaped = path.replace('~', "~0").replace('/', "~1");
    let pointer = match response["$ref"].as_str() {
        Some(reference) => reference.strip_prefix('#').unwrap().to_owned(),
        None => format!("/paths/{escaped}/{method}/responses/{status}"),
    };
    let media_type = content_type.replace('/', "~1");
    assert!(media["schema"].is_object());
    validate(&format!("{pointer}/content/{media_type}/schema"), &body)
}

/// Validates a value against the schema at a JSON pointer of the document.
fn validate(pointer: &str, value: &Value) -> Result<(), String> {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.set_default_draft(Draft::V2020_12);
    compiler.add_resource(ADDRESS, DOCUMENT.clone()).unwrap();
    let pointer = pointer.replace('{', "%7B").replace('}', "%7D");
    let schema = compiler
        .compile(&format!("{ADDRESS}#{pointer}"), &mut schemas)
        .unwrap_or_else(|error| panic!("{pointer}: {error:#}"));
    let checked = schemas.validate(value, schema);
    checked.map_err(|error| format!("{error:#} in {value}"))
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
        "docs/openapi.json is out of date: UPDATE=1 cargo test -p dotmesh-hub --test it openapi"
    );
}

#[test]
fn every_path_is_described() {
    let described: BTreeSet<_> = DOCUMENT["paths"].as_object().unwrap().keys().collect();
    let routed = router::paths();
    let routed = routed
        .iter()
        .filter_map(|path| path.strip_prefix("/api/v1"));
    let routed: Vec<_> = routed.map(|path| path.replace("{*", "{")).collect();
    assert_eq!(described, routed.iter().collect());
}

#[test]
fn every_operation_says_what_it_is() {
    let tags: BTreeSet<_> = DOCUMENT["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    let mut ids = BTreeSet::new();
    let mut used = BTreeSet::new();
    for Operation { path, method, is } in operations() {
        let at = format!("{method} {path}");
        let id = is["operationId"].as_str().expect(&at);
        assert!(ids.insert(id), "{at}: {id} is another's");
        let summary = is["summary"].as_str().expect(&at);
        assert!(summary.ends_with('.'), "{at}: {summary}");
        for tag in is["tags"].as_array().expect(&at) {
            let tag = tag.as_str().unwrap();
            assert!(tags.contains(tag), "{at}: the tag '{tag}' is not explained");
            used.insert(tag);
        }
        let named: BTreeSet<_> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .collect();
        let parameters = is["parameters"].as_array().into_iter().flatten();
        let parameters: Vec<_> = parameters.collect();
        let described: BTreeSet<_> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        assert_eq!(named, described, "{at}");
        for parameter in parameters {
            assert!(parameter["description"].is_string(), "{at}: {parameter}");
        }
        let responses = is["responses"].as_object().unwrap();
        let successes = responses.keys().filter(|status| status.starts_with('2'));
        assert_eq!(successes.count(), 1, "{at}");
    }
    assert_eq!(used, tags);
}

/// Every member of every object has a description, and every reference resolves.
#[test]
fn the_schemas_are_explained() {
    fn walk(at: &str, value: &'static Value) {
        match value {
            Value::Object(members) => {
                resolve(value);
                if let Some(Value::Object(properties)) = members.get("properties") {
                    explained(at, properties);
                }
                for (name, member) in members {
                    walk(&format!("{at}/{name}"), member);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(at, item)),
            _ => {}
        }
    }
    fn explained(at: &str, properties: &'static Map<String, Value>) {
        for (name, property) in properties {
            let is_constant = property["enum"].as_array().is_some_and(|of| of.len() == 1);
            let one_of = property["oneOf"].as_array().into_iter().flatten();
            let mut places = one_of.chain([property, resolve(property)]);
            let is_explained = places.any(|place| place["description"].is_string());
            assert!(is_constant || is_explained, "{at}: {name}");
        }
    }
    walk("", &DOCUMENT);
}

/// The page has each target of problems and links exactly once.
#[tokio::test]
async fn the_page_has_all_of_it() {
    let hub = TestHub::start().await;
    let page = Browser::new(&hub).get("/-/api").await.body;
    let mut places: Vec<_> = operations()
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
    const OPEN: [&str; 3] = ["begin_login", "get_login_state", "finish_upload"];
    let mut open = BTreeSet::new();
    for operation in operations() {
        let schema = &operation.is["requestBody"]["content"]["application/json"]["schema"];
        if schema.is_null() {
            continue;
        }
        let id = operation.is["operationId"].as_str().unwrap();
        if resolve(schema)["additionalProperties"] != json!(false) {
            open.insert(id);
        }
    }
    assert_eq!(open, BTreeSet::from(OPEN));
}
