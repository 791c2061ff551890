//! `dm checkout`

use std::str::FromStr;

use dotmesh_api::node::{BranchStart, Checkout};
use dotmesh_model::{BranchName, DotName, InvalidName};

use crate::context::Context;
use crate::dot_word;
use crate::error::{CliError, Result};
use crate::fetch::{self, Extent};
use crate::switching::{self, WaitArgs};

/// Switch the current dot to another branch
///
/// The containers that use the dot are stopped, and started again on that branch, in the order of their dependencies.
/// If one cannot be started, all go back to the previous branch.
///
/// Uncommitted changes stay on their branch. A new branch takes a copy of them along, unless --clean or a commit is given.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Create a branch, and switch to it
    #[arg(short = 'b', long = "branch")]
    create: bool,

    /// Start the new branch from the last commit, without uncommitted changes
    #[arg(long, requires = "create", conflicts_with = "commit")]
    clean: bool,

    /// The branch, or - for the previous one. A new branch can have any name that git allows, such as feature/login
    #[arg(value_name = "BRANCH", allow_hyphen_values = true)]
    branch: Target,

    /// Start the new branch here: HEAD~2, a branch, a commit's id or its first digits
    #[arg(value_name = "COMMIT", requires = "create")]
    commit: Option<String>,

    #[command(flatten)]
    wait: WaitArgs,
}

/// Which branch to switch to.
#[derive(Debug, Clone)]
enum Target {
    /// The one that was checked out before this one.
    Previous,
    Named(BranchName),
}

impl FromStr for Target {
    type Err = InvalidName;
    fn from_str(text: &str) -> std::result::Result<Self, InvalidName> {
        match text {
            "-" => Ok(Self::Previous),
            name => name.parse().map(Self::Named),
        }
    }
}

/// Runs it.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let start = match args.commit {
        Some(commit) => BranchStart::Commit(commit),
        None if args.clean => BranchStart::Commit("HEAD".to_owned()),
        None => BranchStart::WorkingCopy,
    };
    let named = match &args.branch {
        Target::Named(branch) if !args.create => Some(branch.as_str()),
        Target::Previous if args.create => {
            return Err(CliError::usage("a new branch needs a name"));
        }
        _ => None,
    };
    let create = args.create.then_some(start);
    let switched = context
        .on_current_dot(async |node, dot| {
            let before = node.current(dot).await?.branch;
            let branch = match &args.branch {
                Target::Named(branch) => branch.clone(),
                Target::Previous => previous(context, dot)?,
            };
            let checkout = Checkout {
                branch,
                create: create.clone(),
                wait: (&args.wait).into(),
            };
            let start = match &checkout.create {
                Some(BranchStart::Commit(commit)) => commit.as_str(),
                _ => "HEAD",
            };
            let switch =
                async || switching::follow(context, node.checkout(dot, &checkout).await?).await;
            let done = fetch::with_data(context, dot, &[start], Extent::Commit, switch).await?;
            if done.branch != before {
                context.update_node_config(|config| config.previous.insert(dot.clone(), before))?;
            }
            Ok((dot.clone(), done))
        })
        .await;
    let (dot, switched) = dot_word::unless_dot(context, switched, named, "dm switch DOT").await?;
    context.ui.status(&format!(
        "Switched to branch '{}' of dot '{dot}'",
        switched.branch
    ));
    switching::tell(context, &switched)
}

/// The branch that was checked out before.
fn previous(context: &Context, dot: &DotName) -> Result<BranchName> {
    let config = context.node_config()?;
    config.previous.get(dot).cloned().ok_or_else(|| {
        CliError::failed(format!(
            "no other branch of {dot} was checked out with 'dm' so far"
        ))
        .hint("List the branches with 'dm branch'.")
    })
}
