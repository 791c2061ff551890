//! Protects a branch: it can only move forward, and cannot be deleted.

use dotmesh_hub_model::access::Action;
use dotmesh_model::{BranchName, DotName};

use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;

/// Protects a branch, or lifts the protection. The branch need not exist yet.
pub async fn protect_branch(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    branch: &BranchName,
    protect: bool,
) -> Result<(), HubError> {
    let open = caller.open(hub, dot, Action::Maintain).await?;
    hub.database
        .protect_branch(open.deed(hub, caller)?, branch, protect)
        .await?;
    Ok(())
}
