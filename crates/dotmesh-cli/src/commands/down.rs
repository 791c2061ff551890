//! `dm down`

use dotmesh_api::node::DeleteFork;
use dotmesh_model::{BranchName, DotName};
use serde::Serialize;
use utoipa::ToSchema;

use crate::compose::Compose;
use crate::context::Context;
use crate::error::Result;
use crate::forks::{self, ForkProject};
use crate::output::Human;
use crate::ui::Ui;

/// Stop a fork, and remove its containers and networks
///
/// Its branch stays, with all its data, and its ports stay reserved: 'dm up' starts it again. With --delete, the branch goes
/// too, and 'dm undo --dot DOT' brings it back.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The fork [default: the one of this folder]
    #[arg(value_name = "NAME")]
    name: Option<BranchName>,

    /// Keep the branch and the ports [default]
    #[arg(long, conflicts_with = "delete")]
    keep: bool,

    /// Delete the branch, and forget the fork
    #[arg(long)]
    delete: bool,
}

/// A fork that was stopped.
#[derive(Debug, Serialize, ToSchema)]
pub struct Down {
    /// The dot.
    pub dot: DotName,
    /// The fork's branch.
    pub branch: BranchName,
    /// Whether the branch was deleted.
    pub deleted: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Down> {
    let node = context.node()?;
    let fork = forks::find(context, &node, args.name.as_ref()).await?;
    let (dot, branch) = (fork.dot.clone(), fork.branch.clone());
    if fork.config.is_some() {
        let project = ForkProject::of(fork)?;
        let compose = Compose::find(&context.environment, Some(project.folder())).await?;
        let mut words = vec!["down", "--remove-orphans"];
        // Volumes of other drivers are the fork's own. Those of driver `dm` are only names.
        words.extend(args.delete.then_some("--volumes"));
        compose.run(&context.ui, &project.project(), &words).await?;
    }
    if args.delete {
        let delete = DeleteFork {
            branch: branch.clone(),
            keep_branch: false,
        };
        node.delete_fork(&dot, &delete).await?;
    }
    Ok(Down {
        dot,
        branch,
        deleted: args.delete,
    })
}

impl Human for Down {
    fn show(&self, ui: &Ui) -> Result<()> {
        let Self { dot, branch, .. } = self;
        ui.status(&match self.deleted {
            true => format!(
                "Deleted fork {branch} of {dot}. 'dm undo --dot {dot}' brings its branch back"
            ),
            false => {
                format!("Fork {branch} of {dot} is down. Its branch stays: 'dm up' starts it again")
            }
        });
        Ok(())
    }
}
