//! Deletes a tag.

use dotmesh_api::hub::Access;
use dotmesh_hub_model::access::Action;
use dotmesh_model::{BranchName, DotName};

use crate::audit;
use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;

/// Deletes a tag. Its commit stays.
pub async fn delete_tag(
    hub: &Hub,
    caller: &Caller,
    dot: &DotName,
    tag: BranchName,
) -> Result<(), HubError> {
    let open = caller.open(hub, dot, Action::Maintain).await?;
    if !hub
        .database
        .delete_tag(open.deed(hub, caller)?, &tag)
        .await?
    {
        return Err(HubError::NoSuchTag {
            dot: open.name,
            tag,
        });
    }
    if open.access == Access::Owner {
        return Ok(());
    }
    let what = format!("the tag {tag} of {}", open.name.full());
    audit::deleted(hub, caller, what).await
}
