//! `dm dot`

pub mod delete;
pub mod rename;
pub mod set_upstream;
pub mod show;

use clap::Subcommand;

use crate::context::Context;
use crate::error::Result;
use crate::output::{Answer, answer};

/// Show, rename or delete a dot, or set its upstream
#[derive(Debug, Subcommand)]
pub enum Command {
    Show(show::Args),
    Rename(rename::Args),
    Delete(delete::Args),
    SetUpstream(set_upstream::Args),
}

pub(super) async fn run(context: &Context, command: Command) -> Result<Answer> {
    match command {
        Command::Show(args) => show::run(context, args).await.map(answer),
        Command::Rename(args) => rename::run(context, args).await.map(answer),
        Command::Delete(args) => delete::run(context, args).await.map(answer),
        Command::SetUpstream(args) => set_upstream::run(context, args).await.map(answer),
    }
}
