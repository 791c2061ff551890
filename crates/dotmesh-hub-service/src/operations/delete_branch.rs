//! Deletes a branch on the hub.

use dotmesh_api::hub::Access;
use dotmesh_hub_db::branches::BranchDeletion;
use dotmesh_hub_model::access::Action;
use dotmesh_model::{BranchName, DotName};

use crate::audit;
use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;

/// Deletes a branch. Its commits stay in the dot, and their pages stay reachable.
pub async fn delete_branch(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    branch: BranchName,
) -> Result<(), HubError> {
    let open = caller.open(hub, dot, Action::Maintain).await?;
    let deletion = hub
        .database
        .delete_branch(open.deed(hub, caller)?, &branch)
        .await?;
    let dot = open.name;
    match deletion {
        BranchDeletion::Deleted if open.access == Access::Owner => Ok(()),
        BranchDeletion::Deleted => {
            let what = format!("the branch {branch} of {}", dot.full());
            audit::deleted(hub, caller, what).await
        }
        BranchDeletion::Missing => Err(HubError::NoSuchBranch { dot, branch }),
        BranchDeletion::IsDefault => Err(HubError::DefaultBranch { dot, branch }),
        BranchDeletion::IsProtected => Err(HubError::ProtectedBranch { dot, branch }),
    }
}
