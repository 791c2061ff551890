//! `dm remote add`

use std::str::FromStr;

use dotmesh_api::{ClientError, ErrorBody, ErrorCode, HubAddress, HubClient};
use dotmesh_model::UserName;

use crate::config::{ApiKey, Config, Remote, RemoteName};
use crate::context::Context;
use crate::error::{CliError, Result, root_cause};
use crate::ui::Ui;

/// Add an account on a hub
///
/// The API key is taken from DOTMESH_PASSWORD, else asked for; it is read from standard input if that is no terminal. It is
/// tried out before anything is kept. The first remote is used when a command names none.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Your name for it
    #[arg(value_name = "NAME")]
    name: RemoteName,

    /// The account. Without http:// or https:// before the host it is HTTPS, except on this machine
    #[arg(value_name = "USER@HOST[:PORT]")]
    login: Login,
}

#[derive(Debug, Clone)]
struct Login {
    user: UserName,
    address: HubAddress,
}

impl FromStr for Login {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (user, address) = text
            .split_once('@')
            .ok_or_else(|| "please specify USER@HOST[:PORT]".to_owned())?;
        let user = user
            .parse()
            .map_err(|error: dotmesh_model::InvalidName| error.to_string())?;
        Ok(Self {
            user,
            address: address.parse()?,
        })
    }
}

/// Runs it.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let Login { user, address } = args.login;
    // Asked first, as nobody likes to look up a key in vain.
    refuse_known(&context.config.load()?, &args.name)?;
    let key = match context.environment.api_key.clone() {
        Some(key) => key,
        None => context.ui.secret("API key: ").await?,
    };
    let key = key.trim().to_owned();
    if key.is_empty() {
        return Err(CliError::usage("no API key was given")
            .hint("Type it when asked, pipe it in, or put it in DOTMESH_PASSWORD."));
    }
    check(context, &user, &address, &key).await?;
    let remote = Remote {
        user,
        address: address.to_string(),
        api_key: ApiKey::new(key),
    };
    let first = context.config.update(|config| {
        refuse_known(config, &args.name)?;
        config.remotes.insert(args.name.clone(), remote);
        let first = config.default_remote.is_none();
        if first {
            config.default_remote = Some(args.name.clone());
        }
        Ok(first)
    })?;
    context.ui.status("Remote added.");
    if first {
        context.ui.status("Automatically switched to first remote.");
    }
    Ok(())
}

fn refuse_known(config: &Config, name: &RemoteName) -> Result<()> {
    if config.remotes.contains_key(name) {
        return Err(
            CliError::failed(format!("Remote exists '{name}'")).hint(format!(
                "Choose another name, or remove it with 'dm remote rm {name}'."
            )),
        );
    }
    Ok(())
}

/// Fails unless a hub is there, and the key is the user's.
async fn check(context: &Context, user: &UserName, address: &HubAddress, key: &str) -> Result<()> {
    let trace = |route: &str| {
        if context.ui.is_verbose() {
            Ui::trace(&format!("GET {address}/api/v1/{route}"));
        }
    };
    let hub = HubClient::new(address.clone(), user.clone(), key.to_owned()).map_err(explain)?;
    trace("version");
    hub.version().await.map_err(explain)?;
    trace("user");
    let owner = hub.current_user().await.map_err(explain)?.name;
    if owner == *user {
        Ok(())
    } else {
        Err(
            CliError::failed(format!("the API key is not {user}'s but {owner}'s"))
                .hint(format!("Use {owner}@{address}, or the key of {user}.")),
        )
    }
}

fn explain(error: ClientError) -> CliError {
    match error {
        ClientError::Refused(body) if body.code == ErrorCode::Unauthorized => {
            CliError::failed("Permission denied. Please check that your API key is still valid.")
                .hint("The key belongs to one user of one hub: check both of USER@HOST, too.")
        }
        ClientError::Refused(body) => body.into(),
        ClientError::NotDotmesh { server, status } => {
            let message =
                format!("{server} is not a Dotmesh hub (it answered with status {status})");
            CliError::unreachable(message).hint("Check the host and the port of USER@HOST[:PORT].")
        }
        error @ ClientError::OtherProtocol { .. } => ErrorBody::from(error).into(),
        ClientError::Unreachable { server, source } => {
            let (_, reason) = root_cause(&source);
            let error = CliError::unreachable(format!("cannot reach {server}: {reason}"))
                .hint("Check the host and the port of USER@HOST[:PORT], and that the hub runs.");
            if server.starts_with("https://") {
                error.hint("If the hub speaks plain HTTP, in a network that you trust, write USER@http://HOST[:PORT].")
            } else {
                error
            }
        }
    }
}
