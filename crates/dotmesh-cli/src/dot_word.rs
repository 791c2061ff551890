//! An argument that should name a dot. If the user typed a branch by mistake, the error suggests the right command.

use dotmesh_api::ErrorCode;
use std::borrow::Cow;
use std::convert::Infallible;
use std::str::FromStr;

use dotmesh_api::NodeClient;
use dotmesh_api::node::DotDetail;
use dotmesh_model::{BranchName, DotName, VolumeName};

use crate::config::{Config, CurrentDot};
use crate::context::Context;
use crate::current;
use crate::error::{CliError, Result};
use crate::near;

/// An argument that should name a dot. It is parsed only when it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DotWord(String);

impl FromStr for DotWord {
    type Err = Infallible;
    fn from_str(text: &str) -> std::result::Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl DotWord {
    /// Wraps the argument as the user typed it.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The argument as the user typed it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses the argument as a dot's name.
    pub fn name(&self) -> Result<DotName> {
        Ok(self.0.parse()?)
    }

    /// Parses the argument as a dot's name, or as `DOT@BRANCH`, where the branch is spelled as in the name of a volume.
    pub fn name_and_branch(&self) -> Result<(DotName, Option<BranchName>)> {
        if !self.0.contains('@') {
            return Ok((self.name()?, None));
        }
        let volume: VolumeName = self.0.parse()?;
        Ok((volume.dot, volume.pinned))
    }

    /// Acts on the dot with this name. In the folder of a fork of it, that is about the fork's branch. If there is no such dot,
    /// but the current dot has a branch with this name, the error says so. `instead` makes the hint from the dot and the branch.
    pub async fn act<T>(
        &self,
        context: &Context,
        act: impl AsyncFn(&NodeClient, &DotName) -> Result<T>,
        instead: impl FnOnce(&DotName, &BranchName) -> String,
    ) -> Result<T> {
        let done = match self.name() {
            Ok(dot) => act(&current::view_of(context, &dot).await?, &dot).await,
            Err(error) => Err(error),
        };
        match done {
            Err(error) if error.is_not_found() || error.is_usage() => {
                Err(self.explain(context, error, instead).await)
            }
            done => done,
        }
    }

    /// Improves the error: it says that the word is a branch of the current dot, or else suggests the most similar dot.
    async fn explain(
        &self,
        context: &Context,
        error: CliError,
        instead: impl FnOnce(&DotName, &BranchName) -> String,
    ) -> CliError {
        match branch_of_current(context, &self.0).await {
            Some((dot, branch)) => is_branch(&dot, &branch, &instead(&dot, &branch)),
            None => match (context.node(), self.name()) {
                (Ok(node), Ok(name)) => with_near_name(&node, error, &name).await,
                _ => error,
            },
        }
    }
}

/// The details of the named dot, or else of the current dot.
pub async fn detail(
    context: &Context,
    named: Option<&DotWord>,
    instead: impl FnOnce(&DotName, &BranchName) -> String,
) -> Result<DotDetail> {
    let act = async |node: &NodeClient, dot: &DotName| Ok(node.dot(dot).await?);
    match named {
        Some(word) => word.act(context, act, instead).await,
        None => context.on_current_dot(act).await,
    }
}

/// The current dot and its branch of that name. `None` if there is no such branch, or the current dot is not known.
pub async fn branch_of_current(context: &Context, word: &str) -> Option<(DotName, BranchName)> {
    let node = context.node().ok()?;
    let dots = node.dots().await.ok()?;
    let dot = match current::choose(context, &node).await.ok()?.dot {
        CurrentDot::Selected(dot) => dot,
        // `on_current_dot` would select it.
        CurrentDot::Unset if dots.len() == 1 => dots.first()?.name.clone(),
        CurrentDot::Unset | CurrentDot::Deleted => return None,
    };
    // The word may be a volume's name, such as `app@branch`.
    let branch: BranchName = match word.parse::<VolumeName>() {
        Ok(volume) if volume.dot == dot && volume.pinned.is_some() => volume.pinned?,
        _ => word.parse().ok()?,
    };
    let detail = node.dot(&dot).await.ok()?;
    let known = detail.branches.iter().any(|known| known.name == branch);
    known.then_some((dot, branch))
}

/// Adds a hint with the most similar dot name, if there is one.
pub async fn with_near_name(node: &NodeClient, error: CliError, name: &DotName) -> CliError {
    let Ok(dots) = node.dots().await else {
        return error;
    };
    let names: Vec<String> = dots.iter().map(|dot| dot.name.to_string()).collect();
    match near::nearest(&name.to_string(), &names) {
        Some(near) => error.hint(format!("Did you mean '{near}'?")),
        None => error,
    }
}

/// The dot of that name, if there is one.
pub async fn dot_named(context: &Context, word: &str) -> Option<DotName> {
    let name: DotName = word.parse().ok()?;
    let dots = context.node().ok()?.dots().await.ok()?;
    dots.iter().any(|dot| dot.name == name).then_some(name)
}

/// The error for a branch where a dot was expected.
pub fn is_branch(dot: &DotName, branch: &BranchName, instead: &str) -> CliError {
    CliError::new(
        ErrorCode::NotFound,
        format!("No such dot '{branch}': it is a branch of the current dot, {dot}"),
    )
    .hint(instead)
}

/// Improves a "not found" error if `word` should name a branch or a commit, but names a dot. `instead` is the command to
/// suggest. The word DOT in it stands for the dot's name.
pub async fn unless_dot<T>(
    context: &Context,
    done: Result<T>,
    word: Option<&str>,
    instead: &str,
) -> Result<T> {
    match (done, word) {
        (Err(error), Some(word)) if error.is_not_found() => match dot_named(context, word).await {
            Some(dot) => {
                let name = dot.to_string();
                let words = instead.split(' ');
                let words: Vec<&str> = words
                    .map(|word| if word == "DOT" { &name } else { word })
                    .collect();
                Err(is_dot(&error, &dot, &try_this(&words)))
            }
            None => Err(error),
        },
        (done, _) => done,
    }
}

/// The error for a dot where something else was expected.
fn is_dot(error: &CliError, dot: &DotName, instead: &str) -> CliError {
    let message = error.message();
    CliError::new(ErrorCode::NotFound, format!("{message}: '{dot}' is a dot")).hint(instead)
}

/// The hint with the right command. Its words are quoted for a shell where necessary.
pub fn try_this(words: &[&str]) -> String {
    let words = words.iter().map(|word| for_shell(word));
    format!("Try this: {}", words.collect::<Vec<_>>().join(" "))
}

/// Quotes a word: a branch's name may contain characters that a shell would interpret.
fn for_shell(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./@~:".contains(c);
    if word == "&&" || word.chars().all(is_plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''")).into()
    }
}

/// Improves the error if the user left out the remote, as in `dm push app`: suggests the command with the remote.
pub async fn explain_remote(
    context: &Context,
    config: &Config,
    error: CliError,
    verb: &str,
    words: [Option<&str>; 3],
) -> CliError {
    let [Some(first), second, third] = words else {
        return error;
    };
    let known = config
        .default_remote
        .as_ref()
        .or(config.remotes.keys().next());
    let Some(remote) = known.filter(|_| third.is_none()) else {
        return error;
    };
    if let Some(dot) = dot_named(context, first).await {
        let (remote, name) = (remote.to_string(), dot.to_string());
        let mut command = vec!["dm", verb, &remote, &name];
        command.extend(second);
        return is_dot(&error, &dot, &try_this(&command));
    }
    match branch_of_current(context, first).await {
        Some((dot, branch)) if second.is_none() => CliError::new(
            ErrorCode::NotFound,
            format!(
                "{}: '{branch}' is a branch of the current dot, {dot}",
                error.message()
            ),
        )
        .hint(try_this(&[
            "dm",
            verb,
            &remote.to_string(),
            &dot.to_string(),
            branch.as_str(),
        ])),
        _ => error,
    }
}
