//! `dm stash branch`

use dotmesh_api::node::{BranchStart, Checkout, DropStash, Stash, Switched};
use dotmesh_model::{BranchName, DotName};
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::stash::{Place, describe};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::output::Human;
use crate::switching::{self, WaitArgs};
use crate::ui::Ui;

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

/// A branch that was made of a stash.
#[derive(Debug, Serialize, ToSchema)]
pub struct Branched {
    /// The dot.
    pub dot: DotName,
    /// The stash, which is dropped.
    pub stash: Stash,
    /// What is checked out, and what happened to the containers.
    #[serde(flatten)]
    pub switched: Switched,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Branched> {
    context
        .on_current_dot(async |node, dot| {
            let stash = args.stash.find(node, dot).await?;
            let before = node.current(dot).await?.branch;
            let checkout = Checkout {
                branch: args.branch.clone(),
                create: Some(BranchStart::Stash(stash.id)),
                wait: (&args.wait).into(),
            };
            let switched = switching::follow(context, node.checkout(dot, &checkout).await?).await?;
            node.drop_stash(dot, &DropStash { id: stash.id }).await?;
            context.update_node_config(|config| config.previous.insert(dot.clone(), before))?;
            Ok(Branched {
                dot: dot.clone(),
                stash,
                switched,
            })
        })
        .await
}

impl Human for Branched {
    fn show(&self, ui: &Ui) -> Result<()> {
        let (dot, branch) = (&self.dot, &self.switched.branch);
        let stash = describe(&self.stash);
        ui.status(&format!(
            "Switched to branch '{branch}' of dot '{dot}', which has these changes: {stash}"
        ));
        switching::show(ui, &self.switched);
        Ok(())
    }

    fn failure(&self) -> Option<CliError> {
        switching::failure(&self.switched)
    }
}
