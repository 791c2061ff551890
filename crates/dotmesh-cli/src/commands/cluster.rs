//! `dm cluster`

pub mod init;
pub mod machine;
pub mod places;
pub mod podman;
pub mod reset;
mod run_detached;
pub mod service;

use clap::Subcommand;

use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::output::{Answer, answer};

/// Start Dotmesh on this machine, or remove it
#[derive(Debug, Subcommand)]
pub enum Command {
    Init(Box<init::Args>),
    Reset(reset::Args),
    #[command(hide = true)]
    RunDetached(run_detached::Args),
}

pub(super) async fn run(context: &Context, command: Command) -> Result<Answer> {
    match command {
        Command::Init(args) => init::run(context, *args).await.map(answer),
        Command::Reset(args) => reset::run(context, args).await.map(answer),
        Command::RunDetached(args) => match run_detached::run(&args)? {},
    }
}

fn require_root(what: &str) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(CliError::new(
        Code::NotRoot,
        format!("'dm cluster {what}' must run as root"),
    )
    .hint(format!("Try it with sudo: sudo dm cluster {what}")))
}
