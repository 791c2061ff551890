//! `dm restore`

use dotmesh_api::node::RestorePaths;

use crate::context::Context;
use crate::error::Result;
use crate::fetch::{self, Extent};
use crate::switching::{self, WaitArgs};

/// Restore files or whole subdots from a commit
///
/// Only the containers that use one of these subdots are stopped, and started again afterwards. The rest of the app keeps
/// running. Uncommitted changes in the restored paths are lost. The branch stays at its commit.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The commit: HEAD~2, a branch, a tag, a commit's id or its first digits
    #[arg(short, long, value_name = "REV", default_value = "HEAD")]
    source: String,

    /// What to restore
    #[arg(value_name = "SUBDOT[/PATH]", required = true)]
    paths: Vec<String>,

    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let done = context
        .on_current_dot(async |node, dot| {
            let restore = RestorePaths {
                revision: args.source.clone(),
                paths: args.paths.clone(),
                // The node refuses if another terminal checked out another branch meanwhile.
                expected: Some(node.current(dot).await?),
                wait: (&args.wait).into(),
            };
            let switch =
                async || switching::follow(context, node.restore(dot, &restore).await?).await;
            let revision = [args.source.as_str()];
            fetch::with_data(context, dot, &revision, Extent::Commit, switch).await
        })
        .await?;
    let paths = args.paths.join(", ");
    context
        .ui
        .status(&format!("Restored from {}: {paths}", args.source));
    switching::tell(context, &done)
}
