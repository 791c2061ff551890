//! `dm fetch`

use std::num::NonZeroU64;

use dotmesh_api::node_client::Direction;
use dotmesh_model::BranchName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::error::Result;
use crate::output::Human;
use crate::transfer::{self, Plan, Transferred};
use crate::ui::Ui;

/// Get commits from a hub without changing any branch here
///
/// The newest commits of the hub's branches come with their data, and older ones without. They can be named by their ids, for
/// example in 'dm diff' and 'dm checkout'. Afterwards 'dm status' shows how far the branch and the hub's are apart, and 'dm push
/// --force-with-lease' compares the hub's branch with what was fetched.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The remote's name, or its hub's address [default: the one that 'dm remote switch' selected]
    #[arg(value_name = "REMOTE")]
    remote: Option<String>,

    /// Only these branches of the hub
    #[arg(value_name = "BRANCH")]
    branches: Vec<BranchName>,

    /// The dot on the remote, [NAMESPACE/]DOT [default: the one it was last pulled from or pushed to]
    #[arg(long, value_name = "DOT")]
    remote_name: Option<String>,

    /// Fetch the data of every commit, not only of the branches' heads
    #[arg(long)]
    full: bool,

    /// Use at most this many bytes a second of the network, such as 500KB or 2MB
    #[arg(long, value_name = "RATE", value_parser = transfer::parse_rate)]
    limit_rate: Option<NonZeroU64>,
}

/// The fetched dots: one for each branch that was named, or one for all branches.
#[derive(Debug, Serialize, ToSchema)]
pub struct Fetched {
    /// What came.
    pub fetched: Vec<Transferred>,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Fetched> {
    let config = context.config.load()?;
    let (remote_name, remote) =
        transfer::choose_remote(&config, args.remote.as_deref(), Direction::Fetch)?;
    let local = context
        .on_current_dot(async |node, dot| Ok(node.dot(dot).await?.summary.name))
        .await?;
    let named = args.remote_name.as_deref();
    let remote_dot = transfer::choose_remote_dot(context, &remote_name, &remote, &local, named)?;
    let plan = Plan {
        direction: Direction::Fetch,
        remote_name,
        remote,
        local,
        remote_dot,
        branch: None,
        commit: None,
        stash_on_divergence: false,
        force_with_lease: None,
        full: args.full,
        without_data: false,
        allow_secrets: false,
        rows: None,
        rate_limit: args.limit_rate,
    };
    let node = context.node()?;
    let mut fetched = Vec::new();
    if args.branches.is_empty() {
        fetched.push(transfer::run(context, &node, &plan).await?);
    }
    for branch in args.branches {
        let branch = Some(branch);
        let plan = Plan {
            branch,
            ..plan.clone()
        };
        fetched.push(transfer::run(context, &node, &plan).await?);
    }
    Ok(Fetched { fetched })
}

impl Human for Fetched {
    fn show(&self, ui: &Ui) -> Result<()> {
        self.fetched.iter().try_for_each(|one| one.show(ui))
    }
}
