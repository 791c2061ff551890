//! `dotmesh.toml`, beside the Compose file: what the app needs to run as a fork. It is optional.

use std::collections::BTreeMap;
use std::path::Path;

use dotmesh_model::DotName;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use utoipa::{PartialSchema, ToSchema};

use crate::error::{CliError, Code, Result};

/// The name of the file.
pub const NAME: &str = "dotmesh.toml";

/// How forks of the app in this folder run, and what follows git's branch. All settings are optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProjectFile {
    /// The dot that is forked: `DOT` or `NAMESPACE/DOT`.
    #[serde(default, deserialize_with = "dot")]
    #[schema(
        value_type = String,
        pattern = "^([A-Za-z0-9_][A-Za-z0-9_-]{0,63}/)?[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$"
    )]
    pub dot: Option<DotName>,
    /// The services that a fork starts, with those that they depend on. Empty means all.
    #[serde(default)]
    pub services: Vec<String>,
    /// Commands to run in a new fork's containers, such as migrations.
    #[serde(default)]
    pub after_fork: Vec<AfterFork>,
    /// What the hook of `dm hook install` does if git changes to a branch that the dot does not have.
    #[serde(default)]
    pub on_new_branch: OnNewBranch,
    /// What `dm push` tells the hub of the databases in the pushed commits.
    #[serde(default)]
    pub rows: PushedRows,
    /// What `dm env` prints besides the ports. `${WEB_PORT}` stands for a value that it prints itself.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// What the hook does: `ask` whether to make the branch, or say how if there is no terminal; `fork`: make it from the present
/// state, and switch to it; `ignore`: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnNewBranch {
    /// Asks whether to make the branch. Without a terminal, it says how.
    #[default]
    Ask,
    /// Makes the branch from the present state, and switches to it.
    Fork,
    /// Nothing.
    Ignore,
}

/// What a push tells of databases: `off`: nothing; `counts`: tables, columns and row counts; `changes`: the changed rows, too.
/// To a public dot, `changes` in this file sends counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PushedRows {
    /// Nothing.
    #[default]
    Off,
    /// The tables, their columns and row counts.
    Counts,
    /// Also the rows that differ from the parent's.
    Changes,
}

/// A command to run in a new fork.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AfterFork {
    /// The service in whose container it runs.
    pub service: String,
    /// The command and its arguments.
    pub command: Vec<String>,
}

fn dot<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<DotName>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

impl ProjectFile {
    /// Reads the file in a folder. Without one, everything has its default.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(NAME);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                let what = format!("cannot read {}", path.display());
                return Err(CliError::io(what).caused_by(error));
            }
        };
        toml::from_str(&text).map_err(|error| {
            let what = format!("{} is not as it should be", path.display());
            CliError::new(Code::ConfigFile, what)
                .caused_by(error)
                .hint("docs/forks.md lists what it can say, and 'dm init --schema' prints it for editors.")
        })
    }
}

/// The JSON schema of the file, made of the types that read it. It is of draft 7, which editors of TOML know.
pub fn schema() -> Value {
    let mut types = Vec::new();
    ProjectFile::schemas(&mut types);
    let mut schema = draft_7(json!(ProjectFile::schema()));
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!(NAME);
    let types = types.into_iter();
    schema["definitions"] = types
        .map(|(name, schema)| (name, draft_7(json!(schema))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    schema
}

/// A schema whose references lead to `definitions`.
fn draft_7(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str() {
                    Some(text) if name == "description" => *value = text.replace('\n', " ").into(),
                    Some(text) if name == "$ref" => {
                        *value = text
                            .replace("#/components/schemas/", "#/definitions/")
                            .into();
                    }
                    _ => *value = draft_7(value.take()),
                }
            }
        }
        Value::Array(values) => {
            for value in values {
                *value = draft_7(value.take());
            }
        }
        _ => {}
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_can_be_said_and_nothing_must_be() {
        assert_eq!(
            toml::from_str::<ProjectFile>("").expect("a file"),
            ProjectFile::default()
        );
        let text = r#"
            dot = "shop_app"
            services = ["web"]
            on-new-branch = "fork"

            [[after-fork]]
            service = "web"
            command = ["npm", "run", "migrate"]

            [env]
            DATABASE_URL = "postgres://localhost:${DB_PORT}/shop"
        "#;
        let file: ProjectFile = toml::from_str(text).expect("a file");
        assert_eq!(file.after_fork[0].command.len(), 3);
        assert_eq!(file.on_new_branch, OnNewBranch::Fork);
        assert_eq!(file.dot, Some("shop_app".parse().expect("a name")));
        for wrong in [
            "dott = 'app'",
            "dot = 'a b'",
            "services = 'web'",
            "on-new-branch = 'never'",
        ] {
            assert!(toml::from_str::<ProjectFile>(wrong).is_err(), "{wrong}");
        }
    }
}
