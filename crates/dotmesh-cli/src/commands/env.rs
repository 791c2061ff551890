//! `dm env`

use std::collections::BTreeMap;

use dotmesh_api::node::{Fork, ForkPort};
use dotmesh_model::BranchName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::forks;
use crate::output::Human;
use crate::project_file::ProjectFile;
use crate::ui::Ui;

/// Print a fork's ports and addresses for programs, as KEY=VALUE
///
/// A service with one port has SERVICE_PORT and SERVICE_URL. With several, they end with the port in the container, as in
/// WEB_PORT_80. The section 'env' of dotmesh.toml adds more, such as a database's address.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The fork [default: the one of this folder]
    #[arg(value_name = "NAME")]
    name: Option<BranchName>,
}

/// Values for programs that use a fork.
#[derive(Debug, Serialize, ToSchema)]
pub struct Values {
    /// The values by name.
    pub values: BTreeMap<String, String>,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Values> {
    let node = context.node()?;
    let fork = forks::find(context, &node, args.name.as_ref()).await?;
    let file = match &fork.folder {
        Some(folder) => ProjectFile::load(folder)?,
        None => ProjectFile::default(),
    };
    let values = values(&fork, &file.env).map_err(|problem| {
        CliError::new(Code::ConfigFile, problem).hint("See 'dm env' without the section 'env'.")
    })?;
    Ok(Values { values })
}

impl Human for Values {
    fn show(&self, ui: &Ui) -> Result<()> {
        let lines = self.values.iter();
        let lines = lines.map(|(key, value)| format!("{key}={value}\n"));
        ui.out(&lines.collect::<String>())
    }
}

/// The values of a fork, with those of a template.
pub fn values(
    fork: &Fork,
    template: &BTreeMap<String, String>,
) -> std::result::Result<BTreeMap<String, String>, String> {
    let mut values = BTreeMap::from([
        (
            "DOTMESH_DOT".to_owned(),
            format!("{}@{}", fork.dot, fork.branch.spelling()),
        ),
        ("DOTMESH_FORK".to_owned(), fork.branch.to_string()),
        ("DOTMESH_PROJECT".to_owned(), fork.project.clone()),
    ]);
    for port in &fork.ports {
        let of_service = fork.ports.iter().filter(|one| one.service == port.service);
        let end = match of_service.count() {
            1 => String::new(),
            _ => format!("_{}", port.target),
        };
        let service = key(&port.service);
        values.insert(format!("{service}_PORT{end}"), port.port.to_string());
        if port.protocol == "tcp" {
            values.insert(format!("{service}_URL{end}"), address(port));
        }
    }
    let known = values.clone();
    for (key, text) in template {
        values.insert(key.clone(), filled(key, text, &known)?);
    }
    Ok(values)
}

fn address(port: &ForkPort) -> String {
    forks::url(port)
}

/// A service's name as a part of a variable's name: `USERS_DB` for `users-db`.
pub fn key(service: &str) -> String {
    let allowed = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_uppercase(),
        false => '_',
    };
    service.chars().map(allowed).collect()
}

/// Replaces `${KEY}` by its value, and `$$` by `$`.
fn filled(
    name: &str,
    text: &str,
    values: &BTreeMap<String, String>,
) -> std::result::Result<String, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        filled.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            filled.push('$');
            rest = after;
        } else if let Some((key, after)) = rest
            .strip_prefix('{')
            .and_then(|braced| braced.split_once('}'))
        {
            let value = values.get(key).ok_or_else(|| {
                format!("{name} in dotmesh.toml uses {key}, which this fork does not have")
            })?;
            filled.push_str(value);
            rest = after;
        } else {
            filled.push('$');
        }
    }
    filled.push_str(rest);
    Ok(filled)
}
