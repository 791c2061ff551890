//! `dm checkout`

use dotmesh_api::node::{BranchStart, Checkout};
use dotmesh_model::BranchName;

use crate::context::Context;
use crate::error::Result;
use crate::fetch::{self, Extent};
use crate::switching::{self, WaitArgs};

/// Switch the current dot to another branch
///
/// The containers that use the dot are stopped, and started again on that branch, in the order of their dependencies.
/// If one cannot be started, all go back to the branch before.
///
/// Uncommitted changes stay on their branch. A new branch takes a copy of them along, unless --clean or a commit is given.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Make a new branch, and switch to it
    #[arg(short = 'b', long = "branch")]
    create: bool,

    /// Start the new branch from the last commit, without uncommitted changes
    #[arg(long, requires = "create", conflicts_with = "commit")]
    clean: bool,

    /// The branch; a new one may have any name that git takes, such as feature/login
    #[arg(value_name = "BRANCH")]
    branch: BranchName,

    /// Start the new branch here: HEAD~2, a branch, a commit's id or its first digits
    #[arg(value_name = "COMMIT", requires = "create")]
    commit: Option<String>,

    #[command(flatten)]
    wait: WaitArgs,
}

/// Runs it.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let start = match args.commit {
        Some(commit) => BranchStart::Commit(commit),
        None if args.clean => BranchStart::Commit("HEAD".to_owned()),
        None => BranchStart::WorkingCopy,
    };
    let checkout = Checkout {
        branch: args.branch,
        create: args.create.then_some(start),
        wait: (&args.wait).into(),
    };
    let start = match &checkout.create {
        Some(BranchStart::Commit(commit)) => commit.as_str(),
        _ => "HEAD",
    };
    let switched = context
        .on_current_dot(async |node, dot| {
            let switch =
                async || switching::follow(context, node.checkout(dot, &checkout).await?).await;
            fetch::with_data(context, dot, &[start], Extent::Commit, switch).await
        })
        .await?;
    context
        .ui
        .status(&format!("Switched to branch '{}'", switched.branch));
    switching::tell(context, &switched)
}
