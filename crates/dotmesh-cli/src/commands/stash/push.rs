//! `dm stash push`

use dotmesh_api::node::{MakeStash, Stash, Switched};
use dotmesh_model::DotName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::stash::{Place, describe};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::message;
use crate::output::Human;
use crate::switching::{self, WaitArgs};
use crate::ui::Ui;

/// Put the uncommitted changes aside, and return the branch to its newest commit
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A message for the stash; each further one is a paragraph
    #[arg(short, long, value_name = "MESSAGE")]
    message: Vec<String>,

    #[command(flatten)]
    wait: WaitArgs,
}

/// The uncommitted changes that were put aside.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pushed {
    /// The dot.
    pub dot: DotName,
    /// The stash. `null` if there were no uncommitted changes.
    pub stash: Option<Stash>,
    /// What is checked out, and what happened to the containers.
    pub switched: Option<Switched>,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Pushed> {
    context
        .on_current_dot(async |node, dot| {
            let mut pushed = Pushed {
                dot: dot.clone(),
                stash: None,
                switched: None,
            };
            if node.dot(dot).await?.summary.dirty == 0 {
                return Ok(pushed);
            }
            let stash = MakeStash {
                message: message::join(&args.message),
                // Another terminal may check out another branch meanwhile.
                expected: Some(node.current(dot).await?),
                wait: (&args.wait).into(),
            };
            let events = node.make_stash(dot, &stash).await?;
            pushed.switched = Some(switching::follow(context, events).await?);
            pushed.stash = Some(Place::default().find(node, dot).await?);
            Ok(pushed)
        })
        .await
}

impl Human for Pushed {
    fn show(&self, ui: &Ui) -> Result<()> {
        let (Some(stash), Some(switched)) = (&self.stash, &self.switched) else {
            ui.status("No local changes to save");
            return Ok(());
        };
        let stash = describe(stash);
        ui.status(&format!("Saved the uncommitted changes: {stash}"));
        ui.status("'dm stash pop' brings them back");
        switching::show(ui, switched);
        Ok(())
    }

    fn failure(&self) -> Option<CliError> {
        switching::failure(self.switched.as_ref()?)
    }
}
