//! `dm remote`

pub mod add;
pub mod rename;
pub mod rm;
pub mod set_url;
pub mod switch;

use clap::Subcommand;
use dotmesh_model::UserName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::config::{Config, Remote, RemoteName};
use crate::context::Context;
use crate::error::Result;
use crate::output::Human;
use crate::output::{Answer, answer};
use crate::ui::Ui;

/// List the remotes, or manage them
///
/// A remote is an account on a hub, under a name of your choice. A hub that you cloned a public dot from is a remote without
/// an account.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Show user and host, and mark the remote that is used when a command names none
    #[arg(short = 'v')]
    long: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Add(add::Args),
    Rm(rm::Args),
    Rename(rename::Args),
    SetUrl(set_url::Args),
    Switch(switch::Args),
}

/// The user's remotes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Remotes {
    /// The remotes, sorted by name.
    pub remotes: Vec<Account>,
    /// Whether people see user and host.
    #[serde(skip)]
    pub long: bool,
}

/// A remote: a hub, and the user's account there.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Account {
    /// The user's name for it.
    pub remote: RemoteName,
    /// The account. Null if the user never logged in there.
    pub user: Option<UserName>,
    /// The address of the hub.
    pub address: String,
    /// Whether it is the remote that is used when a command names none.
    pub is_default: bool,
    /// `user@host`
    #[serde(skip)]
    pub login: String,
}

/// A remote that was chosen, or forgotten.
#[derive(Debug, Serialize, ToSchema)]
pub struct Named {
    /// The remote.
    pub remote: RemoteName,
    /// What people read.
    #[serde(skip)]
    pub text: String,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Answer> {
    match args.command {
        Some(Command::Add(args)) => add::run(context, args).await.map(answer),
        Some(Command::Rm(args)) => rm::run(context, args).map(answer),
        Some(Command::Rename(args)) => rename::run(context, args).map(answer),
        Some(Command::SetUrl(args)) => set_url::run(context, args).await.map(answer),
        Some(Command::Switch(args)) => switch::run(context, args).map(answer),
        None => {
            // Listing remotes sends no request, so here --verbose means the same as -v.
            let long = args.long || context.ui.is_verbose();
            Ok(answer(Remotes::of(&context.config.load()?, long)))
        }
    }
}

impl Account {
    /// Without the API key.
    pub fn of(config: &Config, name: &RemoteName, remote: &Remote) -> Self {
        Self {
            remote: name.clone(),
            user: remote.user().cloned(),
            address: remote.address.clone(),
            is_default: config.default_remote.as_ref() == Some(name),
            login: remote.login(),
        }
    }
}

impl Remotes {
    /// All remotes.
    pub fn of(config: &Config, long: bool) -> Self {
        let remotes = config.remotes.iter();
        Self {
            remotes: remotes
                .map(|(name, remote)| Account::of(config, name, remote))
                .collect(),
            long,
        }
    }

    /// A line for each remote.
    pub fn text(&self) -> String {
        let lines = self.remotes.iter().map(|account| {
            let name = &account.remote;
            let mark = if account.is_default { '*' } else { ' ' };
            match self.long {
                true => format!("{mark} {name}\t{}\n", account.login),
                false => format!("{name}\n"),
            }
        });
        lines.collect()
    }
}

impl Human for Remotes {
    fn show(&self, ui: &Ui) -> Result<()> {
        if self.remotes.is_empty() {
            ui.status("There are no remotes yet.");
            ui.hint("Log in to a hub with 'dm login HUB', or add one with 'dm remote add NAME USER@HOST'.");
        }
        ui.out(&self.text())
    }
}

impl Human for Named {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.status(&self.text);
        Ok(())
    }
}
