//! `dm stash push`

use dotmesh_api::node::MakeStash;

use crate::commands::stash::{Place, describe};
use crate::context::Context;
use crate::error::Result;
use crate::message;
use crate::switching::{self, WaitArgs};

/// Put the uncommitted changes aside, and return the branch to its newest commit
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A message for the stash; each further one is a paragraph
    #[arg(short, long, value_name = "MESSAGE")]
    message: Vec<String>,

    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let done = context
        .on_current_dot(async |node, dot| {
            if node.dot(dot).await?.summary.dirty == 0 {
                return Ok(None);
            }
            let stash = MakeStash {
                message: message::join(&args.message),
                // The node refuses if another terminal checked out another branch meanwhile.
                expected: Some(node.current(dot).await?),
                wait: (&args.wait).into(),
            };
            let done = switching::follow(context, node.make_stash(dot, &stash).await?).await?;
            Ok(Some((done, Place::default().find(node, dot).await?)))
        })
        .await?;
    let Some((done, stash)) = done else {
        context.ui.status("No local changes to save");
        return Ok(());
    };
    context.ui.status(&format!(
        "Saved the uncommitted changes: {}",
        describe(&stash)
    ));
    context.ui.status("'dm stash pop' brings them back");
    switching::tell(context, &done)
}
