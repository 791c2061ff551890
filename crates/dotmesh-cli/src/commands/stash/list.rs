//! `dm stash list`

use dotmesh_api::node::Stash;
use dotmesh_model::DotName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::stash::describe;
use crate::context::Context;
use crate::error::Result;
use crate::output::Human;
use crate::ui::Ui;

/// List the stashes of the current dot, newest first
#[derive(Debug, clap::Args)]
pub struct Args {}

/// The stashes of a dot.
#[derive(Debug, Serialize, ToSchema)]
pub struct Stashes {
    /// The dot.
    pub dot: DotName,
    /// The stashes, newest first. The first one is `stash@{0}`.
    pub stashes: Vec<Stash>,
}

pub(super) async fn run(context: &Context, Args {}: Args) -> Result<Stashes> {
    context
        .on_current_dot(async |node, dot| {
            Ok(Stashes {
                dot: dot.clone(),
                stashes: node.stashes(dot).await?,
            })
        })
        .await
}

impl Human for Stashes {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.out(&render(&self.stashes))
    }
}

/// A line for each stash.
pub fn render(stashes: &[Stash]) -> String {
    let stashes = stashes.iter().enumerate();
    stashes
        .map(|(place, stash)| format!("stash@{{{place}}}: {}\n", describe(stash)))
        .collect()
}
