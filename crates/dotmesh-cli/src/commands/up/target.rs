//! Finds the dot that `dm up` forks.
//!
//! In a new work tree, Compose derives another project from the folder's name, and so another dot. The app's own dot is then
//! that of the same folder in another work tree of the repository.

use std::path::{Path, PathBuf};

use dotmesh_api::NodeClient;
use dotmesh_model::DotName;

use crate::compose::document::Document;
use crate::compose::fork::stem;
use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::git;
use crate::project_file::ProjectFile;

/// What `dm up` forks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The dot.
    pub dot: DotName,
    /// The app's project, with which the dot's name begins.
    pub stem: String,
    /// The folder from which the app itself runs, if it is known.
    pub app: Option<PathBuf>,
}

/// Finds the dot. The first of these that exists counts: the dot that the user names; that of `dotmesh.toml`; that of an
/// earlier fork of this folder; the dot that plain Compose would use here; that of another work tree.
pub(super) async fn find(
    context: &Context,
    node: &NodeClient,
    folder: &Path,
    file: &ProjectFile,
    document: &Document,
) -> Result<Target> {
    let refused = |problem| CliError::new(Code::Refused, problem);
    let dots = document.dots().map_err(refused)?;
    let (own, short) = match dots.as_slice() {
        [one] => one.clone(),
        [] => {
            return Err(CliError::usage(
                "no volume of this app follows a dot, so there is nothing to fork",
            )
            .hint("Write 'driver: dm' for the volumes in the Compose file: docs/volumes.md"));
        }
        several => {
            let names: Vec<String> = several.iter().map(|(dot, _)| dot.to_string()).collect();
            return Err(CliError::usage(format!(
                "the volumes of this app belong to several dots: {}",
                names.join(", ")
            ))
            .hint("A fork has one dot: give the volumes names with the same part before the '.'"));
        }
    };
    let known: Vec<DotName> = node.dots().await?.into_iter().map(|dot| dot.name).collect();
    let target = |dot: DotName, app: Option<PathBuf>| Target {
        stem: stem(&dot, &short),
        dot,
        app,
    };
    let trees = others(node, folder, &short).await?;
    let found = node.compose_dots(folder, false).await?;
    let runs_here =
        |dot: &DotName| found.folder.as_deref() == Some(folder) && found.dots.contains(dot);
    let app_of = |dot: &DotName| {
        if runs_here(dot) {
            return Some(folder.to_owned());
        }
        let tree = trees.iter().find(|(known, _)| known == dot);
        tree.map(|(_, folder)| folder.clone())
    };
    if let Some(word) = &context.dot {
        let (dot, _) = word.name_and_branch()?;
        let app = app_of(&dot);
        return Ok(target(dot, app));
    }
    if let Some(dot) = &file.dot {
        return Ok(target(dot.clone(), app_of(dot)));
    }
    let here = found.forks.clone();
    if here.folder.as_deref() == Some(folder)
        && let Some(fork) = here.forks.first()
    {
        return Ok(target(fork.dot.clone(), app_of(&fork.dot)));
    }
    if known.contains(&own) {
        let app = app_of(&own);
        return Ok(target(own, app));
    }
    match trees.first() {
        Some((dot, folder)) => Ok(target(dot.clone(), Some(folder.clone()))),
        None => Err(no_dot(&own, &short, &known)),
    }
}

/// The dots of the same folder in other work trees of the repository, each with that folder.
async fn others(node: &NodeClient, folder: &Path, short: &str) -> Result<Vec<(DotName, PathBuf)>> {
    let Some(top) = git::work_tree(folder) else {
        return Ok(Vec::new());
    };
    let below = folder.strip_prefix(&top).unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for tree in git::work_trees(folder).await {
        let Ok(other) = tree.join(below).canonicalize() else {
            continue;
        };
        if other == folder {
            continue;
        }
        let answer = node.compose_dots(&other, false).await?;
        if answer.folder.as_deref() != Some(other.as_path()) {
            continue;
        }
        let same =
            |dot: &DotName| dot.name() == short || dot.name().ends_with(&format!("_{short}"));
        found.extend(
            answer
                .dots
                .into_iter()
                .filter(same)
                .map(|dot| (dot, other.clone())),
        );
    }
    Ok(found)
}

fn no_dot(own: &DotName, short: &str, known: &[DotName]) -> CliError {
    let error = CliError::new(
        dotmesh_api::ErrorCode::NotFound,
        format!("there is no dot {own} to fork yet, and no other work tree runs this app"),
    );
    let similar = known
        .iter()
        .filter(|dot| dot.name().ends_with(&format!("_{short}")));
    let similar: Vec<String> = similar.map(ToString::to_string).collect();
    error.hint(match similar.as_slice() {
        [] => "Start the app once with Compose, in its main work tree. Then run 'dm up' here."
            .to_owned(),
        [one] => format!("Name the dot: dm up --dot {one}"),
        several => format!("Name the dot with --dot: {}", several.join(", ")),
    })
}
