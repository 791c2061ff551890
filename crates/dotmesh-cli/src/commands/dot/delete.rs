//! `dm dot delete`

use dotmesh_api::NodeClient;
use dotmesh_api::node::{DotDetail, LogQuery};
use dotmesh_model::size::format_size;
use dotmesh_model::{BranchName, DotName};
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::dot_word::DotWord;
use crate::error::Result;
use crate::output::Human;
use crate::ui::Ui;

/// Delete a dot with all its branches and commits
///
/// The command is refused while containers use the dot. The dot must be named, to avoid mistakes. After the current dot is
/// deleted, there is no current dot until 'dm switch' chooses one. Pushed commits stay on the hub.
///
/// 'dm undo --dot DOT' brings the dot back while it is kept. 'dm op log --dot DOT' says how long that is.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not ask
    #[arg(short, long)]
    force: bool,

    /// The dot
    #[arg(value_name = "DOT")]
    dot: DotWord,
}

/// A deleted dot.
#[derive(Debug, Serialize, ToSchema)]
pub struct Deleted {
    /// The dot.
    pub dot: DotName,
    /// Its id, for `dm undo --deleted`.
    pub id: String,
    /// Whether it was the current dot. There is no current dot now.
    pub was_current: bool,
    /// Whether this was a redo.
    #[serde(skip)]
    pub again: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Deleted> {
    let delete = async |node: &NodeClient, name: &DotName| {
        let dot = node.dot(name).await?;
        if !args.force && !context.ui.is_confirmed() {
            let commits = count_commits(node, &dot).await?;
            let stashes = node.stashes(name).await?.len();
            context.ui.status(&loss(&dot, commits, stashes));
            let question = format!(
                "Please confirm that you really want to delete the dot {name}, including all branches and commits?"
            );
            context.ui.confirm(&question).await?;
        }
        node.delete_dot(name).await?;
        Ok((name.clone(), dot.id))
    };
    let instead = |_: &DotName, _: &BranchName| {
        "'dm dot delete' deletes a dot with all its branches. Nothing was deleted.".to_owned()
    };
    let (dot, id) = args.dot.act(context, delete, instead).await?;
    forget(context, dot, id, false)
}

/// Removes a deleted dot from the configuration, which keeps what an undo needs.
pub(in crate::commands) fn forget(
    context: &Context,
    dot: DotName,
    id: String,
    again: bool,
) -> Result<Deleted> {
    let was_current = context.update_node_config(|config| config.set_dot_aside(&dot, &id))?;
    Ok(Deleted {
        dot,
        id,
        was_current,
        again,
    })
}

impl Human for Deleted {
    fn show(&self, ui: &Ui) -> Result<()> {
        let dot = &self.dot;
        if self.again {
            ui.status(&format!("Deleted dot '{dot}' again"));
        } else {
            ui.status(&format!("Deleted dot '{dot}'"));
            ui.hint(&format!(
                "To bring it back: dm undo --dot {dot}. 'dm op log --dot {dot}' says how long it is kept."
            ));
        }
        if self.was_current {
            ui.status("It was the current dot. No dot is current now.");
            ui.hint("List the dots with 'dm list' and select one with 'dm switch DOT'.");
        }
        Ok(())
    }
}

async fn count_commits(node: &NodeClient, dot: &DotDetail) -> Result<usize> {
    let query = LogQuery {
        all: true,
        ..LogQuery::default()
    };
    Ok(node.log(&dot.summary.name, &query).await?.commits.len())
}

/// The summary of what will be deleted.
pub fn loss(dot: &DotDetail, commits: usize, stashes: usize) -> String {
    let count = |n: usize, one: &str, many: &str| match n {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    };
    let names: Vec<_> = dot
        .branches
        .iter()
        .map(|branch| branch.name.as_str())
        .collect();
    let branches = count(names.len(), "branch", "branches");
    let commits = count(commits, "commit", "commits");
    let stashes = match stashes {
        0 => String::new(),
        stashes => format!(", {}", count(stashes, "stash", "stashes")),
    };
    let uncommitted = match dot.summary.dirty {
        0 => String::new(),
        dirty => {
            format!(
                ", and {} uncommitted on branch {}",
                format_size(dirty),
                dot.summary.branch
            )
        }
    };
    let name = &dot.summary.name;
    format!(
        "Dot {name} has {branches} ({}), {commits}{stashes}{uncommitted}",
        names.join(", ")
    )
}
