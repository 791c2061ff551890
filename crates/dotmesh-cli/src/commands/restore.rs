//! `dm restore`

use dotmesh_api::node::{RestorePaths, Switched};
use dotmesh_model::DotName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::error::{CliError, Result};
use crate::fetch::{self, Extent};
use crate::output::Human;
use crate::switching::{self, WaitArgs};
use crate::ui::Ui;

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

/// A dot after a restore.
#[derive(Debug, Serialize, ToSchema)]
pub struct Restored {
    /// The dot.
    pub dot: DotName,
    /// The commit, as it was named.
    pub source: String,
    /// What was restored.
    pub paths: Vec<String>,
    /// What is checked out, and what happened to the containers.
    #[serde(flatten)]
    pub switched: Switched,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Restored> {
    context
        .on_current_dot(async |node, dot| {
            let restore = RestorePaths {
                revision: args.source.clone(),
                paths: args.paths.clone(),
                // Another terminal may check out another branch meanwhile.
                expected: Some(node.current(dot).await?),
                wait: (&args.wait).into(),
            };
            let switch =
                async || switching::follow(context, node.restore(dot, &restore).await?).await;
            let revision = [args.source.as_str()];
            let switched =
                fetch::with_data(context, dot, &revision, Extent::Commit, switch).await?;
            Ok(Restored {
                dot: dot.clone(),
                source: args.source.clone(),
                paths: args.paths.clone(),
                switched,
            })
        })
        .await
}

impl Human for Restored {
    fn show(&self, ui: &Ui) -> Result<()> {
        let (source, paths) = (&self.source, self.paths.join(", "));
        ui.status(&format!("Restored from {source}: {paths}"));
        switching::show(ui, &self.switched);
        Ok(())
    }

    fn failure(&self) -> Option<CliError> {
        switching::failure(&self.switched)
    }
}
