//! `dm remote switch`

use crate::commands::remote::Named;
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

pub(super) fn run(context: &Context, args: Args) -> Result<Named> {
    let remote = args.name;
    context.config.update(|config| {
        config.remote(&remote)?;
        config.default_remote = Some(remote.clone());
        Ok(())
    })?;
    let text = format!("Switched to remote '{remote}'");
    Ok(Named { remote, text })
}
