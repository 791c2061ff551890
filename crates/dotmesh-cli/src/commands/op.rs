//! `dm op`

pub mod log;

use clap::Subcommand;

use crate::context::Context;
use crate::error::Result;
use crate::output::{Answer, answer};

/// Show the operations that 'dm undo' and 'dm redo' work on
#[derive(Debug, Subcommand)]
pub enum Command {
    Log(log::Args),
}

pub(super) async fn run(context: &Context, command: Command) -> Result<Answer> {
    match command {
        Command::Log(args) => log::run(context, args).await.map(answer),
    }
}
