//! `dm reset`

use dotmesh_api::node::{Current, LogQuery, Reset};
use dotmesh_model::{CommitId, message};

use crate::context::Context;
use crate::error::Result;
use crate::fetch::{self, Extent};
use crate::switching::{self, WaitArgs};

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

pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let (before, done, message) = context
        .on_current_dot(async |node, dot| {
            let before = node.current(dot).await?;
            let reset = Reset {
                revision: args.revision.clone(),
                hard: args.hard,
                // The node refuses if another terminal checked out another branch meanwhile.
                expected: Some(before.clone()),
                wait: (&args.wait).into(),
            };
            let switch = async || switching::follow(context, node.reset(dot, &reset).await?).await;
            let revision = [reset.revision.as_str()];
            let done = fetch::with_data(context, dot, &revision, Extent::Commit, switch).await?;
            // The reset has succeeded. If this fails, only the commit's title is missing in the output.
            let log = node.log(dot, &LogQuery::one(None)).await.ok();
            let message = log.and_then(|log| Some(log.commits.first()?.message.clone()));
            Ok((before, done, message))
        })
        .await?;
    context.ui.status(&describe(done.head, message.as_deref()));
    if let Some(line) = left(&before, done.head) {
        context.ui.status(&line);
    }
    switching::tell(context, &done)
}

/// The line about the previous head of the branch, and how to go back to it.
pub fn left(before: &Current, head: CommitId) -> Option<String> {
    let Current { branch, head: was } = before;
    if *was == head || *was == CommitId::ROOT {
        return None;
    }
    let was = was.short();
    Some(format!(
        "Branch {branch} was at {was}; 'dm reset {was}' takes it back there"
    ))
}

/// The line about the new HEAD.
pub fn describe(head: CommitId, message: Option<&str>) -> String {
    if head == CommitId::ROOT {
        return "HEAD is now at the empty state before the first commit".to_owned();
    }
    let title = message::title(message.unwrap_or_default());
    format!("HEAD is now at {} {title}", head.short())
        .trim_end()
        .to_owned()
}
