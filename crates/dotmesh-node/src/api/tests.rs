//! The OpenAPI document is up to date, valid and complete.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use boon::{Compiler, Draft, Schemas};
use serde_json::{Map, Value};

use super::document;

const METHODS: [&str; 3] = ["get", "post", "delete"];

/// The URI under which the compiler finds the document. It fetches nothing.
const ADDRESS: &str = "urn:dotmesh:node-openapi";

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(document()).expect("JSON"));

/// An operation of the document.
pub(crate) struct Operation {
    pub(crate) path: &'static str,
    pub(crate) method: &'static str,
    is: &'static Value,
}

/// All operations of the document.
pub(crate) fn operations() -> Vec<Operation> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let mut operations = Vec::new();
    for (path, item) in paths {
        for (method, is) in item.as_object().unwrap() {
            assert!(METHODS.contains(&method.as_str()), "{path}: {method}");
            operations.push(Operation { path, method, is });
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

/// Checks an answer of an operation against the document. The error says what does not match.
pub(crate) fn check(
    (method, path): (&str, &str),
    status: u16,
    content_type: &str,
    body: &str,
) -> Result<(), String> {
    let responses = &DOCUMENT["paths"][path][method.to_ascii_lowercase()]["responses"];
    if responses.is_null() {
        return Err("is not in the document".to_owned());
    }
    let status = match status {
        200..300 => status.to_string(),
        _ => "default".to_owned(),
    };
    let response = &responses[&status];
    if response.is_null() {
        return Err(format!("the document has no answer {status}"));
    }
    let Some(content) = resolve(response)["content"].as_object() else {
        return match body {
            "" => Ok(()),
            _ => Err(format!("{status} has a body")),
        };
    };
    let media = content.get(content_type);
    let media = media.ok_or_else(|| format!("{status} has a body of type '{content_type}'"))?;
    let values: Vec<&str> = match content_type {
        "application/x-ndjson" => body.lines().collect(),
        kind if kind.ends_with("json") => vec![body],
        _ => Vec::new(),
    };
    for value in values {
        let value = serde_json::from_str(value).map_err(|error| error.to_string())?;
        validate(&media["schema"], &value)?;
    }
    Ok(())
}

/// Validates a value against a schema of the document.
fn validate(schema: &Value, value: &Value) -> Result<(), String> {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.set_default_draft(Draft::V2020_12);
    let document = Map::from_iter([
        ("components".to_owned(), DOCUMENT["components"].clone()),
        ("schema".to_owned(), schema.clone()),
    ]);
    compiler
        .add_resource(ADDRESS, Value::Object(document))
        .unwrap();
    let schema = compiler
        .compile(&format!("{ADDRESS}#/schema"), &mut schemas)
        .unwrap_or_else(|error| panic!("{schema}: {error:#}"));
    let checked = schemas.validate(value, schema);
    checked.map_err(|error| format!("{error:#} in {value}"))
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
    assert!(operations().len() > 30);
}

#[test]
fn each_operation_says_what_it_is() {
    let tags = DOCUMENT["tags"].as_array().unwrap().iter();
    let tags: BTreeSet<_> = tags.map(|tag| tag["name"].as_str().unwrap()).collect();
    let (mut ids, mut used) = (BTreeSet::new(), BTreeSet::new());
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
        assert_eq!(method == "post", is["requestBody"].is_object(), "{at}");
        let responses = is["responses"].as_object().unwrap();
        let successes = responses.keys().filter(|status| status.starts_with('2'));
        assert_eq!(successes.count(), 1, "{at}");
        let problem = &resolve(&is["responses"]["default"])["content"];
        assert!(problem["application/problem+json"].is_object(), "{at}");
    }
    assert_eq!(used, tags);
}

/// Each member of each object has a description, each reference resolves, and each schema compiles.
#[test]
fn the_schemas_are_valid_and_explained() {
    fn walk(at: &str, value: &'static Value) {
        match value {
            Value::Object(members) => {
                resolve(value);
                if let Some(Value::Object(properties)) = members.get("properties") {
                    // A variant of an enum is explained as a whole.
                    let is_variant = properties.len() == 1 && members.contains_key("description");
                    assert!(is_variant || are_explained(properties), "{at}: {value}");
                }
                for (name, member) in members {
                    walk(&format!("{at}/{name}"), member);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(at, item)),
            _ => {}
        }
    }
    fn are_explained(properties: &'static Map<String, Value>) -> bool {
        properties.values().all(|property| {
            let one_of = property["oneOf"].as_array().into_iter().flatten();
            let mut places = one_of.chain([property, resolve(property)]);
            places.any(|place| place["description"].is_string())
        })
    }
    walk("", &DOCUMENT);
    for (name, schema) in DOCUMENT["components"]["schemas"].as_object().unwrap() {
        assert!(validate(schema, &Value::from(0.5)).is_err(), "{name}");
    }
    assert!(!document().contains("[`"), "a link between Rust types");
    assert!(DOCUMENT["openapi"].as_str().unwrap().starts_with("3.1"));
}
