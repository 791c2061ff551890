//! Finds the current dot: the one that a command uses if it names none.
//!
//! The first of these that exists counts: `--dot`; `DOTMESH_DOT`; the choice of `dm switch`, the fork of a folder, or the dot of
//! a Compose project, whichever belongs to the nearest folder (at the same folder, they win in this order); the choice of
//! `dm switch` for everywhere.
//!
//! A fork also decides which branch commands are about. `--dot DOT@BRANCH` names any branch.

use std::path::{Path, PathBuf};

use dotmesh_api::node::ForkHere;
use dotmesh_api::{ErrorCode, NodeClient};
use dotmesh_model::{BranchName, DotName};

use crate::config::CurrentDot;
use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::{git, place};

/// The current dot, and who chose it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The chosen dot.
    pub dot: CurrentDot,
    /// The branch of it. `None` means the one that is checked out.
    pub branch: Option<BranchName>,
    /// Who chose it.
    pub by: By,
}

/// Who chose a dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// `--dot` or `DOTMESH_DOT`.
    Name,
    /// `dm switch`, for this place.
    Place(PathBuf),
    /// The fork of this folder.
    Fork(PathBuf),
    /// The Compose project that runs from this folder.
    Compose(PathBuf),
    /// `dm switch`, for all places without a choice of their own. Also used if nobody chose.
    Everywhere,
}

impl Choice {
    /// The folder that it is for.
    pub fn folder(&self) -> Option<&Path> {
        match &self.by {
            By::Place(folder) | By::Fork(folder) | By::Compose(folder) => Some(folder),
            By::Name | By::Everywhere => None,
        }
    }

    /// Whether this dot was chosen.
    pub fn is(&self, dot: &DotName) -> bool {
        self.dot.is(dot)
    }
}

/// Finds the choice that counts in the current folder. Does not check that the dot still exists.
pub async fn choose(context: &Context, node: &NodeClient) -> Result<Choice> {
    choose_in(context, node, place::here().as_deref()).await
}

/// The node, for a command that names this dot: seen from the branch of the folder's fork if it is a fork of the dot.
pub async fn view_of(context: &Context, dot: &DotName) -> Result<NodeClient> {
    let node = context.node()?;
    let choice = choose(context, &node).await?;
    Ok(match choice.branch.clone().filter(|_| choice.is(dot)) {
        Some(branch) => node.seen_from(branch),
        None => node,
    })
}

/// Finds the choice that counts in a folder, which is `None` if it was deleted.
pub async fn choose_in(
    context: &Context,
    node: &NodeClient,
    here: Option<&Path>,
) -> Result<Choice> {
    if let Some(word) = &context.dot {
        let (dot, branch) = word.name_and_branch()?;
        return Ok(Choice {
            dot: CurrentDot::Selected(dot),
            branch,
            by: By::Name,
        });
    }
    let config = context.node_config()?;
    let chosen = here.and_then(|here| config.chosen_around(here));
    let mut found = Vec::new();
    if let Some((place, dot)) = chosen {
        found.push(Choice {
            dot,
            branch: None,
            by: By::Place(place),
        });
    }
    if let Some(here) = here {
        // If the nearest place has a choice of its own, only a fork can say more.
        let nearest = place::around(here);
        let is_chosen = nearest.is_some() && found.first().and_then(Choice::folder) == nearest;
        found.extend(of_folder(node, here, is_chosen).await?);
    }
    let nearest = found.into_iter().reduce(|best, next| {
        let (Some(at), Some(than)) = (next.folder(), best.folder()) else {
            return best;
        };
        // A fork of the chosen dot says more than the choice.
        let says_more = next.branch.is_some() && best.branch.is_none() && next.dot == best.dot;
        match is_nearer(at, than) || (at == than && says_more) {
            true => next,
            false => best,
        }
    });
    Ok(nearest.unwrap_or(Choice {
        dot: config.current_dot,
        branch: None,
        by: By::Everywhere,
    }))
}

/// What the node knows of the folder: its fork, and the dot of its Compose project. Several forks or dots are no choice: then
/// the user has to choose.
async fn of_folder(node: &NodeClient, here: &Path, only_forks: bool) -> Result<Vec<Choice>> {
    let answer = match node.compose_dots(here, only_forks).await {
        Ok(answer) => answer,
        // An older node does not have this route.
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    if let Some(folder) = answer.forks.folder {
        let fork = match answer.forks.forks.as_slice() {
            [fork] => Some(fork),
            forks => {
                let branch = git::branch(&folder).await;
                let is = |fork: &&ForkHere| branch.as_deref() == Some(fork.branch.as_str());
                forks.iter().find(is)
            }
        };
        let Some(fork) = fork else {
            return Err(several(&answer.forks.forks));
        };
        found.push(Choice {
            dot: CurrentDot::Selected(fork.dot.clone()),
            branch: Some(fork.branch.clone()),
            by: By::Fork(folder),
        });
    }
    if let (Some(folder), [dot]) = (answer.folder, answer.dots.as_slice()) {
        found.push(Choice {
            dot: CurrentDot::Selected(dot.clone()),
            branch: None,
            by: By::Compose(folder),
        });
    }
    Ok(found)
}

fn several(forks: &[ForkHere]) -> CliError {
    let names: Vec<String> = forks
        .iter()
        .map(|fork| format!("{}@{}", fork.dot, fork.branch.spelling()))
        .collect();
    let first = names.first().cloned().unwrap_or_default();
    CliError::new(
        Code::NoCurrentDot,
        format!("this folder has several forks: {}", names.join(", ")),
    )
    .hint(format!(
        "Say which one this command is about: --dot {first}"
    ))
}

/// Whether `one` is nearer than `other`. Both are ancestors of the same folder.
fn is_nearer(one: &Path, other: &Path) -> bool {
    one != other && one.starts_with(other)
}
