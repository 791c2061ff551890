//! `/-/api`: the reference of the API, generated from its OpenAPI document.

use std::sync::OnceLock;

use askama::Template;
use axum::Extension;
use dotmesh_api::ErrorCode;
use serde_json::Value;

use crate::openapi::Document;
use crate::web::{Page, Visit, render};

#[derive(Template)]
#[template(path = "api.html")]
struct ApiPage {
    visit: Visit,
    groups: &'static [Group],
    types: &'static [Described],
    codes: [ErrorCode; ErrorCode::ALL.len()],
}

/// A group of operations.
struct Group {
    name: String,
    description: String,
    operations: Vec<Operation>,
}

struct Operation {
    id: String,
    method: String,
    path: String,
    summary: String,
    description: String,
    is_open: bool,
    parameters: Vec<Member>,
    body: Option<Shape>,
    status: String,
    answer: String,
    answer_body: Option<Shape>,
    refusals: Vec<String>,
}

/// A type of the document.
struct Described {
    name: String,
    description: String,
    members: Vec<Member>,
}

/// A parameter, or a member of an object.
struct Member {
    name: String,
    shape: Shape,
    is_needed: bool,
    description: String,
}

/// The type of a value in words, with a link to its description.
struct Shape {
    text: String,
    link: Option<String>,
}

pub(crate) async fn get(visit: Visit, Extension(document): Extension<Document>) -> Page {
    static READ: OnceLock<(Vec<Group>, Vec<Described>)> = OnceLock::new();
    let (groups, types) = READ.get_or_init(|| {
        let document = serde_json::from_str(document.0).unwrap_or_default();
        (groups(&document), types(&document))
    });
    render(&ApiPage {
        visit,
        groups,
        types,
        codes: ErrorCode::ALL,
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn groups(document: &Value) -> Vec<Group> {
    let of_group = |name: &Value| {
        let paths = members(&document["paths"]);
        let operations = paths.flat_map(|(path, item)| {
            members(item).map(move |(method, operation)| (path, method, operation))
        });
        let ours =
            operations.filter(|(_, _, operation)| items(&operation["tags"]).any(|tag| tag == name));
        ours.map(|(path, method, operation)| self::operation(path, method, operation))
            .collect()
    };
    let groups = items(&document["tags"]).map(|tag| Group {
        name: text(&tag["name"]),
        description: text(&tag["description"]),
        operations: of_group(&tag["name"]),
    });
    groups.collect()
}

fn operation(path: &str, method: &str, operation: &Value) -> Operation {
    let parameters = items(&operation["parameters"]).map(|parameter| Member {
        name: text(&parameter["name"]),
        shape: shape(&parameter["schema"]),
        is_needed: parameter["required"] == true,
        description: text(&parameter["description"]),
    });
    let (done, refused): (Vec<_>, Vec<_>) =
        members(&operation["responses"]).partition(|(status, _)| status.starts_with('2'));
    let (status, answer) = done.first().copied().unzip();
    let answer = answer.unwrap_or(&Value::Null);
    let mut security = items(&operation["security"]);
    Operation {
        id: text(&operation["operationId"]),
        method: method.to_ascii_uppercase(),
        path: format!("/api/v1{path}"),
        summary: text(&operation["summary"]),
        description: text(&operation["description"]),
        is_open: security.any(|way| members(way).next().is_none()),
        parameters: parameters.collect(),
        body: content(&operation["requestBody"]),
        status: status.cloned().unwrap_or_default(),
        answer: text(&answer["description"]),
        answer_body: content(answer),
        refusals: refused
            .into_iter()
            .map(|(status, _)| status.clone())
            .collect(),
    }
}

/// Returns the type of a body, if there is one.
fn content(body: &Value) -> Option<Shape> {
    let (media_type, media) = members(&body["content"]).next()?;
    Some(match media_type.as_str() {
        "application/json" => shape(&media["schema"]),
        other => Shape {
            text: other.to_owned(),
            link: None,
        },
    })
}

fn shape(schema: &Value) -> Shape {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        return Shape {
            text: name.to_owned(),
            link: Some(name.to_owned()),
        };
    }
    if let Some(one) = items(&schema["oneOf"]).find(|one| one["type"] != "null") {
        return shape(one);
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> = values.iter().map(text).collect();
        return Shape {
            text: values.join(" or "),
            link: None,
        };
    }
    let kinds = items(&schema["type"]).chain([&schema["type"]]);
    let kind = kinds.filter_map(Value::as_str).find(|kind| *kind != "null");
    match kind {
        Some("array") => {
            let item = shape(&schema["items"]);
            Shape {
                text: format!("list of {}", item.text),
                link: item.link,
            }
        }
        kind => Shape {
            text: kind.unwrap_or("JSON").to_owned(),
            link: None,
        },
    }
}

fn types(document: &Value) -> Vec<Described> {
    let schemas = members(&document["components"]["schemas"]);
    let types = schemas.map(|(name, schema)| {
        let mut of_type = Vec::new();
        object(schema, &mut of_type);
        for part in items(&schema["oneOf"]).chain(items(&schema["allOf"])) {
            let part = match shape(part).link {
                Some(other) => &document["components"]["schemas"][other],
                None => part,
            };
            object(part, &mut of_type);
        }
        let mut description = text(&schema["description"]);
        if let Some(pattern) = schema["pattern"].as_str() {
            description += &format!(" It matches {pattern}");
        }
        if schema["enum"].is_array() {
            description += &format!(" One of: {}.", shape(schema).text);
        }
        Described {
            name: name.clone(),
            description,
            members: of_type,
        }
    });
    types.collect()
}

fn object(schema: &Value, into: &mut Vec<Member>) {
    for (name, property) in members(&schema["properties"]) {
        let one_of = items(&property["oneOf"]).map(|one| &one["description"]);
        let mut described = one_of.chain([&property["description"], &schema["description"]]);
        into.push(Member {
            name: name.clone(),
            shape: shape(property),
            is_needed: items(&schema["required"]).any(|needed| needed == name),
            description: described
                .find_map(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
        });
    }
}
