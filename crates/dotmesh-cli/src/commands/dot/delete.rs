//! `dm dot delete`

use std::collections::BTreeSet;

use dotmesh_api::NodeClient;
use dotmesh_api::node::DotDetail;
use dotmesh_model::DotName;
use dotmesh_model::size::format_size;

use crate::context::Context;
use crate::error::Result;

/// Delete a dot with all its branches and commits
///
/// Refused while containers use it. The current dot is not the default here, to avoid mistakes. What was pushed to a
/// hub stays there.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not ask
    #[arg(short, long)]
    force: bool,

    /// The dot
    #[arg(value_name = "DOT")]
    dot: DotName,
}

/// Runs it.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let node = context.node()?;
    if !args.force {
        let dot = node.dot(&args.dot).await?;
        let commits = count_commits(&node, &dot).await?;
        context.ui.status(&loss(&dot, commits));
        let question = format!(
            "Please confirm that you really want to delete the dot {}, including all branches and commits?",
            args.dot
        );
        context.ui.confirm(&question).await?;
    }
    node.delete_dot(&args.dot).await?;
    context.update_node_config(|config| config.remove_dot(&args.dot))?;
    context.ui.status(&format!("Deleted dot '{}'", args.dot));
    Ok(())
}

async fn count_commits(node: &NodeClient, dot: &DotDetail) -> Result<usize> {
    let mut commits = BTreeSet::new();
    for branch in &dot.branches {
        let log = node
            .log(&dot.summary.name, Some(branch.name.as_str()))
            .await?;
        commits.extend(log.commits.iter().map(|commit| commit.id));
    }
    Ok(commits.len())
}

/// What will be lost.
pub fn loss(dot: &DotDetail, commits: usize) -> String {
    let count = |n: usize, one: &str, many: &str| match n {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    };
    let names: Vec<_> = dot
        .branches
        .iter()
        .map(|branch| branch.name.as_str())
        .collect();
    let branches = count(names.len(), "branch", "branches");
    let commits = count(commits, "commit", "commits");
    let uncommitted = match dot.summary.dirty {
        0 => String::new(),
        dirty => {
            format!(
                ", and {} uncommitted on branch {}",
                format_size(dirty),
                dot.summary.branch
            )
        }
    };
    let name = &dot.summary.name;
    format!(
        "Dot {name} has {branches} ({}), {commits}{uncommitted}",
        names.join(", ")
    )
}
