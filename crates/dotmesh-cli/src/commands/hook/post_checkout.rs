//! `dm hook post-checkout`: what git's hook runs after a change of the branch.

use std::path::{Path, PathBuf};

use dotmesh_api::NodeClient;
use dotmesh_api::node::{BranchStart, Checkout, Wait};
use dotmesh_model::{BranchName, DotName};
use serde::Serialize;
use utoipa::ToSchema;

use crate::config::CurrentDot;
use crate::context::Context;
use crate::current::{self, By, Choice};
use crate::error::Result;
use crate::output::Human;
use crate::project_file::{OnNewBranch, ProjectFile};
use crate::ui::Ui;
use crate::{git, place, switching};

/// Git waits at most this long for the containers to stop and to start. It does not wait for health checks.
const WAIT: Wait = Wait {
    healthy: false,
    seconds: 60,
};

/// Make the dot follow git's branch: git's hook runs this
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The app's folder, in the folder that git runs the hook in
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// All that there is to say was said.
#[derive(Debug, Serialize, ToSchema)]
pub struct Followed {}

/// A failure is told in a line. Git's own command has succeeded.
pub(super) async fn run(context: &Context, args: Args) -> Result<Followed> {
    if let Err(error) = follow(context, &args.folder).await {
        let why = match error.is_unreachable() {
            true => "the node does not answer".to_owned(),
            false => error.message().replace('\n', " "),
        };
        context
            .ui
            .status(&format!("dotmesh: the dot stays as it is: {why}"));
    }
    Ok(Followed {})
}

async fn follow(context: &Context, folder: &Path) -> Result<()> {
    let Some(top) = place::here().as_deref().and_then(git::work_tree) else {
        return Ok(());
    };
    // The app's folder may not be there on each branch.
    let Ok(folder) = top.join(folder).canonicalize() else {
        return Ok(());
    };
    if git::is_moving(&top).await {
        return Ok(());
    }
    let Some(branch) = git::branch(&top).await else {
        return Ok(());
    };
    let on_new_branch = ProjectFile::load(&folder)?.on_new_branch;
    let node = context.node()?;
    let choice = current::choose_in(context, &node, Some(&folder)).await?;
    if !is_about(&choice, &top) {
        return Ok(());
    }
    let CurrentDot::Selected(dot) = &choice.dot else {
        return Ok(());
    };
    if let Some(fork) = &choice.branch {
        if fork.as_str() != branch && on_new_branch != OnNewBranch::Ignore {
            context.ui.status(&format!(
                "dotmesh: the fork of this folder stays on branch {fork}. 'dm up' runs another one for {branch}."
            ));
        }
        return Ok(());
    }
    change(context, &node, dot, branch.parse()?, on_new_branch).await
}

/// Whether the choice of a dot is for this work tree. Other work trees may be around it, and a choice for everywhere says nothing
/// of this code.
fn is_about(choice: &Choice, top: &Path) -> bool {
    match &choice.by {
        By::Name => true,
        By::Everywhere => false,
        By::Place(folder) | By::Fork(folder) | By::Compose(folder) => {
            git::work_tree(folder).as_deref() == Some(top)
        }
    }
}

/// Changes the dot's branch.
async fn change(
    context: &Context,
    node: &NodeClient,
    dot: &DotName,
    branch: BranchName,
    on_new_branch: OnNewBranch,
) -> Result<()> {
    let known = match node.dot(dot).await {
        // Nothing follows git any more.
        Err(error) if error.code() == dotmesh_api::ErrorCode::NotFound => return Ok(()),
        known => known?,
    };
    let before = node.current(dot).await?.branch;
    if before == branch {
        return Ok(());
    }
    let is_there = known.branches.iter().any(|known| known.name == branch);
    if !is_there {
        let make = match on_new_branch {
            OnNewBranch::Ignore => return Ok(()),
            OnNewBranch::Fork => true,
            OnNewBranch::Ask => {
                let question = format!(
                    "dotmesh: dot '{dot}' has no branch '{branch}'. Make it from the present state?"
                );
                context.ui.ask_at_terminal(&question).await == Some(true)
            }
        };
        if !make {
            context.ui.status(&format!(
                "dotmesh: dot '{dot}' stays on branch '{before}'. 'dm checkout -b {branch}' makes a branch '{branch}' of it."
            ));
            return Ok(());
        }
    }
    let checkout = Checkout {
        branch: branch.clone(),
        create: (!is_there).then_some(BranchStart::WorkingCopy),
        wait: WAIT,
    };
    let switched = switching::follow(context, node.checkout(dot, &checkout).await?).await?;
    context.update_node_config(|config| config.previous.insert(dot.clone(), before))?;
    let new = if is_there { "" } else { "new " };
    context.ui.status(&format!(
        "dotmesh: switched to {new}branch '{branch}' of dot '{dot}'"
    ));
    switching::show(&context.ui, &switched);
    if let Some(problem) = switching::failure(&switched) {
        context.ui.warning(&problem.message());
    }
    Ok(())
}

impl Human for Followed {
    fn show(&self, _: &Ui) -> Result<()> {
        Ok(())
    }
}
