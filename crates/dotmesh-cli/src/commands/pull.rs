//! `dm pull`

use std::num::NonZeroU64;

use dotmesh_api::node_client::Direction;
use dotmesh_model::{BranchName, DotName};

use crate::context::Context;
use crate::error::Result;
use crate::transfer::{self, Plan};

/// Get commits from a hub that this node does not have yet
///
/// Without a branch all branches are brought up to date. Refused where it would change files under running containers or
/// lose uncommitted changes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The remote; the one that 'dm remote switch' selected unless named
    #[arg(value_name = "REMOTE")]
    remote: Option<String>,

    /// The dot here [default: the current dot]
    #[arg(value_name = "DOT")]
    dot: Option<DotName>,

    /// Only this branch
    #[arg(value_name = "BRANCH")]
    branch: Option<BranchName>,

    /// The dot on the remote, [NAMESPACE/]DOT [default: the one it was last pulled from or pushed to]
    #[arg(long, value_name = "DOT")]
    remote_name: Option<String>,

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
    let (remote_name, remote) =
        transfer::choose_remote(&config, args.remote.as_deref(), Direction::Pull)?;
    let named = args.remote_name.as_deref();
    let detail = context
        .on_dot(args.dot.as_ref(), async |node, dot| {
            Ok(node.dot(dot).await?)
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
        full: args.full,
        rate_limit: args.limit_rate,
    };
    transfer::run(context, &context.node()?, &plan).await?;
    Ok(())
}
