//! `dm remote rename`

use crate::config::RemoteName;
use crate::context::Context;
use crate::error::Result;

/// Give a remote another name; nothing changes on the hub
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The remote
    #[arg(value_name = "OLD")]
    from: RemoteName,

    /// Its new name
    #[arg(value_name = "NEW")]
    to: RemoteName,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    context
        .config
        .update(|config| config.rename_remote(&args.from, &args.to))?;
    let Args { from, to } = args;
    context
        .ui
        .status(&format!("Remote '{from}' is called '{to}' now"));
    Ok(())
}
