//! `dm stash list`

use dotmesh_api::node::Stash;

use crate::commands::stash::describe;
use crate::context::Context;
use crate::error::Result;

/// List the stashes of the current dot, newest first
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) async fn run(context: &Context, Args {}: Args) -> Result<()> {
    let stashes = context
        .on_current_dot(async |node, dot| Ok(node.stashes(dot).await?))
        .await?;
    context.ui.out(&render(&stashes))
}

/// A line for each stash.
pub fn render(stashes: &[Stash]) -> String {
    let stashes = stashes.iter().enumerate();
    stashes
        .map(|(place, stash)| format!("stash@{{{place}}}: {}\n", describe(stash)))
        .collect()
}
