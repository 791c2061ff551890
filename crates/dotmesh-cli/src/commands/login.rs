//! `dm login`

use std::time::Duration;

use dotmesh_api::hub::{BeginLogin, DeviceCode, DeviceLogin, LoginState};
use dotmesh_api::{ClientError, ErrorCode, HubHost, HubVisitor};
use dotmesh_model::UserName;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::browser;
use crate::commands::remote::Account;
use crate::commands::remote::add::{read_key, tell_first};
use crate::config::{Remote, RemoteName, SavedApiKey};
use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::hub;
use crate::output::Human;
use crate::progress::{Event, LoginPage};
use crate::ui::Ui;

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

/// A login at a hub.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoggedIn {
    /// The remote that the hub is now.
    #[serde(flatten)]
    pub account: Account,
    /// When the key stops to work, if it does.
    pub expires: Option<Timestamp>,
    /// The user who logged in.
    #[serde(skip)]
    pub user: UserName,
    /// Whether it is the first remote, which became the default one.
    #[serde(skip)]
    pub is_first: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<LoggedIn> {
    if let Some(name) = &args.name {
        context.config.load()?.refuse_known(name)?;
    }
    let (visitor, user, api_key, expires) = if args.key {
        let key = read_key(context).await?;
        let visitor = hub::find(context, args.hub).await?;
        hub::trace(context, "GET", visitor.address(), "user");
        let owner = visitor.owner(key.reveal()).await.map_err(hub::explain)?;
        (visitor, owner.name, key, None)
    } else {
        let visitor = hub::find(context, args.hub).await?;
        let (user, key, expires) = in_browser(context, &visitor, args.print).await?;
        (visitor, user, key, expires)
    };
    if let Some(wanted) = args.user.filter(|wanted| *wanted != user) {
        return Err(CliError::new(
            ErrorCode::Unauthorized,
            format!("the login is for {user}, not for {wanted}"),
        )
        .hint(format!(
            "Use an API key of {wanted}, or first log in to the hub's website as {wanted}."
        )));
    }
    let remote = Remote::with_account(visitor.address().to_string(), user.clone(), api_key);
    context.config.update(|config| {
        let name = match args.name {
            Some(name) => {
                config.refuse_known(&name)?;
                name
            }
            None => config.name_for(visitor.address().host(), &remote),
        };
        let is_first = config.put_remote(name.clone(), remote.clone());
        Ok(LoggedIn {
            account: Account::of(config, &name, &remote),
            user: user.clone(),
            expires,
            is_first,
        })
    })
}

impl Human for LoggedIn {
    fn show(&self, ui: &Ui) -> Result<()> {
        if let Some(end) = &self.expires {
            let day = end.strftime("%Y-%m-%d");
            ui.status(&format!("The key works until {day}. Then log in again."));
        }
        let Account {
            remote, address, ..
        } = &self.account;
        let user = &self.user;
        ui.status(&format!(
            "Logged in to {address} as {user}, with the remote '{remote}'."
        ));
        tell_first(ui, self.is_first);
        Ok(())
    }
}

/// The account, its new key, and when that stops to work.
type Approved = (UserName, SavedApiKey, Option<Timestamp>);

/// Lets the user approve the login on the hub's page.
async fn in_browser(context: &Context, visitor: &HubVisitor, print: bool) -> Result<Approved> {
    let hub = visitor.address();
    let host = rustix::system::uname();
    let begin = BeginLogin {
        client: host.nodename().to_string_lossy().into_owned(),
    };
    hub::trace(context, "POST", hub, "logins");
    let login = visitor.begin_login(&begin).await.map_err(hub::explain)?;
    let page = verification_page(visitor, &login)?;
    if context.ui.is_json() {
        context.ui.event(&Event::Login(LoginPage {
            page: page.clone(),
            user_code: login.user_code.clone(),
        }));
    }
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
async fn wait(context: &Context, visitor: &HubVisitor, login: &DeviceLogin) -> Result<Approved> {
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
                let expires = expires.and_then(|end| Timestamp::from_second(end).ok());
                return Ok((user, SavedApiKey::new(key), expires));
            }
            Ok(LoginState::Denied) => {
                return Err(CliError::new(
                    Code::LoginDenied,
                    "the login was denied on the hub's page",
                ));
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
    CliError::new(Code::LoginExpired, "the login was not approved in time")
        .hint("Run 'dm login' again.")
}
