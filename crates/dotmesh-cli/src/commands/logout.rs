//! `dm logout`

use dotmesh_api::HubHost;
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::remote::Account;
use crate::config::{Config, Remote, RemoteName};
use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::output::Human;
use crate::ui::Ui;

/// Log out of a hub: forget its remotes and their API keys
///
/// Nothing changes on the hub. A key that was forgotten still works for whoever has it: delete it on the hub's page of keys.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The hub [default: the one of the selected remote]
    #[arg(value_name = "HOST[:PORT]")]
    hub: Option<HubHost>,
}

/// The remotes that were forgotten.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoggedOut {
    /// The remotes.
    pub remotes: Vec<Account>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<LoggedOut> {
    context.config.update(|config| {
        let gone = forget(config, args.hub.as_ref())?;
        let remotes = gone.iter();
        let remotes = remotes.map(|(name, remote)| Account::of(config, name, remote));
        Ok(LoggedOut {
            remotes: remotes.collect(),
        })
    })
}

impl Human for LoggedOut {
    fn show(&self, ui: &Ui) -> Result<()> {
        for Account { remote, login, .. } in &self.remotes {
            ui.status(&format!(
                "Logged out: removed the remote '{remote}', {login}"
            ));
        }
        let hubs = self.remotes.iter().map(|account| account.address.as_str());
        let mut hubs: Vec<&str> = hubs.collect();
        hubs.dedup();
        for hub in hubs {
            ui.hint(&format!(
                "To make the key invalid, delete it at {hub}/-/settings/keys"
            ));
        }
        Ok(())
    }
}

/// Removes the remotes of a hub. The default hub is that of the selected remote.
pub fn forget(config: &mut Config, hub: Option<&HubHost>) -> Result<Vec<(RemoteName, Remote)>> {
    let selected = match (hub, &config.default_remote) {
        (None, Some(name)) => Some(config.remote(name)?.address.clone()),
        (None, None) => {
            return Err(CliError::usage("no remote is selected, so name the hub")
                .hint("List the remotes with 'dm remote -v'."));
        }
        (Some(_), _) => None,
    };
    let is_meant = |remote: &Remote| match (&selected, hub) {
        (Some(address), _) => remote.is_at(address),
        (None, Some(HubHost::Known(hub))) => remote.is_at(&hub.to_string()),
        (None, Some(HubHost::Loopback { https, http })) => [https, http]
            .iter()
            .any(|hub| remote.is_at(&hub.to_string())),
        (None, None) => false,
    };
    let remotes = config.remotes.iter();
    let meant = remotes.filter(|(_, remote)| is_meant(remote));
    let meant: Vec<_> = meant
        .map(|(name, remote)| (name.clone(), remote.clone()))
        .collect();
    if meant.is_empty() {
        return Err(
            CliError::new(Code::NoRemote, "there is no remote for that hub")
                .hint("List the remotes with 'dm remote -v'."),
        );
    }
    for (name, _) in &meant {
        config.remove_remote(name)?;
    }
    Ok(meant)
}
