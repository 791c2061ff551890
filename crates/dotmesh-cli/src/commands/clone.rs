//! `dm clone`

use std::num::NonZeroU64;

use dotmesh_api::node_client::Direction;
use dotmesh_model::{BranchName, DotName, Namespace};

use crate::config::Config;
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::transfer::{self, Plan};

/// Get a dot from a hub, with its commits and branches
///
/// Without a branch all branches come. A dot that is here already is pulled.
#[derive(Debug, clap::Args)]
#[command(override_usage = "dm clone [OPTIONS] [REMOTE] <DOT> [BRANCH]")]
pub struct Args {
    /// The remote; may be left out, and is the one that 'dm remote switch' selected then
    #[arg(value_name = "REMOTE", required = true)]
    first: String,

    /// The dot there, [NAMESPACE/]DOT; one of your own without a namespace
    #[arg(value_name = "DOT")]
    second: Option<String>,

    /// Only this branch, and what leads to it
    #[arg(value_name = "BRANCH")]
    third: Option<String>,

    /// The dot's name here [default: its name there, without the namespace]
    #[arg(long, value_name = "DOT")]
    local_name: Option<DotName>,

    /// When both sides have commits that the other has not, keep the local ones as a branch of their own
    #[arg(long)]
    stash_on_divergence: bool,

    /// Fetch the data of every commit, not only of the branches' heads
    #[arg(long)]
    full: bool,

    /// Use at most this many bytes a second of the network, e.g. 500K or 2M
    #[arg(long, value_name = "RATE", value_parser = transfer::parse_rate)]
    limit_rate: Option<NonZeroU64>,
}

/// Runs it.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let config = context.config.load()?;
    let words = [Some(args.first), args.second, args.third];
    let words: Vec<String> = words.into_iter().flatten().collect();
    let (remote, dot, branch) = arrange(&config, &words)?;
    let (remote_name, remote) = transfer::choose_remote(&config, remote, Direction::Clone)?;
    let remote_dot = transfer::parse_remote_dot(&remote, dot)?;
    let local = match args.local_name {
        Some(local) => local,
        None => DotName::new(Namespace::default(), remote_dot.name())
            .map_err(|error| CliError::usage(error.to_string()))?,
    };
    let branch: Option<BranchName> = branch
        .map(str::parse)
        .transpose()
        .map_err(|error: dotmesh_model::InvalidName| CliError::usage(error.to_string()))?;
    let plan = Plan {
        direction: Direction::Clone,
        remote_name,
        remote,
        local,
        remote_dot,
        branch,
        stash_on_divergence: args.stash_on_divergence,
        full: args.full,
        rate_limit: args.limit_rate,
    };
    let node = context.node()?;
    transfer::run(context, &node, &plan).await?;
    let dots = node.dots().await?;
    let current = context.node_config()?.current_dot;
    let has_current = current.is_some_and(|current| dots.iter().any(|dot| dot.name == current));
    if !has_current {
        context.select(&plan.local)?;
    }
    Ok(())
}

/// Which word is what: the remote comes first, but may be left out before a dot that cannot be a remote.
pub fn arrange<'a>(
    config: &Config,
    words: &'a [String],
) -> Result<(Option<&'a str>, &'a str, Option<&'a str>)> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let is_remote = |word: &str| {
        word.parse()
            .is_ok_and(|name| config.remotes.contains_key(&name))
    };
    match words.as_slice() {
        [remote] if is_remote(remote) => Err(CliError::usage(format!(
            "Please specify which dot to clone from '{remote}'"
        ))
        .hint(format!("For example: dm clone {remote} mobycounter_app"))),
        [dot] => Ok((None, dot, None)),
        [dot, branch] if dot.contains('/') && !is_remote(dot) => Ok((None, dot, Some(branch))),
        [remote, dot] => Ok((Some(remote), dot, None)),
        [remote, dot, branch, ..] => Ok((Some(remote), dot, Some(branch))),
        [] => Err(CliError::usage("Please specify which dot to clone")),
    }
}
