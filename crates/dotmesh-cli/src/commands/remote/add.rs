//! `dm remote add`

use std::str::FromStr;

use dotmesh_api::{ErrorCode, HubHost};
use dotmesh_model::UserName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::remote::Account;
use crate::config::{Remote, RemoteName, SavedApiKey};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::hub;
use crate::output::Human;
use crate::ui::Ui;

/// Add an account on a hub
///
/// The API key is read from DOTMESH_PASSWORD, from the terminal, or from stdin if that is no terminal. It is checked with the
/// hub before it is stored. The first remote that you add is the default of other commands.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Your name for it
    #[arg(value_name = "NAME")]
    name: RemoteName,

    /// The account. Without http:// or https:// before the host, HTTPS is used. For a hub on this machine, HTTP is tried too
    #[arg(value_name = "USER@HOST[:PORT]")]
    login: Login,
}

#[derive(Debug, Clone)]
struct Login {
    user: UserName,
    host: HubHost,
}

impl FromStr for Login {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        // The scheme may be before the user, as in URLs, or before the host.
        let (scheme, rest) = match text.find("://") {
            Some(at) if !text[..at].contains('@') => text.split_at(at + "://".len()),
            _ => ("", text),
        };
        let (user, host) = rest
            .split_once('@')
            .ok_or_else(|| "please specify USER@HOST[:PORT]".to_owned())?;
        let user = user
            .parse()
            .map_err(|error: dotmesh_model::InvalidName| error.to_string())?;
        Ok(Self {
            user,
            host: format!("{scheme}{host}").parse()?,
        })
    }
}

/// A remote that was added.
#[derive(Debug, Serialize, ToSchema)]
pub struct Added {
    /// The remote.
    #[serde(flatten)]
    pub account: Account,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Added> {
    let Login { user, host } = args.login;
    // This check comes before the prompt, so that no user looks up a key in vain.
    context.config.load()?.refuse_known(&args.name)?;
    let api_key = read_key(context).await?;
    let visitor = hub::find(context, host).await?;
    let remote = Remote::with_account(visitor.address().to_string(), user, api_key);
    check(context, &remote).await?;
    let account = context.config.update(|config| {
        config.refuse_known(&args.name)?;
        config.put_remote(args.name.clone(), remote.clone());
        Ok(Account::of(config, &args.name, &remote))
    })?;
    Ok(Added { account })
}

impl Human for Added {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.status("Remote added.");
        tell_first(ui, self.account.is_default);
        Ok(())
    }
}

/// The key from `DOTMESH_PASSWORD`, the terminal or standard input.
pub(crate) async fn read_key(context: &Context) -> Result<SavedApiKey> {
    let key = match context.environment.api_key.clone() {
        Some(key) => key,
        None => context.ui.secret("API key: ").await?,
    };
    let key = key.trim().to_owned();
    if key.is_empty() {
        return Err(CliError::usage("no API key was given")
            .hint("Type it when asked, pipe it in, or put it in DOTMESH_PASSWORD."));
    }
    Ok(SavedApiKey::new(key))
}

/// Tells that the new remote was selected because it is the first.
pub(crate) fn tell_first(ui: &Ui, first: bool) {
    if first {
        ui.status("Automatically switched to first remote.");
    }
}

/// Fails unless the API key belongs to the remote's user. A remote without an account has nothing to check.
pub(crate) async fn check(context: &Context, remote: &Remote) -> Result<()> {
    let Some(user) = remote.user() else {
        return Ok(());
    };
    let hub = hub::client(remote)?;
    hub::trace(context, "GET", hub.address(), "user");
    let owner = hub.current_user().await.map_err(hub::explain)?.name;
    if owner == *user {
        Ok(())
    } else {
        Err(CliError::new(
            ErrorCode::Unauthorized,
            format!("the API key belongs to {owner}, not to {user}"),
        )
        .hint(format!(
            "Use {owner}@{}, or the key of {user}.",
            hub.address()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_stands_before_the_user_or_the_host() {
        let host = |text: &str| text.parse::<Login>().unwrap().host;
        let plain: HubHost = "http://hub.example:8000".parse().unwrap();
        for text in [
            "http://alice@hub.example:8000",
            "alice@http://hub.example:8000",
        ] {
            assert_eq!(host(text), plain, "{text}");
        }
        let secure: HubHost = "hub.example".parse().unwrap();
        assert_eq!(host("alice@hub.example"), secure);
        for text in [
            "http://hub.example",
            "ftp://alice@hub.example",
            "http://alice@http://hub.example",
        ] {
            assert!(text.parse::<Login>().is_err(), "{text}");
        }
    }
}
