//! The JSON schema of `dotmesh.toml` takes what the parser takes, and `docs/` has it.

use std::path::Path;

use boon::{Compiler, Draft, Schemas};
use dotmesh_cli::project_file::{self, ProjectFile};
use serde_json::Value;

/// Files that are as they should be.
const RIGHT: &[&str] = &[
    "",
    "dot = 'shop'",
    "dot = 'alice/shop'",
    "services = []",
    "services = ['web', 'db']",
    "on-new-branch = 'ask'",
    "on-new-branch = 'fork'",
    "on-new-branch = 'ignore'",
    "[[after-fork]]\nservice = 'web'\ncommand = ['npm', 'run']",
    "[env]\nA = 'b'\n'C D' = ''",
];

/// Files that are not.
const WRONG: &[&str] = &[
    "dott = 'shop'",
    "dot = 'a b'",
    "dot = 'a/b/c'",
    "dot = ''",
    "dot = 7",
    "services = 'web'",
    "services = [1]",
    "on-new-branch = 'always'",
    "on_new_branch = 'ask'",
    "[after-fork]\nservice = 'web'\ncommand = ['npm']",
    "[[after-fork]]\nservice = 'web'",
    "[[after-fork]]\nservice = 'web'\ncommand = 'npm'",
    "[[after-fork]]\nservice = 'web'\ncommand = []\nuser = 'root'",
    "[env]\nA = 1",
];

#[test]
fn the_schema_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/dotmesh-toml.schema.json");
    let text = format!("{:#}\n", project_file::schema());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/dotmesh-toml.schema.json is out of date: UPDATE=1 cargo test -p dotmesh-cli"
    );
}

#[test]
fn the_schema_takes_what_the_parser_takes() {
    let address = "urn:dotmesh:toml";
    let mut compiler = Compiler::new();
    compiler.set_default_draft(Draft::V7);
    compiler
        .add_resource(address, project_file::schema())
        .unwrap();
    let mut schemas = Schemas::new();
    let schema = compiler.compile(address, &mut schemas).unwrap();
    for (files, is_right) in [(RIGHT, true), (WRONG, false)] {
        for text in files {
            let parsed = toml::from_str::<ProjectFile>(text);
            assert_eq!(parsed.is_ok(), is_right, "{text}: {parsed:?}");
            let value: Value = toml::from_str(text).unwrap();
            let checked = schemas.validate(&value, schema);
            assert_eq!(checked.is_ok(), is_right, "{text}: {checked:?}");
        }
    }
    // Each setting is described, for editors that show it.
    let schema = project_file::schema();
    for (name, setting) in schema["properties"].as_object().unwrap() {
        assert!(setting.to_string().contains("\"description\""), "{name}");
    }
}
