//! Completions. A shell runs `dm` with the variable `COMPLETE`, and `dm` answers with what fits.

use std::time::Duration;

use clap::{Arg, Command, CommandFactory as _};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use dotmesh_api::NodeClient;
use dotmesh_model::DotName;

use crate::cli::{Cli, Global};
use crate::commands::stash;
use crate::config::CurrentDot;
use crate::context::Context;
use crate::current;
use crate::environment::Environment;
use crate::error::Result;
use crate::ui::Ui;

/// A user at the tab key does not wait longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers a shell, and ends the program then. Returns if no shell asks.
pub fn answer() {
    CompleteEnv::with_factory(command)
        .bin("dm")
        .completer("dm")
        .complete();
}

/// The command line, with candidates for names.
pub fn command() -> Command {
    with_candidates(Cli::command(), "")
}

fn with_candidates(command: Command, path: &str) -> Command {
    let command = command.mut_args(|argument| match kind(path, &argument) {
        Some(kind) => argument.add(ArgValueCandidates::new(move || ask(kind))),
        None => argument,
    });
    command.mut_subcommands(|inner| {
        let path = format!("{path} {}", inner.get_name());
        with_candidates(inner, path.trim_start())
    })
}

/// What an argument names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Dot,
    Branch,
    Tag,
    /// A branch, a tag or `HEAD`.
    Revision,
    Stash,
    Remote,
}

/// Tells from the name of a value what it is. A new thing has no candidates, and neither has a dot of a hub.
pub fn kind(path: &str, argument: &Arg) -> Option<Kind> {
    let value = argument.get_value_names()?.first()?.as_str();
    let id = argument.get_id().as_str();
    match (path, value) {
        ("init" | "clone", "DOT" | "BRANCH") | ("stash branch", "BRANCH") => None,
        _ if id == "remote_name" => None,
        ("remote rm" | "remote set-url" | "remote switch", "NAME") | ("remote rename", "OLD") => {
            Some(Kind::Remote)
        }
        ("checkout", "BRANCH") | (_, "REV" | "COMMIT") => Some(Kind::Revision),
        (_, "DOT" | "DOT[@BRANCH][.SUBDOT]") => Some(Kind::Dot),
        (_, "BRANCH") => Some(Kind::Branch),
        (_, "TAG") => Some(Kind::Tag),
        (_, "STASH") => Some(Kind::Stash),
        (_, "REMOTE") => Some(Kind::Remote),
        _ => None,
    }
}

/// Nothing that goes wrong here may disturb what the user types.
fn ask(kind: Kind) -> Vec<CompletionCandidate> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let found = runtime.ok().and_then(|runtime| {
        runtime
            .block_on(async { tokio::time::timeout(PATIENCE, find(kind)).await })
            .ok()
    });
    found.and_then(Result::ok).unwrap_or_default()
}

async fn find(kind: Kind) -> Result<Vec<CompletionCandidate>> {
    let context = Context::new(Ui::default(), Environment::read(), Global::default())?;
    if kind == Kind::Remote {
        let remotes = context.config.load()?.remotes;
        let remotes = remotes.iter();
        return Ok(remotes
            .map(|(name, remote)| helped(&name.to_string(), &remote.login()))
            .collect());
    }
    let node = context.node()?;
    if kind == Kind::Dot {
        let dots = node.dots().await?.into_iter();
        return Ok(dots.map(|dot| plain(dot.name)).collect());
    }
    let Some(dot) = current_dot(&context, &node).await? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    if matches!(kind, Kind::Branch | Kind::Revision) {
        let branches = node.dot(&dot).await?.branches.into_iter();
        found.extend(branches.map(|branch| plain(branch.name)));
    }
    if matches!(kind, Kind::Tag | Kind::Revision) {
        let tags = node.tags(&dot).await?.into_iter();
        found.extend(tags.map(|tag| helped(&tag.name.to_string(), "tag")));
    }
    match kind {
        Kind::Revision => found.push(helped("HEAD", "the newest commit")),
        Kind::Stash => {
            let stashes = node.stashes(&dot).await?;
            let stashes = stashes.iter().enumerate();
            found.extend(stashes.map(|(place, stash)| {
                helped(&format!("stash@{{{place}}}"), &stash::describe(stash))
            }));
        }
        _ => {}
    }
    Ok(found)
}

/// As for commands, but nothing is selected and nobody is told.
async fn current_dot(context: &Context, node: &NodeClient) -> Result<Option<DotName>> {
    Ok(match current::choose(context, node).await?.dot {
        CurrentDot::Selected(dot) => Some(dot),
        CurrentDot::Deleted => None,
        CurrentDot::Unset => match node.dots().await?.as_slice() {
            [dot] => Some(dot.name.clone()),
            _ => None,
        },
    })
}

fn plain(name: impl std::fmt::Display) -> CompletionCandidate {
    CompletionCandidate::new(name.to_string())
}

fn helped(name: &str, help: &str) -> CompletionCandidate {
    CompletionCandidate::new(name).help(Some(help.to_owned().into()))
}
