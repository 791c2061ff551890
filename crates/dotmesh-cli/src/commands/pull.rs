//! `dm pull`

use std::num::NonZeroU64;

use dotmesh_api::node_client::Direction;
use dotmesh_model::BranchName;

use crate::context::Context;
use crate::dot_word::{self, DotWord};
use crate::error::Result;
use crate::transfer::{self, Plan, Transferred};

/// Get commits from a hub that this node does not have yet
///
/// Without a branch, all branches are updated. The command is refused if it would change files under running containers, or
/// lose uncommitted changes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The remote's name, or its hub's address [default: the one that 'dm remote switch' selected]
    #[arg(value_name = "REMOTE")]
    remote: Option<String>,

    /// The dot here [default: the current dot]
    #[arg(value_name = "DOT")]
    dot: Option<DotWord>,

    /// Only this branch
    #[arg(value_name = "BRANCH")]
    branch: Option<BranchName>,

    /// The dot on the remote, [NAMESPACE/]DOT [default: the one it was last pulled from or pushed to]
    #[arg(long, value_name = "DOT")]
    remote_name: Option<String>,

    /// If both sides have new commits, keep the local ones as a separate branch
    #[arg(long)]
    stash_on_divergence: bool,

    /// Fetch the data of every commit, not only of the branches' heads
    #[arg(long)]
    full: bool,

    /// Use at most this many bytes a second of the network, such as 500KB or 2MB
    #[arg(long, value_name = "RATE", value_parser = transfer::parse_rate)]
    limit_rate: Option<NonZeroU64>,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Transferred> {
    let config = context.config.load()?;
    let chosen = transfer::choose_remote(&config, args.remote.as_deref(), Direction::Pull);
    let (remote_name, remote) = match chosen {
        Ok(chosen) => chosen,
        Err(error) => {
            let words = [
                args.remote.as_deref(),
                args.dot.as_ref().map(DotWord::as_str),
                args.branch.as_ref().map(BranchName::as_str),
            ];
            return Err(dot_word::explain_remote(context, &config, error, "pull", words).await);
        }
    };
    let named = args.remote_name.as_deref();
    let detail = dot_word::detail(context, args.dot.as_ref(), |dot, branch| {
        let (remote, dot) = (remote_name.to_string(), dot.to_string());
        dot_word::try_this(&["dm", "pull", &remote, &dot, branch.as_str()])
    })
    .await?;
    let local = detail.summary.name;
    let remote_dot = transfer::choose_remote_dot(context, &remote_name, &remote, &local, named)?;
    let plan = Plan {
        direction: Direction::Pull,
        remote_name,
        remote,
        local,
        remote_dot,
        branch: args.branch,
        commit: None,
        stash_on_divergence: args.stash_on_divergence,
        force_with_lease: None,
        full: args.full,
        without_data: false,
        allow_secrets: false,
        rows: None,
        rate_limit: args.limit_rate,
    };
    transfer::run(context, &context.node()?, &plan).await
}
