//! `dm checkout`

use std::str::FromStr;

use dotmesh_api::NodeClient;
use dotmesh_api::node::{BranchStart, Checkout, LogQuery, Switched};
use dotmesh_model::{BranchName, CommitId, DotName, InvalidName};
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::dot_word;
use crate::error::{CliError, Code, Result};
use crate::fetch::{self, Extent};
use crate::output::Human;
use crate::switching::{self, WaitArgs};
use crate::ui::Ui;

/// Switch the current dot to another branch, or to a commit
///
/// A commit gets a throwaway branch, called 'at-' and the first digits of its id. The branch is used again as long as nothing
/// was changed on it.
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

    /// The branch, or - for the previous one, or a commit: HEAD~2, a tag, an id or its first digits. A new branch can have
    /// any name that git allows, such as feature/login
    #[arg(value_name = "BRANCH", allow_hyphen_values = true)]
    target: Target,

    /// Start the new branch here: HEAD~2, a branch, a tag, a commit's id or its first digits
    #[arg(value_name = "COMMIT", requires = "create")]
    commit: Option<String>,

    #[command(flatten)]
    wait: WaitArgs,
}

/// The argument that names what to check out.
#[derive(Debug, Clone)]
enum Target {
    /// The branch that was checked out before this one.
    Previous,
    /// A branch or a commit.
    Named(String),
}

impl FromStr for Target {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(match text {
            "-" => Self::Previous,
            name => Self::Named(name.to_owned()),
        })
    }
}

/// A dot after a checkout.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckedOut {
    /// The dot.
    pub dot: DotName,
    /// What is checked out, and what happened to the containers.
    #[serde(flatten)]
    pub switched: Switched,
    /// Whether the branch is a throwaway branch at a commit.
    pub throwaway: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<CheckedOut> {
    let new = match (&args.target, args.create) {
        (Target::Previous, true) => return Err(CliError::usage("a new branch needs a name")),
        (Target::Named(name), true) => Some(name.parse::<BranchName>()?),
        (_, false) => None,
    };
    let named = match &args.target {
        Target::Named(name) if new.is_none() => Some(name.as_str()),
        _ => None,
    };
    let switched = context
        .on_current_dot(async |node, dot| {
            let before = node.current(dot).await?.branch;
            let (branch, create) = match (&new, named) {
                (Some(branch), _) => (branch.clone(), Some(start(&args))),
                (None, Some(name)) => find(node, dot, name).await?,
                (None, None) => (previous(context, dot)?, None),
            };
            let checkout = Checkout {
                branch,
                create,
                wait: (&args.wait).into(),
            };
            let start = match &checkout.create {
                Some(BranchStart::Commit(commit) | BranchStart::Throwaway(commit)) => {
                    commit.as_str()
                }
                _ => "HEAD",
            };
            let switch =
                async || switching::follow(context, node.checkout(dot, &checkout).await?).await;
            let done = fetch::with_data(context, dot, &[start], Extent::Commit, switch).await?;
            if done.branch != before {
                context.update_node_config(|config| config.previous.insert(dot.clone(), before))?;
            }
            Ok(CheckedOut {
                dot: dot.clone(),
                switched: done,
                throwaway: matches!(checkout.create, Some(BranchStart::Throwaway(_))),
            })
        })
        .await;
    dot_word::unless_dot(context, switched, named, "dm switch DOT").await
}

impl Human for CheckedOut {
    fn show(&self, ui: &Ui) -> Result<()> {
        let (dot, branch) = (&self.dot, &self.switched.branch);
        ui.status(&format!("Switched to branch '{branch}' of dot '{dot}'"));
        if self.throwaway {
            ui.status(&throwaway(&self.switched));
            ui.hint(&keep(branch));
        }
        switching::show(ui, &self.switched);
        Ok(())
    }

    fn failure(&self) -> Option<CliError> {
        switching::failure(&self.switched)
    }
}

/// Where a new branch starts.
fn start(args: &Args) -> BranchStart {
    match &args.commit {
        Some(commit) => BranchStart::Commit(commit.clone()),
        None if args.clean => BranchStart::Commit("HEAD".to_owned()),
        None => BranchStart::WorkingCopy,
    }
}

/// Finds the branch with that name. Otherwise returns a throwaway branch for the commit with that name.
async fn find(
    node: &NodeClient,
    dot: &DotName,
    name: &str,
) -> Result<(BranchName, Option<BranchStart>)> {
    let branch: std::result::Result<BranchName, InvalidName> = name.parse();
    let known = node.log(dot, &LogQuery::one(None)).await?;
    match branch {
        _ if name == "HEAD" => return Ok((known.current, None)),
        Ok(branch) if known.branches.contains_key(&branch) => return Ok((branch, None)),
        _ => {}
    }
    let found = node.log(dot, &LogQuery::one(Some(name))).await;
    match (found.map_err(CliError::from), branch) {
        (Ok(log), _) => {
            let commit = log
                .commits
                .first()
                .map_or(CommitId::ROOT, |commit| commit.id);
            let start = BranchStart::Throwaway(commit.to_string());
            Ok((BranchName::at(commit), Some(start)))
        }
        // Let the checkout fail: the node's error says that there is no such branch.
        (Err(error), Ok(branch)) if error.is_not_found() => Ok((branch, None)),
        (Err(error), _) => Err(error),
    }
}

/// Tells that the branch is a throwaway branch.
pub fn throwaway(switched: &Switched) -> String {
    format!(
        "This is a throwaway branch at commit {}, to look at that state or to start from it",
        switched.head.short()
    )
}

/// The hint: how to leave, keep or delete a throwaway branch.
pub fn keep(branch: &BranchName) -> String {
    format!(
        "'dm checkout -' goes back. 'dm branch -m {branch} NAME' keeps what you do here, 'dm branch -D {branch}' deletes it."
    )
}

/// The branch that was checked out before the current one.
fn previous(context: &Context, dot: &DotName) -> Result<BranchName> {
    let config = context.node_config()?;
    config.previous.get(dot).cloned().ok_or_else(|| {
        CliError::new(
            Code::NoPreviousBranch,
            format!(
                "there is no previous branch: 'dm' has checked out no other branch of {dot} yet"
            ),
        )
        .hint("List the branches with 'dm branch'.")
    })
}
