//! `dm init`

use dotmesh_model::DotName;

use crate::context::Context;
use crate::error::Result;

/// Make an empty dot and select it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The new dot's name
    #[arg(value_name = "DOT")]
    dot: DotName,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    context.node()?.create_dot(&args.dot).await?;
    context.select(&args.dot)?;
    context
        .ui
        .status(&format!("Made dot '{}' and selected it", args.dot));
    Ok(())
}
