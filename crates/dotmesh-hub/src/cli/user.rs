//! `dothub user add|list|remove|key|password|invite|reset|admin|quota|suspend|resume`

use std::io::Read as _;

use clap::Subcommand;
use dotmesh_hub_db::Opening;
use dotmesh_hub_db::events::OPERATOR;
use dotmesh_hub_db::paging::Part;
use dotmesh_hub_db::users::{NewUser, OldKeys, OwnedDots, Removal};
use dotmesh_hub_model::credentials::{ApiKey, HashedPassword, MAX_SECRET_LENGTH, Token};
use dotmesh_hub_model::quota::Quota;
use dotmesh_hub_model::show;
use dotmesh_model::UserName;

use super::ambient;
use super::error::CliError;
use super::{Data, print};
use crate::pages;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create an account, and print a link to set its password and an API key
    ///
    /// Both are shown only once, and the key is the last line. The link works once within 24 hours, and the user logs in with
    /// a browser afterwards. Programs use the key.
    Add {
        /// The name, which is also the namespace of the user's dots
        name: UserName,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        hub: HubUrlOption,
        /// Read the password from stdin, instead of printing a link to set it
        #[arg(long)]
        password_stdin: bool,
        /// Make the user an administrator
        #[arg(long)]
        admin: bool,
    },
    /// Print a link that creates one account, within 7 days
    Invite {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        hub: HubUrlOption,
    },
    /// Print a link to set a forgotten password, which works once within 24 hours
    Reset {
        /// The name
        name: UserName,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        hub: HubUrlOption,
    },
    /// Make a user an administrator, or undo that
    #[command(group = clap::ArgGroup::new("state").required(true))]
    Admin {
        /// The name
        name: UserName,
        #[command(flatten)]
        data: Data,
        /// Make the user an administrator
        #[arg(long, group = "state")]
        on: bool,
        /// Undo that
        #[arg(long, group = "state")]
        off: bool,
    },
    /// Stop a user's logins, API keys and webhooks. The dots stay usable for others
    Suspend {
        /// The name
        name: UserName,
        #[command(flatten)]
        data: Data,
    },
    /// Let a suspended user in again, with the same password and API keys
    Resume {
        /// The name
        name: UserName,
        #[command(flatten)]
        data: Data,
    },
    /// Set a user's storage quota. Existing data is kept
    Quota {
        /// The name
        name: UserName,
        /// A size such as 20GB, `none` for no limit, or `default` for the value of `dothub serve --quota`
        quota: Quota,
        #[command(flatten)]
        data: Data,
    },
    /// List the accounts, with their creation date, API keys, password and dots
    List {
        #[command(flatten)]
        data: Data,
    },
    /// Remove an account. What the user pushed to the dots of others stays there
    Remove {
        /// The name
        name: UserName,
        #[command(flatten)]
        data: Data,
        /// Also delete the user's dots
        #[arg(long)]
        with_dots: bool,
    },
    /// Create an API key and print it as the last line. The old keys stop working
    Key {
        /// The name
        name: UserName,
        #[command(flatten)]
        data: Data,
        /// Keep the old keys
        #[arg(long)]
        keep: bool,
    },
    /// Set the password, which is read from stdin
    Password {
        /// The name
        name: UserName,
        #[command(flatten)]
        data: Data,
    },
}

/// Where links lead.
#[derive(Debug, clap::Args)]
pub(super) struct HubUrlOption {
    /// The hub's address for its users, with which the link begins [default: http://127.0.0.1:8180]
    #[arg(long, value_name = "URL", env = "DOTHUB_URL")]
    url: Option<url::Url>,
}

impl HubUrlOption {
    fn link(&self, path: &str, token: &Token) -> String {
        let hub = match &self.url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("http://{}", super::serve::DEFAULT_ADDRESS),
        };
        format!("{hub}{path}?token={}", token.reveal())
    }
}

/// Runs it.
pub(super) async fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Add {
            name,
            data,
            hub,
            password_stdin,
            admin,
        } => add(name, &data, &hub, password_stdin, admin).await,
        Command::Invite { data, hub } => invite(&data, &hub).await,
        Command::Reset { name, data, hub } => reset(name, &data, &hub).await,
        Command::Admin { name, data, on, .. } => admin(name, &data, on).await,
        Command::Suspend { name, data } => suspend(name, &data, true).await,
        Command::Resume { name, data } => suspend(name, &data, false).await,
        Command::Quota { name, quota, data } => set_quota(name, quota, &data).await,
        Command::List { data } => list(&data).await,
        Command::Remove {
            name,
            data,
            with_dots,
        } => {
            remove(
                name,
                &data,
                if with_dots {
                    OwnedDots::Delete
                } else {
                    OwnedDots::Keep
                },
            )
            .await
        }
        Command::Key { name, data, keep } => {
            key(name, &data, if keep { OldKeys::Keep } else { OldKeys::End }).await
        }
        Command::Password { name, data } => password(name, &data).await,
    }
}

async fn add(
    name: UserName,
    data: &Data,
    hub: &HubUrlOption,
    password_stdin: bool,
    is_admin: bool,
) -> Result<(), CliError> {
    let (password, token) = if password_stdin {
        (Some(read_password(&name)?), None)
    } else {
        (None, Some(Token::generate(&ambient::random())))
    };
    let database = data.database(Opening::Existing).await?;
    let key = ApiKey::generate(&ambient::random());
    let new = NewUser {
        key: key.digest(),
        password,
        password_link: token.as_ref().map(Token::digest),
        is_admin,
    };
    if !database.add_user(&name, &new, ambient::now()).await? {
        return Err(CliError::UserExists(name));
    }
    database.close().await;
    print(format_args!("User {name} was created."))?;
    if let Some(token) = token {
        print("Open this link in a browser to set a password. It works once, within 24 hours:")?;
        print(hub.link(pages::password::PATH, &token))?;
        if hub.url.is_none() {
            print(format_args!(
                "If the hub has another address, replace http://{} in the link. Next time, set --url or DOTHUB_URL.",
                super::serve::DEFAULT_ADDRESS
            ))?;
        }
    }
    print("Keep this API key for `dm` and other programs. It is not shown again:")?;
    print(key.reveal())
}

async fn list(data: &Data) -> Result<(), CliError> {
    let database = data.database(Opening::Existing).await?;
    for account in database.accounts(Part::all()).await? {
        let login = if account.has_password {
            "password"
        } else {
            "no password"
        };
        let day = account.created.strftime("%Y-%m-%d");
        let (name, keys, dots) = (account.name.as_str(), account.keys, account.dots);
        let admin = if account.is_admin {
            "  administrator"
        } else {
            ""
        };
        let suspended = if account.is_suspended {
            "  suspended"
        } else {
            ""
        };
        print(format_args!(
            "{name:<24} {day}  {:<7}  {login:<11}  {}{admin}{suspended}",
            show::count(keys, "key"),
            show::count(dots, "dot"),
        ))?;
    }
    Ok(())
}

async fn remove(name: UserName, data: &Data, dots: OwnedDots) -> Result<(), CliError> {
    let database = data.database(Opening::Existing).await?;
    match database.remove_user(&name, dots, ambient::now()).await? {
        Removal::Removed => print(format_args!("User {name} was removed")),
        Removal::NoSuchUser => Err(CliError::NoSuchUser(name)),
        Removal::HasDots { count } => Err(CliError::HasDots { user: name, count }),
    }
}

async fn key(name: UserName, data: &Data, old: OldKeys) -> Result<(), CliError> {
    let database = data.database(Opening::Existing).await?;
    let key = ApiKey::generate(&ambient::random());
    if !database
        .add_key(&name, &key.digest(), old, ambient::now())
        .await?
    {
        return Err(CliError::NoSuchUser(name));
    }
    database.close().await;
    print(format_args!(
        "Keep this API key of {name}. It is not shown again:"
    ))?;
    print(key.reveal())
}

async fn password(name: UserName, data: &Data) -> Result<(), CliError> {
    let password = read_password(&name)?;
    let database = data.database(Opening::Existing).await?;
    if !database
        .set_password(&name, &password, ambient::now())
        .await?
    {
        return Err(CliError::NoSuchUser(name));
    }
    print(format_args!("The password of {name} was set"))
}

async fn invite(data: &Data, hub: &HubUrlOption) -> Result<(), CliError> {
    let database = data.database(Opening::Existing).await?;
    let token = Token::generate(&ambient::random());
    let now = ambient::now();
    database
        .add_invitation(&token.digest(), &OPERATOR, now)
        .await?;
    database.close().await;
    print(hub.link(pages::signup::PATH, &token))
}

async fn reset(name: UserName, data: &Data, hub: &HubUrlOption) -> Result<(), CliError> {
    let database = data.database(Opening::Existing).await?;
    let token = Token::generate(&ambient::random());
    let now = ambient::now();
    if !database
        .add_password_link(&token.digest(), &name, &OPERATOR, now)
        .await?
    {
        return Err(CliError::NoSuchUser(name));
    }
    database.close().await;
    print(hub.link(pages::password::PATH, &token))
}

async fn admin(name: UserName, data: &Data, is_admin: bool) -> Result<(), CliError> {
    let database = data.database(Opening::Existing).await?;
    if !database.set_admin(&name, is_admin, ambient::now()).await? {
        return Err(CliError::NoSuchUser(name));
    }
    let what = if is_admin { "an" } else { "no longer an" };
    print(format_args!("{name} is {what} administrator"))
}

async fn suspend(name: UserName, data: &Data, is_suspended: bool) -> Result<(), CliError> {
    let database = data.database(Opening::Existing).await?;
    let set = database.set_suspended(&name, is_suspended, &OPERATOR, ambient::now());
    if !set.await? {
        return Err(CliError::NoSuchUser(name));
    }
    let state = if is_suspended { "suspended" } else { "active" };
    print(format_args!("{name} is {state}"))
}

async fn set_quota(name: UserName, quota: Quota, data: &Data) -> Result<(), CliError> {
    let database = data.database(Opening::Existing).await?;
    let set = database.set_quota(&name, quota, &OPERATOR, ambient::now());
    if !set.await? {
        return Err(CliError::NoSuchUser(name));
    }
    let text = match quota {
        Quota::Default => "the hub's default".to_owned(),
        Quota::Unlimited => "unlimited".to_owned(),
        Quota::Bytes(bytes) => show::bytes(bytes),
    };
    print(format_args!("The quota of {name} is {text}"))
}

/// All of standard input without its last line break, so that `echo` and files will do.
fn read_password(name: &UserName) -> Result<HashedPassword, CliError> {
    let mut text = String::new();
    std::io::stdin()
        .take(MAX_SECRET_LENGTH as u64 + 3)
        .read_to_string(&mut text)
        .map_err(CliError::ReadPassword)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    Ok(HashedPassword::new(text, &[name.as_str()])?)
}
