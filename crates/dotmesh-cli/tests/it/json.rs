//! `docs/cli-json.md` is made of the types that commands return, and examples match their schemas.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use boon::{Compiler, Draft, Schemas};
use clap::CommandFactory as _;
use dotmesh_api::node::{SwitchProgress, TransferProgress};
use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_cli::cli::Cli;
use dotmesh_cli::error::{CliError, Code, ErrorDocument};
use dotmesh_cli::output::Output;
use dotmesh_cli::progress::{Event, LoginPage};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use crate::{examples, fork_examples, row_examples};

const INTRODUCTION: &str = "\
# The JSON of `dm`

This page is for programs that run `dm`.
It is generated from the program's types by `UPDATE=1 cargo test -p dotmesh-cli`.
[cli-json.schema.json](cli-json.schema.json) has the same as JSON Schema.

- With `--json`, a command that succeeds prints one JSON document on stdout.
- If it fails, it prints one JSON document on stderr: the [error](#errors).
  The [exit code](cli.md) is the same as without `--json`.
- A command may do its work and fail all the same, such as a checkout after which a container does not start.
  Then it prints both documents.
- With `--progress=json`, a line for each [event](#events) comes before that on stderr.
- `dm` asks questions only on a terminal, and `--yes` answers them.
- `dm cp` and `dm export --tar` to `-` print bytes, and have no JSON.

Times are in the format of RFC 3339, sizes are in bytes, and ids are not shortened.
Names of dots have their namespace.
A field that is marked as *optional* may be missing, and so may a field that can be `null`.
Later versions may add fields, and neither rename nor remove any.

";

const ERRORS: &str = "\
## Errors

An error is an object with the member `error`.
Programs may branch on its `code`, which never changes.
The texts may change.

";

const EVENTS: &str = "
## Events

With `--progress=json`, stderr has a line of JSON for each event, with one of these members.
`login` is there with `--json` alone, as a user has to see it.

";

/// The URI under which the compiler finds the schemas. It fetches nothing.
const ADDRESS: &str = "urn:dotmesh:cli";

/// What a command prints, and the schema of that.
pub(crate) struct Example {
    title: &'static str,
    schema: Value,
    types: BTreeMap<String, Value>,
    value: Value,
}

type Components = Vec<(String, RefOr<Schema>)>;

impl Example {
    pub(crate) fn of<T: Output + ToSchema>(title: &'static str, value: &T) -> Self {
        let printed = serde_json::from_str(&value.json().unwrap()).unwrap();
        Self::printed::<T>(title, printed)
    }

    fn printed<T: ToSchema>(title: &'static str, value: Value) -> Self {
        let mut types = Components::new();
        T::schemas(&mut types);
        let types = types
            .iter()
            .map(|(name, schema)| (name.clone(), local(schema)));
        Self {
            title,
            schema: local(&T::schema()),
            types: types.collect(),
            value,
        }
    }

    fn command(&self) -> bool {
        self.title.starts_with("dm ")
    }
}

/// A schema as JSON, whose references lead to `$defs`.
fn local(schema: &RefOr<Schema>) -> Value {
    let text = serde_json::to_string(schema).unwrap();
    serde_json::from_str(&text.replace("#/components/schemas/", "#/$defs/")).unwrap()
}

/// The errors, the events, and what each command prints.
fn all() -> Vec<Example> {
    let body = ErrorBody::new(
        ErrorCode::Dirty,
        "there are 1.00 MiB of uncommitted changes",
    );
    let error = CliError::from(body.hint("Commit them with 'dm commit'."));
    let transfer = TransferProgress {
        phase: "sending".to_owned(),
        done: 1_048_576,
        total: 4_194_304,
        wire: 524_288,
        deduplicated: 0,
        compressed: 524_288,
    };
    let switch = SwitchProgress {
        phase: "waiting for containers to stop".to_owned(),
        containers: vec!["db_1".to_owned()],
    };
    let login = LoginPage {
        page: "https://dothub.com/-/login".to_owned(),
        user_code: "BCDF-GHJK".to_owned(),
    };
    let event = |event| Example::printed::<Event>("event", json!(event));
    let mut all = vec![
        Example::printed::<ErrorDocument>("error", json!(error.document())),
        event(Event::Transfer(transfer)),
        event(Event::Switch(switch)),
        event(Event::Login(login)),
    ];
    all.extend(examples::states());
    all.extend(fork_examples::forks());
    all.extend(row_examples::rows());
    all.extend(examples::stashes());
    all.extend(examples::hubs());
    all.extend(examples::nodes());
    all
}

/// All types that have a name.
fn types(examples: &[Example]) -> Map<String, Value> {
    let mut all = BTreeMap::new();
    for example in examples {
        for (name, schema) in &example.types {
            let known = all.insert(name.clone(), schema.clone());
            let same = known.is_none_or(|known| known == *schema);
            assert!(same, "two types are called {name}");
        }
    }
    all.into_iter().collect()
}

/// The schemas, for programs.
fn document(examples: &[Example]) -> Value {
    let schemas = examples.iter();
    let schemas = schemas.map(|example| (example.title.to_owned(), example.schema.clone()));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ADDRESS,
        "description": "What dm prints with --json, by command, and the errors and events. docs/cli-json.md describes them.",
        "commands": schemas.collect::<Map<_, _>>(),
        "$defs": types(examples),
    })
}

/// A member of an object.
struct Field {
    name: String,
    schema: Value,
    required: bool,
}

/// The members that a schema has, those of flattened types included.
fn fields(schema: &Value, types: &Map<String, Value>) -> Vec<Field> {
    if let Some(name) = reference(schema) {
        return fields(&types[name], types);
    }
    let parts = ["allOf", "oneOf"]
        .iter()
        .filter_map(|of| schema[of].as_array());
    let mut all: Vec<Field> = parts
        .flatten()
        .flat_map(|part| fields(part, types))
        .collect();
    let required = schema["required"].as_array();
    let required = |name: &str| required.is_some_and(|names| names.iter().any(|one| one == name));
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        all.push(Field {
            name: name.clone(),
            schema: schema.clone(),
            required: required(name),
        });
    }
    all
}

fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/$defs/")
}

/// The name of a member's type, with links.
fn type_of(schema: &Value, seen: &mut BTreeSet<String>) -> String {
    if let Some(name) = reference(schema) {
        seen.insert(name.to_owned());
        return format!("[{name}](#{})", name.to_lowercase());
    }
    for of in ["oneOf", "allOf"] {
        if let Some(choices) = schema[of].as_array() {
            let mut choices: Vec<_> = choices.iter().map(|one| type_of(one, seen)).collect();
            choices.sort_by_key(|choice| choice == "null");
            return choices.join(" or ");
        }
    }
    let names: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => panic!("a type without a name: {schema}"),
    };
    let name = |name: &&str| match *name {
        "array" => format!("list of {}", type_of(&schema["items"], seen)),
        "object" => format!("map to {}", type_of(&schema["additionalProperties"], seen)),
        "string" if schema["format"] == "date-time" => "time".to_owned(),
        other => other.to_owned(),
    };
    names.iter().map(name).collect::<Vec<_>>().join(" or ")
}

fn description(schema: &Value) -> String {
    // What is said of an optional reference stands beside the reference.
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    let mut says = choices.filter_map(|choice| choice["description"].as_str());
    let text = schema["description"].as_str().or_else(|| says.next());
    // The first paragraph is enough.
    let text = text
        .unwrap_or_default()
        .split("\n\n")
        .next()
        .unwrap_or_default();
    assert!(!text.contains("[`"), "a link that leads nowhere: {text}");
    text.replace('\n', " ")
        .replace("`None`", "`null`")
        .replace('|', "\\|")
}

/// A description as a paragraph: a line for each sentence.
fn sentences(schema: &Value) -> String {
    let text = description(schema);
    let text = text.replace(". ", ".\n");
    if text.is_empty() {
        text
    } else {
        format!("{text}\n")
    }
}

/// A table of members.
fn table(schema: &Value, types: &Map<String, Value>, seen: &mut BTreeSet<String>) -> String {
    let mut text = "| field | type | description |\n|---|---|---|\n".to_owned();
    for field in fields(schema, types) {
        let (name, mut is) = (&field.name, type_of(&field.schema, seen));
        if !field.required && !is.ends_with("null") {
            is.push_str(", optional");
        }
        let says = description(&field.schema);
        let _ = writeln!(text, "| `{name}` | {is} | {says} |");
    }
    text
}

/// The whole page.
fn page(examples: &[Example]) -> String {
    let types = types(examples);
    let mut seen = BTreeSet::new();
    let mut page = INTRODUCTION.to_owned();
    let (commands, others): (Vec<_>, Vec<_>) = examples.iter().partition(|one| one.command());
    let error = &others[0];
    page.push_str(ERRORS);
    page.push_str(&table(&types["ErrorFields"], &types, &mut seen));
    let _ = write!(page, "\n```json\n{:#}\n```\n\n", error.value);
    page.push_str("| code | exit code | meaning |\n|---|---|---|\n");
    for code in Code::all() {
        let (name, exit, title) = (code.as_str(), code.exit_code(), code.title());
        let _ = writeln!(page, "| `{name}` | {exit} | {title} |");
    }
    page.push_str(EVENTS);
    page.push_str(&table(&others[1].schema, &types, &mut seen));
    page.push_str("\n```json\n");
    for event in &others[1..] {
        let _ = writeln!(page, "{}", event.value);
    }
    page.push_str("```\n\n## Commands\n");
    for command in &commands {
        let Example {
            title,
            schema,
            value,
            ..
        } = command;
        let says = sentences(schema);
        let table = table(schema, &types, &mut seen);
        let _ = write!(
            page,
            "\n### `{title}`\n\n{says}\n{table}\n```json\n{value:#}\n```\n"
        );
    }
    page.push_str("\n## Types\n");
    let mut shown = BTreeSet::new();
    while let Some(name) = seen.difference(&shown).next().cloned() {
        shown.insert(name.clone());
        // Finds the types that it has.
        table(&types[&name], &types, &mut seen);
    }
    for name in &shown {
        let schema = &types[name];
        let _ = write!(page, "\n### {name}\n\n{}", sentences(schema));
        if let Some(values) = schema["enum"].as_array().filter(|_| name != "Code") {
            let values = values
                .iter()
                .map(|value| format!("`{}`", value.as_str().unwrap()));
            let _ = write!(
                page,
                "\nOne of {}.\n",
                values.collect::<Vec<_>>().join(", ")
            );
        }
        if let Some(pattern) = schema["pattern"].as_str() {
            let _ = write!(page, "\nA string that matches `{pattern}`.\n");
        }
        if !fields(schema, &types).is_empty() {
            let _ = write!(page, "\n{}", table(schema, &types, &mut seen));
        }
    }
    page
}

/// Compares a file with what it should be, or writes it.
fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/{name} is out of date: UPDATE=1 cargo test -p dotmesh-cli"
    );
}

#[test]
fn the_description_is_up_to_date() {
    let examples = all();
    check("cli-json.md", &page(&examples));
    check(
        "cli-json.schema.json",
        &format!("{:#}\n", document(&examples)),
    );
}

#[test]
fn examples_match_their_schemas() {
    let examples = all();
    let (document, types) = (document(&examples), types(&examples));
    let mut compiler = Compiler::new();
    compiler.set_default_draft(Draft::V2020_12);
    compiler.enable_format_assertions();
    compiler.add_resource(ADDRESS, document).unwrap();
    let mut schemas = Schemas::new();
    for example in &examples {
        let title = example.title;
        let pointer = format!("{ADDRESS}#/commands/{}", title.replace(' ', "%20"));
        let schema = compiler.compile(&pointer, &mut schemas).unwrap();
        if let Err(error) = schemas.validate(&example.value, schema) {
            panic!("{title}: {error:#}");
        }
        is_described(title, &example.value, &example.schema, &types);
    }
}

/// Fails if a value has members that its schema does not describe.
fn is_described(at: &str, value: &Value, schema: &Value, types: &Map<String, Value>) {
    if let Some(name) = reference(schema) {
        return is_described(at, value, &types[name], types);
    }
    match value {
        Value::Array(items) => {
            for item in items {
                is_described(at, item, &schema["items"], types);
            }
        }
        Value::Object(members) if schema["additionalProperties"].is_null() => {
            let fields = fields(schema, types);
            for (name, member) in members {
                let at = format!("{at}.{name}");
                let field = fields.iter().find(|field| field.name == *name);
                let field = field.unwrap_or_else(|| panic!("{at} is not described"));
                is_described(&at, member, &field.schema, types);
            }
        }
        _ => {}
    }
}

#[test]
fn every_command_is_described() {
    let examples = all();
    let titles: BTreeSet<&str> = examples.iter().map(|example| example.title).collect();
    let mut dm = Cli::command();
    dm.build();
    let mut missing = Vec::new();
    find(&dm, "dm", &titles, &mut missing);
    assert!(missing.is_empty(), "without an example: {missing:?}");
}

fn find(command: &clap::Command, path: &str, titles: &BTreeSet<&str>, missing: &mut Vec<String>) {
    let needs_subcommand = command.is_subcommand_required_set();
    if !needs_subcommand && !titles.contains(path) {
        missing.push(path.to_owned());
    }
    for inner in command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set())
    {
        find(
            inner,
            &format!("{path} {}", inner.get_name()),
            titles,
            missing,
        );
    }
}
