//! `dm undo`

use dotmesh_api::NodeClient;
use dotmesh_api::node::{Switched, Undo};
use dotmesh_model::{BranchName, DotName};

use crate::context::Context;
use crate::error::Result;
use crate::switching::{self, WaitArgs};

/// Take back the last operation of the current dot
///
/// This takes back a commit, checkout, reset, pull, the deletion of a branch, or the deletion of the dot. Run it again to go
/// one operation further back. 'dm op log' lists the operations.
///
/// The containers that see the change are stopped, and started again. What was written since the operation is kept: 'dm redo'
/// brings it back.
///
/// The commit of an undone 'dm commit' leaves its branch. The files stay as they are, uncommitted again. What was pushed stays
/// on the hub.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Bring back this deleted dot, by the id that 'dm op log' shows [default: the last deleted dot with this name]
    #[arg(long, value_name = "ID")]
    deleted: Option<String>,

    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let undo = async |node: &NodeClient, dot: &DotName| {
        let before = node.current(dot).await.ok().map(|current| current.branch);
        let undo = Undo {
            deleted: args.deleted.clone(),
            wait: (&args.wait).into(),
        };
        let done = switching::follow(context, node.undo(dot, &undo).await?).await?;
        Ok((dot.clone(), before, done))
    };
    let (dot, before, done) = context.on_current_dot(undo).await?;
    match before {
        Some(before) => remember_branch(context, &dot, before, &done)?,
        // The dot was deleted, and the undo brought it back.
        None => {
            let id = context.node()?.dot(&dot).await?.id;
            context.update_node_config(|config| config.bring_dot_back(&dot, &id))?;
        }
    }
    context.ui.status(&describe("Undid", &dot, &done));
    switching::tell(context, &done)
}

/// If the branch changed, remembers the previous one for `dm checkout -`.
pub(super) fn remember_branch(
    context: &Context,
    dot: &DotName,
    before: BranchName,
    done: &Switched,
) -> Result<()> {
    if done.branch != before {
        context.update_node_config(|config| config.previous.insert(dot.clone(), before))?;
    }
    Ok(())
}

/// Tells which operation was undone or redone, and which branch and commit are checked out now.
pub fn describe(did: &str, dot: &DotName, done: &Switched) -> String {
    let what = done.operation.as_deref().unwrap_or("the last operation");
    let (branch, head) = (&done.branch, done.head.short());
    format!("{did} in dot '{dot}': {what}\nBranch {branch} is checked out, at {head}")
}
