//! `dm stash`

pub mod branch;
pub mod drop;
pub mod list;
pub mod pop;
pub mod push;
pub mod show;

use std::str::FromStr;

use clap::Subcommand;
use dotmesh_api::NodeClient;
use dotmesh_api::node::Stash;
use dotmesh_model::DotName;

use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::output::{Answer, answer};

/// Put the uncommitted changes aside, and bring them back later
///
/// Without a command, 'dm stash' is 'dm stash push'. A stash holds all subdots of the dot. The containers that use the dot are
/// restarted, as by 'dm reset'.
///
/// Database files cannot be merged. So a stash can be brought back only if the branch is at the commit that the stash was
/// made at. Otherwise, 'dm stash branch' makes a branch from it.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[group(skip)]
pub struct Args {
    #[command(flatten)]
    push: push::Args,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Push(push::Args),
    List(list::Args),
    Show(show::Args),
    Pop(pop::Args),
    /// Bring the changes of a stash back, and keep the stash
    Apply(pop::Args),
    Drop(drop::Args),
    Branch(branch::Args),
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Answer> {
    match args.command {
        None => push::run(context, args.push).await.map(answer),
        Some(Command::Push(args)) => push::run(context, args).await.map(answer),
        Some(Command::List(args)) => list::run(context, args).await.map(answer),
        Some(Command::Show(args)) => show::run(context, args).await.map(answer),
        Some(Command::Pop(args)) => pop::run(context, args, true).await.map(answer),
        Some(Command::Apply(args)) => pop::run(context, args, false).await.map(answer),
        Some(Command::Drop(args)) => drop::run(context, args).await.map(answer),
        Some(Command::Branch(args)) => branch::run(context, args).await.map(answer),
    }
}

/// A stash, named by its position in the list, as in git: `stash@{0}` is the newest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place(usize);

impl FromStr for Place {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let braces = text
            .strip_prefix("stash@{")
            .and_then(|rest| rest.strip_suffix('}'));
        let number = braces.unwrap_or(text).parse();
        number
            .map(Self)
            .map_err(|_| "a stash is named by its number, as in 'stash@{0}' or '0'".to_owned())
    }
}

impl Place {
    /// Finds the stash at this position.
    async fn find(self, node: &NodeClient, dot: &DotName) -> Result<Stash> {
        let mut stashes = node.stashes(dot).await?;
        if self.0 < stashes.len() {
            return Ok(stashes.swap_remove(self.0));
        }
        Err(match stashes.len() {
            0 => CliError::new(Code::NoStash, "there are no stashes")
                .hint("'dm stash' puts the uncommitted changes aside."),
            _ => CliError::new(Code::NoStash, format!("there is no stash@{{{}}}", self.0))
                .hint("List the stashes with 'dm stash list'."),
        })
    }
}

/// `On master: message`. Without a message, the commit that the stash was made at.
pub fn describe(stash: &Stash) -> String {
    let branch = &stash.branch;
    let message = dotmesh_model::message::title(&stash.message);
    if !message.is_empty() {
        return format!("On {branch}: {message}");
    }
    let (head, title) = (stash.head.short(), &stash.title);
    format!("WIP on {branch}: {head} {title}")
        .trim_end()
        .to_owned()
}
