//! `dm compose`

use dotmesh_model::BranchName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::compose::Compose;
use crate::context::Context;
use crate::error::Result;
use crate::forks::{self, ForkProject};
use crate::output::Human;
use crate::ui::Ui;

/// Run a Compose command on a fork, such as logs, exec or restart
///
/// Plain 'docker compose' would start another project beside the fork, since it does not know the fork's names.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The fork [default: the one of this folder]
    #[arg(value_name = "NAME")]
    name: Option<BranchName>,

    /// The command and its arguments
    #[arg(value_name = "COMMAND", last = true, required = true)]
    words: Vec<String>,
}

/// `dm compose` returns what Compose returns.
#[derive(Debug, Serialize, ToSchema)]
pub struct Nothing {}

pub(super) async fn run(context: &Context, args: Args) -> Result<Nothing> {
    let node = context.node()?;
    let fork = forks::find(context, &node, args.name.as_ref()).await?;
    let project = ForkProject::of(fork)?;
    let compose = Compose::find(&context.environment, Some(project.folder())).await?;
    Err(compose.become_it(&project.project(), &args.words))
}

impl Human for Nothing {
    fn show(&self, _: &Ui) -> Result<()> {
        Ok(())
    }
}
