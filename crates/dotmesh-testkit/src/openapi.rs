//! An OpenAPI document in tests: its operations, what it must explain, and whether an answer matches it.
//!
//! # Panics
//!
//! All functions, if the document lacks what the specification requires.

use std::collections::BTreeSet;

use boon::{Compiler, Draft, Schemas};
use serde_json::{Map, Value};

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// The URI under which the compiler finds the document. It fetches nothing.
const ADDRESS: &str = "urn:dotmesh:openapi";

/// A document. It lives as long as the test program.
#[derive(Debug, Clone, Copy)]
pub struct OpenApi(&'static Value);

/// An operation of a document.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    pub path: &'static str,
    pub method: &'static str,
    pub is: &'static Value,
}

impl OpenApi {
    /// Reads a document.
    pub fn new(text: &str) -> Self {
        let value = serde_json::from_str(text).expect("the document is JSON");
        Self(Box::leak(Box::new(value)))
    }

    /// Returns the document as JSON.
    pub fn value(self) -> &'static Value {
        self.0
    }

    /// Returns the paths of the document.
    pub fn paths(self) -> impl Iterator<Item = &'static str> {
        let paths = self.0["paths"].as_object().expect("paths");
        paths.keys().map(String::as_str)
    }

    /// Returns all operations.
    pub fn operations(self) -> Vec<Operation> {
        let paths = self.0["paths"].as_object().expect("paths");
        let mut operations = Vec::new();
        for (path, item) in paths {
            for (method, is) in item.as_object().expect(path) {
                assert!(METHODS.contains(&method.as_str()), "{path}: {method}");
                operations.push(Operation { path, method, is });
            }
        }
        operations
    }

    /// Returns the target of a reference within the document, or the value itself.
    pub fn resolve(self, value: &'static Value) -> &'static Value {
        match value["$ref"].as_str() {
            Some(reference) => {
                let pointer = reference.strip_prefix('#').expect(reference);
                self.0.pointer(pointer).expect(reference)
            }
            None => value,
        }
    }

    /// Checks an answer against what an operation says of this status, or of `default`. The error says what does not
    /// match.
    pub fn check(
        self,
        (method, path): (&str, &str),
        status: &str,
        content_type: &str,
        body: &str,
    ) -> Result<(), String> {
        let responses = &self.0["paths"][path][method.to_ascii_lowercase()]["responses"];
        if responses.is_null() {
            return Err("is not in the document".to_owned());
        }
        let response = &responses[status];
        if response.is_null() {
            return Err(format!("the document has no answer {status}"));
        }
        let Some(content) = self.resolve(response)["content"].as_object() else {
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
            assert!(media["schema"].is_object(), "{method} {path}: {status}");
            self.validate(&media["schema"], &value)?;
        }
        Ok(())
    }

    /// Validates a value against a schema of the document.
    pub fn validate(self, schema: &Value, value: &Value) -> Result<(), String> {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.set_default_draft(Draft::V2020_12);
        let document = Map::from_iter([
            ("components".to_owned(), self.0["components"].clone()),
            ("schema".to_owned(), schema.clone()),
        ]);
        compiler
            .add_resource(ADDRESS, Value::Object(document))
            .expect("a document");
        let schema = compiler
            .compile(&format!("{ADDRESS}#/schema"), &mut schemas)
            .unwrap_or_else(|error| panic!("{schema}: {error:#}"));
        let checked = schemas.validate(value, schema);
        checked.map_err(|error| format!("{error:#} in {value}"))
    }

    /// Asserts that each operation says what it is: it has an id of its own, a summary, tags that are explained, all of
    /// its parameters with a description, and one success.
    pub fn assert_operations_are_explained(self) {
        let tags = self.0["tags"].as_array().expect("tags").iter();
        let tags: BTreeSet<_> = tags.filter_map(|tag| tag["name"].as_str()).collect();
        let (mut ids, mut used) = (BTreeSet::new(), BTreeSet::new());
        for Operation { path, method, is } in self.operations() {
            let at = format!("{method} {path}");
            let id = is["operationId"].as_str().expect(&at);
            assert!(ids.insert(id), "{at}: {id} is another's");
            let summary = is["summary"].as_str().expect(&at);
            assert!(summary.ends_with('.'), "{at}: {summary}");
            for tag in is["tags"].as_array().expect(&at) {
                let tag = tag.as_str().expect(&at);
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
                .filter_map(|parameter| parameter["name"].as_str())
                .collect();
            assert_eq!(named, described, "{at}");
            for parameter in parameters {
                assert!(parameter["description"].is_string(), "{at}: {parameter}");
            }
            let responses = is["responses"].as_object().expect(&at);
            let successes = responses.keys().filter(|status| status.starts_with('2'));
            assert_eq!(successes.count(), 1, "{at}");
        }
        assert_eq!(used, tags);
    }

    /// Asserts that each member of each object has a description, that each reference resolves, and that each schema
    /// compiles.
    pub fn assert_schemas_are_explained(self) {
        self.walk("", self.0);
        let schemas = self.0["components"]["schemas"].as_object();
        for (name, schema) in schemas.expect("schemas") {
            assert!(self.validate(schema, &Value::from(0.5)).is_err(), "{name}");
        }
    }

    fn walk(self, at: &str, value: &'static Value) {
        match value {
            Value::Object(members) => {
                self.resolve(value);
                if let Some(Value::Object(properties)) = members.get("properties") {
                    // A variant of an enum is explained as a whole.
                    let is_variant = properties.len() == 1 && members.contains_key("description");
                    assert!(
                        is_variant || self.are_explained(properties),
                        "{at}: {value}"
                    );
                }
                for (name, member) in members {
                    self.walk(&format!("{at}/{name}"), member);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.walk(at, item)),
            _ => {}
        }
    }

    fn are_explained(self, properties: &'static Map<String, Value>) -> bool {
        properties.values().all(|property| {
            let is_constant = property["enum"].as_array().is_some_and(|of| of.len() == 1);
            let one_of = property["oneOf"].as_array().into_iter().flatten();
            let mut places = one_of.chain([property, self.resolve(property)]);
            is_constant || places.any(|place| place["description"].is_string())
        })
    }
}
