//! `dm remote set-url`

use dotmesh_api::HubHost;
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::remote::Account;
use crate::commands::remote::add::check;
use crate::config::{Remote, RemoteName};
use crate::context::Context;
use crate::error::Result;
use crate::hub;
use crate::output::Human;
use crate::ui::Ui;

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

/// A remote whose hub has another address now.
#[derive(Debug, Serialize, ToSchema)]
pub struct Moved {
    /// The remote.
    #[serde(flatten)]
    pub account: Account,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Moved> {
    let known = context.config.load()?.remote(&args.name)?.clone();
    let visitor = hub::find(context, args.hub).await?;
    let remote = Remote {
        address: visitor.address().to_string(),
        ..known
    };
    check(context, &remote).await?;
    let account = context.config.update(|config| {
        config.remote(&args.name)?;
        config.put_remote(args.name.clone(), remote.clone());
        Ok(Account::of(config, &args.name, &remote))
    })?;
    Ok(Moved { account })
}

impl Human for Moved {
    fn show(&self, ui: &Ui) -> Result<()> {
        let Account { remote, login, .. } = &self.account;
        ui.status(&format!("Remote '{remote}' is {login} now"));
        Ok(())
    }
}
