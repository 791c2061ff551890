//! `dm remote`

pub mod add;
pub mod rename;
pub mod rm;
pub mod set_url;
pub mod switch;

use clap::Subcommand;

use crate::config::Config;
use crate::context::Context;
use crate::error::Result;

/// List the remotes, or manage them
///
/// A remote is an account on a hub, under a name of your choice.
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

pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    match args.command {
        Some(Command::Add(args)) => add::run(context, args).await,
        Some(Command::Rm(args)) => rm::run(context, &args),
        Some(Command::Rename(args)) => rename::run(context, &args),
        Some(Command::SetUrl(args)) => set_url::run(context, args).await,
        Some(Command::Switch(args)) => switch::run(context, &args),
        None => {
            let config = context.config.load()?;
            if config.remotes.is_empty() {
                context.ui.status("There are no remotes yet.");
                context
                    .ui
                    .hint("Log in to a hub with 'dm login HUB', or add one with 'dm remote add NAME USER@HOST'.");
            }
            // No request is sent here, so `--verbose` means the same as `-v`.
            context
                .ui
                .out(&render(&config, args.long || context.ui.is_verbose()))
        }
    }
}

/// A line for each remote.
pub fn render(config: &Config, long: bool) -> String {
    let mut text = String::new();
    for (name, remote) in &config.remotes {
        if long {
            let mark = if config.default_remote.as_ref() == Some(name) {
                '*'
            } else {
                ' '
            };
            text.push_str(&format!("{mark} {name}\t{}\n", remote.login()));
        } else {
            text.push_str(&format!("{name}\n"));
        }
    }
    text
}
