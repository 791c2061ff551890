//! The node's operations, one per file.

pub(crate) mod bookkeeping;
pub(crate) mod checkout;
pub(crate) mod checkup;
pub(crate) mod clone;
pub(crate) mod commit;
pub(crate) mod compose_dots;
pub(crate) mod copy_out;
pub(crate) mod copying;
pub(crate) mod create_dot;
pub(crate) mod delete_branch;
pub(crate) mod delete_dot;
pub(crate) mod diff;
pub(crate) mod export;
pub(crate) mod fetch;
pub(crate) mod fetch_branches;
pub(crate) mod fill;
pub(crate) mod forks;
pub(crate) mod fsck;
pub(crate) mod housekeeping;
pub(crate) mod import;
pub(crate) mod left_out;
pub(crate) mod list;
pub(crate) mod log;
pub(crate) mod lookalikes;
pub(crate) mod mount;
pub(crate) mod op_log;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod receive;
pub(crate) mod reconcile;
pub(crate) mod recover;
pub(crate) mod rename_branch;
pub(crate) mod rename_dot;
pub(crate) mod reset;
pub(crate) mod restore;
pub(crate) mod revision;
pub(crate) mod rows;
pub(crate) mod show;
pub(crate) mod stash;
pub(crate) mod status;
pub(crate) mod summaries;
pub(crate) mod switch;
pub(crate) mod tag;
pub(crate) mod transfer;
pub(crate) mod transfer_tags;
pub(crate) mod undo;
pub(crate) mod upstream;
pub(crate) mod volume;
pub(crate) mod watch;

use dotmesh_api::node::Source;
use dotmesh_model::CommitId;

use crate::error::NodeError;
use crate::hub_history::HubHistory;
use crate::node::Node;
use crate::registry::Dot;

/// Fails if this node doesn't have the commit's data.
pub(crate) async fn require_here(
    node: &Node,
    dot: &Dot,
    commit: CommitId,
) -> Result<(), NodeError> {
    let Some(Source { hub, .. }) = node.registry.sources(&dot.id).await?.remove(&commit) else {
        return Ok(());
    };
    let told = HubHistory::load(node, &dot.name).await?;
    let told = told.get(commit);
    // The hub may have received the data since. The user is told to run the command again.
    match told.is_some_and(|told| told.sealed.without_data) {
        true => Err(NodeError::Nowhere { commit, hub }),
        false => Err(NodeError::Absent { commit, hub }),
    }
}

/// Runs blocking work on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Runs a change to its end, even when the client goes away and its request is dropped.
pub(crate) async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, NodeError>> + Send + 'static,
) -> Result<T, NodeError> {
    match tokio::spawn(change).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
