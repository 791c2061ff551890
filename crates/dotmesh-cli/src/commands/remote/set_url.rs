//! `dm remote set-url`

use dotmesh_api::HubHost;

use crate::commands::remote::add::check;
use crate::config::{Remote, RemoteName};
use crate::context::Context;
use crate::error::Result;
use crate::hub;

/// Change the address of a remote's hub
///
/// The account and its API key stay the same. The key is checked with the hub before the address is changed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The remote
    #[arg(value_name = "NAME")]
    name: RemoteName,

    /// The hub. Without http:// or https:// before the host, HTTPS is used. For a hub on this machine, HTTP is tried too
    #[arg(value_name = "HOST[:PORT]")]
    hub: HubHost,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let known = context.config.load()?.remote(&args.name)?.clone();
    let visitor = hub::find(context, args.hub).await?;
    let remote = Remote {
        address: visitor.address().to_string(),
        ..known
    };
    check(context, &remote).await?;
    let login = remote.login();
    context.config.update(|config| {
        config.remote(&args.name)?;
        config.put_remote(args.name.clone(), remote);
        Ok(())
    })?;
    context
        .ui
        .status(&format!("Remote '{}' is {login} now", args.name));
    Ok(())
}
