//! `dm stash pop` and `dm stash apply`

use dotmesh_api::node::{ApplyStash, Stash, Switched};
use dotmesh_model::DotName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::stash::{Place, describe};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::output::Human;
use crate::switching::{self, WaitArgs};
use crate::ui::Ui;

/// Bring the changes of a stash back, and drop the stash
///
/// The branch must be at the commit that the stash was made at, and have no uncommitted changes. --force replaces them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The stash, as 'dm stash list' names it
    #[arg(value_name = "STASH", default_value = "stash@{0}")]
    stash: Place,

    /// Replace uncommitted changes, such as those that a database wrote at its start; 'dm undo' brings them back
    #[arg(short, long)]
    force: bool,

    #[command(flatten)]
    wait: WaitArgs,
}

/// A stash that was brought back.
#[derive(Debug, Serialize, ToSchema)]
pub struct Applied {
    /// The dot.
    pub dot: DotName,
    /// The stash.
    pub stash: Stash,
    /// Whether the stash was dropped.
    pub dropped: bool,
    /// What is checked out, and what happened to the containers.
    #[serde(flatten)]
    pub switched: Switched,
}

pub(super) async fn run(context: &Context, args: Args, pop: bool) -> Result<Applied> {
    context
        .on_current_dot(async |node, dot| {
            let stash = args.stash.find(node, dot).await?;
            let apply = ApplyStash {
                id: stash.id,
                pop,
                force: args.force,
                // Another terminal may check out another branch meanwhile.
                expected: Some(node.current(dot).await?),
                wait: (&args.wait).into(),
            };
            let events = node.apply_stash(dot, &apply).await?;
            Ok(Applied {
                dot: dot.clone(),
                switched: switching::follow(context, events).await?,
                stash,
                dropped: pop,
            })
        })
        .await
}

impl Human for Applied {
    fn show(&self, ui: &Ui) -> Result<()> {
        let stays = if self.dropped {
            ""
        } else {
            ". The stash stays"
        };
        let (branch, stash) = (&self.switched.branch, describe(&self.stash));
        ui.status(&format!(
            "Branch '{branch}' has these changes again: {stash}{stays}"
        ));
        switching::show(ui, &self.switched);
        Ok(())
    }

    fn failure(&self) -> Option<CliError> {
        switching::failure(&self.switched)
    }
}
