//! `dm stash pop` and `dm stash apply`

use dotmesh_api::node::ApplyStash;

use crate::commands::stash::{Place, describe};
use crate::context::Context;
use crate::error::Result;
use crate::switching::{self, WaitArgs};

/// Bring the changes of a stash back, and drop the stash
///
/// The branch must be at the commit that the stash was made at, and have no uncommitted changes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The stash, as 'dm stash list' names it
    #[arg(value_name = "STASH", default_value = "stash@{0}")]
    stash: Place,

    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(context: &Context, args: Args, pop: bool) -> Result<()> {
    let (done, stash) = context
        .on_current_dot(async |node, dot| {
            let stash = args.stash.find(node, dot).await?;
            let apply = ApplyStash {
                id: stash.id,
                pop,
                // The node refuses if another terminal checked out another branch meanwhile.
                expected: Some(node.current(dot).await?),
                wait: (&args.wait).into(),
            };
            let done = switching::follow(context, node.apply_stash(dot, &apply).await?).await?;
            Ok((done, stash))
        })
        .await?;
    let stays = if pop { "" } else { ". The stash stays" };
    let (branch, stash) = (&done.branch, describe(&stash));
    context.ui.status(&format!(
        "Branch '{branch}' has these changes again: {stash}{stays}"
    ));
    switching::tell(context, &done)
}
