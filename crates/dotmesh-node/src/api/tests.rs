//! The OpenAPI document is up to date, valid and complete.

use std::path::Path;
use std::sync::LazyLock;

use dotmesh_testkit::openapi::{OpenApi, Operation};

use super::document;

pub(crate) static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(|| OpenApi::new(document()));

/// Checks an answer of an operation against the document. The error says what does not match.
pub(crate) fn check(
    operation: (&str, &str),
    status: u16,
    content_type: &str,
    body: &str,
) -> Result<(), String> {
    let status = match status {
        200..300 => status.to_string(),
        _ => "default".to_owned(),
    };
    DOCUMENT.check(operation, &status, content_type, body)
}

#[test]
fn the_document_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/node-openapi.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, document()).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == document(),
        "docs/node-openapi.json is out of date: UPDATE=1 cargo test -p dotmesh-node api"
    );
}

/// Only described routes get into the router. A test of the running API requests each of them.
#[test]
fn each_route_is_described() {
    let source = include_str!("../api.rs");
    for way_around in [".route(", ".nest(", ".merge(", ".route_service("] {
        assert!(!source.contains(way_around), "{way_around}");
    }
    assert!(DOCUMENT.operations().len() > 30);
}

#[test]
fn the_document_is_explained() {
    DOCUMENT.assert_operations_are_explained();
    DOCUMENT.assert_schemas_are_explained();
    for Operation { path, method, is } in DOCUMENT.operations() {
        let at = format!("{method} {path}");
        assert_eq!(method == "post", is["requestBody"].is_object(), "{at}");
        let problem = &DOCUMENT.resolve(&is["responses"]["default"])["content"];
        assert!(problem["application/problem+json"].is_object(), "{at}");
    }
    assert!(!document().contains("[`"), "a link between Rust types");
    let version = DOCUMENT.value()["openapi"].as_str();
    assert!(version.is_some_and(|version| version.starts_with("3.1")));
}
