//! `dm switch`

use dotmesh_model::DotName;

use crate::context::Context;
use crate::error::{CliError, Result};

/// Select the dot that other commands are about
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dot
    #[arg(value_name = "DOT")]
    dot: DotName,
}

/// Runs it.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let dots = context.node()?.dots().await?;
    if !dots.iter().any(|dot| dot.name == args.dot) {
        return Err(CliError::failed(format!("{} doesn't exist", args.dot))
            .hint("List the dots with 'dm list'."));
    }
    context.select(&args.dot)?;
    context
        .ui
        .status(&format!("Switched to dot '{}'", args.dot));
    Ok(())
}
