//! `dm reset`

use dotmesh_api::node::{LogQuery, Reset, Switched};
use dotmesh_model::{BranchName, CommitId, DotName, message};
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::error::{CliError, Result};
use crate::fetch::{self, Extent};
use crate::output::Human;
use crate::switching::{self, WaitArgs};
use crate::ui::Ui;

/// Take the current branch back to a commit
///
/// The containers that use the dot are stopped, and started again on that state, in the order of their dependencies. If one
/// cannot be started, the reset is taken back.
///
/// Later commits leave the branch. You can still use them by their ids, and the id of the previous head is printed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Discard uncommitted changes
    #[arg(long)]
    hard: bool,

    /// The commit: HEAD, HEAD^, HEAD~2, a branch, a commit's id or its first digits
    #[arg(value_name = "REV")]
    revision: String,

    #[command(flatten)]
    wait: WaitArgs,
}

/// A dot after a reset.
#[derive(Debug, Serialize, ToSchema)]
pub struct WasReset {
    /// The dot.
    pub dot: DotName,
    /// What is checked out, and what happened to the containers.
    #[serde(flatten)]
    pub switched: Switched,
    /// The title of the commit at which the branch is now, if it is known.
    pub title: Option<String>,
    /// The commit at which the branch was before.
    pub before: CommitId,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<WasReset> {
    context
        .on_current_dot(async |node, dot| {
            let before = node.current(dot).await?;
            let reset = Reset {
                revision: args.revision.clone(),
                hard: args.hard,
                // Another terminal may check out another branch meanwhile.
                expected: Some(before.clone()),
                wait: (&args.wait).into(),
            };
            let switch = async || switching::follow(context, node.reset(dot, &reset).await?).await;
            let revision = [reset.revision.as_str()];
            let switched =
                fetch::with_data(context, dot, &revision, Extent::Commit, switch).await?;
            // The reset is done; without the title it is told in fewer words.
            let log = node.log(dot, &LogQuery::one(None)).await.ok();
            let newest = log.and_then(|log| log.commits.into_iter().next());
            Ok(WasReset {
                dot: dot.clone(),
                switched,
                title: newest.map(|commit| message::title(&commit.message).into_owned()),
                before: before.head,
            })
        })
        .await
}

impl Human for WasReset {
    fn show(&self, ui: &Ui) -> Result<()> {
        let head = self.switched.head;
        ui.status(&describe(head, self.title.as_deref()));
        if let Some(line) = left(&self.switched.branch, self.before, head) {
            ui.status(&line);
        }
        switching::show(ui, &self.switched);
        Ok(())
    }

    fn failure(&self) -> Option<CliError> {
        switching::failure(&self.switched)
    }
}

/// The line about the previous head of the branch, and how to go back to it.
pub fn left(branch: &BranchName, was: CommitId, head: CommitId) -> Option<String> {
    if was == head || was == CommitId::ROOT {
        return None;
    }
    let was = was.short();
    Some(format!(
        "Branch {branch} was at {was}; 'dm reset {was}' takes it back there"
    ))
}

/// The line about the new HEAD.
pub fn describe(head: CommitId, title: Option<&str>) -> String {
    if head == CommitId::ROOT {
        return "HEAD is now at the empty state before the first commit".to_owned();
    }
    let title = title.unwrap_or_default();
    format!("HEAD is now at {} {title}", head.short())
        .trim_end()
        .to_owned()
}
