//! `dm branch`

use dotmesh_api::NodeClient;
use dotmesh_api::node::{DeleteBranch, DotDetail, LogQuery, RenameBranch};
use dotmesh_model::{BranchName, CommitId, DotName, message};

use crate::context::Context;
use crate::error::Result;

/// List the branches of the current dot, rename one, or delete one
///
/// A star marks the branch that is checked out. 'dm checkout -b' creates branches.
///
/// A branch is deleted only if it is not checked out and no container uses it. Its commits can still be named by their ids.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show the newest commit of each branch
    #[arg(short = 'v', conflicts_with_all = ["delete", "force_delete", "rename"])]
    with_commits: bool,

    /// Delete a branch whose commits other branches have, and that has no uncommitted changes
    #[arg(
        short = 'd',
        long,
        value_name = "BRANCH",
        conflicts_with = "force_delete"
    )]
    delete: Option<BranchName>,

    /// Delete a branch even if that loses commits or uncommitted changes
    #[arg(short = 'D', value_name = "BRANCH")]
    force_delete: Option<BranchName>,

    /// Give a branch another name. With one name, the branch that is checked out gets it
    #[arg(
        short = 'm',
        long = "move",
        value_names = ["BRANCH", "NAME"],
        num_args = 1..=2,
        conflicts_with_all = ["delete", "force_delete"]
    )]
    rename: Vec<BranchName>,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    if let Some(to) = args.rename.last() {
        let from = (args.rename.len() == 2).then(|| &args.rename[0]);
        return rename(context, from, to).await;
    }
    let delete = match (args.delete, args.force_delete) {
        (Some(branch), _) => Some(DeleteBranch {
            branch,
            force: false,
        }),
        (_, Some(branch)) => Some(DeleteBranch {
            branch,
            force: true,
        }),
        _ => None,
    };
    if let Some(delete) = delete {
        let (dot, head) = context
            .on_current_dot(async |node, dot| {
                let removed = node.delete_branch(dot, &delete).await?;
                Ok((dot.clone(), removed.head))
            })
            .await?;
        context.ui.status(&deleted(&dot, &delete.branch, head));
        return Ok(());
    }
    let dot = context
        .on_current_dot(async |node, dot| Ok(node.dot(dot).await?))
        .await?;
    if !args.with_commits {
        return context.ui.out(&render(&dot));
    }
    let titles = titles(&context.node()?, &dot).await?;
    context.ui.out(&render_with_commits(&dot, &titles))
}

async fn rename(context: &Context, from: Option<&BranchName>, to: &BranchName) -> Result<()> {
    let (dot, from) = context
        .on_current_dot(async |node, dot| {
            let from = match from {
                Some(from) => from.clone(),
                None => node.current(dot).await?.branch,
            };
            let rename = RenameBranch {
                from,
                to: to.clone(),
            };
            node.rename_branch(dot, &rename).await?;
            Ok((dot.clone(), rename.from))
        })
        .await?;
    context.update_node_config(|config| {
        if config.previous.get(&dot) == Some(&from) {
            config.previous.insert(dot.clone(), to.clone());
        }
    })?;
    context.ui.status(&format!(
        "Branch '{from}' of dot '{dot}' is called '{to}' now"
    ));
    Ok(())
}

/// Tells that a branch was deleted, and how to recreate it.
pub fn deleted(dot: &DotName, branch: &BranchName, head: CommitId) -> String {
    let done = format!("Deleted branch {branch} of dot {dot}");
    if head == CommitId::ROOT {
        return done;
    }
    let head = head.short();
    format!("{done} (was {head}; 'dm checkout -b {branch} {head}' makes it again)")
}

/// The title of each branch's newest commit, in the order of the branches.
async fn titles(node: &NodeClient, dot: &DotDetail) -> Result<Vec<String>> {
    let mut titles = Vec::new();
    for branch in &dot.branches {
        let log = node
            .log(
                &dot.summary.name,
                &LogQuery::one(Some(branch.name.as_str())),
            )
            .await?;
        let newest = log.commits.first();
        let title = newest.map(|commit| message::title(&commit.message).into_owned());
        titles.push(title.unwrap_or_else(|| "no commits yet".to_owned()));
    }
    Ok(titles)
}

/// A line for each branch.
pub fn render(dot: &DotDetail) -> String {
    let lines = dot.branches.iter();
    let lines = lines.map(|branch| format!("{} {}\n", mark(dot, &branch.name), branch.name));
    lines.collect()
}

/// One line for each branch, with its newest commit.
pub fn render_with_commits(dot: &DotDetail, titles: &[String]) -> String {
    let rows = dot.branches.iter().zip(titles).map(|(branch, title)| {
        vec![
            format!("{} {}", mark(dot, &branch.name), branch.name),
            branch.head.short().to_string(),
            title.clone(),
        ]
    });
    crate::table::aligned(&rows.collect::<Vec<_>>())
}

fn mark(dot: &DotDetail, branch: &BranchName) -> char {
    if *branch == dot.summary.branch {
        '*'
    } else {
        ' '
    }
}
