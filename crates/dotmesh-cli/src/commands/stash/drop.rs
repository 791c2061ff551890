//! `dm stash drop`

use dotmesh_api::node::{DropStash, Stash};
use dotmesh_model::DotName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::stash::{Place, describe};
use crate::context::Context;
use crate::error::Result;
use crate::output::Human;
use crate::ui::Ui;

/// Delete a stash
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The stash, as 'dm stash list' names it
    #[arg(value_name = "STASH", default_value = "stash@{0}")]
    stash: Place,
}

/// A dropped stash.
#[derive(Debug, Serialize, ToSchema)]
pub struct Dropped {
    /// The dot.
    pub dot: DotName,
    /// The stash.
    pub stash: Stash,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Dropped> {
    context
        .on_current_dot(async |node, dot| {
            let id = args.stash.find(node, dot).await?.id;
            Ok(Dropped {
                dot: dot.clone(),
                stash: node.drop_stash(dot, &DropStash { id }).await?,
            })
        })
        .await
}

impl Human for Dropped {
    fn show(&self, ui: &Ui) -> Result<()> {
        let stash = describe(&self.stash);
        ui.status(&format!("Dropped the stash: {stash}"));
        ui.status("'dm undo' brings it back");
        Ok(())
    }
}
