//! `dm undo`

use dotmesh_api::NodeClient;
use dotmesh_api::node::{Switched, Undo};
use dotmesh_model::{BranchName, DotName};
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::error::{CliError, Result};
use crate::output::Human;
use crate::switching::{self, WaitArgs};
use crate::ui::Ui;

/// Take back the last operation of the current dot
///
/// This takes back a commit, checkout, reset, restore, stash or pull, and the deletion or the rename of a branch, a tag or the
/// dot. Run it again to go one operation further back. 'dm op log' lists the operations.
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

/// A dot after an undo or a redo.
#[derive(Debug, Serialize, ToSchema)]
pub struct Undone {
    /// The dot.
    pub dot: DotName,
    /// What is checked out, which operation was undone or redone, and what happened to the containers.
    #[serde(flatten)]
    pub switched: Switched,
    /// How people read it: `Undid` or `Redid`.
    #[serde(skip)]
    pub did: &'static str,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Undone> {
    let undo = async |node: &NodeClient, dot: &DotName| {
        let before = node.current(dot).await.ok().map(|current| current.branch);
        let undo = Undo {
            deleted: args.deleted.clone(),
            wait: (&args.wait).into(),
        };
        let done = switching::follow(context, node.undo(dot, &undo).await?).await?;
        Ok((dot.clone(), before, done))
    };
    let (dot, before, switched) = context.on_current_dot(undo).await?;
    let dot = follow_rename(context, dot, &switched)?;
    match before {
        Some(before) => remember_branch(context, &dot, before, &switched)?,
        // The undo brought a deleted dot back.
        None => {
            let id = context.node()?.dot(&dot).await?.id;
            context.update_node_config(|config| config.bring_dot_back(&dot, &id))?;
        }
    }
    Ok(Undone {
        dot,
        switched,
        did: "Undid",
    })
}

impl Human for Undone {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.status(&describe(self.did, &self.dot, &self.switched));
        switching::show(ui, &self.switched);
        Ok(())
    }

    fn failure(&self) -> Option<CliError> {
        switching::failure(&self.switched)
    }
}

/// If the dot was renamed, uses its new name from now on. Returns the name that it has now.
pub(super) fn follow_rename(context: &Context, dot: DotName, done: &Switched) -> Result<DotName> {
    let Some(now) = &done.renamed else {
        return Ok(dot);
    };
    context.update_node_config(|config| config.rename_dot(&dot, now))?;
    Ok(now.clone())
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
