//! `dm remote rm`

use crate::config::RemoteName;
use crate::context::Context;
use crate::error::Result;

/// Forget a remote and its API key; nothing changes on the hub
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The remote
    #[arg(value_name = "NAME")]
    name: RemoteName,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    context
        .config
        .update(|config| config.remove_remote(&args.name))?;
    context.ui.status("Remote removed.");
    Ok(())
}
