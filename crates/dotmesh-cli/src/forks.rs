//! Finds the fork that a command is about.

use std::path::{Path, PathBuf};

use dotmesh_api::NodeClient;
use dotmesh_api::node::{Fork, ForkPort};
use dotmesh_model::{BranchName, DotName};
use serde_json::{Map, Value};

use crate::compose::Project;
use crate::context::Context;
use crate::current::{self, By};
use crate::error::{CliError, Code, Result};
use crate::near;

/// The named fork, or the one of the folder that `dm` runs in. It has its configuration.
pub async fn find(context: &Context, node: &NodeClient, name: Option<&BranchName>) -> Result<Fork> {
    let (dot, branch) = match name {
        Some(name) => (named(context, node, name).await?, name.clone()),
        None => here(context, node).await?,
    };
    Ok(node.fork(&dot, &branch).await?)
}

/// The dot of the fork with a name.
async fn named(context: &Context, node: &NodeClient, name: &BranchName) -> Result<DotName> {
    let wanted = match &context.dot {
        Some(word) => Some(word.name_and_branch()?.0),
        None => None,
    };
    let forks = node.forks().await?;
    let is_wanted = |fork: &&Fork| wanted.as_ref().is_none_or(|dot| fork.dot == *dot);
    let mut dots: Vec<DotName> = forks
        .iter()
        .filter(|fork| fork.branch == *name)
        .filter(is_wanted)
        .map(|fork| fork.dot.clone())
        .collect();
    match (dots.pop(), dots.is_empty()) {
        (Some(dot), true) => Ok(dot),
        (Some(dot), false) => Err(CliError::usage(format!(
            "several dots have a fork {name}: {dot}, {}",
            dots.iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        ))
        .hint("Say which one with --dot DOT.")),
        (None, _) => {
            let names: Vec<String> = forks.iter().map(|fork| fork.branch.to_string()).collect();
            let error = CliError::new(
                dotmesh_api::ErrorCode::NotFound,
                format!("There is no fork {name}"),
            );
            Err(match near::nearest(name.as_str(), &names) {
                Some(near) => error.hint(format!("Did you mean '{near}'?")),
                None => error.hint("'dm ps' lists the forks, and 'dm up' makes one."),
            })
        }
    }
}

/// The fork of the folder that `dm` runs in, or the one that `--dot DOT@BRANCH` names.
async fn here(context: &Context, node: &NodeClient) -> Result<(DotName, BranchName)> {
    let choice = current::choose(context, node).await?;
    match (&choice.by, choice.dot.name(), choice.branch) {
        (By::Fork(_) | By::Name, Some(dot), Some(branch)) => Ok((dot.clone(), branch)),
        _ => Err(CliError::new(Code::NoCurrentDot, "This folder has no fork")
            .hint("Name one of 'dm ps', or make one here with 'dm up'.")),
    }
}

/// The member of a kept configuration that says that the commands of `after-fork` have not all run.
const PENDING: &str = "x-dotmesh-after-fork";

/// A configuration as it is kept while the commands of `after-fork` have not all run.
pub fn pending(config: &str) -> String {
    with_members(config, |members| {
        members.insert(PENDING.to_owned(), "pending".into());
    })
}

/// Whether the commands of `after-fork` have not all run.
pub fn is_pending(config: &str) -> bool {
    let members: Option<Map<String, Value>> = serde_json::from_str(config).ok();
    members.is_some_and(|members| members.contains_key(PENDING))
}

fn with_members(config: &str, change: impl FnOnce(&mut Map<String, Value>)) -> String {
    let members: Option<Map<String, Value>> = serde_json::from_str(config).ok();
    let Some(mut members) = members else {
        return config.to_owned();
    };
    change(&mut members);
    Value::Object(members).to_string()
}

/// The Compose project of a fork, with the folder to run Compose in.
pub struct ForkProject {
    fork: Fork,
    folder: PathBuf,
    config: String,
}

impl ForkProject {
    /// The project of a fork that `dm up` made.
    pub fn of(fork: Fork) -> Result<Self> {
        let Some(config) = fork.config.clone() else {
            return Err(CliError::new(
                Code::Refused,
                format!("Compose has never started fork {}", fork.branch),
            )
            .hint("Start it with 'dm up', in the folder of its Compose file."));
        };
        let config = with_members(&config, |members| {
            members.remove(PENDING);
        });
        // After `git worktree remove`, Compose still needs a folder.
        let folder = fork.folder.clone().filter(|folder| folder.is_dir());
        let folder = folder.unwrap_or_else(|| PathBuf::from("/"));
        Ok(Self {
            fork,
            folder,
            config,
        })
    }

    /// The fork.
    pub fn fork(&self) -> &Fork {
        &self.fork
    }

    /// The folder to run Compose in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The project, as Compose needs it.
    pub fn project(&self) -> Project<'_> {
        Project {
            fork: self.fork.branch.as_str(),
            name: &self.fork.project,
            folder: &self.folder,
            config: &self.config,
        }
    }
}

/// The address of a port, as a person opens it.
pub fn url(port: &ForkPort) -> String {
    match (port.target, port.published) {
        (443 | 8443, _) | (_, 443 | 8443) => format!("https://localhost:{}", port.port),
        _ => format!("http://localhost:{}", port.port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_says_whether_commands_are_pending() {
        let config = r#"{"services":{},"name":"shop"}"#;
        assert!(!is_pending(config));
        let kept = pending(config);
        assert!(is_pending(&kept), "{kept}");
        let plain = with_members(&kept, |members| {
            members.remove(PENDING);
        });
        let same = |one: &str, other: &str| {
            let value = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
            value(one) == value(other)
        };
        assert!(same(&plain, config), "{plain}");
    }
}
