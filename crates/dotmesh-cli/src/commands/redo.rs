//! `dm redo`

use dotmesh_api::NodeClient;
use dotmesh_api::node::Undo;
use dotmesh_model::DotName;

use super::dot::delete;
use super::undo::{Undone, follow_rename, remember_branch};
use crate::context::Context;
use crate::error::Result;
use crate::output::{Answer, answer};
use crate::switching::{self, WaitArgs};

/// Redo the operation that 'dm undo' took back last
///
/// This brings back the state before the undo, with everything that was written until then. A commit gets its old id.
///
/// Run it again to redo the next operation. After a new operation of the dot, operations that were undone earlier cannot be
/// redone.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Answer> {
    let redo = async |node: &NodeClient, dot: &DotName| {
        let before = node.dot(dot).await?;
        let redo = Undo {
            deleted: None,
            wait: (&args.wait).into(),
        };
        let done = switching::follow(context, node.redo(dot, &redo).await?).await?;
        let is_here = done.renamed.is_some() || node.current(dot).await.is_ok();
        Ok((dot.clone(), before, done, is_here))
    };
    let (dot, before, switched, is_here) = context.on_current_dot(redo).await?;
    if !is_here {
        return delete::forget(context, dot, before.id, true).map(answer);
    }
    let dot = follow_rename(context, dot, &switched)?;
    remember_branch(context, &dot, before.summary.branch, &switched)?;
    Ok(answer(Undone {
        dot,
        switched,
        did: "Redid",
    }))
}
