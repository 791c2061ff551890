//! `dm version`

use crate::context::Context;
use crate::error::Result;

/// Show the versions of 'dm' and of the node that it talks to
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) async fn run(context: &Context, _: Args) -> Result<()> {
    context.ui.out(&format!(
        "Client:\n\tVersion: {}\n",
        env!("CARGO_PKG_VERSION")
    ))?;
    let node = context.node()?.version().await?;
    context
        .ui
        .out(&format!("Server:\n\tVersion: {}\n", node.version))
}
