//! `dm stash drop`

use dotmesh_api::node::DropStash;

use crate::commands::stash::{Place, describe};
use crate::context::Context;
use crate::error::Result;

/// Delete a stash
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The stash, as 'dm stash list' names it
    #[arg(value_name = "STASH", default_value = "stash@{0}")]
    stash: Place,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let dropped = context
        .on_current_dot(async |node, dot| {
            let id = args.stash.find(node, dot).await?.id;
            Ok(node.drop_stash(dot, &DropStash { id }).await?)
        })
        .await?;
    let dropped = describe(&dropped);
    context.ui.status(&format!("Dropped the stash: {dropped}"));
    Ok(())
}
