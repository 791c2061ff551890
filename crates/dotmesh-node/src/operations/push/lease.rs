//! `dm push --force-with-lease`: a branch of the hub may leave its commits only from where its user knows it to be.

use dotmesh_api::node::Lease;
use dotmesh_model::{BranchName, CommitId};

use super::HubState;
use crate::error::NodeError;
use crate::hub_history::HubHistory;

/// Whether a push may make the branch leave its commits. Fails if the branch is not where the lease says.
///
/// The hub compares the head once more, in the transaction that moves the branch.
pub(super) fn allows(
    lease: Option<&Lease>,
    told: &HubHistory,
    hub: &HubState,
    branch: &BranchName,
    leaves_commits: bool,
) -> Result<bool, NodeError> {
    let found = hub.heads.get(branch).copied();
    let expected = match lease {
        Some(Lease::At { branch: of, commit }) if of == branch => commit.clone(),
        Some(Lease::LastSeen) if leaves_commits => last_seen(told, hub, branch)?.into(),
        _ => return Ok(false),
    };
    match found {
        Some(found) if expected.matches(found) => Ok(true),
        _ => Err(NodeError::LeaseBroken {
            branch: branch.clone(),
            expected,
            found,
        }),
    }
}

/// Where this node last saw the branch of the hub.
fn last_seen(
    told: &HubHistory,
    hub: &HubState,
    branch: &BranchName,
) -> Result<CommitId, NodeError> {
    let (place, identity) = (hub.upstream.source(), hub.upstream.identity());
    let seen = told.seen_head(&place, identity, branch);
    seen.ok_or_else(|| NodeError::NeverSeen {
        branch: branch.clone(),
        hub: place.hub,
    })
}
