//! `dm push`

use std::num::NonZeroU64;

use dotmesh_api::node::TransferOutcome;
use dotmesh_api::node_client::Direction;
use dotmesh_api::{HubAddress, page};
use dotmesh_model::{BranchName, DotName};

use crate::context::Context;
use crate::error::Result;
use crate::fetch::{self, Extent};
use crate::transfer::{self, Plan};

/// Send commits that the hub does not have yet
///
/// Only what the hub lacks is sent, and the hub shows all of it or nothing. The app runs on meanwhile. The permalink of
/// what was pushed goes to standard output, a line for each branch.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The remote; the one that 'dm remote switch' selected unless named
    #[arg(value_name = "REMOTE")]
    remote: Option<String>,

    /// The dot here [default: the current dot]
    #[arg(value_name = "DOT")]
    dot: Option<DotName>,

    /// The branch [default: the one that is checked out]
    #[arg(value_name = "BRANCH", conflicts_with = "all")]
    branch: Option<BranchName>,

    /// Push all branches
    #[arg(long)]
    all: bool,

    /// The dot on the remote, [NAMESPACE/]DOT [default: the one it was last pulled from or pushed to, else one of
    /// your own with the same name]
    #[arg(long, value_name = "DOT")]
    remote_name: Option<String>,

    /// When both sides have commits that the other has not, keep the hub's as a branch of their own
    #[arg(long)]
    stash_on_divergence: bool,

    /// Use at most this many bytes a second of the network, e.g. 500K or 2M
    #[arg(long, value_name = "RATE", value_parser = transfer::parse_rate)]
    limit_rate: Option<NonZeroU64>,
}

/// Runs it.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let config = context.config.load()?;
    let (remote_name, remote) =
        transfer::choose_remote(&config, args.remote.as_deref(), Direction::Push)?;
    let named = args.remote_name.as_deref();
    let detail = context
        .on_dot(args.dot.as_ref(), async |node, dot| {
            Ok(node.dot(dot).await?)
        })
        .await?;
    let branch = match args.branch {
        _ if args.all => None,
        Some(branch) => Some(branch),
        None => Some(detail.summary.branch),
    };
    let local = detail.summary.name;
    let remote_dot = transfer::choose_remote_dot(context, &remote_name, &remote, &local, named)?;
    let plan = Plan {
        direction: Direction::Push,
        remote_name,
        remote,
        local,
        remote_dot,
        branch,
        commit: None,
        stash_on_divergence: args.stash_on_divergence,
        full: false,
        rate_limit: args.limit_rate,
    };
    let node = context.node()?;
    let branches: Vec<&str> = match &plan.branch {
        Some(branch) => vec![branch.as_str()],
        None => detail.branches.iter().map(|b| b.name.as_str()).collect(),
    };
    // Commits that came without their data may have to go to another hub.
    let push = async || transfer::run(context, &node, &plan).await;
    let outcome = fetch::with_data(context, &plan.local, &branches, Extent::History, push).await?;
    let hub = plan.remote.hub()?;
    context
        .ui
        .out(&permalinks(&hub, &plan.remote_dot, &outcome))
}

/// The addresses of what was pushed, a line each, to pass on.
pub fn permalinks(hub: &HubAddress, dot: &DotName, outcome: &TransferOutcome) -> String {
    let mut text = String::new();
    let pushed = outcome
        .branches
        .iter()
        .filter(|branch| !branch.receiver_ahead);
    for branch in pushed {
        text.push_str(&page::permalink(hub, dot, branch.head));
        text.push('\n');
    }
    text
}
