//! `dm remote rm`

use crate::commands::remote::Named;
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

pub(super) fn run(context: &Context, args: Args) -> Result<Named> {
    let remote = args.name;
    context
        .config
        .update(|config| config.remove_remote(&remote))?;
    let text = "Remote removed.".to_owned();
    Ok(Named { remote, text })
}
