//! `dm remote switch`

use crate::config::RemoteName;
use crate::context::Context;
use crate::error::Result;

/// Select the remote that clone, pull and push use when they name none
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The remote
    #[arg(value_name = "NAME")]
    name: RemoteName,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    context.config.update(|config| {
        config.remote(&args.name)?;
        config.default_remote = Some(args.name.clone());
        Ok(())
    })?;
    context
        .ui
        .status(&format!("Switched to remote '{}'", args.name));
    Ok(())
}
