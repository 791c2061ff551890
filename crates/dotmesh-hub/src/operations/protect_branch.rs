//! Protecting a branch: it only moves forward, and stays.

use dotmesh_model::{BranchName, DotName};

use crate::access::Action;
use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;

/// Protects it, or lifts the protection. It need not exist yet.
pub async fn protect_branch(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    branch: &BranchName,
    protect: bool,
) -> Result<(), HubError> {
    let open = caller.open(hub, dot, Action::Maintain).await?;
    hub.database
        .protect_branch(open.deed(caller)?, branch, protect)
        .await?;
    Ok(())
}
