//! `dm stash branch`

use dotmesh_api::node::{BranchStart, Checkout, DropStash};
use dotmesh_model::BranchName;

use crate::commands::stash::{Place, describe};
use crate::context::Context;
use crate::error::Result;
use crate::switching::{self, WaitArgs};

/// Make a branch from a stash, switch to it, and drop the stash
///
/// The branch starts at the commit that the stash was made at, and has the stashed changes as uncommitted ones.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The new branch
    #[arg(value_name = "BRANCH")]
    branch: BranchName,

    /// The stash, as 'dm stash list' names it
    #[arg(value_name = "STASH", default_value = "stash@{0}")]
    stash: Place,

    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let (dot, done, stash) = context
        .on_current_dot(async |node, dot| {
            let stash = args.stash.find(node, dot).await?;
            let before = node.current(dot).await?.branch;
            let checkout = Checkout {
                branch: args.branch.clone(),
                create: Some(BranchStart::Stash(stash.id)),
                wait: (&args.wait).into(),
            };
            let done = switching::follow(context, node.checkout(dot, &checkout).await?).await?;
            node.drop_stash(dot, &DropStash { id: stash.id }).await?;
            context.update_node_config(|config| config.previous.insert(dot.clone(), before))?;
            Ok((dot.clone(), done, stash))
        })
        .await?;
    let (branch, stash) = (&done.branch, describe(&stash));
    context.ui.status(&format!(
        "Switched to branch '{branch}' of dot '{dot}', which has these changes: {stash}"
    ));
    switching::tell(context, &done)
}
