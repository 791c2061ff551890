//! `dm fetch`: brings commits of a hub, and notes where its branches are. No branch and no working copy here changes.

use dotmesh_api::node::TransferOutcome;

use super::pull;
use super::transfer::Job;
use crate::error::NodeError;
use crate::hub_history::HubHistory;

/// Fetches one branch, or all of them.
pub(crate) async fn fetch_branches(job: &Job) -> Result<TransferOutcome, NodeError> {
    let dot = job.node.settled(&job.local).await?;
    let told = HubHistory::load(&job.node, &job.local).await?;
    let mut seen = pull::look(job, &dot).await?;
    let (place, identity) = (seen.upstream.source(), seen.upstream.identity());
    let mut outcome = TransferOutcome {
        renamed: seen.upstream.renamed(job),
        ..TransferOutcome::default()
    };
    for line in &seen.lines {
        let mut branch = line.outcome();
        let before = told.seen_head(&place, identity, &branch.name);
        branch.is_new = before.is_none();
        outcome.branches.push(branch);
    }
    outcome.without_data = pull::bring(job, &dot, &mut seen).await?;
    Ok(outcome)
}
