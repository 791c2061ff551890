//! `dm stash show`

use crate::commands::diff::{Changes, Form};
use crate::commands::stash::Place;
use crate::context::Context;
use crate::error::Result;

/// Show which files a stash has changed, for each subdot
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show a letter and the path of each file: A for added, D for removed, M for modified, R for moved
    #[arg(long)]
    name_status: bool,

    /// The stash, as 'dm stash list' names it
    #[arg(value_name = "STASH", default_value = "stash@{0}")]
    stash: Place,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Changes> {
    let diff = context
        .on_current_dot(async |node, dot| {
            let stash = args.stash.find(node, dot).await?;
            let query = [("stash", stash.id.to_string())];
            Ok(node.diff(dot, &query).await?)
        })
        .await?;
    let form = match args.name_status {
        true => Form::NameStatus,
        false => Form::BySubdot,
    };
    Ok(Changes {
        diff,
        form,
        takes_path: false,
    })
}
