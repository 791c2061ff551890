//! Creates a branch on the hub.

use dotmesh_hub_model::access::Action;
use dotmesh_model::{BranchName, DotName};

use super::resolve_ref::resolve_with_data;
use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;

/// Creates a branch at a branch's head, a tag or a commit.
pub async fn create_branch(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    branch: BranchName,
    at: &str,
) -> Result<(), HubError> {
    let open = caller.open(hub, dot, Action::Push).await?;
    branch.check_new()?;
    let head = resolve_with_data(hub, &open, at).await?;
    let created = hub
        .database
        .create_branch(open.deed(hub, caller)?, &branch, head)
        .await?;
    if created {
        Ok(())
    } else {
        Err(HubError::NameTaken {
            dot: open.name,
            what: "branch",
            name: branch,
        })
    }
}
