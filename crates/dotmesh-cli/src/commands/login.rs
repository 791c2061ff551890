//! `dm login`

use std::time::Duration;

use dotmesh_api::hub::{BeginLogin, DeviceCode, DeviceLogin, LoginState};
use dotmesh_api::{ClientError, ErrorCode, HubHost, HubVisitor};
use dotmesh_model::UserName;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::browser;
use crate::commands::remote::add::{read_key, tell_first};
use crate::config::{Config, Remote, RemoteName, SavedApiKey};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::hub;

/// Log in to a hub, in the browser or with a key
///
/// Type the code that is shown here on the hub's page, and approve it. This machine gets its own API key, and the hub
/// becomes a remote. The hub sets how long the key works. Logging in again replaces the key.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The hub. Without http:// or https:// before the host, HTTPS is used. For a hub on this machine, HTTP is tried too
    #[arg(value_name = "HOST[:PORT]")]
    hub: HubHost,

    /// Your name for the remote [default: the host's]
    #[arg(long, value_name = "NAME")]
    name: Option<RemoteName>,

    /// Log in with an API key from DOTMESH_PASSWORD, the terminal, or stdin
    #[arg(long)]
    key: bool,

    /// Fail if the login is for another account
    #[arg(long, value_name = "USER")]
    user: Option<UserName>,

    /// Print the address of the page and open nothing
    #[arg(long, conflicts_with = "key")]
    print: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    if let Some(name) = &args.name {
        context.config.load()?.refuse_known(name)?;
    }
    let (visitor, user, api_key) = if args.key {
        let key = read_key(context).await?;
        let visitor = hub::find(context, args.hub).await?;
        hub::trace(context, "GET", visitor.address(), "user");
        let owner = visitor.owner(key.reveal()).await.map_err(hub::explain)?;
        (visitor, owner.name, key)
    } else {
        let visitor = hub::find(context, args.hub).await?;
        let (user, key) = in_browser(context, &visitor, args.print).await?;
        (visitor, user, key)
    };
    if let Some(wanted) = args.user.filter(|wanted| *wanted != user) {
        return Err(
            CliError::failed(format!("the login is for {user}, not for {wanted}")).hint(format!(
                "Use an API key of {wanted}, or first log in to the hub's website as {wanted}."
            )),
        );
    }
    let hub = visitor.address().to_string();
    let remote = Remote {
        user: user.clone(),
        address: hub.clone(),
        api_key,
    };
    let (name, first) = context.config.update(|config| {
        let name = match args.name {
            Some(name) => {
                config.refuse_known(&name)?;
                name
            }
            None => name_for(config, visitor.address().host(), &remote),
        };
        let first = config.put_remote(name.clone(), remote);
        Ok((name, first))
    })?;
    context.ui.status(&format!(
        "Logged in to {hub} as {user}, with the remote '{name}'."
    ));
    tell_first(context, first);
    Ok(())
}

/// The name for the login's remote: the name of an existing remote for this account, else one derived from the host.
pub fn name_for(config: &Config, host: &str, remote: &Remote) -> RemoteName {
    let same = |known: &Remote| known.user == remote.user && known.is_at(&remote.address);
    if let Some((name, _)) = config.remotes.iter().find(|(_, known)| same(known)) {
        return name.clone();
    }
    let numbered = (2..).map(|n| format!("hub-{n}"));
    let names = [
        host.to_owned(),
        format!("{host}-{}", remote.user),
        "hub".to_owned(),
    ];
    names
        .into_iter()
        .chain(numbered)
        .filter_map(|name| name.parse().ok())
        .find(|name| !config.remotes.contains_key(name))
        .expect("there are more numbers than remotes")
}

/// Lets the user approve the login on the hub's page.
async fn in_browser(
    context: &Context,
    visitor: &HubVisitor,
    print: bool,
) -> Result<(UserName, SavedApiKey)> {
    let hub = visitor.address();
    let host = rustix::system::uname();
    let begin = BeginLogin {
        client: host.nodename().to_string_lossy().into_owned(),
    };
    hub::trace(context, "POST", hub, "logins");
    let login = visitor.begin_login(&begin).await.map_err(hub::explain)?;
    let page = verification_page(visitor, &login)?;
    context.ui.status(&format!(
        "To log in, open\n\n    {page}\n\nand type the code {}",
        login.user_code
    ));
    if !print && !browser::open(&context.environment, &page).await {
        context
            .ui
            .hint("Open the page in a browser, on this machine or another one.");
    }
    wait(context, visitor, &login).await
}

/// The URL of the approval page. Only the path comes from the hub, so that it cannot lead to another site. The query is
/// dropped: earlier hubs put the code there, and the user must type it.
pub fn verification_page(visitor: &HubVisitor, login: &DeviceLogin) -> Result<String> {
    let hub = visitor.address();
    let path = login.verification_path.split('?').next().unwrap_or("");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_".contains(c);
    if path.starts_with("/-/") && path.chars().all(plain) {
        Ok(format!("{hub}{path}"))
    } else {
        let (server, status) = (hub.to_string(), 200);
        Err(hub::explain(ClientError::NotDotmesh { server, status }))
    }
}

/// Polls the hub until the user has approved or denied the login, or it expires.
async fn wait(
    context: &Context,
    visitor: &HubVisitor,
    login: &DeviceLogin,
) -> Result<(UserName, SavedApiKey)> {
    let interval = Duration::from_secs(login.interval.clamp(1, 60));
    let end = Instant::now() + Duration::from_secs(login.expires_in.min(60 * 60));
    let code = DeviceCode {
        device_code: login.device_code.clone(),
    };
    loop {
        tokio::time::sleep(interval).await;
        hub::trace(context, "POST", visitor.address(), "logins/token");
        match visitor.login_state(&code).await {
            Ok(LoginState::Approved { user, key, expires }) => {
                if let Some(end) = expires.and_then(|end| Timestamp::from_second(end).ok()) {
                    let day = end.strftime("%Y-%m-%d");
                    let ui = &context.ui;
                    ui.status(&format!("The key works until {day}. Then log in again."));
                }
                return Ok((user, SavedApiKey::new(key)));
            }
            Ok(LoginState::Denied) => {
                return Err(CliError::failed("the login was denied on the hub's page"));
            }
            Ok(LoginState::Pending) if Instant::now() < end => {}
            // A temporary error, such as while the hub restarts.
            Err(error) if error.passes().is_some() && Instant::now() < end => {}
            Ok(LoginState::Pending) => return Err(expired()),
            Err(error) if error.code() == ErrorCode::NotFound => return Err(expired()),
            Err(error) => return Err(hub::explain(error)),
        }
    }
}

fn expired() -> CliError {
    CliError::failed("the login was not approved in time").hint("Run 'dm login' again.")
}
