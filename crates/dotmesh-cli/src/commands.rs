//! The subcommands of `dm`, one file each.

pub mod branch;
pub mod checkout;
pub mod clone;
pub mod cluster;
pub mod commit;
pub mod compose;
pub mod cp;
pub mod dial_stdio;
pub mod diff;
pub mod doctor;
pub mod dot;
pub mod down;
pub mod env;
pub mod export;
pub mod fetch;
pub mod fsck;
pub mod help;
pub mod hook;
pub mod import;
pub mod init;
pub mod list;
pub mod log;
pub mod login;
pub mod logout;
pub mod man;
pub mod mount;
pub mod op;
pub mod open;
pub mod ps;
pub mod pull;
pub mod push;
pub mod redo;
pub mod remote;
pub mod reset;
pub mod restore;
pub mod rows;
pub mod run;
pub mod show;
pub mod sql;
pub mod stash;
pub mod status;
pub mod switch;
pub mod tag;
pub mod undo;
pub mod unmount;
pub mod up;
pub mod url;
pub mod version;

use clap::Subcommand;

use crate::context::Context;
use crate::error::{CliError, Result};
use crate::lookalike;
use crate::output::{Answer, answer};

/// The subcommands of `dm`.
#[derive(Debug, Subcommand)]
pub enum Command {
    Init(init::Args),
    #[command(visible_alias = "ls")]
    List(list::Args),
    Switch(switch::Args),
    Status(status::Args),
    Diff(diff::Args),
    Commit(commit::Args),
    Log(log::Args),
    Show(show::Args),
    Branch(branch::Args),
    Tag(tag::Args),
    Checkout(checkout::Args),
    Reset(reset::Args),
    Undo(undo::Args),
    Redo(redo::Args),
    #[command(subcommand)]
    Op(op::Command),
    Stash(stash::Args),
    Restore(restore::Args),
    Cp(cp::Args),
    Rows(rows::Args),
    Sql(sql::Args),
    Import(import::Args),
    Export(export::Args),
    Up(up::Args),
    Run(run::Args),
    Ps(ps::Args),
    Down(down::Args),
    Env(env::Args),
    Url(url::Args),
    Compose(compose::Args),
    #[command(subcommand)]
    Hook(hook::Command),
    Login(login::Args),
    Logout(logout::Args),
    Remote(remote::Args),
    Clone(clone::Args),
    Pull(pull::Args),
    Fetch(fetch::Args),
    Push(push::Args),
    Open(open::Args),
    #[command(subcommand)]
    Dot(dot::Command),
    Mount(mount::Args),
    Unmount(unmount::Args),
    #[command(subcommand)]
    Cluster(cluster::Command),
    Doctor(doctor::Args),
    Fsck(fsck::Args),
    Version(version::Args),
    Help(help::Args),
    #[command(hide = true)]
    Man(man::Args),
    #[command(hide = true)]
    DialStdio(dial_stdio::Args),
}

impl Command {
    /// Whether the node finishes the operation even if `dm` exits.
    pub fn goes_on_without_us(&self) -> bool {
        matches!(
            self,
            Self::Commit(_)
                | Self::Checkout(_)
                | Self::Reset(_)
                | Self::Undo(_)
                | Self::Redo(_)
                | Self::Stash(_)
                | Self::Restore(_)
                | Self::Hook(hook::Command::PostCheckout(_))
        )
    }

    /// Whether the command has something to put back after Ctrl-C, so that it must not be ended by it.
    pub fn cleans_up(&self) -> bool {
        matches!(self, Self::Import(args) if args.stops_containers())
    }

    /// Whether `run` warns of lookalike dots after this command. `dm list` warns of them itself.
    fn is_about_dots(&self) -> bool {
        match self {
            Self::List(_)
            | Self::Ps(_)
            | Self::Env(_)
            | Self::Url(_)
            | Self::Compose(_)
            | Self::Hook(_)
            | Self::Login(_)
            | Self::Logout(_)
            | Self::Remote(_)
            | Self::Cluster(_)
            | Self::Doctor(_)
            | Self::Fsck(_)
            | Self::Version(_)
            | Self::Help(_)
            | Self::Man(_)
            | Self::DialStdio(_) => false,
            Self::Init(_)
            | Self::Switch(_)
            | Self::Status(_)
            | Self::Diff(_)
            | Self::Commit(_)
            | Self::Log(_)
            | Self::Show(_)
            | Self::Branch(_)
            | Self::Tag(_)
            | Self::Checkout(_)
            | Self::Reset(_)
            | Self::Undo(_)
            | Self::Redo(_)
            | Self::Op(_)
            | Self::Stash(_)
            | Self::Restore(_)
            | Self::Cp(_)
            | Self::Rows(_)
            | Self::Sql(_)
            | Self::Import(_)
            | Self::Export(_)
            | Self::Clone(_)
            | Self::Pull(_)
            | Self::Fetch(_)
            | Self::Push(_)
            | Self::Open(_)
            | Self::Dot(_)
            | Self::Up(_)
            | Self::Run(_)
            | Self::Down(_)
            | Self::Mount(_)
            | Self::Unmount(_) => true,
        }
    }
}

/// Runs a command. Afterwards, warns of lookalike dots that the user was not warned of yet.
pub async fn run(context: &Context, command: Command) -> Result<()> {
    let is_about_dots = command.is_about_dots();
    let done = match carry_out(context, command).await {
        Ok(answer) => context.ui.print(&*answer),
        Err(error) => Err(error),
    };
    let ends_here =
        |error: &CliError| error.is_unreachable() || error.is_usage() || error.is_interruption();
    if is_about_dots && !done.as_ref().is_err_and(ends_here) {
        lookalike::warn_once(context).await;
    }
    done
}

async fn carry_out(context: &Context, command: Command) -> Result<Answer> {
    match command {
        Command::Init(args) => init::run(context, args).await,
        Command::List(args) => list::run(context, args).await.map(answer),
        Command::Switch(args) => switch::run(context, args).await.map(answer),
        Command::Status(args) => status::run(context, args).await.map(answer),
        Command::Diff(args) => diff::run(context, args).await,
        Command::Commit(args) => commit::run(context, args).await.map(answer),
        Command::Log(args) => log::run(context, args).await.map(answer),
        Command::Show(args) => show::run(context, args).await.map(answer),
        Command::Branch(args) => branch::run(context, args).await,
        Command::Tag(args) => tag::run(context, args).await,
        Command::Checkout(args) => checkout::run(context, args).await.map(answer),
        Command::Reset(args) => reset::run(context, args).await.map(answer),
        Command::Undo(args) => undo::run(context, args).await.map(answer),
        Command::Redo(args) => redo::run(context, args).await,
        Command::Op(command) => op::run(context, command).await,
        Command::Stash(args) => stash::run(context, args).await,
        Command::Restore(args) => restore::run(context, args).await.map(answer),
        Command::Cp(args) => cp::run(context, args).await.map(answer),
        Command::Rows(args) => rows::run(context, args).await.map(answer),
        Command::Sql(args) => sql::run(context, args).await.map(answer),
        Command::Import(args) => import::run(context, args).await.map(answer),
        Command::Export(args) => export::run(context, args).await.map(answer),
        Command::Up(args) => up::run(context, args).await.map(answer),
        Command::Run(args) => run::run(context, args).await.map(answer),
        Command::Ps(args) => ps::run(context, args).await.map(answer),
        Command::Down(args) => down::run(context, args).await.map(answer),
        Command::Env(args) => env::run(context, args).await.map(answer),
        Command::Url(args) => url::run(context, args).await.map(answer),
        Command::Compose(args) => compose::run(context, args).await.map(answer),
        Command::Hook(command) => hook::run(context, command).await,
        Command::Login(args) => login::run(context, args).await.map(answer),
        Command::Logout(args) => logout::run(context, &args).map(answer),
        Command::Remote(args) => remote::run(context, args).await,
        Command::Clone(args) => clone::run(context, args).await.map(answer),
        Command::Pull(args) => pull::run(context, args).await.map(answer),
        Command::Fetch(args) => fetch::run(context, args).await.map(answer),
        Command::Push(args) => push::run(context, args).await.map(answer),
        Command::Open(args) => open::run(context, args).await.map(answer),
        Command::Dot(command) => dot::run(context, command).await,
        Command::Mount(args) => mount::run(context, args).await.map(answer),
        Command::Unmount(args) => unmount::run(context, args).await.map(answer),
        Command::Cluster(command) => cluster::run(context, command).await,
        Command::Doctor(args) => doctor::run(context, args).await.map(answer),
        Command::Fsck(args) => fsck::run(context, args).await.map(answer),
        Command::Version(args) => version::run(context, args).await.map(answer),
        Command::Help(args) => help::run(&args),
        Command::Man(args) => man::run(args).map(answer),
        Command::DialStdio(args) => dial_stdio::run(context, args).await.map(answer),
    }
}

/// Joins container names, as `docker ps` shows them.
pub(crate) fn containers(names: &[String], separator: &str) -> String {
    let names = names.iter().map(|name| name.trim_start_matches('/'));
    names.collect::<Vec<_>>().join(separator)
}
